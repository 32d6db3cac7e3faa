//! Claude Code, in a terminal of its own as people use it unless the scene says otherwise.
//! What ends a turn is the model's last word, which `model.py` notes; the screen is asked only about questions.

use super::Scene;
use super::stage::Stage;
use anyhow::Result;

const CLAUDE: &[&str] = &["claude"];
/// May run the commands of the scenes without asking.
const ALLOWED: &str =
    "--permission-mode acceptEdits --allowedTools \"Bash(sleep:*)\" \"Bash(python3:*)\" Task Agent";

macro_rules! scene {
    ($name:literal, $argument:literal, $play:expr) => {
        Scene { name: $name, argument: $argument, programs: CLAUDE, play: $play }
    };
}

pub const SCENES: &[Scene] = &[
    scene!("claude-thinks", "the model answers 50 s after it was asked; its answer ends the turn", |stage| {
        turn(stage, "do:think 50")
    }),
    scene!(
        "claude-streams",
        "the answer comes word by word for 50 s; its last word ends the turn",
        |stage| { turn(stage, "do:stream 50") }
    ),
    scene!(
        "claude-quiet-command",
        "a command in the turn says nothing for 50 s; the model's last word comes after it",
        |stage| { turn(stage, "do:run python3 /home/ebb/quiet.py 50") }
    ),
    scene!("claude-sub-agent", "the turn waits for a sub-agent whose model thinks 50 s", |stage| {
        turn(stage, "do:agent think 50")
    }),
    scene!(
        "claude-retries",
        "the model answers 503 for 40 s, Claude Code asks it again and again, then it answers",
        |stage| { turn(stage, "do:busy 40") }
    ),
    scene!(
        "claude-thinks-and-runs",
        "thinking, a command and thinking again, 20 s each, in one turn",
        |stage| { turn(stage, "do:think 20,do:run python3 /home/ebb/quiet.py 20,do:think 20") }
    ),
    scene!(
        "claude-background-shell",
        "the turn ends at once; the command that it left ends 50 s later, and Claude Code says so to the model",
        |stage| {
            start(stage, "do:background sleep 50")?;
            stage.finished(1)?;
            stage.must_stay()?;
            // The command's end begins a turn of its own.
            stage.finished(2)?;
            stage.must_sleep()
        }
    ),
    scene!(
        "claude-background-agent",
        "the turn ends at once; the sub-agent that it left is answered 50 s later",
        |stage| {
            start(stage, "do:later think 50")?;
            stage.finished(1)?;
            stage.must_stay()?;
            stage.finished(3)?;
            stage.must_sleep()
        }
    ),
    scene!(
        "claude-asks",
        "a question is kept for its budget of 60 s, and nobody answers; then nothing is left to wait for",
        |stage| {
            start(stage, "do:ask")?;
            asks(stage, "Go on?")
        }
    ),
    scene!(
        "claude-permission",
        "a request for permission is kept for its budget of 60 s, and nobody answers",
        |stage| {
            start(stage, "do:run curl -s http://127.0.0.1:9")?;
            asks(stage, "Do you want")
        }
    ),
    scene!(
        "claude-answered",
        "a question is answered after 30 s, the model thinks 30 s more, and that ends the turn",
        |stage| {
            start(stage, "do:ask,do:think 30")?;
            stage.shows("claude", "Go on?")?;
            stage.must_stay()?;
            stage.lasts(30);
            stage.presses("claude", "Enter")?;
            stage.finished(1)?;
            stage.must_sleep()
        }
    ),
    scene!(
        "claude-killed",
        "kill -9 in the middle of a model call: the process is gone, nothing can go on",
        |stage| {
            start(stage, "do:think 300")?;
            stage.asked(1)?;
            stage.must_stay()?;
            stage.lasts(25);
            stage.machine.crash("claude")?;
            stage.must_sleep()
        }
    ),
    scene!(
        "claude-interrupted",
        "a person presses Esc in the middle of a model call: Claude Code is back at its prompt",
        |stage| {
            start(stage, "do:think 300")?;
            stage.asked(1)?;
            stage.must_stay()?;
            stage.lasts(25);
            stage.presses("claude", "Escape")?;
            // Back at the prompt at once; before any answer the screen says nothing about it.
            stage.lasts(2);
            stage.must_sleep_within(25)
        }
    ),
    scene!(
        "claude-lost-end",
        "the reports around the turn's end are lost (our socket is shut); the model's last word still ends it",
        |stage| {
            start(stage, "do:think 40")?;
            stage.asked(1)?;
            stage.must_stay()?;
            stage.lasts(5);
            let socket = "/run/ebbtide/agent.sock";
            stage.root(&format!("chmod 0 {socket}"))?;
            stage.finished(1)?;
            stage.lasts(2);
            stage.root(&format!("chmod 660 {socket}"))?;
            stage.must_sleep_within(25)
        }
    ),
    scene!(
        "claude-lost-begin",
        "the report of a turn's beginning is lost; the model thinks 50 s all the same",
        |stage| {
            start(stage, "do:think 1")?;
            stage.finished(1)?;
            let socket = "/run/ebbtide/agent.sock";
            stage.root(&format!("chmod 0 {socket}"))?;
            stage.types("claude", "do:think 50")?;
            stage.asked(2)?;
            stage.must_stay()?;
            stage.lasts(3);
            stage.root(&format!("chmod 660 {socket}"))?;
            stage.finished(2)?;
            stage.must_sleep()
        }
    ),
    scene!(
        "claude-two-sessions",
        "one session is done at once, the other's model thinks 50 s: the later end counts",
        |stage| {
            start(stage, "do:think 1")?;
            stage.window("second", &format!("exec claude {ALLOWED} -- 'do:think 50'"))?;
            stage.asked(2)?;
            stage.must_stay()?;
            stage.finished(2)?;
            stage.must_sleep()
        }
    ),
    scene!(
        "claude-parked",
        "one short turn, then Claude Code stays at its prompt with nobody there",
        |stage| {
            start(stage, "do:think 1")?;
            stage.finished(1)?;
            stage.must_sleep_within(30)
        }
    ),
    scene!("claude-never-prompted", "Claude Code is started and never asked anything", |stage| {
        stage.window("claude", &format!("exec claude {ALLOWED}"))?;
        stage.shows("claude", "accept edits on")?;
        stage.lasts(5);
        stage.must_sleep_within(30)
    }),
    scene!("claude-print-ends", "claude -p answers after 40 s and ends by itself", |stage| {
        stage.window("claude", "exec claude -p -- 'do:think 40'")?;
        stage.asked(1)?;
        stage.must_stay()?;
        stage.finished(1)?;
        stage.must_sleep()
    }),
    scene!("claude-without-hooks", "claude --bare runs no hooks; its model thinks 50 s", |stage| {
        stage.window("claude", "exec claude --bare -p -- 'do:think 50'")?;
        stage.asked(1)?;
        stage.must_stay()?;
        stage.finished(1)?;
        stage.must_sleep()
    }),
    scene!(
        "claude-resumed",
        "a session that ended goes on with claude --continue -p; its model thinks 45 s",
        |stage| {
            stage.window("first", "exec claude -p -- 'do:think 1'")?;
            stage.finished(1)?;
            stage.lasts(5);
            stage.window("claude", "exec claude --continue -p -- 'do:think 45'")?;
            stage.asked(2)?;
            stage.must_stay()?;
            stage.finished(2)?;
            stage.must_sleep()
        }
    ),
    scene!(
        "claude-left-server",
        "all that the turn left in the background is a server that nobody visits",
        |stage| {
            start(stage, "do:background python3 -m http.server 3000")?;
            stage.listens(3000)?;
            stage.finished(1)?;
            stage.must_sleep_within(30)
        }
    ),
    scene!(
        "claude-several-turns",
        "a person asks three times, 12 s apart, the model thinks 10 s each time",
        |stage| {
            start(stage, "do:think 10")?;
            stage.asked(1)?;
            stage.must_stay()?;
            for turn in 2..=3 {
                stage.finished(turn - 1)?;
                stage.lasts(12);
                stage.types("claude", "do:think 10")?;
                stage.asked(turn)?;
            }
            stage.finished(3)?;
            stage.must_sleep()
        }
    ),
];

fn start(stage: &Stage<'_>, prompt: &str) -> Result<()> {
    stage.window("claude", &format!("exec claude {ALLOWED} -- '{prompt}'"))
}

fn turn(stage: &Stage<'_>, prompt: &str) -> Result<()> {
    start(stage, prompt)?;
    stage.asked(1)?;
    stage.must_stay()?;
    // A sub-agent has a last word of its own, and what started it speaks before and after.
    stage.finished(if prompt.starts_with("do:agent") { 3 } else { 1 })?;
    stage.must_sleep()
}

/// The budget begins with the question; what a look or two may be late is left without a label.
fn asks(stage: &Stage<'_>, question: &str) -> Result<()> {
    stage.shows("claude", question)?;
    stage.must_stay()?;
    stage.lasts(50);
    stage.mark("unlabelled")?;
    stage.lasts(18);
    stage.must_sleep()
}
