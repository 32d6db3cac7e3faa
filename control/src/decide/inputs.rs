//! Takes what happened into the record: facts, wishes and the ends of effects. Moves no phase on by itself, except
//! where the input *is* the move (ready, idle, a refusal by the provider).

use super::grants;
use super::images::{self, give_up_rescue, image_written};
use super::phases::{destroy, drain_idle, leave_provisioning};
use super::silence;
use super::{Command, Context, Draft, Effect, EffectOutcome, Heard, Input, PortAccess, failure};
use crate::record::{Dns, DrainReason, Pause, PendingReceipt, Phase, RescueStep, Wanted, plus};
use crate::strain;
use ebbtide_api::vm::{DrainPhase, Receipt};
use ebbtide_api::why::BackupEstimate;
use ebbtide_api::workspace::{Failure, Persistence, SnapshotSummary};
use ebbtide_api::{Duration, ErrorCode, Timestamp};

/// Holds that a workspace may have: every decision parses them.
const MOST_HOLDS: usize = 32;
/// Longest path of a machine's that is repeated in a sentence, in characters.
const PATH_SHOWN: usize = 300;

pub(super) fn take(draft: &mut Draft, input: Input, context: &Context<'_>) {
    match input {
        Input::Tick { due_at } => tick(draft, due_at, context),
        Input::Ask(command) => ask(draft, command, context),
        Input::Heard(heard) => hear(draft, heard, context),
        Input::Enrolled { machine_key } => enrol(draft, machine_key, context),
        Input::Delivered { receipt, last } => deliver(draft, receipt, last),
        Input::Finished { attempt_id, outcome } => finish(draft, attempt_id, outcome, context),
    }
}

/// An effect whose end nobody reported in time may have landed; it is begun anew.
pub(super) fn expire_lost_effect(draft: &mut Draft, context: &Context<'_>) {
    let Some(flight) = draft.record.in_flight.clone() else { return };
    if context.now >= plus(flight.started_at, context.policy.effect_timeout) {
        draft.record.in_flight = None;
        later(draft, flight.effect, "an answer that never came".to_owned(), true, None, context);
    }
}

fn tick(draft: &mut Draft, due_at: Option<Timestamp>, context: &Context<'_>) {
    let late = due_at.is_some_and(|due| context.now >= plus(due, context.policy.alarm_lateness));
    if late {
        let before = draft.record.hard_end_at(context.policy);
        draft.record.clocks_restarted_at = Some(context.now);
        // The label ends the machine where nobody else does: it must not be earlier than we are.
        if draft.record.hard_end_at(context.policy) > before && draft.record.server.is_some() {
            draft.record.labels_stale = true;
        }
        if let Phase::Booting { progress_at, .. } = &mut draft.record.phase {
            *progress_at = context.now;
        }
        if let Phase::Silent { ask_at, .. } = &mut draft.record.phase {
            *ask_at = context.now;
        }
    }
    draft.record.holds.retain(|hold| hold.ends_at > context.now);
    draft.record.last_heard_at = draft.record.last_heard_at.max(context.heard_at);
}

fn ask(draft: &mut Draft, command: Command, context: &Context<'_>) {
    let state = draft.record.state();
    match command {
        Command::Sleep => match draft.record.phase {
            Phase::Failed { .. } | Phase::Deleted { .. } => {
                draft.refuse(
                    ErrorCode::WrongState,
                    format!("a workspace that is {state} has no machine to put to sleep"),
                );
            }
            _ if matches!(draft.record.wanted, Wanted::Deleted | Wanted::Discarded) => {
                draft.refuse(ErrorCode::WrongState, "the workspace is being deleted; undo that first");
            }
            _ => draft.record.wanted = Wanted::Asleep,
        },
        Command::Wake { snapshot } => wake(draft, snapshot),
        Command::Retry => match draft.record.phase {
            Phase::Failed { .. } => {
                draft.record.wanted = Wanted::Awake;
                draft.may_begin = true;
            }
            _ => draft.refuse(
                ErrorCode::WrongState,
                format!("only a failed workspace is retried; this one is {state}"),
            ),
        },
        Command::Quote(quote) => draft.record.money.next = Some(quote),
        Command::Delete => {
            if draft.record.wanted != Wanted::Discarded {
                draft.record.wanted = Wanted::Deleted;
            }
        }
        Command::Discard => draft.record.wanted = Wanted::Discarded,
        Command::Undelete => match (&draft.record.phase, draft.record.wanted) {
            (Phase::Deleted { purged: true, .. }, _) => {
                draft.refuse(ErrorCode::WrongState, "its keys are shredded; nothing can be undone");
            }
            // The shredding may have landed although nobody has heard so.
            (Phase::Deleted { purge_at, .. }, _) if *purge_at <= context.now => {
                draft.refuse(ErrorCode::WrongState, "the days to undo are over; its keys are being shredded");
            }
            (_, Wanted::Deleted | Wanted::Discarded) => {
                if let (Phase::Destroying { .. }, Wanted::Discarded) =
                    (&draft.record.phase, draft.record.wanted)
                {
                    draft.note(
                        "the deletion is undone, but the machine was being deleted already: what was in no backup \
                         goes with it, as was asked for",
                    );
                }
                draft.record.wanted = Wanted::Asleep;
            }
            (_, Wanted::Awake | Wanted::Asleep) => draft.refuse(ErrorCode::WrongState, "it is not deleted"),
        },
        Command::Change { lifetime: Some(_), .. }
            if matches!(
                draft.record.phase,
                Phase::Rescuing { .. } | Phase::Destroying { .. } | Phase::Deleted { .. }
            ) =>
        {
            draft.refuse(
                ErrorCode::WrongState,
                format!("a workspace that is {state} has no lifetime to change"),
            );
        }
        Command::Change { idle_timeout, lifetime, worst_case } => {
            if let Some(timeout) = idle_timeout {
                draft.record.spec.idle_timeout = timeout;
            }
            if let Some(lifetime) = lifetime {
                // A lifetime that is over already ends now: the drain still gets its whole time.
                let awake = context.now.duration_since(draft.record.woke_at).as_secs();
                let live = draft.record.phase.may_have_machine();
                let least = Duration::from_secs(if live { u64::try_from(awake).unwrap_or(0) } else { 0 });
                let lifetime = lifetime.max(least);
                draft.record.spec.lifetime = lifetime;
                draft.record.labels_stale = draft.record.server.is_some();
                draft.record.held_until = None;
                draft.record.warnings_given = 0;
                draft.record.worst_case = worst_case.or(draft.record.worst_case.take());
                draft.note(format!("the lifetime is now {lifetime}"));
            }
        }
        Command::TakeHold(_) if draft.record.salvages.is_some() => {
            draft.refuse(
                ErrorCode::WrongState,
                "its rescue image is being salvaged; hold it once it is awake",
            );
        }
        Command::TakeHold(_) if draft.record.holds.len() >= MOST_HOLDS => {
            draft.refuse(
                ErrorCode::CapReached,
                format!("it has {MOST_HOLDS} holds already; let go of one first"),
            );
        }
        Command::TakeHold(hold) => match draft.record.phase {
            Phase::Booting { .. } | Phase::Running | Phase::Silent { .. } | Phase::Draining { .. } => {
                draft.note(format!("held until {}: {}", hold.ends_at, hold.reason));
                if matches!(
                    draft.record.phase,
                    Phase::Draining { reason: DrainReason::Idle, frozen: false, .. }
                ) {
                    draft.record.wanted = Wanted::Awake;
                }
                draft.record.holds.push(hold);
            }
            _ => draft.refuse(
                ErrorCode::WrongState,
                format!("a workspace that is {state} has no machine to hold; wake it"),
            ),
        },
        Command::ReleaseHold { id } => {
            let before = draft.record.holds.len();
            draft.record.holds.retain(|hold| hold.id != id);
            if draft.record.holds.len() == before {
                draft.refuse(ErrorCode::NotFound, "there is no such hold");
            }
        }
        Command::Snapshot if draft.record.spec.persistence == Persistence::None => draft.refuse(
            ErrorCode::WrongState,
            "this workspace is never backed up, as was chosen when it was created",
        ),
        Command::Snapshot => match draft.record.phase {
            Phase::Running => draft.record.snapshots_wanted = draft.record.snapshots_wanted.saturating_add(1),
            _ => draft
                .refuse(ErrorCode::WrongState, format!("snapshots are taken while running; it is {state}")),
        },
        Command::Retain(rule) => {
            crate::retention::keep_by(&mut draft.record, rule, context.policy, context.now);
            let due = draft.record.due.len();
            draft.note(format!(
                "other snapshots are kept from now on; {due} are due to be removed at a later wake"
            ));
        }
        Command::BeginTidying { generation, strays } => {
            grants::begin_tidying(draft, generation, strays, context);
        }
        Command::EndTidying { generation, report } => {
            grants::end_tidying(draft, generation, &report, context);
        }
        Command::TakeGrant { by } => grants::take(draft, by, context),
        Command::EndGrant { by } => grants::end(draft, &by),
        Command::Crowded { objects } => grants::crowded(draft, objects, context),
        Command::Forget { snapshot } => grants::forget(draft, &snapshot),
        Command::Recall { snapshot } => grants::recall(draft, &snapshot, context),
        Command::SetPublic { port, access } => {
            draft.record.public_ports.retain(|public| *public != port);
            if access == PortAccess::Public {
                draft.record.public_ports.push(port);
                draft.note(format!("port {port} is open to anybody"));
            }
        }
    }
    draft.record.holds.retain(|hold| hold.ends_at > context.now);
}

fn wake(draft: &mut Draft, snapshot: Option<String>) {
    if let Some(wanted) = &snapshot {
        let known = draft.record.snapshots.iter().find(|known| known.snapshot == *wanted);
        if known.is_none() {
            draft.refuse(ErrorCode::NotFound, format!("there is no verified snapshot {wanted}"));
            return;
        }
    }
    match &draft.record.phase {
        Phase::Deleted { .. } => {
            draft.refuse(ErrorCode::WrongState, "it is deleted; undo the deletion first")
        }
        Phase::Destroying { failure: Some(_), .. } => {
            draft.refuse(
                ErrorCode::WrongState,
                "its machine is being removed after a failure; retry once it has failed",
            );
        }
        _ if matches!(draft.record.wanted, Wanted::Deleted | Wanted::Discarded) => {
            draft.refuse(ErrorCode::WrongState, "the workspace is being deleted; undo that first");
        }
        Phase::Asleep | Phase::Failed { .. } => {
            draft.record.chosen = snapshot;
            draft.record.wanted = Wanted::Awake;
            draft.may_begin = true;
        }
        _ if snapshot.is_some() => {
            draft.refuse(ErrorCode::WrongState, "a snapshot is chosen while asleep; put it to sleep first");
        }
        _ => draft.record.wanted = Wanted::Awake,
    }
}

fn hear(draft: &mut Draft, heard: Heard, context: &Context<'_>) {
    let now = context.now;
    if heard.past_tidying {
        grants::tidying_is_over(draft);
    }
    match &mut draft.record.phase {
        Phase::Booting { progress, progress_at } => {
            if heard.boot_progress > *progress {
                *progress = heard.boot_progress;
                *progress_at = now;
            }
            if let Some(message) = heard.boot_failure {
                let failure = failure(
                    "boot_failed",
                    message.clone(),
                    "Correct what the message names, then POST …/retry.",
                );
                destroy(draft, Some(failure), message, now);
            } else if heard.ready && draft.record.salvages.is_some() {
                let phase = Phase::Draining { reason: DrainReason::Salvage, trouble: None, frozen: false };
                draft.enter(phase, "what it holds is being backed up", now);
            } else if heard.ready {
                let because = match draft.record.spec.persistence {
                    Persistence::Backup => "the boot plan is through",
                    Persistence::None => {
                        "the boot plan is through; nothing in it is backed up, as was chosen: its files end with this \
                         machine"
                    }
                };
                draft.enter(Phase::Running, because, now);
            }
        }
        Phase::Running => {
            if let Some(estimate) = heard.estimate {
                strained(draft, &estimate, heard.stored_bytes.unwrap_or(0), context);
            }
            let held = draft.record.holds.iter().any(|hold| hold.ends_at > now);
            match (heard.idle, held, draft.record.wanted) {
                (Some(because), false, Wanted::Awake) => {
                    if !super::money::keep_warm(draft, &because, context) {
                        drain_idle(draft, &because, now);
                    }
                }
                _ => super::money::busy_again(draft, heard.busy.as_deref()),
            }
        }
        Phase::Draining { reason, trouble, frozen } => {
            *frozen = matches!(heard.drain, Some(DrainPhase::Frozen | DrainPhase::Done));
            *trouble = heard.backup_trouble;
            let taken_back = *reason == DrainReason::Idle && !*frozen;
            if let (true, Some(_)) = (taken_back, heard.busy) {
                draft.record.wanted = Wanted::Awake;
            }
        }
        _ => {}
    }
}

/// Tells once when the next backup would not fit, and once when it fits again.
fn strained(draft: &mut Draft, estimate: &BackupEstimate, stored_bytes: u64, context: &Context<'_>) {
    let was = draft.record.strain;
    let strain = strain::strain(estimate, stored_bytes, context.policy, was);
    if strain == was || draft.record.spec.persistence == Persistence::None {
        return;
    }
    draft.record.strain = strain;
    match strain {
        Some(strain) => draft.note(strain::told(strain, estimate, stored_bytes, context.policy)),
        None => draft.note("the next backup fits again"),
    }
}

fn enrol(draft: &mut Draft, machine_key: String, context: &Context<'_>) {
    let alive = match &mut draft.record.phase {
        Phase::Booting { progress_at, .. } => {
            *progress_at = context.now;
            true
        }
        Phase::Provisioning { .. } | Phase::Running | Phase::Silent { .. } | Phase::Draining { .. } => true,
        _ => false,
    };
    match &draft.record.machine_key {
        _ if !alive => draft.refuse(ErrorCode::StaleGeneration, "this machine's time is over"),
        None => {
            draft.record.machine_key = Some(machine_key);
            draft.note("the machine has enrolled");
        }
        Some(bound) if *bound == machine_key => {}
        Some(_) => {
            draft.refuse(ErrorCode::EnrolmentRefused, "another machine key is enrolled for this generation")
        }
    }
}

fn deliver(draft: &mut Draft, receipt: Receipt, last: bool) {
    match draft.record.phase {
        Phase::Running | Phase::Silent { .. } | Phase::Draining { .. } => {}
        // Its time has not come rather than being over: 410 would make the machine stop for good.
        Phase::Requested | Phase::Provisioning { .. } | Phase::Booting { .. } => {
            draft.refuse(ErrorCode::WrongState, "the machine has not reported that it is ready");
            return;
        }
        _ => {
            draft.refuse(ErrorCode::StaleGeneration, "this machine's time is over");
            return;
        }
    }
    // What is done between a backup and the freeze is in no receipt: one that comes before the machine has said that
    // it is frozen ends nothing, whatever it claims. It is delivered again.
    if last
        && matches!(
            draft.record.phase,
            Phase::Draining { frozen: false, .. } | Phase::Silent { draining: Some(_), .. }
        )
    {
        draft.refuse(ErrorCode::WrongState, "the machine has not reported that it is frozen");
        return;
    }
    let same = draft.record.pending.as_ref().is_some_and(|pending| {
        let same = pending.receipt.snapshot == receipt.snapshot && pending.last == last;
        same && pending.receipt.packs_to_come == receipt.packs_to_come
    });
    let settled = last && draft.record.final_snapshot.as_deref() == Some(receipt.snapshot.as_str());
    if !same && !settled {
        let unchecked = receipt.packs_new.clone();
        draft.record.receipt_problem = None;
        draft.record.pending =
            Some(PendingReceipt { receipt: Receipt { packs_new: Vec::new(), ..receipt }, unchecked, last });
    }
}

fn finish(draft: &mut Draft, attempt_id: u64, outcome: EffectOutcome, context: &Context<'_>) {
    // The answer to an attempt that was given up says nothing that its successor will not find.
    let Some(flight) = draft.record.in_flight.take_if(|flight| flight.attempt_id == attempt_id) else {
        return;
    };
    let effect = flight.effect;
    let now = context.now;
    let failures = draft.record.pause.take();
    match (effect, outcome) {
        (_, EffectOutcome::Later { waiting_for, maybe_landed, not_before }) => {
            draft.record.pause = failures;
            later(draft, effect, waiting_for, maybe_landed, not_before, context);
        }
        (Effect::Reserve, EffectOutcome::Reserved(quote)) => super::money::reserved(draft, quote),
        (Effect::Reserve, EffectOutcome::Refused(failure)) => {
            super::money::reservation_refused(draft, failure, context);
        }
        (Effect::EnsureServer, EffectOutcome::Exists(server)) => {
            draft.record.spec.placement = server.placement.clone();
            draft.record.server = Some(server);
        }
        (Effect::EnsureServer, EffectOutcome::NoRoom { message }) => no_room(draft, &message, context),
        (Effect::EnsureServer, EffectOutcome::Refused(failure)) => refused(draft, failure, context),
        (Effect::EnsureServer, EffectOutcome::ImageImpossible { message }) => {
            if images::is_missed_twice(draft, context) {
                let failure = images::image_vanished(draft, &message);
                refused(draft, failure, context);
            } else {
                wait(draft, "a second look whether the rescue image is gone", context);
            }
        }
        (Effect::EnsureDns, EffectOutcome::Done) => {
            draft.record.dns = Dns::Ready;
            draft.note("its names resolve");
        }
        (Effect::UpdateLabels, EffectOutcome::Done) => {}
        (Effect::FindServer, EffectOutcome::Exists(_)) => draft.record.vanished_at = None,
        (Effect::AskServer, EffectOutcome::Status(seen)) => silence::answered(draft, seen, context),
        (Effect::LookAround, EffectOutcome::Neighbours(neighbours)) => {
            silence::looked(draft, neighbours, context)
        }
        (Effect::DeleteImage { image }, EffectOutcome::Done) => images::deleted(draft, image),
        (Effect::Reboot, EffectOutcome::Done) => {
            if let Phase::Silent { rebooted_at, ask_at, .. } = &mut draft.record.phase {
                *rebooted_at = Some(now);
                *ask_at = plus(now, context.policy.reboot_grace);
                draft.note("the machine was dead to the provider too and has been rebooted once");
            }
        }
        (Effect::PowerOff, EffectOutcome::Done) => rescue_step(draft, RescueStep::TakeImage),
        (Effect::TakeImage, EffectOutcome::ImageStarted { image }) => {
            rescue_step(draft, RescueStep::AwaitImage { image })
        }
        (Effect::AwaitImage, EffectOutcome::Done) => image_written(draft, context),
        (Effect::AwaitImage, EffectOutcome::ImageImpossible { .. })
            if !images::is_missed_twice(draft, context) =>
        {
            wait(draft, "a second look whether the rescue image is gone", context);
        }
        (Effect::TakeImage | Effect::AwaitImage, EffectOutcome::ImageImpossible { message }) => {
            let rescues = matches!(draft.record.phase, Phase::Rescuing { .. });
            if !rescues || !give_up_rescue(draft, &message, context) {
                later(draft, effect, message, false, None, context);
            }
        }
        (
            Effect::FindServer
            | Effect::AskServer
            | Effect::Reboot
            | Effect::PowerOff
            | Effect::TakeImage
            | Effect::EnsureDns
            | Effect::UpdateLabels,
            EffectOutcome::Gone,
        ) => {
            server_vanished(draft, context);
        }
        (Effect::DeleteServer, EffectOutcome::Gone) => not_found(draft, context),
        (Effect::DeleteServer, EffectOutcome::Deleting) => wait(draft, "the server's deletion", context),
        (Effect::DeleteDns, EffectOutcome::Done) => draft.record.dns = Dns::Absent,
        (Effect::CheckSpending, EffectOutcome::Spending(spending)) => {
            super::money::checked(draft, Some(&spending), context);
        }
        (Effect::CheckSpending, EffectOutcome::Done) => super::money::checked(draft, None, context),
        (Effect::CheckReceipt, EffectOutcome::ReceiptChecked { packs }) => checked(draft, packs, context),
        (Effect::CheckReceipt, EffectOutcome::ReceiptWrong { problem }) => {
            draft.record.pending = None;
            draft.note(format!("a receipt was refused: {problem}"));
            draft.record.receipt_problem = Some(problem);
        }
        (Effect::Purge, EffectOutcome::Done) => {
            if let Phase::Deleted { purged, .. } = &mut draft.record.phase {
                *purged = true;
                draft.record.snapshots.clear();
                draft.record.due.clear();
                draft.note("its keys are shredded");
                images::give_over_all(draft, now);
            }
        }
        (_, EffectOutcome::Refused(failure)) => {
            draft.record.pause = failures;
            later(draft, effect, failure.message, false, None, context);
        }
        // An outcome that its effect cannot have: our own mistake, told and tried again rather than hidden.
        (effect, outcome) => {
            draft.record.pause = failures;
            later(draft, effect, format!("{effect:?} ended in {outcome:?}"), true, None, context);
        }
    }
}

/// Puts an effect off: with growing pauses, and no earlier than the provider allows.
fn later(
    draft: &mut Draft,
    effect: Effect,
    waiting_for: String,
    landed: bool,
    not_before: Option<Timestamp>,
    context: &Context<'_>,
) {
    if let Effect::DeleteImage { image } = effect {
        return images::put_off(draft, image, &waiting_for, not_before, context);
    }
    if let (Effect::EnsureServer, true, Phase::Provisioning { maybe_created, .. }) =
        (effect, landed, &mut draft.record.phase)
    {
        *maybe_created = true;
    }
    if effect == Effect::UpdateLabels {
        draft.record.labels_stale = true;
    }
    let failures = draft.record.pause.as_ref().map_or(0, |pause| pause.failures).saturating_add(1);
    let earliest = plus(context.now, context.policy.backoff(failures));
    let until = not_before.map_or(earliest, |not_before| not_before.max(earliest));
    if failures == 3 {
        draft.note(format!("waiting for {waiting_for}"));
    }
    draft.record.pause = Some(Pause { until, failures, waiting_for });
}

/// Looks again soon; nothing has failed.
fn wait(draft: &mut Draft, waiting_for: &str, context: &Context<'_>) {
    let until = plus(context.now, context.policy.poll);
    draft.record.pause = Some(Pause { until, failures: 0, waiting_for: waiting_for.to_owned() });
}

fn no_room(draft: &mut Draft, message: &str, context: &Context<'_>) {
    let placement = draft.record.spec.placement.clone();
    let next = draft
        .record
        .spec
        .fallbacks
        .iter()
        .position(|_| true)
        .map(|first| draft.record.spec.fallbacks.remove(first));
    let Phase::Provisioning { refused, maybe_created } = &mut draft.record.phase else { return };
    let maybe_created = *maybe_created;
    refused.push(placement.clone());
    match next {
        Some(next) => {
            draft.note(format!(
                "{} at {} is sold out ({message}); trying {} at {}",
                placement.size, placement.location, next.size, next.location
            ));
            draft.record.spec.placement = next;
        }
        None => {
            let failure = failure(
                "capacity",
                format!(
                    "the provider has no room for {} at {}: {message}",
                    placement.size, placement.location
                ),
                "Choose another size or location from GET /v1/catalog, or POST …/retry later.",
            );
            leave_provisioning(draft, maybe_created, Some(failure), "the provider has no room", context);
        }
    }
}

fn refused(draft: &mut Draft, failure: Failure, context: &Context<'_>) {
    if let Phase::Provisioning { maybe_created, .. } = draft.record.phase {
        let because = failure.message.clone();
        leave_provisioning(draft, maybe_created, Some(failure), &because, context);
    }
}

fn rescue_step(draft: &mut Draft, next: RescueStep) {
    if let Phase::Rescuing { step, .. } = &mut draft.record.phase {
        *step = next;
    }
}

/// The provider says that a server we count on does not exist. One answer is looked into, the second is believed.
fn server_vanished(draft: &mut Draft, context: &Context<'_>) {
    if matches!(draft.record.phase, Phase::Destroying { .. }) || !draft.record.phase.may_have_machine() {
        return;
    }
    let Some(first) = draft.record.vanished_at else {
        draft.record.vanished_at = Some(context.now);
        wait(draft, "a second look whether the server is gone", context);
        return;
    };
    if context.now < plus(first, context.policy.poll) {
        wait(draft, "a second look whether the server is gone", context);
        return;
    }
    let text = "the server is gone at the provider although nobody here deleted it".to_owned();
    if draft.record.salvages.is_none() {
        draft.record.lost = Some(format!("{text}; work since the last backup went with it"));
    }
    let failure = failure("machine_gone", text.clone(), "POST …/wake restores the last verified backup.");
    destroy(draft, Some(failure), text, context.now);
}

/// Believes a not-found the second time, and only long enough after the last attempt to create.
fn not_found(draft: &mut Draft, context: &Context<'_>) {
    let now = context.now;
    let settled_at = draft.record.last_create_at.map_or(now, |at| plus(at, context.policy.gone_after_create));
    let Phase::Destroying { not_found_at, server_gone, .. } = &mut draft.record.phase else { return };
    if not_found_at.is_some() && now >= settled_at {
        *server_gone = true;
        return;
    }
    not_found_at.get_or_insert(now);
    let until = plus(now, context.policy.poll).max(settled_at);
    draft.record.pause =
        Some(Pause { until, failures: 0, waiting_for: "a second look that the server is gone".to_owned() });
}

fn checked(draft: &mut Draft, packs: usize, context: &Context<'_>) {
    let Some(pending) = &mut draft.record.pending else { return };
    let left = pending.unchecked.len().saturating_sub(packs);
    pending.unchecked.truncate(left);
    if left > 0 {
        return;
    }
    let Some(pending) = draft.record.pending.take() else { return };
    let receipt = pending.receipt;
    if receipt.packs_to_come > 0 {
        // A part: nothing counts before the last.
        return;
    }
    let partial = receipt.is_partial();
    let summary = SnapshotSummary {
        snapshot: receipt.snapshot.clone(),
        verified_at: context.now,
        generation: draft.record.generation,
        files: receipt.files,
        bytes: receipt.bytes_total,
        partial,
    };
    draft.record.snapshots.retain(|known| known.snapshot != summary.snapshot);
    draft.record.due.retain(|known| known.snapshot != summary.snapshot);
    draft.record.snapshots.insert(0, summary);
    crate::retention::thin(&mut draft.record, context.policy, context.now);
    if partial {
        let first = receipt.unreadable.first().map_or("", |unreadable| unreadable.path.as_str());
        let first: String = first.chars().take(PATH_SHOWN).collect();
        let paths = (receipt.unreadable.len() as u64).saturating_add(receipt.unreadable_more);
        let text = format!("{paths} paths could not be backed up, {first} among them");
        draft.note(text.clone());
        draft.record.receipt_problem = Some(text);
    } else {
        let excluded = receipt.excluded.as_ref().map_or(String::new(), |excluded| {
            let at_least = if excluded.at_least { "at least " } else { "" };
            let (files, bytes) = (excluded.files, excluded.bytes);
            let first: String =
                excluded.first.first().map_or("", String::as_str).chars().take(PATH_SHOWN).collect();
            let first = if first.is_empty() { first } else { format!(", {first} among them") };
            format!("; the owner's rules leave out {at_least}{files} files of {bytes} bytes{first}")
        });
        draft.note(format!("a backup of {} files is verified in storage{excluded}", receipt.files));
        if pending.last
            && matches!(draft.record.phase, Phase::Draining { .. } | Phase::Silent { draining: Some(_), .. })
        {
            draft.record.final_snapshot = Some(receipt.snapshot);
        }
    }
}
