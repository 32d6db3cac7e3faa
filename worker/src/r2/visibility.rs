//! Which objects of a repository a reader is shown: what was there when a receipt was accepted, and nothing planted since.
//!
//! Pure. Every object that a machine writes is marked with the machine's generation; storage says when it arrived.
//! A generation *stands on* the snapshot that it restored. Seen from a snapshot, an object counts where its generation
//! is the snapshot's and it arrived no later than the snapshot itself, or where it counts for the snapshot that this
//! generation stands on, and so on down. What a generation left unproved therefore never counts for a later one.
//! Only one clock is read, that of storage. Must never hide what the owner wrote: that has no generation; nor a pack:
//! nothing reads one but by an index, and an owner's prune writes indexes that name packs of every generation.
//!
//! What counts for *any* verified snapshot is proved: that is how far the repository *reaches*. An owner's prune may keep
//! one branch's index as the only one that names another's blob; so its first deletion *vouches* for what was proved by
//! then, and from there on every view shows those indexes. What no receipt ever proved is vouched for by nobody.

use crate::r2::restic_paths::Kind;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Where an object comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mark {
    /// The generation of the machine that wrote it; `None` for the owner's objects.
    pub generation: Option<u32>,
    /// When storage received it, in milliseconds since 1970.
    pub at_ms: i64,
}

/// What each generation stands on: `None` where it restored nothing.
pub type Lineage = BTreeMap<u32, Option<Mark>>;

/// Until when the objects of each generation count, in milliseconds since 1970.
pub type Reach = BTreeMap<u32, i64>;

/// What a reader is shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct View {
    /// Until when objects of a generation count.
    until: Reach,
    /// Until when indexes of a generation count beyond that.
    vouched: Reach,
    /// The repository's configuration, which closes `keys/`.
    config: Option<Mark>,
    /// Whether locks of machines are shown.
    locks: Locks,
}

/// Whether locks that machines wrote are shown. None of ours writes any.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Locks {
    /// As other objects.
    Shown,
    /// Not at all.
    Hidden,
}

impl View {
    /// What a machine is shown: its own generation's objects and those that count for the snapshot it stands on.
    pub fn of_machine(generation: u32, lineage: &Lineage, config: Option<Mark>) -> Self {
        let until = standing(Mark { generation: Some(generation), at_ms: i64::MAX }, lineage);
        Self { until, vouched: Reach::new(), config, locks: Locks::Shown }
    }

    /// What is seen from a snapshot.
    pub fn as_of(snapshot: Mark, lineage: &Lineage, config: Option<Mark>) -> Self {
        let until = standing(snapshot, lineage);
        Self { until, vouched: Reach::new(), config, locks: Locks::Hidden }
    }

    /// What is seen from all verified snapshots together.
    pub fn as_far_as(reach: Reach, config: Option<Mark>) -> Self {
        Self { until: reach, vouched: Reach::new(), config, locks: Locks::Hidden }
    }

    /// Shows indexes that a prune vouched for besides.
    #[must_use]
    pub fn vouching(self, vouched: Reach) -> Self {
        Self { vouched, ..self }
    }

    /// Whether an object is shown. `None` is the configuration, of which there is never a second.
    pub fn shows(&self, kind: Option<Kind>, mark: Mark) -> bool {
        let within = |reach: &Reach| match mark.generation {
            None => true,
            Some(generation) => reach.get(&generation).is_some_and(|until| mark.at_ms <= *until),
        };
        match (kind, &self.config) {
            (None, _) => true,
            // Keys are made before the configuration, by whoever makes it; the password opens no other.
            (Some(Kind::Keys), Some(config)) => {
                mark.generation == config.generation && mark.at_ms <= config.at_ms
            }
            (Some(Kind::Locks), _) if self.locks == Locks::Hidden => mark.generation.is_none(),
            (Some(Kind::Data), _) => true,
            (Some(Kind::Index), _) => within(&self.until) || within(&self.vouched),
            (Some(Kind::Keys | Kind::Snapshots | Kind::Locks), _) => within(&self.until),
        }
    }
}

/// How far a repository is proved: what counts for a verified snapshot that is there, for one that was there
/// (`proved`), or for one that a generation stands on.
pub fn reach(verified: impl IntoIterator<Item = Mark>, proved: &Reach, lineage: &Lineage) -> Reach {
    let mut reach = Reach::new();
    let gone = proved.iter().map(|(generation, at_ms)| Mark { generation: Some(*generation), at_ms: *at_ms });
    let bases = lineage.values().flatten().copied();
    for mark in verified.into_iter().chain(gone).chain(bases) {
        for (generation, at_ms) in standing(mark, lineage) {
            let until = reach.entry(generation).or_insert(at_ms);
            *until = at_ms.max(*until);
        }
    }
    reach
}

/// Until when each generation's objects count, seen from an object. From a snapshot that the owner wrote, everything
/// that was there is seen: whoever wrote it has seen all of it.
fn standing(from: Mark, lineage: &Lineage) -> Reach {
    let mut until = Reach::new();
    let Some(mut generation) = from.generation else {
        return lineage.keys().map(|generation| (*generation, from.at_ms)).collect();
    };
    let mut at = from.at_ms;
    loop {
        until.insert(generation, at);
        let Some(base) = lineage.get(&generation).copied().flatten() else { return until };
        match base.generation {
            // Generations only rise; anything else would be a loop.
            Some(below) if below < generation => (generation, at) = (below, base.at_ms),
            Some(_) => return until,
            // The owner's: as seen from that snapshot itself.
            None => {
                let below = lineage.keys().filter(|below| **below < generation);
                until.extend(below.map(|below| (*below, base.at_ms)));
                return until;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mark(generation: u32, at_ms: i64) -> Mark {
        Mark { generation: Some(generation), at_ms }
    }

    fn owner(at_ms: i64) -> Mark {
        Mark { generation: None, at_ms }
    }

    /// Generation 2 stands on a snapshot of 1 taken at 10; 3 on another of 1, of 5; 4 on one of 2, of 30.
    fn lineage() -> Lineage {
        [(1, None), (2, Some(mark(1, 10))), (3, Some(mark(1, 5))), (4, Some(mark(2, 30)))].into()
    }

    fn check(view: &View, kind: Kind, shown: &[Mark], hidden: &[Mark]) {
        for mark in shown {
            assert!(view.shows(Some(kind), *mark), "{kind:?} {mark:?} is hidden");
        }
        for mark in hidden {
            assert!(!view.shows(Some(kind), *mark), "{kind:?} {mark:?} is shown");
        }
    }

    #[test]
    fn what_was_planted_after_the_last_receipt_is_hidden_from_the_next_machine_and_its_receipts() {
        let machine = View::of_machine(2, &lineage(), None);
        let shown = [mark(1, 10), mark(1, 3), mark(2, 99), owner(99)];
        check(&machine, Kind::Index, &shown, &[mark(1, 11), mark(3, 1), mark(4, 1)]);
        let later = View::as_of(mark(2, 40), &lineage(), None);
        check(&later, Kind::Index, &[mark(1, 10), mark(2, 40), owner(99)], &[mark(1, 11), mark(2, 41)]);
        check(&View::as_of(mark(1, 10), &lineage(), None), Kind::Snapshots, &[mark(1, 10)], &[mark(2, 3)]);
    }

    #[test]
    fn an_older_snapshot_that_was_chosen_leaves_out_what_came_after_it() {
        let machine = View::of_machine(3, &lineage(), None);
        check(&machine, Kind::Index, &[mark(1, 5), mark(3, 9)], &[mark(1, 6), mark(2, 1)]);
        let deep = View::of_machine(4, &lineage(), None);
        check(&deep, Kind::Index, &[mark(1, 10), mark(2, 30), mark(4, 1)], &[mark(2, 31), mark(3, 1)]);
    }

    #[test]
    fn keys_are_those_of_whoever_made_the_repository() {
        let view = View::of_machine(3, &lineage(), Some(mark(2, 20)));
        check(
            &view,
            Kind::Keys,
            &[mark(2, 19), mark(2, 20)],
            &[mark(1, 1), mark(2, 21), mark(3, 5), owner(1)],
        );
        let view = View::as_of(mark(2, 40), &lineage(), Some(owner(20)));
        check(&view, Kind::Keys, &[owner(20)], &[mark(1, 1), owner(21)]);
        assert!(view.shows(None, mark(9, 99)), "the configuration");
    }

    #[test]
    fn a_lock_of_a_machine_stops_nobody_who_reads_as_of_a_receipt() {
        check(&View::as_of(mark(1, 10), &lineage(), None), Kind::Locks, &[owner(99)], &[mark(1, 1)]);
        check(&View::of_machine(1, &lineage(), None), Kind::Locks, &[mark(1, 1)], &[mark(2, 1)]);
    }

    #[test]
    fn a_lineage_that_goes_upwards_is_not_followed() {
        let wrong: Lineage = [(2, Some(mark(2, 5))), (1, Some(mark(2, 5)))].into();
        check(&View::of_machine(2, &wrong, None), Kind::Index, &[mark(2, 9)], &[mark(1, 1)]);
    }

    #[test]
    fn packs_of_other_branches_stay_readable_because_an_owner_s_prune_may_keep_theirs_of_two_copies() {
        // 3 stands on the older snapshot. The owner's index, which everybody sees, now names a pack of 2.
        let machine = View::of_machine(3, &lineage(), None);
        check(&machine, Kind::Index, &[owner(99)], &[mark(2, 6)]);
        check(&machine, Kind::Data, &[mark(1, 6), mark(2, 6), owner(99)], &[]);
        check(&View::as_of(mark(3, 50), &lineage(), None), Kind::Data, &[mark(2, 6), mark(1, 11)], &[]);
    }

    #[test]
    fn a_machine_on_a_snapshot_of_the_owner_is_shown_what_that_snapshot_shows() {
        let mut lineage = lineage();
        lineage.insert(5, Some(owner(60)));
        let machine = View::of_machine(5, &lineage, None);
        let (shown, hidden) = ([mark(1, 60), mark(2, 31), mark(5, 99)], [mark(2, 61), mark(6, 1)]);
        check(&machine, Kind::Index, &shown, &hidden);
        check(&View::as_of(owner(60), &lineage, None), Kind::Index, &shown[..2], &hidden);
    }

    #[test]
    fn what_is_proved_reaches_over_all_branches_and_no_further_than_their_receipts() {
        // 2's newest receipt was of 35, 3's of 50; 4 has none, but stands on 2's of 30. 1 was proved until 10 by 2.
        let all = reach([mark(2, 35), mark(3, 50)], &Reach::new(), &lineage());
        assert_eq!(all, Reach::from([(1, 10), (2, 35), (3, 50)]));
        // A snapshot that was removed proved what it proved, and the machines that stand on it still do.
        let removed = reach([mark(3, 50)], &Reach::from([(1, 20)]), &lineage());
        assert_eq!(removed, Reach::from([(1, 20), (2, 30), (3, 50)]));
        let view = View::as_far_as(removed, None);
        let shown = [mark(1, 20), mark(2, 30), mark(3, 50), owner(99)];
        check(&view, Kind::Index, &shown, &[mark(1, 21), mark(2, 31), mark(3, 51), mark(4, 1)]);
        check(&view, Kind::Snapshots, &shown, &[mark(1, 21), mark(4, 1)]);
    }

    /// restic from 0.17 on leaves index files that are full as they are when it prunes. Two branches hold the same blob; the
    /// prune keeps the pack and the full index of the other branch, and deletes ours.
    #[test]
    fn a_prune_that_kept_another_branch_s_full_index_leaves_every_snapshot_readable_as_of_itself() {
        let (full, planted) = (mark(2, 20), mark(2, 36));
        let before = View::as_of(mark(3, 50), &lineage(), None);
        assert!(!before.shows(Some(Kind::Index), full), "this is the case");
        let vouched = reach([mark(2, 35), mark(3, 50)], &Reach::new(), &lineage());
        for view in [
            View::as_of(mark(3, 50), &lineage(), None),
            View::of_machine(3, &lineage(), None),
            View::of_machine(5, &lineage(), None),
        ] {
            let view = view.vouching(vouched.clone());
            check(&view, Kind::Index, &[full], &[planted, mark(4, 1)]);
            check(&view, Kind::Snapshots, &[], &[full, planted]);
        }
    }
}
