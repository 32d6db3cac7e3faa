//! What tells one coding agent from another on a machine, in one table. To know another one, add it to
//! `ebbtide_api::Agent`, its row here, and a trace of it to `idle-report`.
//!
//! What an agent tells its hooks is `read::hook`; what its turns mean is `judge::turns`, the same for all.

use ebbtide_api::Agent;

/// What is known of one coding agent besides its name, which is also its program's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Profile {
    /// Where its transcripts grow.
    pub transcripts: Transcripts,
    /// Below the home directory, where `sessions/{pid}.json` says how a session stands.
    pub configuration: Option<&'static str>,
    /// What its own program is called where its shells run it in the place of others: these are commands of its, and no
    /// agents.
    pub embedded: &'static [&'static str],
}

/// Where transcripts grow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transcripts {
    /// In this directory below the home directory.
    BelowHome(&'static str),
    /// In this file where it was started, which is in the repository.
    WhereStarted(&'static str),
}

/// The row of an agent.
pub const fn profile(agent: Agent) -> Profile {
    match agent {
        Agent::Claude => Profile {
            configuration: Some(".claude"),
            embedded: &["ugrep", "bfs", "rg"],
            ..plain(Transcripts::BelowHome(".claude/projects"))
        },
        Agent::Codex => plain(Transcripts::BelowHome(".codex/sessions")),
        Agent::Gemini => plain(Transcripts::BelowHome(".gemini/tmp")),
        Agent::Aider => plain(Transcripts::WhereStarted(".aider.chat.history.md")),
        Agent::OpenCode => plain(Transcripts::BelowHome(".local/share/opencode")),
        Agent::CursorAgent => plain(Transcripts::BelowHome(".cursor/projects")),
    }
}

/// An agent that has transcripts, and says nothing else of itself.
const fn plain(transcripts: Transcripts) -> Profile {
    Profile { transcripts, configuration: None, embedded: &[] }
}
