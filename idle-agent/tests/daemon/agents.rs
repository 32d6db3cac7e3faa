//! Coding agents that report through hooks, and processes that are kept alive.

use crate::machine::{Machine, policy};
use ebbtide_api::vm::VmPolicy;
use ebbtide_api::why::{Verdict, Why};
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixListener;
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const PROGRAM: &str = env!("CARGO_BIN_EXE_ebb-agent");

fn impatient() -> Machine {
    let mut machine = Machine::new(|_| vec![]);
    machine.control.state().enrolled.policy =
        VmPolicy { idle_timeout_secs: 2, heartbeat_secs: 1, unknown_grace_secs: 3, ..policy() };
    machine.boot();
    machine
}

#[track_caller]
fn why(machine: &Machine, what: &str, is_so: impl Fn(&Why) -> bool) -> Why {
    let heartbeat = machine.control.heard(what, |heartbeat| heartbeat.why.as_ref().is_some_and(&is_so));
    heartbeat.why.unwrap()
}

fn says(why: &Why, text: &str) -> bool {
    why.because.iter().any(|because| because.contains(text))
}

fn hook(run: &std::path::Path, input: &[u8]) -> (std::process::ExitStatus, Duration) {
    let begun = Instant::now();
    let mut hook =
        Command::new(PROGRAM).arg("--run-dir").arg(run).arg("hook").stdin(Stdio::piped()).spawn().unwrap();
    // It may have ended without reading.
    let _ = hook.stdin.take().unwrap().write_all(input);
    (hook.wait().unwrap(), begun.elapsed())
}

/// A program called `claude` that reports that a turn began and then runs a command which says nothing.
fn claude_in_a_turn(machine: &Machine) -> Child {
    let script = machine.path("claude");
    let report = r#"{"session_id":"s","hook_event_name":"UserPromptSubmit","prompt":"x"}"#;
    let run = machine.path("run");
    let text =
        format!("#!/bin/sh\necho '{report}' | {PROGRAM} --run-dir {} hook\nsleep 600\nexit\n", run.display());
    std::fs::write(&script, text).unwrap();
    std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o755)).unwrap();
    Command::new(script).process_group(0).spawn().unwrap()
}

fn kill_group(mut child: Child) {
    let group = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process_group(group, rustix::process::Signal::KILL).unwrap();
    child.wait().unwrap();
}

#[test]
fn a_turn_that_says_nothing_is_work_over_a_restart_of_ours_and_until_its_agent_is_killed() {
    let mut machine = impatient();
    let claude = claude_in_a_turn(&machine);
    why(&machine, "the turn", |why| says(why, "claude waits for a command"));
    machine.kill();
    machine.control.state().heartbeats.clear();
    machine.boot();
    why(&machine, "the turn after a restart", |why| says(why, "claude waits for a command"));
    kill_group(claude);
    why(&machine, "idle", |why| why.verdict == Verdict::Idle);
}

#[test]
fn a_process_that_is_kept_alive_holds_until_it_ends() {
    let machine = impatient();
    let mut sleeper = Command::new("sleep").arg("600").spawn().unwrap();
    let pid = sleeper.id().to_string();
    let held = machine.ebb(&["keep-alive", &pid, "--for", "1h", "--json"]);
    assert!(String::from_utf8_lossy(&held.stdout).contains("held"), "{held:?}");
    let held = why(&machine, "held", |why| why.verdict == Verdict::Held);
    assert_eq!(held.leases[0].reason, format!("sleep ({pid}) runs"));
    sleeper.kill().unwrap();
    sleeper.wait().unwrap();
    why(&machine, "its end", |why| says(why, "what was kept alive has ended"));
    why(&machine, "idle", |why| why.verdict == Verdict::Idle);
    assert!(!machine.ebb(&["keep-alive", &pid]).status.success(), "it is gone");
}

#[test]
fn a_hook_never_stands_in_the_agents_way() {
    let report = br#"{"session_id":"s","hook_event_name":"Stop"}"#;
    let nobody = tempfile::tempdir().unwrap();
    let (status, took) = hook(nobody.path(), report);
    assert!(status.success() && took < Duration::from_secs(5), "no daemon: {took:?}");
    let silent = tempfile::tempdir().unwrap();
    let _listener = UnixListener::bind(silent.path().join("agent.sock")).unwrap();
    let (status, took) = hook(silent.path(), report);
    assert!(status.success() && took < Duration::from_secs(5), "a daemon that does not answer: {took:?}");
    let (status, _) = hook(nobody.path(), b"\xff{ not json");
    assert!(status.success());
    let (status, _) = hook(nobody.path(), &vec![b'['; 8 << 20]);
    assert!(status.success(), "deep and long");
}
