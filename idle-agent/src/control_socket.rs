//! The machine's own command line talks to the daemon here: one line of JSON each way over a Unix socket that the
//! workspace's user may reach. It can ask, hold, release, report and ask for sleep; nothing else.

use crate::idle::process_kinds::programs::agent_above;
use crate::idle::read::hook::Hook;
use crate::os::clock::Moment;
use crate::os::listener;
use ebbtide_api::Duration;
use ebbtide_api::ports::Port;
use ebbtide_api::vm::GitCredential;
use ebbtide_api::why::Why;
use serde::{Deserialize, Serialize};
use std::io::{BufRead as _, BufReader, ErrorKind, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::mpsc::{Sender, channel};
use std::time::Instant;

/// Longest line that is read.
const LINE_BYTES: usize = 8 << 10;
/// Connections that are answered at once. One that says nothing takes a thread for a [`TURN`], one whose answer the event
/// loop owes for longer; hooks of agents come beside both.
const THREADS: usize = 8;
/// How long one connection may take to say its line, and again to take the answer.
const TURN: std::time::Duration = std::time::Duration::from_secs(1);
/// How long either side waits for the other.
const ANSWER_TIMEOUT: std::time::Duration = std::time::Duration::from_secs(10);

/// What may be asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "ask", rename_all = "snake_case")]
pub enum Request {
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
    /// Record what the watch over activity sees.
    Trace(TraceCommand),
    /// Take a snapshot now.
    Snapshot,
    /// What git signs in with at a host.
    GitCredential {
        /// `https` or `http`.
        protocol: String,
        /// With its port, where git names one.
        host: String,
    },
    /// Back up and sleep.
    Sleep,
}

/// What is to be done about a recording.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TraceCommand {
    /// Begin one; an earlier one is lost.
    Start,
    /// Write into it where a scene is.
    Mark(String),
    /// End it.
    Stop,
    /// Hand over the one that goes on or ended last.
    Save,
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
    /// It is being recorded.
    Recording {
        /// The machine's moment of what was asked.
        at: Moment,
    },
    /// The recording has ended.
    Recorded {
        /// How long it became.
        bytes: u64,
    },
    /// A recording.
    Trace(String),
    /// A snapshot is taken.
    Snapshotting,
    /// A report was taken in.
    Heard,
    /// The control plane will be told that nothing keeps the machine awake.
    Sleeping,
    /// What git signs in with; nothing where the workspace has chosen nothing for the host.
    GitCredential(Option<GitCredential>),
    /// It cannot be done.
    Error(String),
}

/// Answers on the socket from now on: each request is handed to `hand_on`, with where its reply is awaited.
///
/// # Errors
/// What the system says about the socket.
pub fn serve(
    socket: &Path,
    hand_on: impl Fn(Request, Sender<Reply>) + Send + Sync + 'static,
) -> std::io::Result<()> {
    // The boot step that makes the user lets its group in.
    let listener = listener::bind(socket)?;
    listener::serve(listener, "local", THREADS, move |connection| answer(connection, &hand_on))
}

fn answer(mut connection: UnixStream, hand_on: &impl Fn(Request, Sender<Reply>)) -> std::io::Result<()> {
    let line = read_line(&mut connection, Instant::now() + TURN)?;
    let reply = match serde_json::from_slice(&line) {
        Ok(mut asked) => {
            if let Request::Hook { process, .. } = &mut asked {
                *process = agent_that_asks(&connection);
            }
            let (sender, reply) = channel();
            hand_on(asked, sender);
            // Where nobody takes it the sender is dropped, and nothing is waited for.
            reply
                .recv_timeout(ANSWER_TIMEOUT)
                .unwrap_or_else(|_| Reply::Error("the agent is ending".to_owned()))
        }
        Err(error) => Reply::Error(format!("not understood: {error}")),
    };
    let mut reply = serde_json::to_vec(&reply)?;
    reply.push(b'\n');
    // The kernel takes an answer whole, unless somebody does not read: it is then not repeated for the rest.
    connection.set_write_timeout(Some(TURN))?;
    match connection.write(&reply)? {
        written if written == reply.len() => Ok(()),
        _ => Err(ErrorKind::WriteZero.into()),
    }
}

/// Reads up to the end of a line or of what is said. The deadline is one for all of it: a byte now and then is no line.
fn read_line(connection: &mut UnixStream, deadline: Instant) -> std::io::Result<Vec<u8>> {
    let (mut line, mut part) = (Vec::new(), [0; 1024]);
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(ErrorKind::TimedOut.into());
        }
        connection.set_read_timeout(Some(left))?;
        let read = connection.read(&mut part)?;
        line.extend(part.iter().take(read));
        if read == 0 || line.contains(&b'\n') {
            return Ok(line);
        }
        if line.len() >= LINE_BYTES {
            return Err(ErrorKind::InvalidData.into());
        }
    }
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
pub fn ask(socket: &Path, asked: &Request) -> std::io::Result<Reply> {
    let mut connection = UnixStream::connect(socket)?;
    connection.set_read_timeout(Some(ANSWER_TIMEOUT))?;
    let mut line = serde_json::to_vec(asked)?;
    line.push(b'\n');
    connection.write_all(&line)?;
    let mut reply = String::new();
    BufReader::new(connection).read_line(&mut reply)?;
    Ok(serde_json::from_str(&reply)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn one_that_says_a_byte_now_and_then_is_not_waited_for() {
        let (mut ours, mut theirs) = UnixStream::pair().unwrap();
        let drip = std::thread::spawn(move || {
            let begun = Instant::now();
            // Ends when the other end is closed; bounded in case it never is.
            while theirs.write_all(b"x").is_ok() && begun.elapsed() < Duration::from_secs(30) {
                std::thread::yield_now();
                let _ = rustix::event::poll(
                    &mut [],
                    Some(&rustix::event::Timespec { tv_sec: 0, tv_nsec: 5_000_000 }),
                );
            }
            begun.elapsed()
        });
        let read = read_line(&mut ours, Instant::now() + Duration::from_millis(300));
        // The kernel says the second where the time is over within a read.
        assert!([ErrorKind::TimedOut, ErrorKind::WouldBlock].contains(&read.unwrap_err().kind()));
        drop(ours);
        assert!(drip.join().unwrap() < Duration::from_secs(30));
    }

    #[test]
    fn a_crowd_that_says_nothing_holds_up_nobody_for_long() {
        let dir = tempfile::tempdir().unwrap();
        let socket = dir.path().join("ebb.sock");
        serve(&socket, |_, reply| reply.send(Reply::Heard).unwrap()).unwrap();
        let silent: Vec<_> = (0..3 * THREADS).map(|_| UnixStream::connect(&socket).unwrap()).collect();
        assert_eq!(ask(&socket, &Request::Snapshot).unwrap(), Reply::Heard);
        drop(silent);
    }

    #[test]
    fn a_line_in_parts_is_read_and_one_without_end_is_not() {
        let soon = || Instant::now() + Duration::from_secs(30);
        let (mut ours, mut theirs) = UnixStream::pair().unwrap();
        theirs.write_all(b"{\"ask\":").unwrap();
        theirs.write_all(b"\"why\"}\nrest").unwrap();
        let line = read_line(&mut ours, soon()).unwrap();
        assert!(line.starts_with(b"{\"ask\":\"why\"}\n"), "{line:?}");
        theirs.write_all(&[b'x'; 2 * LINE_BYTES]).unwrap();
        assert_eq!(read_line(&mut ours, soon()).unwrap_err().kind(), ErrorKind::InvalidData);
    }
}
