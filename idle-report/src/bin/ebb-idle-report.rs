//! `ebb-idle-report`: how well the idle verdict judges labelled traces and variants of them, beside other ways to judge.
//! Ends with an error where our engine cuts work off or keeps a workspace without end.

use anyhow::Context as _;
use clap::Parser;
use ebbtide_idle_report::variant::{make, unchanged};
use ebbtide_idle_report::{Plan, cases, recorded, run, table, told};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::Instant;

const BEGIN: &str = "<!-- idle-report: begin -->";
const END: &str = "<!-- idle-report: end -->";

/// Confusion matrices of the idle verdict and of baselines.
#[derive(Debug, Parser)]
#[command(name = "ebb-idle-report", version)]
struct Cli {
    /// How many variants of all traces together.
    #[arg(long, default_value_t = 10_000)]
    variants: usize,
    /// What they come from.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Leaves out the traces that are held back until the engine is made.
    #[arg(long)]
    tuned_only: bool,
    /// Judges one trace only, and tells every verdict of ours.
    #[arg(long)]
    trace: Option<String>,
    /// Of that trace the variant of this number and the seed.
    #[arg(long, requires = "trace")]
    variant: Option<usize>,
    /// Where recorded traces are.
    #[arg(long)]
    traces: Option<PathBuf>,
    /// Puts the tables into docs/evidence/idle.md.
    #[arg(long)]
    write: bool,
}

fn main() -> anyhow::Result<ExitCode> {
    let cli = Cli::parse();
    let began = Instant::now();
    let directory = cli.traces.unwrap_or_else(recorded);
    let mut cases = cases(&directory)?;
    if let Some(name) = &cli.trace {
        cases.retain(|case| case.name == *name);
        let case = cases.first().with_context(|| format!("no trace is called {name}"))?;
        let variant = cli.variant.map_or_else(|| unchanged(case), |number| make(case, cli.seed, number));
        print!("{}", told(case, &variant));
        return Ok(ExitCode::SUCCESS);
    }
    let plan = Plan { variants: cli.variants, seed: cli.seed, with_held_out: !cli.tuned_only };
    let report = run(&cases, &plan);
    let tables = table::shown(&report);
    println!("{tables}");
    println!(
        "{} traces and {} variants, seed {}, in {:.1} s",
        report.traces,
        report.variants,
        cli.seed,
        began.elapsed().as_secs_f64()
    );
    for wrong in report.wrong.iter().take(40) {
        println!("  {wrong}");
    }
    if report.wrong.len() > 40 {
        println!("  and {} more", report.wrong.len() - 40);
    }
    if cli.write {
        let command = format!("scripts/idle-report --variants {} --seed {}", cli.variants, cli.seed);
        let day = Command::new("date").args(["-u", "+%-d %B %Y"]).output().context("date cannot be run")?;
        let day = String::from_utf8(day.stdout)?;
        let day = day.trim();
        write(&format!(
            "`{command}` on {day}, {} traces, {} variants:\n\n{tables}",
            report.traces, report.variants
        ))?;
    }
    Ok(if report.failures() == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn write(text: &str) -> anyhow::Result<()> {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/evidence/idle.md");
    let before = std::fs::read_to_string(&page)?;
    let (head, rest) =
        before.split_once(BEGIN).context("docs/evidence/idle.md has no place for the report")?;
    let (_, foot) = rest.split_once(END).context("docs/evidence/idle.md has no end of the report")?;
    std::fs::write(&page, format!("{head}{BEGIN}\n\n{}\n\n{END}{foot}", text.trim_end()))?;
    Ok(())
}
