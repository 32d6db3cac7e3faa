//! The idle-agent while nothing happens on a machine full of processes: memory, processor, size.

use super::Bench;
use super::clock::pause;
use super::report::{Section, verdict};
use crate::machine::Machine;
use crate::stats::bytes;
use anyhow::{Context, Result};
use std::path::Path;
use std::time::{Duration, Instant};

/// Processes that do nothing.
pub const PROCESSES: u32 = 300;
/// What it may hold, in megabytes.
const RSS_MOST: f64 = 15.0;
/// What it may take of a core, in percent.
const CPU_MOST: f64 = 0.3;
/// Time for what the boot left running to end.
const SETTLE: Duration = Duration::from_secs(45);

/// What was measured.
#[derive(Debug, Default)]
pub struct Rest {
    /// How long was watched.
    pub span: Duration,
    resident: u64,
    proportional: u64,
    anonymous: u64,
    threads: usize,
    /// Nanoseconds on a processor, of its threads.
    ran_ns: u64,
    /// The same in ticks of 10 ms, of it and of children that ended.
    ticks: u64,
    processes: usize,
    size: u64,
    caddy_resident: u64,
}

/// Fills the machine with processes and waits until it is quiet.
///
/// # Errors
/// Where they cannot be started.
pub fn prepare(bench: &Bench, inside: &Machine) -> Result<()> {
    (bench.say)(&format!("{PROCESSES} processes, then rest"));
    let text = format!("for i in $(seq {PROCESSES}); do setsid sleep infinity >/dev/null 2>&1 & done");
    inside.shell("ebb", &text)?;
    pause(SETTLE);
    Ok(())
}

/// Watches the idle-agent for a while, in which `meanwhile` is called about once a second.
///
/// # Errors
/// Where it cannot be read, or ends.
pub fn run(
    inside: &Machine,
    agent: &Path,
    span: Duration,
    mut meanwhile: impl FnMut() -> Result<()>,
) -> Result<Rest> {
    let pid = *inside.pids_of("ebb-agent").first().context("no idle-agent runs")?;
    let (ran, ticks, begun) = (ran_ns(pid)?, ticks(pid)?, Instant::now());
    while begun.elapsed() < span {
        crate::interrupt::check()?;
        meanwhile()?;
        pause(Duration::from_secs(1));
    }
    let watched = begun.elapsed();
    let rollup = memory(pid)?;
    let caddy = inside.pids_of("caddy").first().map(|pid| memory(*pid)).transpose()?;
    Ok(Rest {
        span: watched,
        resident: field(&rollup, "Rss:"),
        proportional: field(&rollup, "Pss:"),
        anonymous: field(&rollup, "Anonymous:"),
        threads: std::fs::read_dir(format!("/proc/{pid}/task"))?.count(),
        ran_ns: ran_ns(pid)?.saturating_sub(ran),
        ticks: self::ticks(pid)?.saturating_sub(ticks),
        processes: inside.shell("root", "ls -d /proc/[0-9]* | wc -l")?.parse().unwrap_or(0),
        size: std::fs::metadata(agent).context("the idle-agent's file")?.len(),
        caddy_resident: caddy.map_or(0, |rollup| field(&rollup, "Rss:")),
    })
}

impl Rest {
    /// The table.
    pub fn section(&self) -> Section {
        let mut section = Section::new(
            "idle-agent at rest",
            &format!(
                "Release build, on a ready machine with {} processes in it, over {:.0} s.",
                self.processes,
                self.span.as_secs_f64()
            ),
            &["what", "figure", "target"],
        );
        let mega = |bytes: u64| bytes as f64 / 1e6;
        let share = |ns: f64| ns / 1e9 / self.span.as_secs_f64() * 100.0;
        let (threads, ticks) = (share(self.ran_ns as f64), share(self.ticks as f64 * 1e7));
        section.row([
            "resident memory (RSS)".into(),
            bytes(self.resident),
            verdict((mega(self.resident) * 10.0).round() / 10.0, RSS_MOST, "MB"),
        ]);
        section.row(["its share of memory (PSS)".into(), bytes(self.proportional), String::new()]);
        section.row(["of it anonymous (heap, stacks)".into(), bytes(self.anonymous), String::new()]);
        section.row(["threads".into(), self.threads.to_string(), String::new()]);
        section.row([
            "processor, its threads (scheduler's nanoseconds)".into(),
            format!("{threads:.3} % of a core"),
            verdict((threads * 1000.0).round() / 1000.0, CPU_MOST, "%"),
        ]);
        let whole = "processor, with children that ended (ticks of 10 ms)".to_owned();
        section.row([whole, format!("{ticks:.3} % of a core"), String::new()]);
        section.row(["size of the program".into(), bytes(self.size), String::new()]);
        section.row(["beside it: Caddy (RSS)".into(), bytes(self.caddy_resident), String::new()]);
        section
    }
}

fn memory(pid: u32) -> Result<String> {
    std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).context("memory of a process")
}

/// A field of `smaps_rollup` in bytes.
fn field(rollup: &str, name: &str) -> u64 {
    let line = rollup.lines().find_map(|line| line.strip_prefix(name));
    line.and_then(|rest| rest.trim().trim_end_matches("kB").trim().parse::<u64>().ok()).unwrap_or(0) * 1024
}

/// Time on a processor of all threads that live.
fn ran_ns(pid: u32) -> Result<u64> {
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).context("the idle-agent has ended")?;
    let of = |task: std::fs::DirEntry| {
        let text = std::fs::read_to_string(task.path().join("schedstat")).ok()?;
        text.split_whitespace().next()?.parse::<u64>().ok()
    };
    Ok(tasks.flatten().filter_map(of).sum())
}

/// User and system time of a process and of its children that ended.
fn ticks(pid: u32) -> Result<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).context("the idle-agent has ended")?;
    let fields = stat.rsplit_once(')').map(|(_, rest)| rest).unwrap_or_default();
    Ok(fields.split_whitespace().skip(11).take(4).filter_map(|field| field.parse::<u64>().ok()).sum())
}
