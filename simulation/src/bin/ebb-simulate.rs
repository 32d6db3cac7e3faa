//! `scripts/simulate`: random walks through the lifecycle, with a table at the end and, where a promise breaks, the
//! shortest walk found that still breaks it.

use clap::Parser;
use ebbtide_simulation::{
    Disruption, Outcome, Promise, Report, Walker, latency_secs, replay_command, shrink,
};
use std::collections::{BTreeMap, BTreeSet};
use std::io::IsTerminal as _;
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Walks workspaces through faults and crashes, and checks the promises after every step.
#[derive(Parser)]
struct Args {
    /// How many workspaces are walked from spawn to rest.
    #[arg(long, default_value_t = 20_000)]
    lifecycles: u64,
    /// The first walk's seed; the others follow it.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Draws that seed from a text instead, such as a commit: other walks with every change, the same for everybody.
    #[arg(long, conflicts_with = "seed")]
    drawn_from: Option<String>,
    /// Walks of one seed are shown step by step instead.
    #[arg(long)]
    replay: Option<u64>,
    /// With `--replay`: nothing but these disruptions (`crash-after:12,owner:0`), or `none`.
    #[arg(long, requires = "replay")]
    only: Option<String>,
}

fn main() -> ExitCode {
    let args = Args::parse();
    match (args.replay, args.only) {
        (Some(seed), only) => match disruptions(seed, only.as_deref()) {
            Ok(only) => show(seed, &Walker.replay(seed, only)),
            Err(unusable) => {
                println!("{unusable}");
                ExitCode::FAILURE
            }
        },
        (None, _) => walk_all(args.drawn_from.as_deref().map_or(args.seed, drawn), args.lifecycles),
    }
}

/// A seed of at most nine digits from a text: FNV-1a, which will not change.
fn drawn(text: &str) -> u64 {
    let hash = text.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    hash % 1_000_000_000
}

fn disruptions(seed: u64, only: Option<&str>) -> Result<BTreeSet<Disruption>, String> {
    match only {
        None => Ok(Walker.walk(seed).struck.into_iter().collect()),
        Some("none") => Ok(BTreeSet::new()),
        Some(names) => names.split(',').map(str::parse).collect(),
    }
}

/// What a thread came to: the sums, and for each broken promise the walk with the fewest disruptions.
#[derive(Default)]
struct Share {
    report: Report,
    broken: BTreeMap<Promise, (u64, Outcome)>,
}

fn walk_all(seed: u64, lifecycles: u64) -> ExitCode {
    let threads = std::thread::available_parallelism().map_or(1, usize::from) as u64;
    println!("{lifecycles} lifecycles from seed {seed} on {threads} threads");
    println!("again: scripts/simulate --lifecycles {lifecycles} --seed {seed}");
    let started = Instant::now();
    let next = AtomicU64::new(0);
    let mut progress = Progress::new(lifecycles);
    let shares: Vec<Share> = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(|| work(&next, seed, lifecycles))).collect();
        while !workers.iter().all(std::thread::ScopedJoinHandle::is_finished) {
            progress.show(next.load(Ordering::Relaxed));
            std::thread::park_timeout(Duration::from_millis(500));
        }
        workers.into_iter().filter_map(|worker| worker.join().ok()).collect()
    });
    progress.end();
    if shares.len() as u64 != threads {
        println!("a walk panicked; its message is above");
        return ExitCode::FAILURE;
    }
    let mut total = Report::default();
    shares.iter().for_each(|share| total.add(&share.report));
    total.lines(latency_secs()).iter().for_each(|line| println!("{line}"));
    let secs = started.elapsed().as_secs_f64();
    println!("{secs:.1} s, {:.0} lifecycles a second", lifecycles as f64 / secs.max(0.001));
    println!("promises broken: {}", total.broken.values().sum::<u64>());
    for promise in Promise::ALL {
        if let Some(count) = total.broken.get(promise.as_str()) {
            println!("  {}: {count}", promise.as_str());
        }
    }
    let mut shortest = BTreeMap::new();
    for (promise, (seed, found)) in shares.into_iter().flat_map(|share| share.broken) {
        keep_shortest(&mut shortest, promise, seed, found);
    }
    for (seed, found) in shortest.into_values() {
        let before = found.struck.len();
        let found = Walker.replay(seed, found.struck.into_iter().collect());
        let short = shrink(|only| Walker.replay(seed, only), found);
        println!("\nseed {seed}, shrunk from {before} disruptions to {}:", short.struck.len());
        show(seed, &short);
    }
    if total.broken.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn keep_shortest(kept: &mut BTreeMap<Promise, (u64, Outcome)>, promise: Promise, seed: u64, found: Outcome) {
    let shorter =
        |(known_seed, known): &(u64, Outcome)| (found.struck.len(), seed) < (known.struck.len(), *known_seed);
    if kept.get(&promise).is_none_or(shorter) {
        kept.insert(promise, (seed, found));
    }
}

fn work(next: &AtomicU64, seed: u64, lifecycles: u64) -> Share {
    let mut share = Share::default();
    loop {
        let number = next.fetch_add(1, Ordering::Relaxed);
        if number >= lifecycles {
            return share;
        }
        let seed = seed.wrapping_add(number);
        let outcome = Walker.walk(seed);
        share.report.add(&outcome.report);
        if let Some(promise) = outcome.broken.as_ref().map(|broken| broken.promise) {
            keep_shortest(&mut share.broken, promise, seed, outcome);
        }
    }
}

/// How far the walks are: one line over and over in a terminal, a line every tenth of the way in a log.
struct Progress {
    of: u64,
    tenths: u64,
    started: Instant,
    is_terminal: bool,
}

impl Progress {
    fn new(of: u64) -> Self {
        Self { of, tenths: 0, started: Instant::now(), is_terminal: std::io::stderr().is_terminal() }
    }

    fn show(&mut self, done: u64) {
        let done = done.min(self.of);
        let rate = done as f64 / self.started.elapsed().as_secs_f64().max(0.001);
        let tenths = done.saturating_mul(10) / self.of.max(1);
        if self.is_terminal {
            eprint!("\r{done} of {}, {rate:.0} a second ", self.of);
        } else if tenths > self.tenths {
            self.tenths = tenths;
            eprintln!("{done} of {}, {rate:.0} a second", self.of);
        }
    }

    fn end(&self) {
        if self.is_terminal {
            eprint!("\r{:60}\r", "");
        }
    }
}

/// Shows a walk a line a step, and what it breaks.
fn show(seed: u64, outcome: &Outcome) -> ExitCode {
    outcome.trace.iter().for_each(|line| println!("{line}"));
    println!("again: {}", replay_command(seed, &outcome.struck));
    match &outcome.broken {
        Some(broken) => {
            println!("broken: {broken}");
            ExitCode::FAILURE
        }
        None => {
            println!("every promise kept");
            ExitCode::SUCCESS
        }
    }
}
