//! Hetzner Cloud API v1: routes a call to its handler and wraps the answer.
//!
//! Handlers are methods of `Cloud`, one file per resource. They change state only after everything was checked,
//! so that a refusal leaves nothing half done.

pub(crate) mod actions;
pub(crate) mod catalog;
mod create;
mod firewalls;
mod images;
pub(crate) mod labels;
mod lists;
pub(crate) mod metrics;
mod page;
mod primary_ips;
mod refusal;
mod servers;
mod ssh_keys;
pub(crate) mod state;
mod view;

pub use catalog::{Sale, SoldOut};
pub use metrics::Activity;
pub use state::{Action, EndedServer, Firewall, PrimaryIp, Project, Server, ServerStatus, Snapshot, SshKey};

use refusal::{Refusal, Reply};

use super::{
    Cloud,
    faults::CapacityShape,
    wire::{Call, Response},
};

impl Cloud {
    pub(crate) fn hetzner(&mut self, call: &Call<'_>) -> Response {
        self.hetzner_route(call).unwrap_or_else(|refusal| refusal.response())
    }

    fn hetzner_route(&mut self, call: &Call<'_>) -> Reply {
        let segments: Vec<&str> = call.path.trim_matches('/').split('/').collect();
        let collection = segments[0];
        if collection == "datacenters" {
            return Err(Refusal::gone_endpoint("https://docs.hetzner.cloud/changelog"));
        }
        let id = |text: &str| text.parse::<u64>().map_err(|_| Refusal::not_found(collection, text));
        match (call.method, segments.as_slice()) {
            ("GET", ["servers"]) => self.list_servers(call),
            ("POST", ["servers"]) => self.create_server(call),
            ("GET", ["servers", server]) => self.get_server(id(server)?),
            ("PUT", ["servers", server]) => self.update_server(call, id(server)?),
            ("DELETE", ["servers", server]) => self.delete_server(call, id(server)?),
            ("GET", ["servers", server, "metrics"]) => self.server_metrics(call, id(server)?),
            ("GET", ["servers", server, "actions"]) => {
                self.list_resource_actions(call, "server", id(server)?)
            }
            ("GET", ["servers", "actions", action]) => self.get_action(call, id(action)?),
            ("GET", ["servers", _, "actions", action]) => self.get_action(call, id(action)?),
            ("POST", ["servers", server, "actions", command]) => {
                self.server_action(call, id(server)?, command)
            }
            ("GET", ["actions"]) => self.list_actions(call),
            ("GET", ["actions", action]) => self.get_action(call, id(action)?),
            ("GET", ["images"]) => self.list_images(call),
            ("GET", ["images", image]) => self.get_image(id(image)?),
            ("PUT", ["images", image]) => self.update_image(call, id(image)?),
            ("DELETE", ["images", image]) => self.delete_image(id(image)?),
            ("GET", ["images", image, "actions"]) => self.list_resource_actions(call, "image", id(image)?),
            ("GET", ["server_types"]) => self.list_server_types(call),
            ("GET", ["server_types", name]) => self.get_server_type(name),
            ("GET", ["locations"]) => self.list_locations(call),
            ("GET", ["locations", name]) => self.get_location(name),
            ("GET", ["pricing"]) => Ok(Response::of(200, &catalog::pricing_json())),
            ("GET", ["ssh_keys"]) => self.list_ssh_keys(call),
            ("POST", ["ssh_keys"]) => self.create_ssh_key(call),
            ("GET", ["ssh_keys", key]) => self.get_ssh_key(id(key)?),
            ("PUT", ["ssh_keys", key]) => self.update_ssh_key(call, id(key)?),
            ("DELETE", ["ssh_keys", key]) => self.delete_ssh_key(id(key)?),
            ("GET", ["primary_ips"]) => self.list_primary_ips(call),
            ("POST", ["primary_ips"]) => self.create_primary_ip(call),
            ("GET", ["primary_ips", ip]) => self.get_primary_ip(id(ip)?),
            ("PUT", ["primary_ips", ip]) => self.update_primary_ip(call, id(ip)?),
            ("DELETE", ["primary_ips", ip]) => self.delete_primary_ip(id(ip)?),
            ("GET", ["firewalls"]) => self.list_firewalls(call),
            ("POST", ["firewalls"]) => self.create_firewall(call),
            ("GET", ["firewalls", firewall]) => self.get_firewall(id(firewall)?),
            ("PUT", ["firewalls", firewall]) => self.update_firewall(call, id(firewall)?),
            ("DELETE", ["firewalls", firewall]) => self.delete_firewall(id(firewall)?),
            ("POST", ["firewalls", firewall, "actions", command]) => {
                self.firewall_action(call, id(firewall)?, command)
            }
            _ => Err(unknown_route(&segments)),
        }
    }
}

fn unknown_route(segments: &[&str]) -> Refusal {
    const COLLECTIONS: [&str; 9] = [
        "servers",
        "actions",
        "images",
        "server_types",
        "locations",
        "pricing",
        "ssh_keys",
        "primary_ips",
        "firewalls",
    ];
    if segments.len() <= 2 && COLLECTIONS.contains(&segments[0]) {
        Refusal::new(405, "method_not_allowed", "method not allowed for this endpoint")
    } else {
        Refusal::new(404, "not_found", "no such endpoint")
    }
}

pub(crate) fn unauthorized() -> Response {
    Refusal::new(401, "unauthorized", "unable to authenticate").response()
}

pub(crate) fn rate_limited() -> Response {
    Refusal::new(429, "rate_limit_exceeded", "limit of requests per hour reached").response()
}

pub(crate) fn refused(status: u16, code: &str, message: &str) -> Response {
    Refusal::new(status, code, message).response()
}

pub(crate) fn out_of_capacity(shape: CapacityShape) -> Response {
    match shape {
        CapacityShape::ResourceUnavailable => Refusal::sold_out(),
        CapacityShape::UnsupportedLocation => Refusal::unsupported_location(),
        CapacityShape::ResourceLimitExceeded => Refusal::limit("server_limit"),
    }
    .response()
}
