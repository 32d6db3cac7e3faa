//! What the object decides about its repository, one small call for each object that is written: whether the machine's
//! generation lives, whether the quota has room, who holds the lock.
//!
//! The objects themselves never pass here. Bytes are reserved before an upload and given back where it fails, so that
//! uploads at the same time cannot pass the quota together.

use super::storage::Ancestry;
use super::{Inner, now, refuse};
use crate::durable_objects::rpc::{Admitted, Ancestors, BackupCall, Held};
use ebbtide_api::ErrorCode;
use ebbtide_api::backups::SnapshotSummary;
use ebbtide_api::vm::PruneOrder;
use ebbtide_api::workspace::State;
use ebbtide_control::lifecycle::{Command, Input};
use ebbtide_control::record::{Prune, Record};
use std::collections::BTreeSet;
use std::rc::Rc;
use worker::{Response, Result};

/// A full repository is counted anew so often at most: a count is a call for every thousand objects.
const COUNT_EVERY_SECS: i64 = 600;

/// Answers one call.
pub(super) async fn answer(inner: &Rc<Inner>, record: &Record, call: BackupCall) -> Result<Response> {
    let store = inner.store()?;
    match call {
        BackupCall::Ancestors { generation } => {
            if generation == Some(record.generation) {
                enter(inner, record)?;
            }
            ancestors(inner, record)
        }
        BackupCall::PlaceBase { generation, base } => {
            store.place_base(generation, base)?;
            ancestors(inner, record)
        }
        BackupCall::Admit { generation, bytes } => {
            if !record.may_add_backups(generation) {
                return refuse(ErrorCode::StaleGeneration, "this machine's time is over");
            }
            enter(inner, record)?;
            let quota = quota(inner)?;
            let stored = store.stored_bytes()?;
            // Snapshots on a timer stop at the quota; the last one before a machine goes has a tenth more, for it may be
            // all that stands between the work and its loss.
            let is_last = record.state() == State::Draining;
            let limit = if is_last { quota.saturating_add(quota / 10) } else { quota };
            let fits = stored.bytes.saturating_add(bytes) <= limit;
            if fits {
                store.save_stored_bytes(stored.plus(bytes))?;
            }
            let counted = stored.counted_at().map(|at| now().duration_since(at).as_secs());
            let count = !fits && counted.is_none_or(|ago| ago >= COUNT_EVERY_SECS);
            let bytes = if fits { stored.bytes.saturating_add(bytes) } else { stored.bytes };
            Response::from_json(&Admitted { held: Held { bytes, quota, locked_ms: None }, fits, count })
        }
        BackupCall::TakeLock { by, bytes } => {
            let settled = inner.decide(Input::Ask(Command::TakeLock { by })).await?;
            inner.run_on(settled.effect);
            if let Some(refusal) = settled.refusal {
                return refuse(refusal.code, &refusal.message);
            }
            if bytes > 0 {
                store.save_stored_bytes(store.stored_bytes()?.plus(bytes))?;
            }
            let locked_ms = settled.record.lock.as_ref().map(|lock| lock.since.as_millisecond());
            Response::from_json(&Held { locked_ms, ..fill(inner)? })
        }
        BackupCall::ReleaseLock { by } => tell(inner, Command::ReleaseLock { by }).await,
        BackupCall::Forget { snapshot, mark } => {
            // What it proved stays proved: the indexes of its generation are needed by others.
            let is_known = |list: &[SnapshotSummary]| list.iter().any(|known| known.snapshot == snapshot);
            let removes = |prune: &Prune| prune.removes(&snapshot, &[]);
            let is_pruned = record.prune.as_ref().is_some_and(removes);
            let is_proved = is_pruned || is_known(&record.snapshots) || is_known(&record.expired);
            if let Some(mark) = mark.filter(|_| is_proved)
                && let Some(generation) = mark.generation
            {
                store.note_proved(generation, mark.at_ms)?;
            }
            tell(inner, Command::Forget { snapshot }).await
        }
        BackupCall::Vouch { reach } => {
            for (generation, until_ms) in reach {
                store.note_vouched(generation, until_ms)?;
            }
            held(inner)
        }
        BackupCall::BeginPrune { generation, orphans } => {
            let command = Command::BeginPrune { generation, orphans: orphans.clone() };
            let settled = inner.decide(Input::Ask(command)).await?;
            inner.run_on(settled.effect);
            if let Some(refusal) = settled.refusal {
                return refuse(refusal.code, &refusal.message);
            }
            let expired: BTreeSet<&str> =
                settled.record.expired.iter().map(|one| one.snapshot.as_str()).collect();
            let prune = settled.record.prune.clone().unwrap_or_default();
            // An agent that was started anew is told what is left.
            let named = prune.snapshots.into_iter().filter(|name| expired.contains(name.as_str()));
            let orphans = prune.orphans.into_iter().filter(|name| orphans.contains(name));
            Response::from_json(&PruneOrder { snapshots: named.chain(orphans).collect() })
        }
        BackupCall::Prune { generation, forgets, bytes } => {
            if generation != record.generation {
                return refuse(ErrorCode::StaleGeneration, "this machine's time is over");
            }
            let is_named = |name: &String| {
                record.prune.as_ref().is_some_and(|prune| prune.removes(name, &record.snapshots))
            };
            if !record.may_prune(generation, now()) {
                return refuse(ErrorCode::DeletionRefused, "a machine deletes nothing now");
            }
            if !forgets.as_ref().is_none_or(is_named) {
                return refuse(ErrorCode::DeletionRefused, "this snapshot is not one that goes");
            }
            // An index in the place of another: the last room is not refused to what makes room.
            if bytes > 0 {
                store.save_stored_bytes(store.stored_bytes()?.plus(bytes))?;
            }
            held(inner)
        }
        BackupCall::EndPrune { report } => {
            let command = Command::EndPrune { generation: report.generation, report };
            let settled = inner.decide(Input::Ask(command)).await?;
            inner.run_on(settled.effect);
            match settled.refusal {
                Some(refusal) => refuse(refusal.code, &refusal.message),
                None => held(inner),
            }
        }
        BackupCall::ObjectsCounted { objects } => tell(inner, Command::ObjectsCounted { objects }).await,
        BackupCall::Unforget { snapshot } => tell(inner, Command::Unforget { snapshot }).await,
        BackupCall::Return { bytes } => {
            store.save_stored_bytes(store.stored_bytes()?.minus(bytes))?;
            held(inner)
        }
        BackupCall::Counted { bytes } => {
            let counted_ms = u64::try_from(now().as_millisecond()).unwrap_or(0);
            store.save_stored_bytes(super::storage::StoredBytes { bytes, counted_ms })?;
            held(inner)
        }
        BackupCall::Look => held(inner),
    }
}

/// Enters what the living generation stands on: the snapshot that it restored. One that restored nothing although there
/// are verified backups (it salvages an image) stands on the newest. The first entry stays, and writes the only row.
fn enter(inner: &Inner, record: &Record) -> Result<()> {
    let newest = || record.snapshots.iter().find(|known| known.generation < record.generation);
    let base = record.restore.as_deref().or_else(|| newest().map(|known| known.snapshot.as_str()));
    inner.store()?.note_base(record.generation.0, base)
}

/// How full the repository is.
///
/// # Errors
/// What SQLite or the configuration says.
pub(super) fn fill(inner: &Inner) -> Result<Held> {
    Ok(Held { bytes: inner.store()?.stored_bytes()?.bytes, quota: quota(inner)?, locked_ms: None })
}

fn held(inner: &Inner) -> Result<Response> {
    Response::from_json(&fill(inner)?)
}

fn quota(inner: &Inner) -> Result<u64> {
    Ok(inner.config()?.policy.repository_quota_bytes)
}

async fn tell(inner: &Rc<Inner>, command: Command) -> Result<Response> {
    let settled = inner.decide(Input::Ask(command)).await?;
    inner.run_on(settled.effect);
    held(inner)
}

fn ancestors(inner: &Inner, record: &Record) -> Result<Response> {
    let store = inner.store()?;
    let Ancestry { lineage, unknown } = store.ancestry()?;
    let (proved, vouched) = store.reaches()?;
    let names = |list: &[SnapshotSummary]| list.iter().map(|known| known.snapshot.clone()).collect();
    let (verified, expired) = (names(&record.snapshots), names(&record.expired));
    Response::from_json(&Ancestors { lineage, unknown, verified, expired, proved, vouched })
}
