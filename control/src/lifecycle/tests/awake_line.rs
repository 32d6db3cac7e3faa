//! The one line that lists show: it follows what the machine says, at most every ten minutes, and no longer than its phase.

use super::*;

fn line_after(world: &mut World, secs: i64, line: &str) -> String {
    world.now = secs;
    world.heartbeat(HeartbeatSummary {
        ready: true,
        line: Some(line.to_owned()),
        ..HeartbeatSummary::default()
    });
    world.record.line()
}

#[test]
fn the_line_is_written_at_once_and_then_at_most_every_ten_minutes_and_only_when_it_differs() {
    let mut world = World::running();
    assert_eq!(world.record.line(), world.record.because);
    assert_eq!(line_after(&mut world, 70, "active: cargo works"), "active: cargo works");
    assert_eq!(line_after(&mut world, 100, "quiet: nothing happens"), "active: cargo works");
    assert_eq!(line_after(&mut world, 669, "quiet: nothing happens"), "active: cargo works");
    assert_eq!(line_after(&mut world, 670, "quiet: nothing happens"), "quiet: nothing happens");
    let before = world.record.clone();
    assert_eq!(line_after(&mut world, 2000, "quiet: nothing happens"), "quiet: nothing happens");
    assert_eq!(world.record.awake_line, before.awake_line, "nothing is written where nothing differs");
}

#[test]
fn a_phase_that_is_left_takes_its_line_along() {
    let mut world = World::running();
    line_after(&mut world, 70, "active: cargo works");
    world.ask(Command::Sleep).state(State::Draining);
    assert_eq!(world.record.line(), "the owner puts it to sleep");
    world.now = 80;
    let stuck = Some("the disk is full".to_owned());
    world.heartbeat(HeartbeatSummary { ready: true, backup_trouble: stuck, ..HeartbeatSummary::default() });
    assert_eq!(world.record.line(), "the owner puts it to sleep: the disk is full");
    world.ask(Command::Wake { snapshot: None }).state(State::Running);
    assert_eq!(world.record.line(), "the drain was taken back");
}
