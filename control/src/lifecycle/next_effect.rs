//! Which effect is due in a phase. At most one is in flight; a pause holds the next one back.

use super::draft::Context;
use super::silence::settled_at;
use super::{billing, receipts, start_check};
use crate::record::{Dns, Effect, InFlight, Phase, Record, RescueStep, ServerStatus};

/// The effect that may be begun now: it is due, none is in flight, and no pause holds it back.
pub(super) fn waiting(record: &Record, context: &Context<'_>) -> Option<Effect> {
    let pauses = record.pause.as_ref().is_some_and(|pause| pause.until > context.now);
    if record.in_flight.is_some() || pauses { None } else { due(record, context) }
}

/// Marks the effect that is due as begun, and names it with the number of this attempt.
pub(super) fn begin(record: &mut Record, context: &Context<'_>) -> Option<(u64, Effect)> {
    let effect = waiting(record, context)?;
    record.attempts = record.attempts.saturating_add(1);
    record.in_flight = Some(InFlight { attempt_id: record.attempts, effect, started_at: context.now });
    match effect {
        Effect::EnsureServer => record.last_create_at = Some(context.now),
        Effect::EnsureDns => record.dns = Dns::MayExist,
        // A reboot undoes the freeze: what is done after it is in no receipt that was made before.
        Effect::Reboot => receipts::void_last_backup(record),
        Effect::Reserve => {
            record.money.reserving_since.get_or_insert(context.now);
        }
        Effect::DeleteDns => {
            if let Phase::Destroying { names_tried, .. } = &mut record.phase {
                *names_tried = true;
            }
        }
        Effect::UpdateLabels
        | Effect::FindServer
        | Effect::AskServer
        | Effect::PowerOff
        | Effect::TakeImage
        | Effect::AwaitImage
        | Effect::DeleteServer
        | Effect::CheckReceipt
        | Effect::Purge
        | Effect::CheckSpending
        | Effect::CheckPeers
        | Effect::DeleteImage { .. } => {}
    }
    Some((record.attempts, effect))
}

fn due(record: &Record, context: &Context<'_>) -> Option<Effect> {
    let image = record.next_old_image().filter(|old| old.delete_at <= context.now);
    due_in_phase(record, context)
        .or_else(|| image.map(|old| Effect::DeleteImage { image: old.image }))
        .or_else(|| billing::due(record, context))
}

fn due_in_phase(record: &Record, context: &Context<'_>) -> Option<Effect> {
    // Before anything else: whatever else is due would act on a server that may not exist.
    if record.vanished_at.is_some() {
        return Some(Effect::FindServer);
    }
    match &record.phase {
        Phase::Provisioning { .. } => Some(Effect::EnsureServer),
        // Before the names: a machine that hangs may be what they wait for.
        Phase::Running if record.is_reboot_asked() => Some(Effect::Reboot),
        // One that is off is switched on, not reset: the provider is asked first.
        Phase::Silent { status, ask_at, draining: None, .. } if record.is_reboot_asked() => {
            Some(if status.is_none() && *ask_at <= context.now { Effect::AskServer } else { Effect::Reboot })
        }
        // Before the names: they lead nowhere while it is off.
        Phase::Booting { .. } if start_check::due(record, context).is_some() => {
            start_check::due(record, context)
        }
        Phase::Booting { .. } | Phase::Running => {
            // Nobody visits a machine that only salvages.
            if record.dns != Dns::Ready && record.salvage_image_id.is_none() {
                Some(Effect::EnsureDns)
            } else {
                tend(record)
            }
        }
        Phase::Silent { ask_at, status, rebooted_at, looked_at, .. } => {
            let dead = matches!(status, Some(ServerStatus::Off | ServerStatus::Flat));
            if looked_at.is_none() {
                Some(Effect::CheckPeers)
            } else if dead && rebooted_at.is_none() {
                let settled_at = settled_at(record, context.policy);
                if looked_at.is_some_and(|at| at >= settled_at) {
                    Some(Effect::Reboot)
                } else if context.now >= settled_at {
                    Some(Effect::CheckPeers)
                } else {
                    tend(record)
                }
            } else if *ask_at <= context.now {
                Some(Effect::AskServer)
            } else {
                tend(record)
            }
        }
        Phase::Draining { .. } => tend(record),
        // Held past its end: the label that would end it moves on.
        Phase::Rescuing { .. } if record.held_until.is_some() && record.labels_stale => {
            Some(Effect::UpdateLabels)
        }
        Phase::Rescuing { step, .. } => Some(match step {
            RescueStep::PowerOff => Effect::PowerOff,
            RescueStep::TakeImage => Effect::TakeImage,
            RescueStep::AwaitImage { .. } => Effect::AwaitImage,
        }),
        Phase::Destroying { server_gone, names_tried, late_image, .. } => {
            if !server_gone && !names_tried && record.dns != Dns::Absent {
                Some(Effect::DeleteDns)
            } else if !server_gone {
                Some(Effect::DeleteServer)
            } else if record.dns != Dns::Absent {
                Some(Effect::DeleteDns)
            } else {
                late_image.map(|_| Effect::AwaitImage)
            }
        }
        Phase::Deleted { purge_at, purged } => (!purged && *purge_at <= context.now).then_some(Effect::Purge),
        Phase::Asleep | Phase::Failed { .. } => {
            billing::must_reserve(record, context).then_some(Effect::Reserve)
        }
        Phase::Requested => None,
    }
}

/// What a living machine's record may need besides.
fn tend(record: &Record) -> Option<Effect> {
    if record.pending.is_some() {
        Some(Effect::CheckReceipt)
    } else if record.labels_stale && record.server.is_some() {
        Some(Effect::UpdateLabels)
    } else {
        None
    }
}
