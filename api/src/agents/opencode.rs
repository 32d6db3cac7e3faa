//! OpenCode: one program that carries its own runtime.

use super::{Bundle, Install, Profile, Transcripts};

pub(super) const PROFILE: Profile = Profile {
    command: "opencode",
    title: "OpenCode",
    install: Install::Bundle(Bundle {
        program: "opencode",
        executable: "node_modules/opencode-linux-x64/bin/opencode",
        runtime: None,
    }),
    quiet: &[("OPENCODE_DISABLE_AUTOUPDATE", "1")],
    files: &[],
    reports: false,
    memory: Some(".config/opencode/AGENTS.md"),
    transcripts: Transcripts::BelowHome(".local/share/opencode"),
    configuration: None,
    embedded: &[],
    logins: &[".local/share/opencode/auth.json", ".local/share/opencode/mcp-auth.json"],
    key: "that of the model's provider",
    resume: "opencode -c",
    unattended: "opencode run --format json \"…\"",
};
