//! Cursor's agent on the command line: to be had from its maker's own script alone, which no lock file can pin.

use super::{Install, Profile, Transcripts};

pub(super) const PROFILE: Profile = Profile {
    command: "cursor-agent",
    title: "Cursor's agent",
    install: Install::ByHand("its maker publishes no package that can be pinned"),
    quiet: &[],
    files: &[],
    reports: false,
    memory: None,
    transcripts: Transcripts::BelowHome(".cursor/projects"),
    configuration: None,
    embedded: &[],
    logins: &[".cursor/cli-config.json"],
    key: "CURSOR_API_KEY",
    resume: "cursor-agent --resume",
    unattended: "cursor-agent -p \"…\" --output-format stream-json --force",
};
