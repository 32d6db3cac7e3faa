//! GitHub's Copilot CLI: one program that carries its own runtime.

use super::{Bundle, Install, Profile, Transcripts};

pub(super) const PROFILE: Profile = Profile {
    command: "copilot",
    title: "GitHub Copilot CLI",
    install: Install::Bundle(Bundle {
        program: "copilot",
        executable: "node_modules/@github/copilot-linux-x64/copilot",
        runtime: None,
    }),
    quiet: &[("COPILOT_AUTO_UPDATE", "false")],
    files: &[],
    reports: false,
    memory: Some(".copilot/copilot-instructions.md"),
    transcripts: Transcripts::BelowHome(".copilot/session-state"),
    configuration: None,
    embedded: &[],
    logins: &[".copilot/config.json"],
    key: "COPILOT_GITHUB_TOKEN",
    resume: "copilot --continue",
    unattended: "copilot -p \"…\" -s --allow-all-tools",
};
