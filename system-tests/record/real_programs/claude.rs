//! Claude Code, in a terminal of its own as people use it unless the scene says otherwise.
//! What ends a turn is the model's last word, which `fake_llm.py` notes; the screen is asked only about questions.

use super::stage::Stage;
use super::{Scene, programs};
use anyhow::Result;

const CLAUDE: &[&str] = &["claude"];
/// May run the commands of the scenes without asking.
const ALLOWED: &str = "--permission-mode acceptEdits --allowedTools \"Bash(sleep:*)\" \"Bash(python3:*)\" \
     \"Bash(node:*)\" \"Bash(tail:*)\" \"Bash(/usr/bin/grep:*)\" Task Agent CronCreate";
/// How long what must not be cut off shows nothing: longer than the idle timeout, within the bounds of the engine.
const LONG: f64 = 1.5;
/// The socket to which reports go.
const SOCKET: &str = "/run/ebbtide/agent.sock";

macro_rules! scene {
    ($name:literal, $argument:literal, $play:expr) => {
        Scene { name: $name, argument: $argument, programs: CLAUDE, play: $play }
    };
    ($name:literal, $programs:expr, $argument:literal, $play:expr) => {
        Scene { name: $name, argument: $argument, programs: $programs, play: $play }
    };
}

pub const SCENES: &[Scene] = &[
    scene!(
        "claude-thinks",
        "the model answers one and a half idle timeouts after it was asked; its answer ends the turn",
        |stage| turn(stage, "think")
    ),
    scene!(
        "claude-streams",
        "the answer comes word by word for one and a half idle timeouts; its last word ends the turn",
        |stage| turn(stage, "stream")
    ),
    scene!(
        "claude-quiet-command",
        "a command in the turn says nothing for one and a half idle timeouts; the model's last word comes after it",
        |stage| turn(stage, "run python3 /home/ebb/quiet.py")
    ),
    scene!(
        "claude-sub-agent",
        "the turn waits for a sub-agent whose model thinks for one and a half idle timeouts",
        |stage| turn(stage, "agent think")
    ),
    scene!(
        "claude-retries",
        "the model answers 503 for one and a half idle timeouts, Claude Code asks it again and again, then it answers",
        |stage| turn(stage, "busy")
    ),
    scene!(
        "claude-thinks-and-runs",
        "thinking, a command and thinking again, three quarters of an idle timeout each, in one turn",
        |stage| {
            let secs = stage.times(0.75);
            start(
                stage,
                &format!("do:think {secs},do:run python3 /home/ebb/quiet.py {secs},do:think {secs}"),
            )?;
            stage.asked(1)?;
            stage.must_stay()?;
            stage.finished(1)?;
            stage.must_sleep()
        }
    ),
    scene!(
        "claude-background-shell",
        "the turn ends at once; the command that it left ends one and a half idle timeouts later, and Claude Code says so to the model",
        |stage| {
            start(stage, &format!("do:background sleep {}", stage.times(LONG)))?;
            stage.finished(1)?;
            stage.must_stay()?;
            // The command's end begins a turn of its own.
            stage.finished(2)?;
            stage.must_sleep()
        }
    ),
    scene!(
        "claude-background-agent",
        "the turn ends at once; the sub-agent that it left is answered one and a half idle timeouts later",
        |stage| {
            start(stage, &format!("do:later think {}", stage.times(LONG)))?;
            stage.finished(1)?;
            stage.must_stay()?;
            stage.finished(3)?;
            stage.must_sleep()
        }
    ),
    scene!(
        "claude-left-tail-grep",
        "the turn left `tail -f log | grep -m1 done` in the background: it waits for what a job writes one and a half idle timeouts later, and Claude Code then goes on",
        |stage| {
            let job = format!("sleep {}; echo done >> log; sleep 1; date >> log", stage.times(LONG));
            stage.window("job", &format!("date > log; {job}; exec bash"))?;
            // By its path: the `grep` of Claude Code's shells is Claude Code itself, which waits for more than a line.
            start(stage, "do:background tail -f log | /usr/bin/grep -m1 done")?;
            stage.finished(1)?;
            stage.must_stay()?;
            stage.finished(2)?;
            stage.must_sleep()
        }
    ),
    scene!(
        "claude-left-watcher",
        &["claude", "vite", "node"],
        "all that the turn left in the background is a build that waits for changes of files, and nobody changes any",
        left_watcher
    ),
    scene!(
        "claude-scheduled-wake-up",
        "the turn has set a time to go on by itself, one and a half idle timeouts later at the least: its report alone tells of it",
        |stage| {
            start(stage, &format!("do:wake {}", stage.times(LONG)))?;
            stage.finished(1)?;
            stage.must_stay()?;
            stage.lasts(3);
            stage.mark("told-once")?;
            stage.finished(2)?;
            stage.must_sleep()
        }
    ),
    scene!(
        "claude-asks",
        "a question is kept for its budget of three idle timeouts, and nobody answers; then nothing is left to wait for",
        |stage| {
            start(stage, "do:ask")?;
            asks(stage, "Go on?")
        }
    ),
    scene!(
        "claude-permission",
        "a request for permission is kept for its budget of three idle timeouts, and nobody answers",
        |stage| {
            start(stage, "do:run curl -s http://127.0.0.1:9")?;
            asks(stage, "Do you want")
        }
    ),
    scene!(
        "claude-answered",
        "a question is answered after an idle timeout, the model thinks as long again, and that ends the turn",
        |stage| {
            start(stage, &format!("do:ask,do:think {}", stage.times(1.0)))?;
            stage.shows("claude", "Go on?")?;
            stage.must_stay()?;
            stage.lasts_timeouts(1.0);
            stage.presses("claude", "Enter")?;
            stage.finished(1)?;
            stage.must_sleep()
        }
    ),
    scene!(
        "claude-killed",
        "kill -9 in the middle of a model call: the process is gone, nothing can go on",
        |stage| {
            thinks_when(stage)?;
            stage.machine.crash("claude")?;
            stage.must_sleep()
        }
    ),
    scene!(
        "claude-interrupted",
        "a person presses Esc in the middle of a model call: Claude Code is back at its prompt",
        |stage| {
            thinks_when(stage)?;
            stage.presses("claude", "Escape")?;
            // Back at the prompt at once; before any answer the screen says nothing about it.
            stage.lasts(2);
            stage.must_sleep()
        }
    ),
    scene!(
        "claude-lost-end",
        "the reports around the turn's end are lost (our socket is shut); the model's last word still ends it",
        |stage| {
            start(stage, &format!("do:think {}", stage.times(LONG)))?;
            stage.asked(1)?;
            stage.must_stay()?;
            stage.lasts(5);
            stage.root(&format!("chmod 0 {SOCKET}"))?;
            stage.finished(1)?;
            stage.lasts(2);
            stage.root(&format!("chmod 660 {SOCKET}"))?;
            stage.must_sleep()
        }
    ),
    scene!(
        "claude-lost-begin",
        "the report of a turn's beginning is lost; the model thinks for one and a half idle timeouts all the same",
        |stage| {
            start(stage, "do:think 1")?;
            stage.finished(1)?;
            stage.root(&format!("chmod 0 {SOCKET}"))?;
            stage.types("claude", &format!("do:think {}", stage.times(LONG)))?;
            stage.asked(2)?;
            stage.must_stay()?;
            stage.lasts(3);
            stage.root(&format!("chmod 660 {SOCKET}"))?;
            stage.finished(2)?;
            stage.must_sleep()
        }
    ),
    scene!(
        "claude-two-sessions",
        "one session is done at once, the other's model thinks for one and a half idle timeouts: the later end counts",
        |stage| {
            start(stage, "do:think 1")?;
            let prompt = format!("do:think {}", stage.times(LONG));
            stage.window("second", &format!("exec claude {ALLOWED} -- '{prompt}'"))?;
            stage.asked(2)?;
            stage.must_stay()?;
            stage.finished(2)?;
            stage.must_sleep()
        }
    ),
    scene!("claude-parked", "one short turn, then Claude Code stays at its prompt with nobody there", parked),
    scene!("claude-never-prompted", "Claude Code is started and never asked anything", |stage| {
        stage.window("claude", &format!("exec claude {ALLOWED}"))?;
        stage.shows("claude", "accept edits on")?;
        stage.lasts(5);
        stage.must_sleep()
    }),
    scene!(
        "claude-print-ends",
        "claude -p answers after one and a half idle timeouts and ends by itself",
        |stage| { prints(stage, "") }
    ),
    scene!(
        "claude-without-hooks",
        "claude --bare runs no hooks; its model thinks for one and a half idle timeouts",
        |stage| { prints(stage, "--bare") }
    ),
    scene!(
        "claude-resumed",
        "a session that ended goes on with claude --continue -p; its model thinks for one and a half idle timeouts",
        |stage| {
            stage.window("first", "exec claude -p -- 'do:think 1'")?;
            stage.finished(1)?;
            stage.lasts(5);
            let prompt = format!("do:think {}", stage.times(LONG));
            stage.window("claude", &format!("exec claude --continue -p -- '{prompt}'"))?;
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
            stage.must_sleep()
        }
    ),
    scene!(
        "claude-several-turns",
        "a person asks three times, with a pause of half an idle timeout, and the model thinks for half of one each time",
        |stage| {
            let prompt = format!("do:think {}", stage.times(0.5));
            start(stage, &prompt)?;
            stage.asked(1)?;
            stage.must_stay()?;
            for turn in 2..=3 {
                stage.finished(turn - 1)?;
                stage.lasts_timeouts(0.5);
                stage.types("claude", &prompt)?;
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

/// One turn that does something for long.
fn turn(stage: &Stage<'_>, step: &str) -> Result<()> {
    start(stage, &format!("do:{step} {}", stage.times(LONG)))?;
    stage.asked(1)?;
    stage.must_stay()?;
    // A sub-agent has a last word of its own, and what started it speaks before and after.
    stage.finished(if step.starts_with("agent") { 3 } else { 1 })?;
    stage.must_sleep()
}

/// One that ends by itself with its answer.
fn prints(stage: &Stage<'_>, arguments: &str) -> Result<()> {
    let prompt = format!("do:think {}", stage.times(LONG));
    stage.window("claude", &format!("exec claude {arguments} -p -- '{prompt}'"))?;
    stage.asked(1)?;
    stage.must_stay()?;
    stage.finished(1)?;
    stage.must_sleep()
}

/// Gets into the middle of a model call, of which the answer is far off.
fn thinks_when(stage: &Stage<'_>) -> Result<()> {
    start(stage, &format!("do:think {}", stage.times(15.0)))?;
    stage.asked(1)?;
    stage.must_stay()?;
    stage.lasts_timeouts(1.25);
    Ok(())
}

/// Comes to its prompt after a short turn and stays there.
pub fn parked(stage: &Stage<'_>) -> Result<()> {
    start(stage, "do:think 1")?;
    stage.finished(1)?;
    stage.must_sleep()
}

/// Leaves a build that watches, and stays at its prompt.
pub fn left_watcher(stage: &Stage<'_>) -> Result<()> {
    programs::app(stage)?;
    start(stage, "do:background node /home/ebb/app/node_modules/.bin/vite build --watch /home/ebb/app")?;
    stage.finished(1)?;
    stage.holds("test -e ~/app/dist/index.html")?;
    stage.lasts(5);
    stage.must_sleep()
}

/// The budget begins with the question; what a look or two may be late is left without a label.
fn asks(stage: &Stage<'_>, question: &str) -> Result<()> {
    stage.shows("claude", question)?;
    stage.must_stay()?;
    stage.lasts(stage.times(3.0).saturating_sub(10));
    stage.mark("unlabelled")?;
    stage.lasts(18);
    stage.must_sleep()
}
