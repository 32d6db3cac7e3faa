//! The coding agents that Ebbtide knows: their names as people type them and as processes show them.
//!
//! Where an agent is told apart from others (its directories, what it reports), the `match` is exhaustive, so that a
//! new agent here is decided everywhere. Programs that only look like one are told apart on the machine.

/// A coding agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Agent {
    /// Claude Code.
    Claude,
    /// OpenAI's Codex.
    Codex,
    /// Google's Gemini CLI.
    Gemini,
    /// Aider.
    Aider,
    /// OpenCode.
    OpenCode,
    /// Cursor's agent on the command line.
    CursorAgent,
}

impl Agent {
    /// All of them, for lists, documents and tests.
    pub const ALL: &[Self] =
        &[Self::Claude, Self::Codex, Self::Gemini, Self::Aider, Self::OpenCode, Self::CursorAgent];

    /// The command that starts it, which is also how recordings and reports name it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Claude => "claude",
            Self::Codex => "codex",
            Self::Gemini => "gemini",
            Self::Aider => "aider",
            Self::OpenCode => "opencode",
            Self::CursorAgent => "cursor-agent",
        }
    }

    /// Reads [`Agent::as_str`] back.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|agent| agent.as_str() == name)
    }
}

impl std::fmt::Display for Agent {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_names_are_pinned_because_recordings_hold_them() {
        let names: Vec<&str> = Agent::ALL.iter().map(|agent| agent.as_str()).collect();
        assert_eq!(names, ["claude", "codex", "gemini", "aider", "opencode", "cursor-agent"]);
        for agent in Agent::ALL {
            assert_eq!(Agent::parse(agent.as_str()), Some(*agent));
        }
        assert_eq!(Agent::parse("hal"), None);
    }
}
