//! OpenAI's Codex: a static program, and helpers that it starts.

use super::{Bundle, Install, Profile, Transcripts};

pub(super) const PROFILE: Profile = Profile {
    command: "codex",
    title: "Codex",
    install: Install::Bundle(Bundle {
        program: "codex",
        executable: "node_modules/@openai/codex/vendor/x86_64-unknown-linux-musl/bin/codex",
        runtime: None,
    }),
    quiet: &[],
    files: &[
        // Hooks of the system need nobody's consent; without the requirement a trusted repository could switch all off.
        ("/etc/codex/hooks.json", include_str!("codex/hooks.json")),
        ("/etc/codex/requirements.toml", include_str!("codex/requirements.toml")),
        ("/etc/codex/config.toml", include_str!("codex/config.toml")),
    ],
    reports: true,
    memory: Some(".codex/AGENTS.md"),
    transcripts: Transcripts::BelowHome(".codex/sessions"),
    configuration: None,
    embedded: &[],
    logins: &[".codex/auth.json"],
    key: "OPENAI_API_KEY",
    resume: "codex resume --last",
    unattended: "codex exec --json \"…\"",
};
