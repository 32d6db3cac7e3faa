//! The idle verdict, snapshots, the drain, and being killed in each of its phases.

use crate::control::Fault;
use crate::machine::{Machine, WORKSPACE, policy, processes_of, state_of, wait_until};
use crate::repository::Action;
use crate::skip::skip;
use ebbtide_api::vm::{DesiredMachineState, DrainPhase, ReceiptStatus, StepAction, VmHold, VmPolicy};
use ebbtide_api::why::{Verdict, Why};
use std::os::unix::fs::chown;

/// A machine with a few files and these durations, ready.
fn ready(policy: VmPolicy) -> Machine {
    let mut machine = Machine::new(|_| vec![]);
    machine.control.state().enrolled.policy = policy;
    plant(&machine, "workspaces/one", "first");
    plant(&machine, "home/.env", "ignored by git");
    machine.boot();
    machine
}

fn plant(machine: &Machine, name: &str, content: &str) {
    std::fs::write(machine.path(name), content).unwrap();
    if machine.uid >= 1_000_000 {
        chown(machine.path(name), Some(machine.uid), Some(machine.uid)).unwrap();
    }
}

fn impatient() -> VmPolicy {
    VmPolicy { idle_timeout_secs: 2, heartbeat_secs: 1, ..policy() }
}

fn desired(machine: &Machine, desired: DesiredMachineState) {
    machine.control.instruct(|instruction| instruction.desired = desired);
}

#[track_caller]
fn phase(machine: &Machine, phase: Option<DrainPhase>) {
    machine.control.heard(&format!("{phase:?}"), |heartbeat| heartbeat.drain == phase);
}

#[track_caller]
fn verdict(machine: &Machine, verdict: Verdict) -> Why {
    let heartbeat = machine.control.heard(&format!("{verdict:?}"), |heartbeat| {
        heartbeat.why.as_ref().is_some_and(|why| why.verdict == verdict)
    });
    heartbeat.why.unwrap()
}

#[test]
fn nothing_happens_and_the_verdict_is_idle_until_somebody_holds() {
    let machine = ready(impatient());
    let idle = verdict(&machine, Verdict::Idle);
    assert_eq!(idle.sleeps_in_secs, Some(0));
    assert!(idle.because[0].starts_with("nothing has happened for"), "{:?}", idle.because);

    let held = machine.ebb(&["hold", "90s", "a", "demo"]);
    assert!(String::from_utf8_lossy(&held.stdout).contains("Held for 1m30s (h1)"), "{held:?}");
    let why = verdict(&machine, Verdict::Held);
    assert_eq!(why.leases[0].reason, "a demo");
    assert!(why.sleeps_in_secs.is_some_and(|secs| (60..=90).contains(&secs)), "{why:?}");
    assert_eq!(machine.ebb(&["hold", "soon"]).status.code(), Some(2), "an unusable duration is refused");
    assert!(machine.ebb(&["release", "h1"]).status.success());
    verdict(&machine, Verdict::Idle);

    let hold = VmHold { id: "a1".into(), reason: "from the dashboard".into(), expires_in_secs: 60 };
    machine.control.instruct(|instruction| instruction.holds = vec![hold]);
    verdict(&machine, Verdict::Held);
    let why: Why = serde_json::from_slice(&machine.ebb(&["why", "--json"]).stdout).unwrap();
    assert_eq!(why.leases[0].id, "a1");
}

#[test]
fn a_restart_keeps_the_hold_and_the_clock() {
    let mut machine = ready(VmPolicy { idle_timeout_secs: 600, ..impatient() });
    assert!(machine.ebb(&["hold", "1h", "demo"]).status.success());
    verdict(&machine, Verdict::Held);
    machine.kill();
    machine.control.state().heartbeats.clear();
    machine.boot();
    assert_eq!(verdict(&machine, Verdict::Held).leases[0].reason, "demo");
}

mod as_root {
    use super::*;

    #[test]
    fn work_of_the_user_is_progress_and_its_end_is_noticed() {
        let machine = ready(impatient());
        if machine.uid < 1_000_000 {
            skip("only root can act for another user");
            return;
        }
        verdict(&machine, Verdict::Idle);
        let mut busy = machine.user_process("sh", &["-c", "while :; do :; done"]);
        let why = verdict(&machine, Verdict::Active);
        assert!(why.because[0].starts_with("a job runs"), "{:?}", why.because);
        busy.kill().unwrap();
        busy.wait().unwrap();
        verdict(&machine, Verdict::Idle);
    }
}

#[test]
fn ebb_sleep_says_idle_at_once() {
    let machine = ready(VmPolicy { idle_timeout_secs: 3600, ..impatient() });
    verdict(&machine, Verdict::Quiet);
    assert!(machine.ebb(&["sleep"]).status.success());
    assert_eq!(verdict(&machine, Verdict::Idle).because, ["somebody on the machine asked it to sleep"]);
}

#[test]
fn a_drain_freezes_backs_up_and_delivers_until_verified_and_a_wake_has_the_same_bytes() {
    let machine = ready(policy());
    let sleeper = (machine.uid >= 1_000_000).then(|| machine.user_process("sleep", &["600"]));
    machine.control.state().answers =
        [ReceiptStatus::Checking, ReceiptStatus::Checking, ReceiptStatus::Verified].into();
    desired(&machine, DesiredMachineState::DrainNow);
    phase(&machine, Some(DrainPhase::Done));
    let (snapshot, drained) = {
        let state = machine.control.state();
        (state.drained.last().unwrap().receipt.clone(), state.drained.len())
    };
    assert_eq!(drained, 3, "asked again while it is checked");
    assert_eq!(snapshot.files, 2);
    assert!(!snapshot.packs_new.is_empty() && !snapshot.is_partial());
    if let Some(mut sleeper) = sleeper {
        assert_eq!(state_of(sleeper.id()), 'T', "frozen until it is gone");
        sleeper.kill().unwrap();
        sleeper.wait().unwrap();
    }
    // The next machine of the workspace, with the same repository.
    let root = machine.dir.path().to_string_lossy().into_owned();
    let restored = machine.path(&format!("restored{root}"));
    let mut machine = machine;
    machine.kill();
    for left_over in ["run", "state"] {
        std::fs::remove_dir_all(machine.path(left_over)).unwrap();
    }
    machine.write_config();
    {
        let mut state = machine.control.state();
        let mut step = state.enrolled.boot_plan.steps[0].clone();
        step.name = "restore".into();
        step.action = StepAction::Restore { snapshot: snapshot.snapshot };
        state.enrolled.boot_plan.steps.push(step);
        state.machine_key = None;
        state.instruction.desired = DesiredMachineState::Run;
        state.heartbeats.clear();
    }
    machine.boot();
    for name in ["workspaces/one", "home/.env"] {
        assert_eq!(
            std::fs::read(restored.join(name)).unwrap(),
            std::fs::read(machine.path(name)).unwrap(),
            "{name}"
        );
    }
}

#[test]
fn a_wish_to_run_before_the_freeze_goes_on_and_one_after_it_thaws() {
    let machine = ready(policy());
    let mut sleeper = machine.user_process("sleep", &["600"]);
    machine.control.repository().fault("POST", "data/", Action::Hang, 1000);
    desired(&machine, DesiredMachineState::DrainNow);
    phase(&machine, Some(DrainPhase::Snapshot));
    desired(&machine, DesiredMachineState::Run);
    phase(&machine, None);
    machine.control.repository().heal();
    machine.control.state().answers = [ReceiptStatus::Checking].into();
    desired(&machine, DesiredMachineState::DrainNow);
    phase(&machine, Some(DrainPhase::Frozen));
    machine.control.wait_for("the receipt", |state| (!state.drained.is_empty()).then_some(()));
    if machine.uid >= 1_000_000 {
        assert_eq!(state_of(sleeper.id()), 'T');
    }
    desired(&machine, DesiredMachineState::Run);
    phase(&machine, None);
    wait_until("it runs again", || state_of(sleeper.id()) == 'S');
    sleeper.kill().unwrap();
    sleeper.wait().unwrap();
}

#[test]
fn a_drain_waits_for_what_stirs_unless_it_must() {
    let machine = ready(impatient());
    verdict(&machine, Verdict::Idle);
    assert!(machine.ebb(&["hold", "1h", "not yet"]).status.success());
    verdict(&machine, Verdict::Held);
    desired(&machine, DesiredMachineState::Drain);
    phase(&machine, Some(DrainPhase::Snapshot));
    machine.control.wait_for("the bulk", |state| {
        let last = state.heartbeats.last()?;
        (last.backup.is_none() && last.drain == Some(DrainPhase::Snapshot) && last.backup_progress > 0)
            .then_some(())
    });
    assert!(machine.ebb(&["release"]).status.success());
    phase(&machine, Some(DrainPhase::Done));
}

#[test]
fn a_failing_backup_says_what_it_waits_for_and_goes_on_when_it_can() {
    let machine = ready(policy());
    machine.control.repository().fault("POST", "data/", Action::Status(507), 1000);
    desired(&machine, DesiredMachineState::DrainNow);
    let trouble = machine.control.heard("the trouble", |heartbeat| heartbeat.backup_trouble.is_some());
    assert!(trouble.backup_trouble.unwrap().contains("takes no more data"));
    assert_eq!(trouble.drain, Some(DrainPhase::Snapshot), "nothing is frozen before the bulk is stored");
    machine.control.repository().heal();
    phase(&machine, Some(DrainPhase::Done));
}

#[test]
fn a_refused_receipt_brings_another_backup_and_a_control_plane_that_is_away_is_waited_for() {
    let machine = ready(policy());
    machine.control.state().answers = [ReceiptStatus::Refused, ReceiptStatus::Verified].into();
    machine.control.fault("/v1/vm/drained", &[Fault::Cut, Fault::Status(500), Fault::LandedThenCut]);
    desired(&machine, DesiredMachineState::DrainNow);
    phase(&machine, Some(DrainPhase::Done));
    assert!(machine.control.state().drained.len() >= 2);
}

#[test]
fn what_is_frozen_is_stopped_although_that_cannot_be_noted() {
    let machine = ready(policy());
    // Stands for a disk that is full.
    std::fs::create_dir(machine.path("run/.frozen.json.new")).unwrap();
    let mut sleeper = machine.user_process("sleep", &["600"]);
    desired(&machine, DesiredMachineState::DrainNow);
    phase(&machine, Some(DrainPhase::Done));
    if machine.uid >= 1_000_000 {
        assert_eq!(state_of(sleeper.id()), 'T');
    }
    sleeper.kill().unwrap();
    sleeper.wait().unwrap();
}

#[test]
fn where_nobody_knows_whom_to_stop_nothing_is_called_frozen() {
    let mut machine = ready(policy());
    machine.kill();
    let passwd = std::fs::read_to_string(machine.path("etc/passwd")).unwrap();
    let others: Vec<&str> = passwd.lines().filter(|line| !line.starts_with("ebb:")).collect();
    std::fs::write(machine.path("etc/passwd"), others.join("\n")).unwrap();
    desired(&machine, DesiredMachineState::DrainNow);
    machine.control.state().heartbeats.clear();
    machine.start();
    let said = machine.control.heard("the trouble", |heartbeat| {
        heartbeat.backup_trouble.as_ref().is_some_and(|trouble| trouble.contains("does not stand still"))
    });
    assert_eq!(said.drain, Some(DrainPhase::Snapshot), "{:?}", said.backup_trouble);
    assert!(machine.control.state().drained.is_empty());
    // Mended, it goes on by itself.
    machine.kill();
    std::fs::write(machine.path("etc/passwd"), passwd).unwrap();
    machine.start();
    phase(&machine, Some(DrainPhase::Done));
}

#[test]
fn killed_in_every_phase_of_the_drain_it_still_ends_where_it_should() {
    for at in [DrainPhase::Snapshot, DrainPhase::Frozen, DrainPhase::Done] {
        let mut machine = ready(policy());
        let mut sleeper = machine.user_process("sleep", &["600"]);
        match at {
            DrainPhase::Snapshot => machine.control.repository().fault("POST", "data/", Action::Hang, 1000),
            DrainPhase::Frozen => machine.control.state().answers = [ReceiptStatus::Checking].into(),
            DrainPhase::Notice | DrainPhase::Done => {}
        }
        desired(&machine, DesiredMachineState::DrainNow);
        phase(&machine, Some(at));
        machine.kill();
        machine.control.repository().heal();
        machine.control.state().answers = [ReceiptStatus::Verified].into();
        machine.control.state().heartbeats.clear();
        machine.start();
        phase(&machine, Some(DrainPhase::Done));
        assert!(
            !machine.agent_log().contains("finished starting"),
            "a restarted agent knows that it is ready"
        );
        if machine.uid >= 1_000_000 {
            assert_eq!(state_of(sleeper.id()), 'T', "killed in {at:?}");
        }
        sleeper.kill().unwrap();
        sleeper.wait().unwrap();
    }
}

#[test]
fn killed_while_frozen_and_wanted_again_it_thaws() {
    let mut machine = ready(policy());
    let mut sleeper = machine.user_process("sleep", &["600"]);
    machine.control.state().answers = [ReceiptStatus::Checking].into();
    desired(&machine, DesiredMachineState::DrainNow);
    phase(&machine, Some(DrainPhase::Frozen));
    machine.kill();
    desired(&machine, DesiredMachineState::Run);
    machine.control.state().heartbeats.clear();
    machine.start();
    phase(&machine, None);
    wait_until("it runs again", || state_of(sleeper.id()) == 'S');
    sleeper.kill().unwrap();
    sleeper.wait().unwrap();
}

#[test]
fn snapshots_are_taken_when_asked_for_and_by_the_clock_while_something_changes() {
    let mut machine = ready(VmPolicy { snapshot_every_secs: 3, ..policy() });
    machine.control.wait_for("one by the clock", |state| (!state.receipts.is_empty()).then_some(()));
    machine.control.wait_for("its end", |state| {
        state
            .heartbeats
            .iter()
            .any(|heartbeat| heartbeat.log.iter().any(|line| line.contains("stored and verified")))
            .then_some(())
    });
    // The clock's part is over: one more of it would be taken for the one that is asked for.
    machine.control.instruct(|instruction| instruction.policy = Some(policy()));
    machine.control.state().heartbeats.clear();
    machine.control.wait_for("heartbeats since", |state| (state.heartbeats.len() > 2).then_some(()));
    let by_clock = machine.control.state().receipts.len();
    plant(&machine, "workspaces/two", "second");
    machine.control.instruct(|instruction| instruction.snapshots_wanted = 1);
    let asked = machine.control.wait_for("the one asked for", |state| state.receipts.get(by_clock).cloned());
    assert_eq!(asked.receipt.files, 3);
    let first = machine.control.state().receipts[0].receipt.clone();
    for pack in &first.packs_new {
        assert!(!asked.receipt.packs_new.contains(pack), "named again");
    }
    machine.control.wait_for("its end is stored", |state| {
        let verified = |line: &String| line.contains(&asked.receipt.snapshot) && line.contains("verified");
        state.heartbeats.iter().any(|heartbeat| heartbeat.log.iter().any(verified)).then_some(())
    });
    machine.kill();
    machine.control.state().receipts.clear();
    machine.control.state().heartbeats.clear();
    machine.control.state().enrolled.policy.snapshot_every_secs = 3600;
    // A restart does not answer the same request twice.
    std::fs::remove_dir_all(machine.path("run")).unwrap();
    machine.boot();
    machine.control.wait_for("a few heartbeats", |state| (state.heartbeats.len() > 4).then_some(()));
    assert_eq!(machine.control.state().receipts.len(), 0);
    assert_eq!(asked.receipt.snapshot.len(), 64);
    let host_is_ours = machine.control.repository().names("snapshots").len() >= 2;
    assert!(host_is_ours, "{WORKSPACE}");
}

#[test]
fn nothing_is_backed_up_before_the_machine_is_ready() {
    let mut machine = Machine::new(|_| vec![StepAction::Unknown]);
    desired(&machine, DesiredMachineState::DrainNow);
    machine.start();
    let heartbeat = machine.control.heard("the trouble", |heartbeat| heartbeat.backup_trouble.is_some());
    assert!(heartbeat.backup_trouble.unwrap().contains("finished starting"));
    assert!(heartbeat.drain.is_none());
    assert!(machine.control.repository().names("snapshots").is_empty());
    assert!(machine.uid < 1_000_000 || processes_of(machine.uid).is_empty());
}
