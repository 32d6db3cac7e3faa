//! The Worker itself: its size and start-up as `wrangler` sees them, and what each kind of invocation called.

use super::lives::Lives;
use super::log::Log;
use super::report::{Section, Spread, verdict};
use crate::place;
use crate::process::run;
use anyhow::{Context, Result};

/// What one invocation may call; the plan allows 50.
const CALLS_MOST: u32 = 40;
/// How often the start-up is profiled.
const STARTS: usize = 5;
/// How many kinds of invocations are listed.
const LISTED: usize = 14;

/// Size and start-up, from `wrangler check startup`: the built Worker in `workerd` on this machine.
#[derive(Debug)]
pub struct Program {
    size: String,
    wasm: u64,
    /// Milliseconds in which the start-up kept the processor busy.
    pub start: Spread,
}

/// Profiles the start-up some times.
///
/// # Errors
/// Where `wrangler` fails, or says it in other words than these.
pub fn program() -> Result<Program> {
    let profile = tempfile::tempdir()?;
    let mut starts = Vec::new();
    let mut size = String::new();
    for _ in 0..STARTS {
        let said = run(place::wrangler()?, |command| {
            command
                .current_dir(place::root())
                .env("PATH", place::path_with_node())
                .envs([("CI", "1"), ("NO_COLOR", "1"), ("WRANGLER_SEND_METRICS", "false")])
                .env("XDG_CONFIG_HOME", profile.path())
                .env("WRANGLER_LOG_PATH", profile.path())
                .args(["check", "startup", "--config", "wrangler.toml", "--outfile"])
                .arg(profile.path().join("profile"))
        })?;
        let after =
            |word: &str| said.split_once(word).map(|(_, rest)| rest.lines().next().unwrap_or_default());
        let active = after("Active: ").and_then(|text| text.split(' ').next()?.parse::<f64>().ok());
        starts.push(active.with_context(|| format!("no start-up in:\n{said}"))?);
        size = after("Bundle: ").unwrap_or_default().trim().to_owned();
    }
    let wasm = std::fs::metadata(place::root().join("worker/build/index_bg.wasm"))?.len();
    Ok(Program { size, wasm, start: Spread::of(&starts) })
}

impl Program {
    /// The table.
    pub fn section(&self) -> Section {
        let mut section = Section::new(
            "Worker: size and start-up",
            "Release build, as `wrangler check startup` sees it: bundled, started in `workerd` on this machine.",
            &["what", "figure"],
        );
        section.row(["what is uploaded".into(), self.size.clone()]);
        section.row(["of it WebAssembly".into(), format!("{:.2} KiB", self.wasm as f64 / 1024.0)]);
        let Spread { median, min, max, count } = self.start;
        let figure = format!("{median:.1} ms (median of {count}; {min:.1} to {max:.1})");
        section.row(["processor time of the start-up".into(), figure]);
        section.remark(
            "The platform allows 64 MiB uncompressed and one second of start-up. Compilation is not part of the start-up: it is done \
             once, when the module is loaded.",
        );
        section
    }
}

/// The calls of each kind of invocation in the whole run.
pub fn calls(log: &Log, lives: &Lives) -> Section {
    let mut section = Section::new(
        "Worker: calls of one invocation",
        "The largest of each kind in this run, from the Worker's own count at its bindings; ids left out.",
        &["invocation", "seen", "provider", "D1", "R2", "object", "all"],
    );
    let kinds = log.invocations();
    let mut sorted: Vec<_> = kinds.iter().collect();
    sorted.sort_by_key(|(name, (_, calls))| (std::cmp::Reverse(calls.total()), (*name).clone()));
    for (name, (seen, calls)) in sorted.iter().take(LISTED) {
        section.row([
            format!("`{name}`"),
            seen.to_string(),
            calls.fetch.to_string(),
            calls.d1.to_string(),
            calls.r2.to_string(),
            calls.object.to_string(),
            calls.total().to_string(),
        ]);
    }
    let most = sorted.first().map_or(0, |(_, (_, calls))| calls.total());
    let more = sorted.len().saturating_sub(LISTED);
    section.remark(format!(
        "Target for every one {}. {more} more kinds make no more than the last one listed.",
        verdict(f64::from(most), f64::from(CALLS_MOST), "calls")
    ));
    let vendors: Vec<String> = lives.vendor_calls().map(|(name, calls)| format!("{name} {calls}")).collect();
    section.remark(format!(
        "Invocations of the objects (their alarms and effects) have a count of their own that the Worker does not log yet. An upper \
         bound from the vendors' journal, all invocations of a phase together: {}. A slice of a receipt asks R2 for 20 objects at most.",
        vendors.join(", ")
    ));
    section
}
