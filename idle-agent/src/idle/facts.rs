//! What one look at the machine shows: everything that the verdict rests on, and nothing that was concluded from it.
//!
//! `Idle` reads facts, `judge` judges them, `trace` writes them down. They hold no moment, which
//! belongs to the look, and nothing that people wrote but programs' arguments, which no trace keeps.

use crate::cloudcli::sessions::SessionList;
use crate::os::processes::Process;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// When each terminal last had input, by its name, in the file system's own time; compared, never read as a clock.
pub type Marks = BTreeMap<String, (i64, i64)>;

/// What was read in one look. What cannot be read is a fact as well: a sentence that is shown, compared and replayed, of
/// which nobody needs the cause.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// Whether the boot plan is through.
    pub ready: bool,
    /// Whose jobs count.
    pub user: Option<u32>,
    /// All processes, or why they cannot be read.
    pub processes: Result<Vec<Process>, String>,
    /// Processes that listen on a port, here or in a container's network.
    pub servers: BTreeSet<u32>,
    /// Of the processes that agents left behind those that watch files.
    pub watchers: BTreeSet<u32>,
    /// When each terminal last had input; absent where the machine has no terminals.
    pub terminals: Result<Option<Marks>, String>,
    /// Requests of people to pages so far.
    pub people: u64,
    /// What vouches for each agent.
    pub observations: Vec<AgentObservation>,
    /// What CloudCLI says of the sessions in it.
    pub cloudcli: SessionList,
}

/// What was read about one agent, or of a program in a terminal its connections.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AgentObservation {
    /// Its process: id and start.
    pub process: (u32, u64),
    /// Its connections; absent where they cannot be read.
    pub sockets: Option<Sockets>,
    /// A number that changes when its transcripts grow.
    pub grown: u64,
    /// What it says of itself in its session file.
    pub status: Option<SessionStatus>,
}

/// The connections that an agent opened.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sockets {
    /// How many there are.
    pub open: u32,
    /// Whether something was asked on one and nothing has come since.
    pub is_asked: bool,
    /// Bytes of content that came in so far on all of them.
    pub received_bytes: u64,
    /// The same that went out; zero in traces from before it was read.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub sent_bytes: u64,
}

fn is_zero(bytes: &u64) -> bool {
    *bytes == 0
}

/// What Claude Code says of a session in `sessions/{pid}.json`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum SessionStatus {
    /// In a turn.
    Busy,
    /// A shell runs in the background.
    Shell,
    /// At its prompt.
    Idle,
    /// For a person.
    Waiting,
}
