//! A server that exists and was not started: the create was accepted, and what starts it failed at the provider.
//!
//! Such a machine is off, billed and silent. One that has not registered after `start_question` is asked about. Off, it is
//! switched on; off again, it ends, and the next place is tried. No work is on it yet. Whether a machine that runs gets
//! through its boot is not asked here: `boot_stall` bounds that.

use super::draft::{Context, Draft, Reason, failure};
use super::other_place;
use super::transitions::destroy;
use crate::policy::Policy;
use crate::record::{Effect, Phase, Record, ServerStatus, StartCheck, plus};
use ebbtide_api::{EventCode, FailureCode, Hint, Timestamp};

/// How far the question is, of a machine that has not registered.
fn stage(record: &Record) -> Option<StartCheck> {
    match record.phase {
        Phase::Booting { start, .. } if record.machine_key.is_none() => Some(start),
        Phase::Booting { .. }
        | Phase::Requested
        | Phase::Provisioning { .. }
        | Phase::Running
        | Phase::Silent { .. }
        | Phase::Draining { .. }
        | Phase::Rescuing { .. }
        | Phase::Destroying { .. }
        | Phase::Asleep
        | Phase::Failed { .. }
        | Phase::Deleted { .. } => None,
    }
}

/// When the provider is asked next; `None` where there is nothing to ask.
pub(super) fn ask_at(record: &Record, policy: &Policy) -> Option<Timestamp> {
    let since = match stage(record)? {
        StartCheck::NotAsked => record.since,
        StartCheck::Unclear { asked_at } => asked_at,
        StartCheck::SwitchedOn { at } => at,
        StartCheck::Off | StartCheck::Runs => return None,
    };
    Some(plus(since, policy.start_question))
}

/// The effect that is due.
pub(super) fn due(record: &Record, context: &Context<'_>) -> Option<Effect> {
    if stage(record) == Some(StartCheck::Off) {
        return Some(Effect::Reboot);
    }
    ask_at(record, context.policy).filter(|at| *at <= context.now).map(|_| Effect::AskServer)
}

/// Takes in what the provider says of it.
pub(super) fn answered(draft: &mut Draft, seen: ServerStatus, context: &Context<'_>) {
    let Some(stage) = stage(&draft.record) else { return };
    let next = match (seen, stage) {
        (ServerStatus::Off, StartCheck::SwitchedOn { .. }) => return could_not_be_started(draft, context),
        (
            ServerStatus::Off,
            StartCheck::NotAsked | StartCheck::Unclear { .. } | StartCheck::Off | StartCheck::Runs,
        ) => {
            draft.note(
                EventCode::ServerOff,
                "Hetzner made the server and did not start it: it is switched on",
            );
            StartCheck::Off
        }
        (ServerStatus::Flat | ServerStatus::Alive, _) => StartCheck::Runs,
        (ServerStatus::Unclear, StartCheck::SwitchedOn { .. }) => StartCheck::SwitchedOn { at: context.now },
        (
            ServerStatus::Unclear,
            StartCheck::NotAsked | StartCheck::Unclear { .. } | StartCheck::Off | StartCheck::Runs,
        ) => StartCheck::Unclear { asked_at: context.now },
    };
    set(draft, next);
}

/// It was switched on.
pub(super) fn switched_on(draft: &mut Draft, now: Timestamp) {
    if stage(&draft.record) == Some(StartCheck::Off) {
        set(draft, StartCheck::SwitchedOn { at: now });
    }
}

fn set(draft: &mut Draft, next: StartCheck) {
    if let Phase::Booting { start, .. } = &mut draft.record.phase {
        *start = next;
    }
}

/// Ends a server that cannot be started. Where another place is left, the next machine begins there once this one is gone.
fn could_not_be_started(draft: &mut Draft, context: &Context<'_>) {
    let record = &mut draft.record;
    let here = record.spec.placement.clone();
    record.unstartable.push(here.clone());
    let what =
        format!("the provider could not start it: a server of {here} stayed off although it was switched on");
    match other_place::next(record).cloned() {
        Some(next) => {
            // What was chosen for this wake is chosen for the next one.
            let newest = record.snapshots.first().map(|snapshot| &snapshot.snapshot);
            if record.restore.as_ref() != newest {
                record.restore_snapshot_chosen.clone_from(&record.restore);
            }
            let because = Reason::new(EventCode::StartFailed, format!("{what}; trying {next}"));
            destroy(draft, None, because, context.now);
        }
        None => {
            record.unstartable.clear();
            let failure = failure(FailureCode::StartFailed, what, Hint::RetryOrMove);
            let because = Reason::from(&failure);
            destroy(draft, Some(failure), because, context.now);
        }
    }
}
