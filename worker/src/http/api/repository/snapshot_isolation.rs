//! What a reader of a repository is shown, resolved: where snapshots lie in storage, what generations stand on.
//!
//! A view changes rarely (when `latest` moves on, when a prune vouches for more), so an isolate keeps some for seconds. The
//! rules are in `r2::visibility`.

use super::{PAGES_MAX, Repository};
use crate::durable_objects::rpc::{Ancestors, BackupCall};
use crate::error::{ApiError, ApiResult};
use crate::r2::bucket::mark;
use crate::r2::restic_paths::AsOf;
use crate::r2::visibility::{Lineage, Mark, Reach, View, reach};
use ebbtide_api::{ErrorCode, Generation, Hint};
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

/// Views that an isolate keeps; all are forgotten when there are more.
const VIEWS_MAX: usize = 200;
/// How long a view is taken for what it was: a long read costs three calls every so often.
const LASTING_MS: i64 = 15_000;
/// Verified snapshots that are looked for before there is none: the owner may have removed the newest by other means.
const LATEST_TRIES: usize = 5;
/// Bases that one request looks for. More than one is rare.
const BASES_MAX: usize = 8;

/// How a repository is looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Isolation {
    /// Everything that is there, as its owner may.
    Everything,
    /// As a machine of that generation.
    Machine(Generation),
    /// As it was when a receipt was accepted.
    AsOf(AsOf),
    /// What is verified, as a machine of that generation reads it that prunes: before it is ready nobody adds to it, and
    /// what it removes stays proved, so that this stays as it is meanwhile.
    Prune(Generation),
}

/// How far a repository is proved.
pub(super) struct Reached {
    pub(super) reach: Reach,
    /// Every snapshot that is there.
    pub(super) snapshots: Vec<(String, Mark)>,
    /// Names of those that are in a list.
    pub(super) listed: BTreeSet<String>,
    /// Whether nothing was left to be looked for.
    all_known: bool,
}

thread_local! {
    static VIEWS: RefCell<BTreeMap<String, (Rc<View>, i64)>> = const { RefCell::new(BTreeMap::new()) };
}

impl Repository<'_> {
    /// The view; `None` shows everything.
    pub(super) async fn view(&self, isolation: &Isolation) -> ApiResult<Option<Rc<View>>> {
        let seen = match isolation {
            Isolation::Everything => return Ok(None),
            Isolation::Machine(generation) => format!("g{generation}"),
            Isolation::AsOf(AsOf::Latest) => "latest".to_owned(),
            Isolation::AsOf(AsOf::Verified) => "verified".to_owned(),
            Isolation::Prune(generation) => format!("verified/g{generation}"),
            Isolation::AsOf(AsOf::Snapshot(name)) => name.hex().to_owned(),
        };
        let key = format!("{}/{}/{seen}", self.tenant, self.workspace);
        let now = self.app.now().as_millisecond();
        let kept = VIEWS.with_borrow(|views| views.get(&key).cloned());
        if let Some((view, _)) = kept.filter(|(_, until)| *until > now) {
            return Ok(Some(view));
        }
        let (view, lasting) = self.resolve(isolation).await?;
        let view = Rc::new(view);
        let until = now.saturating_add(LASTING_MS);
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

    /// Forgets what this isolate has resolved of this repository.
    pub(super) fn forget_views(&self) {
        let prefix = format!("{}/{}/", self.tenant, self.workspace);
        VIEWS.with_borrow_mut(|views| views.retain(|key, _| !key.starts_with(&prefix)));
    }

    /// How far the repository is proved, and every snapshot that is there.
    pub(super) async fn reach(&self) -> ApiResult<Reached> {
        let ancestors: Ancestors = self.ask(BackupCall::Ancestors { generation: None }).await?;
        let listed: BTreeSet<String> = ancestors.verified.iter().chain(&ancestors.expired).cloned().collect();
        let proved = ancestors.proved.clone();
        let (lineage, all_known) = self.lineage(ancestors).await?;
        let snapshots = self.snapshots().await?;
        // Whoever wrote without a generation has seen all that was there.
        let verified = snapshots
            .iter()
            .filter(|(name, mark)| mark.generation.is_none() || listed.contains(name))
            .map(|(_, mark)| *mark);
        let reach = reach(verified, &proved, &lineage);
        Ok(Reached { reach, snapshots, listed, all_known })
    }

    async fn snapshots(&self) -> ApiResult<Vec<(String, Mark)>> {
        let prefix = self.key("snapshots/");
        let (mut found, mut cursor) = (Vec::new(), None);
        for _ in 0..PAGES_MAX {
            let page = self.storage.list(&prefix, cursor.take()).await?;
            found.extend(
                page.objects().iter().filter_map(|object| {
                    Some((object.key().strip_prefix(&prefix)?.to_owned(), mark(object)))
                }),
            );
            cursor = page.cursor().filter(|_| page.truncated());
            if cursor.is_none() {
                return Ok(found);
            }
        }
        Err(ApiError::new(ErrorCode::QuotaReached, "there are too many snapshots to look through")
            .hint("Remove some with restic forget."))
    }

    /// Notes where the snapshots lie that generations stand on, before any of them goes.
    pub(super) async fn place_bases(&self) -> ApiResult<()> {
        let ancestors: Ancestors = self.ask(BackupCall::Ancestors { generation: None }).await?;
        self.lineage(ancestors).await.map(drop)
    }

    /// The view, and whether it will be the same for a while.
    async fn resolve(&self, isolation: &Isolation) -> ApiResult<(View, bool)> {
        if let Isolation::AsOf(AsOf::Verified) | Isolation::Prune(_) = isolation {
            let config = self.storage.head(&self.key("config")).await?.as_ref().map(mark);
            let Reached { reach, all_known, .. } = self.reach().await?;
            // Otherwise never kept: what is not in it is removed by whoever prunes, and a receipt may be a moment old.
            let lasting = matches!(isolation, Isolation::Prune(_)) && all_known && config.is_some();
            return Ok((View::as_far_as(reach, config), lasting));
        }
        let generation = match isolation {
            Isolation::Machine(generation) => Some(*generation),
            Isolation::Everything | Isolation::AsOf(_) | Isolation::Prune(_) => None,
        };
        let ancestors: Ancestors = self.ask(BackupCall::Ancestors { generation }).await?;
        let snapshot = match isolation {
            Isolation::AsOf(AsOf::Latest) => Some(self.latest(&ancestors.verified).await?),
            Isolation::AsOf(AsOf::Snapshot(name)) => Some(self.lies(name.hex()).await?.ok_or_else(|| {
                ApiError::new(ErrorCode::NotFound, format!("there is no snapshot {}", name.hex()))
                    .hint("GET /v1/workspaces/{id}/snapshots lists them.")
            })?),
            Isolation::Machine(_)
            | Isolation::Everything
            | Isolation::AsOf(AsOf::Verified)
            | Isolation::Prune(_) => None,
        };
        let vouched = ancestors.vouched.clone();
        let (lineage, all_known) = self.lineage(ancestors).await?;
        let config = self.storage.head(&self.key("config")).await?.as_ref().map(mark);
        let lasting = all_known && config.is_some();
        let view = match (snapshot, generation) {
            (Some(snapshot), _) => View::as_of(snapshot, &lineage, config),
            (None, generation) => View::of_machine(generation.map_or(0, |it| it.0), &lineage, config),
        };
        Ok((view.vouching(vouched), lasting))
    }

    async fn latest(&self, verified: &[String]) -> ApiResult<Mark> {
        for snapshot in verified.iter().take(LATEST_TRIES) {
            if let Some(mark) = self.lies(snapshot).await? {
                return Ok(mark);
            }
        }
        Err(ApiError::new(ErrorCode::NotFound, "there is no verified snapshot yet").hint(Hint::SeeSnapshots))
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
