//! Workspaces whose object holds nothing although the index knows them: what they were is lost, their backups are not.
//!
//! Nobody can back up such a machine or let it sleep any more. So the time after its lifetime in which a workspace would
//! drain and rescue is what its image is taken in, and it is gone by the end on its label. Sooner it ends only at its
//! owner's word, which is in the row, since nothing else is left that could remember it.

use super::{Asked, First, Judged, Row, Site, Verdict};
use crate::names::ResourceOwner;
use crate::record::{minus, plus};
use ebbtide_api::Timestamp;
use ebbtide_api::workspace::State;

/// What is said of it wherever it is shown.
pub const LOST: &str = "its record is lost: it cannot be woken, and its backups are as they were";

/// What is said of it once its owner has deleted it.
pub const LOST_AND_DELETED: &str = "its owner deletes it; its record was lost before";

/// Whether its object is asked in this round. One with a machine always: that machine may bill without end. One at rest
/// in one hour of the day, because each question wakes an object that sleeps.
pub fn is_asked(row: &Row, now: Timestamp) -> bool {
    const HOURS: u64 = 24;
    let spread =
        row.id.as_str().bytes().fold(0_u64, |sum, byte| sum.wrapping_mul(31).wrapping_add(byte.into()));
    let hour = u64::try_from(now.as_second().div_euclid(3600)).unwrap_or(0);
    row.lost_at.is_none() && (row.may_have_machine() || hour % HOURS == spread % HOURS)
}

/// Says so where a workspace is lost. One that is only asked for, and whose object was never called, is not.
pub fn judge_lost(row: &Row, asked: &Asked) -> Option<Judged> {
    let is_lost = *asked == Asked::Unknown && row.generation.0 > 0;
    is_lost.then(|| {
        let because = format!("the index has it {} and its object holds nothing: {LOST}", row.state);
        Judged::new(Verdict::Leave, because)
    })
}

/// Judges a server of a lost workspace.
pub(super) fn judge_server(owner: &ResourceOwner, row: &Row, site: &Site<'_>) -> Judged {
    const RECORD: &str = "the record of its workspace is lost";
    let Some(label_ends_at) = owner.expires else {
        let because =
            format!("{RECORD}, and its label does not say when it ends; DELETE the workspace to end it");
        return Judged::new(Verdict::Leave, because);
    };
    let lifetime_ends_at = minus(label_ends_at, site.policy.time_after_lifetime());
    let end = |first, because| Judged::new(Verdict::End(first), because);
    if label_ends_at < site.now {
        end(First::ImageIfPossible, format!("{RECORD}, and its label ended it at {label_ends_at}"))
    } else if row.state == State::Deleted {
        end(First::Image, format!("{RECORD}, and its owner deleted it"))
    } else if lifetime_ends_at < site.now {
        end(First::Image, format!("{RECORD}, and its lifetime ended at {lifetime_ends_at}"))
    } else {
        let because = format!(
            "{RECORD}, so nobody can back it up: it ends at {lifetime_ends_at}, after an image; DELETE the workspace to \
             end it now"
        );
        Judged::new(Verdict::Leave, because)
    }
}

/// When everything that is stored of a deleted one may go, as with any other: its owner has as long to think again.
pub fn purge_at(deleted_at: Timestamp, site: &Site<'_>) -> Timestamp {
    plus(deleted_at, site.policy.undo)
}
