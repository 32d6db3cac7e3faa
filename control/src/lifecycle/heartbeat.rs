//! Takes what happened into the record: what machines say here, the rest by `commands`, `receipts` and `outcomes`. Moves
//! no phase on by itself, except where the input *is* the move (ready, idle, a refusal by the provider).

use super::draft::{Context, Draft, failure};
use super::input::{Heard, Input};
use super::phases::{demote_receipt, destroy, drain_idle};
use super::{commands, outcomes, receipts, repository_lock};
use crate::backup_capacity;
use crate::record::{DesiredState, DrainReason, Phase, plus};
use ebbtide_api::backups::Persistence;
use ebbtide_api::vm::DrainPhase;
use ebbtide_api::why::BackupEstimate;
use ebbtide_api::{ErrorCode, Hint, Timestamp};

pub(super) fn take(draft: &mut Draft, input: Input, context: &Context<'_>) {
    match input {
        Input::Tick { due_at } => tick(draft, due_at, context),
        Input::Ask(command) => commands::ask(draft, command, context),
        Input::Heard(heard) => hear(draft, heard, context),
        Input::Enrolled { machine_key } => enrol(draft, machine_key, context),
        Input::Delivered { receipt, last } => receipts::deliver(draft, receipt, last),
        Input::Finished { attempt_id, outcome } => outcomes::finish(draft, attempt_id, outcome, context),
    }
}

/// An effect whose end nobody reported in time may have landed; it is begun anew.
pub(super) fn expire_lost_effect(draft: &mut Draft, context: &Context<'_>) {
    let Some(flight) = draft.record.in_flight.clone() else { return };
    if context.now >= plus(flight.started_at, context.policy.effect_timeout) {
        draft.record.in_flight = None;
        outcomes::later(draft, flight.effect, "an answer that never came".to_owned(), true, None, context);
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
    draft.record.last_seen_at = draft.record.last_seen_at.max(context.last_seen_at);
}

fn hear(draft: &mut Draft, heard: Heard, context: &Context<'_>) {
    let now = context.now;
    if heard.past_tidying {
        repository_lock::tidying_is_over(draft);
    }
    let says_frozen = matches!(heard.drain, Some(DrainPhase::Frozen | DrainPhase::Done));
    draft.record.thaw_requested &= says_frozen;
    let is_frozen = says_frozen && !draft.record.thaw_requested;
    if !is_frozen {
        // It works, or may: what it delivered before is a backup and no more.
        demote_receipt(draft);
    }
    match &mut draft.record.phase {
        Phase::Booting { progress, progress_at } => {
            if heard.boot_progress > *progress {
                *progress = heard.boot_progress;
                *progress_at = now;
            }
            if let Some(message) = heard.boot_failure {
                let failure = failure("boot_failed", message.clone(), Hint::CorrectAndRetry);
                destroy(draft, Some(failure), message, now);
            } else if heard.ready && draft.record.salvage_image_id.is_some() {
                let phase = Phase::Draining { reason: DrainReason::Salvage, trouble: None, frozen: false };
                draft.enter(phase, "what it holds is being backed up", now);
            } else if heard.ready {
                let because = match draft.record.spec.persistence {
                    Persistence::Backup => "ready",
                    Persistence::None => {
                        "ready; nothing in it is backed up, as was chosen: its files end with this machine"
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
            match (heard.idle, held, draft.record.desired) {
                (Some(because), false, DesiredState::Awake) => {
                    if !super::billing::keep_warm(draft, &because, context) {
                        drain_idle(draft, &because, now);
                    }
                }
                _ => super::billing::busy_again(draft, heard.busy.as_deref()),
            }
        }
        Phase::Draining { reason, trouble, frozen } => {
            *frozen = is_frozen;
            *trouble = heard.backup_trouble;
            let taken_back = *reason == DrainReason::Idle && !*frozen;
            if let (true, Some(_)) = (taken_back, heard.busy) {
                draft.record.desired = DesiredState::Awake;
            }
        }
        _ => {}
    }
}

/// Tells once when the next backup would not fit, and once when it fits again.
fn strained(draft: &mut Draft, estimate: &BackupEstimate, stored_bytes: u64, context: &Context<'_>) {
    let was = draft.record.backup_exceeds;
    let strain = backup_capacity::exceeded(estimate, stored_bytes, context.policy, was);
    if strain == was || draft.record.spec.persistence == Persistence::None {
        return;
    }
    draft.record.backup_exceeds = strain;
    match strain {
        Some(strain) => draft.note(backup_capacity::warning(strain, estimate, stored_bytes, context.policy)),
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
