//! Primary IPs: billed on their own, assigned or not. Servers make theirs implicitly.

use serde::Deserialize;
use serde_json::json;

use super::{
    catalog,
    labels::{self, Labels},
    page::{self, Page},
    refusal::{Refusal, Reply},
    servers::selector,
    state::PrimaryIp,
    view,
};
use crate::model::{
    Cloud,
    wire::{Call, Response},
};

/// First address handed out; the range 198.18.0.0/15 is set aside for benchmarks and routed nowhere.
const FIRST_IPV4: u32 = u32::from_be_bytes([198, 18, 0, 10]);
const IPV4_COUNT: u32 = 1 << 17;

#[derive(Deserialize)]
struct Create {
    name: String,
    #[serde(rename = "type")]
    kind: String,
    location: Option<String>,
    #[serde(default)]
    labels: Labels,
    auto_delete: Option<bool>,
    assignee_id: Option<u64>,
}

#[derive(Deserialize)]
struct Update {
    name: Option<String>,
    labels: Option<Labels>,
    auto_delete: Option<bool>,
}

impl Cloud {
    /// Hands out the next address that nobody holds, walking through the whole range before one comes back.
    pub(super) fn free_ipv4(&mut self) -> String {
        loop {
            let offset = self.next_ip % (IPV4_COUNT - 10);
            self.next_ip = self.next_ip.wrapping_add(1);
            let address = std::net::Ipv4Addr::from(FIRST_IPV4 + offset);
            if matches!(address.octets()[3], 0 | 255) {
                continue;
            }
            let text = address.to_string();
            if !self.project.primary_ips.values().any(|ip| ip.ip == text) {
                return text;
            }
        }
    }

    pub(super) fn free_ipv6(&mut self) -> String {
        let net = self.new_id();
        format!("2001:db8:{:x}:{:x}::/64", (net >> 16) & 0xffff, net & 0xffff)
    }

    pub(super) fn list_primary_ips(&self, call: &Call<'_>) -> Reply {
        let selector = selector(call)?;
        let (name, address) = (call.one("name"), call.one("ip"));
        let mut found: Vec<&PrimaryIp> = self
            .project
            .primary_ips
            .values()
            .filter(|ip| name.is_none_or(|name| ip.name == name))
            .filter(|ip| address.is_none_or(|address| ip.ip == address))
            .filter(|ip| selector.matches(&ip.labels))
            .collect();
        page::sort(call, &mut found)?;
        Ok(Page::cut(call, found)?.render(call, "primary_ips", |ip| view::primary_ip_json(self, ip)))
    }

    pub(super) fn create_primary_ip(&mut self, call: &Call<'_>) -> Reply {
        let body: Create = call.parse()?;
        if !matches!(body.kind.as_str(), "ipv4" | "ipv6") {
            return Err(Refusal::invalid("type", "must be ipv4 or ipv6"));
        }
        if let Some(problem) = labels::problem(&body.labels) {
            return Err(Refusal::invalid("labels", problem));
        }
        if self.project.primary_ips.values().any(|ip| ip.name == body.name) {
            return Err(Refusal::uniqueness("name", "primary IP name is already used"));
        }
        if body.assignee_id.is_some() {
            return Err(Refusal::new(422, "unsupported_error", "assign it when the server is created"));
        }
        let wanted = body.location.as_deref().unwrap_or("fsn1");
        let location = catalog::find_location(wanted)
            .ok_or_else(|| Refusal::invalid("location", format!("location '{wanted}' not found")))?;
        let id = self.new_id();
        let address = if body.kind == "ipv4" { self.free_ipv4() } else { self.free_ipv6() };
        let ip = PrimaryIp {
            id,
            name: body.name,
            ip: address,
            kind: body.kind,
            location: location.name.to_owned(),
            labels: body.labels,
            assignee: None,
            auto_delete: body.auto_delete.unwrap_or(false),
            created_ms: call.now_ms,
        };
        let answer = json!({"primary_ip": view::primary_ip_json(self, &ip)});
        self.project.primary_ips.insert(id, ip);
        Ok(Response::of(201, &answer))
    }

    pub(super) fn get_primary_ip(&self, id: u64) -> Reply {
        let ip = self.project.primary_ips.get(&id).ok_or_else(|| Refusal::not_found("primary IP", id))?;
        Ok(Response::of(200, &json!({"primary_ip": view::primary_ip_json(self, ip)})))
    }

    pub(super) fn update_primary_ip(&mut self, call: &Call<'_>, id: u64) -> Reply {
        let update: Update = call.parse()?;
        if let Some(problem) = update.labels.as_ref().and_then(labels::problem) {
            return Err(Refusal::invalid("labels", problem));
        }
        let taken =
            |name: &String| self.project.primary_ips.values().any(|ip| ip.id != id && ip.name == *name);
        if update.name.as_ref().is_some_and(taken) {
            return Err(Refusal::uniqueness("name", "primary IP name is already used"));
        }
        if let Some(ip) = self.project.primary_ips.get_mut(&id) {
            ip.name = update.name.unwrap_or_else(|| std::mem::take(&mut ip.name));
            ip.labels = update.labels.unwrap_or_else(|| std::mem::take(&mut ip.labels));
            ip.auto_delete = update.auto_delete.unwrap_or(ip.auto_delete);
        }
        self.get_primary_ip(id)
    }

    pub(super) fn delete_primary_ip(&mut self, id: u64) -> Reply {
        let ip = self.project.primary_ips.get(&id).ok_or_else(|| Refusal::not_found("primary IP", id))?;
        if ip.assignee.is_some() {
            return Err(Refusal::new(422, "resource_in_use", "primary IP is assigned to a server"));
        }
        self.project.primary_ips.remove(&id);
        Ok(Response::empty(204))
    }
}
