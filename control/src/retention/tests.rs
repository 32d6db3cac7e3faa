//! The rule over made lists: every list of a small world, and many random ones.

use super::*;
use crate::repository::Kind;
use crate::repository::view::{Entry, NewEntry};
use ebbtide_api::Generation;

const MONDAY_NOON: i64 = 1_800_273_600;

fn snapshot(number: usize, at: i64, partial: bool) -> SnapshotSummary {
    SnapshotSummary {
        snapshot: format!("s{number}"),
        verified_at: Timestamp::from_second(at).unwrap(),
        generation: Generation(1),
        files: 1,
        bytes: 1,
        partial,
    }
}

/// Snapshots so many seconds before a Monday's noon, newest first.
fn list(ages: &[i64]) -> Vec<SnapshotSummary> {
    ages.iter().enumerate().map(|(number, age)| snapshot(number, MONDAY_NOON - age, false)).collect()
}

fn rule(keep_last: u32, hourly: u32, daily: u32, weekly: u32) -> Retention {
    Retention { keep_last, hourly, daily, weekly }
}

fn places(list: &[SnapshotSummary], rule: &Retention) -> Vec<usize> {
    let keep = kept(list, rule, &BTreeSet::new());
    keep.iter().enumerate().filter(|(_, keep)| **keep).map(|(place, _)| place).collect()
}

#[track_caller]
fn check(ages: &[i64], rule: Retention, wanted: &[usize]) {
    assert_eq!(places(&list(ages), &rule), wanted, "{rule:?} over {ages:?}");
}

#[test]
fn the_newest_of_each_period_that_has_any_is_kept() {
    let ages = [0, 60, HOUR, HOUR + 60, DAY, DAY + 60, 2 * DAY, 9 * DAY, 30 * DAY, 31 * DAY];
    check(&ages, rule(0, 0, 0, 0), &[0]);
    check(&ages, rule(3, 0, 0, 0), &[0, 1, 2]);
    check(&ages, rule(0, 3, 0, 0), &[0, 1, 3]);
    check(&ages, rule(0, 0, 3, 0), &[0, 4, 6]);
    // Monday noon, then Sunday and before: two days ago is the week before.
    check(&ages, rule(0, 0, 0, 3), &[0, 4, 7]);
    check(&ages, rule(1, 1, 1, 99), &[0, 4, 7, 8]);
    check(&[], rule(1, 1, 1, 1), &[]);
}

#[test]
fn the_newest_the_newest_whole_one_and_what_is_pinned_are_kept_under_every_rule() {
    let mut list = list(&[0, 10, 20, 30]);
    (list[0].partial, list[1].partial) = (true, true);
    let pinned = BTreeSet::from(["s3"]);
    assert_eq!(kept(&list, &rule(0, 0, 0, 0), &pinned), [true, false, true, true]);
}

#[test]
fn a_time_from_the_future_or_from_before_all_time_drops_no_newest_one() {
    // Verified last, by a clock that stood far back.
    let list = list(&[5_000 * DAY, 0, 60]);
    assert_eq!(places(&list, &rule(1, 0, 0, 0)), [0, 1]);
    let list = list_at(&[-1, 0, 1, -62_135_596_800]);
    assert_eq!(places(&list, &rule(0, 1, 1, 1)), [0, 2]);
}

fn list_at(times: &[i64]) -> Vec<SnapshotSummary> {
    times.iter().enumerate().map(|(number, at)| snapshot(number, *at, false)).collect()
}

/// A small generator: the same lists on every machine.
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % limit
    }

    fn list(&mut self) -> Vec<SnapshotSummary> {
        let count = usize::try_from(self.below(60)).unwrap();
        let spread = [90, 3_600, 20_000, 200_000][usize::try_from(self.below(4)).unwrap()];
        let mut at = MONDAY_NOON;
        (0..count)
            .map(|number| {
                // Mostly older than the one before; sometimes a clock was set.
                let step = i64::try_from(self.below(spread)).unwrap();
                at -= if self.below(20) == 0 { -step } else { step };
                snapshot(number, at, self.below(5) == 0)
            })
            .collect()
    }

    fn rule(&mut self) -> Retention {
        let mut count = |limit| u32::try_from(self.below(limit)).unwrap();
        rule(count(12), count(12), count(12), count(6))
    }
}

#[test]
fn a_rule_keeps_the_newest_changes_nothing_twice_and_a_longer_one_keeps_all_that_a_shorter_keeps() {
    let mut dice = Dice(7);
    for round in 0..4_000 {
        let (list, short) = (dice.list(), dice.rule());
        let more = dice.rule();
        let long = rule(
            short.keep_last + more.keep_last,
            short.hourly + more.hourly,
            short.daily + more.daily,
            short.weekly + more.weekly,
        );
        let pinned: BTreeSet<&str> =
            list.iter().filter(|_| dice.below(15) == 0).map(|one| one.snapshot.as_str()).collect();
        let keep = kept(&list, &short, &pinned);
        let stays: Vec<SnapshotSummary> =
            list.iter().zip(&keep).filter(|(_, keep)| **keep).map(|(one, _)| one.clone()).collect();
        assert!(list.is_empty() || keep[0], "round {round}: the newest goes");
        let whole = list.iter().position(|one| !one.partial);
        assert!(whole.is_none_or(|place| keep[place]), "round {round}: the newest whole one goes");
        assert!(list.iter().zip(&keep).all(|(one, keep)| *keep || !pinned.contains(one.snapshot.as_str())));
        assert!(kept(&stays, &short, &pinned).iter().all(|keep| *keep), "round {round}: not settled");
        let longer = kept(&list, &long, &pinned);
        assert!(keep.iter().zip(&longer).all(|(short, long)| !short || *long), "round {round}: not monotone");
        let bound = usize::try_from(short.most()).unwrap() + pinned.len() + 2;
        assert!(stays.len() <= bound, "round {round}: {} are kept", stays.len());
    }
}

#[test]
fn taking_one_snapshot_after_another_keeps_what_the_rule_keeps_of_all() {
    let mut dice = Dice(11);
    for round in 0..300 {
        let rule = dice.rule();
        let (mut at, mut all, mut thinned) = (MONDAY_NOON, Vec::new(), Vec::<SnapshotSummary>::new());
        for number in 0..80 {
            at += i64::try_from(dice.below(9_000)).unwrap();
            all.insert(0, snapshot(number, at, false));
            thinned.insert(0, snapshot(number, at, false));
            let keep = kept(&thinned, &rule, &BTreeSet::new());
            let mut keep = keep.into_iter();
            thinned.retain(|_| keep.next().unwrap());
        }
        let keep = kept(&all, &rule, &BTreeSet::new());
        let wanted: Vec<_> = all.iter().zip(keep).filter(|(_, keep)| *keep).map(|(one, _)| one).collect();
        assert_eq!(thinned.iter().collect::<Vec<_>>(), wanted, "round {round}: {rule:?}");
    }
}

#[test]
fn a_list_of_the_expired_that_is_full_keeps_the_newest_of_each_machine_which_proves_the_others() {
    let mut record = crate::lifecycle::a_record();
    let count = Record::EXPIRED_KEPT + 50;
    // The abandoned branch is the oldest of all.
    record.expired = (0..count)
        .map(|number| {
            let generation = Generation(if number < 10 { 1 } else { 2 });
            SnapshotSummary { generation, ..snapshot(number, i64::try_from(number).unwrap(), false) }
        })
        .collect();
    bound_expired(&mut record);
    assert_eq!(record.expired.len(), Record::EXPIRED_KEPT);
    assert_eq!(record.expired[0].snapshot, "s9");
    assert_eq!(record.expired[1].snapshot, "s51");
}

/// A snapshot of a machine in the ledger, and those of its receipts that were verified at these times.
fn arrived(ledger: &mut Ledger, name: &str, by: Option<u32>, at_ms: i64) {
    let id = u32::try_from(ledger.entries.len()).unwrap();
    let object = NewEntry { kind: Kind::Snapshots, name: name.to_owned(), size: 1, by: by.map(Generation) };
    ledger.entries.push(Entry { id, object, place: id, at_ms, shared: false, gone_ms: None });
}

fn proved_by(record: &mut Record, by: u32, name: &str, at_ms: i64) {
    let verified_at = Timestamp::from_millisecond(at_ms).unwrap();
    let (snapshot, generation) = (name.to_owned(), Generation(by));
    let summary = SnapshotSummary { snapshot, verified_at, generation, files: 1, bytes: 1, partial: false };
    record.snapshots.push(summary);
}

#[test]
fn a_young_snapshot_that_no_receipt_proves_stops_a_prune_and_an_old_one_does_not() {
    let mut record = crate::lifecycle::a_record();
    proved_by(&mut record, 1, "a", 10);
    proved_by(&mut record, 2, "b", 30);
    let check = |by: Option<u32>, at_ms: i64, since_ms: i64, wanted: bool| {
        let mut ledger = Ledger::default();
        arrived(&mut ledger, "a", Some(1), 10);
        arrived(&mut ledger, "u", by, at_ms);
        let found = unproved(&record, &ledger, since_ms);
        assert_eq!(found, wanted.then_some("u"), "{by:?} {at_ms} {since_ms}");
    };
    check(Some(2), 31, 5, true);
    check(Some(3), 1, 0, true);
    check(Some(2), 31, 31, false);
    check(Some(2), 30, 5, false);
    check(None, 99, 5, false);
}

#[test]
fn a_snapshot_of_a_machine_that_is_proved_and_in_no_list_goes_however_young_and_no_other_does() {
    let mut record = crate::lifecycle::a_record();
    proved_by(&mut record, 1, "listed", 10);
    proved_by(&mut record, 2, "newer", 30);
    let mut ledger = Ledger::default();
    for (name, by, at_ms) in [
        ("nobody's", Some(3), 1),
        ("owner's", None, 1),
        ("orphan", Some(1), 9),
        ("listed", Some(1), 10),
        ("unproved", Some(1), 11),
        ("later", Some(2), 12),
        ("young", Some(2), 21),
    ] {
        arrived(&mut ledger, name, by, at_ms);
    }
    assert_eq!(orphans(&record, &ledger), ["orphan", "later", "young"]);
}
