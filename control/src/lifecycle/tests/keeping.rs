//! What becomes of the files: backups that would not fit are told early, and who chose none is told beforehand.

use super::*;
use ebbtide_api::why::BackupEstimate;

fn unkept() -> World {
    let mut world = World::booting();
    world.record.spec.persistence = Persistence::None;
    world.now = 60;
    world.heartbeat(HeartbeatSummary { ready: true, ..HeartbeatSummary::default() });
    world
}

#[test]
fn who_chose_no_backups_is_told_before_anything_is_deleted() {
    let mut world = unkept();
    assert!(world.record.because.contains("nothing in it is backed up"), "{}", world.record.because);
    for left in [60, 15, 5] {
        world.now = 24 * 3600 - left * 60;
        world.heartbeat(HeartbeatSummary { ready: true, ..HeartbeatSummary::default() });
    }
    let warnings: Vec<&String> =
        world.notes.iter().filter(|note| note.starts_with("the lifetime ends in")).collect();
    assert_eq!(warnings.len(), 3);
    assert!(warnings.iter().all(|warning| warning.contains("goes with all its files")), "{warnings:?}");
}

#[test]
fn what_is_not_persisted_never_drains_however_it_ends() {
    let mut world = unkept();
    world.now = 24 * 3600 - 1;
    world.heartbeat(HeartbeatSummary { ready: true, ..HeartbeatSummary::default() });
    world.at(24 * 3600).state(State::Destroying);
    let mut world = unkept();
    world.heartbeat(HeartbeatSummary {
        ready: true,
        idle: Some("nothing".into()),
        ..HeartbeatSummary::default()
    });
    assert_ne!(world.record.state(), State::Draining);
    let mut world = unkept();
    world.ask(Command::Snapshot);
    assert!(world.refusal.as_ref().is_some_and(|refusal| refusal.message.contains("never backed up")));
    assert_eq!(world.record.snapshots_wanted, 0);
}

fn estimates(new_gb: u64, secs: u64) -> HeartbeatSummary {
    let estimate = BackupEstimate { new_bytes: new_gb * 1_000_000_000, secs, ..BackupEstimate::default() };
    HeartbeatSummary {
        ready: true,
        estimate: Some(estimate),
        stored_bytes: Some(150_000_000_000),
        ..HeartbeatSummary::default()
    }
}

#[test]
fn a_backup_that_would_not_fit_is_told_once_and_hours_before_it_is_due() {
    let mut world = World::running();
    let before = world.notes.len();
    for new_gb in [10, 60, 61, 62] {
        world.heartbeat(estimates(new_gb, 60));
    }
    assert_eq!(world.notes.len(), before + 1, "{:?}", world.notes);
    assert!(world.notes.last().unwrap().contains(".ebbignore"), "{:?}", world.notes);
    world.heartbeat(estimates(1, 2 * 3600));
    assert!(world.notes.last().unwrap().contains("a machine is given 2h"), "{:?}", world.notes);
    world.heartbeat(estimates(1, 60));
    assert_eq!(world.notes.last().unwrap(), "the next backup fits again");
    assert_eq!(world.notes.len(), before + 3);
    assert_eq!(world.record.backup_exceeds, None);
    world.state(State::Running);
}

#[test]
fn an_estimate_of_a_workspace_that_keeps_nothing_is_no_warning() {
    let mut world = unkept();
    let before = world.notes.len();
    world.heartbeat(estimates(500, 60));
    assert_eq!(world.notes.len(), before);
}
