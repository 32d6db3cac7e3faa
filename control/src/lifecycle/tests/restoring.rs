//! Which backup a wake restores, and what its owner is told of that.

use super::*;
use crate::restore_note::restore_note;

/// Asleep, with a newest backup that lacks something and an older one that is whole.
fn asleep_with_partial() -> World {
    let mut world = World::draining();
    world.deliver(receipt(), true);
    world.ends(Effect::CheckReceipt, EffectOutcome::ReceiptChecked { packs: 3 });
    world.destroyed().state(State::Asleep);
    let whole = SnapshotSummary { snapshot: "d".repeat(64), ..world.record.snapshots[0].clone() };
    world.record.snapshots.push(whole);
    world.record.snapshots[0].partial = true;
    world
}

fn told(world: &World) -> Vec<&String> {
    let told = world.codes.iter().zip(&world.notes);
    told.filter(|(code, _)| **code == EventCode::RestoreNoted).map(|(_, note)| note).collect()
}

#[test]
fn a_wake_from_a_partial_backup_names_it_and_the_last_whole_one() {
    let mut world = asleep_with_partial();
    let before = restore_note(&world.record).expect("told before the wake");
    assert_eq!((before.snapshot, before.other), (receipt().snapshot, Some("d".repeat(64))));
    world.ask(Command::Wake { snapshot: None });
    assert_eq!(world.record.restore, Some(receipt().snapshot));
    let answered = restore_note(&world.record).expect("told in the answer");
    assert_eq!(told(&world), [&answered.sentence]);
    for part in [receipt().snapshot, format!("{{\"snapshot\":\"{}\"}}", "d".repeat(64))] {
        assert!(answered.sentence.contains(&part), "{}", answered.sentence);
    }
}

#[test]
fn a_wake_from_an_older_backup_says_that_agents_may_ask_to_sign_in() {
    let mut world = asleep_with_partial();
    world.ask(Command::Wake { snapshot: Some("d".repeat(64)) });
    assert!(told(&world)[0].contains("sign in again"), "{:?}", told(&world));
    assert_eq!(told(&world).len(), 1);
    // What it backs up itself is newer, and changes nothing of what it was made from.
    let own = SnapshotSummary {
        snapshot: "e".repeat(64),
        generation: world.record.generation,
        ..world.record.snapshots[0].clone()
    };
    world.record.snapshots.insert(0, own);
    assert_eq!(restore_note(&world.record).unwrap().other, Some(receipt().snapshot));
}

#[test]
fn a_wake_from_the_newest_whole_backup_says_nothing_besides() {
    let mut world = asleep_with_partial();
    world.record.snapshots[0].partial = false;
    assert_eq!(restore_note(&world.record), None);
    world.ask(Command::Wake { snapshot: None });
    assert!(told(&world).is_empty(), "{:?}", told(&world));
    assert_eq!(restore_note(&world.record), None);
}
