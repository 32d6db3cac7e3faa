//! Work that shows nothing for longer than the engine's bounds: what it cuts off by design, and what that costs.

use super::Script;
use ebbtide_idle_agent::idle::facts::SessionStatus;
use ebbtide_idle_agent::idle::read::hook::{Asks, Happened, Left};

const MINUTE: u64 = 60;
const NOTHING: Left = Left { shells: 0, others: 0, wakeups: 0 };

pub const SCENES: &[Script] = &[
    ("model-silent-90-minutes", "the model answers after 90 min; agent_silence is over after 30", |s| {
        let claude = s.agent("claude");
        s.prompt(claude);
        s.must_stay();
        s.beyond();
        s.pass(90 * MINUTE);
        s.work(claude, 5 * MINUTE);
        s.stop(claude, NOTHING);
    }),
    (
        "codex-silent-90-minutes",
        "an agent without reports is answered after 90 min; agent_silence is over after 30",
        |s| {
            let codex = s.agent("codex");
            s.type_keys();
            s.load(codex, 80);
            s.writes(codex, true);
            s.call(codex, 800);
            s.must_stay();
            s.beyond();
            s.pass(MINUTE);
            s.load(codex, 5);
            s.writes(codex, false);
            s.call(codex, 0);
            s.pass(90 * MINUTE);
        },
    ),
    (
        "quiet-command-three-hours",
        "a command that the turn left behind says nothing for three hours; background is over after two",
        |s| {
            let claude = s.agent("claude");
            s.prompt(claude);
            s.must_stay();
            s.beyond();
            s.work(claude, 5 * MINUTE);
            let shell = s.spawn(claude, "bash");
            s.spawn(shell, "sleep");
            s.stop(claude, Left { shells: 1, ..NOTHING });
            s.pass(180 * MINUTE);
        },
    ),
    (
        "answer-after-three-hours",
        "a person answers after three hours; the patience for a question is over after two",
        |s| {
            let claude = s.agent("claude");
            s.prompt(claude);
            s.must_stay();
            s.beyond();
            s.work(claude, 5 * MINUTE);
            s.answered(claude);
            s.report(claude, Happened::Asks(Asks::Permission));
            s.says(claude, SessionStatus::Waiting);
            s.pass(180 * MINUTE);
        },
    ),
    (
        "job-waits-two-hours",
        "a person's program waits for a machine far away, uses nothing and names no keep-alive",
        |s| {
            let shell = s.shell();
            s.type_keys();
            s.must_stay();
            s.beyond();
            s.spawn(shell, "terraform");
            s.pass(120 * MINUTE);
        },
    ),
];
