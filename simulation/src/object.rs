//! The workspace's object: what the Worker's Durable Object does around `decide`, with evictions at every seam.

use super::cloud::Outside;
use super::faults::{Dice, Kind};
use super::{ODDS, at};
use ebbtide_cloud_sim::model::wire::{CLOUDFLARE_PREFIX, HETZNER_PREFIX};
use ebbtide_control::cloudflare::Cloudflare;
use ebbtide_control::executor::Executor;
use ebbtide_control::hetzner::{Hetzner, SshKeyId};
use ebbtide_control::lifecycle::{Context, Decision, Effect, EffectOutcome, Input, Refusal, decide};
use ebbtide_control::policy::Policy;
use ebbtide_control::record::Record;
use std::fmt::Write;
use std::future::Future;
use std::pin::pin;
use std::task::{Context as TaskContext, Poll, Waker};

/// Effects after which an invocation leaves the next one to the alarm, which it sets to now.
const MOST_EFFECTS: usize = 8;
/// An alarm so late was lost: whoever comes by sets it again, as in the Worker.
const LOST_ALARM_MS: i64 = 600_000;

/// An object with its stored record and its alarm.
pub struct Object {
    /// As stored: what an eviction leaves.
    pub record: Record,
    pub policy: Policy,
    /// When the alarm fires, and for when it was set.
    pub alarm_ms: Option<i64>,
    pub alarm_due_ms: Option<i64>,
    /// The runtime has given the alarm up.
    pub alarm_lost: bool,
    pub heard_ms: Option<(u32, i64)>,
    /// Outcomes that are known later: when, of which attempt.
    pub late: Vec<(i64, u64, EffectOutcome)>,
    /// Nothing of what it began last has come to its end, because it was evicted.
    pub crashed: bool,
    /// The last attempt to delete the server was struck by a provider's bad spell.
    pub refused: bool,
    pub effects: u64,
    pub decisions: u64,
    pub trace: Trace,
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
    /// Decides on an input, saves, sets the alarm and performs what is due.
    pub fn input(&mut self, input: Input, outside: &Outside, dice: &mut Dice) -> Taken {
        let now = outside.now_ms.get();
        if dice.strike(Kind::CrashUnsaved, ODDS.crash / 10).is_some() {
            self.trace.note(now, || format!("{} → evicted before it was saved", said(&input)));
            self.crashed = true;
            return Taken::Lost;
        }
        let (refusal, mut effect) = self.decide(input, outside, dice);
        for performed in 0.. {
            let Some((attempt_id, begun)) = effect.take() else { break };
            if performed == MOST_EFFECTS {
                self.record.in_flight = None;
                (self.alarm_ms, self.alarm_due_ms) = (Some(now + 1), Some(now + 1));
                break;
            }
            if let Some(mut rng) = dice.strike(Kind::CrashBefore, ODDS.crash) {
                self.evicted("before", begun, now, &mut rng);
                break;
            }
            let outcome = self.perform(begun, outside);
            if dice.strike(Kind::Twice, ODDS.crash / 4).is_some() {
                // What an object does that lost its memory between the call and its end.
                let _second = self.perform(begun, outside);
                self.trace.note(now, || format!("    {begun:?} ran twice"));
            }
            if let Some(mut rng) = dice.strike(Kind::CrashAfter, ODDS.crash) {
                self.evicted("after", begun, now, &mut rng);
                break;
            }
            if let Some(mut rng) = dice.strike(Kind::SlowOutcome, ODDS.crash / 3) {
                let known_at = now + rng.i64(1_000..150_000);
                self.trace.note(now, || format!("    {begun:?} → {outcome:?}, known late"));
                self.late.push((known_at, attempt_id, outcome));
                break;
            }
            self.trace.note(now, || format!("    {begun:?} → {outcome:?}"));
            effect = self.decide(Input::Finished { attempt_id, outcome }, outside, dice).1;
        }
        if refusal.is_some() { Taken::Refused } else { Taken::Yes }
    }

    fn decide(
        &mut self,
        input: Input,
        outside: &Outside,
        dice: &mut Dice,
    ) -> (Option<Refusal>, Option<(u64, Effect)>) {
        self.decisions += 1;
        let now_ms = outside.now_ms.get();
        let spent = matches!(input, Input::Tick { .. });
        let last_seen_at = self.heard_ms.filter(|(generation, _)| *generation == self.record.generation.0);
        let context = Context {
            now: at(now_ms),
            policy: &self.policy,
            last_seen_at: last_seen_at.map(|(_, ms)| at(ms)),
        };
        let said = self.trace.lines.is_some().then(|| said(&input));
        let Decision { next, effect, wake_at, notes, refusal } = decide(&self.record, input, &context);
        if let Some(said) = said {
            let told = !notes.is_empty() || refusal.is_some() || next.state() != self.record.state();
            let routine = said.starts_with("heard") || said == "alarm";
            if told
                || (effect.is_some() && routine)
                || said.starts_with("owner")
                || said.starts_with("receipt")
            {
                self.trace.note(now_ms, || {
                    let mut line = format!("{said}: {}", self.record.state());
                    if next.state() != self.record.state() {
                        let _infallible = write!(line, " → {}", next.state());
                    }
                    for note in &notes {
                        let _infallible = write!(line, "; {}", note.because);
                    }
                    if let Some(refusal) = &refusal {
                        let _infallible = write!(line, "; refused: {}", refusal.message);
                    }
                    line
                });
            }
        }
        self.record = next;
        self.set_alarm(wake_at.map(|at| at.as_millisecond() - super::EPOCH_MS), spent, now_ms, dice);
        (refusal, effect)
    }

    /// As the Worker does: an earlier alarm stands, finds nothing due and re-arms; a lost one is set again.
    fn set_alarm(&mut self, wake_ms: Option<i64>, spent: bool, now_ms: i64, dice: &mut Dice) {
        let stands = self.alarm_due_ms.filter(|due| !spent && now_ms - due <= LOST_ALARM_MS);
        let due = match (stands, wake_ms) {
            (Some(standing), Some(wake)) => Some(standing.min(wake)),
            (None, wake) => wake.map(|wake| wake.max(now_ms + 1)),
            (Some(_), None) => None,
        };
        if due == self.alarm_due_ms && stands.is_some() {
            return;
        }
        self.alarm_due_ms = due;
        self.alarm_lost = false;
        self.alarm_ms = due;
        if due.is_some() && dice.strike(Kind::LostAlarm, ODDS.lost_alarm).is_some() {
            self.trace.note(now_ms, || "    the alarm set now is lost".to_owned());
            (self.alarm_ms, self.alarm_lost) = (None, true);
        } else if due.is_some()
            && let Some(mut rng) = dice.strike(Kind::LateAlarm, ODDS.late_alarm)
        {
            let late = rng.i64(1_000..1_500_000);
            self.trace.note(now_ms, || format!("    the alarm set now will be {} s late", late / 1000));
            self.alarm_ms = due.map(|ms| ms + late);
        }
    }

    fn perform(&mut self, effect: Effect, outside: &Outside) -> EffectOutcome {
        self.effects += 1;
        self.crashed = false;
        let struck = outside.struck.get();
        let hetzner =
            Hetzner::new(outside, format!("http://sim{HETZNER_PREFIX}"), "hetzner-token".to_owned().into());
        let cloudflare = Cloudflare::new(
            outside,
            format!("http://sim{CLOUDFLARE_PREFIX}"),
            "cloudflare-token".to_owned().into(),
        );
        let zone_id = outside.cloud.borrow().zone_id();
        let executor = Executor {
            hetzner: &hetzner,
            cloudflare: &cloudflare,
            store: &outside,
            install: "simulated",
            zone_id: &zone_id,
            ssh_keys: &[] as &[SshKeyId],
            policy: &self.policy,
            now: at(outside.now_ms.get()),
        };
        let outcome = now_or_never(executor.perform(effect, &self.record)).outcome;
        if effect == Effect::DeleteServer {
            self.refused = outside.struck.get() > struck;
        }
        outcome
    }

    fn evicted(&mut self, when: &str, effect: Effect, now_ms: i64, rng: &mut fastrand::Rng) {
        self.crashed = true;
        // Sockets outlive an eviction, memory does not.
        if rng.bool() {
            self.heard_ms = None;
        }
        self.trace.note(now_ms, || format!("    evicted {when} {effect:?}"));
    }
}

/// An input in a word or two.
fn said(input: &Input) -> String {
    match input {
        Input::Tick { .. } => "alarm".to_owned(),
        Input::Ask(command) => format!("owner asks {command:?}"),
        Input::Heard(heard) => {
            let mut line = "heard".to_owned();
            for (name, holds) in [
                (" ready", heard.ready),
                (" idle", heard.idle.is_some()),
                (" busy", heard.busy.is_some()),
                (" boot failed", heard.boot_failure.is_some()),
            ] {
                line.push_str(if holds { name } else { "" });
            }
            if let Some(drain) = heard.drain {
                let _infallible = write!(line, " {drain:?}");
            }
            line
        }
        Input::Enrolled { .. } => "enrolment".to_owned(),
        Input::Delivered { receipt, last } => {
            let tail = receipt.snapshot.get(56..).unwrap_or_default();
            format!("receipt …{tail}{}", if *last { ", the last" } else { "" })
        }
        Input::Finished { attempt_id, .. } => format!("    effect {attempt_id} ended"),
    }
}

/// Runs a future that never waits: nothing in the simulated world does.
fn now_or_never<T>(future: impl Future<Output = T>) -> T {
    let mut future = pin!(future);
    match future.as_mut().poll(&mut TaskContext::from_waker(Waker::noop())) {
        Poll::Ready(value) => value,
        Poll::Pending => unreachable!("the simulated world answers at once"),
    }
}
