//! Who may know whom (docs/architecture.md), read from `cargo metadata`.

use anyhow::{Context, Result, ensure};
use std::collections::{BTreeMap, BTreeSet};

/// Our crates and which of our crates each may use outside its tests.
const MAY_USE: &[(&str, &[&str])] = &[
    ("ebbtide-api", &[]),
    ("ebbtide-vm-init", &["ebbtide-api"]),
    ("ebbtide-control", &["ebbtide-api", "ebbtide-vm-init"]),
    // Used by build scripts alone.
    ("ebbtide-npm-file", &[]),
    ("ebbtide-dashboard", &["ebbtide-api", "ebbtide-npm-file"]),
    ("ebbtide-worker", &["ebbtide-api", "ebbtide-control", "ebbtide-dashboard"]),
    ("ebbtide-worker-bundle", &[]),
    ("ebbtide-programs", &["ebbtide-api"]),
    ("ebbtide-idle-agent", &["ebbtide-api", "ebbtide-npm-file", "ebbtide-vm-init"]),
    ("ebbtide-cloud-sim", &[]),
    // Used by tests alone.
    ("ebbtide-fuzz-inputs", &[]),
    // Nobody uses it: it reads all of them for the reference.
    ("ebbtide-docs-check", &["ebbtide-api", "ebbtide-control", "ebbtide-idle-agent", "ebbtide-worker"]),
    // Stands in for a published crate, under its name.
    ("rustic_cdc", &[]),
    ("ebbtide-simulation", &["ebbtide-api", "ebbtide-control", "ebbtide-cloud-sim"]),
    // The idle-agent for its pure judge alone: traces are judged again.
    ("ebbtide-idle-report", &["ebbtide-api", "ebbtide-idle-agent"]),
    // Its programs are what scripts/dev waits for: nothing of ours but the wire, and what is published to it.
    ("ebbtide-system-tests", &["ebbtide-api", "ebbtide-programs"]),
];

fn uses() -> Result<BTreeMap<String, BTreeSet<String>>> {
    let arguments = ["metadata", "--no-deps", "--format-version", "1", "--offline"];
    let text = ebbtide_system_tests::process::run("cargo", |cargo| {
        cargo.current_dir(ebbtide_system_tests::paths::root()).args(arguments)
    })?;
    let metadata: serde_json::Value = serde_json::from_str(&text)?;
    let packages = metadata["packages"].as_array().context("no packages")?;
    let of = |package: &serde_json::Value| {
        let used = package["dependencies"].as_array().into_iter().flatten();
        let used = used.filter(|dependency| dependency["kind"].as_str() != Some("dev"));
        let names = used.filter_map(|dependency| dependency["name"].as_str().map(str::to_owned)).collect();
        (package["name"].as_str().unwrap_or_default().to_owned(), names)
    };
    Ok(packages.iter().map(of).collect())
}

#[test]
fn crates_use_only_those_that_they_may_know() -> Result<()> {
    let uses = uses()?;
    let known: BTreeSet<&str> = MAY_USE.iter().map(|(name, _)| *name).collect();
    let ours: BTreeSet<&str> = uses.keys().map(String::as_str).collect();
    ensure!(ours == known, "crates without a rule, or rules without a crate: {ours:?}");
    for (name, allowed) in MAY_USE {
        let used = uses[*name].iter().map(String::as_str).filter(|used| known.contains(used));
        let wrong: Vec<&str> = used.filter(|used| !allowed.contains(used)).collect();
        ensure!(wrong.is_empty(), "{name} must not use {wrong:?}");
    }
    Ok(())
}

#[test]
fn only_the_worker_names_the_runtime() -> Result<()> {
    for (name, used) in uses()? {
        ensure!(
            name == "ebbtide-worker" || !used.contains("worker"),
            "{name} must not use the crate `worker`"
        );
        ensure!(
            name != "worker",
            "a package named `worker` does not link its tests against the crate of that name"
        );
    }
    Ok(())
}

#[test]
fn the_decisions_have_no_clock_no_randomness_and_no_runtime() -> Result<()> {
    let used = &uses()?["ebbtide-control"];
    for forbidden in ["tokio", "rand", "fastrand", "reqwest", "ureq", "worker", "chrono"] {
        ensure!(!used.contains(forbidden), "ebbtide-control must not use {forbidden}");
    }
    Ok(())
}
