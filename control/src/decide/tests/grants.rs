//! Grants against wakes, and the list of snapshots while the owner removes and brings back.

use super::*;

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
    world.ask(Command::EndGrant { by: OWNER.into() }).state(State::Provisioning);
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
    world.at(begun + idle).state(State::Provisioning);
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
