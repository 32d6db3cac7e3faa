//! Records traces of real programs for the idle verdict. `scripts/setup record` and `scripts/build ci` come first.
//!
//! Plays scenes on local machines and stores what their idle-agents saw, with labels that follow from the scenes' scripts.
//!
//! A Cargo example, because it needs the idle-agent's trace format: the library, and with it `ebb-dev`, does without.

mod real_programs;

use anyhow::Result;
use clap::Parser;
use ebbtide_system_tests::{interrupt, paths};
use real_programs::{Pace, Wishes, record};
use std::path::PathBuf;

/// Records traces of real programs.
#[derive(Debug, Parser)]
struct Arguments {
    /// Only scenes whose name has one of these parts.
    only: Vec<String>,
    /// The idle timeout in seconds; all other durations follow from it.
    #[arg(long, default_value_t = 60, conflicts_with = "full_length")]
    idle_timeout: u64,
    /// Only the scenes at full length, with the durations of production and so many minutes of rest: 35 at least.
    #[arg(long, value_name = "MINUTES", value_parser = clap::value_parser!(u64).range(35..))]
    full_length: Option<u64>,
    /// How many machines at once.
    #[arg(long, default_value_t = 8)]
    at_once: usize,
    /// Where traces go.
    #[arg(long)]
    into: Option<PathBuf>,
    /// Leave out scenes whose trace is there.
    #[arg(long)]
    missing: bool,
    /// The idle-agent that records; the newest built where not given.
    #[arg(long)]
    agent: Option<PathBuf>,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    interrupt::catch()?;
    record(&Wishes {
        only: arguments.only,
        at_once: arguments.at_once,
        into: arguments.into.unwrap_or_else(|| paths::root().join("idle-report/traces/recorded")),
        missing: arguments.missing,
        pace: arguments
            .full_length
            .map_or(Pace::scaled(arguments.idle_timeout), |minutes| Pace::full_length(minutes * 60)),
        agent: arguments.agent,
    })
}
