//! The repository's lock: the exclusive right to change a repository, and what follows for the list of verified snapshots.
//!
//! An owner's lock is given only while no machine exists, and no machine is begun while one is in force: between them
//! nobody reads half of what somebody else deletes. It ends by itself, so that a client that dies keeps no workspace
//! asleep. A machine's right to *prune* is given once, before it restores anything, for snapshots that were named
//! when its generation began; it cannot be prolonged, and is over when the machine is ready.

use super::draft::{Context, Draft};
use crate::record::{DesiredState, Phase, Prune, Record, RepositoryLock, Unforgotten, plus};
use crate::retention::{ORPHANS_AT_ONCE, PRUNED_AT_ONCE, put_back};
use crate::text::cut;
use ebbtide_api::backups::SnapshotSummary;
use ebbtide_api::text::time;
use ebbtide_api::vm::PruneReport;
use ebbtide_api::{ErrorCode, EventCode, Generation};

/// Takes the lock, or moves its end on. Renewed only past half of its time, so that most uses write nothing.
pub(super) fn take(draft: &mut Draft, by: String, context: &Context<'_>) {
    let (now, policy) = (context.now, context.policy);
    let state = draft.record.state();
    let rests = matches!(draft.record.phase, Phase::Asleep | Phase::Failed { .. });
    if !rests || draft.record.desired != DesiredState::Asleep {
        let held = draft.record.live_lock(now).is_some_and(|lock| lock.by == by);
        // Whoever waits for a wake waits for the work that was begun before it.
        if !(rests && held && draft.record.desired == DesiredState::Awake) {
            let message = format!("the backups are changed only while no machine exists; it is {state}");
            return draft.refuse(ErrorCode::DeletionRefused, message);
        }
    }
    let until = plus(now, policy.grant_idle);
    match draft.record.live_lock(now) {
        Some(lock) if lock.by != by => {
            let message = format!("{} works on the backups, until {} at least", lock.by, time(lock.until));
            draft.refuse(ErrorCode::WrongState, message);
        }
        Some(lock) => {
            let since = lock.since;
            let left = lock.until.duration_since(now).as_secs();
            if left.saturating_mul(2) < i64::try_from(policy.grant_idle.as_secs()).unwrap_or(i64::MAX) {
                draft.record.lock = Some(RepositoryLock { by, since, until });
            }
        }
        None => {
            let sentence = format!("{by} works on the backups; a wake waits until that ends");
            draft.note(EventCode::BackupsLocked, sentence);
            draft.record.lock = Some(RepositoryLock { by, since: now, until });
        }
    }
}

/// Gives the lock back.
pub(super) fn end(draft: &mut Draft, by: &str) {
    if draft.record.lock.take_if(|lock| lock.by == by).is_some() {
        // Who works on them may have made room; the next list says how much is left.
        draft.record.object_count_warned = None;
        draft.note(EventCode::BackupsUnlocked, format!("{by} is done with the backups"));
    }
}

/// A machine begins to prune, or goes on after its agent was started anew: the time that it has runs from the first call.
pub(super) fn begin_prune(
    draft: &mut Draft,
    generation: Generation,
    mut orphans: Vec<String>,
    context: &Context<'_>,
) {
    let until = plus(context.now, context.policy.tidy_limit);
    let is_new = draft.record.prune.as_ref().is_some_and(|prune| prune.until.is_none());
    orphans.retain(|name| !is_listed(&draft.record, name));
    if let Some(prune) = draft.record.prune.as_mut().filter(|_| generation == draft.record.generation) {
        prune.until.get_or_insert(until);
        if is_new {
            orphans.truncate(PRUNED_AT_ONCE.saturating_sub(prune.snapshots.len()).max(ORPHANS_AT_ONCE));
            prune.orphans = orphans;
        }
    }
    if !draft.record.may_prune(generation, context.now) {
        return draft.refuse(ErrorCode::DeletionRefused, "there is nothing that this machine may remove now");
    }
    if is_new {
        draft.record.prune_again_at = Some(plus(context.now, context.policy.tidy_again));
        let named = |prune: &Prune| prune.snapshots.len().saturating_add(prune.orphans.len());
        let count = draft.record.prune.as_ref().map_or(0, named);
        let sentence = format!("the machine removes old backups first: {count} snapshots");
        draft.note(EventCode::RemovingOldBackups, sentence);
    }
}

/// Whether a list names the snapshot, or something stands on it.
fn is_listed(record: &Record, name: &str) -> bool {
    let lists = record.snapshots.iter().chain(&record.expired).chain(&record.forgotten);
    let lists =
        lists.map(|known| &known.snapshot).chain(record.unforgotten.iter().map(|known| &known.snapshot));
    let used =
        [&record.restore, &record.restore_snapshot_chosen, &record.final_snapshot].into_iter().flatten();
    lists.chain(used).any(|known| known == name)
}

/// The boot has gone past the step that prunes, whatever came of it: from here on the user's own files may run.
pub(super) fn prune_is_over(draft: &mut Draft) {
    let Some(prune) = draft.record.prune.as_mut().filter(|prune| !prune.ended) else { return };
    prune.ended = true;
    if prune.until.is_some() {
        let sentence = "the machine did not say what became of old backups; a later wake goes on";
        draft.note(EventCode::OldBackupsUnknown, sentence);
    }
}

/// A machine is done with that.
pub(super) fn end_prune(
    draft: &mut Draft,
    generation: Generation,
    report: &PruneReport,
    context: &Context<'_>,
) {
    if generation != draft.record.generation {
        return draft.refuse(ErrorCode::StaleGeneration, "this machine's time is over");
    }
    let Some(prune) = draft.record.prune.as_mut().filter(|prune| !prune.ended) else { return };
    prune.ended = true;
    let has_begun = prune.until.is_some();
    let boots = matches!(draft.record.phase, Phase::Provisioning { .. } | Phase::Booting { .. });
    let PruneReport { complete, snapshots, packs, bytes, reason, .. } = report;
    // One that was refused, or is over long since, has removed nothing.
    if !has_begun || !boots {
        if let Some(reason) = reason {
            let sentence = format!("old backups are left as they are: {}", cut(reason));
            draft.note(EventCode::OldBackupsLeft, sentence);
        }
        return;
    }
    draft.record.object_count_warned = None;
    if *complete {
        draft.record.pruned_at = Some(context.now);
        draft.record.prune_again_at = None;
        let sentence =
            format!("old backups are removed: {snapshots} snapshots, {packs} packs of {bytes} bytes");
        draft.note(EventCode::OldBackupsRemoved, sentence);
    } else {
        let why = reason.as_deref().map_or_else(String::new, |reason| format!(": {}", cut(reason)));
        let sentence = format!("old backups were not removed, or not all; a later wake goes on{why}");
        draft.note(EventCode::OldBackupsNotRemoved, sentence);
    }
}

/// Somebody has listed so many objects of a kind, where a list holds about `most`. Told when it is news, and again for
/// every quarter more.
pub(super) fn object_count(draft: &mut Draft, objects: u32, most: u32, context: &Context<'_>) {
    let from = context.policy.crowded_from(most);
    if objects < from {
        draft.record.object_count_warned = None;
        return;
    }
    let step = (from / 4).max(1);
    if draft.record.object_count_warned.is_none_or(|warned| objects / step > warned / step) {
        draft.record.object_count_warned = Some(objects);
        draft.record.object_count_most = Some(most);
        if let Some(warning) = object_count_warning(&draft.record) {
            draft.note(EventCode::TooManyObjects, warning);
        }
    }
}

/// The warning, where there is one.
pub fn object_count_warning(record: &Record) -> Option<String> {
    let objects = record.object_count_warned?;
    let most = record.object_count_most.map_or_else(String::new, |most| format!(" than about {most}"));
    Some(format!(
        "the backups hold {objects} objects of one kind; more{most} cannot be listed, and backups stop then: remove old \
         ones with `restic forget --prune`, or keep fewer (`retention`)"
    ))
}

/// Takes a snapshot from the list that wakes choose from.
pub(super) fn forget(draft: &mut Draft, snapshot: &str) {
    let Record { snapshots, expired, forgotten, .. } = &mut draft.record;
    let was_expired = remove(expired, snapshot);
    let is_expired = was_expired.is_some();
    if let Some(summary) = remove(snapshots, snapshot).or(was_expired) {
        forgotten.insert(0, summary);
        forgotten.truncate(Record::EXPIRED_KEPT);
    } else {
        return;
    }
    // A prune says once what it removed.
    if !is_expired {
        let sentence = format!("the snapshot {snapshot} was removed from the backups");
        draft.note(EventCode::SnapshotRemoved, sentence);
    }
}

/// Puts it back among those that wakes choose from; no rule removes it at once again.
pub(super) fn unforget(draft: &mut Draft, snapshot: &str, context: &Context<'_>) {
    let Record { snapshots, forgotten, unforgotten, .. } = &mut draft.record;
    let until = plus(context.now, context.policy.undo);
    unforgotten.retain(|known| known.snapshot != snapshot && context.now < known.until);
    unforgotten.push(Unforgotten { snapshot: snapshot.to_owned(), until });
    unforgotten.drain(..unforgotten.len().saturating_sub(Record::UNFORGOTTEN_KEPT));
    if let Some(summary) = remove(forgotten, snapshot) {
        put_back(snapshots, summary, 0);
        let sentence = format!("the snapshot {snapshot} is back among the backups");
        draft.note(EventCode::SnapshotRecalled, sentence);
    }
}

fn remove(list: &mut Vec<SnapshotSummary>, snapshot: &str) -> Option<SnapshotSummary> {
    let place = list.iter().position(|known| known.snapshot == snapshot)?;
    Some(list.remove(place))
}
