//! `scripts/mutation-check`: makes deliberate defects in a copy of `control`, and shows which test caught each.

use anyhow::Context;
use clap::Parser;
use ebbtide_simulation::mutations::{Bench, DEFECTS, Defect, Verdict};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

/// Proves that the tests of the control plane can fail.
#[derive(Parser)]
struct Args {
    /// The repository.
    #[arg(long, default_value = ".")]
    root: PathBuf,
    /// Where builds are kept from one run to the next.
    #[arg(long)]
    target: PathBuf,
    /// Only defects whose name contains this.
    #[arg(long, default_value = "")]
    only: String,
}

fn main() -> anyhow::Result<ExitCode> {
    let args = Args::parse();
    let chosen: Vec<Defect> =
        DEFECTS.iter().filter(|defect| defect.name.contains(&args.only)).copied().collect();
    let started = Instant::now();
    let bench = Bench::new(&args.root, args.target)?;
    bench.is_sound(&chosen).context("the tests have to pass before a defect is made")?;
    println!("without a defect every test passes ({:.0} s)", started.elapsed().as_secs_f64());
    let mut missed = 0;
    for defect in &chosen {
        let began = Instant::now();
        let verdict = bench.check(defect)?;
        let word = match &verdict {
            Verdict::Caught => "caught",
            Verdict::Missed => "MISSED",
            Verdict::Unusable(_) => "UNUSABLE",
        };
        missed += u32::from(verdict != Verdict::Caught);
        println!("{word:<9}{:>4.0} s  {}", began.elapsed().as_secs_f64(), defect.name);
        println!("{:17}by {}", "", defect.caught_by.name());
        if let Verdict::Unusable(why) = verdict {
            println!("{:17}{why}", "");
        }
    }
    let secs = started.elapsed().as_secs_f64();
    println!("{} of {} defects caught in {secs:.0} s", chosen.len() - missed as usize, chosen.len());
    Ok(if missed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
