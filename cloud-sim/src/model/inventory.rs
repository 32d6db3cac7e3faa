//! What exists, and what it cost: the report behind `/_sim/inventory`, for people and for tests.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{
    Cloud,
    clock::{rfc3339, started_hours},
    effect::MachineFault,
    hetzner::catalog,
};

/// Everything that exists now, and every server that ever did.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Inventory {
    pub servers: Vec<ServerEntry>,
    pub dns_records: Vec<Value>,
    pub images: Vec<Value>,
    pub primary_ips: Vec<Value>,
    pub firewalls: Vec<Value>,
    pub ssh_keys: Vec<Value>,
    /// Servers that exist now.
    pub live_servers: usize,
    pub billed_hours: u64,
    /// In millionths of the currency, net.
    pub billed_micros: u64,
}

/// One server, live or gone, with its bill.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ServerEntry {
    pub id: u64,
    pub name: String,
    /// The vendor's status, or `deleted`.
    pub status: String,
    pub labels: std::collections::BTreeMap<String, String>,
    pub server_type: String,
    pub ipv4: Option<String>,
    pub created: String,
    pub created_ms: i64,
    /// When its deletion was accepted.
    pub deleted: Option<String>,
    pub deleted_ms: Option<i64>,
    pub boots: u32,
    pub fault: Option<MachineFault>,
    pub billed_hours: u64,
    pub billed_micros: u64,
}

impl Cloud {
    /// Lists what exists and what every server cost up to `now_ms`.
    pub fn inventory(&self, now_ms: i64) -> Inventory {
        let mut servers: Vec<ServerEntry> = self
            .project
            .ended
            .iter()
            .filter(|(id, _)| !self.project.servers.contains_key(id))
            .map(|(id, ended)| {
                let hours = started_hours(ended.created_ms, ended.deleted_ms);
                ServerEntry {
                    id: *id,
                    name: ended.name.clone(),
                    status: "deleted".to_owned(),
                    labels: ended.labels.clone(),
                    server_type: ended.server_type.clone(),
                    ipv4: None,
                    created: rfc3339(ended.created_ms),
                    created_ms: ended.created_ms,
                    deleted: Some(rfc3339(ended.deleted_ms)),
                    deleted_ms: Some(ended.deleted_ms),
                    boots: ended.boots,
                    fault: None,
                    billed_hours: hours,
                    billed_micros: hours * catalog::hourly_micros(&ended.server_type),
                }
            })
            .collect();
        servers.extend(self.project.servers.values().map(|server| {
            let deleted_ms = self.project.ended.get(&server.id).map(|ended| ended.deleted_ms);
            let hours = started_hours(server.created_ms, deleted_ms.unwrap_or(now_ms));
            ServerEntry {
                id: server.id,
                name: server.name.clone(),
                status: server.status.as_str().to_owned(),
                labels: server.labels.clone(),
                server_type: server.server_type.clone(),
                ipv4: self.server_ipv4(server.id).map(|ip| ip.to_string()),
                created: rfc3339(server.created_ms),
                created_ms: server.created_ms,
                deleted: deleted_ms.map(rfc3339),
                deleted_ms,
                boots: server.boots,
                fault: server.fault,
                billed_hours: hours,
                billed_micros: hours * catalog::hourly_micros(&server.server_type),
            }
        }));
        Inventory {
            live_servers: self.project.servers.len(),
            billed_hours: servers.iter().map(|server| server.billed_hours).sum(),
            billed_micros: servers.iter().map(|server| server.billed_micros).sum(),
            servers,
            dns_records: values(self.dns_records()),
            images: values(self.project.images.values()),
            primary_ips: values(self.project.primary_ips.values()),
            firewalls: values(self.project.firewalls.values()),
            ssh_keys: values(self.project.ssh_keys.values()),
        }
    }
}

fn values<T: Serialize>(items: impl Iterator<Item = T>) -> Vec<Value> {
    items.filter_map(|item| serde_json::to_value(item).ok()).collect()
}
