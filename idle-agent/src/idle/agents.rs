//! The coding agents that are recognised, in one table: to know another one, add its row here and a trace of it to
//! `idle-report`.
//!
//! What an agent tells its hooks is `read::hook`; what its turns mean is `judge::turns`, the same for all.

use ebbtide_api::Agent;

/// What is known of one coding agent.
#[derive(Debug, PartialEq, Eq)]
pub struct KnownAgent {
    /// What its program is called; it names the agent in the verdict and in traces, too.
    pub program: &'static str,
    /// Where its transcripts grow.
    pub transcripts: Transcripts,
    /// Below the home directory, where `sessions/{pid}.json` says how a session stands.
    pub configuration: Option<&'static str>,
    /// What its own program is called where its shells run it in the place of others: these are commands of its, and no
    /// agents.
    pub embedded: &'static [&'static str],
}

/// Where transcripts grow.
#[derive(Debug, PartialEq, Eq)]
pub enum Transcripts {
    /// In this directory below the home directory.
    BelowHome(&'static str),
    /// In this file where it was started, which is in the repository.
    WhereStarted(&'static str),
}

/// All of them.
pub const KNOWN_AGENTS: [KnownAgent; 6] = [
    KnownAgent {
        program: Agent::Claude.as_str(),
        transcripts: Transcripts::BelowHome(".claude/projects"),
        configuration: Some(".claude"),
        embedded: &["ugrep", "bfs", "rg"],
    },
    KnownAgent {
        program: Agent::Codex.as_str(),
        transcripts: Transcripts::BelowHome(".codex/sessions"),
        configuration: None,
        embedded: &[],
    },
    KnownAgent {
        program: Agent::Gemini.as_str(),
        transcripts: Transcripts::BelowHome(".gemini/tmp"),
        configuration: None,
        embedded: &[],
    },
    KnownAgent {
        program: Agent::Aider.as_str(),
        transcripts: Transcripts::WhereStarted(".aider.chat.history.md"),
        configuration: None,
        embedded: &[],
    },
    KnownAgent {
        program: Agent::OpenCode.as_str(),
        transcripts: Transcripts::BelowHome(".local/share/opencode"),
        configuration: None,
        embedded: &[],
    },
    KnownAgent {
        program: Agent::CursorAgent.as_str(),
        transcripts: Transcripts::BelowHome(".cursor/projects"),
        configuration: None,
        embedded: &[],
    },
];

/// The agent whose program is called so.
pub fn known(program: &str) -> Option<&'static KnownAgent> {
    KNOWN_AGENTS.iter().find(|agent| agent.program == program)
}
