//! How effects ended, taken into the record: what was learnt, what failed and when it is tried again.
//!
//! Must never believe a single not-found, and never lose an attempt that may have landed.

use super::draft::{Context, Draft, failure};
use super::input::EffectOutcome;
use super::phases::{demote_receipt, destroy, leave_provisioning};
use super::rescue::{self, give_up_rescue, image_written};
use super::{receipts, silence};
use crate::record::{Dns, Effect, Pause, Phase, RescueStep, plus};
use ebbtide_api::Timestamp;
use ebbtide_api::workspace::Failure;
use ebbtide_api::{Hint, Timestamp};

pub(super) fn finish(draft: &mut Draft, attempt_id: u64, outcome: EffectOutcome, context: &Context<'_>) {
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
        (Effect::Reserve, EffectOutcome::Reserved(quote)) => super::billing::reserved(draft, quote),
        (Effect::Reserve, EffectOutcome::Refused(failure)) => {
            super::billing::reservation_refused(draft, failure, context);
        }
        (Effect::EnsureServer, EffectOutcome::Exists(server)) => {
            draft.record.spec.placement = server.placement.clone();
            draft.record.server = Some(server);
        }
        (Effect::EnsureServer, EffectOutcome::NoRoom { message }) => no_room(draft, &message, context),
        (Effect::EnsureServer, EffectOutcome::Refused(failure)) => refused(draft, failure, context),
        (Effect::EnsureServer, EffectOutcome::ImageImpossible { message }) => {
            if rescue::is_missed_twice(draft, context) {
                let failure = rescue::image_vanished(draft, &message);
                refused(draft, failure, context);
            } else {
                wait(draft, "confirmation from the provider that the rescue image is gone", context);
            }
        }
        (Effect::EnsureDns, EffectOutcome::Done) => {
            draft.record.dns = Dns::Ready;
            draft.note("its names resolve");
        }
        (Effect::UpdateLabels, EffectOutcome::Done) => {}
        (Effect::FindServer, EffectOutcome::Exists(_)) => draft.record.vanished_at = None,
        (Effect::AskServer, EffectOutcome::Status(seen)) => silence::answered(draft, seen, context),
        (Effect::CheckPeers, EffectOutcome::Peers(peers)) => silence::looked(draft, peers, context),
        (Effect::DeleteImage { image }, EffectOutcome::Done) => rescue::deleted(draft, image),
        (Effect::Reboot, EffectOutcome::Done) => rebooted(draft, context),
        (Effect::PowerOff, EffectOutcome::Done) => rescue_step(draft, RescueStep::TakeImage),
        (Effect::TakeImage, EffectOutcome::ImageStarted { image }) => {
            rescue_step(draft, RescueStep::AwaitImage { image })
        }
        (Effect::AwaitImage, EffectOutcome::Done) => image_written(draft, context),
        (Effect::AwaitImage, EffectOutcome::ImageImpossible { .. })
            if !rescue::is_missed_twice(draft, context) =>
        {
            wait(draft, "confirmation from the provider that the rescue image is gone", context);
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
            super::billing::checked(draft, Some(&spending), context);
        }
        (Effect::CheckSpending, EffectOutcome::Done) => super::billing::checked(draft, None, context),
        (Effect::CheckReceipt, EffectOutcome::ReceiptChecked { packs }) => {
            receipts::checked(draft, packs, context)
        }
        (Effect::CheckReceipt, EffectOutcome::ReceiptWrong { problem }) => {
            draft.record.pending = None;
            receipts::refused(draft, problem, "a receipt was refused: ");
        }
        (Effect::Purge, EffectOutcome::Done) => {
            if let Phase::Deleted { purged, .. } = &mut draft.record.phase {
                *purged = true;
                draft.record.snapshots.clear();
                draft.record.due.clear();
                draft.note("its keys are shredded");
                rescue::give_over_all(draft, now);
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
pub(super) fn later(
    draft: &mut Draft,
    effect: Effect,
    waiting_for: String,
    landed: bool,
    not_before: Option<Timestamp>,
    context: &Context<'_>,
) {
    if let Effect::DeleteImage { image } = effect {
        return rescue::put_off(draft, image, &waiting_for, not_before, context);
    }
    if let (Effect::EnsureServer, true, Phase::Provisioning { maybe_created, .. }) =
        (effect, landed, &mut draft.record.phase)
    {
        *maybe_created = true;
    }
    if effect == Effect::UpdateLabels {
        draft.record.labels_stale = true;
    }
    if effect == Effect::Reboot && landed {
        undo_freeze(draft);
    }
    let failures = draft.record.pause.as_ref().map_or(0, |pause| pause.failures).saturating_add(1);
    let earliest = plus(context.now, context.policy.backoff(failures));
    let until = not_before.map_or(earliest, |not_before| not_before.max(earliest));
    if failures == 3 {
        draft.note(format!("waiting for {waiting_for}"));
    }
    draft.record.pause = Some(Pause { until, failures, waiting_for });
}

/// Silence begins to count anew with a reboot; no other time is prolonged by one.
fn rebooted(draft: &mut Draft, context: &Context<'_>) {
    let now = context.now;
    undo_freeze(draft);
    let is_asked = draft.record.is_reboot_asked();
    draft.record.reboot_asked_at = None;
    if let Phase::Silent { rebooted_at, ask_at, .. } = &mut draft.record.phase {
        *rebooted_at = Some(now);
        *ask_at = plus(now, context.policy.reboot_grace);
        draft.note(if is_asked {
            "it was rebooted, as its owner asked, and may come back"
        } else {
            "the machine was dead to the provider too and has been rebooted once"
        });
    } else if is_asked && draft.record.phase == Phase::Running {
        draft.enter(Phase::Running, "it was rebooted, as its owner asked, and is coming back", now);
    }
}

/// A reboot may have landed at any time since it was begun: what was delivered meanwhile is no last backup. A machine that
/// is still frozen delivers it again.
fn undo_freeze(draft: &mut Draft) {
    draft.record.final_snapshot = None;
    demote_receipt(draft);
}

/// Looks again soon; nothing has failed.
fn wait(draft: &mut Draft, waiting_for: &str, context: &Context<'_>) {
    let until = plus(context.now, context.policy.poll);
    draft.record.pause = Some(Pause { until, failures: 0, waiting_for: waiting_for.to_owned() });
}

fn no_room(draft: &mut Draft, message: &str, context: &Context<'_>) {
    let placement = draft.record.spec.placement.clone();
    let fallbacks = &mut draft.record.spec.fallbacks;
    let next = (!fallbacks.is_empty()).then(|| fallbacks.remove(0));
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
                Hint::NoRoom,
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
        wait(draft, "confirmation from Hetzner that the server is gone", context);
        return;
    };
    if context.now < plus(first, context.policy.poll) {
        wait(draft, "confirmation from Hetzner that the server is gone", context);
        return;
    }
    let text = "the server is gone at the provider although nobody here deleted it".to_owned();
    if draft.record.salvage_image_id.is_none() {
        draft.record.data_loss_note = Some(format!("{text}; work since the last backup went with it"));
    }
    let failure = failure("machine_gone", text.clone(), Hint::WakeRestores);
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
    draft.record.pause = Some(Pause {
        until,
        failures: 0,
        waiting_for: "confirmation from Hetzner that the server is deleted".to_owned(),
    });
}
