//! How effects ended, taken into the record: what was learnt, what failed and when it is tried again.
//!
//! Must never believe a single not-found, and never lose an attempt that may have landed.

use super::draft::{Context, Draft, Reason, failure};
use super::input::{EffectOutcome, OTHER_PROJECT};
use super::reboot::{self, Reset};
use super::rescue::{give_up_rescue, image_written};
use super::transitions::{destroy, leave_provisioning};
use super::{billing, receipts, rescue_image, silence, start_check};
use crate::record::{Dns, Effect, Pause, Phase, RescueStep, plus};
use ebbtide_api::failure::Failure;
use ebbtide_api::{EventCode, FailureCode, Hint, Timestamp};

/// Takes in how the effect in flight ended.
pub(super) fn finish(draft: &mut Draft, attempt_id: u64, outcome: EffectOutcome, context: &Context<'_>) {
    // The answer to an attempt that was given up says nothing that its successor will not find.
    let Some(flight) = draft.record.in_flight.take_if(|flight| flight.attempt_id == attempt_id) else {
        return;
    };
    let effect = flight.effect;
    if let EffectOutcome::Later { waiting_for, maybe_landed, not_before } = outcome {
        return later(draft, effect, waiting_for, maybe_landed, not_before, context);
    }
    if outcome == EffectOutcome::OtherProject {
        // What we cannot do for a wrong token must not run out of time: the server is there, with the work on it.
        if let Phase::Rescuing { started_at, .. } = &mut draft.record.phase {
            *started_at = context.now;
        }
        return later(draft, effect, OTHER_PROJECT.to_owned(), false, None, context);
    }
    let failures = draft.record.pause.take();
    let Err(outcome) = learn(draft, effect, outcome, context) else { return };
    draft.record.pause = failures;
    if let EffectOutcome::Refused(failure) = outcome {
        later(draft, effect, failure.message, false, None, context);
    } else {
        // An outcome that its effect cannot have: our own mistake, told and tried again rather than hidden.
        later(draft, effect, format!("{effect:?} ended in {outcome:?}"), true, None, context);
    }
}

/// An outcome that its effect has no answer to.
type Unexpected = Result<(), EffectOutcome>;

/// What the end of each effect teaches.
fn learn(draft: &mut Draft, effect: Effect, outcome: EffectOutcome, context: &Context<'_>) -> Unexpected {
    match effect {
        Effect::Reserve => reserve(draft, outcome, context),
        Effect::EnsureServer => ensure_server(draft, outcome, context),
        Effect::EnsureDns => gone_or_done(draft, outcome, context, |draft| {
            draft.record.dns = Dns::Ready;
            draft.note(EventCode::NamesResolve, "its names resolve");
        }),
        Effect::UpdateLabels => update_labels(draft, outcome, context),
        Effect::FindServer => find_server(draft, outcome, context),
        Effect::AskServer => ask_server(draft, outcome, context),
        Effect::Reboot => gone_or_done(draft, outcome, context, |draft| {
            start_check::switched_on(draft, context.now);
            reboot::done(draft, Reset::Done, context);
        }),
        Effect::PowerOff => {
            gone_or_done(draft, outcome, context, |draft| rescue_step(draft, RescueStep::TakeImage))
        }
        Effect::TakeImage => take_image(draft, outcome, context),
        Effect::AwaitImage => await_image(draft, outcome, context),
        Effect::DeleteServer => delete_server(draft, outcome, context),
        Effect::DeleteDns => done(draft, outcome, |draft| draft.record.dns = Dns::Absent),
        Effect::CheckReceipt => check_receipt(draft, outcome, context),
        Effect::Purge => done(draft, outcome, |draft| purged(draft, context)),
        Effect::CheckSpending => check_spending(draft, outcome, context),
        Effect::CheckPeers => check_peers(draft, outcome, context),
        Effect::DeleteImage { image } => done(draft, outcome, |draft| rescue_image::deleted(draft, image)),
    }
}

fn done(draft: &mut Draft, outcome: EffectOutcome, learn: impl FnOnce(&mut Draft)) -> Unexpected {
    if outcome != EffectOutcome::Done {
        return Err(outcome);
    }
    learn(draft);
    Ok(())
}

/// Of an effect on a server that ought to exist.
fn gone_or_done(
    draft: &mut Draft,
    outcome: EffectOutcome,
    context: &Context<'_>,
    learn: impl FnOnce(&mut Draft),
) -> Unexpected {
    if outcome == EffectOutcome::Gone {
        server_vanished(draft, context);
        return Ok(());
    }
    done(draft, outcome, learn)
}

/// Labels lag until they say what the record says by now: it may have changed while they were written.
fn update_labels(draft: &mut Draft, outcome: EffectOutcome, context: &Context<'_>) -> Unexpected {
    if let EffectOutcome::Labelled { until, ssh } = outcome {
        let record = &mut draft.record;
        record.labels_stale = until != record.hard_end_at(context.policy) || ssh != record.lets_ssh_in();
    } else if outcome == EffectOutcome::Gone {
        server_vanished(draft, context);
    } else {
        return Err(outcome);
    }
    Ok(())
}

fn reserve(draft: &mut Draft, outcome: EffectOutcome, context: &Context<'_>) -> Unexpected {
    if let EffectOutcome::Reserved(next) = outcome {
        billing::reserved(draft, *next);
    } else if let EffectOutcome::Refused(failure) = outcome {
        billing::reservation_refused(draft, failure, context);
    } else {
        return Err(outcome);
    }
    Ok(())
}

fn ensure_server(draft: &mut Draft, outcome: EffectOutcome, context: &Context<'_>) -> Unexpected {
    if let EffectOutcome::Exists(server) = outcome {
        let spec = &mut draft.record.spec;
        // What was known of another size says nothing of this one.
        spec.shape = spec.shape.filter(|_| spec.placement.size == server.placement.size);
        spec.placement = server.placement.clone();
        draft.record.server = Some(server);
    } else if let EffectOutcome::NoRoom { message } = outcome {
        no_room(draft, &message, context);
    } else if let EffectOutcome::Refused(failure) = outcome {
        refused(draft, failure, context);
    } else if let EffectOutcome::ImageImpossible { message } = outcome {
        if rescue_image::is_missed_twice(draft, context) {
            let failure = rescue_image::image_vanished(draft, &message);
            refused(draft, failure, context);
        } else {
            wait(draft, "confirmation from the provider that the rescue image is gone", context);
        }
    } else {
        return Err(outcome);
    }
    Ok(())
}

fn find_server(draft: &mut Draft, outcome: EffectOutcome, context: &Context<'_>) -> Unexpected {
    if let EffectOutcome::Exists(_) = outcome {
        draft.record.vanished_at = None;
    } else if outcome == EffectOutcome::Gone {
        server_vanished(draft, context);
    } else {
        return Err(outcome);
    }
    Ok(())
}

fn ask_server(draft: &mut Draft, outcome: EffectOutcome, context: &Context<'_>) -> Unexpected {
    if let EffectOutcome::Status(seen) = outcome {
        start_check::answered(draft, seen, context);
        silence::answered(draft, seen, context);
    } else if outcome == EffectOutcome::Gone {
        server_vanished(draft, context);
    } else {
        return Err(outcome);
    }
    Ok(())
}

fn check_peers(draft: &mut Draft, outcome: EffectOutcome, context: &Context<'_>) -> Unexpected {
    let EffectOutcome::Peers(peers) = outcome else { return Err(outcome) };
    silence::looked(draft, peers, context);
    Ok(())
}

fn take_image(draft: &mut Draft, outcome: EffectOutcome, context: &Context<'_>) -> Unexpected {
    if let EffectOutcome::ImageStarted { image } = outcome {
        rescue_step(draft, RescueStep::AwaitImage { image });
    } else if let EffectOutcome::ImageImpossible { message } = outcome {
        image_impossible(draft, Effect::TakeImage, message, context);
    } else if outcome == EffectOutcome::Gone {
        server_vanished(draft, context);
    } else {
        return Err(outcome);
    }
    Ok(())
}

fn await_image(draft: &mut Draft, outcome: EffectOutcome, context: &Context<'_>) -> Unexpected {
    let EffectOutcome::ImageImpossible { message } = outcome else {
        return done(draft, outcome, |draft| {
            image_written(draft, context);
            rescue_image::written_late(draft, context);
        });
    };
    if rescue_image::is_missed_twice(draft, context) {
        rescue_image::late_one_gone(draft);
        image_impossible(draft, Effect::AwaitImage, message, context);
    } else {
        wait(draft, "confirmation from the provider that the rescue image is gone", context);
    }
    Ok(())
}

fn image_impossible(draft: &mut Draft, effect: Effect, message: String, context: &Context<'_>) {
    let rescues = matches!(draft.record.phase, Phase::Rescuing { .. });
    if !rescues || !give_up_rescue(draft, &message, context) {
        later(draft, effect, message, false, None, context);
    }
}

fn delete_server(draft: &mut Draft, outcome: EffectOutcome, context: &Context<'_>) -> Unexpected {
    if outcome == EffectOutcome::Gone {
        not_found(draft, context);
    } else if outcome == EffectOutcome::Deleting {
        wait(draft, "the server's deletion", context);
    } else {
        return Err(outcome);
    }
    Ok(())
}

fn check_spending(draft: &mut Draft, outcome: EffectOutcome, context: &Context<'_>) -> Unexpected {
    if let EffectOutcome::Spending(spending) = outcome {
        billing::checked(draft, Some(&spending), context);
        return Ok(());
    }
    done(draft, outcome, |draft| billing::checked(draft, None, context))
}

fn check_receipt(draft: &mut Draft, outcome: EffectOutcome, context: &Context<'_>) -> Unexpected {
    if let EffectOutcome::ReceiptChecked { packs } = outcome {
        receipts::checked(draft, packs, context);
    } else if let EffectOutcome::ReceiptWrong { problem } = outcome {
        receipts::is_wrong(draft, problem);
    } else {
        return Err(outcome);
    }
    Ok(())
}

fn purged(draft: &mut Draft, context: &Context<'_>) {
    if let Phase::Deleted { purged, .. } = &mut draft.record.phase {
        *purged = true;
        draft.record.snapshots.clear();
        draft.record.expired.clear();
        draft.note(EventCode::KeysShredded, "its keys are shredded");
        rescue_image::give_over_all(draft, context.now);
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
        return rescue_image::put_off(draft, image, &waiting_for, not_before, context);
    }
    if let (Effect::EnsureServer, true, Phase::Provisioning { maybe_created, .. }) =
        (effect, landed, &mut draft.record.phase)
    {
        *maybe_created = true;
    }
    if let (Effect::DeleteDns, Phase::Destroying { server_gone: false, .. }) = (effect, &draft.record.phase) {
        // What bills goes on going; the names are tried again once it is gone.
        return;
    }
    if effect == Effect::UpdateLabels {
        // A version that forgot them when their writing began may have begun it.
        draft.record.labels_stale = true;
    }
    if effect == Effect::Reboot && landed {
        if draft.record.is_reboot_asked() {
            // Not again: the machine may be back, and its owner at work in it. They see what came of it and may ask anew.
            return reboot::done(draft, Reset::Perhaps, context);
        }
        receipts::void_last_backup(&mut draft.record);
    }
    if reboot::is_given_up(draft, &waiting_for, context) && effect == Effect::Reboot {
        return;
    }
    let failures = draft.record.pause.as_ref().map_or(0, |pause| pause.failures).saturating_add(1);
    let earliest = plus(context.now, context.policy.backoff(failures.min(longest_row(draft, effect))));
    let until = not_before.map_or(earliest, |not_before| not_before.max(earliest));
    // At the third failure in a row: a short bad spell of a provider is no news to anybody.
    if failures == 3 {
        draft.note(EventCode::Waiting, format!("waiting for {waiting_for}"));
    }
    draft.record.pause = Some(Pause { until, failures, waiting_for });
}

/// After how many failures in a row pauses grow no more. What holds up the deletion of a server of which an image is being
/// written is most likely that image's lock: nothing has failed, and the server bills past its end until it is asked anew.
fn longest_row(draft: &Draft, effect: Effect) -> u32 {
    let locked_by_us = matches!(draft.record.phase, Phase::Destroying { late_image: Some(_), .. });
    if effect == Effect::DeleteServer && locked_by_us { 4 } else { u32::MAX }
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
            let sentence = format!("{placement} cannot be had ({message}); trying {next}");
            draft.note(EventCode::SoldOut, sentence);
            draft.record.spec.shape = draft.record.spec.shape.filter(|_| next.size == placement.size);
            draft.record.spec.placement = next;
        }
        None => {
            let failure = failure(
                FailureCode::Capacity,
                format!("the provider has no room for {placement}: {message}"),
                Hint::NoRoom,
            );
            let because = Reason::new(EventCode::Capacity, "the provider has no room");
            leave_provisioning(draft, maybe_created, Some(failure), because, context);
        }
    }
}

/// What the provider refuses for one size or location it may take for the next: it withdraws them before its lists say so.
fn refused(draft: &mut Draft, failure: Failure, context: &Context<'_>) {
    if failure.code == FailureCode::Refused && !draft.record.spec.fallbacks.is_empty() {
        return no_room(draft, &failure.message, context);
    }
    if let Phase::Provisioning { maybe_created, .. } = draft.record.phase {
        let because = Reason::from(&failure);
        leave_provisioning(draft, maybe_created, Some(failure), because, context);
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
    let failure = failure(FailureCode::MachineGone, text, Hint::WakeRestores);
    let because = Reason::from(&failure);
    destroy(draft, Some(failure), because, context.now);
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
