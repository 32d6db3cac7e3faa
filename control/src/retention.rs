//! Which verified snapshots are kept, and which a machine may remove when it wakes: pure.
//!
//! The rule counts periods that *have* snapshots and keeps the newest of each, as restic's `forget` does; it reads no
//! clock. Times are those of verification, by the control plane's clock: a machine whose clock is wrong moves nothing.
//! Only snapshots that the control plane has verified itself are ever named; whoever wrote something else (an owner's
//! restic, a machine whose receipt never came) keeps it. What is no longer kept becomes *due*, and goes with a *tidying*
//! in the boot of a later machine. See `decide::grants` for who may carry it out.

use crate::policy::Policy;
use crate::record::{Record, Tidying, plus};
use ebbtide_api::Timestamp;
use ebbtide_api::backups::Retention;
use ebbtide_api::workspace::{Persistence, SnapshotSummary};
use std::cmp::Reverse;
use std::collections::BTreeSet;

/// Snapshots that one tidying removes at most, the oldest first: each costs a handful of calls.
pub const TIDIED_AT_ONCE: usize = 150;

const HOUR: i64 = 3_600;
const DAY: i64 = 24 * HOUR;
/// The first of January 1970 was a Thursday; weeks begin on Monday.
const MONDAY: i64 = 3 * DAY;

/// For each snapshot whether it is kept. The list is ordered by verification, newest first: its first one, and the first
/// that is whole, are kept under every rule, as are those that `pinned` names.
pub fn kept(list: &[SnapshotSummary], rule: &Retention, pinned: &BTreeSet<&str>) -> Vec<bool> {
    let mut by_time: Vec<(usize, &SnapshotSummary)> = list.iter().enumerate().collect();
    // Stable: at the same time, what was verified later is newer.
    by_time.sort_by_key(|(_, snapshot)| Reverse(snapshot.verified_at));
    let mut keep: BTreeSet<usize> =
        by_time.iter().take(whole(rule.keep_last)).map(|(place, _)| *place).collect();
    for (count, length, offset) in
        [(rule.hourly, HOUR, 0), (rule.daily, DAY, 0), (rule.weekly, 7 * DAY, MONDAY)]
    {
        let mut periods = BTreeSet::new();
        for (place, snapshot) in &by_time {
            let period = snapshot.verified_at.as_second().saturating_add(offset).div_euclid(length);
            if periods.len() < whole(count) && periods.insert(period) {
                keep.insert(*place);
            }
        }
    }
    let newest_whole = list.iter().position(|snapshot| !snapshot.partial);
    list.iter()
        .enumerate()
        .map(|(place, snapshot)| {
            place == 0
                || Some(place) == newest_whole
                || keep.contains(&place)
                || pinned.contains(snapshot.snapshot.as_str())
        })
        .collect()
}

/// Moves what is no longer kept from the list that wakes choose from to what is due.
pub fn thin(record: &mut Record, policy: &Policy) {
    let rule = record.spec.retention.unwrap_or(policy.retention);
    let pinned = [&record.restore, &record.chosen, &record.final_snapshot];
    let pinned: BTreeSet<&str> = pinned.into_iter().flatten().map(String::as_str).collect();
    let mut keep = kept(&record.snapshots, &rule, &pinned).into_iter();
    let (stays, mut goes): (Vec<_>, Vec<_>) =
        std::mem::take(&mut record.snapshots).into_iter().partition(|_| keep.next().unwrap_or(true));
    record.snapshots = stays;
    // What does not fit any more stays in storage, unlisted and untouched.
    record.snapshots.truncate(Record::SNAPSHOTS_KEPT);
    record.due.append(&mut goes);
    record.due.sort_by_key(|snapshot| snapshot.verified_at);
    let surplus = record.due.len().saturating_sub(Record::DUE_KEPT);
    record.due.drain(..surplus);
}

/// What the machine of a new generation tidies before it restores; `None` where it is not worth its while yet.
pub fn order(record: &Record, policy: &Policy, now: Timestamp) -> Option<Tidying> {
    let restores = record.salvages.is_none() && record.restore.is_some();
    if !restores || record.spec.persistence == Persistence::None || record.due.is_empty() {
        return None;
    }
    if record.tidy_again_at.is_some_and(|at| now < at) {
        return None;
    }
    let last = record.tidied_at.unwrap_or(record.created_at);
    let many = record.due.len() >= usize::try_from(policy.tidy_least).unwrap_or(usize::MAX);
    if !many && now < plus(last, policy.tidy_every) {
        return None;
    }
    let safe = |snapshot: &&SnapshotSummary| {
        let name = &snapshot.snapshot;
        record.restore.as_ref() != Some(name) && !record.snapshots.iter().any(|known| known.snapshot == *name)
    };
    let oldest = record.due.iter().filter(safe).take(TIDIED_AT_ONCE);
    let snapshots: Vec<String> = oldest.map(|snapshot| snapshot.snapshot.clone()).collect();
    (!snapshots.is_empty()).then_some(Tidying { snapshots, until: None, ended: false })
}

fn whole(count: u32) -> usize {
    usize::try_from(count).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests;
