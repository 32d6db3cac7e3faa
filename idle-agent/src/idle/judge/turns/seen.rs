//! What an agent looks like from outside, as far as its turns are concerned. Says nothing about what it means.
//! Filled by `agent_activity` from one look and the one before; `turns` judges it.

use crate::idle::judge::progress::Child;
use serde::{Deserialize, Serialize};

/// What an agent looks like from outside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AgentActivity {
    /// Its process.
    pub pid: u32,
    /// When that started, in ticks.
    pub started: u64,
    /// Which agent.
    pub name: String,
    /// It uses processor time or storage.
    pub works: bool,
    /// It only writes and repaints, itself.
    pub only_stirs: bool,
    /// It does so for long enough that it counts at its prompt, too.
    pub is_lasting: bool,
    /// Its transcript has grown.
    pub writes: bool,
    /// Its connections.
    pub line: ConnectionActivity,
    /// What it started.
    pub children: Vec<Child>,
    /// What it says of itself in its session file.
    pub status: Option<SessionStatus>,
}

/// The most that an agent's connections show.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConnectionActivity {
    /// There is none.
    Absent,
    /// It is open.
    Open,
    /// Something was asked and nothing has come since.
    Asked,
    /// A little comes in: part of an answer, or what a program at its prompt hears every few minutes.
    Trickling,
    /// Content comes in.
    Moving,
    /// It cannot be read.
    Unreadable,
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
