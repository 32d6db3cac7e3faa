//! Deleted objects of repositories: brought back on their owner's word, or gone for good after the days of grace.
//!
//! Both work in slices that fit an invocation, and both may be repeated.

use crate::answer;
use crate::auth::Context;
use crate::error::ApiResult;
use crate::invocation::Invocation;
use crate::log::{self, Level};
use crate::object::{BackupCall, Call, Held};
use crate::restic_paths::{Kind, Name, Place};
use crate::route::Params;
use crate::storage::{TRASH, repository_path};
use crate::workspaces::{note, own};
use ebbtide_api::backups::UndoneDeletions;
use ebbtide_api::{TenantId, Timestamp, WorkspaceId};
use ebbtide_control::record::minus;
use worker::Response;

/// Calls after which a slice ends: those of one object (two, and one for a snapshot) and the closing ones still fit.
const CALLS_BUDGET: u32 = 32;

/// A deleted object, as its key says.
#[derive(Debug, PartialEq, Eq)]
struct Deleted<'a> {
    at_ms: i64,
    tenant: &'a str,
    workspace: &'a str,
    path: &'a str,
}

impl<'a> Deleted<'a> {
    fn parse(key: &'a str) -> Option<Self> {
        let mut parts = key.strip_prefix(TRASH)?.splitn(4, '/');
        let at_ms = parts.next()?.parse().ok()?;
        Some(Self { at_ms, tenant: parts.next()?, workspace: parts.next()?, path: parts.next()? })
    }

    fn of(&self, tenant: &TenantId, workspace: &WorkspaceId) -> bool {
        self.tenant == tenant.as_str() && self.workspace == workspace.as_str()
    }
}

/// Brings a slice of a workspace's deleted objects back.
pub async fn undelete(invocation: &Invocation, context: &Context, params: &Params) -> ApiResult<Response> {
    let workspace = own(invocation, context, params.get("id")).await?;
    let tenant = &context.tenant;
    let ask = async |ask| invocation.ask::<Held>(tenant, &workspace, Call::Backups { ask }).await;
    let by = context.actor.clone();
    ask(BackupCall::Grant { by: by.clone(), bytes: 0 }).await?;
    let storage = invocation.storage()?;
    let mut turn = invocation.query("cursor").map_or_else(Turn::default, |text| Turn::parse(&text));
    let (mut back, mut bytes) = (Vec::new(), 0_u64);
    let next = loop {
        let page = storage.list(TRASH, turn.cursor.clone()).await?;
        let mut cut_short = false;
        for object in page.objects() {
            let key = object.key();
            let Some(deleted) = Deleted::parse(&key).filter(|deleted| deleted.of(tenant, &workspace)) else {
                continue;
            };
            let place = match Place::parse(deleted.path) {
                Some(Place::Object(kind, name)) => Some((kind, name)),
                _ => None,
            };
            if rank(place.as_ref().map(|(kind, _)| *kind)) != turn.rank {
                continue;
            }
            if invocation.calls.total() >= CALLS_BUDGET {
                cut_short = true;
                break;
            }
            let to = repository_path(tenant, &workspace, deleted.path);
            let sha256 = place.as_ref().map(|(_, name): &(Kind, Name)| name.bytes());
            if let Some(size) = storage.copy(&key, &to, sha256).await? {
                bytes = bytes.saturating_add(size);
            }
            if let Some((Kind::Snapshots, name)) = place {
                ask(BackupCall::Recall { snapshot: name.hex().to_owned() }).await?;
            }
            back.push(key);
        }
        // What came back has left the page: the same page is asked for again until nothing of it is left to do.
        if cut_short {
            break Some(turn);
        }
        turn = match (page.cursor().filter(|_| page.truncated()), turn.rank) {
            (Some(cursor), rank) => Turn { rank, cursor: Some(cursor) },
            (None, LAST) => break None,
            (None, rank) => Turn { rank: rank.saturating_add(1), cursor: None },
        };
        if invocation.calls.total() >= CALLS_BUDGET {
            break Some(turn);
        }
    };
    let restored = u64::try_from(back.len()).unwrap_or(u64::MAX);
    if !back.is_empty() {
        storage.delete(back).await?;
        ask(BackupCall::Grant { by: by.clone(), bytes }).await?;
        note(invocation, context, "backups.undelete", workspace.as_str()).await;
    }
    let more = next.is_some();
    if !more {
        ask(BackupCall::EndGrant { by }).await?;
    }
    answer::json(200, &UndoneDeletions { restored, more, next_cursor: next.map(|turn| turn.to_string()) })
}

/// The last to come back: snapshots, and what is none of these.
const LAST: u8 = 2;

/// When a kind comes back: a snapshot only after all that it may need, so that whoever reads one finds it whole.
fn rank(kind: Option<Kind>) -> u8 {
    match kind {
        Some(Kind::Data) => 0,
        Some(Kind::Index) => 1,
        Some(Kind::Keys | Kind::Snapshots | Kind::Locks) | None => LAST,
    }
}

/// Where a slice begins. One that begins nowhere in particular passes over what is done.
#[derive(Debug, Default, PartialEq, Eq)]
struct Turn {
    rank: u8,
    cursor: Option<String>,
}

impl Turn {
    fn parse(text: &str) -> Self {
        let (rank, cursor) = text.split_once('.').unwrap_or_default();
        let cursor = Some(cursor.to_owned()).filter(|cursor| !cursor.is_empty());
        match rank.parse() {
            Ok(rank) if rank <= LAST => Self { rank, cursor },
            Ok(_) | Err(_) => Self::default(),
        }
    }
}

impl std::fmt::Display for Turn {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}", self.rank, self.cursor.as_deref().unwrap_or_default())
    }
}

/// Deletes for good what was deleted longer ago than a deletion can be undone; says how many. Keys begin with the
/// time, so the first page has the oldest: two calls for up to 1 000 objects.
///
/// # Errors
/// Storage does not answer.
pub async fn purge(invocation: &Invocation) -> ApiResult<usize> {
    let storage = invocation.storage()?;
    let before = minus(invocation.now(), invocation.config.policy.undo);
    let page = storage.list(TRASH, None).await?;
    let keys = page.objects().into_iter().map(|object| object.key()).filter(|key| is_due(key, before));
    let due: Vec<String> = keys.take(1_000).collect();
    let count = due.len();
    if count > 0 {
        storage.delete(due).await?;
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
    use crate::storage::trash_path;

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
    fn packs_come_back_before_indexes_and_these_before_snapshots() {
        let kinds = [Kind::Data, Kind::Index, Kind::Snapshots];
        let ranks: Vec<u8> = kinds.into_iter().map(|kind| rank(Some(kind))).collect();
        assert_eq!(ranks, [0, 1, LAST]);
        for turn in [Turn::default(), Turn { rank: 2, cursor: Some("a.b".to_owned()) }] {
            assert_eq!(Turn::parse(&turn.to_string()), turn);
        }
        for text in ["", "3.", "x.y", "nonsense"] {
            assert_eq!(Turn::parse(text), Turn::default(), "{text}");
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
