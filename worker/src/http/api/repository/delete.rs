//! An owner's deletions, under the repository's lock: objects move to where they can be taken back for some days, lock
//! files go at once.
//!
//! The last lock file that goes ends it: restic's lock and ours are one thing to whoever waits.

use super::{Repository, missing};
use crate::actor::Actor;
use crate::durable_objects::rpc::{BackupCall, Held};
use crate::error::{ApiError, ApiResult};
use crate::http::response;
use crate::r2::bucket::{mark, trash_path};
use crate::r2::restic_paths::{Kind, Name, Place};
use crate::workspaces::actions::note;
use ebbtide_api::ErrorCode;
use std::cell::RefCell;
use std::collections::BTreeSet;
use worker::Response;

/// Locks that an isolate remembers to have vouched under; all are forgotten when there are more, and vouched for again.
const VOUCHED_MAX: usize = 100;

thread_local! {
    static VOUCHED: RefCell<BTreeSet<(String, Option<i64>)>> = const { RefCell::new(BTreeSet::new()) };
}

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
        let held: Held = self.ask(BackupCall::TakeLock { by: actor.name.clone(), bytes: 0 }).await?;
        match kind {
            Kind::Locks => return self.unlock(name, actor).await,
            Kind::Index | Kind::Data => self.vouch(held.locked_ms).await?,
            Kind::Snapshots | Kind::Keys => {}
        }
        self.discard(kind, name).await?;
        if kind == Kind::Snapshots {
            let subject = format!("{}:{}", self.workspace, name.hex());
            note(self.app, actor, "backups.forget", &subject).await;
        }
        Ok(response::nothing(200))
    }

    /// Once for each lock, before the first index or pack goes: what is proved by now stays visible as a whole, for the
    /// one that is deleted may be named or held by another branch from here on.
    async fn vouch(&self, locked_ms: Option<i64>) -> ApiResult<()> {
        let key = (format!("{}/{}", self.tenant, self.workspace), locked_ms);
        if VOUCHED.with_borrow(|vouched| vouched.contains(&key)) {
            return Ok(());
        }
        let reach = self.reach().await?.reach.into_iter().collect();
        let _: Held = self.ask(BackupCall::Vouch { reach }).await?;
        VOUCHED.with_borrow_mut(|vouched| {
            if vouched.len() >= VOUCHED_MAX {
                vouched.clear();
            }
            vouched.insert(key);
        });
        self.forget_views();
        Ok(())
    }

    /// Moves an object to where it can be taken back.
    pub(super) async fn discard(&self, kind: Kind, name: &Name) -> ApiResult<()> {
        let path = format!("{}/{}", kind.as_str(), name.hex());
        let now = self.app.now().as_millisecond();
        let to = trash_path(now, self.tenant, self.workspace, &path);
        // Deleting what is not there, after an answer that was lost, is done.
        let copied = self.storage.copy(&self.key(&path), &to, Some(name.bytes())).await?;
        // No wake may choose what is gone, also where this ends half-way: it can be taken back from here on.
        if kind == Kind::Snapshots {
            let mark = self.storage.head(&to).await?.as_ref().map(mark);
            let _: Held = self.ask(BackupCall::Forget { snapshot: name.hex().to_owned(), mark }).await?;
        }
        if let Some(bytes) = copied {
            self.storage.delete(vec![self.key(&path)]).await?;
            let _: Held = self.ask(BackupCall::Return { bytes }).await?;
        }
        Ok(())
    }

    async fn unlock(&self, name: &Name, actor: &Actor) -> ApiResult<Response> {
        let key = self.key(&format!("locks/{}", name.hex()));
        if let Some(bytes) = self.storage.size(&key).await? {
            self.storage.delete(vec![key]).await?;
            let _: Held = self.ask(BackupCall::Return { bytes }).await?;
        }
        let left = self.storage.list(&self.key("locks/"), None).await?;
        // A machine's lock, which only a hijacked one writes, keeps nobody waiting.
        if left.objects().iter().all(|object| mark(object).generation.is_some()) {
            let _: Held = self.ask(BackupCall::ReleaseLock { by: actor.name.clone() }).await?;
        }
        Ok(response::nothing(200))
    }
}
