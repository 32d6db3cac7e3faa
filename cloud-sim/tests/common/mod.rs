//! Starts the built `cloud-sim` for a test, calls it over HTTP, and ends it.

#![allow(dead_code, reason = "each test binary uses its part")]

use std::{
    io::{BufRead, BufReader},
    path::Path,
    process::{Child, Command, ExitStatus, Stdio},
    time::{Duration, Instant},
};

use serde_json::{Value, json};

pub const HETZNER_TOKEN: &str = "test-hetzner";
pub const CLOUDFLARE_TOKEN: &str = "test-cloudflare";

/// A running local cloud; killed when dropped.
pub struct Sim {
    child: Child,
    addresses: Value,
}

/// What came back of a call; nothing where the connection was dropped.
pub type Outcome = Option<Answer>;

pub struct Answer {
    pub status: u16,
    pub headers: ureq::http::HeaderMap,
    pub body: Value,
}

impl Sim {
    /// Starts on a data directory, with further arguments.
    pub fn start(data_dir: &Path, arguments: &[&str]) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_cloud-sim"))
            .args(["serve", "--data-dir"])
            .arg(data_dir)
            .args(arguments)
            .env("CLOUD_SIM_HETZNER_TOKEN", HETZNER_TOKEN)
            .env("CLOUD_SIM_CLOUDFLARE_TOKEN", CLOUDFLARE_TOKEN)
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let addresses = serde_json::from_str(&line).unwrap_or_else(|error| panic!("{line:?}: {error}"));
        Self { child, addresses }
    }

    pub fn address(&self, part: &str) -> &str {
        self.addresses[part].as_str().unwrap()
    }

    pub fn zone_id(&self) -> &str {
        self.address("zone_id")
    }

    /// `host:port` where the APIs listen.
    pub fn listen(&self) -> String {
        let url: url::Url = self.address("sim").parse().unwrap();
        format!("127.0.0.1:{}", url.port().unwrap())
    }

    pub fn hetzner(&self, method: &str, path: &str, body: Value) -> Outcome {
        call(method, &format!("{}{path}", self.address("hetzner")), Some(HETZNER_TOKEN), body)
    }

    pub fn cloudflare(&self, method: &str, path: &str, body: Value) -> Outcome {
        call(method, &format!("{}{path}", self.address("cloudflare")), Some(CLOUDFLARE_TOKEN), body)
    }

    /// A call below the zone's `dns_records`.
    pub fn dns(&self, method: &str, path: &str, body: Value) -> Outcome {
        self.cloudflare(method, &format!("/zones/{}/dns_records{path}", self.zone_id()), body)
    }

    pub fn sim(&self, method: &str, path: &str, body: Value) -> Answer {
        call(method, &format!("{}{path}", self.address("sim")), None, body).expect("the simulator answers")
    }

    pub fn fault(&self, rule: Value) {
        assert_eq!(self.sim("POST", "/faults", rule).status, 201);
    }

    pub fn inventory(&self) -> Value {
        self.sim("GET", "/inventory", Value::Null).body
    }

    pub fn create(&self, name: &str) -> u64 {
        let answer = self.hetzner("POST", "/servers", server(name)).unwrap();
        assert_eq!(answer.status, 201, "{}", answer.body);
        answer.body["server"]["id"].as_u64().unwrap()
    }

    pub fn status(&self, id: u64) -> String {
        let answer = self.hetzner("GET", &format!("/servers/{id}"), Value::Null).unwrap();
        match answer.status {
            404 => "gone".to_owned(),
            _ => answer.body["server"]["status"].as_str().unwrap().to_owned(),
        }
    }

    /// Kills it as `kill -9` does.
    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Asks it to end and waits for it.
    pub fn terminate(mut self) -> ExitStatus {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        let mut status = None;
        until("cloud-sim ends", || {
            status = self.child.try_wait().unwrap();
            status.is_some()
        });
        status.unwrap()
    }
}

impl Drop for Sim {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub fn server(name: &str) -> Value {
    json!({
        "name": name, "server_type": "cx23", "image": "debian-12", "location": "fsn1",
        "labels": {"ebbtide-install": "i1"}, "user_data": "#cloud-config\n",
    })
}

/// Sends one request on a connection of its own.
pub fn call(method: &str, url: &str, token: Option<&str>, body: Value) -> Outcome {
    let agent: ureq::Agent = ureq::Agent::config_builder()
        .http_status_as_error(false)
        .timeout_global(Some(Duration::from_secs(20)))
        .build()
        .into();
    let mut request = ureq::http::Request::builder().method(method).uri(url);
    if let Some(token) = token {
        request = request.header("authorization", format!("Bearer {token}"));
    }
    let sent = if body.is_null() {
        agent.run(request.body(()).unwrap())
    } else {
        let request = request.header("content-type", "application/json");
        agent.run(request.body(body.to_string()).unwrap())
    };
    let mut response = sent.ok()?;
    let text = response.body_mut().read_to_string().ok()?;
    Some(Answer {
        status: response.status().as_u16(),
        headers: response.headers().clone(),
        body: serde_json::from_str(&text).unwrap_or(Value::String(text)),
    })
}

/// Waits until something holds, and fails the test when it never does.
pub fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < Duration::from_secs(20), "never happened: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}
