//! Measures a running system from outside and says every figure with its target; `scripts/bench` runs it.
//!
//! A figure is measured, or says that it is derived and from what. A missed target is shown as missed. Nothing here is
//! asserted: figures depend on the machine and on what else it does.

mod backup;
mod clock;
mod day;
mod lives;
mod log;
mod ports;
mod processor;
pub mod report;
mod rest;
mod sweep;
mod watching;
mod worker;

use crate::api::Discard;
use crate::machine;
use crate::{Machines, Options, Stack, paths};
use anyhow::{Result, ensure};
pub use backup::{Kind as BackupSet, measure as measure_backups};
use clap::Parser;
use ebbtide_api::workspace::State;
use log::Log;
use report::Section;
use serde_json::json;
use std::path::PathBuf;
use std::time::Duration;

/// What is measured, and for how long.
#[derive(Debug, Clone, Parser)]
pub struct Plan {
    /// Lives of a workspace: spawn, sleep, wake, delete.
    #[arg(long, default_value_t = 5)]
    pub runs: usize,
    /// How long the idle-agent is watched at rest.
    #[arg(long, default_value_t = 300)]
    pub rest_secs: u64,
    /// Work in a workspace before it sleeps, in megabytes, beside the clone.
    #[arg(long, default_value_t = 32)]
    pub work_mb: usize,
    /// Size of each set of files whose backups are measured, in megabytes.
    #[arg(long, default_value_t = 200)]
    pub backup_mb: u64,
    /// Measures backups of these files alone.
    #[arg(long)]
    pub backup_set: Option<BackupSet>,
    /// How often each of these backups is measured.
    #[arg(long, default_value_t = 3)]
    pub backup_rounds: usize,
    /// Writes the tables into docs/evidence/benchmarks.md.
    #[arg(long)]
    pub write: bool,
    /// Measures this alone, and prints its table.
    #[arg(long)]
    pub only: Option<Only>,
}

impl Plan {
    /// What the figures depend on, as it is said on the command line.
    fn arguments(&self) -> String {
        let Self { runs, rest_secs, work_mb, backup_mb, backup_rounds, .. } = self;
        match self.only {
            Some(Only::Sweep) => "--only sweep".to_owned(),
            Some(Only::Processor) => "--only processor".to_owned(),
            Some(Only::IdleCost) => format!("--only idle-cost --rest-secs {rest_secs}"),
            Some(Only::Backup) => {
                format!("--only backup --backup-mb {backup_mb} --backup-rounds {backup_rounds}")
            }
            None => format!("--runs {runs} --rest-secs {rest_secs} --work-mb {work_mb}"),
        }
    }
}

/// What can be measured alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Only {
    /// The sweep over 10 000 workspaces, in a system of its own.
    Sweep,
    /// What calls about a repository take of the Worker's processor time, up to the quota, in a system of its own.
    Processor,
    /// What watching a busy machine costs, in a system of its own.
    IdleCost,
    /// Backups against stock restic and `tar | zstd | age`, in a system of its own.
    Backup,
}

/// A system under measurement.
pub struct Bench {
    stack: Stack,
    log: Log,
    work_mb: usize,
    say: fn(&str),
}

/// How often a machine sends a heartbeat in production.
const HEARTBEAT: Duration = Duration::from_secs(15);

/// Runs everything and says the tables.
///
/// # Errors
/// Where something cannot be measured; the system is taken down in any case.
pub fn run(plan: &Plan, say: fn(&str)) -> Result<String> {
    match plan.only {
        Some(Only::Sweep) => return Ok(sweep::run(say)?.render()),
        Some(Only::Processor) => return processor(plan, say),
        Some(Only::Backup) => return backups(plan, say),
        Some(Only::IdleCost) => return watching(plan, say),
        None => {}
    }
    let agent = paths::root().join("target/x86_64-unknown-linux-musl/release/ebb-agent");
    ensure!(agent.exists(), "{} is missing; run scripts/build release", agent.display());
    let before = Surroundings::now();
    let program = worker::program()?;
    let repositories = tempfile::Builder::new().prefix("ebbtide-repositories-").tempdir()?;
    machine::serve_this_repository(repositories.path())?;
    let stack = Stack::start(Options {
        name: "bench".into(),
        machines: Machines::Process,
        // Production but for one rule: lives of seconds would otherwise wait for a rule about minutes.
        policy: json!({ "gone_after_create": "1s", "heartbeat": format!("{}s", HEARTBEAT.as_secs()) }),
        repositories: Some(repositories.path().to_owned()),
        cron_every: Duration::from_secs(300),
        progress: say,
        ..Options::default()
    })?;
    stack.api.publish_agent(&agent)?;
    let log = Log::follow(&stack.log("worker"));
    let bench = Bench { stack, log, work_mb: plan.work_mb, say };
    let measured = bench.measure(plan, &agent, &program);
    if measured.is_err() {
        eprintln!("{}", bench.stack.last_words());
    }
    let Bench { stack, log, .. } = bench;
    drop(log);
    let stopped = stack.stop();
    let sections = measured?;
    stopped?;
    let mut text = before.render(plan, &Surroundings::now());
    sections.iter().for_each(|section| text += &section.render());
    Ok(text)
}

fn watching(plan: &Plan, say: fn(&str)) -> Result<String> {
    let before = Surroundings::now();
    let section = watching::run(Duration::from_secs(plan.rest_secs), say)?;
    Ok(before.render(plan, &Surroundings::now()) + &section.render())
}

fn processor(plan: &Plan, say: fn(&str)) -> Result<String> {
    let before = Surroundings::now();
    let section = processor::measure(say)?;
    Ok(before.render(plan, &Surroundings::now()) + &section.render())
}

fn backups(plan: &Plan, say: fn(&str)) -> Result<String> {
    let before = Surroundings::now();
    let sections = backup::run(plan.backup_mb, plan.backup_rounds, plan.backup_set, say)?;
    let mut text = before.render(plan, &Surroundings::now());
    sections.iter().for_each(|section| text += &section.render());
    Ok(text)
}

impl Bench {
    fn measure(
        &self,
        plan: &Plan,
        agent: &std::path::Path,
        program: &worker::Program,
    ) -> Result<Vec<Section>> {
        let lives = lives::run(self, plan.runs)?;
        (self.say)("a workspace for ports and rest");
        let id =
            self.stack.api.create(&json!({ "repo": "http://git.ebbtide.test/ebbtide.git" }))?.id.to_string();
        lives::settled(self, &id, State::Running)?;
        let inside = self.stack.machine_of(&id)?;
        let looks = worker::hold_open(self, &id)?;
        let ports = ports::run(self, &id, &inside)?;
        rest::prepare(self, &inside)?;
        (self.say)(&format!("{} s of rest", plan.rest_secs));
        let mut day = day::Day::begin(self);
        let rest = rest::run(&inside, agent, Duration::from_secs(plan.rest_secs), || day.look(self, &id))?;
        day.end(self);
        (self.say)("one snapshot of a small change");
        inside.shell("ebb", "head -c 1000000 /dev/urandom > /workspaces/ebbtide/small-change")?;
        day.count_snapshot(self, &id)?;
        self.stack.api.delete(&id, Discard::Work)?;
        self.stack.api.wait_for(&id, State::Deleted, lives::LIMIT)?;
        Ok(vec![
            lives.spawning(),
            lives.sleeping(),
            lives.waking(),
            ports::section(&ports),
            rest.section(),
            program.section(),
            worker::calls(&self.log, &lives, looks),
            day.section(HEARTBEAT, program.start.median)?,
        ])
    }
}

/// What a figure depends on beside the code.
struct Surroundings {
    load: String,
}

impl Surroundings {
    fn now() -> Self {
        let text = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
        Self { load: text.split_whitespace().take(3).collect::<Vec<_>>().join(" ") }
    }

    fn render(&self, plan: &Plan, after: &Self) -> String {
        let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
        let field = |text: &str, name: &str| -> String {
            let line = text.lines().find(|line| line.starts_with(name)).unwrap_or_default();
            line.split_once(':').map(|(_, value)| value.trim().to_owned()).unwrap_or_default()
        };
        let memory: u64 = field(&read("/proc/meminfo"), "MemTotal")
            .split(' ')
            .next()
            .and_then(|n| n.parse().ok())
            .unwrap_or(0);
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let date =
            crate::process::run("date", |date| date.args(["-u", "+%Y-%m-%d %H:%M UTC"])).unwrap_or_default();
        let git = |arguments: &[&str]| {
            crate::process::run("git", |git| git.arg("-C").arg(paths::root()).args(arguments))
                .unwrap_or_default()
        };
        let changed =
            if git(&["status", "--porcelain"]).is_empty() { "" } else { " with uncommitted changes" };
        format!(
            "Measured {date} on {cores} cores ({}), {} of memory, Linux {}. Commit {}{changed}, release builds of the idle-agent and \
             the Worker, unoptimised local cloud. Load of the machine before: {}; after: {} (1, 5, 15 minutes; this run's own work \
             included).\n\nCommand: `scripts/bench {} --write`.\n\n",
            field(&read("/proc/cpuinfo"), "model name"),
            crate::stats::bytes(memory * 1024),
            read("/proc/sys/kernel/osrelease").trim(),
            git(&["rev-parse", "--short", "HEAD"]),
            self.load,
            after.load,
            plan.arguments(),
        )
    }
}

impl Plan {
    /// Where its figures are published.
    pub fn document(&self) -> PathBuf {
        let page = match self.only {
            Some(Only::Processor) => "plan-budgets.md",
            None | Some(Only::Sweep | Only::IdleCost | Only::Backup) => "benchmarks.md",
        };
        paths::root().join("docs/evidence").join(page)
    }

    /// Which part of that document the figures replace.
    pub fn block(&self) -> report::Block {
        match self.only {
            None => report::Block::All,
            Some(Only::Sweep) => report::Block::Sweep,
            Some(Only::Processor) => report::Block::Processor,
            Some(Only::Backup) => report::Block::Backups,
            Some(Only::IdleCost) => report::Block::Watching,
        }
    }
}
