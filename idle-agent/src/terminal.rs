//! The terminal in the browser: the tmux session of the workspace's user, at a name of its own behind the door.
//!
//! Caddy passes on only what `access` lets through, to a Unix socket that is Caddy's alone: no process of the workspace can
//! open a terminal here. The page is ours, xterm.js draws it; one WebSocket carries one client of tmux (`session`). What is
//! typed counts as a person; what xterm.js answers to a program's question about the terminal does not.

mod exchange;
mod session;
mod tmux;

pub use tmux::{Tmux, TmuxError};

use crate::access::caddy;
use crate::os::listener;
use crate::os::mutex::{lock, spawn};
use exchange::Asked;
use session::Attached;
use std::collections::BTreeMap;
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

/// Threads that answer; a terminal that is open has one of its own.
const THREADS: usize = 4;
/// Terminals that may be open at once.
const MOST: usize = 32;

/// All terminals that are open in browsers.
#[derive(Debug)]
pub struct Terminals {
    tmux: Tmux,
    open: Mutex<BTreeMap<u64, Open>>,
    opened: AtomicU64,
    typed: AtomicU64,
}

/// One of them.
#[derive(Debug)]
struct Open {
    /// Wakes its thread when it is shut.
    line: UnixStream,
    /// Its pseudo-terminal, as `/dev/pts` names it.
    pts: String,
    /// Why it is to end, once it is.
    end: Option<End>,
}

/// Why a terminal is ended from here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// The last backup is being taken.
    Sleep,
    /// What let it in holds no longer.
    Revoked,
}

impl End {
    /// For the page, which shows it.
    fn words(self) -> &'static str {
        match self {
            Self::Sleep => "The workspace is going to sleep.",
            Self::Revoked => "Your access has ended. Open the terminal again from the workspace's page.",
        }
    }
}

impl Terminals {
    /// Nothing is open yet.
    pub fn new(tmux: Tmux) -> Self {
        Self { tmux, open: Mutex::default(), opened: AtomicU64::new(0), typed: AtomicU64::new(0) }
    }

    /// Answers Caddy on a Unix socket from now on.
    ///
    /// # Errors
    /// What the system says about the socket.
    pub fn serve(self: &Arc<Self>, socket: &Path) -> std::io::Result<()> {
        let listener = listener::bind(socket)?;
        caddy::hand_over(socket)?;
        let terminals = Arc::clone(self);
        listener::serve(listener, "terminal", THREADS, move |line| terminals.answer(line))
    }

    /// How often somebody typed or pointed, so far.
    pub fn typed(&self) -> u64 {
        self.typed.load(Ordering::Relaxed)
    }

    /// Pseudo-terminals whose input says nothing of a person: browsers answer questions on them by themselves.
    pub fn own_pts(&self) -> Vec<String> {
        lock(&self.open).values().map(|open| open.pts.clone()).collect()
    }

    /// Ends all that are open; their programs go on in tmux.
    pub fn end_all(&self, why: End) {
        for open in lock(&self.open).values_mut() {
            open.end = Some(why);
            // Its thread sees that, and says why. It may be gone already.
            let _ = open.line.shutdown(Shutdown::Read);
        }
    }

    fn answer(self: &Arc<Self>, mut line: UnixStream) -> std::io::Result<()> {
        match exchange::hear(&mut line)? {
            Asked::File(file) => exchange::send(&mut line, file),
            Asked::Nothing(status) => exchange::refuse(&mut line, status),
            Asked::Terminal { key, size, early } => {
                if lock(&self.open).len() >= MOST {
                    return exchange::refuse(&mut line, 503);
                }
                let attached = match self.tmux.attach(size) {
                    Ok(attached) => attached,
                    Err(error) => {
                        tracing::warn!(%error, "a terminal cannot be opened");
                        return exchange::refuse(&mut line, 500);
                    }
                };
                match exchange::accept(&mut line, &key) {
                    Ok(()) => self.keep(line, early, attached),
                    Err(error) => {
                        attached.end();
                        Err(error)
                    }
                }
            }
        }
    }

    /// Carries a terminal on a thread of its own, until it ends.
    fn keep(self: &Arc<Self>, line: UnixStream, early: Vec<u8>, attached: Attached) -> std::io::Result<()> {
        let id = self.opened.fetch_add(1, Ordering::Relaxed);
        let held = match line.try_clone() {
            Ok(held) => held,
            Err(error) => {
                attached.end();
                return Err(error);
            }
        };
        lock(&self.open).insert(id, Open { line: held, pts: attached.pts.clone(), end: None });
        let terminals = Arc::clone(self);
        let carried = spawn("terminal", move || {
            let ask = || lock(&terminals.open).get(&id).and_then(|open| open.end).map(End::words);
            let typed = || {
                terminals.typed.fetch_add(1, Ordering::Relaxed);
            };
            session::carry(line, early, attached, ask, typed);
            lock(&terminals.open).remove(&id);
        });
        if carried.is_err() {
            lock(&self.open).remove(&id);
        }
        carried
    }
}
