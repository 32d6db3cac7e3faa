//! How stored resources look in answers. Catalogue parts are inserted as ready text.

use serde::Serialize;
use serde_json::{Value, json, value::RawValue};

use super::{
    catalog,
    labels::Labels,
    state::{Action, Firewall, PrimaryIp, Server, Snapshot, SshKey},
};
use crate::model::{Cloud, clock::rfc3339, hetzner::labels::Selector};

#[derive(Serialize)]
pub(crate) struct ServerView<'a> {
    id: u64,
    name: &'a str,
    status: &'static str,
    created: String,
    public_net: PublicNet<'a>,
    private_net: [u8; 0],
    server_type: Option<&'a RawValue>,
    image: Option<ImageView<'a>>,
    location: Option<&'a RawValue>,
    iso: Option<()>,
    rescue_enabled: bool,
    locked: bool,
    backup_window: Option<()>,
    outgoing_traffic: u64,
    ingoing_traffic: u64,
    included_traffic: u64,
    protection: Protection,
    labels: &'a Labels,
    volumes: [u8; 0],
    load_balancers: [u8; 0],
    primary_disk_size: u32,
    placement_group: Option<()>,
}

#[derive(Serialize)]
struct Protection {
    delete: bool,
    rebuild: bool,
}

#[derive(Serialize)]
struct PublicNet<'a> {
    ipv4: Option<Ipv4<'a>>,
    ipv6: Option<Ipv6<'a>>,
    floating_ips: [u8; 0],
    firewalls: Vec<AppliedFirewall>,
}

#[derive(Serialize)]
struct Ipv4<'a> {
    id: u64,
    ip: &'a str,
    blocked: bool,
    dns_ptr: String,
}

#[derive(Serialize)]
struct Ipv6<'a> {
    id: u64,
    ip: &'a str,
    blocked: bool,
    dns_ptr: [u8; 0],
}

#[derive(Serialize)]
struct AppliedFirewall {
    id: u64,
    status: &'static str,
}

#[derive(Serialize)]
#[serde(untagged)]
pub(crate) enum ImageView<'a> {
    System(&'a RawValue),
    Snapshot(Value),
}

impl Cloud {
    pub(crate) fn server_view<'a>(&'a self, server: &'a Server) -> ServerView<'a> {
        let address = |id: Option<u64>| {
            let ip = self.project.primary_ips.get(&id?)?;
            Some((ip.id, ip.ip.as_str()))
        };
        ServerView {
            id: server.id,
            name: &server.name,
            status: server.status.as_str(),
            created: rfc3339(server.created_ms),
            public_net: PublicNet {
                ipv4: address(server.ipv4).map(|(id, ip)| Ipv4 {
                    id,
                    ip,
                    blocked: false,
                    dns_ptr: format!("static.{ip}.local-cloud.example"),
                }),
                ipv6: address(server.ipv6).map(|(id, ip)| Ipv6 { id, ip, blocked: false, dns_ptr: [] }),
                floating_ips: [],
                firewalls: self
                    .project
                    .firewalls
                    .values()
                    .filter(|firewall| binds(firewall, server))
                    .map(|firewall| AppliedFirewall { id: firewall.id, status: "applied" })
                    .collect(),
            },
            private_net: [],
            server_type: self.catalog.server_types.get(server.server_type.as_str()).map(|raw| &**raw),
            image: self.image_view(server.image_id),
            location: self.catalog.locations.get(server.location.as_str()).map(|raw| &**raw),
            iso: None,
            rescue_enabled: false,
            locked: server.locked_by.is_some(),
            backup_window: None,
            outgoing_traffic: 0,
            ingoing_traffic: 0,
            included_traffic: 21_990_232_555_520,
            protection: Protection { delete: server.protected, rebuild: server.protected },
            labels: &server.labels,
            volumes: [],
            load_balancers: [],
            primary_disk_size: catalog::find_server_type(&server.server_type).map_or(0, |t| t.disk_gb),
            placement_group: None,
        }
    }

    pub(crate) fn image_view(&self, id: u64) -> Option<ImageView<'_>> {
        if let Some(raw) = self.catalog.images.get(&id) {
            return Some(ImageView::System(raw));
        }
        self.project.images.get(&id).map(|image| ImageView::Snapshot(snapshot_json(image)))
    }

    pub(crate) fn firewall_json(&self, firewall: &Firewall) -> Value {
        let direct = self
            .project
            .servers
            .values()
            .filter(|server| server.firewalls.contains(&firewall.id))
            .map(|server| json!({"type": "server", "server": {"id": server.id}}));
        let bound = firewall.selectors.iter().map(|selector| {
            let matching: Vec<Value> = Selector::parse(selector).map_or_else(Vec::new, |parsed| {
                self.project
                    .servers
                    .values()
                    .filter(|server| parsed.matches(&server.labels))
                    .map(|server| json!({"type": "server", "server": {"id": server.id}}))
                    .collect()
            });
            json!({"type": "label_selector", "label_selector": {"selector": selector}, "applied_to_resources": matching})
        });
        let applied_to: Vec<Value> = direct.chain(bound).collect();
        json!({
            "id": firewall.id, "name": firewall.name, "labels": firewall.labels, "created": rfc3339(firewall.created_ms),
            "rules": firewall.rules, "applied_to": applied_to,
        })
    }
}

/// Whether a firewall covers a server, by name or by label.
pub(crate) fn binds(firewall: &Firewall, server: &Server) -> bool {
    server.firewalls.contains(&firewall.id)
        || firewall
            .selectors
            .iter()
            .filter_map(|selector| Selector::parse(selector))
            .any(|selector| selector.matches(&server.labels))
}

pub(crate) fn action_json(action: &Action, now_ms: i64) -> Value {
    let status = match (&action.finished_ms, &action.error) {
        (None, _) => "running",
        (Some(_), None) => "success",
        (Some(_), Some(_)) => "error",
    };
    let progress = if action.finished_ms.is_some() {
        100
    } else {
        let whole = (action.due_ms - action.started_ms).max(1);
        ((now_ms - action.started_ms) * 100 / whole).clamp(0, 99)
    };
    let resources: Vec<Value> =
        action.resources.iter().map(|(kind, id)| json!({"id": id, "type": kind})).collect();
    json!({
        "id": action.id, "command": action.command, "status": status, "progress": progress,
        "started": rfc3339(action.started_ms), "finished": action.finished_ms.map(rfc3339), "resources": resources,
        "error": action.error.as_ref().map(|(code, message)| json!({"code": code, "message": message})),
    })
}

pub(crate) fn snapshot_json(image: &Snapshot) -> Value {
    let (status, size) = if image.available { ("available", json!(0.5)) } else { ("creating", Value::Null) };
    json!({
        "id": image.id, "type": "snapshot", "status": status, "name": null, "description": image.description,
        "image_size": size, "disk_size": f64::from(image.disk_gb), "created": rfc3339(image.created_ms),
        "created_from": {"id": image.created_from.0, "name": image.created_from.1}, "bound_to": null,
        "os_flavor": "unknown", "os_version": null, "rapid_deploy": false, "protection": {"delete": image.protected},
        "deprecated": null, "deleted": null, "labels": image.labels, "architecture": image.arch,
    })
}

pub(crate) fn primary_ip_json(cloud: &Cloud, ip: &PrimaryIp) -> Value {
    let location = cloud.catalog.locations.get(ip.location.as_str());
    let assignee_type = if ip.assignee.is_some() { "server" } else { "unassigned" };
    json!({
        "id": ip.id, "name": ip.name, "ip": ip.ip, "type": ip.kind, "labels": ip.labels, "assignee_id": ip.assignee,
        "assignee_type": assignee_type, "auto_delete": ip.auto_delete, "blocked": false,
        "created": rfc3339(ip.created_ms), "dns_ptr": [], "protection": {"delete": false}, "location": location,
    })
}

pub(crate) fn ssh_key_json(key: &SshKey) -> Value {
    json!({
        "id": key.id, "name": key.name, "public_key": key.public_key, "labels": key.labels,
        "fingerprint": super::ssh_keys::fingerprint(&key.public_key), "created": rfc3339(key.created_ms),
    })
}
