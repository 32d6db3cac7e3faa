//! What a wake restores, where its owner should know: a backup that lacks something, or an older one than the newest.
//! Derives, never decides: `lifecycle::rescue_image::choose_start` does.

use crate::record::{Phase, Record};
use ebbtide_api::backups::SnapshotSummary;
use ebbtide_api::text::time;
use ebbtide_api::workspace::RestoreNote;

/// What people see: of the wake to come while no machine exists, else of the one that was.
pub fn restore_note(record: &Record) -> Option<RestoreNote> {
    match record.phase {
        Phase::Asleep | Phase::Failed { .. } => {
            let newest = || record.snapshots.first().filter(|_| record.rescue_image.is_none());
            let chosen = record.restore_snapshot_chosen.as_deref();
            let wanted = chosen.or_else(|| newest().map(|newest| newest.snapshot.as_str()))?;
            note_of(wanted, &record.snapshots.iter().collect::<Vec<_>>())
        }
        Phase::Requested
        | Phase::Provisioning { .. }
        | Phase::Booting { .. }
        | Phase::Running
        | Phase::Silent { .. }
        | Phase::Draining { .. } => note_of_machine(record),
        Phase::Rescuing { .. } | Phase::Destroying { .. } | Phase::Deleted { .. } => None,
    }
}

/// The same for what the machine of this generation restores.
pub fn note_of_machine(record: &Record) -> Option<RestoreNote> {
    // What it has delivered itself is no choice that its wake had.
    let had = |known: &&SnapshotSummary| known.generation < record.generation;
    note_of(record.restore.as_deref()?, &record.snapshots.iter().filter(had).collect::<Vec<_>>())
}

/// The note on restoring `wanted`, of those that are known, newest first.
fn note_of(wanted: &str, known: &[&SnapshotSummary]) -> Option<RestoreNote> {
    let restored = known.iter().find(|each| each.snapshot == wanted)?;
    let newest = known.first()?;
    let is_newest = newest.snapshot == wanted;
    let whole = known.iter().find(|each| !each.partial);
    let (other, sentence) = match (is_newest, restored.partial) {
        (true, false) => return None,
        (true, true) => (whole, partial(restored, whole.copied())),
        (false, _) => (Some(newest), older(restored, newest)),
    };
    Some(RestoreNote {
        snapshot: wanted.to_owned(),
        other: other.map(|other| other.snapshot.clone()),
        sentence,
    })
}

fn partial(newest: &SnapshotSummary, whole: Option<&SnapshotSummary>) -> String {
    let (id, at) = (&newest.snapshot, time(newest.verified_at));
    let instead = whole.map_or_else(
        || "there is no whole one".to_owned(),
        |whole| {
            let (id, at) = (&whole.snapshot, time(whole.verified_at));
            format!("the last whole one is {id} of {at}; {}", choose(id))
        },
    );
    format!("a wake restores the newest backup, {id} of {at}, which lacks what could not be read; {instead}")
}

fn older(restored: &SnapshotSummary, newest: &SnapshotSummary) -> String {
    let (id, at) = (&restored.snapshot, time(restored.verified_at));
    let lacks = if restored.partial { ", which lacks what could not be read" } else { "" };
    let newest_lacks = if newest.partial { "lacks what could not be read and " } else { "" };
    let (newest, newest_at) = (&newest.snapshot, time(newest.verified_at));
    format!(
        "an older backup was chosen, {id} of {at}{lacks}; agents that have renewed their sign-in since may ask you to \
         sign in again; the newest {newest_lacks}is {newest} of {newest_at}; {}",
        choose(newest)
    )
}

/// How another is chosen.
fn choose(snapshot: &str) -> String {
    format!("to have that one, wake with {{\"snapshot\":\"{snapshot}\"}} while the workspace is asleep")
}

#[cfg(test)]
mod tests {
    use super::*;
    use ebbtide_api::Generation;

    fn backup(id: &str, hour: i64, partial: bool) -> SnapshotSummary {
        SnapshotSummary {
            snapshot: id.to_owned(),
            verified_at: ebbtide_api::Timestamp::from_second(1_800_000_000 + hour * 3600).unwrap(),
            generation: Generation(1),
            files: 1,
            bytes: 1,
            partial,
        }
    }

    fn told(wanted: &str, known: &[SnapshotSummary]) -> Option<(Option<String>, String)> {
        let known: Vec<_> = known.iter().collect();
        note_of(wanted, &known).map(|note| (note.other, note.sentence))
    }

    #[test]
    fn a_whole_newest_backup_is_nothing_to_tell() {
        assert_eq!(told("cc", &[]), None);
        assert_eq!(told("cc", &[backup("cc", 3, false)]), None);
        assert_eq!(told("cc", &[backup("cc", 3, false), backup("bb", 2, true)]), None);
    }

    #[test]
    fn a_partial_newest_one_is_told_with_the_last_whole_one_and_how_to_choose_it() {
        let known =
            [backup("cc", 3, true), backup("bb", 2, true), backup("aa", 1, false), backup("99", 0, false)];
        let (other, sentence) = told("cc", &known).unwrap();
        assert_eq!(other.as_deref(), Some("aa"));
        insta::assert_snapshot!(sentence, @r#"a wake restores the newest backup, cc of 2027-01-15 11:00 UTC, which lacks what could not be read; the last whole one is aa of 2027-01-15 09:00 UTC; to have that one, wake with {"snapshot":"aa"} while the workspace is asleep"#);
        let (other, sentence) = told("cc", &known[..2]).unwrap();
        assert_eq!(other, None);
        assert!(sentence.ends_with("there is no whole one"), "{sentence}");
    }

    #[test]
    fn an_older_one_is_told_with_what_becomes_of_sign_ins() {
        let known = [backup("cc", 3, true), backup("bb", 2, true), backup("aa", 1, false)];
        let (other, sentence) = told("aa", &known).unwrap();
        assert_eq!(other.as_deref(), Some("cc"));
        insta::assert_snapshot!(sentence, @r#"an older backup was chosen, aa of 2027-01-15 09:00 UTC; agents that have renewed their sign-in since may ask you to sign in again; the newest lacks what could not be read and is cc of 2027-01-15 11:00 UTC; to have that one, wake with {"snapshot":"cc"} while the workspace is asleep"#);
        assert!(told("bb", &known).unwrap().1.contains("10:00 UTC, which lacks"));
    }
}
