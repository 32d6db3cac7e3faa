//! Adds objects: a machine's within its generation and its bounds, an owner's under the repository's lock.
//!
//! The object is asked before each, and enters each index and snapshot after. Bytes are reserved before the upload and given
//! back where nothing was stored; a reservation that a crash leaves behind is corrected when the repository is counted.

use super::{Repository, missing};
use crate::actor::Actor;
use crate::durable_objects::rpc::{Admitted, BackupCall, Deletes, Held};
use crate::error::{ApiError, ApiResult};
use crate::http::body::declared_length;
use crate::http::response;
use crate::log::Level;
use crate::r2::bucket::Put;
use crate::r2::listing;
use crate::r2::restic_paths::Place;
use crate::workspaces::audit::note;
use ebbtide_api::{ErrorCode, Generation};
use ebbtide_control::repository::view::NewEntry;
use ebbtide_control::repository::{Admission, Kind};
use worker::{Request, Response};

/// Largest object: what the platform takes as a body on the smaller plans, 100 MB. Packs have 16 to 32 MiB.
const OBJECT_MAX: u64 = 100_000_000;

/// An object that is to be written, its body not read yet.
pub(super) struct New {
    /// `None` for the configuration.
    kind: Option<Kind>,
    path: String,
    sha256: Option<[u8; 32]>,
    pub(super) length: u64,
    /// The machine that writes it; `None` for the owner.
    by: Option<Generation>,
    replaces: Option<String>,
}

impl New {
    fn by(self, machine: Generation) -> Self {
        Self { by: Some(machine), ..self }
    }

    /// As an index in the place of another.
    pub(super) fn replacing(self, old: String) -> Self {
        Self { replaces: Some(old), ..self }
    }

    /// As which kind it is counted: the configuration is one object, as a key is.
    fn counted_as(&self) -> Kind {
        self.kind.unwrap_or(Kind::Keys)
    }
}

impl Repository<'_> {
    pub(super) async fn write_as_machine(
        &self,
        place: &Place,
        generation: Generation,
        request: &Request,
    ) -> ApiResult<Response> {
        let Some(new) = self.new_object(place, request).await? else { return Ok(response::nothing(200)) };
        let new = new.by(generation);
        let admit = || BackupCall::Admit { generation, kind: new.counted_as(), bytes: new.length };
        let mut admitted: Admitted = self.ask(admit()).await?;
        if admitted.count {
            let bytes = self.count().await?;
            let _: Held = self.ask(BackupCall::Counted { bytes }).await?;
            admitted = self.ask(admit()).await?;
        }
        if admitted.admission == Admission::Fits {
            return self.store(new, request).await;
        }
        if self.is_stored(&new).await? {
            return self.enter(&new).await;
        }
        Err(refusal(&new, &admitted))
    }

    pub(super) async fn write_as_owner(
        &self,
        place: &Place,
        actor: &Actor,
        request: &Request,
    ) -> ApiResult<Response> {
        let Some(new) = self.new_object(place, request).await? else { return Ok(response::nothing(200)) };
        let (by, deletes) = (actor.name.clone(), Deletes::NoProof);
        let _: Held = self.ask(BackupCall::TakeLock { by, bytes: new.length, deletes }).await?;
        if new.kind == Some(Kind::Locks) {
            note(self.app, actor, "backups.lock", self.workspace.as_str()).await;
        }
        self.store(new, request).await
    }

    /// Checks what can be checked before anybody is asked; `None` where there is nothing to do.
    pub(super) async fn new_object(&self, place: &Place, request: &Request) -> ApiResult<Option<New>> {
        let (kind, sha256) = match place {
            // `POST ?create=true` makes directories; a bucket has none.
            Place::Root => return Ok(None),
            Place::List(_) => return Err(missing()),
            Place::Config => (None, None),
            Place::Object(kind, name) => (Some(*kind), Some(name.bytes())),
        };
        let path = place.object_path().ok_or_else(missing)?;
        let length = declared_length(request)
            .ok_or_else(|| ApiError::new(ErrorCode::LengthRequired, "the object comes without its length"))?;
        if length > OBJECT_MAX {
            return Err(ApiError::new(ErrorCode::BodyTooLarge, "the object has more than 100 MB")
                .hint("Use packs of at most 64 MiB (restic's --pack-size)."));
        }
        if length == 0 {
            return Err(ApiError::new(ErrorCode::InvalidField, "the object is empty"));
        }
        if kind == Some(Kind::Keys) && self.storage.head(&self.key("config")).await?.is_some() {
            return Err(closed("keys/ is closed: the repository is made"));
        }
        Ok(Some(New { kind, path, sha256, length, by: None, replaces: None }))
    }

    pub(super) async fn store(&self, new: New, request: &Request) -> ApiResult<Response> {
        let stored = self.put(&new, request).await;
        if !matches!(stored, Ok(Put::Stored)) {
            // Where an upload broke off nobody knows whether it landed: the next count tells.
            let admitted = new.by.map(|by| (by, new.counted_as()));
            let returned = self.ask::<Held>(BackupCall::Return { bytes: new.length, admitted }).await;
            if let Err(error) = returned {
                let fields = [("workspace.id", self.workspace.as_str())];
                error.log(Level::Warn, "reserved bytes were not given back", &fields);
            }
        }
        match stored? {
            Put::Stored => self.enter(&new).await,
            Put::WrongHash => Err(ApiError::new(
                ErrorCode::InvalidField,
                "the object does not have the SHA-256 that its name says",
            )
            .hint("It was damaged on its way; send it again.")),
            Put::Exists if self.is_stored(&new).await? => self.enter(&new).await,
            Put::Exists => Err(closed("this object exists already")),
        }
    }

    /// Enters what is stored in the ledger, where it is one of the kinds that readers are shown from it. Nobody is told that
    /// it is stored before that, and whoever was not told sends it again.
    async fn enter(&self, new: &New) -> ApiResult<Response> {
        if let (Some(kind @ (Kind::Index | Kind::Snapshots | Kind::Locks)), Some(sha256)) =
            (new.kind, new.sha256)
        {
            let object = NewEntry { kind, name: hex::encode(sha256), size: new.length, by: new.by };
            let replaces = new.replaces.clone();
            let _: Held = self.ask(BackupCall::Entered { object, replaces }).await?;
        }
        Ok(response::nothing(200))
    }

    /// Whether the same is stored already, after an answer that was lost: that one was checked against its name.
    async fn is_stored(&self, new: &New) -> ApiResult<bool> {
        Ok(new.sha256.is_some() && self.storage.size(&self.key(&new.path)).await? == Some(new.length))
    }

    async fn put(&self, new: &New, request: &Request) -> ApiResult<Put> {
        let stream = request.inner().body();
        let stream = stream.ok_or_else(|| ApiError::new(ErrorCode::InvalidField, "the object is empty"))?;
        self.storage.create_marked(&self.key(&new.path), stream, new.sha256, new.by).await
    }

    /// Adds up all that is stored but the configuration: the first page of each kind here, the others in invocations of the
    /// object.
    async fn count(&self) -> ApiResult<u64> {
        let kinds = [Kind::Data, Kind::Keys, Kind::Index, Kind::Snapshots, Kind::Locks];
        let prefix = |kind: Kind| self.key(&format!("{}/", kind.as_str()));
        let first = async |kind| listing::first_page(&self.storage, &prefix(kind)).await;
        let next = async |kind, cursor| self.ask(BackupCall::Part { kind, cursor }).await;
        listing::bytes(kinds, first, next).await
    }
}

/// Why a machine's object is not taken.
fn refusal(new: &New, admitted: &Admitted) -> ApiError {
    let kind = new.counted_as().as_str();
    match admitted.admission {
        Admission::TooMany { most } => {
            let message =
                format!("this machine has added {most} objects to {kind}/, and no machine adds more");
            ApiError::new(ErrorCode::QuotaReached, message)
                .hint("The next machine may add as many again: let the workspace sleep, and wake it.")
        }
        Admission::NotForMachines => {
            let message =
                format!("machines add nothing to {kind}/: the control plane holds the repository's lock");
            ApiError::new(ErrorCode::Forbidden, message).hint("Run restic with --no-lock.")
        }
        Admission::NoRoom | Admission::Fits => {
            let Held { bytes, quota } = admitted.held;
            let more = new.length;
            let message = format!("the backups hold {bytes} of {quota} bytes; {more} more do not fit");
            ApiError::new(ErrorCode::QuotaReached, message)
                .hint("The backup quota is full. Raise it (repository_quota_bytes), or the server is saved as an image at its time limit.")
        }
    }
}

fn closed(message: &str) -> ApiError {
    ApiError::new(ErrorCode::AlreadyExists, message)
}
