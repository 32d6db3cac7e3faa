//! Ports that listen inside the workspace: found within a third of a second, told, and let through to.
//!
//! `diag` asks the kernel, `table` reads its text where it cannot be asked, `owner` finds the process, `probe` asks
//! whether it speaks HTTP (within TLS: `probe_tls`), within its time (`timed_stream`) and not too many at once (`probes`),
//! unless that would do harm (`fragile`), `watch` remembers (pure), `cut` ends connections that outlived the right to them.

pub mod cut;
pub mod diag;
mod fragile;
pub(crate) mod owner;
mod probe;
mod probe_tls;
mod probes;
pub(crate) mod table;
mod timed_stream;
mod watch;

use crate::access::{Access, Scheme, Upstream, url_of};
use crate::control_plane::status::{Status, Urgency};
use crate::os::clock::Moment;
use crate::os::mutex::{lock, spawn, write};
use diag::Diag;
use ebbtide_api::ports::Port;
use ebbtide_api::vm::IngressPlan;
use probe::Answer;
use probes::Probes;
use std::collections::BTreeSet;
use std::io::Read as _;
use std::path::Path;
use std::sync::mpsc::RecvTimeoutError;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use table::Listener;
use watch::Watch;

/// Between two looks: a third of the second that a port may take to answer at its URL.
const LOOK_EVERY: Duration = Duration::from_millis(300);
/// The same where looking is expensive.
const LONGEST_PAUSE: Duration = Duration::from_millis(700);
/// Most ports that a heartbeat names: it stays below the size that the control plane takes. All are let through to.
const PORTS_TOLD: usize = 200;
/// How long a port may take to answer the first question, and later ones.
const PATIENCE: Duration = Duration::from_millis(1500);
/// Never let through to: ssh and Caddy's default admin port. CloudCLI's answers at the workspace's own name alone, for which
/// the door sees.
const RESERVED: [u16; 2] = [22, 2019];

/// Process ids that listen on a port; the idle verdict treats a server's own stirring differently.
pub type Servers = Arc<Mutex<BTreeSet<u32>>>;

/// Watches ports until the process ends.
///
/// # Errors
/// What the system says about the thread.
pub fn watch(
    status: Arc<Status>,
    access: Arc<Access>,
    servers: Servers,
    plan: &IngressPlan,
) -> std::io::Result<()> {
    let url = plan.port_url_template.clone();
    let watch = Watch::new(RESERVED.into_iter().chain([plan.listen_port, 443]));
    spawn("ports", move || Loop { status, access, servers, url, watch, tables: Tables::new() }.run())
}

struct Loop {
    status: Arc<Status>,
    access: Arc<Access>,
    servers: Servers,
    url: String,
    watch: Watch,
    tables: Tables,
}

impl Loop {
    fn run(mut self) {
        let (mut probes, answers) = Probes::new(|listener| probe::ask(listener.reachable(), PATIENCE));
        loop {
            let mut news = self.look(&mut probes);
            let next = Moment::now().plus(self.tables.pause());
            loop {
                if std::mem::take(&mut news) {
                    self.publish();
                }
                match answers.recv_timeout(next.since(Moment::now())) {
                    Ok((listener, answer)) => {
                        probes.answered();
                        news = self.watch.answered(&listener, answer, Moment::now());
                    }
                    Err(RecvTimeoutError::Timeout) => break,
                    Err(RecvTimeoutError::Disconnected) => return,
                }
            }
        }
    }

    /// Looks once; true where there is something to tell.
    fn look(&mut self, probes: &mut Probes) -> bool {
        let listeners = match self.tables.read() {
            Ok(listeners) => listeners,
            Err(error) => {
                tracing::warn!(%error, "cannot read the table of sockets");
                return false;
            }
        };
        let mut seen = self.watch.see(&listeners, Moment::now());
        let mut news = seen.news;
        if !seen.seek.is_empty() {
            let inodes: Vec<u64> = seen.seek.iter().map(|listener| listener.inode).collect();
            let mut owners = owner::find(Path::new("/proc"), &inodes);
            for listener in &seen.seek {
                let found = self.watch.found(listener, owners.remove(&listener.inode).unwrap_or_default());
                news |= found.news;
                if found.ask {
                    seen.ask.push(*listener);
                }
            }
        }
        probes.keep(|listener| listeners.contains(listener));
        seen.ask.into_iter().for_each(|listener| probes.ask(listener));
        news
    }

    fn publish(&self) {
        let scheme = |known: &watch::Known| match known.answer? {
            Answer::Http => Some(Scheme::Http),
            Answer::Https => Some(Scheme::Https),
            Answer::Other | Answer::Nothing | Answer::NotAsked => None,
        };
        // A socket that no process here holds belongs to whoever runs the machine, not to the workspace.
        let own = || self.watch.ports().filter(|known| !known.owner.pids.is_empty());
        write(&self.access.door).upstreams =
            own().filter_map(|known| Some((known.listener.port, upstream(known, scheme(known)?)))).collect();
        *lock(&self.servers) =
            self.watch.ports().flat_map(|known| known.owner.pids.iter().copied()).collect();
        let ports = own()
            .take(PORTS_TOLD)
            .map(|known| Port {
                port: known.listener.port,
                process: known.owner.name.clone(),
                http: scheme(known).is_some(),
                https: scheme(known) == Some(Scheme::Https),
                url: scheme(known).map(|_| url_of(&self.url, known.listener.port)),
            })
            .collect();
        self.status.update(Urgency::Now, |facts| facts.ports = ports);
    }
}

fn upstream(known: &watch::Known, scheme: Scheme) -> Upstream {
    Upstream { address: known.listener.reachable(), scheme }
}

/// What listens, by the cheaper way that works here.
struct Tables {
    diag: Option<Diag>,
    text: String,
    /// How long the last look took.
    cost: Duration,
}

impl Tables {
    fn new() -> Self {
        let diag =
            Diag::open().inspect_err(|error| tracing::info!(%error, "reading /proc/net/tcp instead")).ok();
        Self { diag, text: String::new(), cost: Duration::ZERO }
    }

    /// How long to wait until the next look: longer where a look is expensive, yet within the second that a port may
    /// take.
    fn pause(&self) -> Duration {
        (self.cost * 400).clamp(LOOK_EVERY, LONGEST_PAUSE)
    }

    fn read(&mut self) -> std::io::Result<Vec<Listener>> {
        let begun = Instant::now();
        let listeners = self.read_cheaply();
        self.cost = begun.elapsed();
        listeners.map(table::one_per_port)
    }

    fn read_cheaply(&mut self) -> std::io::Result<Vec<Listener>> {
        if let Some(diag) = &mut self.diag {
            match diag.listeners() {
                Ok(listeners) => return Ok(listeners),
                Err(error) => {
                    tracing::warn!(%error, "reading /proc/net/tcp instead");
                    self.diag = None;
                }
            }
        }
        let mut listeners = Vec::new();
        for path in ["/proc/net/tcp", "/proc/net/tcp6"] {
            self.text.clear();
            // Opened anew each time: seeking in it fails on several 6.x kernels.
            match std::fs::File::open(path) {
                Ok(mut file) => {
                    file.read_to_string(&mut self.text)?;
                    listeners.extend(table::parse(&self.text));
                }
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        Ok(listeners)
    }
}
