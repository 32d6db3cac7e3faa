//! What one look at the machine shows: everything that the verdict rests on, and nothing that was concluded from it.
//!
//! `Idle` reads facts, `judge` judges them, `trace` writes them down. They hold no moment, which
//! belongs to the look, and nothing that people wrote but programs' arguments, which no trace keeps.

use super::judge::agent_activity::AgentObservation;
use super::read::terminal::Marks;
use crate::cloudcli::sessions;
use crate::os::processes::Process;
use std::collections::BTreeSet;

/// What was read in one look.
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
    pub cloudcli: sessions::SessionList,
}
