//! A machine that exists on paper: scripts move it through hours, and it shows what the idle-agent would have seen. It
//! knows what goes on, so the label of a stretch follows from the script and from nothing else.

mod turns;

use super::case::Case;
use ebbtide_api::vm::VmPolicy;
use ebbtide_idle_agent::idle::facts::Facts;
use ebbtide_idle_agent::idle::facts::SessionStatus;
use ebbtide_idle_agent::idle::facts::{AgentObservation, Sockets};
use ebbtide_idle_agent::idle::judge::every;
use ebbtide_idle_agent::idle::read::hook::Happened;
use ebbtide_idle_agent::idle::trace::{Entry, Header, Look, Source, Trace, TraceContext, is_held_out};
use ebbtide_idle_agent::os::clock::Moment;
use ebbtide_idle_agent::os::processes::Process;
use fastrand::Rng;
use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};

/// The durations that users get who choose nothing.
pub const POLICY: VmPolicy = VmPolicy {
    heartbeat_secs: 15,
    idle_timeout_secs: 1800,
    unknown_grace_secs: 600,
    waiting_for_human_secs: 7200,
    agent_silence_secs: 1800,
    background_secs: 7200,
    snapshot_every_secs: 900,
};
/// The workspace's user.
const USER: u32 = 1000;
/// Up for a quarter of an hour.
const BEGAN_MS: u64 = 900_000;

/// A process and what it uses from now on.
#[derive(Debug, Clone)]
struct Running {
    process: Process,
    /// Of a core, in thousandths.
    load: u64,
    bytes_per_sec: u64,
    /// Ticks that are not whole yet, in thousandths.
    rest: u64,
}

/// An agent as its witnesses see it.
#[derive(Debug, Clone, Default)]
struct Witnessed {
    sockets: Sockets,
    receives_per_sec: u64,
    writes: bool,
    grown: u64,
    status: Option<SessionStatus>,
}

/// The machine.
pub struct Scene {
    name: String,
    argument: String,
    at: u64,
    dice: Rng,
    next_pid: u32,
    processes: BTreeMap<u32, Running>,
    agents: BTreeMap<u32, Witnessed>,
    servers: BTreeSet<u32>,
    watchers: BTreeSet<u32>,
    terminals: BTreeMap<String, (i64, i64)>,
    people: u64,
    inbound: BTreeMap<u16, u32>,
    newest_file_secs: u64,
    /// Files of the workspaces change from now on.
    files_change: bool,
    blind: bool,
    entries: Vec<(Moment, Entry)>,
}

impl Scene {
    /// A machine that is ready, with what runs on every one.
    pub fn new(name: &str, argument: &str) -> Self {
        let mut hasher = DefaultHasher::new();
        name.hash(&mut hasher);
        let mut scene = Self {
            name: name.to_owned(),
            argument: argument.to_owned(),
            at: BEGAN_MS,
            dice: Rng::with_seed(hasher.finish()),
            next_pid: 300,
            processes: BTreeMap::new(),
            agents: BTreeMap::new(),
            servers: BTreeSet::new(),
            watchers: BTreeSet::new(),
            terminals: BTreeMap::new(),
            people: 0,
            inbound: BTreeMap::new(),
            newest_file_secs: BEGAN_MS / 1000 - 60,
            files_change: false,
            blind: false,
            entries: Vec::new(),
        };
        scene.entry(Entry::Policy(POLICY));
        scene.add(1, 0, "systemd", 0, false);
        for system in ["systemd-journal", "cron", "dbus-daemon", "sshd", "ebb-agent", "caddy"] {
            let pid = scene.add_next(1, system, 0, false);
            scene.load(pid, 2);
        }
        scene.spawn(1, "tmux: server");
        let cloudcli = scene.serve("MainThread");
        scene.load(cloudcli, 5);
        scene.pass(60);
        scene
    }

    fn entry(&mut self, entry: Entry) {
        self.entries.push((Moment(self.at), entry));
    }

    fn add(&mut self, pid: u32, parent: u32, comm: &str, uid: u32, has_terminal: bool) {
        let process = Process {
            pid,
            parent,
            comm: comm.chars().take(15).collect(),
            uid,
            has_terminal,
            started: self.at / 10,
            ticks: 0,
            storage_bytes: (uid == USER).then_some(0),
            arguments: Vec::new(),
        };
        self.processes.insert(pid, Running { process, load: 0, bytes_per_sec: 0, rest: 0 });
    }

    fn add_next(&mut self, parent: u32, comm: &str, uid: u32, has_terminal: bool) -> u32 {
        self.next_pid += 1;
        self.add(self.next_pid, parent, comm, uid, has_terminal);
        self.next_pid
    }

    /// Starts a program of the user's.
    pub fn spawn(&mut self, parent: u32, comm: &str) -> u32 {
        self.add_next(parent, comm, USER, false)
    }

    /// Starts a program of the system's.
    pub fn spawn_system(&mut self, parent: u32, comm: &str) -> u32 {
        self.add_next(parent, comm, 0, false)
    }

    /// Starts one that listens on a port.
    pub fn serve(&mut self, comm: &str) -> u32 {
        let pid = self.spawn(1, comm);
        self.listen(pid);
        pid
    }

    /// A process listens on a port from now on.
    pub fn listen(&mut self, pid: u32) {
        self.servers.insert(pid);
    }

    /// A process watches files from now on.
    pub fn watch_files(&mut self, pid: u32) {
        self.watchers.insert(pid);
    }

    /// A process was called with these arguments, its own name first.
    pub fn called_with(&mut self, pid: u32, arguments: &[&str]) {
        if let Some(running) = self.processes.get_mut(&pid) {
            running.process.arguments = arguments.iter().map(|text| (*text).to_owned()).collect();
        }
    }

    /// Opens a terminal with a shell in it.
    pub fn shell(&mut self) -> u32 {
        let name = self.terminals.len().to_string();
        self.terminals.insert(name, (self.wall(), 0));
        self.add_next(1, "bash", USER, true)
    }

    /// Starts an agent in a terminal; it stands at its prompt and repaints.
    pub fn agent(&mut self, name: &str) -> u32 {
        let shell = self.shell();
        let pid = self.add_next(shell, name, USER, true);
        self.load(pid, 12);
        let status = (name == "claude").then_some(SessionStatus::Idle);
        self.agents.insert(pid, Witnessed { status, ..Witnessed::default() });
        pid
    }

    /// Ends a process and what it started.
    pub fn end(&mut self, pid: u32) {
        self.processes.remove(&pid);
        self.servers.remove(&pid);
        self.watchers.remove(&pid);
        self.agents.remove(&pid);
        let children: Vec<u32> = self
            .processes
            .values()
            .filter(|one| one.process.parent == pid)
            .map(|one| one.process.pid)
            .collect();
        children.into_iter().for_each(|child| self.end(child));
    }

    /// A process uses so many thousandths of a core from now on.
    pub fn load(&mut self, pid: u32, thousandths: u64) {
        if let Some(running) = self.processes.get_mut(&pid) {
            running.load = thousandths;
        }
    }

    /// A process moves so many bytes a second to and from storage from now on.
    pub fn store(&mut self, pid: u32, bytes_per_sec: u64) {
        if let Some(running) = self.processes.get_mut(&pid) {
            running.bytes_per_sec = bytes_per_sec;
        }
    }

    /// Files of the workspaces change from now on, or do not.
    pub fn files(&mut self, change: bool) {
        self.files_change = change;
    }

    /// So many connections to a port from outside from now on.
    pub fn connect(&mut self, port: u16, count: u32) {
        self.inbound.insert(port, count);
    }

    /// An agent's model call from now on: asked, and so many bytes of answer a second.
    pub fn call(&mut self, agent: u32, receives_per_sec: u64) {
        if let Some(witnessed) = self.agents.get_mut(&agent) {
            witnessed.sockets.open = 1;
            witnessed.sockets.is_asked = receives_per_sec == 0;
            witnessed.receives_per_sec = receives_per_sec;
        }
    }

    /// The answer is there; the connection stays open for a while.
    pub fn answered(&mut self, agent: u32) {
        if let Some(witnessed) = self.agents.get_mut(&agent) {
            witnessed.sockets.is_asked = false;
            witnessed.receives_per_sec = 0;
        }
    }

    /// Its connections are closed.
    pub fn hang_up(&mut self, agent: u32) {
        if let Some(witnessed) = self.agents.get_mut(&agent) {
            (witnessed.sockets, witnessed.receives_per_sec) = (Sockets::default(), 0);
        }
    }

    /// An agent writes its transcript from now on, or does not.
    pub fn writes(&mut self, agent: u32, writes: bool) {
        if let Some(witnessed) = self.agents.get_mut(&agent) {
            witnessed.writes = writes;
        }
    }

    /// What an agent says of itself in its session file.
    pub fn says(&mut self, agent: u32, status: SessionStatus) {
        if let Some(witnessed) = self.agents.get_mut(&agent) {
            witnessed.status = Some(status);
        }
    }

    /// An agent reports to its hook.
    pub fn report(&mut self, agent: u32, happened: Happened) {
        if let Some(running) = self.processes.get(&agent) {
            let process = (agent, running.process.started);
            self.entry(Entry::Hook { process, session: format!("s{agent}"), happened });
        }
    }

    /// Somebody types in the first terminal.
    pub fn type_keys(&mut self) {
        let wall = self.wall();
        if let Some(mark) = self.terminals.values_mut().next() {
            *mark = (wall, i64::from(self.next_pid));
        }
    }

    /// Somebody opens a page of the workspace.
    pub fn open_page(&mut self) {
        self.people += 1;
    }

    /// `/proc` cannot be read from now on, or can again.
    pub fn blind(&mut self, blind: bool) {
        self.blind = blind;
    }

    /// Somebody holds the workspace.
    pub fn hold(&mut self, secs: u64) {
        self.entry(Entry::Hold { secs });
    }

    /// The idle-agent begins again.
    pub fn restart_agent(&mut self) {
        self.entry(Entry::Restarted);
    }

    /// The machine sleeps without anybody knowing: no look, no clock but the kernel's.
    pub fn suspend(&mut self, secs: u64) {
        self.at += secs * 1000;
    }

    /// From here on work goes on.
    pub fn must_stay(&mut self) {
        self.entry(Entry::Mark("must_stay".to_owned()));
    }

    /// From here on nothing goes on.
    pub fn must_sleep(&mut self) {
        self.entry(Entry::Mark("must_sleep".to_owned()));
    }

    /// From here on nothing is said about it.
    pub fn unlabelled(&mut self) {
        self.entry(Entry::Mark("unlabelled".to_owned()));
    }

    /// This stretch shows nothing for longer than the engine promises to wait.
    pub fn beyond(&mut self) {
        self.entry(Entry::Mark("beyond".to_owned()));
    }

    /// Nothing but the report just made tells of the work.
    pub fn told_once(&mut self) {
        self.entry(Entry::Mark("told-once".to_owned()));
    }

    /// A report was lost in this stretch.
    pub fn lost(&mut self) {
        self.entry(Entry::Mark("lost".to_owned()));
    }

    /// Time passes, with a look every ten seconds.
    pub fn pass(&mut self, secs: u64) {
        let step = every(&POLICY).as_secs();
        for _ in 0..secs.div_ceil(step) {
            self.at += step * 1000;
            self.run(step);
            let look = self.look();
            self.entry(Entry::Look(Box::new(look)));
        }
    }

    fn run(&mut self, secs: u64) {
        for running in self.processes.values_mut() {
            // A load is never even: half to one and a half of it.
            let used = running.load * secs * 100 * self.dice.u64(50..=150) / 100 + running.rest;
            running.process.ticks += used / 1000;
            running.rest = used % 1000;
            if let Some(bytes) = &mut running.process.storage_bytes {
                *bytes += running.bytes_per_sec * secs;
            }
        }
        for witnessed in self.agents.values_mut() {
            witnessed.sockets.received_bytes += witnessed.receives_per_sec * secs;
            witnessed.grown += u64::from(witnessed.writes);
        }
        if self.files_change {
            self.newest_file_secs = self.at / 1000;
        }
    }

    fn look(&self) -> Look {
        let observation = |(pid, witnessed): (&u32, &Witnessed)| {
            let started = self.processes.get(pid).map_or(0, |running| running.process.started);
            AgentObservation {
                process: (*pid, started),
                sockets: Some(witnessed.sockets),
                grown: witnessed.grown,
                status: witnessed.status,
            }
        };
        let unreadable = || "it cannot be read".to_owned();
        let processes = || self.processes.values().map(|running| running.process.clone()).collect();
        let facts = Facts {
            ready: true,
            user: Some(USER),
            processes: if self.blind { Err(unreadable()) } else { Ok(processes()) },
            servers: self.servers.clone(),
            watchers: self.watchers.clone(),
            terminals: Ok(Some(self.terminals.clone())),
            people: self.people,
            cloudcli: Default::default(),
            observations: if self.blind { Vec::new() } else { self.agents.iter().map(observation).collect() },
        };
        let context = TraceContext {
            newest_file_secs: Some(self.newest_file_secs),
            inbound: self.inbound.clone(),
            // CloudCLI's path names Claude.
            mention_agents: self.servers.iter().take(1).copied().collect(),
        };
        Look { facts, context }
    }

    fn wall(&self) -> i64 {
        1_790_000_000 + i64::try_from(self.at / 1000).unwrap_or(0)
    }

    /// The trace.
    ///
    /// # Panics
    /// The script makes no trace: it labels nothing.
    pub fn cut(self) -> Case {
        let header = Header {
            format: 1,
            held_out: is_held_out(&self.name),
            name: self.name.clone(),
            argument: self.argument,
            source: Source::Made,
            programs: BTreeMap::new(),
        };
        match Case::new(Trace { header: Some(header), entries: self.entries }) {
            Ok(case) => case,
            Err(error) => panic!("the script of {}: {error:#}", self.name),
        }
    }
}
