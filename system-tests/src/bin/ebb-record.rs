//! Records traces of real programs for the idle verdict. `scripts/setup record` and `scripts/build ci` come first.
//!
//! Plays scenes on local machines and stores what their idle-agents saw, with labels that follow from the scenes' scripts.

use anyhow::Result;
use clap::Parser;
use stack::scenes::{Wishes, record};
use stack::{interrupt, place};
use std::path::PathBuf;

/// Records traces of real programs.
#[derive(Debug, Parser)]
struct Arguments {
    /// Only scenes whose name has one of these parts.
    only: Vec<String>,
    /// How many machines at once.
    #[arg(long, default_value_t = 5)]
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
        into: arguments.into.unwrap_or_else(|| place::root().join("system-tests/traces/recorded")),
        missing: arguments.missing,
        agent: arguments.agent,
    })
}
