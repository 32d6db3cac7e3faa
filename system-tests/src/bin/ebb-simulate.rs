//! `scripts/simulate`: random walks through the lifecycle, with a table at the end and a trace where a promise breaks.

use clap::Parser;
use stack::simulation::{Odds, Report, Violation, walk};
use std::process::ExitCode;
use std::time::Instant;

/// Walks workspaces through faults and crashes, and checks the promises after every step.
#[derive(Parser)]
struct Args {
    /// How many workspaces are walked from spawn to rest.
    #[arg(long, default_value_t = 20_000)]
    lifecycles: u64,
    /// The first walk's seed; the others follow it.
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

fn main() -> ExitCode {
    let args = Args::parse();
    let threads = std::thread::available_parallelism().map_or(1, usize::from) as u64;
    println!("{} lifecycles from seed {} on {threads} threads", args.lifecycles, args.seed);
    let started = Instant::now();
    let workers: Vec<_> = (0..threads)
        .map(|worker| {
            let (first, count) = (args.seed, args.lifecycles);
            std::thread::spawn(move || {
                let (mut total, mut broken) = (Report::default(), Vec::new());
                for offset in (worker..count).step_by(threads as usize) {
                    match walk(first + offset, Odds::default()) {
                        Ok(report) => total.add(&report),
                        Err(violation) => broken.push(violation),
                    }
                }
                (total, broken)
            })
        })
        .collect();
    let (mut total, mut broken) = (Report::default(), Vec::new());
    for worker in workers {
        let Ok((report, violations)) = worker.join() else {
            println!("a walk panicked; its message is above");
            return ExitCode::FAILURE;
        };
        total.add(&report);
        broken.extend(violations);
    }
    print(&total, &broken, started.elapsed().as_secs_f64());
    if broken.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// How much of a broken walk's history is shown, in lines.
const HISTORY_SHOWN: usize = 60;

fn print(total: &Report, broken: &[Violation], secs: f64) {
    println!("lifecycles             {:>12}", total.lifecycles);
    println!("machines               {:>12}", total.machines);
    println!("decisions by input     {:>12}", total.decisions);
    println!("effects performed      {:>12}", total.effects);
    println!("crashes injected       {:>12}", total.crashes);
    println!("spells of trouble      {:>12}", total.faults);
    println!("times put to sleep     {:>12}", total.slept);
    println!("ended with an image    {:>12}", total.rescued);
    println!("ended with a told loss {:>12}", total.told_lost);
    for (state, count) in &total.states {
        println!("at rest {state:<15}{count:>12}");
    }
    println!("promises broken        {:>12}", broken.len());
    for violation in broken.iter().take(20) {
        println!("  seed {}: {}", violation.seed, violation.what);
    }
    if let Some(first) = broken.iter().min_by_key(|violation| violation.history.len()) {
        let from = first.history.len().saturating_sub(HISTORY_SHOWN);
        first.history.iter().skip(from).for_each(|line| println!("  {line}"));
        println!("seed {}: {}", first.seed, first.what);
        println!("again: scripts/simulate --lifecycles 1 --seed {}", first.seed);
    }
    println!("{secs:.1} s");
}
