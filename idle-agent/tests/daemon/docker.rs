//! The step that brings Docker, with programs that play apt, systemd and Docker: what is started again after a wake, and
//! what stops no boot.

use crate::machine::Machine;
use crate::skip::skip;
use ebbtide_api::vm::StepAction;
use ebbtide_api::workspace::{BootStep, StepState};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

/// Answers as Docker does; what it is to start is noted beside it.
const DOCKER: &str = r#"#!/bin/sh
case "$*" in
  --version) echo 'Docker version 26.1.5+dfsg1, build a72d7cd' ;;
  'compose version --short') echo 2.26.1-4 ;;
  'buildx version') echo 'github.com/docker/buildx 0.13.1 ' ;;
  'start -- c'*) echo 'Error response from daemon: driver failed: port is already allocated' >&2
    echo 'Error: failed to start containers: c' >&2; exit 1 ;;
  'start -- '*) echo "$3" | cut -c1 >>"$(dirname "$0")/started" ;;
  inspect*) for id; do case $id in
      b*) echo "$id false false 3" ;;
      a*) echo "$id true false 0" ;;
    esac; done ;;
  *) echo "no such command: $*" >&2; exit 1 ;;
esac
"#;

fn program(machine: &Machine, name: &str, text: &str) {
    let file = machine.path("bin").join(name);
    std::fs::create_dir_all(machine.path("bin")).unwrap();
    std::fs::write(&file, text).unwrap();
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o755)).unwrap();
}

fn container(machine: &Machine, letter: &str, is_running: bool, second: u8, host: &str) {
    let directory = machine.path("docker/containers").join(letter.repeat(64));
    std::fs::create_dir_all(&directory).unwrap();
    let config = format!(
        r#"{{"ID":"{}","Name":"/{letter}-1","State":{{"Running":{is_running},"StartedAt":"2026-11-30T10:00:0{second}Z"}}}}"#,
        letter.repeat(64)
    );
    std::fs::write(directory.join("config.v2.json"), config).unwrap();
    std::fs::write(directory.join("hostconfig.json"), host).unwrap();
}

/// A machine whose boot brings Docker; `None` where only root can.
fn machine() -> Option<Machine> {
    let machine = Machine::new(|_| vec![StepAction::InstallDocker { user: "ebb".into() }]);
    if machine.uid < 1_000_000 {
        skip("only root can install");
        return None;
    }
    for name in ["dockerd", "systemctl", "usermod"] {
        program(&machine, name, "#!/bin/sh\necho \"$(basename \"$0\") $*\" >>\"$(dirname \"$0\")/calls\"\n");
    }
    program(&machine, "docker", DOCKER);
    Some(machine)
}

fn step(machine: &Machine) -> BootStep {
    machine.control.heard("ready", |heartbeat| heartbeat.ready).boot[1].clone()
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_default()
}

#[test]
fn what_ran_is_started_again_in_its_order_and_what_does_not_start_is_told_with_its_reason() {
    let Some(mut machine) = machine() else { return };
    container(&machine, "a", true, 5, "{}");
    container(&machine, "b", true, 1, "{}");
    container(&machine, "c", true, 2, "{}");
    container(&machine, "d", false, 3, "{}");
    container(&machine, "e", true, 4, r#"{"AutoRemove":true}"#);
    machine.boot();
    let step = step(&machine);
    assert_eq!((step.state, step.warned), (StepState::Done, true));
    assert_eq!(
        step.detail.unwrap(),
        "c-1 does not run again: driver failed: port is already allocated; e-1 does not run again: it was made with \
         --rm, so Docker removed it when its machine ended; b-1 ended again at once with exit code 3: see `docker logs \
         b-1`; Docker 26.1.5+dfsg1, compose 2.26.1-4, buildx 0.13.1, 1 container runs again"
    );
    assert_eq!(read(&machine.path("bin/started")), "b\na\n");
    assert_eq!(
        read(&machine.path("bin/calls")),
        "usermod --append --groups docker -- ebb\nsystemctl start docker.service\n"
    );
    assert!(machine.path("docker/.ebbtide").exists(), "it is kept as a whole from now on");
    // What a container has since become is its user's will.
    machine.kill();
    machine.boot();
    assert_eq!(read(&machine.path("bin/started")), "b\na\n", "a second life of the agent starts nothing");
}

#[test]
fn a_docker_that_cannot_be_had_stops_no_boot_and_the_fix_is_named() {
    let Some(mut machine) = machine() else { return };
    for name in ["docker", "dockerd"] {
        std::fs::remove_file(machine.path("bin").join(name)).unwrap();
    }
    program(&machine, "systemctl", "#!/bin/sh\necho 'Unit docker.service not found.' >&2\nexit 5\n");
    for name in ["apt-cache", "apt-get", "dpkg"] {
        program(&machine, name, "#!/bin/sh\necho 'E: there is no mirror'\n");
    }
    machine.boot();
    let step = step(&machine);
    assert_eq!((step.state, step.warned), (StepState::Done, true));
    assert_eq!(
        step.detail.unwrap(),
        "there is no Docker: this machine's mirrors have no package docker.io, or are away; the next wake tries again"
    );
}
