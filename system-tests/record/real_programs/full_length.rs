//! Programs at rest at full length: half an hour's idle timeout, and what programs do by clocks of their own every few
//! minutes. All their work is over when the watching begins; so these say only how long a workspace is kept for nothing.

use super::stage::Stage;
use super::{Scene, claude, jobs, others, people};
use anyhow::Result;

macro_rules! scene {
    ($name:literal, $programs:expr, $argument:literal, $play:expr) => {
        Scene { name: $name, argument: $argument, programs: $programs, play: $play }
    };
}

pub const SCENES: &[Scene] = &[
    scene!(
        "claude-parked-full-length",
        &["claude"],
        "one short turn, then Claude Code stays at its prompt with nobody there, at full length",
        claude::parked
    ),
    scene!(
        "codex-parked-full-length",
        &["codex"],
        "one short turn, then Codex stays at its prompt with nobody there, at full length",
        |stage| parked(stage, "codex --no-daemon 'do:think 5'")
    ),
    scene!(
        "gemini-parked-full-length",
        &["gemini", "node"],
        "one short turn, then Gemini CLI stays at its prompt with nobody there, at full length",
        |stage| parked(stage, "gemini -m gemini-2.5-flash --yolo -i 'do:think 5'")
    ),
    scene!(
        "opencode-parked-full-length",
        &["opencode"],
        "one short turn, then OpenCode stays at its prompt with nobody there, at full length",
        |stage| parked(stage, "opencode --prompt 'do:think 5'")
    ),
    scene!(
        "aider-parked-full-length",
        &["aider", "python3"],
        "one short turn, then Aider stays at its prompt with nobody there, at full length",
        |stage| {
            others::aider(stage)?;
            stage.types("agent", "do:think 5")?;
            stage.finished(1)?;
            stage.must_sleep()
        }
    ),
    scene!(
        "cloudcli-tab-left-open-full-length",
        &["cloudcli", "node", "claude"],
        "CloudCLI runs with a tab's socket open, nobody has asked anything, at full length",
        jobs::tab_left_open
    ),
    scene!(
        "vite-unvisited-full-length",
        &["vite", "node"],
        "a dev server with hot reload runs and nobody visits it, at full length",
        jobs::unvisited
    ),
    scene!(
        "tmux-left-open-full-length",
        &["tmux"],
        "three terminals with shells stand open, and nobody types, at full length",
        people::left_open
    ),
    scene!(
        "claude-left-watcher-full-length",
        &["claude", "vite", "node"],
        "all that the turn left is a build that waits for changes of files, and nobody changes any, at full length",
        claude::left_watcher
    ),
];

/// A short turn of an agent, and then its prompt.
fn parked(stage: &Stage<'_>, program: &str) -> Result<()> {
    stage.window("agent", &format!("exec {program}"))?;
    stage.finished(1)?;
    stage.must_sleep()
}
