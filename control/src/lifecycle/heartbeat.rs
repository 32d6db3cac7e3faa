//! What machines say: heartbeats and enrolments. Moves no phase on, except where what is said *is* the move (ready, idle,
//! a boot that failed).

use super::draft::{Context, Draft, Reason, failure};
use super::input::HeartbeatSummary;
use super::transitions::{destroy, drain_idle, ready};
use super::{billing, receipts, repository_lock};
use crate::backup_capacity;
use crate::record::{AwakeLine, DesiredState, DrainReason, MemoryTold, Phase, Record, plus};
use ebbtide_api::backups::Persistence;
use ebbtide_api::vm::DrainPhase;
use ebbtide_api::why::BackupEstimate;
use ebbtide_api::{Duration, ErrorCode, EventCode, FailureCode, Hint, Timestamp};

/// How often the line of a running workspace is written down at most.
const LINE_EVERY: Duration = Duration::from_mins(10);

/// How often it is told at most that programs ended for lack of memory.
const MEMORY_EVERY: Duration = Duration::from_mins(10);

/// How often the progress of a boot is written down at most, in seconds.
const PROGRESS_EVERY_SECS: u64 = 10;

/// Takes in what a machine says of itself.
pub(super) fn take_in(draft: &mut Draft, heartbeat: HeartbeatSummary, context: &Context<'_>) {
    if heartbeat.past_prune {
        repository_lock::prune_is_over(draft);
    }
    if let Some((kills, program)) = &heartbeat.out_of_memory {
        tell_of_memory(draft, *kills, program, context);
    }
    let says_frozen = matches!(heartbeat.drain, Some(DrainPhase::Frozen | DrainPhase::Done));
    draft.record.thaw_requested &= says_frozen;
    let is_frozen = says_frozen && !draft.record.thaw_requested;
    if !is_frozen {
        // It works, or may: what it delivered before is a backup and no more.
        receipts::demote_pending(&mut draft.record);
    }
    match &mut draft.record.phase {
        Phase::Booting { progress, progress_at, restored, restored_at, .. } => {
            // A daemon that starts again counts from the beginning, which is no progress. Whoever goes up and down on
            // purpose gains nothing: rising for ever is as easy, and the other bounds of a boot hold for both.
            *progress = heartbeat.boot_progress.min(*progress);
            *restored = heartbeat.restored.min(*restored);
            // Each is a row: not one for every line that a boot logs.
            let every =
                Duration::from_secs(PROGRESS_EVERY_SECS.min(context.policy.boot_stall.as_secs() / 10));
            if heartbeat.boot_progress > *progress && context.now >= plus(*progress_at, every) {
                *progress = heartbeat.boot_progress;
                *progress_at = context.now;
                if heartbeat.restored > *restored {
                    *restored = heartbeat.restored;
                    *restored_at = Some(context.now);
                }
            }
            boots(draft, heartbeat, context.now);
        }
        Phase::Running => runs(draft, &heartbeat, context),
        Phase::Draining { reason, trouble, frozen } => {
            *frozen = is_frozen;
            *trouble = heartbeat.backup_trouble;
            let taken_back = *reason == DrainReason::Idle && !*frozen;
            if taken_back && heartbeat.busy.is_some() {
                draft.record.desired = DesiredState::Awake;
            }
        }
        // What is silent is heard again by the time of the heartbeat (`silence`); the others have no machine that counts.
        Phase::Requested
        | Phase::Provisioning { .. }
        | Phase::Silent { .. }
        | Phase::Rescuing { .. }
        | Phase::Destroying { .. }
        | Phase::Asleep
        | Phase::Failed { .. }
        | Phase::Deleted { .. } => {}
    }
}

fn boots(draft: &mut Draft, heartbeat: HeartbeatSummary, now: Timestamp) {
    if let Some(message) = heartbeat.boot_failure {
        let failure = failure(FailureCode::BootFailed, message, Hint::CorrectAndRetry);
        let because = Reason::from(&failure);
        destroy(draft, Some(failure), because, now);
    } else if heartbeat.ready {
        ready(draft, now);
        for warning in heartbeat.boot_warnings {
            draft.note(EventCode::BootWarning, warning);
        }
    }
}

fn runs(draft: &mut Draft, heartbeat: &HeartbeatSummary, context: &Context<'_>) {
    keep_line(&mut draft.record, heartbeat.line.as_ref(), context.now);
    if let Some(estimate) = heartbeat.estimate {
        warn_of_size(draft, &estimate, heartbeat.stored_bytes.unwrap_or(0), context);
    }
    let held = draft.record.holds.iter().any(|hold| hold.ends_at > context.now);
    match &heartbeat.idle {
        Some(because) if !held && draft.record.desired == DesiredState::Awake => {
            if !billing::keep_warm(draft, because, context) {
                drain_idle(draft, Reason::new(EventCode::Idle, because), context.now);
            }
        }
        Some(_) | None => billing::busy_again(draft, heartbeat.busy.as_deref()),
    }
}

/// Keeps why it is awake for lists, which ask no object. Each change is a row here and one in the database, so that there
/// is one in `LINE_EVERY` at most: twelve rows an hour of a workspace that does ever other things.
fn keep_line(record: &mut Record, line: Option<&String>, now: Timestamp) {
    let Some(line) = line else { return };
    let kept = record.awake_line.as_ref().filter(|kept| kept.at >= record.since);
    if kept.is_none_or(|kept| kept.line != *line && now >= plus(kept.at, LINE_EVERY)) {
        record.awake_line = Some(AwakeLine { line: line.clone(), at: now });
    }
}

/// Tells when programs ended for lack of memory, the first at once and then once in `MEMORY_EVERY`: a machine short of
/// memory ends many.
fn tell_of_memory(draft: &mut Draft, kills: u32, program: &str, context: &Context<'_>) {
    let generation = draft.record.generation;
    let told = draft.record.memory_told.as_ref().filter(|told| told.generation == generation);
    // Fewer than before: it was rebooted, and counts anew.
    let known = told.map_or(0, |told| if kills < told.kills { 0 } else { told.kills });
    if kills <= known || told.is_some_and(|told| context.now < plus(told.at, MEMORY_EVERY)) {
        return;
    }
    let others = match kills - known {
        1 => String::new(),
        more => format!(" (and {} more)", more - 1),
    };
    let text = format!(
        "{program}{others} was killed for lack of memory; with a larger `size` the next wake has more"
    );
    draft.record.memory_told = Some(MemoryTold { generation, kills, at: context.now });
    draft.note(EventCode::OutOfMemory, text);
}

/// Tells once when the next backup would not fit, and once when it fits again.
fn warn_of_size(draft: &mut Draft, estimate: &BackupEstimate, stored_bytes: u64, context: &Context<'_>) {
    let was = draft.record.backup_exceeds;
    let lifetime = draft.record.spec.lifetime;
    let exceeds = backup_capacity::exceeded(estimate, stored_bytes, lifetime, context.policy, was);
    if exceeds == was || draft.record.spec.persistence == Persistence::None {
        return;
    }
    draft.record.backup_exceeds = exceeds;
    match exceeds {
        Some(limit) => {
            let warning = backup_capacity::warning(limit, estimate, stored_bytes, lifetime, context.policy);
            draft.note(EventCode::BackupTooLarge, warning);
        }
        None => draft.note(EventCode::BackupFitsAgain, "the next backup fits again"),
    }
}

/// Binds the machine key that was shown first; a second one is refused, whoever shows it.
pub(super) fn enrol(draft: &mut Draft, machine_key: String, context: &Context<'_>) {
    let alive = match &mut draft.record.phase {
        Phase::Booting { progress_at, .. } => {
            *progress_at = context.now;
            true
        }
        Phase::Provisioning { .. } | Phase::Running | Phase::Silent { .. } | Phase::Draining { .. } => true,
        Phase::Requested
        | Phase::Rescuing { .. }
        | Phase::Destroying { .. }
        | Phase::Asleep
        | Phase::Failed { .. }
        | Phase::Deleted { .. } => false,
    };
    if !alive {
        return draft.refuse(ErrorCode::StaleGeneration, "this machine's time is over");
    }
    match &draft.record.machine_key {
        None => {
            draft.record.machine_key = Some(machine_key);
            draft.note(EventCode::Enrolled, "the machine has enrolled");
        }
        Some(bound) if *bound == machine_key => {}
        Some(_) => {
            draft.refuse(ErrorCode::EnrolmentRefused, "another machine key is enrolled for this generation")
        }
    }
}
