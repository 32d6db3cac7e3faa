//! The local cloud's own door (`/_sim`): what exists at the vendors, what was called, and how they misbehave.
//!
//! Reads with structs of its own: sharing them with the local cloud would let both be wrong together.

use crate::http::Http;
use anyhow::{Context, Result};
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Where the local cloud listens, as it says itself when it starts.
#[derive(Debug, Clone, Deserialize)]
pub struct Addresses {
    /// Base URL of Hetzner's API.
    pub hetzner: String,
    /// Base URL of Cloudflare's API.
    pub cloudflare: String,
    /// Base URL of `/_sim`.
    pub sim: String,
    /// The network's edge, where names of workspaces lead.
    pub edge: String,
    /// Id of the one zone.
    pub zone_id: String,
}

/// The local cloud, from outside.
#[derive(Debug, Clone)]
pub struct Cloud {
    http: Http,
    /// Where it listens.
    pub addresses: Addresses,
}

/// What exists at the vendors.
#[derive(Debug, Clone, Deserialize)]
pub struct Inventory {
    /// Every server that ever was.
    pub servers: Vec<Server>,
    /// Records in the zone.
    pub dns_records: Vec<Value>,
    /// Images made of servers.
    pub images: Vec<Value>,
    /// Addresses; one goes with its server.
    pub primary_ips: Vec<Value>,
    /// Ids of servers with a live process.
    pub machines: Vec<u64>,
}

/// A server in the inventory.
#[derive(Debug, Clone, Deserialize)]
pub struct Server {
    /// The vendor's id.
    pub id: u64,
    /// Its name.
    pub name: String,
    /// The vendor's status, or `deleted`.
    pub status: String,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Its size.
    pub server_type: String,
    /// Its address.
    pub ipv4: Option<String>,
    /// Hours that the vendor bills for it.
    pub billed_hours: u64,
    /// What they come to before tax, without the address, in millionths.
    pub billed_micros: u64,
}

impl Inventory {
    /// Servers that still bill.
    pub fn live(&self) -> Vec<&Server> {
        self.servers.iter().filter(|server| server.status != "deleted").collect()
    }

    /// Servers that a workspace ever had.
    pub fn of(&self, workspace: &str) -> Vec<&Server> {
        let ours =
            |server: &&Server| server.labels.get("ebbtide-workspace").is_some_and(|id| id == workspace);
        self.servers.iter().filter(ours).collect()
    }

    /// Servers of a workspace that still bill.
    pub fn live_of(&self, workspace: &str) -> Vec<&Server> {
        self.of(workspace).into_iter().filter(|server| server.status != "deleted").collect()
    }

    /// Names of the records of a workspace, sorted.
    pub fn names_of(&self, workspace: &str) -> Vec<String> {
        let names = self.dns_records.iter().filter_map(|record| record.get("name")?.as_str());
        let mut names: Vec<String> =
            names.filter(|name| name.contains(workspace)).map(str::to_owned).collect();
        names.sort();
        names
    }
}

impl Cloud {
    /// The local cloud at those addresses.
    pub fn new(addresses: Addresses) -> Self {
        Self { http: Http::default(), addresses }
    }

    fn call(&self, method: &str, path: &str, body: Option<&Value>, expected: u16) -> Result<Value> {
        let url = format!("{}{path}", self.addresses.sim);
        let text = body.map(|body| body.to_string().into_bytes());
        let answer =
            self.http.send(method, &url, &[("content-type", "application/json")], text.as_deref())?;
        Ok(answer.expect(expected).with_context(|| format!("{method} {url}"))?.json())
    }

    /// What exists now.
    ///
    /// # Errors
    /// Where the local cloud does not answer, as with all methods here.
    pub fn inventory(&self) -> Result<Inventory> {
        serde_json::from_value(self.call("GET", "/inventory", None, 200)?).context("reading the inventory")
    }

    /// Every call that the vendors got, oldest first.
    pub fn journal(&self) -> Result<Vec<Value>> {
        serde_json::from_value(self.call("GET", "/journal", None, 200)?).context("reading the journal")
    }

    /// Makes calls fail: `call` is `POST /servers` or the like, `fault` for example `{"kind":"landed_then_error"}`.
    pub fn fault(&self, provider: &str, call: &str, times: u32, fault: &Value) -> Result<()> {
        let (method, path) = call.split_once(' ').context("a call is a method and a path")?;
        let rule =
            json!({ "provider": provider, "method": method, "path": path, "times": times, "fault": fault });
        self.call("POST", "/faults", Some(&rule), 201).map(drop)
    }

    /// Ends all faults of calls.
    pub fn clear_faults(&self) -> Result<()> {
        self.call("DELETE", "/faults", None, 204).map(drop)
    }

    /// Does something to a machine: `hang`, `die`, `lose_network`, `restore_network`, `never_boot`.
    pub fn machine_fault(&self, server: u64, fault: &str) -> Result<()> {
        let path = format!("/machines/{server}/fault");
        self.call("POST", &path, Some(&json!({ "fault": fault })), 204).map(drop)
    }

    /// Puts a size on sale at a location, sells it out, or withdraws it.
    pub fn set_sale(&self, size: &str, location: &str, sale: Sale) -> Result<()> {
        let body = json!({ "server_type": size, "location": location, "sale": sale });
        self.call("POST", "/availability", Some(&body), 204).map(drop)
    }

    /// The user-data that a server was given.
    pub fn user_data(&self, server: u64) -> Result<String> {
        let url = format!("{}/servers/{server}/user-data", self.addresses.sim);
        Ok(self.http.send("GET", &url, &[], None)?.expect(200)?.text())
    }
}

/// Whether a size can be had.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Sale {
    /// It can.
    OnSale,
    /// It is sold out.
    SoldOut,
    /// No new one is made any more.
    Withdrawn,
}
