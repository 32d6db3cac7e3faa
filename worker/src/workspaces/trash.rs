//! Deleted objects of repositories, which can be taken back for some days, and their end after that.
//!
//! What is deleted is moved to where its key says when it was and whose: see [`trash_path`](crate::r2::bucket::trash_path).

use crate::app::App;
use crate::error::ApiResult;
use crate::log::{self, Level};
use crate::r2::bucket::TRASH;
use ebbtide_api::{TenantId, Timestamp, WorkspaceId};
use ebbtide_control::record::minus;

/// A deleted object, as its key says.
#[derive(Debug, PartialEq, Eq)]
pub struct Deleted<'a> {
    /// When it was deleted, in milliseconds.
    pub at_ms: i64,
    tenant: &'a str,
    workspace: &'a str,
    /// Where it was in its repository.
    pub path: &'a str,
}

impl<'a> Deleted<'a> {
    /// Reads the key of a deleted object.
    pub fn parse(key: &'a str) -> Option<Self> {
        let mut parts = key.strip_prefix(TRASH)?.splitn(4, '/');
        let at_ms = parts.next()?.parse().ok()?;
        Some(Self { at_ms, tenant: parts.next()?, workspace: parts.next()?, path: parts.next()? })
    }

    /// Whether it was that workspace's.
    pub fn of(&self, tenant: &TenantId, workspace: &WorkspaceId) -> bool {
        self.tenant == tenant.as_str() && self.workspace == workspace.as_str()
    }
}

/// Deletes for good what was deleted longer ago than a deletion can be undone; says how many. Keys begin with the
/// time, so the first page has the oldest: two calls for up to 1 000 objects.
///
/// # Errors
/// Storage does not answer.
pub async fn purge(app: &App) -> ApiResult<usize> {
    let storage = app.r2()?;
    let before = minus(app.now(), app.config.policy.undo);
    let page = storage.list(TRASH, None).await?;
    let keys = page.objects().into_iter().map(|object| object.key()).filter(|key| is_due(key, before));
    let expired: Vec<String> = keys.take(1_000).collect();
    let count = expired.len();
    if count > 0 {
        storage.delete(expired).await?;
        let count = count.to_string();
        log::write(Level::Info, "deleted backups are gone for good", &[("objects", &count)]);
    }
    Ok(count)
}

fn is_due(key: &str, before: Timestamp) -> bool {
    Deleted::parse(key).is_some_and(|deleted| deleted.at_ms < before.as_millisecond())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::r2::bucket::trash_path;

    #[test]
    fn a_deleted_object_s_key_says_when_and_whose_it_was() {
        let (tenant, workspace) = (TenantId::owner(), "k3v7q2mzab".parse().unwrap());
        let key = trash_path(1_700_000_000_000, &tenant, &workspace, "data/00ff");
        let deleted = Deleted::parse(&key).unwrap();
        assert!(deleted.of(&tenant, &workspace));
        assert!(!deleted.of(&TenantId("other".into()), &workspace));
        assert_eq!((deleted.at_ms, deleted.path), (1_700_000_000_000, "data/00ff"));
        for key in ["trash/", "trash/x/a/b/c", "trash/17/a/b", "workspaces/1/a/b/c"] {
            assert_eq!(Deleted::parse(key), None, "{key}");
        }
    }

    #[test]
    fn only_what_is_past_its_days_is_purged() {
        let before = Timestamp::from_second(1_700_000_000).unwrap();
        assert!(is_due("trash/1699999999999/owner/k3v7q2mzab/data/00", before));
        assert!(!is_due("trash/1700000000000/owner/k3v7q2mzab/data/00", before));
        assert!(!is_due("trash/garbage", before));
    }
}
