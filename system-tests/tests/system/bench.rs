//! The bench of backups on small sets: that it measures everything, and that every tool brings all of it back.
//!
//! No time is judged here: `scripts/bench --only backup` does that, on large sets and a quiet machine.

use crate::slots::{self, Work};
use anyhow::{Result, ensure};
use ebbtide_system_tests::{bench, paths};

#[test]
fn the_bench_of_backups_measures_everything_and_every_tool_brings_all_files_back() -> Result<()> {
    slots::take(Work::Own);
    let figures = bench::measure_backups(&paths::idle_agent()?, 4, 1, None, |_| ())?;
    ensure!(figures.gaps().is_empty(), "missing or impossible: {:#?}", figures.gaps());
    Ok(())
}
