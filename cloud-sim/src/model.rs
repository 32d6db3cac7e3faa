//! The local cloud as a pure, deterministic model: `apply(request, now) -> (response, effects)`.
//!
//! No I/O, no clock, no randomness but a seeded counter. The HTTP façade puts it behind sockets; a simulation
//! drives it in memory, thousands of lifecycles a second. It knows nothing of whoever calls it.

mod answer;
pub mod bucket;
pub(crate) mod clock;
pub mod cloudflare;
mod config;
pub mod effect;
pub mod faults;
pub mod hetzner;
mod inventory;
mod resolve;
pub mod wire;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use bucket::Bucket;
pub use bucket::Budget;
pub use cloudflare::{DnsRecord, Zone};
pub use config::{ActionTimes, Config, Mode};
pub use effect::{Effect, MachineFault};
pub use faults::{ActiveRule, CapacityShape, FaultKind, Faults, Rule};
pub use hetzner::{Activity, EndedServer, PrimaryIp, Sale, Server, ServerStatus, Snapshot};
pub use inventory::{Inventory, ServerEntry};
pub use wire::{Delivery, Provider, Request, Response};

/// What pending work does when its time has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(tag = "next", rename_all = "snake_case")]
pub(crate) enum Next {
    ServerBuilt { server_id: u64, start: bool },
    ServerStarted { server_id: u64 },
    ServerOff { server_id: u64 },
    ServerGone { server_id: u64 },
    ImageDone { image_id: u64 },
    Nothing,
    Failed,
}

/// Work that waits for its time; ordered by it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct Pending {
    due_ms: i64,
    seq: u64,
    action: Option<u64>,
    next: Next,
}

/// Both vendors, with everything they hold.
#[derive(Clone, Serialize, Deserialize)]
pub struct Cloud {
    #[serde(skip)]
    config: Config,
    #[serde(skip)]
    catalog: hetzner::catalog::Catalog,
    #[serde(skip)]
    hetzner_bucket: Bucket,
    #[serde(skip)]
    cloudflare_bucket: Bucket,
    #[serde(skip)]
    effects: Vec<Effect>,
    #[serde(skip)]
    fault_of_next_server: Option<MachineFault>,
    #[serde(skip)]
    now_ms: i64,
    /// Grows with every change of state.
    version: u64,
    last_id: u64,
    next_ip: u32,
    /// Rolls of the seeded dice so far.
    rolls: u64,
    project: hetzner::Project,
    zones: BTreeMap<String, Zone>,
    pending: BTreeSet<Pending>,
    faults: Faults,
}

impl Cloud {
    /// An empty cloud with one zone.
    pub fn new(config: Config) -> Self {
        let mut cloud = Self {
            catalog: hetzner::catalog::Catalog::default(),
            hetzner_bucket: Bucket::default(),
            cloudflare_bucket: Bucket::default(),
            effects: Vec::new(),
            fault_of_next_server: None,
            now_ms: 0,
            version: 0,
            last_id: 1_000_000,
            next_ip: 0,
            rolls: 0,
            project: hetzner::Project::default(),
            zones: BTreeMap::new(),
            pending: BTreeSet::new(),
            faults: Faults::default(),
            config,
        };
        cloud.add_zone();
        cloud
    }

    /// Takes up a persisted cloud under a new configuration.
    ///
    /// # Errors
    /// Where the text is not what `serde_json` wrote of a cloud.
    pub fn restore(config: Config, state: &[u8]) -> Result<Self, serde_json::Error> {
        let mut cloud: Self = serde_json::from_slice(state)?;
        cloud.config = config;
        cloud.catalog = hetzner::catalog::Catalog::render(&cloud.project);
        cloud.add_zone();
        Ok(cloud)
    }

    /// Answers one API call. In `Mode::Auto` whatever is due is completed first.
    pub fn apply(&mut self, request: &Request, now_ms: i64) -> (Response, Vec<Effect>) {
        self.move_time(now_ms);
        let response = match request.target() {
            Some((provider, path)) => self.answer(request, provider, path, now_ms),
            None => hetzner::refused(404, "not_found", "no vendor answers here"),
        };
        (response, std::mem::take(&mut self.effects))
    }

    /// Completes what is due. Does nothing in `Mode::Step`.
    pub fn advance(&mut self, now_ms: i64) -> Vec<Effect> {
        self.move_time(now_ms);
        std::mem::take(&mut self.effects)
    }

    /// Completes the next piece of pending work, due or not; says whether there was one.
    pub fn step(&mut self, now_ms: i64) -> (bool, Vec<Effect>) {
        self.now_ms = self.now_ms.max(now_ms);
        let next = self.pending.pop_first();
        if let Some(pending) = next {
            self.version += 1;
            self.complete(pending, now_ms);
        }
        (next.is_some(), std::mem::take(&mut self.effects))
    }

    /// When something is due next, if time moves this cloud at all.
    pub fn next_due_ms(&self) -> Option<i64> {
        match self.config.mode {
            Mode::Auto => self.pending.first().map(|pending| pending.due_ms),
            Mode::Step => None,
        }
    }

    /// Pieces of work that wait for their time.
    pub fn pending_count(&self) -> usize {
        self.pending.len()
    }

    /// Makes a machine misbehave, or recover; says whether there is such a server (one being deleted is none).
    pub fn machine_fault(&mut self, server_id: u64, fault: MachineFault) -> (bool, Vec<Effect>) {
        let server = self.project.servers.get_mut(&server_id);
        let Some(server) = server.filter(|server| server.status != ServerStatus::Deleting) else {
            return (false, Vec::new());
        };
        server.steady_since_ms = self.now_ms;
        server.fault = Some(fault).filter(|fault| *fault != MachineFault::RestoreNetwork);
        self.version += 1;
        if fault == MachineFault::SwitchOff {
            self.power_off(server_id);
        } else {
            self.effects.push(Effect::MachineFault { server_id, fault });
        }
        (true, std::mem::take(&mut self.effects))
    }

    /// The rules that make the vendors misbehave.
    pub fn faults(&self) -> &Faults {
        &self.faults
    }

    pub fn faults_mut(&mut self) -> &mut Faults {
        self.version += 1;
        &mut self.faults
    }

    /// Grows with every change that persistence must keep.
    pub fn version(&self) -> u64 {
        self.version
    }

    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Servers that exist, the ones being deleted included.
    pub fn servers(&self) -> impl Iterator<Item = &Server> {
        self.project.servers.values()
    }

    pub fn server(&self, id: u64) -> Option<&Server> {
        self.project.servers.get(&id)
    }

    /// A server's public IPv4 address.
    pub fn server_ipv4(&self, id: u64) -> Option<std::net::Ipv4Addr> {
        let ip = self.project.servers.get(&id)?.ipv4?;
        self.project.primary_ips.get(&ip)?.ip.parse().ok()
    }

    /// The snapshot a server was made from, if it was not a system image.
    pub fn server_snapshot(&self, id: u64) -> Option<u64> {
        let image = self.project.servers.get(&id)?.image_id;
        (!self.catalog.images.contains_key(&image)).then_some(image)
    }

    /// Servers whose deletion was accepted at or after a moment.
    pub fn ended_since(&self, since_ms: i64) -> impl Iterator<Item = u64> {
        let ended = self.project.ended.iter();
        ended.filter(move |(_, server)| server.deleted_ms >= since_ms).map(|(id, _)| *id)
    }

    pub fn snapshots(&self) -> impl Iterator<Item = &Snapshot> {
        self.project.images.values()
    }

    pub fn primary_ips(&self) -> impl Iterator<Item = &PrimaryIp> {
        self.project.primary_ips.values()
    }

    pub fn dns_records(&self) -> impl Iterator<Item = &DnsRecord> {
        self.zones.values().flat_map(|zone| zone.records.values())
    }

    /// Ends every server at once, as if each had been deleted and was gone: the machines were destroyed from outside.
    pub fn end_all_servers(&mut self, now_ms: i64) {
        let ids: Vec<u64> = self.project.servers.keys().copied().collect();
        for id in ids {
            self.end_server(id, now_ms);
        }
        self.pending.clear();
        self.effects.clear();
        self.version += 1;
    }

    fn move_time(&mut self, now_ms: i64) {
        self.now_ms = self.now_ms.max(now_ms);
        if self.config.mode == Mode::Step {
            return;
        }
        while let Some(pending) = self.pending.first().copied().filter(|p| p.due_ms <= now_ms) {
            self.pending.remove(&pending);
            self.version += 1;
            self.complete(pending, pending.due_ms);
        }
    }

    fn new_id(&mut self) -> u64 {
        self.last_id += 1;
        self.last_id
    }

    /// Thirty-two hexadecimal digits, different each time, the same for the same seed.
    fn token(&mut self) -> String {
        self.rolls += 1;
        let high = mix(self.config.seed ^ mix(self.rolls));
        format!("{high:016x}{:016x}", mix(high))
    }
}

/// The vendors' tokens stay out of debug output.
impl std::fmt::Debug for Cloud {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cloud")
            .field("version", &self.version)
            .field("servers", &self.project.servers.len())
            .field("pending", &self.pending.len())
            .finish_non_exhaustive()
    }
}

/// One round of splitmix64: a number in, an unrelated-looking one out.
fn mix(n: u64) -> u64 {
    let z = n.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
