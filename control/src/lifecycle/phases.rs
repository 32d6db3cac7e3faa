//! How phases follow one another, and when to look again.
//!
//! Every move that ends a machine with work on it stands in this file, in `rescue` or in `silence`: through a verified
//! final receipt, a recorded discard, or the rescue rules.

use super::draft::{Context, Draft, failure};
use super::rescue::{self, give_up_rescue, rescue, saved};
use super::silence::{self, fall_silent};
use crate::policy::Policy;
use crate::record::{DesiredState, Dns, DrainReason, Phase, Record, minus, plus};
use ebbtide_api::backups::Persistence;
use ebbtide_api::workspace::{Failure, State};
use ebbtide_api::{Duration, Hint, Timestamp};

/// No chain of moves without an effect is longer; a bound, so that a mistake here is no endless loop in the Worker.
const MOST_MOVES: usize = 8;

/// Lets the phase move on as far as it can without an effect.
pub(super) fn settle(draft: &mut Draft, context: &Context<'_>) {
    for _ in 0..MOST_MOVES {
        if !step(draft, context) {
            break;
        }
    }
    warn(draft, context);
    rescue::tend(draft, context);
}

/// When the machine counts as last heard of: entering the phase and our own lateness restart the clock.
pub(super) fn last_seen_at(record: &Record, context: &Context<'_>) -> Timestamp {
    [context.last_seen_at, record.last_seen_at, record.clocks_restarted_at]
        .into_iter()
        .flatten()
        .fold(record.since, Timestamp::max)
}

fn step(draft: &mut Draft, context: &Context<'_>) -> bool {
    let (now, policy) = (context.now, context.policy);
    let wanted = draft.record.desired;
    match draft.record.phase.clone() {
        Phase::Requested => match wanted {
            DesiredState::Awake => {
                let phase = Phase::Provisioning { refused: Vec::new(), maybe_created: false };
                draft.enter(phase, "creating a server", now);
                true
            }
            DesiredState::Asleep | DesiredState::Deleted | DesiredState::Discarded => {
                rest(draft, None, context)
            }
        },
        Phase::Provisioning { maybe_created, .. } => provisioning(draft, maybe_created, context),
        Phase::Booting { progress_at, .. } => booting(draft, progress_at, context),
        Phase::Running => running(draft, context),
        Phase::Silent { last_seen_at, draining, .. } => {
            silence::silent(draft, last_seen_at, draining, context)
        }
        Phase::Draining { reason, frozen, .. } => draining(draft, reason, frozen, context),
        Phase::Rescuing { started_at, .. } => {
            if wanted == DesiredState::Discarded {
                rescue::abandon(draft, now);
                return destroy(draft, None, "the owner discards what is unsaved", now);
            }
            now >= draft.record.rescue_ends_at(started_at, policy)
                && give_up_rescue(draft, "the rescue has had its time", context)
        }
        Phase::Destroying { failure, server_gone, .. } => {
            let gone = server_gone && draft.record.dns == Dns::Absent && draft.record.in_flight.is_none();
            gone && rest(draft, failure, context)
        }
        Phase::Asleep | Phase::Failed { .. } => match wanted {
            DesiredState::Awake if draft.record.live_lock(now).is_some() => false,
            DesiredState::Awake if !draft.may_begin => super::billing::give_up_reserving(draft, context),
            DesiredState::Awake => {
                wake(draft, context);
                draft.enter(Phase::Requested, "the owner wakes it", now);
                true
            }
            DesiredState::Deleted | DesiredState::Discarded => rest(draft, None, context),
            DesiredState::Asleep => {
                super::billing::stop_reserving(&mut draft.record);
                false
            }
        },
        Phase::Deleted { purged, .. } => {
            let undone = !purged
                && draft.record.in_flight.is_none()
                && matches!(wanted, DesiredState::Asleep | DesiredState::Awake);
            if undone {
                draft.enter(Phase::Asleep, "the deletion was undone", now);
            }
            undone
        }
    }
}

fn provisioning(draft: &mut Draft, maybe_created: bool, context: &Context<'_>) -> bool {
    let now = context.now;
    if draft.record.desired != DesiredState::Awake {
        return leave_provisioning(draft, maybe_created, None, "it is not wanted any more", context);
    }
    if draft.record.server.is_some() {
        draft.enter(Phase::Booting { progress: 0, progress_at: now }, "the server exists and boots", now);
        return true;
    }
    if now >= plus(draft.record.since, context.policy.provision_budget) {
        let waited_for =
            draft.record.pause.as_ref().map_or("the provider's answer", |pause| &pause.waiting_for);
        let failure = failure(
            "provider_unavailable",
            format!("no server could be created within {}: {waited_for}", context.policy.provision_budget),
            Hint::RetryOrMove,
        );
        return leave_provisioning(
            draft,
            maybe_created,
            Some(failure),
            "provisioning took too long",
            context,
        );
    }
    false
}

/// Leaves provisioning: straight to rest where certainly nothing was created, else by way of a deletion.
pub(super) fn leave_provisioning(
    draft: &mut Draft,
    maybe_created: bool,
    failure: Option<Failure>,
    because: &str,
    context: &Context<'_>,
) -> bool {
    let record = &draft.record;
    if maybe_created || record.server.is_some() || record.in_flight.is_some() {
        destroy(draft, failure, because, context.now)
    } else {
        rest(draft, failure, context)
    }
}

fn booting(draft: &mut Draft, progress_at: Timestamp, context: &Context<'_>) -> bool {
    let (now, policy) = (context.now, context.policy);
    let record = &draft.record;
    if record.desired != DesiredState::Awake {
        return destroy(draft, None, "it is not wanted any more; nothing was done in it yet", now);
    }
    let stalled = now >= plus(progress_at, policy.boot_stall);
    if stalled || now >= plus(record.since, policy.boot_cap) || now >= record.lifetime_ends_at() {
        let limit = if stalled { policy.boot_stall } else { policy.boot_cap };
        let text = if stalled {
            format!("no boot progress for {limit}")
        } else {
            format!("not ready within {limit}")
        };
        let failure = failure("boot_stalled", text.clone(), Hint::ReadTheLog);
        return destroy(draft, Some(failure), text, now);
    }
    false
}

fn running(draft: &mut Draft, context: &Context<'_>) -> bool {
    let now = context.now;
    if let Some(moved) = leave_on_wish(draft, now) {
        return moved;
    }
    if now >= draft.record.lifetime_ends_at() {
        draft.record.desired = DesiredState::Asleep;
        if draft.record.spec.persistence == Persistence::None {
            return destroy(draft, None, "its lifetime is over, and it is not persisted, as was chosen", now);
        }
        return drain(draft, DrainReason::Lifetime, "its lifetime is over", now);
    }
    if let Some(because) = super::billing::paid_hour_over(&draft.record, now) {
        drain_idle(draft, &because, now);
        return true;
    }
    fall_silent(draft, None, context)
}

/// What a machine with work on it does when the owner wants it gone.
fn leave_on_wish(draft: &mut Draft, now: Timestamp) -> Option<bool> {
    let kept = draft.record.spec.persistence == Persistence::Backup;
    match draft.record.desired {
        DesiredState::Awake => None,
        DesiredState::Discarded => Some(destroy(draft, None, "the owner discards what is unsaved", now)),
        DesiredState::Asleep | DesiredState::Deleted if !kept => {
            Some(destroy(draft, None, "it is not persisted, as was chosen when it was created", now))
        }
        DesiredState::Asleep => Some(drain(draft, DrainReason::Asked, "the owner puts it to sleep", now)),
        DesiredState::Deleted => {
            Some(drain(draft, DrainReason::Asked, "the owner deletes it; it is backed up first", now))
        }
    }
}

pub(super) fn drain(draft: &mut Draft, reason: DrainReason, because: &str, now: Timestamp) -> bool {
    draft.record.final_snapshot = None;
    draft.record.receipt_problem = None;
    demote_receipt(draft);
    draft.enter(Phase::Draining { reason, trouble: None, frozen: false }, because, now);
    true
}

/// A receipt that is still being checked stays a backup, but it proves nothing about what is done from now on.
pub(super) fn demote_receipt(draft: &mut Draft) {
    if let Some(pending) = &mut draft.record.pending {
        pending.last = false;
    }
}

/// Starts an idle drain; called where the verdict comes in.
pub(super) fn drain_idle(draft: &mut Draft, because: &str, now: Timestamp) {
    draft.record.desired = DesiredState::Asleep;
    if draft.record.spec.persistence == Persistence::Backup {
        drain(draft, DrainReason::Idle, because, now);
    } else {
        destroy(draft, None, because, now);
    }
}

fn draining(draft: &mut Draft, reason: DrainReason, frozen: bool, context: &Context<'_>) -> bool {
    let (now, policy) = (context.now, context.policy);
    let record = &draft.record;
    if record.final_snapshot.is_some() {
        return saved(draft, now);
    }
    match record.desired {
        DesiredState::Discarded => return destroy(draft, None, "the owner discards what is unsaved", now),
        // What a salvage machine does is part of the wake, whatever comes after it.
        _ if reason == DrainReason::Salvage => {}
        DesiredState::Awake
            if !frozen && (reason != DrainReason::Lifetime || now < record.lifetime_ends_at()) =>
        {
            demote_receipt(draft);
            draft.enter(Phase::Running, "the drain was taken back", now);
            return true;
        }
        DesiredState::Awake if record.may_thaw(now) => {
            draft.record.thaw_requested = true;
            let because = "the drain was taken back after the freeze: the last backup was not whole";
            draft.enter(Phase::Running, because, now);
            return true;
        }
        DesiredState::Awake | DesiredState::Asleep | DesiredState::Deleted => {}
    }
    if now >= record.drain_ends_at(policy) {
        return rescue(draft, "the backup did not finish in time", context);
    }
    fall_silent(draft, Some(reason), context)
}

/// Ends the machine. Callers have made sure that nothing unsaved is lost without a recorded decision.
pub(super) fn destroy(
    draft: &mut Draft,
    failure: Option<Failure>,
    because: impl Into<String>,
    now: Timestamp,
) -> bool {
    draft.record.vanished_at = None;
    let failure = failure.map(|failure| rescue::told(&draft.record, failure));
    draft.enter(Phase::Destroying { failure, not_found_at: None, server_gone: false }, because, now);
    true
}

/// Comes to rest without a machine.
fn rest(draft: &mut Draft, failure: Option<Failure>, context: &Context<'_>) -> bool {
    let now = context.now;
    let failure = failure.map(|failure| rescue::told(&draft.record, failure));
    let record = &mut draft.record;
    record.salvage_image_id = None;
    record.held_until = None;
    record.server = None;
    record.dns = Dns::Absent;
    record.labels_stale = false;
    record.machine_key = None;
    record.pending = None;
    record.holds.clear();
    match (record.desired, failure) {
        (DesiredState::Deleted | DesiredState::Discarded, _) => {
            let purge_at = plus(now, context.policy.undo);
            let because = format!("deleted; can be undone for {}", context.policy.undo);
            draft.enter(Phase::Deleted { purge_at, purged: false }, because, now);
        }
        (DesiredState::Awake | DesiredState::Asleep, Some(failure)) => {
            record.desired = DesiredState::Asleep;
            let because = failure.message.clone();
            draft.enter(Phase::Failed { failure }, because, now);
        }
        (DesiredState::Awake | DesiredState::Asleep, None) => {
            draft.enter(Phase::Asleep, "no machine; the work is in storage", now)
        }
    }
    true
}

/// Prepares the record for a machine of the next generation.
fn wake(draft: &mut Draft, context: &Context<'_>) {
    let record = &mut draft.record;
    record.generation = record.generation.next();
    record.woke_at = context.now;
    record.last_seen_at = None;
    record.vanished_at = None;
    record.last_create_at = None;
    record.clocks_restarted_at = None;
    record.final_snapshot = None;
    record.receipt_problem = None;
    record.thaw_requested = false;
    record.silence_from = None;
    record.warnings_given = 0;
    record.data_loss_note = None;
    rescue::choose_start(draft, context);
    // A workspace of a version that tidied nothing waits as a new one does.
    draft.record.tidied_at.get_or_insert(context.now);
    draft.record.tidying = crate::retention::order(&draft.record, context.policy, context.now);
}

/// Warns of the end of the lifetime, each warning once.
fn warn(draft: &mut Draft, context: &Context<'_>) {
    if !is_warned(&draft.record) {
        return;
    }
    while let Some(at) = next_warning(&draft.record, context.policy) {
        if context.now < at {
            break;
        }
        let left = draft.record.lifetime_ends_at().duration_since(context.now).as_secs().max(0);
        draft.record.warnings_given = draft.record.warnings_given.saturating_add(1);
        // A lifetime shorter than a warning's lead is known to whoever chose it.
        if at > draft.record.woke_at {
            let left = Duration::from_secs(u64::try_from(left).unwrap_or(0));
            let then = if draft.record.spec.persistence == Persistence::None {
                "then it goes with all its files: nothing in it is backed up, as was chosen"
            } else if draft.record.state() == State::Silent {
                "then an image is taken of what is not backed up"
            } else {
                "then it is backed up and put to sleep"
            };
            draft.note(format!("the lifetime ends in {left}: {then}"));
        }
    }
}

/// Whether the end of the lifetime is still to come for what goes on in the machine.
fn is_warned(record: &Record) -> bool {
    let ending = matches!(record.phase, Phase::Silent { draining: Some(_), .. });
    matches!(record.state(), State::Booting | State::Running | State::Silent)
        && !ending
        && record.salvage_image_id.is_none()
}

fn next_warning(record: &Record, policy: &Policy) -> Option<Timestamp> {
    let lead = policy.lifetime_warnings.get(usize::from(record.warnings_given))?;
    Some(minus(record.lifetime_ends_at(), *lead))
}

/// When to decide again at the latest. A record that may have a machine always has such a time.
pub(super) fn wake_at(record: &Record, context: &Context<'_>) -> Option<Timestamp> {
    let policy = context.policy;
    let own = match &record.phase {
        Phase::Requested => Some(context.now),
        Phase::Provisioning { .. } => Some(plus(record.since, policy.provision_budget)),
        Phase::Booting { progress_at, .. } => {
            let stall = plus(*progress_at, policy.boot_stall);
            Some(stall.min(plus(record.since, policy.boot_cap)).min(record.lifetime_ends_at()))
        }
        Phase::Running => {
            Some(record.lifetime_ends_at().min(plus(last_seen_at(record, context), policy.silence_after)))
        }
        Phase::Silent { last_seen_at, ask_at, .. } => {
            let ends_at = silence::ends_at(record, *last_seen_at, policy);
            let next = [*ask_at, ends_at, silence::settled_at(record, policy)]
                .into_iter()
                .filter(|at| *at > context.now)
                .min();
            Some(next.unwrap_or_else(|| record.drain_ends_at(policy)))
        }
        Phase::Draining { .. } => {
            Some(record.drain_ends_at(policy).min(plus(last_seen_at(record, context), policy.silence_after)))
        }
        Phase::Rescuing { started_at, .. } => Some(record.rescue_ends_at(*started_at, policy)),
        Phase::Destroying { .. } => Some(plus(context.now, policy.retry_cap)),
        Phase::Deleted { purge_at, purged } => (!purged).then_some(*purge_at),
        // A wake that waits for the end of a grant.
        Phase::Asleep | Phase::Failed { .. } => {
            let grant = record.live_lock(context.now).filter(|_| record.desired == DesiredState::Awake);
            grant.map(|grant| grant.until)
        }
    };
    // What is over and could not be acted on (a held machine, a purge that waits) is looked at again soon and not at once:
    // an alarm for the past fires immediately, for ever.
    let own = own.map(|at| if at > context.now { at } else { plus(context.now, policy.retry_cap) });
    let effect = record.in_flight.as_ref().map(|flight| plus(flight.started_at, policy.effect_timeout));
    let pause = record.pause.as_ref().filter(|pause| pause.until > context.now).map(|pause| pause.until);
    let warning =
        is_warned(record).then(|| next_warning(record, policy)).flatten().filter(|at| *at > context.now);
    let images = rescue::wake_at(record, context);
    let money = super::billing::wake_at(record, context);
    [own, effect, pause, warning, images, money].into_iter().flatten().min()
}
