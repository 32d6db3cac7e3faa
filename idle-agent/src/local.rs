//! The machine's own command line talks to the daemon here: one line of JSON each way over a Unix socket that the
//! workspace's user may reach. It can ask, hold, release, report and ask for sleep; nothing else.

use crate::conductor::Event;
use crate::idle::hook::Hook;
use crate::idle::progress::agent_above;
use crate::sync::spawn;
use ebbtide_api::Duration;
use ebbtide_api::why::Why;
use ebbtide_api::workspace::Port;
use serde::{Deserialize, Serialize};
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::mpsc::{Sender, channel};

/// Longest line that is read.
const LINE_BYTES: u64 = 8 << 10;
/// How long either side waits for the other.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(10);

/// What may be asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "ask", rename_all = "snake_case")]
pub enum Asked {
    /// Why the machine is awake.
    Why,
    /// Which ports listen.
    Ports,
    /// Stay awake for so long.
    Hold {
        /// How long.
        length: Duration,
        /// Why.
        reason: String,
    },
    /// Stay awake while a process lives, so long at most.
    KeepAlive {
        /// Which.
        pid: u32,
        /// How long at most.
        length: Duration,
    },
    /// An agent reports to its hook.
    Hook {
        /// What.
        hook: Hook,
        /// Whose process, id and start; told by the kernel and never by the one who asks.
        #[serde(skip)]
        process: Option<(u32, u64)>,
    },
    /// Give one lease of the machine back, or all.
    Release {
        /// Which.
        id: Option<String>,
    },
    /// Back up and sleep.
    Sleep,
}

/// What is answered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "reply", content = "value", rename_all = "snake_case")]
pub enum Reply {
    /// Why the machine is awake.
    Why(Box<Why>),
    /// Ports that listen.
    Ports(Vec<Port>),
    /// A lease is taken.
    Held {
        /// Names it.
        id: String,
        /// For how long.
        length: Duration,
    },
    /// So many leases are over.
    Released {
        /// How many.
        released: usize,
    },
    /// A report was taken in.
    Heard,
    /// The control plane will be told that nothing keeps the machine awake.
    Sleeping,
    /// It cannot be done.
    Error(String),
}

/// Answers on the socket from now on.
///
/// # Errors
/// What the system says about the socket.
pub fn serve(socket: &Path, events: Sender<Event>) -> std::io::Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    let _ = std::fs::remove_file(socket);
    let listener = UnixListener::bind(socket)?;
    // The boot step that makes the user lets its group in.
    std::fs::set_permissions(socket, std::fs::Permissions::from_mode(0o600))?;
    spawn("local", move || {
        for connection in listener.incoming() {
            let served = connection.and_then(|connection| answer(connection, &events));
            if let Err(error) = served {
                tracing::debug!(%error, "a local command went away");
            }
        }
    })
}

fn answer(mut connection: UnixStream, events: &Sender<Event>) -> std::io::Result<()> {
    connection.set_read_timeout(Some(std::time::Duration::from_secs(1)))?;
    connection.set_write_timeout(Some(std::time::Duration::from_secs(1)))?;
    let mut line = String::new();
    BufReader::new((&connection).take(LINE_BYTES)).read_line(&mut line)?;
    let reply = match serde_json::from_str(&line) {
        Ok(mut asked) => {
            if let Asked::Hook { process, .. } = &mut asked {
                *process = agent_that_asks(&connection);
            }
            let (sender, reply) = channel();
            let gone = || Reply::Error("the agent is ending".to_owned());
            match events.send(Event::Local(asked, sender)) {
                Ok(()) => reply.recv_timeout(PATIENCE).unwrap_or_else(|_| gone()),
                Err(_) => gone(),
            }
        }
        Err(error) => Reply::Error(format!("not understood: {error}")),
    };
    serde_json::to_writer(&mut connection, &reply)?;
    connection.write_all(b"\n")
}

/// The agent to which the process at the other end belongs.
fn agent_that_asks(connection: &UnixStream) -> Option<(u32, u64)> {
    let peer = rustix::net::sockopt::socket_peercred(connection).ok()?;
    let pid = u32::try_from(peer.pid.as_raw_nonzero().get()).ok()?;
    agent_above(Path::new("/proc"), pid)
}

/// Asks the daemon.
///
/// # Errors
/// It does not run, or we may not reach it.
pub fn ask(socket: &Path, asked: &Asked) -> std::io::Result<Reply> {
    let mut connection = UnixStream::connect(socket)?;
    connection.set_read_timeout(Some(PATIENCE))?;
    let mut line = serde_json::to_vec(asked)?;
    line.push(b'\n');
    connection.write_all(&line)?;
    let mut reply = String::new();
    BufReader::new(connection).read_line(&mut reply)?;
    Ok(serde_json::from_str(&reply)?)
}
