//! What is known of each coding agent, from its file and from its lock file.

use super::{HEAD, cell};
use anyhow::{Context, Result};
use ebbtide_api::Agent;
use ebbtide_api::agents::Install;
use std::path::Path;

/// The page.
pub fn page(root: &Path) -> Result<String> {
    let mut text = format!("{HEAD}# Coding agents\n\n[How they are used](../use/agents.md)\n");
    text += "\n| agent | command | installed | goes on | without a person | API key in |\n|---|---|---|---|---|---|\n";
    for agent in Agent::ALL {
        let profile = agent.profile();
        let installed = match &profile.install {
            Install::Bundle(bundle) => version(root, bundle.program)?,
            Install::ByHand(why) => format!("by you: {why}"),
        };
        text += &format!(
            "| {} | `{}` | {} | `{}` | `{}` | {} |\n",
            profile.title,
            profile.command,
            cell(&installed),
            cell(profile.resume),
            cell(profile.unattended),
            variable(profile.key),
        );
    }
    text += "\n| agent | set for it, unless you set it | on every machine | told at first | its sign-in, backed up | reports turns |\n|---|---|---|---|---|---|\n";
    for agent in Agent::ALL {
        let profile = agent.profile();
        let quiet = profile.quiet.iter().map(|(name, value)| format!("`{name}={value}`"));
        let files = profile.files.iter().map(|(path, _)| format!("`{path}`"));
        let memory = profile.memory.iter().map(|path| format!("`~/{path}`"));
        let logins = profile.logins.iter().map(|path| format!("`~/{path}`"));
        let reports = if profile.reports { "yes" } else { "no" };
        text += &format!(
            "| {} | {} | {} | {} | {} | {reports} |\n",
            profile.title,
            list(quiet),
            list(files),
            list(memory),
            list(logins)
        );
    }
    Ok(text)
}

fn list(items: impl Iterator<Item = String>) -> String {
    Some(items.collect::<Vec<_>>().join(", "))
        .filter(|text| !text.is_empty())
        .unwrap_or_else(|| "–".to_owned())
}

/// A variable as such, words as they are.
fn variable(key: &str) -> String {
    if key.contains(' ') { key.to_owned() } else { format!("`{key}`") }
}

/// The one version that a program's package.json asks for.
fn version(root: &Path, program: &str) -> Result<String> {
    let file = root.join("programs").join(program).join("package.json");
    let package: serde_json::Value = serde_json::from_slice(&std::fs::read(&file)?)?;
    let asked = package["dependencies"].as_object().and_then(|asked| asked.values().next());
    asked.and_then(|version| version.as_str()).map(str::to_owned).with_context(|| file.display().to_string())
}
