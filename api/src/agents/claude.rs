//! Claude Code: one program that carries its own runtime.
//!
//! It comes as its maker publishes it, and every way to sign in stays: its terms for those who host it ask for that.

use super::{Bundle, Install, Profile, Transcripts};

pub(super) const PROFILE: Profile = Profile {
    command: "claude",
    title: "Claude Code",
    install: Install::Bundle(Bundle {
        program: "claude",
        executable: "node_modules/@anthropic-ai/claude-code-linux-x64/claude",
        runtime: None,
    }),
    quiet: &[("DISABLE_AUTOUPDATER", "1"), ("DISABLE_TELEMETRY", "1"), ("DISABLE_ERROR_REPORTING", "1")],
    files: &[
        // Neither a repository nor a user can overrule it (https://code.claude.com/docs/en/settings).
        ("/etc/claude-code/managed-settings.json", include_str!("claude/managed-settings.json")),
        // What every session is told first (https://code.claude.com/docs/en/memory).
        ("/etc/claude-code/CLAUDE.md", super::THIS_MACHINE),
    ],
    reports: true,
    memory: Some(".claude/CLAUDE.md"),
    transcripts: Transcripts::BelowHome(".claude/projects"),
    configuration: Some(".claude"),
    embedded: &["ugrep", "bfs", "rg"],
    logins: &[".claude/.credentials.json", ".claude.json"],
    key: "ANTHROPIC_API_KEY",
    resume: "claude -c",
    unattended: "claude -p \"…\" --output-format stream-json --verbose",
};

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    #[test]
    fn it_reports_every_event_that_the_idle_agent_reads_and_never_waits_long() {
        let (_, settings) = PROFILE.files[0];
        let settings: Value = serde_json::from_str(settings).unwrap();
        // A conversation outlives any sleep: it is deleted by its age when Claude Code starts.
        assert!(settings["cleanupPeriodDays"].as_u64().unwrap() > 366);
        let hooks = settings["hooks"].as_object().unwrap();
        for event in ["SessionStart", "UserPromptSubmit", "PreToolUse", "PostToolUse", "Stop", "SessionEnd"] {
            assert!(hooks.contains_key(event), "{event}");
        }
        for (event, matchers) in hooks {
            let hook = &matchers[0]["hooks"][0];
            assert_eq!(hook["command"], "/usr/local/bin/ebb hook || true", "{event}");
            assert_eq!(hook["timeout"], 2, "{event}");
        }
    }
}
