//! Adds objects: a machine's within its generation and the quota, an owner's under the repository's lock.
//!
//! The object is asked once for each. Bytes are reserved there before the upload and given back where nothing was
//! stored; a reservation that a crash leaves behind is corrected when the repository is counted.

use super::{PAGES_MAX, Repository, missing};
use crate::actor::Actor;
use crate::durable_objects::rpc::{Admitted, BackupCall, Held};
use crate::error::{ApiError, ApiResult};
use crate::http::body::declared_length;
use crate::http::response;
use crate::log::Level;
use crate::r2::bucket::{Marked, Put};
use crate::r2::restic_paths::{Kind, Place};
use crate::workspaces::actions::note;
use ebbtide_api::{ErrorCode, Generation};
use worker::{Request, Response};

/// Largest object: what the platform takes as a body on the smaller plans, 100 MB. Packs have 16 to 32 MiB.
const OBJECT_MAX: u64 = 100_000_000;

/// An object that is to be written, its body not read yet.
pub(super) struct New {
    path: String,
    sha256: Option<[u8; 32]>,
    pub(super) length: u64,
}

impl Repository<'_> {
    pub(super) async fn write_as_machine(
        &self,
        place: &Place,
        generation: Generation,
        request: &Request,
    ) -> ApiResult<Response> {
        let Some(new) = self.new_object(place, request).await? else { return Ok(response::nothing(200)) };
        let admit = || BackupCall::Admit { generation, bytes: new.length };
        let mut admitted: Admitted = self.ask(admit()).await?;
        if !admitted.fits && admitted.count {
            let bytes = self.count().await?;
            let _: Held = self.ask(BackupCall::Counted { bytes }).await?;
            admitted = self.ask(admit()).await?;
        }
        if !admitted.fits && self.is_stored(&new).await? {
            return Ok(response::nothing(200));
        }
        if !admitted.fits {
            let Held { bytes, quota, .. } = admitted.held;
            return Err(ApiError::new(
                ErrorCode::QuotaReached,
                format!("the backups hold {bytes} of {quota} bytes; {} more do not fit", new.length),
            )
            .hint("The backup quota is full. Raise it (repository_quota_bytes), or the server is saved as an image at its time limit."));
        }
        self.store(new, Marked::Machine(generation.0), request).await
    }

    pub(super) async fn write_as_owner(
        &self,
        place: &Place,
        actor: &Actor,
        request: &Request,
    ) -> ApiResult<Response> {
        let Some(new) = self.new_object(place, request).await? else { return Ok(response::nothing(200)) };
        let by = actor.name.clone();
        let _: Held = self.ask(BackupCall::TakeLock { by, bytes: new.length }).await?;
        if matches!(place, Place::Object(Kind::Locks, _)) {
            self.place_bases().await?;
            note(self.app, actor, "backups.lock", self.workspace.as_str()).await;
        }
        self.store(new, Marked::Plain, request).await
    }

    /// Checks what can be checked before anybody is asked; `None` where there is nothing to do.
    pub(super) async fn new_object(&self, place: &Place, request: &Request) -> ApiResult<Option<New>> {
        let (path, sha256) = match place {
            // `POST ?create=true` makes directories; a bucket has none.
            Place::Root => return Ok(None),
            Place::List(_) => return Err(missing()),
            Place::Config => ("config".to_owned(), None),
            Place::Object(kind, name) => (format!("{}/{}", kind.as_str(), name.hex()), Some(name.bytes())),
        };
        let length = declared_length(request)
            .ok_or_else(|| ApiError::new(ErrorCode::LengthRequired, "the object comes without its length"))?;
        if length > OBJECT_MAX {
            return Err(ApiError::new(ErrorCode::BodyTooLarge, "the object has more than 100 MB")
                .hint("Use packs of at most 64 MiB (restic's --pack-size)."));
        }
        if length == 0 {
            return Err(ApiError::new(ErrorCode::InvalidField, "the object is empty"));
        }
        if matches!(place, Place::Object(Kind::Keys, _))
            && self.storage.head(&self.key("config")).await?.is_some()
        {
            return Err(closed("keys/ is closed: the repository is made"));
        }
        Ok(Some(New { path, sha256, length }))
    }

    pub(super) async fn store(&self, new: New, marked: Marked, request: &Request) -> ApiResult<Response> {
        let stored = self.put(&new, marked, request).await;
        if !matches!(stored, Ok(Put::Stored)) {
            // Where an upload broke off nobody knows whether it landed: the next count tells.
            let returned = self.ask::<Held>(BackupCall::Return { bytes: new.length }).await;
            if let Err(error) = returned {
                let fields = [("workspace.id", self.workspace.as_str())];
                error.log(Level::Warn, "reserved bytes were not given back", &fields);
            }
        }
        match stored? {
            Put::Stored => Ok(response::nothing(200)),
            Put::WrongHash => Err(ApiError::new(
                ErrorCode::InvalidField,
                "the object does not have the SHA-256 that its name says",
            )
            .hint("It was damaged on its way; send it again.")),
            Put::Exists if self.is_stored(&new).await? => Ok(response::nothing(200)),
            Put::Exists => Err(closed("this object exists already")),
        }
    }

    /// Whether the same is stored already, after an answer that was lost: that one was checked against its name.
    async fn is_stored(&self, new: &New) -> ApiResult<bool> {
        Ok(new.sha256.is_some() && self.storage.size(&self.key(&new.path)).await? == Some(new.length))
    }

    async fn put(&self, new: &New, marked: Marked, request: &Request) -> ApiResult<Put> {
        let stream = request.inner().body();
        let stream = stream.ok_or_else(|| ApiError::new(ErrorCode::InvalidField, "the object is empty"))?;
        self.storage.create_marked(&self.key(&new.path), stream, new.sha256, marked).await
    }

    /// Adds up what is stored, as far as one invocation can.
    async fn count(&self) -> ApiResult<u64> {
        let (prefix, mut cursor, mut bytes) = (self.key(""), None, 0_u64);
        for _ in 0..PAGES_MAX {
            let page = self.storage.list(&prefix, cursor.take()).await?;
            bytes = page.objects().iter().fold(bytes, |sum, object| sum.saturating_add(object.size()));
            cursor = page.cursor().filter(|_| page.truncated());
            if cursor.is_none() {
                break;
            }
        }
        Ok(bytes)
    }
}

fn closed(message: &str) -> ApiError {
    ApiError::new(ErrorCode::AlreadyExists, message)
}
