//! Grants against wakes, and the list of snapshots while the owner removes and brings back.

use super::*;
use ebbtide_api::vm::TidyReport;

const OWNER: &str = "owner";

fn asleep() -> World {
    let mut world = World::draining();
    world.deliver(receipt(), true);
    world.ends(Effect::CheckReceipt, EffectOutcome::ReceiptChecked { packs: 3 });
    world.destroyed().state(State::Asleep);
    world
}

fn take(world: &mut World, by: &str) -> Option<ErrorCode> {
    world.ask(Command::TakeGrant { by: by.into() });
    world.refusal.clone().map(|refusal| refusal.code)
}

#[test]
fn a_grant_is_refused_while_a_machine_may_exist() {
    for mut world in [World::new(), World::booting(), World::running(), World::draining()] {
        assert_eq!(take(&mut world, OWNER), Some(ErrorCode::DeletionRefused));
        assert_eq!(world.record.grant, None);
    }
}

#[test]
fn a_wake_waits_for_the_end_of_a_grant_and_then_goes_on_by_itself() {
    let mut world = asleep();
    assert_eq!(take(&mut world, OWNER), None);
    world.ask(Command::Wake { snapshot: None }).state(State::Asleep);
    assert_eq!(world.wake_at, Some(world.record.grant.clone().unwrap().until));
    // Work that was begun goes on; nobody else begins any.
    assert_eq!(take(&mut world, OWNER), None);
    assert_eq!(take(&mut world, "key:b"), Some(ErrorCode::DeletionRefused));
    world.ask(Command::EndGrant { by: "key:b".into() }).state(State::Asleep);
    world.ask(Command::EndGrant { by: OWNER.into() }).state(State::Asleep);
    world.ends(Effect::Reserve, EffectOutcome::Reserved(None)).state(State::Provisioning);
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
    world.ends(Effect::Reserve, EffectOutcome::Reserved(None)).state(State::Provisioning);
}

#[test]
fn use_renews_a_grant_past_half_of_its_time_and_is_exclusive() {
    let mut world = asleep();
    take(&mut world, OWNER);
    let first = world.record.grant.clone();
    world.now += 10;
    assert_eq!(take(&mut world, OWNER), None);
    assert_eq!(world.record.grant, first, "a renewal at once writes nothing");
    assert_eq!(take(&mut world, "key:b"), Some(ErrorCode::WrongState));
    world.now += 400;
    assert_eq!(take(&mut world, OWNER), None);
    assert!(world.record.grant.clone().unwrap().until > first.unwrap().until);
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
    world.ask(Command::Recall { snapshot: id.clone() });
    let listed: Vec<_> = world.record.snapshots.iter().map(|known| known.snapshot.clone()).collect();
    assert_eq!(listed, ["d".repeat(64), id]);
    assert!(world.record.forgotten.is_empty());
}

#[test]
fn a_wake_that_waited_is_refused_where_a_cap_was_reached_meanwhile_and_tells_why() {
    let mut world = asleep();
    take(&mut world, OWNER);
    world.ask(Command::Wake { snapshot: None });
    world.ask(Command::EndGrant { by: OWNER.into() });
    let refused =
        Failure { code: "cap_reached".into(), message: "10.00 EUR a day".into(), hint: "Wait.".into() };
    world.ends(Effect::Reserve, EffectOutcome::Refused(refused.clone())).state(State::Failed);
    assert_eq!((world.record.generation, world.record.wanted), (Generation(1), Wanted::Asleep));
    let Phase::Failed { failure } = &world.record.phase else { panic!("{:?}", world.record.phase) };
    assert_eq!(*failure, refused);
}

#[test]
fn a_wake_whose_money_nobody_can_reserve_waits_and_then_gives_up() {
    let mut world = asleep();
    take(&mut world, OWNER);
    world.ask(Command::Wake { snapshot: None });
    world.ask(Command::EndGrant { by: OWNER.into() });
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
    assert_eq!((world.record.wanted, world.record.pause.clone()), (Wanted::Asleep, None));
}

#[test]
fn a_wake_that_is_taken_back_while_it_waits_for_its_money_stays_asleep() {
    let mut world = asleep();
    take(&mut world, OWNER);
    world.ask(Command::Wake { snapshot: None });
    world.ask(Command::EndGrant { by: OWNER.into() });
    world.ask(Command::Sleep);
    world.ends(Effect::Reserve, EffectOutcome::Reserved(None)).state(State::Asleep);
    assert_eq!((world.record.generation, world.wake_at), (Generation(1), None));
}

/// A workspace of which this many snapshots are due, in the boot of its next machine.
fn tidying(due: usize) -> World {
    let mut world = asleep();
    let known = world.record.snapshots[0].clone();
    world.record.due = (0..due)
        .map(|number| SnapshotSummary { snapshot: format!("{number:064}"), ..known.clone() })
        .collect();
    world.ask(Command::Wake { snapshot: None }).state(State::Provisioning);
    world.ends(Effect::EnsureServer, EffectOutcome::Exists(server())).state(State::Booting);
    world
}

fn begin(world: &mut World) -> Option<ErrorCode> {
    let generation = world.record.generation;
    world.ask(Command::BeginTidying { generation });
    world.refusal.clone().map(|refusal| refusal.code)
}

fn may_tidy(world: &World) -> bool {
    world.record.may_tidy(world.record.generation, at(world.now))
}

fn done(world: &World) -> TidyReport {
    TidyReport { generation: world.record.generation, complete: true, snapshots: 30, packs: 2, bytes: 9 }
}

#[test]
fn a_machine_tidies_once_before_it_is_ready_and_never_after() {
    let mut world = tidying(30);
    assert!(!may_tidy(&world), "it has not begun");
    assert_eq!(begin(&mut world), None);
    assert!(may_tidy(&world));
    assert!(!world.record.may_tidy(Generation(1), at(world.now)), "another generation");
    let until = world.record.tidying.clone().unwrap().until;
    world.now += 10;
    // An agent that was started anew goes on in the same time.
    assert_eq!(begin(&mut world), None);
    assert_eq!(world.record.tidying.clone().unwrap().until, until);
    let report = done(&world);
    world.ask(Command::EndTidying { generation: report.generation, report });
    assert!(!may_tidy(&world));
    assert_eq!(world.record.tidied_at, Some(at(world.now)));
    assert_eq!(begin(&mut world), Some(ErrorCode::DeletionRefused));

    let mut world = tidying(30);
    begin(&mut world);
    world.input(Input::Heard(Heard { ready: true, ..Heard::default() })).state(State::Running);
    assert!(!may_tidy(&world), "it is ready");
    assert_eq!(begin(&mut world), Some(ErrorCode::DeletionRefused));
}

#[test]
fn a_tidying_that_hangs_is_over_when_its_time_is() {
    let mut world = tidying(30);
    begin(&mut world);
    world.now += i64::try_from(world.policy.tidy_limit.as_secs()).unwrap();
    assert!(!may_tidy(&world));
    assert_eq!(begin(&mut world), Some(ErrorCode::DeletionRefused));
}

#[test]
fn one_that_came_to_no_end_is_not_tried_at_every_wake() {
    let mut world = tidying(30);
    begin(&mut world);
    let (record, now) = (world.record.clone(), world.now);
    assert_eq!(crate::retention::order(&record, &world.policy, at(now + 24 * 3600 - 1)), None);
    assert!(crate::retention::order(&record, &world.policy, at(now + 24 * 3600)).is_some());
    let report = TidyReport { complete: false, ..done(&world) };
    world.ask(Command::EndTidying { generation: report.generation, report });
    assert_eq!(crate::retention::order(&world.record, &world.policy, at(now + 60)), None);
    let mut world = tidying(30);
    begin(&mut world);
    let report = done(&world);
    world.ask(Command::EndTidying { generation: report.generation, report });
    assert!(crate::retention::order(&world.record, &world.policy, at(now + 60)).is_some(), "more are due");
}

#[test]
fn few_snapshots_wait_for_a_week_and_many_do_not() {
    assert_eq!(tidying(0).record.tidying, None);
    assert_eq!(tidying(19).record.tidying, None);
    assert_eq!(tidying(20).record.tidying.unwrap().snapshots.len(), 20);
    assert_eq!(tidying(400).record.tidying.unwrap().snapshots.len(), crate::retention::TIDIED_AT_ONCE);
    let mut world = asleep();
    let due = SnapshotSummary { snapshot: "e".repeat(64), ..world.record.snapshots[0].clone() };
    world.record.due.push(due);
    world.now += 7 * 24 * 3600;
    world.ask(Command::Wake { snapshot: None });
    assert_eq!(world.record.tidying.unwrap().snapshots, ["e".repeat(64)]);
}

#[test]
fn what_a_wake_restores_is_never_tidied() {
    let mut world = asleep();
    let (newest, mut due) = (world.record.snapshots[0].clone(), world.record.snapshots[0].clone());
    // A record that was damaged or written by a mistake of ours.
    world.record.due = vec![newest.clone(); 30];
    due.snapshot = "e".repeat(64);
    world.record.due.push(due);
    world.ask(Command::Wake { snapshot: None });
    assert_eq!(world.record.restore, Some(newest.snapshot));
    assert_eq!(world.record.tidying.unwrap().snapshots, ["e".repeat(64)]);
}

#[test]
fn what_is_tidied_can_be_brought_back() {
    let mut world = tidying(30);
    let id = world.record.tidying.clone().unwrap().snapshots[3].clone();
    world.ask(Command::Forget { snapshot: id.clone() });
    assert!(!world.record.due.iter().any(|known| known.snapshot == id));
    world.ask(Command::Recall { snapshot: id.clone() });
    assert!(world.record.snapshots.iter().any(|known| known.snapshot == id));
}
