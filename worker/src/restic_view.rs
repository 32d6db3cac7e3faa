//! Which objects of a repository a reader is shown: what was there when a receipt was accepted, and nothing planted since.
//!
//! Pure. Every object that a machine writes is marked with the machine's generation; storage says when it arrived.
//! A generation *stands on* the snapshot that it restored. Seen from a snapshot, an object counts where its generation
//! is the snapshot's and it arrived no later than the snapshot itself, or where it counts for the snapshot that this
//! generation stands on, and so on down. What a generation left unproved therefore never counts for a later one.
//! Only one clock is read, that of storage. Must never hide what the owner wrote: that has no generation; nor a pack:
//! nothing reads one but by an index, and an owner's prune writes indexes that name packs of every generation.

use crate::restic_paths::Kind;
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

/// What a reader is shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct View {
    /// Until when objects of a generation count.
    until: BTreeMap<u32, i64>,
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
        Self { until, config, locks: Locks::Shown }
    }

    /// What is seen from a snapshot.
    pub fn as_of(snapshot: Mark, lineage: &Lineage, config: Option<Mark>) -> Self {
        Self { until: standing(snapshot, lineage), config, locks: Locks::Hidden }
    }

    /// Whether an object is shown. `None` is the configuration, of which there is never a second.
    pub fn shows(&self, kind: Option<Kind>, mark: Mark) -> bool {
        let counts = || match mark.generation {
            None => true,
            Some(generation) => self.until.get(&generation).is_some_and(|until| mark.at_ms <= *until),
        };
        match (kind, &self.config) {
            (None, _) => true,
            // Keys are made before the configuration, by whoever makes it; the password opens no other.
            (Some(Kind::Keys), Some(config)) => {
                mark.generation == config.generation && mark.at_ms <= config.at_ms
            }
            (Some(Kind::Locks), _) if self.locks == Locks::Hidden => mark.generation.is_none(),
            (Some(Kind::Data), _) => true,
            (Some(Kind::Keys | Kind::Index | Kind::Snapshots | Kind::Locks), _) => counts(),
        }
    }
}

/// Until when each generation's objects count, seen from an object. From a snapshot that the owner wrote, everything
/// that was there is seen: whoever wrote it has seen all of it.
fn standing(from: Mark, lineage: &Lineage) -> BTreeMap<u32, i64> {
    let mut until = BTreeMap::new();
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
}
