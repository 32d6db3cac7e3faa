//! Agents that report nothing to us: Codex, Gemini CLI, OpenCode, Aider.
//! What vouches for them is seen from outside only; the model's last word ends a turn here too.

use super::Scene;
use super::stage::Stage;
use anyhow::Result;

const CODEX: &[&str] = &["codex"];
const GEMINI: &[&str] = &["gemini", "node"];
const OPENCODE: &[&str] = &["opencode"];
const AIDER: &[&str] = &["aider", "python3"];
/// How long what must not be cut off shows nothing.
const LONG: f64 = 1.5;

macro_rules! scene {
    ($name:literal, $programs:ident, $argument:literal, $play:expr) => {
        Scene { name: $name, argument: $argument, programs: $programs, play: $play }
    };
}

pub const SCENES: &[Scene] = &[
    scene!(
        "codex-thinks",
        CODEX,
        "the model answers after one and a half idle timeouts; codex exec ends with its answer",
        |stage| { once(stage, LONG, "codex exec 'do:think {}' </dev/null") }
    ),
    scene!(
        "codex-streams",
        CODEX,
        "the answer comes word by word for one and a half idle timeouts and ends the run",
        |stage| { once(stage, LONG, "codex exec 'do:stream {}' </dev/null") }
    ),
    scene!(
        "codex-quiet-command",
        CODEX,
        "a command in the turn says nothing for one and a half idle timeouts; the model's last word comes after it",
        |stage| { once(stage, LONG, "codex exec 'do:run python3 /home/ebb/quiet.py {}' </dev/null") }
    ),
    scene!(
        "codex-parked",
        CODEX,
        "the turn ends after an idle timeout; Codex stays at its prompt with nobody there",
        |stage| { once(stage, 1.0, "codex --no-daemon 'do:think {}'") }
    ),
    scene!("codex-killed", CODEX, "kill -9 in the middle of a model call: the process is gone", |stage| {
        stage.window("agent", &format!("exec codex exec 'do:think {}' </dev/null", stage.times(15.0)))?;
        stage.asked(1)?;
        stage.must_stay()?;
        stage.lasts_timeouts(1.25);
        stage.machine.crash("codex")?;
        stage.must_sleep()
    }),
    scene!(
        "gemini-thinks",
        GEMINI,
        "the model thinks twice for three quarters of an idle timeout (Gemini CLI gives a question up after a minute), with a command between; gemini -p ends with its answer",
        |stage| once(
            stage,
            0.75,
            "gemini -m gemini-2.5-flash --yolo -p 'do:think {},do:run sleep 1,do:think {}'"
        )
    ),
    scene!(
        "gemini-streams",
        GEMINI,
        "the answer comes word by word for one and a half idle timeouts and ends the run",
        |stage| { once(stage, LONG, "gemini -m gemini-2.5-flash --yolo -p 'do:stream {}'") }
    ),
    scene!(
        "gemini-quiet-command",
        GEMINI,
        "a command in the turn sleeps for one and a half idle timeouts; the model's last word comes after it",
        |stage| { once(stage, LONG, "gemini -m gemini-2.5-flash --yolo -p 'do:run sleep {}'") }
    ),
    scene!(
        "gemini-parked",
        GEMINI,
        "the turn ends after three quarters of an idle timeout; Gemini CLI stays at its prompt with nobody there",
        |stage| { once(stage, 0.75, "gemini -m gemini-2.5-flash --yolo -i 'do:think {}'") }
    ),
    scene!(
        "opencode-thinks",
        OPENCODE,
        "the model answers after one and a half idle timeouts; opencode run ends with its answer",
        |stage| { once(stage, LONG, "opencode run 'do:think {}'") }
    ),
    scene!(
        "opencode-streams",
        OPENCODE,
        "the answer comes word by word for one and a half idle timeouts and ends the run",
        |stage| { once(stage, LONG, "opencode run 'do:stream {}'") }
    ),
    scene!(
        "opencode-quiet-command",
        OPENCODE,
        "a command in the turn sleeps for one and a half idle timeouts; the model's last word comes after it",
        |stage| { once(stage, LONG, "opencode run 'do:run sleep {}'") }
    ),
    scene!(
        "opencode-parked",
        OPENCODE,
        "the turn ends after an idle timeout; OpenCode stays at its prompt with nobody there",
        |stage| { once(stage, 1.0, "opencode --prompt 'do:think {}'") }
    ),
    scene!(
        "aider-thinks",
        AIDER,
        "the model answers after one and a half idle timeouts; aider --message ends with its answer",
        |stage| { once(stage, LONG, "aider $aider --message 'do:think {}'") }
    ),
    scene!(
        "aider-streams",
        AIDER,
        "the answer comes word by word for one and a half idle timeouts and ends the run",
        |stage| { once(stage, LONG, "aider $aider --message 'do:stream {}'") }
    ),
    scene!(
        "aider-parked",
        AIDER,
        "a person asks once, the model thinks for an idle timeout, then Aider is at its prompt with nobody there",
        |stage| {
            aider(stage)?;
            stage.types("agent", &format!("do:think {}", stage.times(1.0)))?;
            stage.asked(1)?;
            stage.must_stay()?;
            stage.finished(1)?;
            stage.must_sleep()
        }
    ),
];

/// One run of an agent that does something for so many idle timeouts; its model's last word is the end of it.
fn once(stage: &Stage<'_>, timeouts: f64, program: &str) -> Result<()> {
    stage.window("agent", &format!("exec {}", program.replace("{}", &stage.times(timeouts).to_string())))?;
    stage.asked(1)?;
    stage.must_stay()?;
    stage.finished(1)?;
    stage.must_sleep()
}

/// Aider at its prompt.
pub fn aider(stage: &Stage<'_>) -> Result<()> {
    stage.window("agent", "exec aider $aider")?;
    stage.shows("agent", "Repo-map: disabled")?;
    stage.lasts(3);
    Ok(())
}
