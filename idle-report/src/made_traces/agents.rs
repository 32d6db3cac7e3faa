//! Agents that think, ask, wait, die and forget to say so.

use super::Script;
use crate::scene::Scene;
use ebbtide_idle_agent::idle::facts::SessionStatus;
use ebbtide_idle_agent::idle::read::hook::{Asks, Happened, Left};

const MINUTE: u64 = 60;
const HOUR: u64 = 3600;
const NOTHING: Left = Left { shells: 0, others: 0, wakeups: 0 };

pub const SCENES: &[Script] = &[
    (
        "model-thinks-25-minutes",
        "a call that was sent is unanswered for 25 min; the turn ends with the answer",
        |s| {
            let claude = s.agent("claude");
            s.prompt(claude);
            s.must_stay();
            s.pass(25 * MINUTE);
            s.work(claude, 60);
            s.stop(claude, NOTHING);
            s.must_sleep();
            s.pass(10 * MINUTE);
        },
    ),
    ("answer-streams-50-minutes", "bytes of the answer come in all the time; then the turn ends", |s| {
        let claude = s.agent("claude");
        s.prompt(claude);
        s.must_stay();
        s.call(claude, 200);
        s.pass(50 * MINUTE);
        s.stop(claude, NOTHING);
        s.must_sleep();
        s.pass(10 * MINUTE);
    }),
    ("agent-works-two-hours", "calls and commands follow each other for two hours", |s| {
        let claude = s.agent("claude");
        s.prompt(claude);
        s.must_stay();
        s.work(claude, 2 * HOUR);
        s.stop(claude, NOTHING);
        s.must_sleep();
        s.pass(10 * MINUTE);
    }),
    ("stop-report-lost", "the turn ends, its report does not arrive; the session file says idle", |s| {
        let claude = s.agent("claude");
        s.prompt(claude);
        s.must_stay();
        s.work(claude, 10 * MINUTE);
        s.answered(claude);
        s.says(claude, SessionStatus::Idle);
        s.must_sleep();
        s.lost();
        s.pass(10 * MINUTE);
    }),
    (
        "prompt-report-lost",
        "the turn's begin is not reported; file, connection and transcript show it",
        |s| {
            let claude = s.agent("claude");
            s.type_keys();
            s.says(claude, SessionStatus::Busy);
            s.call(claude, 0);
            s.must_stay();
            s.pass(20 * MINUTE);
            s.work(claude, 5 * MINUTE);
            s.stop(claude, NOTHING);
            s.must_sleep();
            s.pass(10 * MINUTE);
        },
    ),
    ("agent-killed-in-turn", "the process is gone, and with it the turn", |s| {
        let claude = s.agent("claude");
        s.prompt(claude);
        s.must_stay();
        s.work(claude, 5 * MINUTE);
        s.end(claude);
        s.must_sleep();
        s.pass(10 * MINUTE);
    }),
    (
        "agent-stopped-by-signal",
        "SIGSTOP in a turn: nothing of it can go on, its file still says busy",
        |s| {
            let claude = s.agent("claude");
            s.prompt(claude);
            s.must_stay();
            s.work(claude, 5 * MINUTE);
            s.hang_up(claude);
            s.load(claude, 0);
            s.must_sleep();
            s.lost();
            s.pass(10 * MINUTE);
        },
    ),
    ("background-build-after-turn", "the turn is over and a shell of it builds for 40 min", |s| {
        let claude = s.agent("claude");
        s.prompt(claude);
        s.must_stay();
        s.work(claude, 5 * MINUTE);
        let shell = s.spawn(claude, "bash");
        let build = s.spawn(shell, "ninja");
        s.load(build, 900);
        s.stop(claude, Left { shells: 1, ..NOTHING });
        s.pass(40 * MINUTE);
        s.end(shell);
        s.report(claude, Happened::Stopped(NOTHING));
        s.says(claude, SessionStatus::Idle);
        s.must_sleep();
        s.pass(10 * MINUTE);
    }),
    ("background-server-after-turn", "all that is left of the turn is a dev server that polls", |s| {
        let claude = s.agent("claude");
        s.prompt(claude);
        s.must_stay();
        s.work(claude, 5 * MINUTE);
        let shell = s.spawn(claude, "bash");
        let server = s.spawn(shell, "node");
        s.listen(server);
        s.load(server, 20);
        s.stop(claude, Left { shells: 1, ..NOTHING });
        s.must_sleep();
        s.pass(10 * MINUTE);
    }),
    (
        "silent-background-command",
        "the turn is over; a command that it left waits 80 min in silence and then ends",
        |s| {
            let claude = s.agent("claude");
            s.prompt(claude);
            s.must_stay();
            s.work(claude, 5 * MINUTE);
            let shell = s.spawn(claude, "bash");
            s.spawn(shell, "curl");
            s.stop(claude, Left { shells: 1, ..NOTHING });
            s.pass(80 * MINUTE);
            s.end(shell);
            s.says(claude, SessionStatus::Idle);
            s.must_sleep();
            s.pass(10 * MINUTE);
        },
    ),
    ("sub-agents-after-turn", "the turn is over and a sub-agent calls its model for 45 min", |s| {
        let claude = s.agent("claude");
        s.prompt(claude);
        s.must_stay();
        s.work(claude, 5 * MINUTE);
        s.stop(claude, Left { others: 1, ..NOTHING });
        for _ in 0..3 {
            s.call(claude, 0);
            s.pass(14 * MINUTE);
            s.call(claude, 900);
            s.writes(claude, true);
            s.pass(MINUTE);
            s.writes(claude, false);
        }
        s.report(claude, Happened::SubagentEnded);
        s.stop(claude, NOTHING);
        s.must_sleep();
        s.pass(10 * MINUTE);
    }),
    ("sub-agent-dies-silently", "the turn is over, its sub-agent was killed and nobody says so", |s| {
        let claude = s.agent("claude");
        s.prompt(claude);
        s.must_stay();
        s.work(claude, 5 * MINUTE);
        s.stop(claude, Left { others: 1, ..NOTHING });
        s.hang_up(claude);
        s.must_sleep();
        s.lost();
        s.pass(10 * MINUTE);
    }),
    ("scheduled-wake-up", "the agent has set a time 50 min from now at which it goes on, and does", |s| {
        let claude = s.agent("claude");
        s.prompt(claude);
        s.must_stay();
        s.work(claude, 5 * MINUTE);
        s.stop(claude, Left { wakeups: 1, ..NOTHING });
        s.told_once();
        s.pass(50 * MINUTE);
        s.prompt(claude);
        s.work(claude, 5 * MINUTE);
        s.stop(claude, NOTHING);
        s.must_sleep();
        s.pass(10 * MINUTE);
    }),
    ("question-answered-late", "a question is kept for two hours; the answer comes after 90 min", |s| {
        let claude = s.agent("claude");
        s.prompt(claude);
        s.must_stay();
        s.work(claude, 5 * MINUTE);
        s.answered(claude);
        s.report(claude, Happened::Asks(Asks::Permission));
        s.says(claude, SessionStatus::Waiting);
        s.pass(90 * MINUTE);
        s.type_keys();
        s.report(claude, Happened::Went);
        s.says(claude, SessionStatus::Busy);
        s.work(claude, 5 * MINUTE);
        s.stop(claude, NOTHING);
        s.must_sleep();
        s.pass(10 * MINUTE);
    }),
    ("question-never-answered", "the promise for a question is two hours: with them the work is over", |s| {
        let claude = s.agent("claude");
        s.prompt(claude);
        s.must_stay();
        s.work(claude, 5 * MINUTE);
        s.answered(claude);
        s.report(claude, Happened::Asks(Asks::Answer));
        s.says(claude, SessionStatus::Waiting);
        s.pass(119 * MINUTE);
        s.must_sleep();
        s.pass(20 * MINUTE);
    }),
    ("two-agents-one-parked", "one stands at its prompt while the other works for 40 min", |s| {
        let (parked, working) = (s.agent("claude"), s.agent("claude"));
        s.report(parked, Happened::Started);
        s.prompt(working);
        s.must_stay();
        s.work(working, 40 * MINUTE);
        s.stop(working, NOTHING);
        s.must_sleep();
        s.pass(10 * MINUTE);
    }),
    ("agent-parked-all-night", "an agent stands at its prompt and repaints; nobody is there", |s| {
        let claude = s.agent("claude");
        s.report(claude, Happened::Started);
        s.must_sleep();
        s.pass(20 * MINUTE);
    }),
    ("codex-long-call", "an agent without reports: it sent something and is not answered for 25 min", |s| {
        let codex = s.agent("codex");
        s.type_keys();
        s.must_stay();
        for _ in 0..3 {
            s.load(codex, 80);
            s.writes(codex, true);
            s.call(codex, 800);
            s.pass(MINUTE);
            s.load(codex, 5);
            s.writes(codex, false);
            s.call(codex, 0);
            s.pass(25 * MINUTE);
        }
        s.answered(codex);
        s.writes(codex, true);
        s.pass(20);
        s.writes(codex, false);
        s.must_sleep();
        s.pass(10 * MINUTE);
    }),
    (
        "aider-parked-with-open-line",
        "an agent without reports has answered; its connection stays open",
        |s| {
            let aider = s.agent("aider");
            s.type_keys();
            s.must_stay();
            s.load(aider, 200);
            s.call(aider, 900);
            s.pass(5 * MINUTE);
            s.load(aider, 3);
            s.answered(aider);
            s.must_sleep();
            s.pass(20 * MINUTE);
        },
    ),
    (
        "agent-waits-for-ci",
        "in its turn a command of the agent asks every 30 s whether a build elsewhere is done, 25 min",
        |s| {
            let claude = s.agent("claude");
            s.prompt(claude);
            s.must_stay();
            s.work(claude, 2 * MINUTE);
            s.answered(claude);
            let shell = s.spawn(claude, "bash");
            s.load(shell, 3);
            s.pass(25 * MINUTE);
            s.end(shell);
            s.work(claude, 2 * MINUTE);
            s.stop(claude, NOTHING);
            s.must_sleep();
            s.pass(10 * MINUTE);
        },
    ),
    ("reports-without-work", "a script sends reports of an agent's work for ever; nothing works", forged),
];

/// Reports come every minute from a process that is called like an agent and does nothing.
fn forged(s: &mut Scene) {
    let claude = s.agent("claude");
    s.prompt(claude);
    s.must_stay();
    s.work(claude, 5 * MINUTE);
    s.stop(claude, NOTHING);
    s.hang_up(claude);
    s.must_sleep();
    s.lost();
    // What it may cost is the grace for what nothing confirms, as for a report that was lost.
    for _ in 0..60 {
        s.report(claude, Happened::Went);
        s.pass(MINUTE);
    }
    s.says(claude, SessionStatus::Idle);
    s.pass(10 * MINUTE);
}
