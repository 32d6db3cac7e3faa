//! The built `cloud-sim` from outside: both APIs over HTTP, every kind of fault, restart, cron, edge, end.

mod common;

use std::{
    io::{Read, Write},
    net::TcpListener,
    time::{Duration, Instant},
};

use common::{Sim, call, server, until};
use serde_json::{Value, json};

struct Stage {
    sim: Sim,
    _dir: tempfile::TempDir,
}

impl std::ops::Deref for Stage {
    type Target = Sim;
    fn deref(&self) -> &Sim {
        &self.sim
    }
}

fn stage(arguments: &[&str]) -> Stage {
    let dir = tempfile::tempdir().unwrap();
    Stage { sim: Sim::start(dir.path(), arguments), _dir: dir }
}

fn rule(fault: Value) -> Value {
    json!({"provider": "hetzner", "method": "POST", "path": "/servers", "times": 1, "fault": fault})
}

fn live_servers(sim: &Sim) -> u64 {
    sim.inventory()["live_servers"].as_u64().unwrap()
}

#[test]
fn a_server_lives_and_dies_over_http() {
    let stage = stage(&["--time-scale", "20"]);
    let id = stage.create("one");
    until("it runs", || stage.status(id) == "running");
    let ip = stage.inventory()["servers"][0]["ipv4"].as_str().unwrap().to_owned();
    let record = json!({"type": "A", "name": "w1", "content": ip, "ttl": 60});
    assert_eq!(stage.dns("POST", "", record).unwrap().status, 200);
    let resolved = stage.sim("GET", "/resolve?host=w1.ebb.localhost", Value::Null).body;
    assert_eq!(resolved["server_id"], id);
    let answer = stage.hetzner("DELETE", &format!("/servers/{id}"), Value::Null).unwrap();
    assert_eq!(answer.body["action"]["command"], "delete_server");
    until("it is gone", || stage.status(id) == "gone");
    let inventory = stage.inventory();
    assert_eq!((inventory["live_servers"].as_u64(), inventory["billed_hours"].as_u64()), (Some(0), Some(1)));
    assert_eq!(inventory["dns_records"][0]["name"], "w1.ebb.localhost");
}

#[test]
fn answers_carry_type_budget_and_link_headers() {
    let stage = stage(&[]);
    let answer = stage.hetzner("GET", "/servers?per_page=1", Value::Null).unwrap();
    assert_eq!(answer.headers["content-type"], "application/json");
    assert_eq!(answer.headers["ratelimit-limit"], "3600");
    assert!(answer.headers["link"].to_str().unwrap().contains("rel=last"));
    let anonymous = call("GET", &format!("{}/servers", stage.address("hetzner")), None, Value::Null).unwrap();
    assert_eq!((anonymous.status, anonymous.body["error"]["code"].as_str()), (401, Some("unauthorized")));
    let zones = stage.cloudflare("GET", "/zones?name=ebb.localhost", Value::Null).unwrap();
    assert_eq!(zones.body["result"][0]["id"], stage.zone_id());
}

#[test]
fn refusals_rate_limits_and_capacity_do_not_land() {
    let stage = stage(&[]);
    for (fault, status, code) in [
        (json!({"kind": "refuse", "status": 503, "code": "unavailable"}), 503, "unavailable"),
        (json!({"kind": "rate_limited", "retry_after_secs": 3}), 429, "rate_limit_exceeded"),
        (json!({"kind": "capacity", "shape": "resource_unavailable"}), 412, "resource_unavailable"),
        (json!({"kind": "capacity", "shape": "unsupported_location"}), 422, "invalid_input"),
        (json!({"kind": "capacity", "shape": "resource_limit_exceeded"}), 403, "resource_limit_exceeded"),
    ] {
        stage.fault(rule(fault.clone()));
        let answer = stage.hetzner("POST", "/servers", server("one")).unwrap();
        assert_eq!((answer.status, answer.body["error"]["code"].as_str()), (status, Some(code)), "{fault}");
        assert_eq!(answer.headers.get("retry-after").is_some(), status == 429, "{fault}");
        assert_eq!(live_servers(&stage), 0, "{fault}");
    }
}

#[test]
fn a_landed_error_landed() {
    let stage = stage(&[]);
    stage.fault(rule(json!({"kind": "landed_then_error"})));
    assert_eq!(stage.hetzner("POST", "/servers", server("one")).unwrap().status, 500);
    assert_eq!(live_servers(&stage), 1);
    assert_eq!(stage.hetzner("POST", "/servers", server("one")).unwrap().status, 409);
}

#[test]
fn a_lost_answer_is_a_dropped_connection_after_landing() {
    let stage = stage(&[]);
    stage.fault(rule(json!({"kind": "lost_response"})));
    assert!(stage.hetzner("POST", "/servers", server("one")).is_none());
    assert_eq!(live_servers(&stage), 1);
    stage.fault(rule(json!({"kind": "lost_request"})));
    assert!(stage.hetzner("POST", "/servers", server("two")).is_none());
    assert_eq!(live_servers(&stage), 1);
}

#[test]
fn a_slow_answer_is_late_and_holds_nobody_else_up() {
    let stage = stage(&[]);
    stage.fault(rule(json!({"kind": "slow", "ms": 700})));
    std::thread::scope(|scope| {
        let slow = scope.spawn(|| {
            let begun = Instant::now();
            let status = stage.hetzner("POST", "/servers", server("one")).unwrap().status;
            (status, begun.elapsed())
        });
        until("it landed while the answer waits", || live_servers(&stage) == 1);
        assert!(!slow.is_finished());
        let (status, took) = slow.join().unwrap();
        assert_eq!(status, 201);
        assert!(took >= Duration::from_millis(700), "{took:?}");
    });
}

#[test]
fn a_duplicate_lands_twice_where_it_can() {
    let stage = stage(&[]);
    let fault = json!({"kind": "duplicate"});
    stage.fault(
        json!({"provider": "cloudflare", "method": "POST", "path": "/zones/*/dns_records", "fault": fault}),
    );
    let record = json!({"type": "A", "name": "w1", "content": "198.18.0.10"});
    assert_eq!(stage.dns("POST", "", record).unwrap().status, 200);
    assert_eq!(stage.inventory()["dns_records"].as_array().unwrap().len(), 1);
    stage.fault(rule(json!({"kind": "duplicate"})));
    assert_eq!(stage.hetzner("POST", "/servers", server("one")).unwrap().status, 201);
    assert_eq!(live_servers(&stage), 1);
    stage.fault(json!({"method": "POST", "path": "/ssh_keys", "fault": {"kind": "duplicate"}}));
    let key = json!({"name": "k", "public_key": "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIHVubm90 me"});
    assert_eq!(stage.hetzner("POST", "/ssh_keys", key).unwrap().status, 201);
    assert_eq!(stage.inventory()["ssh_keys"].as_array().unwrap().len(), 1);
    let rules = stage.sim("GET", "/faults", Value::Null).body;
    assert!(rules.as_array().unwrap().iter().all(|rule| rule["struck"] == 1), "{rules}");
}

#[test]
fn machine_faults_are_set_at_birth_and_later() {
    let stage = stage(&["--time-scale", "20"]);
    stage.fault(rule(json!({"kind": "machine", "fault": "never_boot"})));
    let id = stage.create("one");
    until("it runs", || stage.status(id) == "running");
    assert_eq!(stage.inventory()["servers"][0]["fault"], "never_boot");
    let fault = |id: u64, fault: &str| {
        stage.sim("POST", &format!("/machines/{id}/fault"), json!({"fault": fault})).status
    };
    for name in ["die", "hang", "lose_network"] {
        assert_eq!(fault(id, name), 204);
        assert_eq!(stage.inventory()["servers"][0]["fault"], name);
    }
    assert_eq!(fault(id, "restore_network"), 204);
    assert!(stage.inventory()["servers"][0]["fault"].is_null());
    assert_eq!(fault(id, "switch_off"), 204);
    assert_eq!(stage.status(id), "off");
    assert_eq!(fault(1, "die"), 404);
}

#[test]
fn faults_can_be_taken_back() {
    let stage = stage(&[]);
    let refuse = json!({"fault": {"kind": "refuse", "status": 503, "code": "unavailable"}});
    let id = stage.sim("POST", "/faults", refuse.clone()).body["id"].as_u64().unwrap();
    assert_eq!(stage.hetzner("GET", "/locations", Value::Null).unwrap().status, 503);
    assert_eq!(stage.sim("DELETE", &format!("/faults/{id}"), Value::Null).status, 204);
    assert_eq!(stage.sim("DELETE", &format!("/faults/{id}"), Value::Null).status, 404);
    assert_eq!(stage.hetzner("GET", "/locations", Value::Null).unwrap().status, 200);
    stage.fault(refuse);
    assert_eq!(stage.sim("DELETE", "/faults", Value::Null).status, 204);
    assert_eq!(stage.hetzner("GET", "/locations", Value::Null).unwrap().status, 200);
}

#[test]
fn availability_is_switched_per_type_and_location() {
    let stage = stage(&[]);
    let set = |sale: &str| {
        let body = json!({"server_type": "cx23", "location": "fsn1", "sale": sale});
        assert_eq!(stage.sim("POST", "/availability", body).status, 204);
        stage.hetzner("POST", "/servers", server("one")).unwrap().status
    };
    assert_eq!(set("sold_out"), 412);
    assert_eq!(set("withdrawn"), 422);
    assert_eq!(set("on_sale"), 201);
}

#[test]
fn in_step_mode_a_step_moves_the_cloud() {
    let stage = stage(&["--mode", "step"]);
    let id = stage.create("one");
    let step = |body: Value| stage.sim("POST", "/step", body).body;
    assert_eq!(step(json!({"count": 1})), json!({"steps": 1, "pending": 1}));
    assert_eq!(stage.status(id), "starting");
    assert_eq!(step(json!({})), json!({"steps": 1, "pending": 0}));
    assert_eq!(stage.status(id), "running");
}

#[test]
fn the_journal_tells_what_was_asked_and_answered_and_no_secret() {
    let stage = stage(&[]);
    let id = stage.create("one");
    stage.dns("GET", "?type=A", Value::Null).unwrap();
    let journal = stage.sim("GET", "/journal", Value::Null).body;
    let entries = journal.as_array().unwrap();
    assert_eq!(entries.len(), 2);
    assert_eq!(
        (entries[0]["method"].as_str(), entries[0]["path"].as_str()),
        (Some("POST"), Some("/servers"))
    );
    assert_eq!(entries[0]["response"]["server"]["id"], id);
    assert_eq!(entries[1]["query"], json!([["type", "A"]]));
    assert!(!journal.to_string().contains("test-hetzner"));
    let later = stage.sim("GET", "/journal?after=1", Value::Null).body;
    assert_eq!(later.as_array().unwrap().len(), 1);
    let data = stage.sim("GET", &format!("/servers/{id}/user-data"), Value::Null);
    assert_eq!((data.status, data.body.as_str()), (200, Some("#cloud-config\n")));
}

#[test]
fn killed_and_started_again_on_the_same_port_it_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let sim = Sim::start(dir.path(), &["--time-scale", "20"]);
    let listen = sim.listen();
    let id = sim.create("one");
    until("it runs", || sim.status(id) == "running");
    let ip = sim.inventory()["servers"][0]["ipv4"].clone();
    assert_eq!(sim.dns("POST", "", json!({"type": "A", "name": "w1", "content": ip})).unwrap().status, 200);
    let unfinished = sim.create("two");
    sim.kill();

    let sim = Sim::start(dir.path(), &["--time-scale", "20", "--listen", &listen]);
    assert_eq!(sim.listen(), listen);
    assert_eq!(sim.status(id), "running");
    assert_eq!(sim.inventory()["servers"][0]["ipv4"], ip);
    assert_eq!(sim.dns("GET", "", Value::Null).unwrap().body["result"][0]["name"], "w1.ebb.localhost");
    until("what was being created runs", || sim.status(unfinished) == "running");
    assert_eq!(sim.hetzner("POST", "/servers", server("one")).unwrap().status, 409);
}

#[test]
fn a_cloud_asked_to_end_ends_with_success_and_its_servers_are_over() {
    let dir = tempfile::tempdir().unwrap();
    let sim = Sim::start(dir.path(), &["--time-scale", "20"]);
    let id = sim.create("one");
    until("it runs", || sim.status(id) == "running");
    assert!(sim.terminate().success());
    let sim = Sim::start(dir.path(), &[]);
    assert_eq!(sim.status(id), "gone");
    assert_eq!(sim.inventory()["servers"][0]["status"], "deleted");
}

#[test]
fn the_cron_is_fired_again_and_again() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/cdn-cgi/local/scheduled?cron=x", listener.local_addr().unwrap());
    let _stage = stage(&["--cron", &url, "--cron-every", "50ms"]);
    for _ in 0..3 {
        let (mut stream, _) = listener.accept().unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let mut head = Vec::new();
        let mut byte = [0];
        while !head.ends_with(b"\r\n\r\n") {
            stream.read_exact(&mut byte).unwrap();
            head.push(byte[0]);
        }
        let head = String::from_utf8(head).unwrap();
        assert!(head.starts_with("GET /cdn-cgi/local/scheduled?cron=x HTTP/1.1\r\n"), "{head}");
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").unwrap();
    }
}

#[test]
fn the_edge_tells_unknown_names_from_silent_machines() {
    let stage = stage(&["--time-scale", "20"]);
    let visit = |host: &str| {
        let url: url::Url = stage.address("edge").parse().unwrap();
        let mut stream = std::net::TcpStream::connect(("127.0.0.1", url.port().unwrap())).unwrap();
        write!(stream, "GET / HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    };
    let unknown = visit("w1.ebb.localhost:8080");
    assert!(unknown.starts_with("HTTP/1.1 404") && unknown.contains("does not resolve"), "{unknown}");
    let id = stage.create("one");
    until("it runs", || stage.status(id) == "running");
    let ip = stage.inventory()["servers"][0]["ipv4"].clone();
    stage.dns("POST", "", json!({"type": "A", "name": "*.w1", "content": ip})).unwrap();
    let silent = visit("3000.w1.ebb.localhost:8080");
    assert!(silent.starts_with("HTTP/1.1 502"), "{silent}");
}

#[test]
fn it_refuses_to_listen_beyond_loopback_and_to_start_without_tokens() {
    let dir = tempfile::tempdir().unwrap();
    let start = |token: &str, listen: &str| {
        let output = std::process::Command::new(env!("CARGO_BIN_EXE_cloud-sim"))
            .args(["serve", "--listen", listen, "--data-dir"])
            .arg(dir.path())
            .env("CLOUD_SIM_HETZNER_TOKEN", token)
            .env("CLOUD_SIM_CLOUDFLARE_TOKEN", "t")
            .output()
            .unwrap();
        assert!(!output.status.success());
        String::from_utf8(output.stderr).unwrap()
    };
    assert!(start("", "127.0.0.1:0").contains("CLOUD_SIM_HETZNER_TOKEN"));
    assert!(start("t", "0.0.0.0:0").contains("not on loopback"));
}
