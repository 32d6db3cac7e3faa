//! Whether work goes on: processor time and storage traffic of agents and of people's jobs, pure over two samples.
//!
//! Three kinds of processes, each with its own threshold, because one signal alone has kept dead workspaces awake and
//! killed live ones: agents and what they started; jobs of the workspace's user; and servers, whose own polling,
//! hot-reload watching and logging is no progress unless it is heavy.

use super::process::{self, Process};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

/// Programs that are coding agents.
const AGENTS: [&str; 6] = ["claude", "codex", "gemini", "aider", "opencode", "cursor-agent"];
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
/// Daemons of the system under which containers run: what is in these is the workspace's, whoever its user is.
const CONTAINERS: [&str; 4] = ["containerd-shim", "dockerd", "buildkitd", "conmon"];
/// What carries terminals: it is busy when they repaint.
const CARRIERS: [&str; 5] = ["tmux: server", "tmux: client", "tmux", "sshd", "screen"];

/// Ticks a second in `/proc`; fixed by Linux towards programs.
const TICKS_PER_SEC: u64 = 100;
/// Share of one core, in percent, that an agent's processes use while it works. A parked one repaints with 1-2 %.
const AGENT_PERCENT: u64 = 4;
/// Over which time that is judged: a parked one may use more within a second or two.
const AGENT_MILLIS: u64 = 10_000;
/// The same of all jobs together; several polling watchers stay below.
const JOB_PERCENT: u64 = 10;
/// Over how many looks jobs are remembered: five minutes with the usual timeout.
const JOB_LOOKS: u64 = 30;
/// So finely it is counted what is forgotten.
const FINE: u64 = 100;
/// What jobs must have used within these, in percent of a core times looks: three looks at the least that counts. A
/// small job that a timer starts every few minutes stays below.
const JOB_LATELY: u64 = 3 * JOB_PERCENT;
/// The same of one server; a rebuild or a load passes, polling for changes does not.
const SERVER_PERCENT: u64 = 50;
/// Storage traffic of an agent's processes, bytes a second: a transcript and edited files, not a log line now and then.
const AGENT_BYTES_PER_SEC: u64 = 3 << 10;
/// The same of all jobs together: a copy or a download.
const JOB_BYTES_PER_SEC: u64 = 256 << 10;

/// What a process is to us.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    /// Belongs to the agent with this process id.
    Agent(u32),
    /// Belongs to the server with this process id.
    Server(u32),
    Job,
    /// Not the workspace's.
    Other,
}

/// What two samples show.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Progress {
    /// What works, in words; `None` where nothing does.
    pub works: Option<String>,
    /// Agents that are there, working or parked.
    pub agents: Vec<Agent>,
}

/// An agent that is there, with all that it started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Agent {
    /// Its process, the topmost of its own.
    pub pid: u32,
    /// When that started, in ticks.
    pub started: u64,
    /// Whose it is.
    pub uid: u32,
    /// Which agent.
    pub name: &'static str,
    /// Whether it used processor time or storage as one does that works.
    pub works: bool,
    /// Processes of the agent itself: a shim and its program.
    pub own: Vec<u32>,
    /// Processes that it started.
    pub children: Vec<Child>,
}

/// A process that an agent started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Child {
    /// When it started, in ticks.
    pub started: u64,
    /// Whether something that it started listens on a port; what listens itself is a server, and no child.
    pub is_server: bool,
    /// Whether it is a command, or the shell of one, rather than a helper. Shells put a single command in their place.
    pub is_command: bool,
}

/// The sample before, to take differences from.
#[derive(Debug, Clone, Default)]
pub struct Sampler {
    before: BTreeMap<(u32, u64), (u64, u64)>,
    primed: bool,
    /// What each agent has used lately: hundredths of a percent of a core, and of a byte a second.
    agents: BTreeMap<u32, (u64, u64)>,
    /// What jobs have used lately, in hundredths of a percent of a core times looks: each look a thirtieth is forgotten.
    jobs: u64,
}

impl Sampler {
    /// Takes a sample; what it shows is about the time since the one before.
    pub fn sample(
        &mut self,
        processes: &[Process],
        servers: &BTreeSet<u32>,
        user: Option<u32>,
        passed: Duration,
    ) -> Progress {
        let kinds = classify(processes, servers, user);
        let mut used: BTreeMap<Kind, (u64, u64)> = BTreeMap::new();
        let mut after = BTreeMap::new();
        for (process, kind) in processes.iter().zip(&kinds) {
            let key = (process.pid, process.started);
            let now = (process.ticks, process.storage_bytes.unwrap_or(0));
            // A process that is new began from nothing; before the first sample nothing is known.
            let then = self.before.get(&key).copied().unwrap_or(if self.primed { (0, 0) } else { now });
            let sum = used.entry(*kind).or_default();
            sum.0 += now.0.saturating_sub(then.0);
            sum.1 += now.1.saturating_sub(then.1);
            after.insert(key, now);
        }
        self.before = after;
        self.primed = true;
        let named = |pid: u32| processes.iter().find(|process| process.pid == pid);
        let mut agents = agents(processes, &kinds, servers);
        let mut lately = BTreeMap::new();
        for agent in &mut agents {
            let (ticks, bytes) = used.get(&Kind::Agent(agent.pid)).copied().unwrap_or_default();
            let now = (percent_of_core(ticks, passed), per_second(bytes, passed));
            let before = self.agents.get(&agent.pid).copied().unwrap_or_default();
            let smooth = |before, now| smoothed(before, now * FINE, passed);
            let mean = (smooth(before.0, now.0), smooth(before.1, now.1));
            lately.insert(agent.pid, mean);
            agent.works = is_agents_work(now.0.min(mean.0 / FINE), now.1.min(mean.1 / FINE));
        }
        self.agents = lately;
        let (ticks, _) = used.get(&Kind::Job).copied().unwrap_or_default();
        self.jobs = self.jobs - self.jobs / JOB_LOOKS + percent_of_core(ticks, passed).min(100) * FINE;
        let is_lasting = self.jobs >= JOB_LATELY * FINE;
        let works = used.iter().find_map(|(kind, (ticks, bytes))| {
            let share = percent_of_core(*ticks, passed);
            let rate = per_second(*bytes, passed);
            let what = match kind {
                Kind::Agent(pid) if agents.iter().any(|agent| agent.pid == *pid && agent.works) => {
                    format!("{} works", named(*pid).and_then(agent_name).unwrap_or("an agent"))
                }
                Kind::Job if (share >= JOB_PERCENT && is_lasting) || rate >= JOB_BYTES_PER_SEC => {
                    "a job runs".to_owned()
                }
                Kind::Server(pid) if share >= SERVER_PERCENT => {
                    format!("the server {} is busy", named(*pid).map_or("", |process| &process.comm))
                }
                Kind::Agent(_) | Kind::Job | Kind::Server(_) | Kind::Other => return None,
            };
            Some(format!("{what} ({share} % of a core, {} kB/s)", rate / 1000))
        });
        Progress { works, agents }
    }
}

/// The agents among these processes, with what belongs to each; none of them is known to work.
pub fn agents_among(processes: &[Process], servers: &BTreeSet<u32>, user: Option<u32>) -> Vec<Agent> {
    if processes.iter().all(|process| agent_name(process).is_none()) {
        return Vec::new();
    }
    agents(processes, &classify(processes, servers, user), servers)
}

/// A mean over the last [`AGENT_MILLIS`], of samples that may be shorter.
fn smoothed(before: u64, now: u64, passed: Duration) -> u64 {
    let millis = u64::try_from(passed.as_millis()).unwrap_or(u64::MAX).min(AGENT_MILLIS);
    (before.saturating_mul(AGENT_MILLIS - millis) + now.saturating_mul(millis)) / AGENT_MILLIS
}

fn is_agents_work(share: u64, rate: u64) -> bool {
    share >= AGENT_PERCENT || rate >= AGENT_BYTES_PER_SEC
}

/// The agents with what belongs to each.
fn agents(processes: &[Process], kinds: &[Kind], servers: &BTreeSet<u32>) -> Vec<Agent> {
    let by_pid: BTreeMap<u32, &Process> = processes.iter().map(|process| (process.pid, process)).collect();
    let tops = processes.iter().zip(kinds).filter(|(process, kind)| **kind == Kind::Agent(process.pid));
    let mut agents: Vec<Agent> = tops
        .map(|(process, _)| Agent {
            pid: process.pid,
            started: process.started,
            uid: process.uid,
            name: agent_name(process).unwrap_or("agent"),
            works: false,
            own: Vec::new(),
            children: Vec::new(),
        })
        .collect();
    if agents.is_empty() {
        return agents;
    }
    // What lies between an agent and a server that it started serves too: `npm run dev` listens through others.
    let mut serving = BTreeSet::new();
    for server in servers {
        let mut pid = *server;
        while let Some(process) = by_pid.get(&pid).filter(|process| agent_name(process).is_none()) {
            if !serving.insert(pid) || process.parent <= 1 {
                break;
            }
            pid = process.parent;
        }
    }
    for (process, kind) in processes.iter().zip(kinds) {
        let Kind::Agent(top) = kind else { continue };
        let Some(agent) = agents.iter_mut().find(|agent| agent.pid == *top) else { continue };
        if agent_name(process).is_some() {
            agent.own.push(process.pid);
        } else {
            agent.children.push(Child {
                started: process.started,
                is_server: serving.contains(&process.pid),
                is_command: !is_helper(process),
            });
        }
    }
    agents
}

/// The agent that a process belongs to by its ancestors: process id and start of the topmost of the agent's own.
pub fn agent_above(proc: &Path, pid: u32) -> Option<(u32, u64)> {
    let (mut pid, mut found) = (pid, None);
    for _ in 0..32 {
        let process = process::read_one(proc, pid)?;
        match (agent_name(&process), found) {
            (Some(_), _) => found = Some((process.pid, process.started)),
            (None, Some(_)) => break,
            (None, None) => {}
        }
        if process.parent <= 1 {
            break;
        }
        pid = process.parent;
    }
    found
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

fn percent_of_core(ticks: u64, passed: Duration) -> u64 {
    let millis = u64::try_from(passed.as_millis()).unwrap_or(u64::MAX).max(1);
    ticks.saturating_mul(1000 / TICKS_PER_SEC * 100) / millis
}

fn per_second(bytes: u64, passed: Duration) -> u64 {
    let millis = u64::try_from(passed.as_millis()).unwrap_or(u64::MAX).max(1);
    bytes.saturating_mul(1000) / millis
}

/// The nearest of itself and its ancestors that is a server or an agent says what a process is.
fn classify(processes: &[Process], servers: &BTreeSet<u32>, user: Option<u32>) -> Vec<Kind> {
    let by_pid: BTreeMap<u32, (&Process, bool)> =
        processes.iter().map(|process| (process.pid, (process, agent_name(process).is_some()))).collect();
    let kind_of = |process: &Process| {
        let mut current = process;
        let mut is_contained = false;
        // Longer chains than this are loops in a table that changed while it was read.
        for _ in 0..64 {
            // An agent that listens (for its editor, or as its own server) is still an agent.
            if by_pid.get(&current.pid).is_some_and(|(_, is_agent)| *is_agent) {
                // The topmost of several nested ones (a shim and its program) stands for all.
                return Kind::Agent(topmost_agent(current, &by_pid));
            }
            if servers.contains(&current.pid) && (Some(current.uid) == user || current.has_terminal) {
                return Kind::Server(current.pid);
            }
            is_contained |= CONTAINERS.contains(&current.comm.as_str());
            match by_pid.get(&current.parent) {
                Some((parent, _)) if parent.pid != current.pid && parent.pid > 1 => current = parent,
                _ => break,
            }
        }
        let is_carrier = CARRIERS.contains(&process.comm.as_str());
        if !is_carrier && (process.has_terminal || is_contained || Some(process.uid) == user) {
            Kind::Job
        } else {
            Kind::Other
        }
    };
    processes.iter().map(kind_of).collect()
}

fn topmost_agent(process: &Process, by_pid: &BTreeMap<u32, (&Process, bool)>) -> u32 {
    let mut top = process;
    while let Some((parent, _)) =
        by_pid.get(&top.parent).filter(|(parent, is_agent)| parent.pid < top.pid && *is_agent)
    {
        top = parent;
    }
    top.pid
}

/// Which agent a process is, by its name and arguments. Its name must be an agent's exactly: CloudCLI's server has
/// "claude" in its path only.
pub fn agent_name(process: &Process) -> Option<&'static str> {
    let named = |stem: &str| AGENTS.into_iter().find(|agent| *agent == stem);
    let agent = |name: &str| named(stem(name));
    let first = process.arguments.first().map_or("", |first| stem(first));
    let comm = stem(&process.comm);
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
mod tests;
