//! The repository's lock against wakes, and the list of snapshots while the owner removes and brings back.

use super::*;
use ebbtide_api::backups::Retention;
use ebbtide_api::vm::PruneReport;

const OWNER: &str = "owner";

fn asleep() -> World {
    let mut world = World::draining();
    world.deliver(receipt(), true);
    world.ends(Effect::CheckReceipt, EffectOutcome::ReceiptChecked { packs: 3 });
    world.destroyed().state(State::Asleep);
    world
}

fn take(world: &mut World, by: &str) -> Option<ErrorCode> {
    world.ask(Command::TakeLock { by: by.into() });
    world.refusal.clone().map(|refusal| refusal.code)
}

#[test]
fn a_lock_is_refused_while_a_machine_may_exist() {
    for mut world in [World::new(), World::booting(), World::running(), World::draining()] {
        assert_eq!(take(&mut world, OWNER), Some(ErrorCode::DeletionRefused));
        assert_eq!(world.record.lock, None);
    }
}

#[test]
fn a_wake_waits_for_the_end_of_a_lock_and_then_goes_on_by_itself() {
    let mut world = asleep();
    assert_eq!(take(&mut world, OWNER), None);
    world.ask(Command::Wake { snapshot: None }).state(State::Asleep);
    assert_eq!(world.wake_at, Some(world.record.lock.clone().unwrap().until));
    // Work that was begun goes on; nobody else begins any.
    assert_eq!(take(&mut world, OWNER), None);
    assert_eq!(take(&mut world, "key:b"), Some(ErrorCode::DeletionRefused));
    world.ask(Command::ReleaseLock { by: "key:b".into() }).state(State::Asleep);
    world.ask(Command::ReleaseLock { by: OWNER.into() }).state(State::Asleep);
    world.ends(Effect::Reserve, EffectOutcome::Reserved(Box::default())).state(State::Provisioning);
    assert_eq!(take(&mut world, OWNER), Some(ErrorCode::DeletionRefused));
}

#[test]
fn a_client_that_died_keeps_no_workspace_asleep() {
    let mut world = asleep();
    take(&mut world, OWNER);
    world.ask(Command::Wake { snapshot: None });
    let idle = i64::try_from(world.policy.grant_idle.as_secs()).unwrap();
    let begun = world.now;
    world.at(begun + idle - 1).state(State::Asleep);
    world.at(begun + idle).state(State::Asleep);
    world.ends(Effect::Reserve, EffectOutcome::Reserved(Box::default())).state(State::Provisioning);
}

#[test]
fn use_renews_a_lock_past_half_of_its_time_and_is_exclusive() {
    let mut world = asleep();
    take(&mut world, OWNER);
    let first = world.record.lock.clone();
    world.now += 10;
    assert_eq!(take(&mut world, OWNER), None);
    assert_eq!(world.record.lock, first, "a renewal at once writes nothing");
    assert_eq!(take(&mut world, "key:b"), Some(ErrorCode::WrongState));
    world.now += 400;
    assert_eq!(take(&mut world, OWNER), None);
    assert!(world.record.lock.clone().unwrap().until > first.unwrap().until);
}

#[test]
fn a_snapshot_that_was_removed_is_woken_no_more_until_it_is_brought_back() {
    let mut world = asleep();
    let id = receipt().snapshot;
    let newer = SnapshotSummary {
        snapshot: "d".repeat(64),
        verified_at: at(world.now + 1),
        ..world.record.snapshots[0].clone()
    };
    world.record.snapshots.insert(0, newer.clone());
    world.ask(Command::Forget { snapshot: id.clone() });
    assert_eq!(world.record.snapshots, [newer]);
    world.ask(Command::Wake { snapshot: Some(id.clone()) });
    assert_eq!(world.refusal.clone().unwrap().code, ErrorCode::NotFound);
    world.ask(Command::Unforget { snapshot: id.clone() });
    let listed: Vec<_> = world.record.snapshots.iter().map(|known| known.snapshot.clone()).collect();
    assert_eq!(listed, ["d".repeat(64), id]);
    assert!(world.record.forgotten.is_empty());
}

#[test]
fn a_wake_that_waited_is_refused_where_a_cap_was_reached_meanwhile_and_tells_why() {
    let mut world = asleep();
    take(&mut world, OWNER);
    world.ask(Command::Wake { snapshot: None });
    world.ask(Command::ReleaseLock { by: OWNER.into() });
    let refused =
        Failure { code: FailureCode::CapReached, message: "10.00 EUR a day".into(), hint: "Wait.".into() };
    world.ends(Effect::Reserve, EffectOutcome::Refused(refused.clone())).state(State::Failed);
    assert_eq!((world.record.generation, world.record.desired), (Generation(1), DesiredState::Asleep));
    let Phase::Failed { failure } = &world.record.phase else { panic!("{:?}", world.record.phase) };
    assert_eq!(*failure, refused);
}

#[test]
fn a_wake_whose_money_nobody_can_reserve_waits_and_then_gives_up() {
    let mut world = asleep();
    take(&mut world, OWNER);
    world.ask(Command::Wake { snapshot: None });
    world.ask(Command::ReleaseLock { by: OWNER.into() });
    let away =
        || EffectOutcome::Later { waiting_for: "the index".into(), maybe_landed: false, not_before: None };
    let begun = world.now;
    let budget = i64::try_from(world.policy.provision_budget.as_secs()).unwrap();
    while world.now < begun + budget {
        world.ends(Effect::Reserve, away());
        if world.record.state() == State::Failed {
            break;
        }
        let next = world.wake_at.unwrap().as_second() - START;
        world.at(next);
    }
    world.state(State::Failed);
    assert!(world.now <= begun + budget + 60, "{}", world.now - begun);
    assert!(world.record.because.contains("the index"), "{}", world.record.because);
    assert_eq!((world.record.desired, world.record.pause.clone()), (DesiredState::Asleep, None));
}

#[test]
fn a_wake_that_is_taken_back_while_it_waits_for_its_money_stays_asleep() {
    let mut world = asleep();
    take(&mut world, OWNER);
    world.ask(Command::Wake { snapshot: None });
    world.ask(Command::ReleaseLock { by: OWNER.into() });
    world.ask(Command::Sleep);
    world.ends(Effect::Reserve, EffectOutcome::Reserved(Box::default())).state(State::Asleep);
    assert_eq!((world.record.generation, world.wake_at), (Generation(1), None));
}

/// A workspace of which this many snapshots are expired, in the boot of its next machine.
fn prune(expired: usize) -> World {
    let mut world = asleep();
    let known = world.record.snapshots[0].clone();
    world.record.expired = (0..expired)
        .map(|number| SnapshotSummary { snapshot: format!("{number:064}"), ..known.clone() })
        .collect();
    world.ask(Command::Wake { snapshot: None }).state(State::Provisioning);
    world.ends(Effect::EnsureServer, EffectOutcome::Exists(server())).state(State::Booting);
    world
}

fn begin(world: &mut World) -> Option<ErrorCode> {
    let generation = world.record.generation;
    world.ask(Command::BeginPrune { generation, orphans: Vec::new() });
    world.refusal.clone().map(|refusal| refusal.code)
}

fn may_prune(world: &World) -> bool {
    world.record.may_prune(world.record.generation, at(world.now))
}

fn done(world: &World) -> PruneReport {
    PruneReport {
        generation: world.record.generation,
        complete: true,
        snapshots: 30,
        packs: 2,
        bytes: 9,
        reason: None,
    }
}

#[test]
fn a_machine_prunes_once_before_it_is_ready_and_never_after() {
    let mut world = prune(30);
    assert!(!may_prune(&world), "it has not begun");
    assert_eq!(begin(&mut world), None);
    assert!(may_prune(&world));
    assert!(!world.record.may_prune(Generation(1), at(world.now)), "another generation");
    let until = world.record.prune.clone().unwrap().until;
    world.now += 10;
    // An agent that was started anew goes on in the same time.
    assert_eq!(begin(&mut world), None);
    assert_eq!(world.record.prune.clone().unwrap().until, until);
    let report = done(&world);
    world.ask(Command::EndPrune { generation: report.generation, report });
    assert!(!may_prune(&world));
    assert_eq!(world.record.pruned_at, Some(at(world.now)));
    assert_eq!(begin(&mut world), Some(ErrorCode::DeletionRefused));

    let mut world = prune(30);
    begin(&mut world);
    world
        .input(Input::Heartbeat(HeartbeatSummary { ready: true, ..HeartbeatSummary::default() }))
        .state(State::Running);
    assert!(!may_prune(&world), "it is ready");
    assert_eq!(begin(&mut world), Some(ErrorCode::DeletionRefused));
}

#[test]
fn a_prune_that_hangs_is_over_when_its_time_is() {
    let mut world = prune(30);
    begin(&mut world);
    world.now += i64::try_from(world.policy.tidy_limit.as_secs()).unwrap();
    assert!(!may_prune(&world));
    assert_eq!(begin(&mut world), Some(ErrorCode::DeletionRefused));
}

#[test]
fn one_that_came_to_no_end_is_not_tried_at_every_wake() {
    let mut world = prune(30);
    begin(&mut world);
    let (record, now) = (world.record.clone(), world.now);
    assert_eq!(crate::retention::order(&record, &world.policy, at(now + 24 * 3600 - 1)), None);
    assert!(crate::retention::order(&record, &world.policy, at(now + 24 * 3600)).is_some());
    let report = PruneReport { complete: false, ..done(&world) };
    world.ask(Command::EndPrune { generation: report.generation, report });
    assert_eq!(crate::retention::order(&world.record, &world.policy, at(now + 60)), None);
    let mut world = prune(30);
    begin(&mut world);
    let report = done(&world);
    world.ask(Command::EndPrune { generation: report.generation, report });
    assert!(
        crate::retention::order(&world.record, &world.policy, at(now + 60)).is_some(),
        "more are expired"
    );
}

#[test]
fn few_snapshots_wait_for_a_week_and_many_do_not() {
    assert_eq!(prune(0).record.prune, None);
    assert_eq!(prune(19).record.prune, None);
    assert_eq!(prune(20).record.prune.unwrap().snapshots.len(), 20);
    assert_eq!(prune(400).record.prune.unwrap().snapshots.len(), crate::retention::PRUNED_AT_ONCE);
    let mut world = asleep();
    let expired = SnapshotSummary { snapshot: "e".repeat(64), ..world.record.snapshots[0].clone() };
    world.record.expired.push(expired);
    world.now += 7 * 24 * 3600;
    world.ask(Command::Wake { snapshot: None });
    assert_eq!(world.record.prune.unwrap().snapshots, ["e".repeat(64)]);
}

#[test]
fn what_a_wake_restores_is_never_pruned() {
    let mut world = asleep();
    let (newest, mut expired) = (world.record.snapshots[0].clone(), world.record.snapshots[0].clone());
    // A record that was damaged or written by a mistake of ours.
    world.record.expired = vec![newest.clone(); 30];
    expired.snapshot = "e".repeat(64);
    world.record.expired.push(expired);
    world.ask(Command::Wake { snapshot: None });
    assert_eq!(world.record.restore, Some(newest.snapshot));
    assert_eq!(world.record.prune.unwrap().snapshots, ["e".repeat(64)]);
}

#[test]
fn what_is_pruned_can_be_brought_back() {
    let mut world = prune(30);
    let id = world.record.prune.clone().unwrap().snapshots[3].clone();
    world.ask(Command::Forget { snapshot: id.clone() });
    assert!(!world.record.expired.iter().any(|known| known.snapshot == id));
    world.ask(Command::Unforget { snapshot: id.clone() });
    assert!(world.record.snapshots.iter().any(|known| known.snapshot == id));
}

#[test]
fn what_was_brought_back_is_not_removed_at_once_again_and_in_the_end_is() {
    let mut world = asleep();
    let old = SnapshotSummary { snapshot: "e".repeat(64), ..world.record.snapshots[0].clone() };
    world.record.snapshots.push(old.clone());
    let nothing_but_the_newest = Retention { keep_last: 1, hourly: 0, daily: 0, weekly: 0 };
    let retain = |world: &mut World| {
        world.ask(Command::Retain(nothing_but_the_newest));
        world.record.expired.iter().any(|known| known.snapshot == old.snapshot)
    };
    assert!(retain(&mut world));
    world.ask(Command::Forget { snapshot: old.snapshot.clone() });
    world.ask(Command::Unforget { snapshot: old.snapshot.clone() });
    world.now += i64::try_from(world.policy.undo.as_secs()).unwrap() - 1;
    assert!(!retain(&mut world), "it goes again");
    world.now += 1;
    assert!(retain(&mut world), "it stays for ever");
    assert!(world.record.unforgotten.is_empty());
}

#[test]
fn a_looser_rule_saves_what_has_expired_also_from_a_machine_that_removes_it_already() {
    let mut world = prune(30);
    begin(&mut world);
    let removes = |world: &World, name: &str| {
        world.record.prune.clone().unwrap().removes(name, &world.record.snapshots)
    };
    let name = world.record.prune.clone().unwrap().snapshots[3].clone();
    assert!(removes(&world, &name));
    world.ask(Command::Retain(Retention { keep_last: 100, hourly: 0, daily: 0, weekly: 0 }));
    assert!(world.record.expired.is_empty());
    assert!(world.record.snapshots.iter().any(|known| known.snapshot == name));
    assert!(!removes(&world, &name), "a change came too late for nothing");
}

#[test]
fn a_wake_of_an_older_snapshot_removes_nothing() {
    let mut world = asleep();
    let newest = world.record.snapshots[0].clone();
    let older = SnapshotSummary { snapshot: "e".repeat(64), ..newest.clone() };
    world.record.snapshots.push(older.clone());
    world.record.expired = (0..30)
        .map(|number| SnapshotSummary { snapshot: format!("{number:064}"), ..newest.clone() })
        .collect();
    world.ask(Command::Wake { snapshot: Some(older.snapshot.clone()) }).state(State::Provisioning);
    assert_eq!((&world.record.restore, &world.record.prune), (&Some(older.snapshot), &None));
}

#[test]
fn a_boot_that_went_on_closes_a_prune_that_never_began_or_whose_end_was_lost() {
    for has_begun in [false, true] {
        let mut world = prune(30);
        if has_begun {
            assert_eq!(begin(&mut world), None);
        }
        world.heartbeat(HeartbeatSummary { boot_progress: 1, ..HeartbeatSummary::default() });
        assert_eq!(may_prune(&world), has_begun, "the step runs still");
        world
            .heartbeat(HeartbeatSummary { boot_progress: 2, past_prune: true, ..HeartbeatSummary::default() })
            .state(State::Booting);
        assert!(!may_prune(&world));
        assert_eq!(begin(&mut world), Some(ErrorCode::DeletionRefused), "it was begun {has_begun}");
    }
}

#[test]
fn only_a_machine_that_has_begun_and_still_boots_has_pruned() {
    let mut world = prune(30);
    let (before, report) = (world.record.pruned_at, done(&world));
    world.now += 60;
    world.ask(Command::EndPrune { generation: report.generation, report });
    assert_eq!(world.record.pruned_at, before);
    assert_eq!(begin(&mut world), Some(ErrorCode::DeletionRefused), "its time is over all the same");

    let mut world = prune(30);
    begin(&mut world);
    let (before, report) = (world.record.pruned_at, done(&world));
    world.now += 60;
    world.heartbeat(HeartbeatSummary { ready: true, ..HeartbeatSummary::default() }).state(State::Running);
    world.ask(Command::EndPrune { generation: report.generation, report });
    assert_eq!(world.record.pruned_at, before);
}

#[test]
fn a_rule_that_a_later_version_wrote_is_read_as_far_as_it_is_known() {
    let rule = Retention { keep_last: 3, hourly: 0, daily: 5, weekly: 7 };
    let mut stored = serde_json::to_value(new_record().spec).unwrap();
    stored["retention"] = serde_json::to_value(rule).unwrap();
    stored["retention"]["yearly"] = 4.into();
    assert_eq!(serde_json::from_value::<Spec>(stored.clone()).unwrap().retention, Some(rule));
    stored["retention"] = serde_json::Value::Null;
    assert_eq!(serde_json::from_value::<Spec>(stored.clone()).unwrap().retention, None);
    stored.as_object_mut().unwrap().remove("retention");
    assert_eq!(serde_json::from_value::<Spec>(stored).unwrap().retention, None);
}

#[test]
fn why_nothing_was_removed_is_told() {
    let mut world = prune(30);
    begin(&mut world);
    let reason = Some("the tree aa is damaged".to_owned());
    let report = PruneReport { complete: false, reason, ..done(&world) };
    world.ask(Command::EndPrune { generation: report.generation, report });
    assert!(world.notes.iter().any(|note| note.contains("the tree aa is damaged")), "{:?}", world.notes);
}

#[test]
fn orphans_go_with_what_has_expired_and_never_what_a_list_names() {
    let mut world = prune(30);
    let newest = world.record.snapshots[0].snapshot.clone();
    let expired = world.record.expired[0].snapshot.clone();
    let generation = world.record.generation;
    let orphans = vec![newest, "f".repeat(64), expired];
    world.ask(Command::BeginPrune { generation, orphans });
    assert_eq!(world.record.prune.clone().unwrap().orphans, ["f".repeat(64)]);
    // Named once, as the machine begins.
    world.ask(Command::BeginPrune { generation, orphans: vec!["a".repeat(64)] });
    assert_eq!(world.record.prune.clone().unwrap().orphans, ["f".repeat(64)]);
    // Whoever has much that is expired gets rid of them all the same.
    let mut world = prune(400);
    let orphans = (0..90).map(|number| format!("f{number:063}")).collect();
    world.ask(Command::BeginPrune { generation, orphans });
    assert_eq!(world.record.prune.unwrap().orphans.len(), crate::retention::ORPHANS_AT_ONCE);
}
