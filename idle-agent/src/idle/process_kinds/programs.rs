//! What programs are, by their names and arguments: agents (`ebbtide_api::agents`), what these start to talk to, shells. Pure but for the ancestors
//! of one process, which are read.

use crate::os::processes::{self, Process};
use ebbtide_api::Agent;
use std::path::Path;

/// Programs that run another program's script.
const INTERPRETERS: [&str; 5] = ["node", "MainThread", "python", "bun", "deno"];
/// Shells, through which agents run commands.
const SHELLS: [&str; 4] = ["bash", "sh", "zsh", "dash"];
/// Beginnings of the names of programs that an agent starts to talk to and that live as long as it does: language and
/// tool servers, and what runs these.
const HELPERS: [&str; 12] = [
    "npm",
    "npx",
    "uv",
    "java",
    "gopls",
    "clangd",
    "rust-analyzer",
    "pyright",
    "pylsp",
    "typescript-lang",
    "mcp",
    "lsp",
];

/// Arguments that say that a program goes on watching files. `-w` says so to `tsc` and something else to others.
const WATCHING: [&str; 6] = ["--watch", "watch", "--watchAll", "--watch-all", "--watch=true", "--continuous"];
/// Programs and scripts that do nothing else.
const WATCHERS: [&str; 7] =
    ["nodemon", "watchexec", "cargo-watch", "watchmedo", "ts-node-dev", "chokidar", "chokidar-cli"];
/// What watches a file to wait for something that it will say.
const FOLLOWERS: [&str; 4] = ["tail", "inotifywait", "fswatch", "entr"];
/// Programs and scripts that start others and wait for them.
const STARTERS: [&str; 15] = [
    "npm",
    "npx",
    "pnpm",
    "pnpx",
    "yarn",
    "make",
    "just",
    "env",
    "nice",
    "timeout",
    "concurrently",
    "npm-run-all",
    "run-p",
    "npm-cli",
    "npx-cli",
];

/// Whether a process is a shell.
pub fn is_shell(process: &Process) -> bool {
    SHELLS.contains(&process.comm.trim_start_matches('-'))
}

/// The agent that a process belongs to by its ancestors: process id and start of the topmost of the agent's own. One that
/// another agent put in the place of its shell is not that other one.
pub fn agent_above(proc: &Path, pid: u32) -> Option<(u32, u64)> {
    let (mut pid, mut found): (u32, Option<(Agent, u32, u64)>) = (pid, None);
    for _ in 0..32 {
        let process = processes::read_one(proc, pid)?;
        match (agent_of(&process), found) {
            (Some(name), None) => found = Some((name, process.pid, process.started)),
            (Some(name), Some((other, ..))) if name == other => {
                found = Some((name, process.pid, process.started));
            }
            (_, Some(_)) => break,
            (None, None) => {}
        }
        if process.parent <= 1 {
            break;
        }
        pid = process.parent;
    }
    found.map(|(_, pid, started)| (pid, started))
}

/// Whether an agent starts a process to talk to it, by its name, or by its script's and how it is told to talk.
pub fn is_helper(process: &Process) -> bool {
    let is_named = |name: &str| HELPERS.iter().any(|helper| name.starts_with(helper));
    let comm = stem(&process.comm);
    if SHELLS.contains(&comm) {
        return false;
    }
    let script = process.arguments.iter().skip(1).find(|argument| !argument.starts_with('-'));
    let script = script.map_or("", |script| stem(script));
    let is_server = ["mcp", "lsp", "language-server", "langserver"].iter().any(|part| script.contains(part));
    is_named(comm)
        || process.arguments.iter().any(|argument| argument == "--stdio")
        || is_server && INTERPRETERS.iter().any(|one| comm.starts_with(one))
}

/// Whether a process says by its arguments, or by its name, that it goes on watching files and does not end by itself.
/// One that waits for a single file, as `inotifywait` does, or follows one, as `tail -f`, says nothing of the kind.
pub fn says_it_watches(process: &Process) -> bool {
    if SHELLS.contains(&process.comm.trim_start_matches('-')) || FOLLOWERS.contains(&stem(&process.comm)) {
        return false;
    }
    let is_named = |name: &str| WATCHERS.contains(&stem(name));
    is_named(&process.comm)
        || script(process).is_some_and(is_named)
        || says_so(process.arguments.get(1..).unwrap_or_default())
        // As a trace says it.
        || process.arguments.first().is_some_and(|first| first == "--watch")
}

/// Whether one of these arguments says so, and the next does not take it back.
fn says_so(arguments: &[String]) -> bool {
    let nexts = arguments.iter().skip(1).map(String::as_str).chain([""]);
    arguments.iter().zip(nexts).any(|(one, next)| WATCHING.contains(&one.as_str()) && next != "false")
}

/// Whether a process does nothing but start others and wait for them, by its name or its script's.
pub fn is_starter(process: &Process) -> bool {
    let is_one = |name: &str| STARTERS.contains(&stem(name));
    // npm writes its command line there.
    let comm = process.comm.split(' ').next().unwrap_or_default();
    is_one(comm) || script(process).is_some_and(is_one)
}

/// What an interpreter runs.
fn script(process: &Process) -> Option<&str> {
    let is_interpreter = |name: &str| INTERPRETERS.iter().any(|one| stem(name).starts_with(one));
    let runs_one =
        is_interpreter(&process.comm) || process.arguments.first().is_some_and(|one| is_interpreter(one));
    let mut rest = process.arguments.iter().skip(1).filter(|argument| !argument.starts_with('-'));
    rest.next().filter(|_| runs_one).map(String::as_str)
}

/// Which agent a process is, by its name and arguments. Its name must be an agent's exactly: CloudCLI's server has
/// "claude" in its path only.
pub fn agent_of(process: &Process) -> Option<Agent> {
    let named = Agent::parse;
    let agent = |name: &str| named(stem(name));
    let first = process.arguments.first().map_or("", |first| stem(first));
    let comm = stem(&process.comm);
    if Agent::ALL.iter().any(|agent| agent.profile().embedded.contains(&first)) {
        return None;
    }
    if let Some(name) = named(comm).or_else(|| named(first)) {
        return Some(name);
    }
    let is_interpreter = |stem: &str| INTERPRETERS.iter().any(|one| stem.starts_with(one));
    if !is_interpreter(comm) && !is_interpreter(first) {
        return None;
    }
    let mut rest = process.arguments.iter().skip(1);
    match rest.find(|argument| !argument.starts_with('-') || *argument == "-m")?.as_str() {
        "-m" => agent(rest.next()?),
        script => agent(script),
    }
}

/// The last part of a path, without the endings that scripts and shims carry.
fn stem(path: &str) -> &str {
    let name = path.rsplit('/').next().unwrap_or(path);
    [".exe", ".js", ".mjs", ".cjs", ".py"].iter().find_map(|ending| name.strip_suffix(ending)).unwrap_or(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn program(comm: &str, arguments: &[&str]) -> Process {
        let arguments = arguments.iter().map(|argument| (*argument).to_owned()).collect();
        Process {
            pid: 20,
            parent: 1,
            comm: comm.to_owned(),
            uid: 1000,
            has_terminal: true,
            started: 7,
            ticks: 0,
            storage_bytes: None,
            arguments,
        }
    }

    #[test]
    fn every_known_agent_is_recognised_by_its_name_its_path_and_its_script() {
        for agent in Agent::ALL {
            let name = agent.as_str();
            let (path, script) = (format!("/usr/bin/{name}"), format!("/opt/{name}.js"));
            for process in [
                program(name, &[]),
                program("other", &[&path, "--resume"]),
                program("node", &["node", "--no-warnings", &script]),
            ] {
                assert_eq!(agent_of(&process), Some(*agent), "{process:?}");
            }
        }
    }

    #[test]
    fn what_carries_an_agents_name_without_being_one_is_none() {
        for process in [
            program("claude (ending)", &[]),
            program("node", &["node", "/srv/claude/server.js"]),
            program("claude", &["rg", "--json"]),
            program("bash", &["bash", "claude"]),
        ] {
            assert_eq!(agent_of(&process), None, "{process:?}");
        }
    }
}
