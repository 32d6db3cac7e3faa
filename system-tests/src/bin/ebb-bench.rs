//! `scripts/bench`: measures everything in one run, prints the tables, and with `--write` puts them into the docs.

use clap::Parser;
use ebbtide_system_tests::bench::{self, Plan};
use ebbtide_system_tests::interrupt::{self, Interrupted};
use std::process::ExitCode;

fn main() -> ExitCode {
    match run(&Plan::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let why = if error.is::<Interrupted>() { "interrupted".into() } else { format!("{error:#}") };
            eprintln!("bench: failed: {why}");
            ExitCode::FAILURE
        }
    }
}

fn run(plan: &Plan) -> anyhow::Result<()> {
    interrupt::catch()?;
    let figures = bench::run(plan, |text| eprintln!("bench: {text}"))?;
    println!("{figures}");
    if plan.write {
        bench::report::write(&plan.document(), plan.block(), &figures)?;
    }
    Ok(())
}
