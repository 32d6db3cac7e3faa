//! Deleted objects of a repository are brought back on their owner's word, in slices that fit an invocation. Repeatable.

use crate::actor::Actor;
use crate::durable_objects::rpc::{BackupCall, Call, Deletes, Held};
use crate::error::ApiResult;
use crate::http::request::Incoming;
use crate::http::response;
use crate::r2::bucket::{TRASH, repository_path};
use crate::r2::restic_paths::{Name, Place};
use crate::workspaces::actions::own;
use crate::workspaces::audit::note;
use crate::workspaces::trash::Deleted;
use ebbtide_api::backups::UndoneDeletions;
use ebbtide_api::workspace::NoFields;
use ebbtide_control::repository::Kind;
use ebbtide_control::repository::view::NewEntry;
use worker::Response;

/// Calls after which a slice ends: those of one object (two, and one for an index or a snapshot) and the closing ones still
/// fit.
const CALLS_BUDGET: u32 = 32;

/// Brings a slice of a workspace's deleted objects back.
pub async fn undelete(incoming: &Incoming, actor: &Actor) -> ApiResult<Response> {
    let app = &incoming.app;
    let NoFields {} = incoming.json().await?;
    let workspace = own(app, actor, incoming.params.get("id")).await?;
    let tenant = &actor.tenant;
    let object = app.workspace(tenant, &workspace);
    let ask = async |ask| object.ask::<Held>(Call::Backups { ask }).await;
    let by = actor.name.clone();
    let lock = |bytes| BackupCall::TakeLock { by: by.clone(), bytes, deletes: Deletes::NoProof };
    ask(lock(0)).await?;
    let storage = app.r2()?;
    let mut turn = incoming.query("cursor").map_or_else(Turn::default, |text| Turn::parse(&text));
    let (mut back, mut bytes) = (Vec::new(), 0_u64);
    let next = loop {
        let page = storage.list(TRASH, turn.cursor.clone()).await?;
        let mut cut_short = false;
        for stored in page.objects() {
            let key = stored.key();
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
            if app.calls.total() >= CALLS_BUDGET {
                cut_short = true;
                break;
            }
            let to = repository_path(tenant, &workspace, deleted.path);
            let sha256 = place.as_ref().map(|(_, name): &(Kind, Name)| name.bytes());
            if let Some(size) = storage.copy(&key, &to, sha256).await? {
                bytes = bytes.saturating_add(size);
                if let Some((kind @ (Kind::Index | Kind::Snapshots), name)) = &place {
                    let object = NewEntry::brought_back(*kind, name.hex().to_owned(), size);
                    ask(BackupCall::Back { object }).await?;
                }
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
        if app.calls.total() >= CALLS_BUDGET {
            break Some(turn);
        }
    };
    let restored = u64::try_from(back.len()).unwrap_or(u64::MAX);
    if !back.is_empty() {
        storage.delete(back).await?;
        ask(lock(bytes)).await?;
        note(app, actor, "backups.undelete", workspace.as_str()).await;
    }
    let more = next.is_some();
    if !more {
        ask(BackupCall::ReleaseLock { by: by.clone() }).await?;
    }
    response::json(200, &UndoneDeletions { restored, more, next_cursor: next.map(|turn| turn.to_string()) })
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

#[cfg(test)]
mod tests {
    use super::*;

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
}
