//! Enrolment, the line to the control plane, and being told to stop.

use crate::control::Fault;
use crate::machine::{Machine, PASSWORD, SECRET, cmdline, mode, wait_until};

fn bare() -> Machine {
    Machine::new(|_| vec![])
}

fn count(machine: &Machine, request: &str) -> usize {
    machine.control.state().requests.iter().filter(|one| *one == request).count()
}

#[test]
fn a_machine_enrols_and_leaves_no_secret_where_others_look() {
    let mut machine = bare();
    machine.boot();
    for (file, expected) in
        [("state/machine.key", 0o600), ("run/vm-token", 0o600), ("run/repository-password", 0o600)]
    {
        assert_eq!(mode(&machine.path(file)), expected, "{file}");
    }
    assert_eq!(mode(&machine.path("run/env")), 0o640);
    assert_eq!(mode(&machine.path("run/agent.sock")), 0o660);
    let environment = std::fs::read_to_string(machine.path("run/env")).unwrap();
    assert!(environment.starts_with("API_KEY='it'\\''s-a-very-secret-value'\n"), "{environment}");
    assert!(!std::fs::read_to_string(machine.path("agent.json")).unwrap().contains("enrol-me"));
    let seen = [
        cmdline(machine.pid()),
        std::fs::read_to_string(format!("/proc/{}/environ", machine.pid())).unwrap(),
        machine.agent_log(),
        machine.control.log(),
    ];
    for (text, secret) in seen
        .iter()
        .flat_map(|text| [(text, SECRET), (text, PASSWORD), (text, "vm-token-0"), (text, "enrol-me")])
    {
        assert!(!text.contains(secret), "{secret} in {text}");
    }
}

#[test]
fn a_lost_answer_an_error_and_a_dead_connection_are_outlived_with_the_same_key() {
    let mut machine = bare();
    let faults =
        [Fault::Cut, Fault::Status(500), Fault::Status(404), Fault::LandedThenCut, Fault::Status(503)];
    machine.control.fault("/v1/vm/enroll", &faults);
    machine.boot();
    assert_eq!(count(&machine, "POST /v1/vm/enroll"), 6);
}

#[test]
fn a_refused_enrolment_parks_for_good_and_says_why() {
    let mut machine = bare();
    machine.control.state().machine_key = Some("somebody else's".into());
    for expected in [1, 2] {
        machine.start();
        wait_until("it parks", || machine.agent_log().matches("parked; this machine").count() == expected);
        assert_eq!(count(&machine, "POST /v1/vm/enroll"), 1, "a restart does not ask again");
        machine.kill();
    }
    assert!(machine.agent_log().contains("Another key."), "{}", machine.agent_log());
}

#[test]
fn a_no_of_somebody_on_the_way_is_waited_out() {
    let mut machine = bare();
    machine.control.fault("/v1/vm/enroll", &[Fault::Status(403), Fault::Status(410)]);
    machine.control.fault("/v1/vm/connect", &[Fault::Status(403), Fault::Status(410)]);
    machine.control.fault("/v1/vm/heartbeat", &[Fault::Status(410), Fault::Status(403)]);
    machine.boot();
    assert_eq!(count(&machine, "POST /v1/vm/enroll"), 3);
    machine.control.wait_for("the socket is had", |state| {
        (state.requests.iter().filter(|one| *one == "GET /v1/vm/connect").count() >= 3).then_some(())
    });
    assert!(!machine.agent_log().contains("parked"), "{}", machine.agent_log());
}

#[test]
fn a_machine_that_was_told_to_stop_goes_on_once_the_control_plane_says_so() {
    let mut machine = bare();
    machine.extra = vec!["--ask-again-secs".into(), "1".into()];
    machine.boot();
    machine.control.state().fenced = true;
    wait_until("it parks", || machine.agent_log().contains("parked; this machine"));
    wait_until("it asks", || machine.agent_log().contains("still parked"));
    let heartbeats = {
        let mut state = machine.control.state();
        state.fenced = false;
        std::mem::take(&mut state.heartbeats).len()
    };
    machine.control.heard("it is back", |heartbeat| heartbeat.ready);
    assert!(heartbeats > 0 && !machine.path("state/parked.json").exists());
}

#[test]
fn a_newer_machine_ends_this_one_whatever_tells_it() {
    for early in [true, false] {
        let mut machine = bare();
        if early {
            // The handshake and plain calls are answered with 410.
            machine.boot();
            machine.kill();
            machine.control.state().fenced = true;
            machine.start();
        } else {
            // An open socket is closed with 4410.
            machine.boot();
            machine.control.state().fenced = true;
        }
        wait_until("it parks", || machine.agent_log().contains("parked; this machine"));
        let before = machine.control.state().requests.len();
        assert!(!machine.path("run/agent.sock").exists() || machine.ebb(&["why"]).status.code() == Some(3));
        machine.kill();
        machine.start();
        wait_until("it stays parked", || machine.agent_log().matches("parked; this machine").count() == 2);
        assert_eq!(machine.control.state().requests.len(), before, "nothing more is sent");
    }
}

#[test]
fn an_expired_token_is_renewed_with_the_machine_key() {
    let mut machine = bare();
    machine.boot();
    machine.kill();
    machine.control.expire_token();
    machine.control.state().heartbeats.clear();
    machine.boot();
    assert_eq!(count(&machine, "POST /v1/vm/enroll"), 1, "a restart goes on with what it has");
    assert_eq!(count(&machine, "POST /v1/vm/token"), 1);
    assert_eq!(std::fs::read_to_string(machine.path("run/vm-token")).unwrap(), "vm-token-1");
}

#[test]
fn a_token_in_an_instruction_is_taken_into_use() {
    let mut machine = bare();
    machine.boot();
    machine.control.expire_token();
    machine.control.instruct(|instruction| instruction.vm_token = Some("vm-token-1".into()));
    wait_until("the token is stored", || {
        std::fs::read_to_string(machine.path("run/vm-token")).is_ok_and(|token| token == "vm-token-1")
    });
}

#[test]
fn without_a_websocket_heartbeats_are_plain_calls_and_the_socket_is_tried_again() {
    let mut machine = bare();
    machine.control.fault("/v1/vm/connect", &[Fault::Status(503); 3]);
    machine.boot();
    assert!(count(&machine, "POST /v1/vm/heartbeat") >= 1);
    machine.control.wait_for("the socket is had", |state| {
        (state.requests.iter().filter(|one| *one == "GET /v1/vm/connect").count() >= 4).then_some(())
    });
}

#[test]
fn a_reboot_enrols_again_with_the_same_key_and_no_token() {
    let mut machine = bare();
    machine.boot();
    machine.kill();
    // What a reboot clears.
    std::fs::remove_dir_all(machine.path("run")).unwrap();
    let key = machine.control.state().machine_key.clone();
    machine.control.state().heartbeats.clear();
    machine.boot();
    assert_eq!(count(&machine, "POST /v1/vm/enroll"), 2);
    assert_eq!(machine.control.state().machine_key, key);
}
