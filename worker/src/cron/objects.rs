//! Stored objects of workspaces that were purged, or that nobody has known for long.
//!
//! Walks the bucket by workspace. What is kept by anybody is never listed further; deletions go by up to a thousand. Every
//! workspace whose machine has enrolled has objects here: so one that the index has lost comes back into it.

use super::turn::{Ended, Subject, Sweeper, Trouble};
use crate::durable_objects::rpc::Call;
use crate::r2::bucket::Storage;
use ebbtide_api::{TenantId, Timestamp, WorkspaceId};
use ebbtide_control::sweep::leftover::{Below, judge_leftover, shows_repository};
use ebbtide_control::sweep::state::{Cursor, PartState};
use ebbtide_control::sweep::{Asked, Row, Site, Verdict};

/// Below it each tenant has a directory, and in it each workspace.
const ROOT: &str = "workspaces/";
/// Workspaces looked at together.
const AT_ONCE: u32 = 200;
/// Calls for a stretch: the tenant, its workspaces, their rows, whether there are any at all, and one workspace that goes.
const STRETCH: u32 = 4 + ONE;
/// Calls for one workspace: the question, its objects, the keys of its repository, and the deletion.
const ONE: u32 = 4;

/// Walks on through the bucket.
///
/// # Errors
/// What stopped it.
pub async fn turn(sweeper: &mut Sweeper<'_>, state: &mut PartState) -> Result<Ended, Trouble> {
    let storage = sweeper.app.r2()?;
    let mut after = match &state.cursor {
        Cursor::After { key } => Some(key.clone()),
        Cursor::Start | Cursor::Listing(_) | Cursor::Below { .. } => {
            state.seen = 0;
            None
        }
    };
    while sweeper.has(STRETCH) {
        let tenant = match after.as_deref().and_then(tenant_of) {
            Some(tenant) => tenant.to_owned(),
            None => {
                let (found, _) = storage.directories(ROOT, after.as_deref(), 1).await?;
                match found.first().and_then(|directory| tenant_of(directory)) {
                    Some(tenant) => tenant.to_owned(),
                    None => return Ok(Ended::Round),
                }
            }
        };
        let home = format!("{ROOT}{tenant}/");
        let (directories, more) = storage.directories(&home, after.as_deref(), AT_ONCE).await?;
        let workspaces: Vec<WorkspaceId> = directories
            .iter()
            .filter_map(|directory| directory.strip_prefix(&home)?.strip_suffix('/')?.parse().ok())
            .collect();
        let rows = sweeper.index()?.rows_of(&workspaces).await?;
        let doubt = sweeper.doubts_index(&rows, &workspaces).await?;
        let site = sweeper.site(doubt);
        let tenant = TenantId(tenant);
        for workspace in &workspaces {
            let prefix = format!("{home}{workspace}/");
            let found = Found { tenant: &tenant, workspace, prefix: &prefix, row: rows.get(workspace) };
            if !one(sweeper, state, &storage, &found, &site).await? {
                return Ok(Ended::Turn);
            }
            state.seen = state.seen.saturating_add(1);
            // `0` comes right after `/`: everything of this workspace is behind, and nothing of the next.
            let key = format!("{home}{workspace}0");
            state.cursor = Cursor::After { key: key.clone() };
            after = Some(key);
        }
        if !more {
            let key = format!("{ROOT}{tenant}0");
            state.cursor = Cursor::After { key: key.clone() };
            after = Some(key);
        }
    }
    Ok(Ended::Turn)
}

/// The tenant in whose directory a key is; `None` for a key between directories.
fn tenant_of(key: &str) -> Option<&str> {
    key.strip_prefix(ROOT)?.split_once('/').map(|(tenant, _)| tenant)
}

struct Found<'a> {
    tenant: &'a TenantId,
    workspace: &'a WorkspaceId,
    prefix: &'a str,
    row: Option<&'a Row>,
}

/// Deals with one workspace's directory; `false` where calls or the limit are used up, or more of it is left.
async fn one(
    sweeper: &mut Sweeper<'_>,
    state: &mut PartState,
    storage: &Storage,
    found: &Found<'_>,
    site: &Site<'_>,
) -> Result<bool, Trouble> {
    let mut judged = judge_leftover(found.row, &Asked::NotYet, &Below::default(), site);
    if judged.verdict != Verdict::Ask {
        return Ok(true);
    }
    if !sweeper.has(ONE) {
        return Ok(false);
    }
    let mut keys = Vec::new();
    let mut more = false;
    match sweeper.ask(found.workspace).await {
        Err(silence) => judged = silence.into(),
        Ok(asked) => {
            judged = judge_leftover(found.row, &asked, &Below::default(), site);
            let is_candidate =
                matches!(judged.verdict, Verdict::End(_)) || (asked == Asked::Unknown && found.row.is_none());
            if is_candidate {
                let listed = storage.list(found.prefix, None).await?;
                let objects = listed.objects();
                more = listed.truncated();
                let newest = objects.iter().filter_map(|object| {
                    let millis = i64::try_from(object.uploaded().as_millis()).ok()?;
                    Timestamp::from_millisecond(millis).ok()
                });
                let newest = newest.max();
                keys = objects.iter().map(worker::Object::key).collect();
                let mut repository = keys.iter().any(|key| shows_repository(found.prefix, key));
                // What comes after a thousand packs is not on this page.
                if asked == Asked::Unknown && !repository && more {
                    let prefix = format!("{}restic/keys/", found.prefix);
                    repository = !storage.list_some(&prefix, None, 1).await?.objects().is_empty();
                }
                judged = judge_leftover(found.row, &asked, &Below { newest, repository }, site);
            }
        }
    }
    let subject = Subject {
        what: format!("objects below {}", found.prefix),
        tenant: Some(found.tenant.clone()),
        workspace: Some(found.workspace.clone()),
        generation: None,
    };
    let done = match judged.verdict {
        Verdict::Fine => return Ok(true),
        Verdict::Leave | Verdict::Ask | Verdict::Relabel => String::new(),
        // Whatever it finds, it writes its row.
        Verdict::Nudge => sweeper.tell(found.tenant, found.workspace, Call::Nudge).await,
        Verdict::End(_) => match sweeper.may_end() {
            Err(instead) => instead.to_owned(),
            Ok(()) if sweeper.limit_left == 0 || !sweeper.has(1) => return Ok(false),
            Ok(()) => {
                let count = keys.len();
                storage.delete(keys).await?;
                sweeper.limit_left = sweeper.limit_left.saturating_sub(1);
                state.ended = state.ended.saturating_add(1);
                sweeper.acted("sweep.objects.end", &subject, &judged.because);
                format!("{count} objects deleted")
            }
        },
    };
    let goes_on = more && matches!(judged.verdict, Verdict::End(_)) && sweeper.may_end().is_ok();
    sweeper.found(state, &subject, &judged, done);
    Ok(!goes_on)
}

#[cfg(test)]
mod tests {
    use super::tenant_of;

    #[test]
    fn a_key_says_in_whose_directory_the_walk_is() {
        assert_eq!(tenant_of("workspaces/owner/"), Some("owner"));
        assert_eq!(tenant_of("workspaces/owner/k3v7q2mzab0"), Some("owner"));
        assert_eq!(tenant_of("workspaces/owner0"), None);
        assert_eq!(tenant_of("agent/current"), None);
    }
}
