//! The workspace's object: the driver that the Worker runs too, over storage, an alarm and providers that may fail at every
//! seam (`seams`).

use super::cloud::Outside;
use super::faults::Dice;
use ebbtide_api::workspace::State;
use ebbtide_control::driver::{Driver, Settled};
use ebbtide_control::lifecycle::{Effect, EffectOutcome, Input};
use ebbtide_control::policy::Policy;
use ebbtide_control::record::Record;
use std::fmt::Write;
use std::future::Future;
use std::pin::pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

mod seams;

use seams::{Cut, Seams};

/// An object with its stored record and its alarm.
pub struct Object {
    /// As stored: what an eviction leaves.
    pub record: Rc<Record>,
    pub policy: Rc<Policy>,
    /// When the alarm fires, and for when it was set, as stored.
    pub alarm_ms: Option<i64>,
    pub alarm_due_ms: Option<i64>,
    /// The runtime has given the alarm up.
    pub alarm_lost: bool,
    pub last_seen_ms: Option<(u32, i64)>,
    /// Outcomes that are known later: when, of which attempt.
    pub late: Vec<(i64, u64, EffectOutcome)>,
    /// Nothing of what it began last has come to its end, because it was evicted.
    pub crashed: bool,
    /// The last attempt to delete the server was struck by a provider's bad spell.
    pub refused: bool,
    pub effects: u64,
    pub decisions: u64,
    /// Times that an invocation had no calls left for what was due.
    pub left: u64,
    /// What is due and was left to the next invocation.
    pub owed: Option<Owed>,
    pub trace: Trace,
    /// What is being taken, where somebody will read it.
    pub said: String,
}

/// What an invocation had no calls left for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Owed {
    pub effect: Effect,
    pub state: State,
    /// The how many-eth that was left.
    pub number: u64,
}

/// What happened, a line a step; written only where somebody will read it.
#[derive(Debug, Default, Clone)]
pub struct Trace {
    pub lines: Option<Vec<String>>,
}

impl Trace {
    pub fn note(&mut self, now_ms: i64, line: impl FnOnce() -> String) {
        if let Some(lines) = &mut self.lines {
            let secs = now_ms / 1000;
            let clock = format!("{:>3}:{:02}:{:02}", secs / 3600, secs / 60 % 60, secs % 60);
            lines.push(format!("{clock}  {}", line()));
        }
    }
}

/// What came of an input.
pub enum Taken {
    /// Decided and saved.
    Yes,
    /// Answered with a refusal.
    Refused,
    /// Evicted before anything was saved: as if it had never come.
    Lost,
}

impl Object {
    /// Takes an input, as the Worker's object does: what follows is performed for as long as calls are left.
    pub fn input(&mut self, input: Input, outside: &Outside, dice: &mut Dice) -> Taken {
        if self.trace.lines.is_some() {
            self.said = said(&input);
        }
        if matches!(input, Input::Ask(_)) {
            self.owed = None;
        }
        let policy = Rc::clone(&self.policy);
        let seams = Seams::new(self, outside, dice);
        let driver = Driver { host: &seams, policy: &policy };
        let (taken, cut) = now_or_never(async {
            let settled = match input {
                Input::Tick { .. } => driver.wake().await,
                input => driver.take(input).await,
            };
            match settled {
                Ok(Settled { refusal, effect, .. }) => {
                    let taken = if refusal.is_some() { Taken::Refused } else { Taken::Yes };
                    let driven = match effect {
                        Some(begun) => driver.drive(begun, &seams).await,
                        None => Ok(()),
                    };
                    (taken, driven.err())
                }
                Err(cut) => (Taken::Lost, Some(cut)),
            }
        });
        if let Some(Cut::Evicted { remembers: false }) = cut {
            self.last_seen_ms = None;
        }
        self.crashed |= matches!(cut, Some(Cut::Evicted { .. }));
        taken
    }
}

/// An input in a word or two.
fn said(input: &Input) -> String {
    match input {
        Input::Tick { .. } => "alarm".to_owned(),
        Input::Ask(command) => format!("owner asks {command:?}"),
        Input::Heartbeat(heartbeat) => {
            let mut line = "heard".to_owned();
            for (name, holds) in [
                (" ready", heartbeat.ready),
                (" idle", heartbeat.idle.is_some()),
                (" busy", heartbeat.busy.is_some()),
                (" boot failed", heartbeat.boot_failure.is_some()),
            ] {
                line.push_str(if holds { name } else { "" });
            }
            if let Some(drain) = heartbeat.drain {
                let _infallible = write!(line, " {drain:?}");
            }
            line
        }
        Input::Enrolled { .. } => "enrolment".to_owned(),
        Input::Delivered { receipt, last, .. } => {
            let tail = receipt.snapshot.get(56..).unwrap_or_default();
            format!("receipt …{tail}{}", if *last { ", the last" } else { "" })
        }
        Input::Finished { attempt_id, .. } => format!("    effect {attempt_id} ended"),
    }
}

/// Runs a future that never waits: nothing in the simulated world does.
fn now_or_never<T>(future: impl Future<Output = T>) -> T {
    let mut future = pin!(future);
    match future.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => value,
        Poll::Pending => unreachable!("the simulated world answers at once"),
    }
}
