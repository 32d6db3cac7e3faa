//! An owner's deletions, under the grant: objects move to where they can be taken back for some days, locks go at once.
//!
//! The last lock that goes ends the grant: the repository's lock and the grant are one thing to whoever waits.

use super::{Repository, missing};
use crate::answer;
use crate::auth::Context;
use crate::error::{ApiError, ApiResult};
use crate::object::{BackupCall, Held};
use crate::restic_paths::{Kind, Name, Place};
use crate::storage::{mark, trash_path};
use crate::workspaces::note;
use ebbtide_api::ErrorCode;
use worker::Response;

impl Repository<'_> {
    pub(super) async fn delete(&self, place: &Place, context: &Context) -> ApiResult<Response> {
        let (kind, name) = match place {
            Place::Object(Kind::Keys, _) | Place::Config => {
                let message = "config and keys/ are closed: without them nothing can be read";
                return Err(ApiError::new(ErrorCode::DeletionRefused, message)
                    .hint("Delete the workspace to delete its backups."));
            }
            Place::Object(kind, name) => (*kind, name),
            Place::Root | Place::List(_) => return Err(missing()),
        };
        let _: Held = self.ask(BackupCall::Grant { by: context.actor.clone(), bytes: 0 }).await?;
        if kind == Kind::Locks {
            self.unlock(name, context).await
        } else {
            self.discard(kind, name, context).await
        }
    }

    async fn discard(&self, kind: Kind, name: &Name, context: &Context) -> ApiResult<Response> {
        let path = format!("{}/{}", kind.as_str(), name.hex());
        let now = self.invocation.now().as_millisecond();
        let to = trash_path(now, self.tenant, self.workspace, &path);
        // Deleting what is not there, after an answer that was lost, is done.
        let copied = self.storage.copy(&self.key(&path), &to, Some(name.bytes())).await?;
        // No wake may choose what is gone, also where this ends half-way: it can be taken back from here on.
        if kind == Kind::Snapshots {
            let _: Held = self.ask(BackupCall::Forget { snapshot: name.hex().to_owned() }).await?;
        }
        if let Some(bytes) = copied {
            self.storage.delete(vec![self.key(&path)]).await?;
            let _: Held = self.ask(BackupCall::Return { bytes }).await?;
        }
        if kind == Kind::Snapshots {
            let subject = format!("{}:{}", self.workspace, name.hex());
            note(self.invocation, context, "backups.forget", &subject).await;
        }
        Ok(answer::nothing(200))
    }

    async fn unlock(&self, name: &Name, context: &Context) -> ApiResult<Response> {
        let key = self.key(&format!("locks/{}", name.hex()));
        if let Some(bytes) = self.storage.size(&key).await? {
            self.storage.delete(vec![key]).await?;
            let _: Held = self.ask(BackupCall::Return { bytes }).await?;
        }
        let left = self.storage.list(&self.key("locks/"), None).await?;
        // A machine's lock, which only a hijacked one writes, keeps nobody waiting.
        if left.objects().iter().all(|object| mark(object).generation.is_some()) {
            let _: Held = self.ask(BackupCall::EndGrant { by: context.actor.clone() }).await?;
        }
        Ok(answer::nothing(200))
    }
}
