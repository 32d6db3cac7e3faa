//! What each process is to the workspace: part of an agent, a server, in a container, somebody's job, or not its own.
//! Pure over one reading of all processes; how much they use is `judge::progress`.
//!
//! `programs` knows programs by their names, `background_watchers` which commands of an agent do nothing but watch.

pub mod background_watchers;
pub mod programs;

use crate::os::processes::Process;
use ebbtide_api::Agent;
use programs::{agent_of, is_helper, is_shell};
use std::collections::{BTreeMap, BTreeSet};

/// Daemons of the system under which containers run: what is in these is the workspace's, whoever its user is.
const CONTAINERS: [&str; 4] = ["containerd-shim", "dockerd", "buildkitd", "conmon"];
/// What carries terminals: it is busy when they repaint.
const CARRIERS: [&str; 6] = ["tmux: server", "tmux: client", "tmux", "sshd", "sshd-session", "screen"];
/// Most jobs at terminals whose connections are looked at.
const TERMINAL_JOBS: usize = 20;

/// What a process is to us.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Belongs to the agent with this process id, as this part of it.
    Agent(u32, Part),
    /// Belongs to the server with this process id.
    Server(u32, Place),
    /// In a container of the system, and belongs to no server.
    Contained,
    /// A job of the workspace's user.
    Job,
    /// Not the workspace's.
    Other,
}

/// Where a server is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// In the machine's own network.
    Here,
    /// In a container.
    Container,
}

/// What of an agent a process is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    /// The agent itself.
    Own,
    /// A command, and what it started.
    Command,
    /// What it started to talk to: language and tool servers.
    Helper,
}

/// An agent that is there, with all that it started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunningAgent {
    /// Its process, the topmost of its own.
    pub pid: u32,
    /// When that started, in ticks.
    pub started: u64,
    /// Whose it is.
    pub uid: u32,
    /// Which agent.
    pub name: Agent,
    /// Whether it used processor time or storage as one does that works.
    pub works: bool,
    /// Whether all that shows it is storage traffic and a little processor time of its own processes: one that is parked
    /// repaints, writes what is left, and flushes its databases every minute.
    pub only_stirs: bool,
    /// Whether it did so for long enough that it counts at its prompt, too: a build that it left, not a watcher.
    pub is_lasting: bool,
    /// What it used, in words.
    pub uses: String,
    /// Processes of the agent itself: a shim and its program.
    pub own: Vec<u32>,
    /// Processes that it started.
    pub children: Vec<Child>,
}

impl RunningAgent {
    /// What it started, shells left out: process ids and starts.
    pub fn programs(&self) -> impl Iterator<Item = (u32, u64)> {
        self.children.iter().filter(|child| !child.is_shell).map(|child| (child.pid, child.started))
    }
}

/// A process that an agent started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Child {
    /// Its id.
    pub pid: u32,
    /// When it started, in ticks.
    pub started: u64,
    /// Whether it or something that it started listens on a port and uses little.
    pub is_server: bool,
    /// Whether it is a shell.
    pub is_shell: bool,
    /// Whether it belongs to a command that does nothing but watch files, or watch and serve.
    pub is_watcher: bool,
    /// Whether it is a command, or the shell of one, rather than a helper. Shells put a single command in their place.
    pub is_command: bool,
}

/// The agents among these processes, with what belongs to each; none of them is known to work.
pub fn agents_among(processes: &[Process], servers: &BTreeSet<u32>, user: Option<u32>) -> Vec<RunningAgent> {
    if processes.iter().all(|process| agent_of(process).is_none()) {
        return Vec::new();
    }
    agents(processes, &classify(processes, servers, user), servers, &BTreeSet::new())
}

/// The processes that can be of use to the workspace, its containers' included: ids and starts.
pub fn of_workspace(processes: &[Process], user: Option<u32>) -> Vec<(u32, u64)> {
    let id = |process: &Process| (process.pid, process.started);
    if processes.iter().any(|process| CONTAINERS.contains(&process.comm.as_str())) {
        let kinds = classify(processes, &BTreeSet::new(), user);
        let own = processes.iter().zip(&kinds).filter(|(_, kind)| **kind != Kind::Other);
        return own.map(|(process, _)| id(process)).collect();
    }
    let own = processes.iter().filter(|process| process.has_terminal || Some(process.uid) == user);
    own.map(id).collect()
}

/// Programs in terminals that may wait for something elsewhere: no shells, no servers, nothing of an agent's.
pub fn terminal_jobs(processes: &[Process], servers: &BTreeSet<u32>, user: Option<u32>) -> Vec<(u32, u64)> {
    if !processes.iter().any(|process| process.has_terminal && !is_shell(process)) {
        return Vec::new();
    }
    let kinds = classify(processes, servers, user);
    let is_one = |(process, kind): &(&Process, &Kind)| {
        **kind == Kind::Job && process.has_terminal && !is_shell(process)
    };
    let jobs = processes.iter().zip(&kinds).filter(is_one);
    jobs.map(|(process, _)| (process.pid, process.started)).take(TERMINAL_JOBS).collect()
}

/// The agents with what belongs to each.
pub fn agents(
    processes: &[Process],
    kinds: &[Kind],
    servers: &BTreeSet<u32>,
    watchers: &BTreeSet<u32>,
) -> Vec<RunningAgent> {
    let by_pid: BTreeMap<u32, &Process> = processes.iter().map(|process| (process.pid, process)).collect();
    let is_top = |process: &Process, kind: &Kind| *kind == Kind::Agent(process.pid, Part::Own);
    let tops = processes.iter().zip(kinds).filter(|(process, kind)| is_top(process, kind));
    let mut agents: Vec<RunningAgent> = tops
        .filter_map(|(process, _)| {
            Some(RunningAgent {
                pid: process.pid,
                started: process.started,
                uid: process.uid,
                name: agent_of(process)?,
                works: false,
                only_stirs: false,
                is_lasting: false,
                uses: String::new(),
                own: Vec::new(),
                children: Vec::new(),
            })
        })
        .collect();
    if agents.is_empty() {
        return agents;
    }
    // What lies between an agent and a server that it started serves too: `npm run dev` listens through others.
    let mut serving = BTreeSet::new();
    for server in servers {
        let mut pid = *server;
        while let Some(process) = by_pid.get(&pid).filter(|process| agent_of(process).is_none()) {
            if !serving.insert(pid) || process.parent <= 1 {
                break;
            }
            pid = process.parent;
        }
    }
    let watching = background_watchers::watching(processes, servers, watchers);
    for (process, kind) in processes.iter().zip(kinds) {
        let Kind::Agent(top, part) = kind else { continue };
        let Some(agent) = agents.iter_mut().find(|agent| agent.pid == *top) else { continue };
        if *part == Part::Own {
            agent.own.push(process.pid);
        } else {
            agent.children.push(Child {
                pid: process.pid,
                started: process.started,
                is_shell: is_shell(process),
                is_server: serving.contains(&process.pid),
                is_watcher: watching.contains(&process.pid),
                is_command: !is_helper(process),
            });
        }
    }
    agents
}

/// The nearest of itself and its ancestors that is a server or an agent says what a process is.
pub fn classify(processes: &[Process], servers: &BTreeSet<u32>, user: Option<u32>) -> Vec<Kind> {
    let by_pid: BTreeMap<u32, Named<'_>> =
        processes.iter().map(|process| (process.pid, (process, agent_of(process)))).collect();
    let kind_of = |process: &Process| {
        let mut current = process;
        let mut below = None;
        let mut is_contained = false;
        let mut server = None;
        let place = |is_contained| if is_contained { Place::Container } else { Place::Here };
        // Longer chains than this are loops in a table that changed while it was read.
        for _ in 0..64 {
            // An agent that listens (for its editor, or as its own server) is still an agent.
            if let Some((_, Some(name))) = by_pid.get(&current.pid) {
                if let Some((pid, true)) = server {
                    return Kind::Server(pid, place(is_contained));
                }
                let part = match below {
                    None => Part::Own,
                    Some(child) if is_helper(child) => Part::Helper,
                    Some(_) => Part::Command,
                };
                // The topmost of several nested ones (a shim and its program) stands for all.
                return Kind::Agent(topmost_agent(current, *name, &by_pid), part);
            }
            let runs_containers = CONTAINERS.contains(&current.comm.as_str());
            // Who has a terminal below a server that has none works in a terminal that it serves: sshd, an editor's, CloudCLI.
            let is_given = process.has_terminal && !current.has_terminal;
            if !runs_containers && !is_given && servers.contains(&current.pid) {
                // The system's own servers are nobody's; those in containers are the workspace's.
                let is_own = Some(current.uid) == user || current.has_terminal;
                if server.is_none_or(|(_, is_below_own)| is_own && !is_below_own) {
                    server = Some((current.pid, is_own));
                }
            }
            is_contained |= runs_containers;
            match by_pid.get(&current.parent) {
                Some((parent, _)) if parent.pid != current.pid && parent.pid > 1 => {
                    below = Some(current);
                    current = parent;
                }
                _ => break,
            }
        }
        if let Some((pid, _)) = server.filter(|(_, is_own)| *is_own || is_contained) {
            return Kind::Server(pid, place(is_contained));
        }
        let is_carrier = CARRIERS.contains(&process.comm.as_str());
        if is_carrier {
            Kind::Other
        } else if is_contained {
            Kind::Contained
        } else if process.has_terminal || Some(process.uid) == user {
            Kind::Job
        } else {
            Kind::Other
        }
    };
    processes.iter().map(kind_of).collect()
}

/// A process, and which agent it is.
type Named<'a> = (&'a Process, Option<Agent>);

fn topmost_agent(process: &Process, name: Agent, by_pid: &BTreeMap<u32, Named<'_>>) -> u32 {
    let mut top = process;
    while let Some((parent, _)) =
        by_pid.get(&top.parent).filter(|(parent, other)| parent.pid < top.pid && *other == Some(name))
    {
        top = parent;
    }
    top.pid
}
