//! Stored objects of workspaces that were purged, or that nobody has known for longer than a deletion can be undone.

use super::{Asked, First, Judged, Row, Site, Verdict};
use jiff::Timestamp;

/// Judges what lies below one workspace's prefix. `newest` is the youngest object seen there, where any was looked at.
pub fn judge_leftover(
    row: Option<&Row>,
    asked: &Asked,
    newest: Option<Timestamp>,
    site: &Site<'_>,
) -> Judged {
    let kept = row.is_some_and(|row| row.state != ebbtide_api::workspace::State::Deleted);
    match asked {
        Asked::NotYet if kept => Judged::new(Verdict::Fine, "its workspace is kept"),
        Asked::NotYet => {
            Judged::new(Verdict::Ask, "the index does not know its workspace, or has it deleted")
        }
        Asked::Known(fate) if fate.purged => {
            Judged::new(Verdict::End(First::Nothing), "its workspace is purged")
        }
        Asked::Known(fate) => Judged::new(Verdict::Fine, format!("its workspace is {}", fate.state)),
        Asked::Unknown if row.is_some() => {
            Judged::new(Verdict::Leave, "the index knows its workspace and its object does not")
        }
        Asked::Unknown => match newest {
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
