//! Google's Gemini CLI: JavaScript, run by the Node that is published beside it. With an API key; its free sign-in ended.

use super::{Bundle, Install, NODE, Profile, Transcripts};

pub(super) const PROFILE: Profile = Profile {
    command: "gemini",
    title: "Gemini CLI",
    install: Install::Bundle(Bundle {
        program: "gemini",
        executable: "node_modules/@google/gemini-cli/bundle/gemini.js",
        runtime: Some(&NODE),
    }),
    quiet: &[],
    // Wins over what a repository and a user say.
    files: &[("/etc/gemini-cli/settings.json", include_str!("gemini/settings.json"))],
    reports: true,
    memory: Some(".gemini/GEMINI.md"),
    transcripts: Transcripts::BelowHome(".gemini/tmp"),
    configuration: None,
    embedded: &[],
    logins: &[".gemini/oauth_creds.json", ".gemini/gemini-credentials.json"],
    key: "GEMINI_API_KEY",
    resume: "gemini -r latest",
    unattended: "gemini -p \"…\" -o stream-json --approval-mode yolo",
};
