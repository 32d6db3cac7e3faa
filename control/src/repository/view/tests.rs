//! Views over made ledgers: what each rule shows, and every short life of a repository.

use super::*;
use crate::record::{PendingReceipt, Prune};
use ebbtide_api::Timestamp;
use ebbtide_api::backups::SnapshotSummary;

/// A repository with its record, as the object would keep both.
struct World {
    record: Record,
    ledger: Ledger,
}

impl World {
    fn new() -> Self {
        let mut record = crate::lifecycle::a_record();
        record.generation = Generation(1);
        Self { record, ledger: Ledger::default() }
    }

    fn enter(&mut self, kind: Kind, by: Option<u32>) -> u32 {
        let name = name(self.next_id());
        self.enter_object(NewEntry { kind, name, size: 1, by: by.map(Generation) })
    }

    fn next_id(&self) -> u32 {
        u32::try_from(self.ledger.entries.len()).unwrap() + 1
    }

    fn enter_object(&mut self, object: NewEntry) -> u32 {
        let (id, shared) = (self.next_id(), object.is_shared());
        let at_ms = i64::from(id);
        self.ledger.entries.push(Entry { id, object, place: id, at_ms, shared, gone_ms: None });
        id
    }

    fn index(&mut self) -> u32 {
        self.enter(Kind::Index, Some(self.record.generation.0))
    }

    fn snapshot(&mut self) -> u32 {
        self.enter(Kind::Snapshots, Some(self.record.generation.0))
    }

    fn delivered(&mut self, snapshot: u32, indexes: Option<&[u32]>) -> Result<(), String> {
        let indexes = indexes.map(|ids| ids.iter().map(|id| name(*id)).collect());
        let set = self.ledger.prove(&self.record, &receipt(snapshot, indexes))?;
        let kept: BTreeSet<&str> = kept(&self.record).collect();
        self.ledger.sets.retain(|name, _| kept.contains(name.as_str()));
        self.ledger.sets.insert(name(snapshot), set);
        Ok(())
    }

    fn is_being_checked(&mut self, snapshot: u32) {
        let receipt = receipt(snapshot, None);
        self.record.pending = Some(PendingReceipt { receipt, unchecked: Vec::new(), last: false });
    }

    fn verified(&mut self, indexes: Option<&[u32]>) -> u32 {
        let snapshot = self.snapshot();
        self.delivered(snapshot, indexes).unwrap();
        self.is_verified(snapshot);
        snapshot
    }

    fn is_verified(&mut self, snapshot: u32) {
        let summary = SnapshotSummary {
            snapshot: name(snapshot),
            verified_at: Timestamp::from_millisecond(i64::from(snapshot)).unwrap(),
            generation: self.record.generation,
            files: 1,
            bytes: 1,
            partial: false,
        };
        self.record.snapshots.insert(0, summary);
    }

    fn wakes(&mut self, snapshot: u32) -> &mut Self {
        self.record.generation = self.record.generation.next();
        self.record.restore = Some(name(snapshot));
        self
    }

    fn entry(&mut self, id: u32) -> &mut Entry {
        self.ledger.entries.iter_mut().find(|entry| entry.id == id).unwrap()
    }

    /// Deletes an index as an owner's prune does.
    fn owner_deletes(&mut self, id: u32) {
        for shared in self.ledger.to_share(&self.record) {
            self.entry(shared).shared = true;
        }
        self.entry(id).gone_ms = Some(0);
    }

    fn list(&self, reader: &Reader, kind: Kind) -> Option<Vec<u32>> {
        let view = self.ledger.view(&self.record, reader, None)?;
        Some(view.list(kind).iter().map(|object| number(&object.name)).collect())
    }

    #[track_caller]
    fn check(&self, reader: &Reader, indexes: &[u32], snapshots: &[u32]) {
        assert_eq!(self.list(reader, Kind::Index).as_deref(), Some(indexes), "indexes of {reader:?}");
        assert_eq!(self.list(reader, Kind::Snapshots).as_deref(), Some(snapshots), "snapshots of {reader:?}");
    }
}

fn name(id: u32) -> String {
    format!("{id:064}")
}

fn number(name: &str) -> u32 {
    name.parse().unwrap()
}

fn as_of(snapshot: u32) -> Reader {
    Reader::Snapshot(name(snapshot))
}

fn receipt(snapshot: u32, indexes: Option<Vec<String>>) -> Receipt {
    let text = serde_json::json!({
        "snapshot": name(snapshot), "tree": "", "packs_new": [], "packs_total": 0, "files": 1, "bytes_total": 1,
        "bytes_sent": 1, "skipped": [], "unreadable": [], "indexes": indexes,
    });
    serde_json::from_value(text).unwrap()
}

#[test]
fn a_view_shows_what_receipts_named_and_nothing_planted_beside_it() {
    let mut world = World::new();
    let (first, planted) = (world.index(), world.index());
    let old = world.verified(Some(&[first]));
    let second = world.index();
    let new = world.verified(Some(&[second]));
    let (late, unproved) = (world.index(), world.snapshot());
    world.check(&as_of(old), &[first], &[old]);
    world.check(&as_of(new), &[first, second], &[old, new]);
    world.check(&Reader::Latest, &[first, second], &[old, new]);
    world.check(&Reader::Verified, &[first, second], &[old, new]);
    world.check(&Reader::Machine, &[first, planted, second, late], &[old, new, unproved]);
    world.wakes(new);
    let own = world.index();
    world.check(&Reader::Machine, &[first, second, own], &[old, new]);
    assert!(world.list(&as_of(unproved), Kind::Index).is_none(), "nobody has verified it");
    assert!(world.list(&as_of(99), Kind::Index).is_none());
}

#[test]
fn a_machine_that_names_nothing_has_all_counted_that_it_wrote_before_its_snapshot() {
    let mut world = World::new();
    let first = world.index();
    let old = world.verified(None);
    let second = world.index();
    let snapshot = world.snapshot();
    let late = world.index();
    world.delivered(snapshot, None).unwrap();
    assert_eq!(world.ledger.sets[&name(snapshot)], [first, second]);
    world.delivered(snapshot, Some(&[late])).unwrap();
    assert_eq!(world.ledger.sets[&name(snapshot)], [first, late], "the last word before it is verified");
    // One that is verified stays what it is, whoever delivers it again.
    world.wakes(old);
    world.delivered(old, Some(&[])).unwrap();
    world.check(&as_of(old), &[first], &[old]);
}

#[test]
fn a_receipt_names_only_what_its_machine_is_shown() {
    let mut world = World::new();
    let planted = world.index();
    let base = world.verified(Some(&[]));
    let (unproved, hidden) = (world.snapshot(), world.index());
    let owners = world.enter(Kind::Index, None);
    world.wakes(base);
    let own = world.snapshot();
    for foreign in [planted, hidden, 77] {
        let problem = world.delivered(own, Some(&[foreign])).unwrap_err();
        assert_eq!(problem, format!("index/{} is not in storage", name(foreign)));
    }
    let problem = world.delivered(unproved, None).unwrap_err();
    assert_eq!(problem, format!("snapshots/{} is not in storage", name(unproved)));
    world.delivered(own, Some(&[owners])).unwrap();
}

#[test]
fn a_snapshot_that_is_being_checked_keeps_its_set_while_another_is_delivered_and_refused() {
    let mut world = World::new();
    let (first, pending) = (world.index(), world.snapshot());
    world.delivered(pending, Some(&[first])).unwrap();
    world.is_being_checked(pending);
    let (_, refused) = (world.index(), world.snapshot());
    world.delivered(refused, None).unwrap();
    world.is_verified(pending);
    world.check(&Reader::Latest, &[first], &[pending]);
}

#[test]
fn a_verified_snapshot_without_a_set_is_passed_over_by_the_latest_and_by_what_comes_after_it() {
    let mut world = World::new();
    let first = world.index();
    let old = world.verified(Some(&[first]));
    let lost = world.snapshot();
    world.is_verified(lost);
    world.check(&Reader::Latest, &[first], &[old]);
    let second = world.index();
    let new = world.verified(Some(&[second]));
    world.check(&Reader::Latest, &[first, second], &[old, new]);
}

#[test]
fn what_its_owner_brings_back_after_the_ledger_forgot_it_is_in_no_view() {
    let mut world = World::new();
    let index = world.index();
    let snapshot = world.verified(Some(&[index]));
    for kind in [Kind::Index, Kind::Snapshots] {
        world.enter_object(NewEntry::brought_back(kind, name(world.next_id()), 1));
    }
    for reader in [as_of(snapshot), Reader::Latest, Reader::Verified, Reader::Machine] {
        world.check(&reader, &[index], &[snapshot]);
    }
}

#[test]
fn its_own_snapshot_is_read_by_its_machine_before_it_is_verified_and_by_nobody_else() {
    let mut world = World::new();
    let (index, snapshot) = (world.index(), world.snapshot());
    let reader = as_of(snapshot);
    let asked = |by| world.ledger.view(&world.record, &reader, by).map(|view| view.list(Kind::Index).len());
    assert_eq!(asked(Some(Generation(1))), Some(1), "{index}");
    assert_eq!(asked(Some(Generation(2))), None);
    assert_eq!(asked(None), None);
}

#[test]
fn branches_see_nothing_of_each_other_until_an_owner_s_prune_makes_their_indexes_common() {
    let mut world = World::new();
    let root_index = world.index();
    let root = world.verified(Some(&[root_index]));
    world.wakes(root);
    let full = world.index();
    let large = world.verified(Some(&[full]));
    let planted = world.index();
    world.wakes(root);
    let own = world.index();
    let small = world.verified(Some(&[own]));
    world.check(&as_of(small), &[root_index, own], &[root, small]);
    world.check(&as_of(large), &[root_index, full], &[root, large]);
    // What restic from 0.17 on does: the large branch's snapshot and the small one's index go, the full index stays.
    let forgotten = world.record.snapshots.iter().position(|known| known.snapshot == name(large)).unwrap();
    let forgotten = world.record.snapshots.remove(forgotten);
    world.record.forgotten.push(forgotten);
    world.entry(large).gone_ms = Some(0);
    let merged = world.enter(Kind::Index, None);
    world.owner_deletes(own);
    world.check(&as_of(small), &[root_index, full, merged], &[root, small]);
    world.check(&Reader::Verified, &[root_index, full, merged], &[root, small]);
    world.wakes(small);
    world.check(&Reader::Machine, &[root_index, full, merged], &[root, small]);
    assert!(!world.list(&Reader::Verified, Kind::Index).unwrap().contains(&planted));
    // And back again.
    world.entry(own).gone_ms = None;
    world.check(&as_of(small), &[root_index, full, own, merged], &[root, small]);
}

#[test]
fn an_index_that_replaces_another_takes_its_place_in_every_view_and_in_no_other() {
    let mut world = World::new();
    let first = world.index();
    let old = world.verified(Some(&[first]));
    let second = world.index();
    let new = world.verified(Some(&[second]));
    world.wakes(new);
    let replacing = world.enter(Kind::Index, Some(1));
    world.entry(replacing).place = second;
    world.entry(second).gone_ms = Some(0);
    world.check(&as_of(new), &[first, replacing], &[old, new]);
    world.check(&as_of(old), &[first], &[old]);
    world.check(&Reader::Machine, &[first, replacing], &[old, new]);
}

#[test]
fn whoever_removes_sees_what_is_expired_what_the_owner_wrote_and_what_is_to_go() {
    let mut world = World::new();
    let index = world.index();
    let old = world.verified(Some(&[index]));
    let (orphan, planted) = (world.snapshot(), world.snapshot());
    let new = world.verified(Some(&[]));
    let expired = world.record.snapshots.pop().unwrap();
    world.record.expired.push(expired);
    let owners = world.enter(Kind::Snapshots, None);
    world.check(&Reader::Verified, &[index], &[old, new, owners]);
    let orphans = vec![name(orphan)];
    world.record.prune = Some(Prune { snapshots: Vec::new(), orphans, until: None, ended: false });
    world.check(&Reader::Verified, &[index], &[old, orphan, new, owners]);
    world.check(&Reader::Latest, &[index], &[old, new]);
    assert!(!world.list(&Reader::Verified, Kind::Snapshots).unwrap().contains(&planted));
    // The newest that is there.
    world.entry(new).gone_ms = Some(0);
    assert!(world.list(&Reader::Latest, Kind::Snapshots).is_none());
}

#[test]
fn a_machine_that_salvages_an_image_stands_on_the_newest() {
    let mut world = World::new();
    let index = world.index();
    let snapshot = world.verified(Some(&[index]));
    world.wakes(snapshot);
    world.record.restore = None;
    world.check(&Reader::Machine, &[index], &[snapshot]);
}

#[test]
fn locks_are_the_owner_s_alone() {
    let mut world = World::new();
    world.enter(Kind::Locks, Some(1));
    let owners = world.enter(Kind::Locks, None);
    assert_eq!(world.list(&Reader::Machine, Kind::Locks), Some(vec![owners]));
}

#[test]
fn what_older_machines_planted_leaves_the_ledger_and_what_may_be_needed_stays() {
    let mut world = World::new();
    let index = world.index();
    let snapshot = world.verified(Some(&[index]));
    let (planted, unproved) = (world.index(), world.snapshot());
    world.wakes(snapshot);
    let own = world.index();
    let left = |world: &World, now| world.ledger.leftovers(&world.record, now);
    assert_eq!(left(&world, 1_000), [planted]);
    world.entry(index).gone_ms = Some(500);
    assert_eq!(left(&world, 1_000), [planted], "a deletion can be undone");
    assert_eq!(left(&world, KEPT_MS + 1_000), [index, planted, unproved], "{own}");
}

#[test]
fn a_repository_older_than_the_ledger_is_adopted_up_to_each_machine_s_last_receipt() {
    let mut world = World::new();
    let snapshot = world.verified(None);
    let at = i64::from(snapshot);
    let found = |by: Option<u32>, at_ms| Found {
        object: NewEntry { kind: Kind::Index, name: name(7), size: 1, by: by.map(Generation) },
        at_ms,
    };
    let adopted = |by, at_ms| adopts(&world.record, &found(by, at_ms));
    assert!(adopted(Some(1), at) && adopted(None, at + 9), "proved, and the owner's");
    assert!(!adopted(Some(1), at + 1) && !adopted(Some(2), 0), "planted after it, and nobody's");
}

/// One step in a repository's life.
#[derive(Debug, Clone, Copy)]
enum Step {
    Backup,
    Plant,
    WakeOnNewest,
    WakeOnOldest,
    OwnerPrunes,
    MachinePrunes,
}

const STEPS: [Step; 6] = [
    Step::Backup,
    Step::Plant,
    Step::WakeOnNewest,
    Step::WakeOnOldest,
    Step::OwnerPrunes,
    Step::MachinePrunes,
];

/// A life, and what each verified snapshot needs.
struct Life {
    world: World,
    needs: BTreeMap<u32, BTreeSet<u32>>,
    planted: BTreeSet<u32>,
    newest: Option<u32>,
}

impl Life {
    fn step(&mut self, step: Step) {
        let base = self.newest;
        match step {
            Step::Backup => {
                let mut needs = base.map(|base| self.needs[&base].clone()).unwrap_or_default();
                let index = self.world.index();
                needs.insert(index);
                let snapshot = self.world.verified(Some(&[index]));
                self.needs.insert(snapshot, needs);
                self.newest = Some(snapshot);
            }
            Step::Plant => {
                let planted = self.world.index();
                self.planted.extend([planted, self.world.snapshot()]);
            }
            Step::WakeOnNewest | Step::WakeOnOldest => {
                let oldest = self.needs.keys().next().copied();
                let snapshot = if matches!(step, Step::WakeOnOldest) { oldest } else { base };
                if let Some(snapshot) = snapshot {
                    self.world.wakes(snapshot);
                    self.newest = Some(snapshot);
                }
            }
            Step::OwnerPrunes => self.owner_prunes(),
            Step::MachinePrunes => self.machine_prunes(),
        }
    }

    fn owner_prunes(&mut self) {
        let Some(old) = self.oldest_needed() else { return };
        let new = self.world.enter(Kind::Index, None);
        self.world.owner_deletes(old);
        self.stands_for(old, new);
    }

    fn machine_prunes(&mut self) {
        let Some(old) = self.oldest_needed() else { return };
        let replaced = self.world.entry(old).clone();
        let new = self.world.enter(Kind::Index, replaced.object.by.map(|by| by.0));
        let entry = self.world.entry(new);
        (entry.place, entry.shared) = (replaced.place, replaced.shared);
        self.world.entry(old).gone_ms = Some(0);
        self.stands_for(old, new);
    }

    fn oldest_needed(&self) -> Option<u32> {
        self.needs.values().flatten().min().copied()
    }

    fn stands_for(&mut self, old: u32, new: u32) {
        for needs in self.needs.values_mut().filter(|needs| needs.contains(&old)) {
            needs.remove(&old);
            needs.insert(new);
        }
    }

    fn holds(&self, life: &[Step]) {
        let all: BTreeSet<u32> = self.needs.values().flatten().copied().collect();
        let shared = |id: &u32| self.world.ledger.entries.iter().any(|one| one.id == *id && one.shared);
        for (snapshot, needs) in &self.needs {
            let shown: BTreeSet<u32> =
                self.world.list(&as_of(*snapshot), Kind::Index).unwrap().into_iter().collect();
            assert!(shown.is_superset(needs), "{life:?}: {snapshot} needs {needs:?}, shown are {shown:?}");
            let more = shown.difference(needs).all(shared);
            assert!(more, "{life:?}: {snapshot} is shown {shown:?}, and needs {needs:?}");
            for other in self.world.list(&as_of(*snapshot), Kind::Snapshots).unwrap() {
                assert!(shown.is_superset(&self.needs[&other]), "{life:?}: {other} is half shown");
            }
        }
        let list = |reader: &Reader, kind| self.world.list(reader, kind).unwrap_or_default();
        for reader in [Reader::Verified, Reader::Latest] {
            for kind in [Kind::Index, Kind::Snapshots] {
                assert!(list(&reader, kind).iter().all(|id| !self.planted.contains(id)), "{life:?}");
            }
        }
        let verified: BTreeSet<u32> = list(&Reader::Verified, Kind::Index).into_iter().collect();
        assert_eq!(verified, all, "{life:?}: all that is needed, and nothing else");
        assert_eq!(list(&Reader::Verified, Kind::Snapshots), self.needs.keys().copied().collect::<Vec<_>>());
        let machine: BTreeSet<u32> = list(&Reader::Machine, Kind::Index).into_iter().collect();
        let needs = self.newest.map(|newest| self.needs[&newest].clone()).unwrap_or_default();
        assert!(machine.is_superset(&needs), "{life:?}: the machine misses {needs:?} in {machine:?}");
        let own = |id: &u32| {
            let wrote = Some(self.world.record.generation);
            self.world.ledger.entries.iter().any(|one| one.id == *id && one.object.by == wrote)
        };
        assert!(machine.difference(&needs).all(|id| own(id) || shared(id)), "{life:?}: {machine:?}");
    }
}

#[test]
fn in_every_short_life_each_view_shows_all_that_is_needed_and_nothing_that_was_planted() {
    const LENGTH: u32 = 5;
    let count = u32::try_from(STEPS.len()).unwrap();
    for number in 0..count.pow(LENGTH) {
        let steps: Vec<Step> = (0..LENGTH)
            .map(|place| STEPS[usize::try_from(number / count.pow(place) % count).unwrap()])
            .collect();
        let mut life =
            Life { world: World::new(), needs: BTreeMap::new(), planted: BTreeSet::new(), newest: None };
        for step in &steps {
            life.step(*step);
        }
        life.holds(&steps);
    }
}

#[test]
fn an_owner_s_own_snapshot_is_read_through_all_that_is_proved_and_a_machine_s_before_it_is_verified_by_nobody_else()
 {
    let mut world = World::new();
    let proved = world.index();
    world.verified(Some(&[proved]));
    let (unproved, planted) = (world.index(), world.snapshot());
    let owners = (world.enter(Kind::Index, None), world.enter(Kind::Snapshots, None));
    let seen = |snapshot: u32| {
        let snapshot = name(snapshot);
        let reader = Reader::Snapshot(snapshot.clone());
        let view = world.ledger.view(&world.record, &reader, None)?;
        Some((view.snapshots.contains(snapshot.as_str()), view.places.clone()))
    };
    let (lists_itself, places) = seen(owners.1).unwrap();
    assert!(lists_itself && places.contains(&proved) && !places.contains(&unproved));
    assert_eq!(seen(planted), None);
}
