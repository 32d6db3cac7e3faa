//! Ring-1 tests of the model: one short test per behaviour, through `apply` as a client would.

mod dns;
mod faults;
mod lifecycle;
mod lists;
mod resources;
mod servers;
mod volume;

use serde_json::{Value, json};

use super::*;

/// 2026-11-20T10:00:00Z
pub(super) const START: i64 = 1_795_168_800_000;

/// A cloud with a clock of its own and the answers already taken apart.
pub(super) struct World {
    pub cloud: Cloud,
    pub now: i64,
    pub effects: Vec<Effect>,
}

pub(super) fn world() -> World {
    world_with(Config::default())
}

pub(super) fn world_with(config: Config) -> World {
    World { cloud: Cloud::new(config), now: START, effects: Vec::new() }
}

impl World {
    pub fn send(&mut self, request: &Request) -> Response {
        let (response, effects) = self.cloud.apply(request, self.now);
        self.effects.extend(effects);
        response
    }

    pub fn hetzner(&mut self, method: &str, path: &str, body: Value) -> (u16, Value) {
        let request = Request::new(method, &format!("/hetzner/v1{path}")).bearer("hetzner-token");
        let request = if body.is_null() { request } else { request.json(&body) };
        let response = self.send(&request);
        (response.status, response.json())
    }

    pub fn get(&mut self, path: &str) -> Value {
        let (status, body) = self.hetzner("GET", path, Value::Null);
        assert_eq!(status, 200, "{path}: {body}");
        body
    }

    /// Expects a refusal with this status and code, and returns the error object.
    pub fn refused(&mut self, method: &str, path: &str, body: Value, status: u16, code: &str) -> Value {
        let (got, answer) = self.hetzner(method, path, body);
        assert_eq!((got, answer["error"]["code"].as_str()), (status, Some(code)), "{answer}");
        answer["error"].clone()
    }

    /// Creates a server, small and in Falkenstein, and returns its id.
    pub fn server(&mut self, name: &str) -> u64 {
        let (status, body) = self.hetzner("POST", "/servers", server_body(name));
        assert_eq!(status, 201, "{body}");
        body["server"]["id"].as_u64().unwrap()
    }

    pub fn running_server(&mut self, name: &str) -> u64 {
        let id = self.server(name);
        self.pass(1_000);
        assert_eq!(self.status(id), "running");
        id
    }

    pub fn status(&mut self, id: u64) -> String {
        let (status, body) = self.hetzner("GET", &format!("/servers/{id}"), Value::Null);
        match status {
            404 => "gone".to_owned(),
            _ => body["server"]["status"].as_str().unwrap().to_owned(),
        }
    }

    pub fn act(&mut self, id: u64, command: &str) -> (u16, Value) {
        self.hetzner("POST", &format!("/servers/{id}/actions/{command}"), json!({}))
    }

    pub fn pass(&mut self, ms: i64) {
        self.now += ms;
        self.effects.extend(self.cloud.advance(self.now));
    }

    pub fn took(&mut self) -> Vec<Effect> {
        std::mem::take(&mut self.effects)
    }

    pub fn cloudflare(&mut self, method: &str, path: &str, body: Value) -> (u16, Value) {
        let request =
            Request::new(method, &format!("/cloudflare/client/v4{path}")).bearer("cloudflare-token");
        let request = if body.is_null() { request } else { request.json(&body) };
        let response = self.send(&request);
        (response.status, response.json())
    }

    /// A call below the zone's `dns_records`.
    pub fn dns(&mut self, method: &str, path: &str, body: Value) -> (u16, Value) {
        let zone = self.cloud.zone_id();
        self.cloudflare(method, &format!("/zones/{zone}/dns_records{path}"), body)
    }

    pub fn a_record(&mut self, name: &str, content: &str) -> String {
        let (status, body) =
            self.dns("POST", "", json!({"type": "A", "name": name, "content": content, "ttl": 60}));
        assert_eq!(status, 200, "{body}");
        body["result"]["id"].as_str().unwrap().to_owned()
    }
}

pub(super) fn server_body(name: &str) -> Value {
    json!({
        "name": name, "server_type": "cx23", "image": "debian-12", "location": "fsn1",
        "labels": {"ebbtide-install": "i1"}, "user_data": "#cloud-config\n",
    })
}
