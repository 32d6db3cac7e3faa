//! What happens to the machine and to the idle-agent itself.

use super::Script;
use ebbtide_idle_agent::idle::read::hook::Left;

const MINUTE: u64 = 60;
const HOUR: u64 = 3600;
const NOTHING: Left = Left { shells: 0, others: 0, wakeups: 0 };

pub const SCENES: &[Script] = &[
    ("nothing-at-all", "a machine that was woken and never used", |s| {
        s.must_sleep();
        s.pass(20 * MINUTE);
    }),
    ("tmux-with-nothing", "a terminal session with an empty shell", |s| {
        s.shell();
        s.must_sleep();
        s.pass(20 * MINUTE);
    }),
    ("zombies", "forty processes have ended and nobody collects them", |s| {
        let parent = s.spawn(1, "node");
        for _ in 0..40 {
            s.spawn(parent, "defunct");
        }
        s.must_sleep();
        s.pass(20 * MINUTE);
    }),
    (
        "suspended-for-hours",
        "the machine stands still for three hours in the middle of a turn, which then goes on",
        |s| {
            let claude = s.agent("claude");
            s.prompt(claude);
            s.must_stay();
            s.work(claude, 5 * MINUTE);
            s.suspend(3 * HOUR);
            s.work(claude, 5 * MINUTE);
            s.stop(claude, NOTHING);
            s.must_sleep();
            s.pass(10 * MINUTE);
        },
    ),
    ("processes-unreadable", "an agent works for 50 min; for five of them nothing can be read", |s| {
        let claude = s.agent("claude");
        s.prompt(claude);
        s.must_stay();
        s.work(claude, 20 * MINUTE);
        s.blind(true);
        s.pass(5 * MINUTE);
        s.blind(false);
        s.work(claude, 25 * MINUTE);
        s.stop(claude, NOTHING);
        s.must_sleep();
        s.pass(10 * MINUTE);
    }),
    ("processes-unreadable-for-ever", "nothing goes on, and from some moment on nothing can be read", |s| {
        s.pass(5 * MINUTE);
        s.must_sleep();
        s.lost();
        s.blind(true);
        s.pass(20 * MINUTE);
    }),
    (
        "idle-agent-restarts-in-silence",
        "the watch begins again four times while a model thinks for 25 min",
        |s| {
            let claude = s.agent("claude");
            s.prompt(claude);
            s.must_stay();
            for _ in 0..5 {
                s.pass(5 * MINUTE);
                s.restart_agent();
            }
            s.work(claude, MINUTE);
            s.stop(claude, NOTHING);
            s.must_sleep();
            s.pass(10 * MINUTE);
        },
    ),
    (
        "idle-agent-crashes-again-and-again",
        "nothing goes on, and the watch begins again every five minutes",
        |s| {
            s.must_sleep();
            s.lost();
            for _ in 0..8 {
                s.pass(5 * MINUTE);
                s.restart_agent();
            }
            s.pass(10);
        },
    ),
];
