//! Firewalls: rules that are checked and kept, bound to servers by id or by label selector.
//!
//! The local cloud shows which servers a firewall covers; it filters no packets.

use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    labels::{self, Labels, Selector},
    page::{self, Page},
    refusal::{Refusal, Reply},
    servers::selector,
    state::Firewall,
    view,
};
use crate::model::{
    Cloud, Next,
    wire::{Call, Response},
};

const MAX_RULES: usize = 50;
const MAX_NETWORKS: usize = 100;
const MAX_DESCRIPTION: usize = 255;

#[derive(Deserialize)]
struct Create {
    name: String,
    #[serde(default)]
    labels: Labels,
    #[serde(default)]
    rules: Vec<Value>,
    #[serde(default)]
    apply_to: Vec<Target>,
}

#[derive(Deserialize)]
struct Update {
    name: Option<String>,
    labels: Option<Labels>,
}

#[derive(Deserialize)]
struct Targets {
    #[serde(default, alias = "remove_from")]
    apply_to: Vec<Target>,
    #[serde(default)]
    rules: Vec<Value>,
}

#[derive(Deserialize)]
struct Target {
    server: Option<ServerRef>,
    label_selector: Option<SelectorRef>,
}

#[derive(Deserialize)]
struct ServerRef {
    id: u64,
}

#[derive(Deserialize)]
struct SelectorRef {
    selector: String,
}

#[derive(Deserialize)]
struct RuleShape {
    direction: String,
    protocol: String,
    port: Option<String>,
    #[serde(default)]
    source_ips: Vec<String>,
    #[serde(default)]
    destination_ips: Vec<String>,
    description: Option<String>,
}

impl Cloud {
    pub(super) fn list_firewalls(&self, call: &Call<'_>) -> Reply {
        let selector = selector(call)?;
        let name = call.one("name");
        let mut found: Vec<&Firewall> = self
            .project
            .firewalls
            .values()
            .filter(|firewall| name.is_none_or(|name| firewall.name == name))
            .filter(|firewall| selector.matches(&firewall.labels))
            .collect();
        page::sort(call, &mut found)?;
        Ok(Page::cut(call, found)?.render(call, "firewalls", |firewall| self.firewall_json(firewall)))
    }

    pub(super) fn create_firewall(&mut self, call: &Call<'_>) -> Reply {
        let body: Create = call.parse()?;
        if let Some(problem) = labels::problem(&body.labels) {
            return Err(Refusal::invalid("labels", problem));
        }
        if self.project.firewalls.values().any(|other| other.name == body.name) {
            return Err(Refusal::uniqueness("name", "firewall name is already used"));
        }
        let rules = checked_rules(body.rules)?;
        self.check_targets(&body.apply_to)?;
        let id = self.new_id();
        self.project.firewalls.insert(
            id,
            Firewall {
                id,
                name: body.name,
                labels: body.labels,
                created_ms: call.now_ms,
                rules,
                selectors: Vec::new(),
            },
        );
        self.apply_targets(id, &body.apply_to);
        let actions = if body.apply_to.is_empty() {
            Vec::new()
        } else {
            vec![self.firewall_done(call, "apply_firewall", id)]
        };
        let firewall = self.project.firewalls.get(&id).map(|firewall| self.firewall_json(firewall));
        Ok(Response::of(201, &json!({"firewall": firewall, "actions": actions})))
    }

    pub(super) fn get_firewall(&self, id: u64) -> Reply {
        let firewall = self.project.firewalls.get(&id).ok_or_else(|| Refusal::not_found("firewall", id))?;
        Ok(Response::of(200, &json!({"firewall": self.firewall_json(firewall)})))
    }

    pub(super) fn update_firewall(&mut self, call: &Call<'_>, id: u64) -> Reply {
        let update: Update = call.parse()?;
        if let Some(problem) = update.labels.as_ref().and_then(labels::problem) {
            return Err(Refusal::invalid("labels", problem));
        }
        if let Some(firewall) = self.project.firewalls.get_mut(&id) {
            firewall.name = update.name.unwrap_or_else(|| std::mem::take(&mut firewall.name));
            firewall.labels = update.labels.unwrap_or_else(|| std::mem::take(&mut firewall.labels));
        }
        self.get_firewall(id)
    }

    pub(super) fn delete_firewall(&mut self, id: u64) -> Reply {
        let firewall = self.project.firewalls.get(&id).ok_or_else(|| Refusal::not_found("firewall", id))?;
        if self.project.servers.values().any(|server| view::binds(firewall, server)) {
            return Err(Refusal::new(422, "resource_in_use", "firewall is still applied to servers"));
        }
        self.project.firewalls.remove(&id);
        Ok(Response::empty(204))
    }

    pub(super) fn firewall_action(&mut self, call: &Call<'_>, id: u64, command: &str) -> Reply {
        if !self.project.firewalls.contains_key(&id) {
            return Err(Refusal::not_found("firewall", id));
        }
        let body: Targets = call.parse()?;
        self.check_targets(&body.apply_to)?;
        match command {
            "apply_to_resources" => self.apply_targets(id, &body.apply_to),
            "remove_from_resources" => self.remove_targets(id, &body.apply_to),
            "set_rules" => {
                let rules = checked_rules(body.rules)?;
                if let Some(firewall) = self.project.firewalls.get_mut(&id) {
                    firewall.rules = rules;
                }
            }
            _ => return Err(Refusal::new(404, "not_found", format!("no such action: {command}"))),
        }
        let action = self.firewall_done(call, command, id);
        Ok(Response::of(201, &json!({"actions": [action]})))
    }

    fn firewall_done(&mut self, call: &Call<'_>, command: &str, id: u64) -> Value {
        let after = self.config.times.ask_ms;
        let action = self.start_action(command, &[("firewall", id)], after, Next::Nothing, call.now_ms);
        self.action_value(action, call.now_ms)
    }

    fn check_targets(&self, targets: &[Target]) -> Result<(), Refusal> {
        for target in targets {
            match (&target.server, &target.label_selector) {
                (Some(server), _) if self.project.servers.contains_key(&server.id) => {}
                (Some(server), _) => {
                    return Err(Refusal::invalid("apply_to", format!("server '{}' not found", server.id)));
                }
                (None, Some(bound)) if Selector::parse(&bound.selector).is_some() => {}
                _ => return Err(Refusal::invalid("apply_to", "needs a server or a valid label selector")),
            }
        }
        Ok(())
    }

    fn apply_targets(&mut self, id: u64, targets: &[Target]) {
        self.remove_targets(id, targets);
        for target in targets {
            if let Some(server) = target.server.as_ref().and_then(|s| self.project.servers.get_mut(&s.id)) {
                server.firewalls.push(id);
            }
            if let (Some(bound), Some(firewall)) =
                (&target.label_selector, self.project.firewalls.get_mut(&id))
            {
                firewall.selectors.push(bound.selector.clone());
            }
        }
    }

    fn remove_targets(&mut self, id: u64, targets: &[Target]) {
        for target in targets {
            if let Some(server) = target.server.as_ref().and_then(|s| self.project.servers.get_mut(&s.id)) {
                server.firewalls.retain(|firewall| *firewall != id);
            }
            if let (Some(bound), Some(firewall)) =
                (&target.label_selector, self.project.firewalls.get_mut(&id))
            {
                firewall.selectors.retain(|selector| *selector != bound.selector);
            }
        }
    }
}

fn checked_rules(rules: Vec<Value>) -> Result<Vec<Value>, Refusal> {
    if rules.len() > MAX_RULES {
        return Err(Refusal::invalid("rules", format!("at most {MAX_RULES} rules")));
    }
    rules.into_iter().map(checked_rule).collect()
}

fn checked_rule(rule: Value) -> Result<Value, Refusal> {
    let refuse = |why: &str| Refusal::invalid("rules", why.to_owned());
    let shape: RuleShape = serde_json::from_value(rule).map_err(|error| refuse(&error.to_string()))?;
    let inbound = match shape.direction.as_str() {
        "in" => true,
        "out" => false,
        _ => return Err(refuse("direction must be in or out")),
    };
    let needs_port = match shape.protocol.as_str() {
        "tcp" | "udp" => true,
        "icmp" | "esp" | "gre" => false,
        _ => return Err(refuse("unknown protocol")),
    };
    if needs_port != shape.port.is_some() {
        return Err(refuse("port is required for tcp and udp, and only there"));
    }
    if shape.port.as_deref().is_some_and(|port| !is_port_range(port)) {
        return Err(refuse("port must be a port, a range or any"));
    }
    let networks = if inbound { &shape.source_ips } else { &shape.destination_ips };
    if networks.is_empty() || networks.len() > MAX_NETWORKS || !networks.iter().all(|n| is_network(n)) {
        return Err(refuse("needs 1 to 100 networks in CIDR notation"));
    }
    if shape.description.as_ref().is_some_and(|text| text.chars().count() > MAX_DESCRIPTION) {
        return Err(refuse("description is too long"));
    }
    Ok(json!({
        "direction": shape.direction, "protocol": shape.protocol, "port": shape.port, "source_ips": shape.source_ips,
        "destination_ips": shape.destination_ips, "description": shape.description,
    }))
}

fn is_port_range(text: &str) -> bool {
    let port = |text: &str| text.parse::<u16>().ok().filter(|port| *port > 0);
    match text.split_once('-') {
        _ if text == "any" => true,
        Some((from, to)) => matches!((port(from), port(to)), (Some(from), Some(to)) if from <= to),
        None => port(text).is_some(),
    }
}

fn is_network(text: &str) -> bool {
    let Some((address, bits)) = text.split_once('/') else { return false };
    let Ok(bits) = bits.parse::<u8>() else { return false };
    match address.parse::<std::net::IpAddr>() {
        Ok(std::net::IpAddr::V4(_)) => bits <= 32,
        Ok(std::net::IpAddr::V6(_)) => bits <= 128,
        Err(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_and_networks_are_checked() {
        for (text, expect) in
            [("80", true), ("1024-5000", true), ("any", true), ("0", false), ("9-1", false), ("x", false)]
        {
            assert_eq!(is_port_range(text), expect, "{text}");
        }
        for (text, expect) in
            [("0.0.0.0/0", true), ("::/0", true), ("10.0.0.0", false), ("10.0.0.0/33", false)]
        {
            assert_eq!(is_network(text), expect, "{text}");
        }
    }

    #[test]
    fn a_rule_without_a_port_is_refused_for_tcp_only() {
        let rule = |protocol: &str| {
            checked_rule(json!({"direction": "in", "protocol": protocol, "source_ips": ["::/0"]}))
        };
        assert!(rule("tcp").is_err());
        assert!(rule("icmp").is_ok());
    }
}
