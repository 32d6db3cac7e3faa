//! The project's resources as they are stored. Fields are what the vendor knows; text for answers is made elsewhere.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{catalog::SoldOut, labels::Labels, page::Sortable};
use crate::model::effect::MachineFault;

/// Everything one Hetzner project holds.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Project {
    pub(crate) servers: BTreeMap<u64, Server>,
    pub(crate) actions: BTreeMap<u64, Action>,
    pub(crate) images: BTreeMap<u64, Snapshot>,
    pub(crate) primary_ips: BTreeMap<u64, PrimaryIp>,
    pub(crate) ssh_keys: BTreeMap<u64, SshKey>,
    pub(crate) firewalls: BTreeMap<u64, Firewall>,
    /// Servers that are gone, kept for the bill.
    pub(crate) ended: BTreeMap<u64, EndedServer>,
    pub(crate) sold_out: SoldOut,
    /// Sizes of which no new server is made at a location any more.
    #[serde(default)]
    pub(crate) withdrawn: SoldOut,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ServerStatus {
    Initializing,
    Starting,
    Running,
    Stopping,
    Off,
    Deleting,
}

impl ServerStatus {
    pub fn as_str(self) -> &'static str {
        match self {
            ServerStatus::Initializing => "initializing",
            ServerStatus::Starting => "starting",
            ServerStatus::Running => "running",
            ServerStatus::Stopping => "stopping",
            ServerStatus::Off => "off",
            ServerStatus::Deleting => "deleting",
        }
    }
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Server {
    pub id: u64,
    pub name: String,
    pub status: ServerStatus,
    pub created_ms: i64,
    pub labels: Labels,
    pub server_type: String,
    pub location: String,
    /// A system image or a snapshot.
    pub image_id: u64,
    pub user_data: Option<String>,
    pub ipv4: Option<u64>,
    pub ipv6: Option<u64>,
    pub protected: bool,
    /// The action that keeps others away.
    pub locked_by: Option<u64>,
    pub firewalls: Vec<u64>,
    /// Whether its processes should be running now.
    pub powered: bool,
    /// How often it was powered on.
    pub boots: u32,
    pub fault: Option<MachineFault>,
    /// When power or fault last changed; what the metrics show before that was a working machine.
    pub(crate) steady_since_ms: i64,
    /// The newest measured activity; without it a plausible one is made up.
    #[serde(skip)]
    pub(crate) samples: Vec<super::metrics::Sample>,
}

impl Server {
    /// Whether a healthy operating system runs on it, as far as its faults tell.
    pub fn is_alive(&self) -> bool {
        self.powered
            && !matches!(
                self.fault,
                Some(
                    MachineFault::NeverBoot
                        | MachineFault::Die
                        | MachineFault::Hang
                        | MachineFault::SwitchOff
                        | MachineFault::FailStarts
                )
            )
    }
}

/// What a deleted server cost.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct EndedServer {
    pub name: String,
    pub labels: Labels,
    pub server_type: String,
    pub created_ms: i64,
    pub deleted_ms: i64,
    pub boots: u32,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Action {
    pub id: u64,
    pub command: String,
    pub started_ms: i64,
    /// When it will be done, if it goes by the clock.
    pub due_ms: i64,
    pub finished_ms: Option<i64>,
    pub error: Option<(String, String)>,
    pub resources: Vec<(String, u64)>,
}

/// An image made from a server.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Snapshot {
    pub id: u64,
    pub description: String,
    pub labels: Labels,
    pub created_ms: i64,
    pub created_from: (u64, String),
    pub available: bool,
    pub disk_gb: u32,
    pub arch: String,
    pub protected: bool,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct PrimaryIp {
    pub id: u64,
    pub name: String,
    pub ip: String,
    /// `ipv4` or `ipv6`.
    pub kind: String,
    pub location: String,
    pub labels: Labels,
    pub assignee: Option<u64>,
    pub auto_delete: bool,
    pub created_ms: i64,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct SshKey {
    pub id: u64,
    pub name: String,
    pub public_key: String,
    pub labels: Labels,
    pub created_ms: i64,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Firewall {
    pub id: u64,
    pub name: String,
    pub labels: Labels,
    pub created_ms: i64,
    /// Checked on the way in, given back as they came.
    pub rules: Vec<Value>,
    /// Label selectors that bind it to servers; single servers name it themselves.
    pub selectors: Vec<String>,
}

macro_rules! sortable {
    ($($kind:ty => $name:ident),*) => {$(
        impl Sortable for $kind {
            fn id(&self) -> u64 { self.id }
            fn name(&self) -> &str { &self.$name }
            fn created_ms(&self) -> i64 { self.created_ms }
        }
    )*};
}

sortable!(Server => name, Snapshot => description, PrimaryIp => name, SshKey => name, Firewall => name);
