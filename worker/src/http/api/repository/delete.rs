//! An owner's deletions, under the repository's lock: objects move to where they can be taken back for some days, lock
//! files go at once.
//!
//! The last lock file that goes ends it: restic's lock and ours are one thing to whoever waits.

use super::{Repository, missing};
use crate::actor::Actor;
use crate::durable_objects::rpc::{BackupCall, Deletes, Held};
use crate::error::{ApiError, ApiResult};
use crate::http::response;
use crate::r2::bucket::trash_path;
use crate::r2::restic_paths::{Name, Place};
use crate::workspaces::audit::note;
use ebbtide_api::ErrorCode;
use ebbtide_control::repository::Kind;
use worker::Response;

impl Repository<'_> {
    pub(super) async fn delete(&self, place: &Place, actor: &Actor) -> ApiResult<Response> {
        let (kind, name) = match place {
            Place::Object(Kind::Keys, _) | Place::Config => {
                let message = "config and keys/ are closed: without them nothing can be read";
                return Err(ApiError::new(ErrorCode::DeletionRefused, message)
                    .hint("Delete the workspace to delete its backups."));
            }
            Place::Object(kind, name) => (*kind, name),
            Place::Root | Place::List(_) => return Err(missing()),
        };
        let deletes = match kind {
            Kind::Index | Kind::Data => Deletes::Proof,
            Kind::Snapshots | Kind::Keys | Kind::Locks => Deletes::NoProof,
        };
        let by = actor.name.clone();
        let _: Held = self.ask(BackupCall::TakeLock { by, bytes: 0, deletes }).await?;
        if kind == Kind::Locks {
            return self.unlock(name, actor).await;
        }
        self.discard(kind, name).await?;
        if kind == Kind::Snapshots {
            let subject = format!("{}:{}", self.workspace, name.hex());
            note(self.app, actor, "backups.forget", &subject).await;
        }
        Ok(response::nothing(200))
    }

    /// Moves an object to where it can be taken back.
    pub(super) async fn discard(&self, kind: Kind, name: &Name) -> ApiResult<()> {
        let path = format!("{}/{}", kind.as_str(), name.hex());
        let now = self.app.now().as_millisecond();
        let to = trash_path(now, self.tenant, self.workspace, &path);
        // Deleting what is not there, after an answer that was lost, is done.
        let copied = self.storage.copy(&self.key(&path), &to, Some(name.bytes())).await?;
        // No wake may choose what is gone, also where this ends half-way: it can be taken back from here on.
        if matches!(kind, Kind::Index | Kind::Snapshots) {
            let _: Held = self.ask(BackupCall::Gone { kind, name: name.hex().to_owned() }).await?;
        }
        if let Some(bytes) = copied {
            self.storage.delete(vec![self.key(&path)]).await?;
            let _: Held = self.ask(BackupCall::Return { bytes, admitted: None }).await?;
        }
        Ok(())
    }

    async fn unlock(&self, name: &Name, actor: &Actor) -> ApiResult<Response> {
        let key = self.key(&format!("locks/{}", name.hex()));
        let bytes = self.storage.size(&key).await?.unwrap_or(0);
        self.storage.delete(vec![key]).await?;
        let (name, by) = (name.hex().to_owned(), actor.name.clone());
        let _: Held = self.ask(BackupCall::Unlocked { name, bytes, by }).await?;
        Ok(response::nothing(200))
    }
}
