//! A machine's prune: before it restores anything it removes the snapshots that it was told to, and what nothing needs
//! then. As an owner's deletions, these can be taken back for some days.
//!
//! Who may, and for how long, is the object's to say, for each object anew. An index that loses an entry is *replaced*: the
//! new one takes the old one's mark, so that every reader is shown what it was shown before, less what is gone. Nothing
//! is removed while a snapshot is there that nobody has verified and that may be somebody's only copy.

use super::snapshot_isolation::Reached;
use super::{Repository, missing};
use crate::durable_objects::rpc::{BackupCall, Call, Held};
use crate::error::{ApiError, ApiResult};
use crate::http::request::Incoming;
use crate::http::response;
use crate::r2::bucket::{Marked, mark};
use crate::r2::restic_paths::{Kind, Name, Place};
use crate::r2::visibility::{Mark, View};
use ebbtide_api::vm::{BeginPrune, PruneOrder, PruneReport};
use ebbtide_api::{ErrorCode, Generation};
use ebbtide_control::record::minus;
use ebbtide_control::retention::PRUNED_AT_ONCE;
use ebbtide_control::tokens::VmClaims;
use std::collections::BTreeSet;
use worker::{Request, Response};

/// A machine begins.
pub async fn begin(incoming: &Incoming, claims: &VmClaims) -> ApiResult<Response> {
    let app = &incoming.app;
    let BeginPrune { generation } = incoming.json().await?;
    same(generation, claims.generation)?;
    let repository =
        Repository { app, storage: app.r2()?, tenant: &claims.tenant, workspace: &claims.workspace };
    let Reached { reach, snapshots, listed, .. } = repository.reach().await?;
    let since = minus(app.now(), app.config.policy.undo).as_millisecond();
    let verified = View::as_far_as(reach, None);
    if let Some(name) = unproved(&snapshots, &verified, since) {
        let message = format!("the snapshot {name} was never verified and may be the only copy of something");
        let hint = format!(
            "Old backups are left alone until it is older than {}; restic forget removes it.",
            app.config.policy.undo
        );
        return Err(ApiError::new(ErrorCode::DeletionRefused, message).hint(hint));
    }
    let orphans = orphans(&snapshots, &verified, &listed, since);
    let order: PruneOrder = repository.ask(BackupCall::BeginPrune { generation, orphans }).await?;
    response::json(200, &order)
}

/// A machine is done.
pub async fn end(incoming: &Incoming, claims: &VmClaims) -> ApiResult<Response> {
    let report: PruneReport = incoming.json().await?;
    same(report.generation, claims.generation)?;
    let call = Call::Backups { ask: BackupCall::EndPrune { report } };
    let held: Held = incoming.app.workspace(&claims.tenant, &claims.workspace).ask(call).await?;
    response::json(200, &held)
}

fn same(stated: Generation, claimed: Generation) -> ApiResult<()> {
    if stated == claimed {
        return Ok(());
    }
    Err(ApiError::new(ErrorCode::StaleGeneration, "the body names another generation than the token"))
}

/// A snapshot of a machine that arrived since then and that no receipt proves.
fn unproved<'a>(snapshots: &'a [(String, Mark)], view: &View, since_ms: i64) -> Option<&'a str> {
    let young = |mark: &Mark| mark.generation.is_some() && mark.at_ms > since_ms;
    let found = snapshots.iter().find(|(_, mark)| young(mark) && !view.shows(Some(Kind::Snapshots), *mark));
    found.map(|(name, _)| name.as_str())
}

/// Snapshots of machines that are proved, old and in no list: further passes over a file that changed, receipts that were
/// lost before a later one came, and what the list of the expired had no room for. The oldest first, as many as one prune
/// takes.
fn orphans(
    snapshots: &[(String, Mark)],
    verified: &View,
    listed: &BTreeSet<String>,
    since_ms: i64,
) -> Vec<String> {
    let is_orphan = |(name, mark): &&(String, Mark)| {
        let old = mark.generation.is_some() && mark.at_ms <= since_ms;
        old && verified.shows(Some(Kind::Snapshots), *mark) && !listed.contains(name)
    };
    let mut found: Vec<&(String, Mark)> = snapshots.iter().filter(is_orphan).collect();
    found.sort_by_key(|(_, mark)| mark.at_ms);
    found.into_iter().take(PRUNED_AT_ONCE).map(|(name, _)| name.clone()).collect()
}

impl Repository<'_> {
    pub(super) async fn delete_as_machine(
        &self,
        place: &Place,
        generation: Generation,
    ) -> ApiResult<Response> {
        let (kind, name) = match place {
            Place::Object(kind @ (Kind::Snapshots | Kind::Index | Kind::Data), name) => (*kind, name),
            Place::Object(Kind::Keys | Kind::Locks, _) | Place::Config | Place::Root | Place::List(_) => {
                return Err(ApiError::new(ErrorCode::DeletionRefused, "a machine does not delete this"));
            }
        };
        let forgets = (kind == Kind::Snapshots).then(|| name.hex().to_owned());
        let _: Held = self.ask(BackupCall::Prune { generation, forgets, bytes: 0 }).await?;
        self.discard(kind, name).await?;
        Ok(response::nothing(200))
    }

    /// Stores an index in the place of another, with that one's mark. The other is deleted next.
    pub(super) async fn replace(
        &self,
        place: &Place,
        old: &str,
        generation: Generation,
        request: &Request,
    ) -> ApiResult<Response> {
        let (Place::Object(Kind::Index, _), Some(old)) = (place, Name::parse(old)) else {
            return Err(ApiError::field("replaces", "only an index is replaced, by another"));
        };
        let Some(new) = self.new_object(place, request).await? else { return Err(missing()) };
        let bytes = new.length;
        let _: Held = self.ask(BackupCall::Prune { generation, forgets: None, bytes }).await?;
        let replaced = self.storage.head(&self.key(&format!("index/{}", old.hex()))).await?;
        let marked = replaced.as_ref().map(|object| Marked::Moved(mark(object)));
        match marked {
            Some(marked) => self.store(new, marked, request).await,
            None => {
                let _: Held = self.ask(BackupCall::Return { bytes }).await?;
                Err(missing())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::r2::visibility::Reach;

    #[test]
    fn a_young_snapshot_that_no_receipt_proves_stops_a_prune_and_an_old_one_does_not() {
        let at = |generation, at_ms| Mark { generation, at_ms };
        let verified = View::as_far_as(Reach::from([(1, 10), (2, 30)]), None);
        let check = |mark: Mark, since_ms: i64, wanted: bool| {
            let snapshots = [("s".to_owned(), at(Some(1), 10)), ("u".to_owned(), mark)];
            assert_eq!(
                unproved(&snapshots, &verified, since_ms),
                wanted.then_some("u"),
                "{mark:?} {since_ms}"
            );
        };
        check(at(Some(2), 31), 5, true);
        check(at(Some(3), 1), 0, true);
        check(at(Some(2), 31), 31, false);
        check(at(Some(2), 30), 5, false);
        check(at(None, 99), 5, false);
    }

    #[test]
    fn an_old_snapshot_of_a_machine_that_is_proved_and_in_no_list_goes_and_no_other_does() {
        let verified = View::as_far_as(Reach::from([(1, 10), (2, 30)]), None);
        let at = |name: &str, generation, at_ms| (name.to_owned(), Mark { generation, at_ms });
        let snapshots = [
            at("later", Some(2), 12),
            at("orphan", Some(1), 9),
            at("listed", Some(1), 10),
            at("unproved", Some(1), 11),
            at("nobody's", Some(3), 1),
            at("young", Some(2), 21),
            at("owner's", None, 1),
        ];
        let listed = BTreeSet::from(["listed".to_owned()]);
        assert_eq!(orphans(&snapshots, &verified, &listed, 20), ["orphan", "later"]);
    }
}
