//! Ports that listen inside the workspace: found within a third of a second, told, and let through to.
//!
//! `table` reads the kernel's text, `owner` finds the process, `probe` asks whether it speaks HTTP, `watch` remembers
//! (pure). Nothing but a new listener costs more than reading two small files.

mod owner;
mod probe;
mod table;
mod watch;

use crate::access::Access;
use crate::board::{Board, Urgency};
use crate::clock::Moment;
use crate::sync::{lock, spawn};
use ebbtide_api::vm::IngressPlan;
use ebbtide_api::workspace::Port;
use probe::Answer;
use std::collections::BTreeSet;
use std::io::Read as _;
use std::path::Path;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use table::Listener;
use watch::Watch;

/// Between two looks: a third of the second that a port may take to answer at its URL.
const LOOK_EVERY: Duration = Duration::from_millis(300);
/// How long a port may take to answer the first question, and later ones.
const PATIENCE: Duration = Duration::from_millis(1500);
/// Never let through to: ssh, Caddy's default admin port, and CloudCLI's raw port.
const RESERVED: [u16; 3] = [22, 2019, 3001];

/// Process ids that listen on a port; the idle verdict treats a server's own stirring differently.
pub type Servers = Arc<Mutex<BTreeSet<u32>>>;

/// Watches ports until the process ends.
///
/// # Errors
/// What the system says about the thread.
pub fn watch(
    board: Arc<Board>,
    access: Arc<Access>,
    servers: Servers,
    plan: &IngressPlan,
) -> std::io::Result<()> {
    let url = plan.port_url_template.clone();
    let watch = Watch::new(RESERVED.into_iter().chain([plan.listen_port, 443]));
    spawn("ports", move || Loop { board, access, servers, url, watch, tables: Tables::default() }.run())
}

struct Loop {
    board: Arc<Board>,
    access: Arc<Access>,
    servers: Servers,
    url: String,
    watch: Watch,
    tables: Tables,
}

impl Loop {
    fn run(mut self) {
        let (sender, answers) = channel();
        loop {
            let mut news = self.look(&sender);
            let next = Moment::now().plus(LOOK_EVERY);
            loop {
                if std::mem::take(&mut news) {
                    self.publish();
                }
                match answers.recv_timeout(next.since(Moment::now())) {
                    Ok((listener, answer)) => news = self.watch.answered(&listener, answer, Moment::now()),
                    Err(RecvTimeoutError::Timeout) => break,
                    Err(RecvTimeoutError::Disconnected) => return,
                }
            }
        }
    }

    /// Looks once; true where there is something to tell.
    fn look(&mut self, answers: &Sender<(Listener, Answer)>) -> bool {
        let listeners = match self.tables.read() {
            Ok(listeners) => listeners,
            Err(error) => {
                tracing::warn!(%error, "cannot read the table of sockets");
                return false;
            }
        };
        let seen = self.watch.see(&listeners, Moment::now());
        // Asked before the owner is looked for: the answer is what somebody waits for.
        for listener in &seen.ask {
            let (listener, answers) = (*listener, answers.clone());
            let asked = spawn("probe", move || {
                // The agent ends when nobody hears the answer any more.
                let _ = answers.send((listener, probe::ask(listener.reachable(), PATIENCE)));
            });
            if let Err(error) = asked {
                tracing::warn!(%error, "cannot ask a port");
            }
        }
        if !seen.appeared.is_empty() {
            let inodes: Vec<u64> = seen.appeared.iter().map(|listener| listener.inode).collect();
            let mut owners = owner::find(Path::new("/proc"), &inodes);
            for listener in &seen.appeared {
                self.watch.found(listener, owners.remove(&listener.inode).unwrap_or_default());
            }
        }
        seen.vanished || !seen.appeared.is_empty()
    }

    fn publish(&self) {
        let is_http = |known: &&watch::Known| known.answer == Some(Answer::Http);
        lock(&self.access.door).upstreams = self
            .watch
            .ports()
            .filter(is_http)
            .map(|known| (known.listener.port, known.listener.reachable()))
            .collect();
        *lock(&self.servers) =
            self.watch.ports().flat_map(|known| known.owner.pids.iter().copied()).collect();
        let ports = self
            .watch
            .ports()
            .map(|known| Port {
                port: known.listener.port,
                process: known.owner.name.clone(),
                http: is_http(&known),
                url: is_http(&known).then(|| self.url.replace("{port}", &known.listener.port.to_string())),
            })
            .collect();
        self.board.update(Urgency::Now, |facts| facts.ports = ports);
    }
}

/// Reads the two tables into one buffer that is kept.
#[derive(Default)]
struct Tables {
    text: String,
}

impl Tables {
    fn read(&mut self) -> std::io::Result<Vec<Listener>> {
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
        Ok(table::one_per_port(listeners))
    }
}
