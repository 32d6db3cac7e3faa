//! The list of verified backups of a workspace, and which of them it can wake from.
//!
//! Offered only where the control plane takes it: a snapshot is chosen while no machine exists.

use crate::text::{self, Sentence, Time};
use crate::view::sentence;
use ebbtide_api::Timestamp;
use ebbtide_api::backups::{Retention, SnapshotList, SnapshotSummary};

/// Lines on a page; the API has all of them.
const SHOWN: usize = 20;

/// The list, ready to show.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SnapshotsView {
    /// `12 verified, 1.2 GB of 200.0 GB used`.
    pub summary: String,
    /// Which are kept.
    pub rule: String,
    /// What should be done before backups stop.
    pub warning: Option<Sentence>,
    /// Newest first.
    pub rows: Vec<SnapshotView>,
    /// How many more there are.
    pub more: Option<String>,
}

/// One backup.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SnapshotView {
    /// Its id, for the button.
    pub id: String,
    /// The first characters of it, for people.
    pub short: String,
    /// When it was verified.
    pub verified: Time,
    /// `1 204 files, 38.2 MB`.
    pub detail: String,
    /// Whether something could not be read.
    pub partial: bool,
}

/// Shows the verified backups; `None` where there are none.
pub fn snapshots(list: &SnapshotList, now: Timestamp) -> Option<SnapshotsView> {
    if list.snapshots.is_empty() {
        return None;
    }
    let count = u64::try_from(list.snapshots.len()).unwrap_or(u64::MAX);
    let hidden = list.snapshots.len().saturating_sub(SHOWN);
    Some(SnapshotsView {
        summary: format!(
            "{} verified, {} of {} used",
            text::count(count),
            text::bytes(list.stored_bytes),
            text::bytes(list.quota_bytes)
        ),
        rule: rule(&list.retention, list.expired),
        warning: list.warning.as_deref().map(|warning| text::pieces(&sentence(warning), now)),
        rows: list.snapshots.iter().take(SHOWN).map(|each| snapshot(each, now)).collect(),
        more: (hidden > 0).then(|| format!("{hidden} older ones are not listed here.")),
    })
}

fn snapshot(summary: &SnapshotSummary, now: Timestamp) -> SnapshotView {
    SnapshotView {
        id: summary.snapshot.clone(),
        short: summary.snapshot.chars().take(8).collect(),
        verified: text::time(summary.verified_at, now),
        detail: format!("{}, {}", text::plural(summary.files, "file", "files"), text::bytes(summary.bytes)),
        partial: summary.partial,
    }
}

/// `Kept: the newest 10, one an hour for 24 hours, …`
fn rule(retention: &Retention, expired: u32) -> String {
    let Retention { keep_last, hourly, daily, weekly } = *retention;
    let each =
        |count: u32, each: &str, unit: &str| (count > 0).then(|| format!("one {each} for {count}{unit}"));
    let parts = [
        Some(format!("the newest {}", keep_last.max(1))),
        each(hourly, "an hour", " hours"),
        each(daily, "a day", " days"),
        each(weekly, "a week", " weeks"),
    ];
    let kept = parts.into_iter().flatten().collect::<Vec<_>>().join(", ");
    match expired {
        0 => format!("Kept: {kept}."),
        1 => format!("Kept: {kept}. 1 older backup will be removed at the next wake."),
        expired => format!("Kept: {kept}. {expired} older backups will be removed at the next wake."),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_reads_as_a_sentence_and_names_what_goes() {
        let all = Retention { keep_last: 10, hourly: 24, daily: 14, weekly: 8 };
        assert_eq!(
            rule(&all, 0),
            "Kept: the newest 10, one an hour for 24 hours, one a day for 14 days, one a week for 8 weeks."
        );
        let few = Retention { keep_last: 0, hourly: 0, daily: 0, weekly: 2 };
        assert_eq!(
            rule(&few, 3),
            "Kept: the newest 1, one a week for 2 weeks. 3 older backups will be removed at the next wake."
        );
    }
}
