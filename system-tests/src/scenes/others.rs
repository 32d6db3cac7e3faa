//! Agents that report nothing to us: Codex, Gemini CLI, OpenCode, Aider.
//! What vouches for them is seen from outside only; the model's last word ends a turn here too.

use super::Scene;
use super::stage::Stage;
use anyhow::Result;

const CODEX: &[&str] = &["codex"];
const GEMINI: &[&str] = &["gemini", "node"];
const OPENCODE: &[&str] = &["opencode"];
const AIDER: &[&str] = &["aider", "python3"];

macro_rules! scene {
    ($name:literal, $programs:ident, $argument:literal, $play:expr) => {
        Scene { name: $name, argument: $argument, programs: $programs, play: $play }
    };
}

pub const SCENES: &[Scene] = &[
    scene!("codex-thinks", CODEX, "the model answers after 50 s; codex exec ends with its answer", |stage| {
        once(stage, "codex exec 'do:think 50' </dev/null", 1)
    }),
    scene!("codex-streams", CODEX, "the answer comes word by word for 50 s and ends the run", |stage| {
        once(stage, "codex exec 'do:stream 50' </dev/null", 1)
    }),
    scene!(
        "codex-quiet-command",
        CODEX,
        "a command in the turn says nothing for 25 s; the model's last word comes after it",
        |stage| { once(stage, "codex exec 'do:run python3 /home/ebb/quiet.py 25' </dev/null", 1) }
    ),
    scene!(
        "codex-parked",
        CODEX,
        "the turn ends after 30 s; Codex stays at its prompt with nobody there",
        |stage| { once(stage, "codex --no-daemon 'do:think 30'", 1) }
    ),
    scene!("codex-killed", CODEX, "kill -9 in the middle of a model call: the process is gone", |stage| {
        stage.window("agent", "exec codex exec 'do:think 300' </dev/null")?;
        stage.asked(1)?;
        stage.must_stay()?;
        stage.lasts(25);
        stage.machine.crash("codex")?;
        stage.must_sleep()
    }),
    scene!(
        "gemini-thinks",
        GEMINI,
        "the model answers after 50 s; gemini -p ends with its answer",
        |stage| { once(stage, "gemini -m gemini-2.5-flash --yolo -p 'do:think 50'", 1) }
    ),
    scene!("gemini-streams", GEMINI, "the answer comes word by word for 50 s and ends the run", |stage| {
        once(stage, "gemini -m gemini-2.5-flash --yolo -p 'do:stream 50'", 1)
    }),
    scene!(
        "gemini-quiet-command",
        GEMINI,
        "a command in the turn sleeps 45 s; the model's last word comes after it",
        |stage| { once(stage, "gemini -m gemini-2.5-flash --yolo -p 'do:run sleep 45'", 1) }
    ),
    scene!(
        "gemini-parked",
        GEMINI,
        "the turn ends after 30 s; Gemini CLI stays at its prompt with nobody there",
        |stage| { once(stage, "gemini -m gemini-2.5-flash --yolo -i 'do:think 30'", 1) }
    ),
    scene!(
        "opencode-thinks",
        OPENCODE,
        "the model answers after 50 s; opencode run ends with its answer",
        |stage| { once(stage, "opencode run 'do:think 50'", 1) }
    ),
    scene!(
        "opencode-streams",
        OPENCODE,
        "the answer comes word by word for 50 s and ends the run",
        |stage| { once(stage, "opencode run 'do:stream 50'", 1) }
    ),
    scene!(
        "opencode-quiet-command",
        OPENCODE,
        "a command in the turn sleeps 45 s; the model's last word comes after it",
        |stage| { once(stage, "opencode run 'do:run sleep 45'", 1) }
    ),
    scene!(
        "opencode-parked",
        OPENCODE,
        "the turn ends after 30 s; OpenCode stays at its prompt with nobody there",
        |stage| { once(stage, "opencode --prompt 'do:think 30'", 1) }
    ),
    scene!(
        "aider-thinks",
        AIDER,
        "the model answers after 50 s; aider --message ends with its answer",
        |stage| { once(stage, "aider $aider --message 'do:think 50'", 1) }
    ),
    scene!("aider-streams", AIDER, "the answer comes word by word for 50 s and ends the run", |stage| {
        once(stage, "aider $aider --message 'do:stream 50'", 1)
    }),
    scene!(
        "aider-parked",
        AIDER,
        "a person asks once, the model thinks 30 s, then Aider is at its prompt with nobody there",
        |stage| {
            stage.window("agent", "exec aider $aider")?;
            stage.shows("agent", "Repo-map: disabled")?;
            stage.lasts(3);
            stage.types("agent", "do:think 30")?;
            stage.asked(1)?;
            stage.must_stay()?;
            stage.finished(1)?;
            stage.must_sleep()
        }
    ),
];

/// One run of an agent; its model's last word is the end of it.
fn once(stage: &Stage<'_>, program: &str, turns: usize) -> Result<()> {
    stage.window("agent", &format!("exec {program}"))?;
    stage.asked(1)?;
    stage.must_stay()?;
    stage.finished(turns)?;
    stage.must_sleep()
}
