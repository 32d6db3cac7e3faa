//! Which move is due in each phase, once an input is taken in.
//!
//! The moves themselves are in `transitions`. What ends a machine with work on it is decided here, in `silence`, in
//! `rescue` and in `billing`.

use super::boot_bounds::{BootBounds, BootOver};
use super::draft::{Context, Draft, Reason, failure};
use super::rescue::{give_up_rescue, rescue};
use super::transitions::{
    self, destroy, discard, drain, drain_idle, fall_silent, leave_provisioning, rest, saved,
};
use super::{billing, deadlines, rescue_image, silence};
use crate::record::{DesiredState, Dns, DrainReason, Phase, plus};
use ebbtide_api::backups::Persistence;
use ebbtide_api::{EventCode, FailureCode, Hint, Timestamp};

/// No chain of moves without an effect is longer; a bound, so that a mistake here is no endless loop in the Worker.
const MOST_MOVES: usize = 8;

/// Lets the phase move on as far as it can without an effect.
pub(super) fn settle(draft: &mut Draft, context: &Context<'_>) {
    for _ in 0..MOST_MOVES {
        if !step(draft, context) {
            break;
        }
    }
    deadlines::warn(draft, context);
    rescue_image::tend(draft, context);
}

fn step(draft: &mut Draft, context: &Context<'_>) -> bool {
    let (now, policy) = (context.now, context.policy);
    let wanted = draft.record.desired;
    match draft.record.phase.clone() {
        Phase::Requested => match wanted {
            DesiredState::Awake => transitions::provision(draft, now),
            DesiredState::Asleep | DesiredState::Deleted | DesiredState::Discarded => {
                rest(draft, None, context)
            }
        },
        Phase::Provisioning { maybe_created, .. } => provisioning(draft, maybe_created, context),
        Phase::Booting { progress_at, restored_at, .. } => booting(draft, progress_at, restored_at, context),
        Phase::Running => running(draft, context),
        Phase::Silent { last_seen_at, draining, .. } => {
            silence::silent(draft, last_seen_at, draining, context)
        }
        Phase::Draining { reason, frozen, .. } => draining(draft, reason, frozen, context),
        Phase::Rescuing { started_at, .. } => {
            if wanted == DesiredState::Discarded {
                return discard(draft, now);
            }
            now >= draft.record.rescue_ends_at(started_at, policy) && {
                let why = rescue_image::why_none_in_time(&draft.record);
                give_up_rescue(draft, &why, context)
            }
        }
        Phase::Destroying { failure, server_gone, late_image, .. } => {
            let gone = server_gone && draft.record.dns == Dns::Absent && draft.record.in_flight.is_none();
            gone && match late_image.filter(|_| !rescue_image::may_be_abandoned(&draft.record, context)) {
                Some(_) => false,
                None => {
                    rescue_image::abandon(draft, context);
                    rest(draft, failure, context)
                }
            }
        }
        Phase::Asleep | Phase::Failed { .. } => match wanted {
            DesiredState::Awake if draft.record.live_lock(now).is_some() => false,
            DesiredState::Awake if !draft.may_begin => billing::give_up_reserving(draft, context),
            DesiredState::Awake => transitions::wake(draft, context),
            DesiredState::Deleted | DesiredState::Discarded => rest(draft, None, context),
            DesiredState::Asleep => {
                billing::stop_reserving(&mut draft.record);
                false
            }
        },
        Phase::Deleted { purged, .. } => {
            let undone = !purged
                && draft.record.in_flight.is_none()
                && matches!(wanted, DesiredState::Asleep | DesiredState::Awake);
            undone && transitions::undelete(draft, now)
        }
    }
}

fn provisioning(draft: &mut Draft, maybe_created: bool, context: &Context<'_>) -> bool {
    let now = context.now;
    if draft.record.desired != DesiredState::Awake {
        let because = Reason::new(EventCode::NotWanted, "it is not wanted any more");
        return leave_provisioning(draft, maybe_created, None, because, context);
    }
    if draft.record.server.is_some() {
        return transitions::boot(draft, now);
    }
    if now >= plus(draft.record.since, context.policy.provision_budget) {
        let waited_for =
            draft.record.pause.as_ref().map_or("the provider's answer", |pause| &pause.waiting_for);
        let failure = failure(
            FailureCode::ProviderUnavailable,
            format!("no server could be created within {}: {waited_for}", context.policy.provision_budget),
            Hint::RetryOrMove,
        );
        let because = Reason::new(EventCode::ProviderUnavailable, "provisioning took too long");
        return leave_provisioning(draft, maybe_created, Some(failure), because, context);
    }
    false
}

fn booting(
    draft: &mut Draft,
    progress_at: Timestamp,
    restored_at: Option<Timestamp>,
    context: &Context<'_>,
) -> bool {
    let (now, policy) = (context.now, context.policy);
    let record = &draft.record;
    if record.desired != DesiredState::Awake {
        let because = "it is not wanted any more; nothing was done in it yet";
        return destroy(draft, None, Reason::new(EventCode::NotWanted, because), now);
    }
    let Some(over) = BootBounds::of(record, progress_at, restored_at, policy).over(now) else {
        return false;
    };
    let hint = match over {
        BootOver::Stalled | BootOver::TooLong => Hint::ReadTheLog,
        BootOver::LifetimeOver => Hint::LongerLifetime,
    };
    let failure = failure(FailureCode::BootStalled, over.words(record, policy), hint);
    let because = Reason::from(&failure);
    destroy(draft, Some(failure), because, now)
}

fn running(draft: &mut Draft, context: &Context<'_>) -> bool {
    let now = context.now;
    if let Some(moved) = leave_on_wish(draft, now) {
        return moved;
    }
    if now >= draft.record.lifetime_ends_at() {
        draft.record.desired = DesiredState::Asleep;
        if draft.record.spec.persistence == Persistence::None {
            let because = "its lifetime is over, and it is not persisted, as was chosen";
            return destroy(draft, None, Reason::new(EventCode::LifetimeOver, because), now);
        }
        let because = Reason::new(EventCode::LifetimeOver, "its lifetime is over");
        return drain(draft, DrainReason::Lifetime, because, now);
    }
    if let Some(because) = billing::paid_hour_over(&draft.record, now) {
        return drain_idle(draft, because, now);
    }
    fall_silent(draft, None, context)
}

/// What a machine with work on it does when the owner wants it gone.
fn leave_on_wish(draft: &mut Draft, now: Timestamp) -> Option<bool> {
    let kept = draft.record.spec.persistence == Persistence::Backup;
    match draft.record.desired {
        DesiredState::Awake => None,
        DesiredState::Discarded => Some(discard(draft, now)),
        DesiredState::Asleep | DesiredState::Deleted if !kept => {
            Some(transitions::end_unpersisted(draft, now))
        }
        DesiredState::Asleep => {
            let because = Reason::new(EventCode::SleepAsked, "the owner puts it to sleep");
            Some(drain(draft, DrainReason::Asked, because, now))
        }
        DesiredState::Deleted => {
            let because = Reason::new(EventCode::DeleteAsked, "the owner deletes it; it is backed up first");
            Some(drain(draft, DrainReason::Asked, because, now))
        }
    }
}

fn draining(draft: &mut Draft, reason: DrainReason, frozen: bool, context: &Context<'_>) -> bool {
    let (now, policy) = (context.now, context.policy);
    let record = &draft.record;
    if record.final_snapshot.is_some() {
        return saved(draft, now);
    }
    match record.desired {
        DesiredState::Discarded => return discard(draft, now),
        // What a salvage machine does is part of the wake, whatever comes after it.
        DesiredState::Awake | DesiredState::Asleep | DesiredState::Deleted
            if reason == DrainReason::Salvage => {}
        DesiredState::Awake
            if !frozen && (reason != DrainReason::Lifetime || now < record.lifetime_ends_at()) =>
        {
            return transitions::take_back(draft, now);
        }
        DesiredState::Awake if record.may_thaw(now) => {
            return transitions::thaw(draft, now);
        }
        DesiredState::Awake | DesiredState::Asleep | DesiredState::Deleted => {}
    }
    if now >= record.drain_ends_at(policy) {
        let because = Reason::new(EventCode::DrainOverdue, "the backup did not finish in time");
        return rescue(draft, because, context);
    }
    fall_silent(draft, Some(reason), context)
}
