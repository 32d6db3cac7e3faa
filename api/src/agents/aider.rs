//! Aider: Python with some hundred libraries, of which compiled ones fit one release of Python.

use super::{Install, Profile, Transcripts};

pub(super) const PROFILE: Profile = Profile {
    command: "aider",
    title: "Aider",
    install: Install::ByHand("it needs a Python of its own, of which there is no bundle yet"),
    quiet: &[],
    files: &[],
    reports: false,
    memory: None,
    transcripts: Transcripts::WhereStarted(".aider.chat.history.md"),
    configuration: None,
    embedded: &[],
    logins: &[],
    key: "that of the model's provider",
    resume: "aider --restore-chat-history",
    unattended: "aider --message \"…\" --yes-always",
};
