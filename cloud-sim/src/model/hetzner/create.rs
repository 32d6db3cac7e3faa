//! `POST /servers`: everything that is checked before a server exists, then the server.
//!
//! The name is the idempotency key. Nothing is stored until every check has passed.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{
    catalog::{self, ServerType},
    labels::{self, Labels},
    refusal::{Refusal, Reply},
    state::{PrimaryIp, Server, ServerStatus},
    view::{self, ServerView},
};
use crate::model::{
    Cloud, Next,
    effect::{Effect, MachineFault},
    wire::{Call, Response},
};

/// The vendor's limit on user-data as sent.
const MAX_USER_DATA: usize = 32 * 1024;

#[derive(Deserialize)]
struct Body {
    name: Option<String>,
    server_type: Option<IdOrName>,
    image: Option<IdOrName>,
    location: Option<IdOrName>,
    datacenter: Option<Value>,
    #[serde(default)]
    ssh_keys: Vec<IdOrName>,
    #[serde(default)]
    firewalls: Vec<FirewallRef>,
    #[serde(default)]
    labels: Labels,
    user_data: Option<String>,
    #[serde(default)]
    public_net: PublicNet,
    start_after_create: Option<bool>,
}

#[derive(Deserialize)]
#[serde(untagged)]
pub(crate) enum IdOrName {
    Id(u64),
    Name(String),
}

impl std::fmt::Display for IdOrName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            IdOrName::Id(id) => id.fmt(f),
            IdOrName::Name(name) => f.write_str(name),
        }
    }
}

#[derive(Deserialize)]
struct FirewallRef {
    firewall: u64,
}

#[derive(Deserialize, Default)]
struct PublicNet {
    enable_ipv4: Option<bool>,
    enable_ipv6: Option<bool>,
    ipv4: Option<u64>,
    ipv6: Option<u64>,
}

#[derive(Serialize)]
struct Created<'a> {
    server: ServerView<'a>,
    action: Value,
    next_actions: Vec<Value>,
    root_password: Option<String>,
}

/// A create call that passed every check.
struct Plan {
    name: String,
    server_type: &'static ServerType,
    location: &'static str,
    image_id: u64,
    body: Body,
}

impl Cloud {
    pub(super) fn create_server(&mut self, call: &Call<'_>) -> Reply {
        let plan = self.plan_server(call.parse()?)?;
        let now = call.now_ms;
        let id = self.new_id();
        let ipv4 = self.claim_ip(&plan, id, "ipv4", now);
        let ipv6 = self.claim_ip(&plan, id, "ipv6", now);
        let fault = self.fault_of_next_server.take();
        let start = plan.body.start_after_create.unwrap_or(true);
        let root_password = plan.body.ssh_keys.is_empty().then(|| self.token()[..20].to_owned());

        let next = Next::ServerBuilt { server_id: id, start };
        let create =
            self.start_action("create_server", &[("server", id)], self.config.times.create_ms, next, now);
        let start_id = start.then(|| {
            let after = self.config.times.create_ms + self.config.times.start_ms;
            self.start_action(
                "start_server",
                &[("server", id)],
                after,
                Next::ServerStarted { server_id: id },
                now,
            )
        });
        self.project.servers.insert(
            id,
            Server {
                id,
                name: plan.name,
                status: ServerStatus::Initializing,
                created_ms: now,
                labels: plan.body.labels,
                server_type: plan.server_type.name.to_owned(),
                location: plan.location.to_owned(),
                image_id: plan.image_id,
                user_data: plan.body.user_data,
                ipv4,
                ipv6,
                protected: false,
                locked_by: Some(create),
                firewalls: plan.body.firewalls.iter().map(|f| f.firewall).collect(),
                powered: false,
                boots: 0,
                fault,
                steady_since_ms: now,
                samples: Vec::new(),
            },
        );
        if let Some(fault) = fault {
            self.effects.push(Effect::MachineFault { server_id: id, fault });
        }
        let action = |id: u64| self.project.actions.get(&id).map(|action| view::action_json(action, now));
        let server = self.project.servers.get(&id).ok_or_else(|| Refusal::not_found("server", id))?;
        Ok(Response::of(
            201,
            &Created {
                server: self.server_view(server),
                action: action(create).unwrap_or(Value::Null),
                next_actions: start_id.and_then(action).into_iter().collect(),
                root_password,
            },
        ))
    }

    fn plan_server(&self, body: Body) -> Result<Plan, Refusal> {
        let required = |field: &str| Refusal::invalid(field, "missing data for required field");
        let name = body.name.clone().ok_or_else(|| required("name"))?;
        if !is_host_name(&name) {
            return Err(Refusal::invalid("name", "is not a valid hostname"));
        }
        if body.datacenter.is_some() {
            return Err(Refusal::invalid("datacenter", "was removed, use location"));
        }
        let wanted = body.server_type.as_ref().ok_or_else(|| required("server_type"))?.to_string();
        let server_type = catalog::find_server_type(&wanted)
            .ok_or_else(|| Refusal::invalid("server_type", format!("server type '{wanted}' not found")))?;
        let wanted = body.image.as_ref().ok_or_else(|| required("image"))?.to_string();
        let image_id = self.usable_image(&wanted, server_type)?;
        if let Some(problem) = labels::problem(&body.labels) {
            return Err(Refusal::invalid("labels", problem));
        }
        if body.user_data.as_ref().is_some_and(|data| data.len() > MAX_USER_DATA) {
            return Err(Refusal::invalid("user_data", format!("must be at most {MAX_USER_DATA} bytes")));
        }
        self.check_references(&body)?;
        if self.project.servers.values().any(|server| server.name == name) {
            return Err(Refusal::uniqueness("name", "server name is already used"));
        }
        if self.project.servers.len() >= self.config.server_limit {
            return Err(Refusal::limit("server_limit"));
        }
        let location = self.room_for(server_type, body.location.as_ref())?;
        Ok(Plan { name, server_type, location, image_id, body })
    }

    fn usable_image(&self, wanted: &str, server_type: &ServerType) -> Result<u64, Refusal> {
        let refuse = |why: String| Refusal::invalid("image", why);
        if let Some(image) = catalog::find_system_image(wanted, server_type.arch) {
            return if image.arch == server_type.arch {
                Ok(image.id)
            } else {
                Err(refuse("image and server type have different architectures".to_owned()))
            };
        }
        let snapshot = wanted
            .parse::<u64>()
            .ok()
            .and_then(|id| self.project.images.get(&id))
            .ok_or_else(|| refuse(format!("image '{wanted}' not found")))?;
        if !snapshot.available {
            return Err(refuse("image is not available yet".to_owned()));
        }
        if snapshot.arch != server_type.arch {
            return Err(refuse("image and server type have different architectures".to_owned()));
        }
        if snapshot.disk_gb > server_type.disk_gb {
            return Err(refuse("image disk is bigger than server type disk".to_owned()));
        }
        Ok(snapshot.id)
    }

    fn check_references(&self, body: &Body) -> Result<(), Refusal> {
        for wanted in &body.ssh_keys {
            let wanted = wanted.to_string();
            if !self.project.ssh_keys.values().any(|k| k.name == wanted || k.id.to_string() == wanted) {
                return Err(Refusal::invalid("ssh_keys", format!("SSH key '{wanted}' not found")));
            }
        }
        for wanted in &body.firewalls {
            if !self.project.firewalls.contains_key(&wanted.firewall) {
                return Err(Refusal::invalid(
                    "firewalls",
                    format!("firewall '{}' not found", wanted.firewall),
                ));
            }
        }
        for (field, kind, wanted) in [
            ("public_net.ipv4", "ipv4", body.public_net.ipv4),
            ("public_net.ipv6", "ipv6", body.public_net.ipv6),
        ] {
            let Some(id) = wanted else { continue };
            let ip = self
                .project
                .primary_ips
                .get(&id)
                .ok_or_else(|| Refusal::invalid(field, format!("primary IP '{id}' not found")))?;
            if ip.kind != kind {
                return Err(Refusal::new(
                    422,
                    "primary_ip_version_mismatch",
                    "primary IP has another version",
                ));
            }
            if ip.assignee.is_some() {
                return Err(Refusal::new(422, "primary_ip_assigned", "primary IP is already assigned"));
            }
        }
        Ok(())
    }

    fn room_for(&self, server_type: &ServerType, wanted: Option<&IdOrName>) -> Result<&'static str, Refusal> {
        let sold_out = |location: &str| {
            self.project.sold_out.contains(&(server_type.name.to_owned(), location.to_owned()))
        };
        let Some(wanted) = wanted else {
            return server_type
                .locations
                .iter()
                .copied()
                .find(|location| !sold_out(location))
                .ok_or_else(Refusal::sold_out);
        };
        let wanted = wanted.to_string();
        let location = catalog::find_location(&wanted)
            .ok_or_else(|| Refusal::invalid("location", format!("location '{wanted}' not found")))?;
        if !server_type.locations.contains(&location.name) {
            return Err(Refusal::unsupported_location());
        }
        if self.project.withdrawn.contains(&(server_type.name.to_owned(), location.name.to_owned())) {
            let message = format!("server type {} is deprecated", server_type.name);
            return Err(Refusal::invalid("server_type", message));
        }
        if sold_out(location.name) {
            return Err(Refusal::sold_out());
        }
        Ok(location.name)
    }

    /// Takes the primary IP that was asked for, or makes one that goes with the server.
    fn claim_ip(&mut self, plan: &Plan, server_id: u64, kind: &str, now_ms: i64) -> Option<u64> {
        let net = &plan.body.public_net;
        let (enabled, wanted) = match kind {
            "ipv4" => (net.enable_ipv4, net.ipv4),
            _ => (net.enable_ipv6, net.ipv6),
        };
        if !enabled.unwrap_or(true) {
            return None;
        }
        if let Some(ip) = wanted.and_then(|id| self.project.primary_ips.get_mut(&id)) {
            ip.assignee = Some(server_id);
            return Some(ip.id);
        }
        let id = self.new_id();
        let ip = if kind == "ipv4" { self.free_ipv4() } else { self.free_ipv6() };
        self.project.primary_ips.insert(
            id,
            PrimaryIp {
                id,
                name: format!("primary_ip-{id}"),
                ip,
                kind: kind.to_owned(),
                location: plan.location.to_owned(),
                labels: Labels::new(),
                assignee: Some(server_id),
                auto_delete: self.config.implicit_ips_auto_delete,
                created_ms: now_ms,
            },
        );
        Some(id)
    }

    /// Sets the machine fault that the next created server is born with.
    pub(crate) fn arm_machine_fault(&mut self, fault: Option<MachineFault>) {
        self.fault_of_next_server = fault;
    }
}

/// RFC 1123: letters, digits and inner hyphens, dots between labels.
pub(super) fn is_host_name(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= 253
        && name.split('.').all(|label| {
            !label.is_empty()
                && label.len() <= 63
                && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
                && !label.starts_with('-')
                && !label.ends_with('-')
        })
}
