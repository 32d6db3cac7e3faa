//! What the object decides about its repository, one small call for each object that is written: whether the machine's
//! generation lives, whether the quota has room, who holds the lock; and what readers are shown (`lists`).
//!
//! The objects themselves never pass here. Bytes are reserved before an upload and given back where it fails, so that
//! uploads at the same time cannot pass the quota together.

mod lists;

pub(super) use lists::prove;

use super::{Inner, now, refuse};
use crate::durable_objects::rpc::{Admitted, BackupCall, Deletes, Held, Pruned};
use ebbtide_api::vm::PruneOrder;
use ebbtide_api::workspace::State;
use ebbtide_api::{ErrorCode, Generation};
use ebbtide_control::lifecycle::{Command, Input};
use ebbtide_control::record::{Prune, Record, minus};
use ebbtide_control::repository::{Admission, Kind};
use ebbtide_control::retention;
use std::collections::BTreeSet;
use std::rc::Rc;
use worker::{Response, Result};

/// A full repository is counted anew so often at most: a count is a call for every thousand objects.
const COUNT_EVERY_SECS: i64 = 600;

/// Answers one call.
pub(super) async fn answer(inner: &Rc<Inner>, record: &Record, call: BackupCall) -> Result<Response> {
    let store = inner.store()?;
    match call {
        BackupCall::List { reader, kind, machine, v2 } => {
            lists::list(inner, &reader, kind, machine, v2).await
        }
        BackupCall::Stored { kind, v2, cursor } => lists::stored(inner, record, kind, v2, cursor).await,
        BackupCall::Part { kind, cursor } => lists::part(inner, record, kind, cursor).await,
        BackupCall::Admit { generation, kind, bytes } => admit(inner, record, generation, kind, bytes),
        BackupCall::Entered { object, replaces } => {
            match replaces {
                Some(old) => store.replace(&old, &object)?,
                None => store.enter(&object, now())?,
            }
            held(inner)
        }
        BackupCall::TakeLock { by, bytes, deletes } => take_lock(inner, by, bytes, deletes).await,
        BackupCall::ReleaseLock { by } => tell(inner, Command::ReleaseLock { by }).await,
        BackupCall::Unlocked { name, bytes, by } => {
            give_back(inner, bytes, None)?;
            if store.remove_lock(&name)? {
                held(inner)
            } else {
                tell(inner, Command::ReleaseLock { by }).await
            }
        }
        BackupCall::Gone { kind, name } => {
            store.mark_gone(kind, &name, now())?;
            match kind {
                Kind::Snapshots => tell(inner, Command::Forget { snapshot: name }).await,
                Kind::Data | Kind::Keys | Kind::Index | Kind::Locks => held(inner),
            }
        }
        BackupCall::Back { object } => {
            store.enter(&object, now())?;
            match object.kind {
                Kind::Snapshots => tell(inner, Command::Unforget { snapshot: object.name }).await,
                Kind::Data | Kind::Keys | Kind::Index | Kind::Locks => held(inner),
            }
        }
        BackupCall::BeginPrune { generation } => begin_prune(inner, generation).await,
        BackupCall::Prune { generation, what } => prune(inner, record, generation, what),
        BackupCall::EndPrune { report } => {
            let command = Command::EndPrune { generation: report.generation, report };
            let settled = inner.decide(Input::Ask(command)).await?;
            inner.run_on(settled.effect);
            match settled.refusal {
                Some(refusal) => refuse(refusal.code, &refusal.message),
                None => held(inner),
            }
        }
        BackupCall::ObjectsCounted { objects, most } => {
            tell(inner, Command::ObjectsCounted { objects, most }).await
        }
        BackupCall::Return { bytes, admitted } => {
            give_back(inner, bytes, admitted)?;
            held(inner)
        }
        BackupCall::Counted { bytes } => {
            let mut stock = store.stock()?;
            (stock.bytes, stock.counted_at) = (bytes, Some(now()));
            store.save_stock(&stock)?;
            held(inner)
        }
        BackupCall::Look => held(inner),
    }
}

fn admit(inner: &Inner, record: &Record, generation: Generation, kind: Kind, bytes: u64) -> Result<Response> {
    if !record.may_add_backups(generation) {
        return refuse(ErrorCode::StaleGeneration, "this machine's time is over");
    }
    let (store, config) = (inner.store()?, inner.config()?);
    let policy = &config.policy;
    let mut stock = store.stock()?;
    if stock.generation != generation {
        // A new machine: what older ones planted, and nobody proved, is not needed to know any more.
        let left = store.ledger()?.leftovers(record, now().as_millisecond());
        store.remove(&left)?;
    }
    // Snapshots on a timer stop at the quota; the last one before a machine goes has a tenth more, for it may be
    // all that stands between the work and its loss.
    let quota = policy.repository_quota_bytes;
    let is_last = record.state() == State::Draining;
    let limit = if is_last { quota.saturating_add(quota / 10) } else { quota };
    let admission = stock.admit(generation, kind, bytes, limit, policy);
    if admission == Admission::Fits {
        store.save_stock(&stock)?;
    }
    let counted = stock.counted_at.map(|at| now().duration_since(at).as_secs());
    let count = admission == Admission::NoRoom && counted.is_none_or(|ago| ago >= COUNT_EVERY_SECS);
    Response::from_json(&Admitted { held: Held { bytes: stock.bytes, quota }, admission, count })
}

async fn take_lock(inner: &Rc<Inner>, by: String, bytes: u64, deletes: Deletes) -> Result<Response> {
    let settled = inner.decide(Input::Ask(Command::TakeLock { by })).await?;
    inner.run_on(settled.effect);
    if let Some(refusal) = settled.refusal {
        return refuse(refusal.code, &refusal.message);
    }
    let store = inner.store()?;
    // Before one goes: it may be named by another branch from here on, or hold what only that branch's index names.
    if deletes == Deletes::Proof {
        store.share(&store.ledger()?.to_share(&settled.record))?;
    }
    if bytes > 0 {
        let mut stock = store.stock()?;
        stock.bytes = stock.bytes.saturating_add(bytes);
        store.save_stock(&stock)?;
    }
    held(inner)
}

async fn begin_prune(inner: &Rc<Inner>, generation: Generation) -> Result<Response> {
    let (ledger, record) = match lists::known(inner).await? {
        Ok(known) => known,
        Err(refusal) => return Ok(refusal),
    };
    let undo = inner.config()?.policy.undo;
    let since = minus(now(), undo).as_millisecond();
    if let Some(name) = retention::unproved(&record, &ledger, since) {
        let message = format!(
            "the snapshot {name} was never verified and may be the only copy of something: old backups are left alone \
             until it is older than {undo}, or its owner removes it (restic forget)"
        );
        return refuse(ErrorCode::DeletionRefused, &message);
    }
    let orphans = retention::orphans(&record, &ledger);
    let command = Command::BeginPrune { generation, orphans: orphans.clone() };
    let settled = inner.decide(Input::Ask(command)).await?;
    inner.run_on(settled.effect);
    if let Some(refusal) = settled.refusal {
        return refuse(refusal.code, &refusal.message);
    }
    let expired: BTreeSet<&str> = settled.record.expired.iter().map(|one| one.snapshot.as_str()).collect();
    let prune = settled.record.prune.clone().unwrap_or_default();
    // An agent that was started anew is told what is left.
    let named = prune.snapshots.into_iter().filter(|name| expired.contains(name.as_str()));
    let orphans = prune.orphans.into_iter().filter(|name| orphans.contains(name));
    Response::from_json(&PruneOrder { snapshots: named.chain(orphans).collect() })
}

fn prune(inner: &Inner, record: &Record, generation: Generation, what: Pruned) -> Result<Response> {
    if generation != record.generation {
        return refuse(ErrorCode::StaleGeneration, "this machine's time is over");
    }
    if !record.may_prune(generation, now()) {
        return refuse(ErrorCode::DeletionRefused, "a machine deletes nothing now");
    }
    let store = inner.store()?;
    match what {
        Pruned::Object => {}
        Pruned::Snapshot { name } => {
            let removes = |prune: &Prune| prune.removes(&name, &record.snapshots);
            if !record.prune.as_ref().is_some_and(removes) {
                return refuse(ErrorCode::DeletionRefused, "this snapshot is not one that goes");
            }
        }
        Pruned::Index { replaces, bytes } => {
            if !store.knows(Kind::Index, &replaces)? {
                return refuse(ErrorCode::NotFound, "there is no such index to replace");
            }
            // The last room is not refused to what makes room.
            let mut stock = store.stock()?;
            stock.bytes = stock.bytes.saturating_add(bytes);
            store.save_stock(&stock)?;
        }
    }
    held(inner)
}

fn give_back(inner: &Inner, bytes: u64, admitted: Option<(Generation, Kind)>) -> Result<()> {
    let store = inner.store()?;
    let mut stock = store.stock()?;
    match admitted {
        Some((generation, kind)) => stock.give_back(generation, kind, bytes),
        None => stock.bytes = stock.bytes.saturating_sub(bytes),
    }
    store.save_stock(&stock)
}

/// How full the repository is.
///
/// # Errors
/// What SQLite or the configuration says.
pub(super) fn fill(inner: &Inner) -> Result<Held> {
    Ok(Held { bytes: inner.store()?.stock()?.bytes, quota: inner.config()?.policy.repository_quota_bytes })
}

fn held(inner: &Inner) -> Result<Response> {
    Response::from_json(&fill(inner)?)
}

async fn tell(inner: &Rc<Inner>, command: Command) -> Result<Response> {
    let settled = inner.decide(Input::Ask(command)).await?;
    inner.run_on(settled.effect);
    held(inner)
}
