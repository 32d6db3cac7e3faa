//! The drain, walk by walk.

use super::*;

fn receipt() -> Box<Receipt> {
    Box::new(Receipt {
        snapshot: "s".into(),
        tree: "t".into(),
        packs_new: vec![],
        packs_total: 0,
        files: 0,
        bytes_total: 0,
        bytes_sent: 0,
        skipped: vec![],
        unreadable: vec![],
        packs_to_come: 0,
        indexes: None,
        unreadable_more: 0,
        excluded: None,
    })
}

/// One event, and that the freeze is seen to hold wherever it is asked for: the loop answers it at once.
fn step(drain: &mut Drain, now: Moment, event: Event, idle: Stirring) -> Vec<Action> {
    let mut actions = drain.step(now, event, idle);
    if actions.last() == Some(&Action::Freeze) {
        actions.extend(drain.step(now, Frozen, idle));
    }
    actions
}

/// Feeds events a second apart and shows actions and phases.
fn walk(drain: &mut Drain, idle: Stirring, events: Vec<Event>) -> String {
    let mut shown = String::new();
    for (second, event) in (0u64..).zip(events) {
        let actions = step(drain, Moment(second * 1000), event, idle);
        shown += &show(drain, &actions);
    }
    shown.trim_end().to_owned()
}

fn show(drain: &Drain, actions: &[Action]) -> String {
    let actions: Vec<&str> = actions
        .iter()
        .map(|action| match action {
            Action::Notice => "notice",
            Action::Backup => "backup",
            Action::StopBackup => "stop",
            Action::Freeze => "freeze",
            Action::Thaw => "thaw",
            Action::Deliver(_) => "deliver",
        })
        .collect();
    let phase = drain.phase().map_or("-".to_owned(), |phase| format!("{phase:?}").to_lowercase());
    format!("{phase}[{}] ", actions.join(","))
}

use Event::{Answered, BackedUp, BackupFailed, Frozen, NotDelivered, NotFrozen, Tick};

fn desired(desired: DesiredMachineState) -> Event {
    Event::Desired(desired)
}

#[test]
fn the_straight_way_ends_with_a_verified_receipt() {
    let mut drain = Drain::new(FoundFrozen::No);
    let events = vec![
        desired(DesiredMachineState::Run),
        desired(DesiredMachineState::Drain),
        desired(DesiredMachineState::Drain),
        BackedUp(receipt()),
        BackedUp(receipt()),
        Answered(ReceiptStatus::Checking),
        Tick,
        Answered(ReceiptStatus::Verified),
        desired(DesiredMachineState::Drain),
        Tick,
    ];
    assert_eq!(
        walk(&mut drain, Stirring::No, events),
        "-[] snapshot[notice,backup] snapshot[] frozen[freeze,backup] frozen[deliver] frozen[] frozen[deliver] done[] \
         done[] done[]"
    );
}

#[test]
fn a_wish_to_run_stops_it_before_the_freeze() {
    let mut drain = Drain::new(FoundFrozen::No);
    assert_eq!(
        walk(
            &mut drain,
            Stirring::No,
            vec![
                desired(DesiredMachineState::Drain),
                desired(DesiredMachineState::Run),
                BackedUp(receipt()),
                desired(DesiredMachineState::Drain)
            ]
        ),
        "snapshot[notice,backup] -[stop] -[] snapshot[notice,backup]"
    );
}

#[test]
fn what_stirs_during_the_bulk_keeps_it_from_freezing_unless_it_must() {
    let mut drain = Drain::new(FoundFrozen::No);
    assert_eq!(
        walk(
            &mut drain,
            Stirring::Yes,
            vec![
                desired(DesiredMachineState::Drain),
                BackedUp(receipt()),
                Tick,
                desired(DesiredMachineState::Drain)
            ]
        ),
        "snapshot[notice,backup] snapshot[] snapshot[] snapshot[]"
    );
    assert_eq!(
        walk(&mut drain, Stirring::Yes, vec![desired(DesiredMachineState::DrainNow)]),
        "frozen[freeze,backup]"
    );
    let mut drain = Drain::new(FoundFrozen::No);
    walk(&mut drain, Stirring::Yes, vec![desired(DesiredMachineState::Drain), BackedUp(receipt())]);
    assert_eq!(walk(&mut drain, Stirring::No, vec![Tick]), "frozen[freeze,backup]");
}

#[test]
fn a_failing_backup_is_retried_for_ever_at_a_falling_rate() {
    let mut drain = Drain::new(FoundFrozen::No);
    drain.step(Moment(0), desired(DesiredMachineState::DrainNow), Stirring::Yes);
    let mut tries = Vec::new();
    drain.step(Moment(0), BackupFailed, Stirring::Yes);
    for second in 0..400 {
        if drain.step(Moment(second * 1000), Tick, Stirring::Yes) == [Action::Backup] {
            tries.push(second);
            drain.step(Moment(second * 1000), BackupFailed, Stirring::Yes);
        }
    }
    assert_eq!(tries, [1, 3, 7, 15, 31, 63, 123, 183, 243, 303, 363]);
    assert_eq!(drain.phase(), Some(DrainPhase::Snapshot));
}

#[test]
fn a_refused_receipt_brings_another_backup_and_a_lost_one_the_same_again() {
    let mut drain = Drain::new(FoundFrozen::No);
    walk(
        &mut drain,
        Stirring::No,
        vec![desired(DesiredMachineState::DrainNow), BackedUp(receipt()), BackedUp(receipt())],
    );
    assert_eq!(
        walk(
            &mut drain,
            Stirring::No,
            vec![NotDelivered, Tick, Answered(ReceiptStatus::Refused), Tick, Tick, Tick, Tick]
        ),
        "frozen[] frozen[deliver] frozen[] frozen[freeze,backup] frozen[] frozen[] frozen[]"
    );
}

#[test]
fn receipts_that_are_refused_again_and_again_bring_backups_at_a_falling_rate() {
    let mut drain = Drain::new(FoundFrozen::No);
    walk(&mut drain, Stirring::No, vec![desired(DesiredMachineState::DrainNow), BackedUp(receipt())]);
    let mut backups = Vec::new();
    for second in 2..1200 {
        let actions = step(&mut drain, Moment(second * 1000), Tick, Stirring::No);
        if second == 2 || actions == [Action::Freeze, Action::Backup] {
            backups.push(second);
            // What lies between two refusals does not make the next one the first.
            for event in [BackedUp(receipt()), Answered(ReceiptStatus::Checking)] {
                drain.step(Moment(second * 1000), event, Stirring::No);
            }
            let refused = Answered(ReceiptStatus::Refused);
            assert_eq!(drain.step(Moment(second * 1000), refused, Stirring::No), []);
        }
    }
    let waits: Vec<u64> = backups.windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert_eq!(waits, [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300]);
    assert_eq!(drain.phase(), Some(DrainPhase::Frozen));
    let now = Moment(1_200_000);
    assert_eq!(
        drain.step(now, desired(DesiredMachineState::Run), Stirring::No),
        [Action::Thaw],
        "a wait keeps nobody out"
    );
}

#[test]
fn found_frozen_it_waits_for_the_wish_and_thaws_or_goes_on() {
    let mut drain = Drain::new(FoundFrozen::Yes);
    assert_eq!(
        walk(&mut drain, Stirring::Yes, vec![Tick, desired(DesiredMachineState::Run)]),
        "frozen[] -[thaw]"
    );
    let mut drain = Drain::new(FoundFrozen::Yes);
    assert_eq!(
        walk(&mut drain, Stirring::Yes, vec![Tick, desired(DesiredMachineState::Drain)]),
        "frozen[] frozen[freeze,backup]"
    );
}

#[test]
fn the_control_plane_can_still_change_its_mind_until_the_receipt_is_verified() {
    let mut drain = Drain::new(FoundFrozen::No);
    walk(&mut drain, Stirring::No, vec![desired(DesiredMachineState::DrainNow), BackedUp(receipt())]);
    assert_eq!(walk(&mut drain, Stirring::No, vec![desired(DesiredMachineState::Run)]), "-[stop,thaw]");
    let mut drain = Drain::new(FoundFrozen::No);
    let done = vec![
        desired(DesiredMachineState::DrainNow),
        BackedUp(receipt()),
        BackedUp(receipt()),
        Answered(ReceiptStatus::Verified),
    ];
    walk(&mut drain, Stirring::No, done);
    assert_eq!(walk(&mut drain, Stirring::No, vec![desired(DesiredMachineState::Run)]), "done[]");
}

#[test]
fn a_freeze_without_proof_is_tried_again_and_nothing_goes_on_meanwhile() {
    let mut drain = Drain::new(FoundFrozen::No);
    walk(&mut drain, Stirring::No, vec![desired(DesiredMachineState::DrainNow)]);
    assert_eq!(drain.step(Moment(0), BackedUp(receipt()), Stirring::No), [Action::Freeze]);
    assert_eq!(drain.step(Moment(0), NotFrozen, Stirring::No), []);
    assert_eq!(drain.phase(), Some(DrainPhase::Snapshot), "not frozen is not said to be");
    let mut tries = Vec::new();
    for second in 0..400 {
        if drain.step(Moment(second * 1000), Tick, Stirring::No) == [Action::Freeze] {
            tries.push(second);
            assert_eq!(drain.step(Moment(second * 1000), NotFrozen, Stirring::No), []);
        }
    }
    assert_eq!(tries, [1, 3, 7, 15, 31, 63, 123, 183, 243, 303, 363]);
    assert_eq!(drain.step(Moment(500_000), Tick, Stirring::No), [Action::Freeze]);
    assert_eq!(drain.step(Moment(500_000), Frozen, Stirring::No), [Action::Backup]);
    assert_eq!(drain.phase(), Some(DrainPhase::Frozen));
}

#[test]
fn a_freeze_that_fails_is_taken_back_by_a_wish_to_run() {
    let mut drain = Drain::new(FoundFrozen::Yes);
    assert_eq!(drain.step(Moment(0), desired(DesiredMachineState::Drain), Stirring::No), [Action::Freeze]);
    drain.step(Moment(0), NotFrozen, Stirring::No);
    assert_eq!(drain.step(Moment(1), desired(DesiredMachineState::Run), Stirring::No), [Action::Thaw]);
    assert_eq!(drain.phase(), None);
}

#[test]
fn what_runs_before_the_receipt_is_delivered_brings_another_freeze_and_backup() {
    let mut drain = Drain::new(FoundFrozen::No);
    let events = vec![
        desired(DesiredMachineState::DrainNow),
        BackedUp(receipt()),
        BackedUp(receipt()),
        NotFrozen,
        Answered(ReceiptStatus::Verified),
        Tick,
        BackedUp(receipt()),
        Answered(ReceiptStatus::Verified),
    ];
    assert_eq!(
        walk(&mut drain, Stirring::No, events),
        "snapshot[notice,backup] frozen[freeze,backup] frozen[deliver] snapshot[] snapshot[] frozen[freeze,backup] \
         frozen[deliver] done[]"
    );
}
