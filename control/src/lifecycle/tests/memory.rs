//! Programs that ended for lack of memory are told of, and not more often than anybody reads.

use super::*;

fn killed(world: &mut World, kills: u32, program: &str) {
    let out_of_memory = Some((kills, program.to_owned()));
    world.heartbeat(HeartbeatSummary { ready: true, out_of_memory, ..HeartbeatSummary::default() });
}

#[test]
fn a_program_that_ended_for_lack_of_memory_is_named_once_in_ten_minutes() {
    let mut world = World::running();
    killed(&mut world, 1, "claude");
    killed(&mut world, 1, "claude");
    killed(&mut world, 5, "node");
    assert_eq!(world.told(&EventCode::OutOfMemory), 1, "{:?}", world.notes);
    world.now += 600;
    killed(&mut world, 5, "node");
    assert_eq!(world.told(&EventCode::OutOfMemory), 2);
    let said = |world: &World, text: &str| world.notes.iter().any(|note| note.contains(text));
    assert!(said(&world, "claude was killed for lack of memory"), "{:?}", world.notes);
    assert!(said(&world, "node (and 3 more) was killed"), "{:?}", world.notes);

    world.now += 600;
    killed(&mut world, 5, "node");
    assert_eq!(world.told(&EventCode::OutOfMemory), 2, "nothing new");
    killed(&mut world, 1, "cargo");
    assert_eq!(world.told(&EventCode::OutOfMemory), 3, "after a reboot it counts anew");
}
