//! Grants: the exclusive right to change a repository, and what follows for the list of verified snapshots.
//!
//! An owner's grant is given only while no machine exists, and no machine is begun while one is in force: between them
//! nobody reads half of what somebody else deletes. It ends by itself, so that a client that dies keeps no workspace
//! asleep. A machine's grant, its *tidying*, is given once, before it restores anything, for snapshots that were named
//! when its generation began; it cannot be prolonged, and is over when the machine is ready.

use super::{Context, Draft};
use crate::record::{Grant, Phase, Record, Wanted, plus};
use ebbtide_api::vm::TidyReport;
use ebbtide_api::workspace::SnapshotSummary;
use ebbtide_api::{ErrorCode, Generation};

/// Takes the grant, or moves its end on. Renewed only past half of its time, so that most uses write nothing.
pub(super) fn take(draft: &mut Draft, by: String, context: &Context<'_>) {
    let (now, policy) = (context.now, context.policy);
    let state = draft.record.state();
    let rests = matches!(draft.record.phase, Phase::Asleep | Phase::Failed { .. });
    if !rests || draft.record.wanted != Wanted::Asleep {
        let held = draft.record.live_grant(now).is_some_and(|grant| grant.by == by);
        // Whoever waits for a wake waits for the work that was begun before it.
        if !(rests && held && draft.record.wanted == Wanted::Awake) {
            let message = format!("the backups are changed only while no machine exists; it is {state}");
            return draft.refuse(ErrorCode::DeletionRefused, message);
        }
    }
    let until = plus(now, policy.grant_idle);
    match draft.record.live_grant(now) {
        Some(grant) if grant.by != by => {
            let message = format!("{} works on the backups, until {} at least", grant.by, grant.until);
            draft.refuse(ErrorCode::WrongState, message);
        }
        Some(grant) => {
            let since = grant.since;
            let left = grant.until.duration_since(now).as_secs();
            if left.saturating_mul(2) < i64::try_from(policy.grant_idle.as_secs()).unwrap_or(i64::MAX) {
                draft.record.grant = Some(Grant { by, since, until });
            }
        }
        None => {
            draft.note(format!("{by} works on the backups; a wake waits until that ends"));
            draft.record.grant = Some(Grant { by, since: now, until });
        }
    }
}

/// Gives the grant back.
pub(super) fn end(draft: &mut Draft, by: &str) {
    if draft.record.grant.take_if(|grant| grant.by == by).is_some() {
        // Who works on them may have made room; the next list says how much is left.
        draft.record.crowded = None;
        draft.note(format!("{by} is done with the backups"));
    }
}

/// A machine begins to tidy, or goes on after its agent was started anew: the time that it has runs from the first call.
pub(super) fn begin_tidying(draft: &mut Draft, generation: Generation, context: &Context<'_>) {
    let until = plus(context.now, context.policy.tidy_limit);
    let is_new = draft.record.tidying.as_ref().is_some_and(|tidying| tidying.until.is_none());
    if let Some(tidying) = draft.record.tidying.as_mut().filter(|_| generation == draft.record.generation) {
        tidying.until.get_or_insert(until);
    }
    if !draft.record.may_tidy(generation, context.now) {
        return draft.refuse(ErrorCode::DeletionRefused, "there is nothing that this machine may remove now");
    }
    if is_new {
        draft.record.tidy_again_at = Some(plus(context.now, context.policy.tidy_again));
        let count = draft.record.tidying.as_ref().map_or(0, |tidying| tidying.snapshots.len());
        draft.note(format!("the machine removes old backups first: {count} snapshots"));
    }
}

/// A machine is done with that.
pub(super) fn end_tidying(
    draft: &mut Draft,
    generation: Generation,
    report: &TidyReport,
    context: &Context<'_>,
) {
    if generation != draft.record.generation {
        return draft.refuse(ErrorCode::StaleGeneration, "this machine's time is over");
    }
    let Some(tidying) = draft.record.tidying.as_mut().filter(|tidying| !tidying.ended) else { return };
    tidying.ended = true;
    let TidyReport { complete, snapshots, packs, bytes, .. } = report;
    draft.record.crowded = None;
    if *complete {
        draft.record.tidied_at = Some(context.now);
        draft.record.tidy_again_at = None;
        draft.note(format!("old backups are removed: {snapshots} snapshots, {packs} packs of {bytes} bytes"));
    } else {
        draft.note("old backups were not removed, or not all; a later wake goes on");
    }
}

/// Somebody has listed so many objects of a kind. Told when it is news, and again for every thousands more.
pub(super) fn crowded(draft: &mut Draft, objects: u32, context: &Context<'_>) {
    if objects < context.policy.crowded_objects {
        draft.record.crowded = None;
        return;
    }
    let step = (context.policy.crowded_objects / 4).max(1);
    if draft.record.crowded.is_none_or(|told| objects / step > told / step) {
        draft.record.crowded = Some(objects);
        draft.note(crowding(objects));
    }
}

/// The warning.
pub fn crowding(objects: u32) -> String {
    format!(
        "the backups hold {objects} objects of one kind; beyond 36000 they can be listed no more, and backups stop: remove          old ones with `restic forget --prune`, or keep fewer (`retention`)"
    )
}

/// Takes a snapshot from the list that wakes choose from.
pub(super) fn forget(draft: &mut Draft, snapshot: &str) {
    let Record { snapshots, due, forgotten, .. } = &mut draft.record;
    let was_due = remove(due, snapshot);
    let is_due = was_due.is_some();
    if let Some(summary) = remove(snapshots, snapshot).or(was_due) {
        forgotten.insert(0, summary);
        forgotten.truncate(Record::DUE_KEPT);
    } else {
        return;
    }
    // A tidying says once what it removed.
    if !is_due {
        draft.note(format!("the snapshot {snapshot} was removed from the backups"));
    }
}

/// Puts it back in its place: the list is ordered by the time of verification, newest first.
pub(super) fn recall(draft: &mut Draft, snapshot: &str) {
    let Record { snapshots, forgotten, .. } = &mut draft.record;
    if let Some(summary) = remove(forgotten, snapshot) {
        let place = snapshots.iter().position(|known| known.verified_at < summary.verified_at);
        snapshots.insert(place.unwrap_or(snapshots.len()), summary);
        draft.note(format!("the snapshot {snapshot} is back among the backups"));
    }
}

fn remove(list: &mut Vec<SnapshotSummary>, snapshot: &str) -> Option<SnapshotSummary> {
    let place = list.iter().position(|known| known.snapshot == snapshot)?;
    Some(list.remove(place))
}
