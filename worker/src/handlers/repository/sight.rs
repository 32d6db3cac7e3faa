//! What a reader of a repository is shown, resolved: where snapshots lie in storage, what generations stand on.
//!
//! A view never changes once it is known, so an isolate keeps some; `latest` moves on and is kept for seconds. The
//! rules are in `restic_view`.

use super::Repository;
use crate::error::{ApiError, ApiResult};
use crate::object::{Ancestors, BackupCall};
use crate::restic_paths::AsOf;
use crate::restic_view::{Lineage, Mark, View};
use crate::storage::mark;
use ebbtide_api::{ErrorCode, Generation};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

/// Views that an isolate keeps; all are forgotten when there are more.
const VIEWS_MAX: usize = 200;
/// How long `latest` is taken for what it was.
const LATEST_MS: i64 = 15_000;
/// Verified snapshots that are looked for before there is none: the owner may have removed the newest by other means.
const LATEST_TRIES: usize = 5;
/// Bases that one request looks for. More than one is rare.
const BASES_MAX: usize = 8;

/// How a repository is looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Sight {
    /// Everything that is there, as its owner may.
    Everything,
    /// As a machine of that generation.
    Machine(Generation),
    /// As it was when a receipt was accepted.
    AsOf(AsOf),
}

thread_local! {
    static VIEWS: RefCell<BTreeMap<String, (Rc<View>, i64)>> = const { RefCell::new(BTreeMap::new()) };
}

impl Repository<'_> {
    /// The view; `None` shows everything.
    pub(super) async fn view(&self, sight: &Sight) -> ApiResult<Option<Rc<View>>> {
        let seen = match sight {
            Sight::Everything => return Ok(None),
            Sight::Machine(generation) => format!("g{generation}"),
            Sight::AsOf(AsOf::Latest) => "latest".to_owned(),
            Sight::AsOf(AsOf::Snapshot(name)) => name.hex().to_owned(),
        };
        let key = format!("{}/{}/{seen}", self.tenant, self.workspace);
        let now = self.invocation.now().as_millisecond();
        let kept = VIEWS.with_borrow(|views| views.get(&key).cloned());
        if let Some((view, _)) = kept.filter(|(_, until)| *until > now) {
            return Ok(Some(view));
        }
        let (view, lasting) = self.resolve(sight).await?;
        let view = Rc::new(view);
        let until = match sight {
            Sight::AsOf(AsOf::Latest) => now.saturating_add(LATEST_MS),
            _ => i64::MAX,
        };
        if lasting {
            VIEWS.with_borrow_mut(|views| {
                if views.len() >= VIEWS_MAX {
                    views.clear();
                }
                views.insert(key, (Rc::clone(&view), until));
            });
        }
        Ok(Some(view))
    }

    /// The view, and whether it will always be the same.
    async fn resolve(&self, sight: &Sight) -> ApiResult<(View, bool)> {
        let generation = match sight {
            Sight::Machine(generation) => Some(*generation),
            Sight::Everything | Sight::AsOf(_) => None,
        };
        let ancestors: Ancestors = self.ask(BackupCall::Ancestors { generation }).await?;
        let snapshot = match sight {
            Sight::AsOf(AsOf::Latest) => Some(self.latest(&ancestors.verified).await?),
            Sight::AsOf(AsOf::Snapshot(name)) => Some(self.lies(name.hex()).await?.ok_or_else(|| {
                ApiError::new(ErrorCode::NotFound, format!("there is no snapshot {}", name.hex()))
                    .hint("GET /v1/workspaces/{id}/snapshots lists them.")
            })?),
            Sight::Machine(_) | Sight::Everything => None,
        };
        let (lineage, all_known) = self.lineage(ancestors).await?;
        let config = self.storage.head(&self.key("config")).await?.as_ref().map(mark);
        let lasting = all_known && config.is_some();
        let view = match (snapshot, generation) {
            (Some(snapshot), _) => View::as_of(snapshot, &lineage, config),
            (None, generation) => View::of_machine(generation.map_or(0, |it| it.0), &lineage, config),
        };
        Ok((view, lasting))
    }

    async fn latest(&self, verified: &[String]) -> ApiResult<Mark> {
        for snapshot in verified.iter().take(LATEST_TRIES) {
            if let Some(mark) = self.lies(snapshot).await? {
                return Ok(mark);
            }
        }
        Err(ApiError::new(ErrorCode::NotFound, "there is no verified snapshot yet")
            .hint("GET /v1/workspaces/{id}/snapshots lists those that exist."))
    }

    /// Completes the lineage: the object knows ids, storage knows where they lie.
    async fn lineage(&self, ancestors: Ancestors) -> ApiResult<(Lineage, bool)> {
        let Ancestors { mut lineage, unknown, .. } = ancestors;
        let mut all_known = unknown.len() <= BASES_MAX;
        for (generation, snapshot) in unknown.into_iter().rev().take(BASES_MAX) {
            let base = self.lies(&snapshot).await?;
            match base {
                Some(base) => {
                    let _: Ancestors = self.ask(BackupCall::PlaceBase { generation, base }).await?;
                }
                // Removed by hand: what it stood on is lost, and whoever restores it is told so by its reader.
                None => all_known = false,
            }
            lineage.insert(generation, base);
        }
        Ok((lineage, all_known))
    }

    async fn lies(&self, snapshot: &str) -> ApiResult<Option<Mark>> {
        let key = self.key(&format!("snapshots/{snapshot}"));
        Ok(self.storage.head(&key).await?.as_ref().map(mark))
    }
}
