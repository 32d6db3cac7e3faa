//! When to look again, and the warnings before a lifetime ends.
//!
//! A record that may have a machine always has a time at which it is decided on again, whatever else happens.

use super::boot_bounds::BootBounds;
use super::draft::{Context, Draft};
use super::{billing, rescue_image, silence, start_check};
use crate::policy::Policy;
use crate::record::{DesiredState, Phase, Record, minus, plus};
use ebbtide_api::backups::Persistence;
use ebbtide_api::workspace::State;
use ebbtide_api::{Duration, EventCode, Timestamp};

/// When to decide again at the latest. A record that may have a machine always has such a time.
pub(super) fn wake_at(record: &Record, context: &Context<'_>) -> Option<Timestamp> {
    let policy = context.policy;
    let own = match &record.phase {
        Phase::Requested => Some(context.now),
        Phase::Provisioning { .. } => Some(plus(record.since, policy.provision_budget)),
        Phase::Booting { progress_at, restored_at, .. } => {
            let ends_at = BootBounds::of(record, *progress_at, *restored_at, policy).first();
            let asks_at = start_check::ask_at(record, policy).filter(|at| *at > context.now);
            Some(asks_at.map_or(ends_at, |at| at.min(ends_at)))
        }
        Phase::Running => {
            Some(record.lifetime_ends_at().min(plus(context.last_seen(record), policy.silence_after)))
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
            Some(record.drain_ends_at(policy).min(plus(context.last_seen(record), policy.silence_after)))
        }
        Phase::Rescuing { started_at, .. } => Some(record.rescue_ends_at(*started_at, policy)),
        Phase::Destroying { .. } => {
            let soon = plus(context.now, policy.retry_cap);
            Some(rescue_image::abandoned_at(record, context).map_or(soon, |at| at.min(soon)))
        }
        Phase::Deleted { purge_at, purged } => (!purged).then_some(*purge_at),
        // A wake that waits for the end of a repository lock.
        Phase::Asleep | Phase::Failed { .. } => {
            let lock = record.live_lock(context.now).filter(|_| record.desired == DesiredState::Awake);
            lock.map(|lock| lock.until)
        }
    };
    // What is over and could not be acted on (a held machine, a purge that waits) is looked at again soon and not at once:
    // an alarm for the past fires immediately, for ever.
    let own = own.map(|at| if at > context.now { at } else { plus(context.now, policy.retry_cap) });
    let effect = record.in_flight.as_ref().map(|flight| plus(flight.started_at, policy.effect_timeout));
    let pause = record.pause.as_ref().filter(|pause| pause.until > context.now).map(|pause| pause.until);
    let warning =
        is_warned(record).then(|| next_warning(record, policy)).flatten().filter(|at| *at > context.now);
    let images = rescue_image::wake_at(record, context);
    let money = billing::wake_at(record, context);
    [own, effect, pause, warning, images, money].into_iter().flatten().min()
}

/// Warns of the end of the lifetime, each warning once.
pub(super) fn warn(draft: &mut Draft, context: &Context<'_>) {
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
            draft.note(EventCode::LifetimeEndsSoon, format!("the lifetime ends in {left}: {then}"));
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

/// The alarm fired. Where it was late, time in which nobody acted is not the machine's fault: its clocks begin anew.
pub(super) fn tick(draft: &mut Draft, due_at: Option<Timestamp>, context: &Context<'_>) {
    let late = due_at.is_some_and(|due| context.now >= plus(due, context.policy.alarm_lateness));
    if late {
        let before = draft.record.hard_end_at(context.policy);
        draft.record.clocks_restarted_at = Some(context.now);
        // The label ends the machine where nobody else does: it must not be earlier than we are.
        if draft.record.hard_end_at(context.policy) > before && draft.record.phase.may_have_machine() {
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
    draft.record.last_seen_at = draft.record.last_seen_at.max(context.last_seen_at);
}
