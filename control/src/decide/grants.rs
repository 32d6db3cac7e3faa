//! Grants: the owner's exclusive right to change a repository, and what follows for the list of verified snapshots.
//!
//! A grant is given only while no machine exists, and no machine is begun while one is in force: between them nobody
//! reads half of what somebody else deletes. It ends by itself, so that a client that dies keeps no workspace asleep.

use super::{Context, Draft};
use crate::record::{Grant, Phase, Record, Wanted, plus};
use ebbtide_api::ErrorCode;
use ebbtide_api::workspace::SnapshotSummary;

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
            let left = grant.until.duration_since(now).as_secs();
            if left.saturating_mul(2) < i64::try_from(policy.grant_idle.as_secs()).unwrap_or(i64::MAX) {
                draft.record.grant = Some(Grant { by, until });
            }
        }
        None => {
            draft.note(format!("{by} works on the backups; a wake waits until that ends"));
            draft.record.grant = Some(Grant { by, until });
        }
    }
}

/// Gives the grant back.
pub(super) fn end(draft: &mut Draft, by: &str) {
    if draft.record.grant.take_if(|grant| grant.by == by).is_some() {
        draft.note(format!("{by} is done with the backups"));
    }
}

/// Takes a snapshot from the list that wakes choose from.
pub(super) fn forget(draft: &mut Draft, snapshot: &str) {
    let Record { snapshots, forgotten, .. } = &mut draft.record;
    if let Some(summary) = remove(snapshots, snapshot) {
        forgotten.insert(0, summary);
        forgotten.truncate(Record::SNAPSHOTS_KEPT);
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
