//! CloudCLI's place on a machine: skipped where it is missing, found once it is installed, kept alive, never started twice.
//! The program is a stand-in that notes how it was started; the real one is in the system tests.

use crate::machine::{Machine, cmdline, wait_until};
use ebbtide_api::vm::StepAction;
use ebbtide_api::workspace::StepState;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::process::Command;

const STAND_IN: &str = "#!/bin/sh\nenv > \"$HOME/env.new\"; mv \"$HOME/env.new\" \"$HOME/env\"\n\
     echo $$ >> \"$HOME/pids\"; echo \"it cannot go on\"; exec sleep 600\n";

fn pids(machine: &Machine) -> Vec<u32> {
    let text = std::fs::read_to_string(machine.path("home/pids")).unwrap_or_default();
    text.lines().filter_map(|line| line.parse().ok()).collect()
}

#[test]
fn it_is_skipped_where_it_is_missing_found_once_installed_and_started_again_when_it_ends() {
    let mut machine = Machine::new(|paths| {
        vec![StepAction::StartCloudCli { user: "ebb".into(), workspaces: paths.of("workspaces") }]
    });
    machine.boot();
    let ready = machine.control.heard("ready", |heartbeat| heartbeat.ready);
    assert_eq!(ready.boot[1].state, StepState::Skipped);
    assert!(ready.boot[1].detail.as_ref().unwrap().contains("not installed"), "{:?}", ready.boot[1]);

    // Its user installs it, where a user may.
    let programs = machine.path("home/.local/bin");
    std::fs::create_dir_all(&programs).unwrap();
    std::fs::write(programs.join("cloudcli.new"), STAND_IN).unwrap();
    std::fs::set_permissions(programs.join("cloudcli.new"), std::fs::Permissions::from_mode(0o755)).unwrap();
    std::fs::rename(programs.join("cloudcli.new"), programs.join("cloudcli")).unwrap();
    wait_until("it is found", || pids(&machine).len() == 1);
    let env = std::fs::read_to_string(machine.path("home/env")).unwrap();
    let secret = std::fs::read_to_string(machine.path("state/cloudcli-secret.json")).unwrap();
    let secret = secret.trim_matches('"').to_owned();
    for line in [
        format!("JWT_SECRET={secret}"),
        "HOST=127.0.0.1".into(),
        "API_KEY=it's-a-very-secret-value".into(),
        format!("DATABASE_PATH={}", machine.path("home/.cloudcli/auth.db").display()),
    ] {
        assert!(env.lines().any(|given| given == line), "{line}: {env}");
    }
    let first = pids(&machine)[0];
    assert_eq!(std::fs::metadata(format!("/proc/{first}")).unwrap().uid(), machine.uid);
    assert!(!cmdline(first).contains(&secret));
    assert!(!machine.control.log().contains(&secret) && !machine.agent_log().contains(&secret));

    assert!(Command::new("kill").args(["-9", &first.to_string()]).status().unwrap().success());
    wait_until("it runs again", || pids(&machine).len() == 2);
    wait_until("its end is told", || {
        machine.control.log().contains("CloudCLI has ended: it cannot go on; it starts again in 1s")
    });

    machine.kill();
    machine.control.state().heartbeats.clear();
    machine.boot();
    wait_until("it is found running", || machine.agent_log().contains("CloudCLI still runs"));
    assert_eq!(pids(&machine).len(), 2, "it is not started beside the one that runs");
    let _ = Command::new("kill").args(["-9", &pids(&machine)[1].to_string()]).status();
}
