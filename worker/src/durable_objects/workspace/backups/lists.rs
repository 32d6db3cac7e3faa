//! What readers of the repository are shown: from the ledger, never filtered out of a listing of storage, however much a
//! machine has put there.

use super::super::{Inner, now, refuse};
use crate::error::{ApiError, ApiResult};
use crate::r2::bucket::{Storage, repository_path};
use crate::r2::listing::{self, Fragment, PAGES_MAX, Part};
use crate::r2::restic_paths::{self, Listed};
use crate::subrequests::Calls;
use ebbtide_api::vm::Receipt;
use ebbtide_api::{ErrorCode, Generation};
use ebbtide_control::record::Record;
use ebbtide_control::repository::Kind;
use ebbtide_control::repository::view::{Found, Ledger, NewEntry, Reader, adopts, kept, proved};
use std::rc::Rc;
use worker::{Error, Response, ResponseBuilder, Result};

/// A call that is refused, or what it wanted.
type Known<T> = std::result::Result<T, Response>;

/// The objects of a kind that a reader is shown.
pub(super) async fn list(
    inner: &Rc<Inner>,
    reader: &Reader,
    kind: Kind,
    machine: Option<Generation>,
    v2: bool,
) -> Result<Response> {
    let (ledger, record) = match known(inner).await? {
        Ok(known) => known,
        Err(refusal) => return Ok(refusal),
    };
    if machine.is_some_and(|generation| generation != record.generation) {
        return refuse(ErrorCode::StaleGeneration, "this machine's time is over");
    }
    let Some(view) = ledger.view(&record, reader, machine) else {
        let message = match reader {
            Reader::Snapshot(name) => format!("there is no verified snapshot {name}"),
            Reader::Machine | Reader::Latest | Reader::Verified => {
                "there is no verified snapshot yet".to_owned()
            }
        };
        return refuse(ErrorCode::NotFound, &message);
    };
    let listed = |object: &NewEntry| Listed { name: object.name.clone(), size: object.size };
    let objects: Vec<Listed> = view.list(kind).into_iter().map(listed).collect();
    let (body, _) = restic_paths::list(&objects, v2)?;
    Ok(ResponseBuilder::new().fixed(body.into_bytes()))
}

/// What storage lists from there on, as readers are shown it. Here and not in the Worker: each object on a page is one of
/// the runtime's, and a full repository has more than an invocation of the Worker's may take time for.
pub(super) async fn stored(
    inner: &Inner,
    record: &Record,
    kind: Kind,
    v2: bool,
    cursor: Option<String>,
) -> Result<Response> {
    let from_start = cursor.is_none();
    let part = match listed(inner, record, kind, cursor).await {
        Ok(part) => part,
        Err(error) => return refuse(error.code(), error.message()),
    };
    Fragment::of(part, from_start, v2)?.into_response()
}

/// A further part of what storage lists: an invocation of the Worker's has no more calls left.
pub(super) async fn part(inner: &Inner, record: &Record, kind: Kind, cursor: String) -> Result<Response> {
    match listed(inner, record, kind, Some(cursor)).await {
        Ok(part) => Response::from_json(&part),
        Err(error) => refuse(error.code(), error.message()),
    }
}

async fn listed(inner: &Inner, record: &Record, kind: Kind, cursor: Option<String>) -> ApiResult<Part> {
    let prefix = repository_path(&record.tenant, &record.id, &format!("{}/", kind.as_str()));
    listing::part(&Storage::open(&inner.env, Calls::default())?, &prefix, cursor).await
}

/// The set of a delivered snapshot is written down before it is verified, and counts once it is. Says what is wrong where
/// the receipt names what its machine is not shown.
pub(in super::super) async fn prove(inner: &Rc<Inner>, receipt: &Receipt) -> Result<Known<Option<String>>> {
    let (ledger, record) = match known(inner).await? {
        Ok(known) => known,
        Err(refusal) => return Ok(Err(refusal)),
    };
    match ledger.prove(&record, receipt) {
        Ok(places) => {
            let others: Vec<&str> = kept(&record).collect();
            inner.store()?.save_set(&receipt.snapshot, &places, &others)?;
            Ok(Ok(None))
        }
        Err(wrong) => Ok(Ok(Some(wrong))),
    }
}

/// The ledger and the record of this moment. What is older than the ledger is entered first, once for each repository.
pub(super) async fn known(inner: &Rc<Inner>) -> Result<Known<(Rc<Ledger>, Record)>> {
    if !inner.store()?.stock()?.adopted
        && let Err(error) = adopt(inner).await?
    {
        return Ok(Err(refuse(error.code(), error.message())?));
    }
    let Some(stored) = inner.load()? else {
        return Ok(Err(refuse(ErrorCode::NotFound, "there is no such workspace")?));
    };
    Ok(Ok((inner.store()?.ledger()?, stored.record)))
}

async fn adopt(inner: &Rc<Inner>) -> Result<std::result::Result<(), ApiError>> {
    let load = || inner.load()?.ok_or_else(|| Error::RustError("no record".to_owned()));
    let record = load()?.record;
    let mut found = Vec::new();
    for kind in [Kind::Index, Kind::Snapshots] {
        match listed_with_marks(inner, &record, kind).await {
            Ok(mut some) => found.append(&mut some),
            Err(error) => return Ok(Err(error)),
        }
    }
    let (store, record) = (inner.store()?, load()?.record);
    let mut stock = store.stock()?;
    // Another call may have been quicker.
    if !stock.adopted {
        let found: Vec<(Found, bool)> =
            found.into_iter().map(|found| (found.clone(), adopts(&record, &found))).collect();
        let snapshots: Vec<&str> = proved(&record).collect();
        store.adopt(&found, &snapshots)?;
        // One that is being checked was delivered to a version that wrote no sets.
        if let Some(pending) = &record.pending
            && let Ok(places) = store.ledger()?.prove(&record, &pending.receipt)
        {
            store.save_set(&pending.receipt.snapshot, &places, &snapshots)?;
        }
        stock.adopted = true;
        store.save_stock(&stock)?;
        crate::log::write(
            crate::log::Level::Info,
            "a repository from before the ledger was entered",
            &[("workspace.id", record.id.as_str()), ("at", &now().to_string())],
        );
    }
    Ok(Ok(()))
}

async fn listed_with_marks(
    inner: &Inner,
    record: &Record,
    kind: Kind,
) -> std::result::Result<Vec<Found>, ApiError> {
    let storage = Storage::open(&inner.env, Calls::default())?;
    let prefix = repository_path(&record.tenant, &record.id, &format!("{}/", kind.as_str()));
    let (mut found, mut cursor) = (Vec::new(), None);
    for _ in 0..PAGES_MAX / 2 {
        let page = storage.list_marked(&prefix, cursor.take()).await?;
        found.extend(page.objects().iter().filter_map(|object| {
            let name = object.key().strip_prefix(&prefix)?.to_owned();
            let (by, at_ms) = crate::r2::bucket::mark(object);
            Some(Found { object: NewEntry { kind, name, size: object.size(), by }, at_ms })
        }));
        cursor = page.cursor().filter(|_| page.truncated());
        if cursor.is_none() {
            return Ok(found);
        }
    }
    let message = format!("there are too many objects below {}/ to enter them", kind.as_str());
    Err(ApiError::new(ErrorCode::QuotaReached, message)
        .hint("Run `restic prune` on the whole repository while the workspace is asleep."))
}
