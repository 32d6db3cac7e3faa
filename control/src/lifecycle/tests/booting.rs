//! How long a boot may take.

use super::*;

#[test]
fn a_boot_without_progress_fails_and_one_with_progress_does_not() {
    let mut world = World::booting();
    for step in 1..8 {
        world.now = step * 500;
        let boot_progress = u64::try_from(step).unwrap();
        world
            .heartbeat(HeartbeatSummary { boot_progress, ..HeartbeatSummary::default() })
            .state(State::Booting);
    }
    world.now += 599;
    world
        .heartbeat(HeartbeatSummary { boot_progress: 7, ..HeartbeatSummary::default() })
        .state(State::Booting);
    world.now += 1;
    world
        .heartbeat(HeartbeatSummary { boot_progress: 7, ..HeartbeatSummary::default() })
        .state(State::Destroying);
    world.destroyed().state(State::Failed);
}

/// A machine that says every eight minutes how far it is.
fn boots_for(world: &mut World, mins: std::ops::Range<i64>, restoring: bool, moves: bool) {
    for step in mins.step_by(8) {
        world.now = step * 60;
        let boot_progress = if moves { u64::try_from(step).unwrap() } else { 1 };
        let restored = if restoring { boot_progress } else { 0 };
        world.heartbeat(HeartbeatSummary { boot_progress, restored, ..HeartbeatSummary::default() });
    }
}

#[test]
fn a_restore_that_gets_on_may_take_the_whole_lifetime_and_no_longer() {
    let mut world = World::booting();
    boots_for(&mut world, 1..24 * 60, true, true);
    world.state(State::Booting);
    world.at(24 * 3600).state(State::Destroying);
    world.destroyed().state(State::Failed);
    let Phase::Failed { failure } = &world.record.phase else { unreachable!() };
    assert_eq!(failure.code, FailureCode::BootStalled);
    insta::assert_snapshot!(failure.message, @"not ready within its lifetime of 24h");
    insta::assert_snapshot!(failure.hint, @"PATCH it with a longer `lifetime`, or with another `size`; then POST …/retry.");
}

#[test]
fn a_boot_that_restores_nothing_is_too_long_however_much_it_says() {
    let mut world = World::booting();
    boots_for(&mut world, 1..119, false, true);
    world.state(State::Booting);
    world.at(7200).state(State::Destroying);
    assert!(world.record.because.contains("not ready within 2h"), "{}", world.record.because);
    // What comes after a restore has its own time.
    let mut world = World::booting();
    boots_for(&mut world, 1..300, true, true);
    boots_for(&mut world, 300..418, false, true);
    world.state(State::Booting);
    world.at(297 * 60 + 7200).state(State::Destroying);
}

#[test]
fn a_restore_that_stands_still_is_ended_as_any_boot_is() {
    let mut world = World::booting();
    boots_for(&mut world, 1..300, true, true);
    world.state(State::Booting);
    boots_for(&mut world, 300..320, true, false);
    world.state(State::Destroying);
    assert!(world.record.because.contains("no boot progress for 10m"), "{}", world.record.because);
}

#[test]
fn a_daemon_that_starts_again_counts_from_where_it_begins() {
    let mut world = World::booting();
    let mut at = |secs: i64, boot_progress: u64| {
        world.now = secs;
        world.heartbeat(HeartbeatSummary { boot_progress, ..HeartbeatSummary::default() });
        world.record.phase.state()
    };
    assert_eq!(at(60, 9000), State::Booting);
    // The first word of the next life is no progress; what rises after it is.
    for (secs, boot_progress) in [(300, 1), (500, 2), (1000, 3), (1500, 4)] {
        assert_eq!(at(secs, boot_progress), State::Booting, "{secs}");
    }
    assert_eq!(at(1501, 1), State::Booting);
    assert_eq!(at(2100, 1), State::Destroying, "a restart alone is none");
}

#[test]
fn what_a_boot_left_out_stands_in_the_history_and_stops_nothing() {
    let mut world = World::booting();
    let step = ebbtide_api::workspace::BootStep {
        name: ebbtide_vm_init::AGENTS_STEP.to_owned(),
        title: "Installing Claude Code".to_owned(),
        state: ebbtide_api::workspace::StepState::Done,
        duration_ms: 0,
        percent: None,
        detail: Some("a part of claude cannot be fetched".into()),
        warned: true,
    };
    let heartbeat = ebbtide_api::vm::Heartbeat { ready: true, boot: vec![step], ..Default::default() };
    world.heartbeat(HeartbeatSummary::from(&heartbeat)).state(State::Running);
    assert_eq!(world.notes.last().unwrap(), "Installing Claude Code: a part of claude cannot be fetched");
    let noted = world.notes.len();
    world.heartbeat(HeartbeatSummary::from(&heartbeat)).state(State::Running);
    assert_eq!(world.notes.len(), noted, "once");
}

#[test]
fn a_daemon_that_counts_no_restored_files_has_the_cap_however_much_its_restore_says() {
    let mut world = World::booting();
    let step = ebbtide_api::workspace::BootStep {
        name: ebbtide_vm_init::RESTORE_STEP.to_owned(),
        title: "restoring files".to_owned(),
        state: ebbtide_api::workspace::StepState::Running,
        duration_ms: 0,
        percent: None,
        detail: None,
        warned: false,
    };
    for boot_progress in 1..15 {
        world.now = i64::try_from(boot_progress).unwrap() * 500;
        let boot = vec![step.clone()];
        let heartbeat = ebbtide_api::vm::Heartbeat { boot_progress, boot, ..Default::default() };
        world.heartbeat(HeartbeatSummary::from(&heartbeat)).state(State::Booting);
    }
    world.at(7200).state(State::Destroying);
}
