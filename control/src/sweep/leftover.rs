//! Stored objects of workspaces that were purged, or that nobody has known for longer than a deletion can be undone.
//!
//! A backup that nobody shredded is somebody's work: it never ends here, whoever has forgotten its workspace. A workspace
//! that is known and has no row is told to write it again: without a row nobody can look at it or wake it.

use super::{Asked, First, Judged, Row, Site, UNREADABLE, Verdict, lost};
use ebbtide_api::workspace::State;
use jiff::Timestamp;

/// What was seen below the prefix of one workspace.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Below {
    /// When the youngest object seen there was written; `None` where nothing was looked at.
    pub newest: Option<Timestamp>,
    /// Whether a repository is there.
    pub repository: bool,
}

/// Whether an object shows that a repository is below `prefix`: its `config`, or one of the keys that open it.
pub fn shows_repository(prefix: &str, key: &str) -> bool {
    let path = key.strip_prefix(prefix).and_then(|path| path.strip_prefix("restic/"));
    path.is_some_and(|path| path == "config" || path.starts_with("keys/"))
}

/// Judges what lies below one workspace's prefix.
pub fn judge_leftover(row: Option<&Row>, asked: &Asked, below: &Below, site: &Site<'_>) -> Judged {
    let kept = row.is_some_and(|row| row.state != State::Deleted);
    if let (Asked::Unknown, Some(row)) = (asked, row) {
        return judge_lost(row, site);
    }
    match asked {
        Asked::NotYet if kept => Judged::new(Verdict::Fine, "its workspace is kept"),
        Asked::NotYet => {
            Judged::new(Verdict::Ask, "the index does not know its workspace, or has it deleted")
        }
        Asked::Known(fate) if fate.purged => {
            Judged::new(Verdict::End(First::Nothing), "its workspace is purged")
        }
        Asked::Known(fate) if row.is_none() => Judged::new(
            Verdict::Nudge,
            format!("its workspace is {} and the index has no row of it", fate.state),
        ),
        Asked::Known(fate) if fate.state != State::Deleted => Judged::new(
            Verdict::Nudge,
            format!("its workspace is {} and the index has it deleted", fate.state),
        ),
        Asked::Known(fate) => Judged::new(Verdict::Fine, format!("its workspace is {}", fate.state)),
        Asked::Unreadable => Judged::new(Verdict::Leave, UNREADABLE),
        Asked::Unknown if below.repository => Judged::new(
            Verdict::Leave,
            "nobody knows its workspace, and it holds a backup, which never ends unasked: where nobody needs it, delete \
             everything below this prefix from the bucket",
        ),
        Asked::Unknown if site.index_in_doubt => Judged::new(
            Verdict::Leave,
            "nobody knows its workspace, and the index may have been lost: whoever has the keys can still read it",
        ),
        Asked::Unknown => match below.newest {
            Some(newest) if site.is_past(newest, site.policy.sweep_leftover_age) => Judged::new(
                Verdict::End(First::Nothing),
                format!("nobody knows its workspace, and nothing was written since {newest}"),
            ),
            Some(newest) => Judged::new(
                Verdict::Leave,
                format!(
                    "nobody knows its workspace; kept for {} after {newest}",
                    site.policy.sweep_leftover_age
                ),
            ),
            None => Judged::new(Verdict::Leave, "nobody knows its workspace, and nothing says how old it is"),
        },
    }
}

/// What its owner deleted although its record was lost goes as everything deleted does, and no sooner.
fn judge_lost(row: &Row, site: &Site<'_>) -> Judged {
    let purge_at = lost::purge_at(row.since, site);
    if row.state != State::Deleted {
        Judged::new(
            Verdict::Leave,
            format!("the index has its workspace {} and its object holds nothing", row.state),
        )
    } else if purge_at < site.now {
        Judged::new(Verdict::End(First::Nothing), format!("its owner deleted it at {}", row.since))
    } else {
        Judged::new(
            Verdict::Leave,
            format!("its owner deleted it, and its record is lost: it is kept until {purge_at}"),
        )
    }
}
