//! Which verified snapshots are kept, and which a machine may remove when it wakes: pure.
//!
//! The rule counts periods that *have* snapshots and keeps the newest of each, as restic's `forget` does; it reads no
//! clock. Times are those of verification, by the control plane's clock: a machine whose clock is wrong moves nothing.
//! Only snapshots that the control plane has verified itself are ever named, and old ones of the same machine that a later
//! receipt proves (passes over a file that changed, receipts that were lost); what an owner's restic wrote stays. What is
//! no longer kept *expires*, and goes with a *prune* in the boot of a later machine. See `lifecycle::repository_lock` for
//! who may carry it out.

use crate::policy::Policy;
use crate::record::{Prune, Record, plus};
use crate::repository::view::{Ledger, precedes_a_receipt};
use ebbtide_api::backups::{Persistence, Retention, SnapshotSummary};
use ebbtide_api::{Generation, Timestamp};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

/// Snapshots that one prune removes at most, the oldest first: each costs a handful of calls.
pub const PRUNED_AT_ONCE: usize = 150;

/// Of those that no list names it removes so many at least, however many have expired.
pub const ORPHANS_AT_ONCE: usize = 50;

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

/// Moves what is no longer kept from the list that wakes choose from to what has expired.
pub fn thin(record: &mut Record, policy: &Policy, now: Timestamp) {
    let rule = record.spec.retention.unwrap_or(policy.retention);
    record.unforgotten.retain(|unforgotten| now < unforgotten.until);
    let pinned =
        [&record.restore, &record.restore_snapshot_chosen, &record.final_snapshot].into_iter().flatten();
    let pinned = pinned.chain(record.unforgotten.iter().map(|unforgotten| &unforgotten.snapshot));
    let pinned: BTreeSet<&str> = pinned.map(String::as_str).collect();
    let mut keep = kept(&record.snapshots, &rule, &pinned).into_iter();
    let (stays, mut goes): (Vec<_>, Vec<_>) =
        std::mem::take(&mut record.snapshots).into_iter().partition(|_| keep.next().unwrap_or(true));
    record.snapshots = stays;
    goes.extend(record.snapshots.drain(record.snapshots.len().min(Record::SNAPSHOTS_KEPT)..));
    record.expired.append(&mut goes);
    record.expired.sort_by_key(|snapshot| snapshot.verified_at);
    bound_expired(record);
}

/// What the list of the expired has no room for is found in storage when a machine prunes, for a later receipt of its
/// machine proves it: so the newest of each machine's stays in a list.
fn bound_expired(record: &mut Record) {
    let mut surplus = record.expired.len().saturating_sub(Record::EXPIRED_KEPT);
    let mut newest: BTreeMap<Generation, Timestamp> = BTreeMap::new();
    for known in record.expired.iter().chain(&record.snapshots) {
        let latest = newest.entry(known.generation).or_insert(known.verified_at);
        *latest = known.verified_at.max(*latest);
    }
    record.expired.retain(|known| {
        let is_newest = newest.get(&known.generation).is_some_and(|latest| known.verified_at >= *latest);
        let goes = surplus > 0 && !is_newest;
        surplus = surplus.saturating_sub(usize::from(goes));
        !goes
    });
}

/// Moves back what has expired and kept by another rule, then thins by that.
pub fn keep_by(record: &mut Record, rule: Retention, policy: &Policy, now: Timestamp) {
    record.spec.retention = Some(rule);
    for known in std::mem::take(&mut record.expired) {
        // What has expired is never the newest, whatever a clock said.
        let least = record.snapshots.len().min(1);
        put_back(&mut record.snapshots, known, least);
    }
    thin(record, policy, now);
}

/// Puts a snapshot back in its place: the list is ordered by the time of verification, newest first.
pub fn put_back(list: &mut Vec<SnapshotSummary>, snapshot: SnapshotSummary, least: usize) {
    let older = list.iter().skip(least).position(|known| known.verified_at < snapshot.verified_at);
    list.insert(older.map_or(list.len(), |place| place.saturating_add(least)), snapshot);
}

/// What the machine of a new generation prunes before it restores; `None` where it is not worth its while yet.
pub fn order(record: &Record, policy: &Policy, now: Timestamp) -> Option<Prune> {
    let restores = record.salvage_image_id.is_none() && record.restore.is_some();
    if !restores || record.spec.persistence == Persistence::None || record.expired.is_empty() {
        return None;
    }
    if record.prune_again_at.is_some_and(|at| now < at) {
        return None;
    }
    // Whoever goes back to an older one may find the newer ones bad, and need those that have expired.
    let newest = record.snapshots.first().map(|known| &known.snapshot);
    if record.restore.as_ref() != newest {
        return None;
    }
    let last = record.pruned_at.unwrap_or(now);
    let many = record.expired.len() >= usize::try_from(policy.tidy_least).unwrap_or(usize::MAX);
    if !many && now < plus(last, policy.tidy_every) {
        return None;
    }
    let safe = |snapshot: &&SnapshotSummary| {
        let name = &snapshot.snapshot;
        record.restore.as_ref() != Some(name) && !record.snapshots.iter().any(|known| known.snapshot == *name)
    };
    let oldest = record.expired.iter().filter(safe).take(PRUNED_AT_ONCE);
    let snapshots: Vec<String> = oldest.map(|snapshot| snapshot.snapshot.clone()).collect();
    (!snapshots.is_empty()).then_some(Prune { snapshots, orphans: Vec::new(), until: None, ended: false })
}

/// A snapshot of a machine that arrived since then and that no receipt proves: it may be the only copy of something, and
/// while it is there nothing is removed.
pub fn unproved<'a>(record: &Record, ledger: &'a Ledger, since_ms: i64) -> Option<&'a str> {
    let is_only_copy = |by, at_ms| at_ms > since_ms && !precedes_a_receipt(record, by, at_ms);
    ledger.of_machines().find(|(_, by, at_ms)| is_only_copy(*by, *at_ms)).map(|(name, ..)| name)
}

/// Snapshots of machines that are proved and in no list: further passes over a file that changed, receipts that were lost
/// before a later one came, and what the list of the expired had no room for. However young: packs that only they need go
/// with the prune, and what stays listed must be whole. The oldest first, as many as one prune takes.
pub fn orphans(record: &Record, ledger: &Ledger) -> Vec<String> {
    let is_listed = |name: &str| {
        let mut lists = record.snapshots.iter().chain(&record.expired);
        lists.any(|known| known.snapshot == name)
    };
    let is_orphan = |(name, by, at_ms): &(&str, Generation, i64)| {
        precedes_a_receipt(record, *by, *at_ms) && !is_listed(name)
    };
    let found = ledger.of_machines().filter(is_orphan);
    found.take(PRUNED_AT_ONCE).map(|(name, ..)| name.to_owned()).collect()
}

fn whole(count: u32) -> usize {
    usize::try_from(count).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests;
