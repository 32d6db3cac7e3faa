//! Whether work goes on: processor time and storage traffic of agents and of people's jobs, pure over two samples.
//!
//! Each kind of processes has its own threshold, because one signal alone has kept dead workspaces awake and killed live
//! ones: agents and what they started; jobs of the workspace's user; servers, in containers too, whose own polling,
//! hot-reload watching and logging is no progress unless it is heavy; and what else is in containers. What may be either
//! work or not is told apart, and whoever judges bounds it. A single look never suffices but for an agent in its turn.

mod moving_average;

use crate::idle::process_kinds::{Kind, Part, Place, RunningAgent, agents, classify};
use crate::os::processes::Process;
use moving_average::{MovingAverage, Usage};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

// The shares and rates are those of the table in docs/reference/idle.md; what the traces showed that moved them
// stands beside each, and in "How well it judges" there. A change shows in `scripts/idle-report`.

/// Share of one core, in percent, that an agent's processes use while it works. A parked one repaints with 1-2 %.
const AGENT_PERCENT: u64 = 4;
/// Below this an agent that reports nothing, and has asked its model nothing for a while, is parked all the same: OpenCode
/// repaints with 3 to 5 % of a core, and after half an hour at its prompt with 6 %. Its trace at full length was kept
/// without end before.
const STIRS_PERCENT: u64 = 8;
/// Over which time that is judged: a parked one may use more within a second or two. One look of the usual timeout, so
/// that a single look suffices for an agent in its turn.
const AGENT_MILLIS: u64 = 10_000;
/// Over which time it is judged what lasts, in servers, containers, storage traffic of jobs and agents at their prompt:
/// what a timer or a visitor starts every few minutes is over sooner. Six looks of the usual timeout.
const LASTING_MILLIS: u64 = 60_000;
/// The same of all jobs together; several polling watchers stay below. What listens on nothing in a container, and a
/// command that an agent left, is measured by it too.
const JOB_PERCENT: u64 = 10;
/// Over how many looks jobs are remembered: five minutes with the usual timeout, at which `judge::every` looks every ten
/// seconds.
const JOB_LOOKS: u64 = 30;
/// So finely it is counted what is forgotten: a thirtieth of a few percent would be rounded to nothing.
const FINE: u64 = 100;
/// What jobs must have used within these, in percent of a core times looks: three looks at the least that counts. A
/// small job that a timer starts every few minutes stays below.
const JOB_LATELY: u64 = 3 * JOB_PERCENT;
/// What one look adds at most, in percent of a core: it takes two, however busy one is. A single busy look, at its most,
/// would otherwise reach `JOB_LATELY` alone, and a short job of a timer would keep the machine for ever.
const JOB_MOST: u64 = 2 * JOB_PERCENT;
/// What all servers together, or all containers, use where they certainly work: tests that run against a server, a build
/// in a daemon. So much, too, the helpers of an agent that is at its prompt.
const SERVER_PERCENT: u64 = 50;
/// From here on they may be work, and may be a server that polls for changes: counted within a bound (`background`).
const BUSY_SERVER_PERCENT: u64 = 25;
/// Storage traffic of an agent's processes, bytes a second: a transcript and edited files, not a log line now and then.
const AGENT_BYTES_PER_SEC: u64 = 3 << 10;
/// The same of all jobs together: a copy or a download.
const JOB_BYTES_PER_SEC: u64 = 256 << 10;
/// The same of all servers together; it counts within a bound (`background`).
const SERVER_BYTES_PER_SEC: u64 = 1 << 20;

/// What two samples show.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Progress {
    /// What works besides agents, in words; `None` where nothing does.
    pub works: Option<String>,
    /// What may be work and may be nobody's.
    pub may_work: Option<String>,
    /// Agents that are there, working or parked.
    pub agents: Vec<RunningAgent>,
}

/// The sample before, to take differences from.
#[derive(Debug, Clone, Default)]
pub struct Sampler {
    before: BTreeMap<(u32, u64), (u64, u64)>,
    primed: bool,
    /// What each agent has used lately, and each of its parts.
    agents: BTreeMap<u32, MovingAverage>,
    /// What all that each agent started has.
    started: BTreeMap<u32, MovingAverage>,
    parts: BTreeMap<(u32, Part), MovingAverage>,
    /// What jobs have used lately, in hundredths of a percent of a core times looks: each look a thirtieth is forgotten.
    jobs: u64,
    job_traffic: MovingAverage,
    servers: MovingAverage,
    contained: MovingAverage,
    containers: MovingAverage,
    each_server: BTreeMap<u32, MovingAverage>,
}

impl Sampler {
    /// Takes a sample; what it shows is about the time since the one before.
    pub fn sample(
        &mut self,
        processes: &[Process],
        servers: &BTreeSet<u32>,
        watchers: &BTreeSet<u32>,
        user: Option<u32>,
        passed: Duration,
    ) -> Progress {
        let kinds = classify(processes, servers, user);
        let used = self.used(processes, &kinds, passed);
        let busy = self.busy_servers(&used);
        let mut agents = if busy.is_empty() {
            agents(processes, &kinds, servers, watchers)
        } else {
            let serving = servers.difference(&busy).copied().collect();
            agents(processes, &classify(processes, &serving, user), &serving, watchers)
        };
        self.judge_agents(&mut agents, &used);
        // Every average takes each sample in, whichever of them decides.
        let jobs = used.sum(|kind| *kind == Kind::Job);
        let is_job = self.is_job(jobs, passed);
        let served = used.sum(|kind| matches!(kind, Kind::Server(..)));
        let serves = self.servers.lasting(served, passed, LASTING_MILLIS);
        let inside = used.sum(|kind| *kind == Kind::Contained);
        let contains = self.contained.lasting(inside, passed, LASTING_MILLIS);
        // Tests in one container against a database in another: together they are what certainly works.
        let all_inside = used.sum(|kind| matches!(kind, Kind::Contained | Kind::Server(_, Place::Container)));
        let containers = self.containers.lasting(all_inside, passed, LASTING_MILLIS);
        let works = if is_job {
            Some(format!("a job runs ({})", shown(jobs)))
        } else if serves.share >= SERVER_PERCENT {
            Some(format!("{} ({})", used.busiest_server(processes), shown(served)))
        } else if containers.share >= SERVER_PERCENT {
            Some(format!("a container works ({})", shown(all_inside)))
        } else {
            None
        };
        let may_work = if serves.share >= BUSY_SERVER_PERCENT || serves.rate >= SERVER_BYTES_PER_SEC {
            Some(format!("{} ({})", used.busiest_server(processes), shown(served)))
        } else if contains.share >= JOB_PERCENT || contains.rate >= JOB_BYTES_PER_SEC {
            Some(format!("a container works or polls ({})", shown(inside)))
        } else {
            None
        };
        Progress { works, may_work, agents }
    }

    /// What each kind of processes used since the sample before.
    fn used(&mut self, processes: &[Process], kinds: &[Kind], passed: Duration) -> Used {
        let mut by_kind: BTreeMap<Kind, (u64, u64)> = BTreeMap::new();
        let mut after = BTreeMap::new();
        for (process, kind) in processes.iter().zip(kinds) {
            let key = (process.pid, process.started);
            let now = (process.ticks, process.storage_bytes.unwrap_or(0));
            // A process that is new began from nothing; before the first sample nothing is known.
            let then = self.before.get(&key).copied().unwrap_or(if self.primed { (0, 0) } else { now });
            let sum = by_kind.entry(*kind).or_default();
            sum.0 += now.0.saturating_sub(then.0);
            sum.1 += now.1.saturating_sub(then.1);
            after.insert(key, now);
        }
        self.before = after;
        self.primed = true;
        Used { by_kind, passed }
    }

    /// Servers that use so much that they are rather commands: a test run with a server of its own.
    fn busy_servers(&mut self, used: &Used) -> BTreeSet<u32> {
        let before = std::mem::take(&mut self.each_server);
        for (kind, one) in &used.by_kind {
            let Kind::Server(pid, _) = kind else { continue };
            let now = Usage::of(*one, used.passed);
            follow(&before, &mut self.each_server, *pid, now, used.passed, LASTING_MILLIS);
        }
        let is_busy = |(_, mean): &(&u32, &MovingAverage)| mean.mean().share >= BUSY_SERVER_PERCENT;
        self.each_server.iter().filter(is_busy).map(|(pid, _)| *pid).collect()
    }

    /// Whether each agent works, only repaints, or has left something that lasts.
    fn judge_agents(&mut self, agents: &mut [RunningAgent], used: &Used) {
        let (before, before_started) = (std::mem::take(&mut self.agents), std::mem::take(&mut self.started));
        let before_parts = std::mem::take(&mut self.parts);
        for agent in agents {
            let pid = agent.pid;
            let whole = used.sum(|kind| matches!(kind, Kind::Agent(of, _) if *of == pid));
            let started =
                used.sum(|kind| matches!(kind, Kind::Agent(of, part) if *of == pid && *part != Part::Own));
            agent.uses = shown(whole);
            let whole = follow(&before, &mut self.agents, pid, whole, used.passed, AGENT_MILLIS);
            let started = follow(&before_started, &mut self.started, pid, started, used.passed, AGENT_MILLIS);
            agent.works = whole.share >= AGENT_PERCENT || whole.rate >= AGENT_BYTES_PER_SEC;
            // Traffic of its own alone may be a flush: Codex writes 50 to 100 kB at its prompt about once a minute.
            agent.only_stirs = whole.share < STIRS_PERCENT
                && started.share < AGENT_PERCENT
                && started.rate < AGENT_BYTES_PER_SEC;
            for part in [Part::Own, Part::Command, Part::Helper] {
                let now = used.sum(|kind| *kind == Kind::Agent(pid, part));
                let lasting =
                    follow(&before_parts, &mut self.parts, (pid, part), now, used.passed, LASTING_MILLIS);
                agent.is_lasting |= is_lasting(part, lasting);
            }
        }
    }

    /// Whether what all jobs together use is work.
    fn is_job(&mut self, jobs: Usage, passed: Duration) -> bool {
        self.jobs = self.jobs - self.jobs / JOB_LOOKS + jobs.share.min(JOB_MOST) * FINE;
        let is_lasting = self.jobs >= JOB_LATELY * FINE;
        let traffic = self.job_traffic.lasting(jobs, passed, LASTING_MILLIS).rate;
        (jobs.share >= JOB_PERCENT && is_lasting) || traffic >= JOB_BYTES_PER_SEC
    }
}

/// Whether a part of an agent uses so much for so long that it counts at its prompt, too.
fn is_lasting(part: Part, used: Usage) -> bool {
    let (percent, rate) = match part {
        // An agent at its prompt reads 30 MB of its own program again, all at once: of itself only the processor counts.
        Part::Own => (JOB_PERCENT, u64::MAX),
        // A build that it left is a job like a person's.
        Part::Command => (JOB_PERCENT, JOB_BYTES_PER_SEC),
        // Tool servers poll as other servers do.
        Part::Helper => (SERVER_PERCENT, JOB_BYTES_PER_SEC),
    };
    used.share >= percent || used.rate >= rate
}

/// Takes a sample into the average of one of many, of which those that are gone are forgotten.
fn follow<K: Ord + Copy>(
    before: &BTreeMap<K, MovingAverage>,
    after: &mut BTreeMap<K, MovingAverage>,
    key: K,
    now: Usage,
    passed: Duration,
    over_millis: u64,
) -> Usage {
    let mut mean = before.get(&key).copied().unwrap_or_default();
    let lasting = mean.lasting(now, passed, over_millis);
    after.insert(key, mean);
    lasting
}

/// Ticks and bytes of each kind of processes between two samples.
struct Used {
    by_kind: BTreeMap<Kind, (u64, u64)>,
    passed: Duration,
}

impl Used {
    fn sum(&self, is_of: impl Fn(&Kind) -> bool) -> Usage {
        let all = self.by_kind.iter().filter(|(kind, _)| is_of(kind)).map(|(_, used)| *used);
        Usage::of(all.fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1)), self.passed)
    }

    /// The servers in words, by the busiest of them.
    fn busiest_server(&self, processes: &[Process]) -> String {
        let servers = self.by_kind.iter().filter_map(|(kind, used)| match kind {
            Kind::Server(pid, _) => Some((*used, *pid)),
            Kind::Agent(..) | Kind::Contained | Kind::Job | Kind::Other => None,
        });
        let pid = servers.max().map(|(_, pid)| pid);
        let process = processes.iter().find(|process| Some(process.pid) == pid);
        format!("the server {} is busy", process.map_or("", |process| &process.comm))
    }
}

fn shown(used: Usage) -> String {
    format!("{} % of a core, {} kB/s", used.share, used.rate / 1000)
}

#[cfg(test)]
mod tests;
