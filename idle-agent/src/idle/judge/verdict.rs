//! The idle verdict: pure, from what was read now and how long each signal has been quiet.
//!
//! Clocks count time that was *seen* quiet. They stand still while a signal cannot be read, while the agent was down
//! and across a suspension, so that none of these makes anybody idle; and they are kept over a restart.

use ebbtide_api::vm::VmPolicy;
use ebbtide_api::why::{Budget, Lease, Signal, SignalState, Verdict, Why};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// What one signal says now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reading {
    /// Activity, and which.
    Active(String),
    /// None.
    Quiet(String),
    /// It cannot be read, and why.
    Unreadable(String),
}

/// An agent waits for a person.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asking {
    /// For what.
    pub what: String,
    /// How long that still keeps the machine awake.
    pub left_ms: u64,
    /// How long it does in all.
    pub total_ms: u64,
}

/// Everything that was read at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Evidence {
    /// Whether the boot plan is through.
    pub ready: bool,
    /// Agents, builds, tests: work that goes on without anybody.
    pub progress: Reading,
    /// Agents in the middle of something, by their own reports and what vouches for these.
    pub turn: Reading,
    /// An agent waits for a person, within its budget.
    pub asking: Option<Asking>,
    /// Somebody types.
    pub terminal: Reading,
    /// Somebody uses a page.
    pub http: Reading,
    /// Agents that are there, working or parked. Named for people; it changes no verdict.
    pub agents: Vec<String>,
    /// Leases in force, the longest first.
    pub leases: Vec<Lease>,
    /// Somebody asked the workspace to sleep, on the machine.
    pub asked_to_sleep: bool,
}

/// How long one signal has been quiet, and unreadable.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Clock {
    quiet_ms: u64,
    unreadable_ms: u64,
    ever: bool,
}

/// The clocks, kept on disk.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Clocks {
    progress: Clock,
    turn: Clock,
    terminal: Clock,
    http: Clock,
    verdict: Option<Verdict>,
    verdict_ms: u64,
}

impl Evidence {
    /// The signals that have a clock each, with the names that people see.
    fn signals(&self) -> [(&'static str, &Reading); 4] {
        [
            ("agent_progress", &self.progress),
            ("agent_turn", &self.turn),
            ("terminal", &self.terminal),
            ("http", &self.http),
        ]
    }
}

impl Clock {
    fn tick(&mut self, passed_ms: u64, reading: &Reading, grace_ms: u64) -> SignalState {
        match reading {
            Reading::Active(_) => {
                *self = Self { quiet_ms: 0, unreadable_ms: 0, ever: true };
                SignalState::Active
            }
            Reading::Quiet(_) => {
                self.quiet_ms = self.quiet_ms.saturating_add(passed_ms);
                // The grace is one between two activities: a signal that comes and goes gets no new one each time.
                SignalState::Quiet
            }
            Reading::Unreadable(_) => {
                let before = self.unreadable_ms;
                self.unreadable_ms = before.saturating_add(passed_ms);
                // Past the grace it holds nothing any more, and time passes as if it were quiet.
                self.quiet_ms =
                    self.quiet_ms.saturating_add(self.unreadable_ms.saturating_sub(grace_ms.max(before)));
                SignalState::Unreadable
            }
        }
    }

    /// How much of the grace holds the machine awake now.
    fn grace_left_ms(&self, state: SignalState, grace_ms: u64) -> u64 {
        if state == SignalState::Unreadable { grace_ms.saturating_sub(self.unreadable_ms) } else { 0 }
    }

    fn signal(&self, name: &str, reading: &Reading, state: SignalState) -> Signal {
        let (Reading::Active(detail) | Reading::Quiet(detail) | Reading::Unreadable(detail)) = reading;
        Signal {
            name: name.to_owned(),
            state,
            quiet_for_secs: self.ever.then_some(self.quiet_ms / 1000),
            detail: detail.clone(),
        }
    }
}

impl Clocks {
    fn restart(&mut self) {
        *self = Self { verdict: self.verdict, verdict_ms: self.verdict_ms, ..Self::default() };
    }

    /// Takes in what was read after so much time and says why the machine is awake.
    pub fn tick(&mut self, passed: Duration, evidence: &Evidence, policy: &VmPolicy) -> Why {
        let passed_ms = u64::try_from(passed.as_millis()).unwrap_or(u64::MAX);
        let grace_ms = policy.unknown_grace_secs.saturating_mul(1000);
        // Clocks begin when the machine is ready.
        let counted_ms = if evidence.ready { passed_ms } else { 0 };
        if !evidence.ready {
            self.restart();
        }
        let idle_ms = policy.idle_timeout_secs.saturating_mul(1000);
        let clocks = [&mut self.progress, &mut self.turn, &mut self.terminal, &mut self.http];
        let mut signals = Vec::with_capacity(4);
        let mut waits = Waits { quiet_ms: u64::MAX, sleeps_in_ms: 0, grace_ms: 0 };
        for (clock, (name, reading)) in clocks.into_iter().zip(evidence.signals()) {
            let state = clock.tick(counted_ms, reading, grace_ms);
            let grace_left_ms = clock.grace_left_ms(state, grace_ms);
            waits.quiet_ms = waits.quiet_ms.min(clock.quiet_ms);
            waits.grace_ms = waits.grace_ms.max(grace_left_ms);
            // The clock stands still during the grace.
            let sleeps_in_ms = idle_ms.saturating_sub(clock.quiet_ms).saturating_add(grace_left_ms);
            waits.sleeps_in_ms = waits.sleeps_in_ms.max(sleeps_in_ms);
            signals.push(clock.signal(name, reading, state));
        }
        let conclusion = conclude(evidence, &waits);
        if self.verdict == Some(conclusion.verdict) {
            self.verdict_ms = self.verdict_ms.saturating_add(passed_ms);
        } else {
            (self.verdict, self.verdict_ms) = (Some(conclusion.verdict), 0);
        }
        let mut budgets = vec![budget("idle_timeout", policy.idle_timeout_secs, waits.quiet_ms / 1000)];
        if waits.grace_ms > 0 {
            let used_ms = grace_ms.saturating_sub(waits.grace_ms);
            budgets.push(budget("unknown_grace", policy.unknown_grace_secs, used_ms / 1000));
        }
        if let Some(asking) = &evidence.asking {
            let used_ms = asking.total_ms.saturating_sub(asking.left_ms);
            budgets.push(budget("waiting_for_human", asking.total_ms / 1000, used_ms / 1000));
        }
        Why {
            verdict: conclusion.verdict,
            because: conclusion.because,
            since_secs: self.verdict_ms / 1000,
            sleeps_in_secs: conclusion.sleeps_in_secs,
            signals,
            leases: evidence.leases.clone(),
            budgets,
            keeping: None,
        }
    }
}

/// How far the clocks are.
struct Waits {
    /// For how long all signals have been quiet.
    quiet_ms: u64,
    /// Until when the clocks alone keep the machine awake.
    sleeps_in_ms: u64,
    /// What is left of the grace for what cannot be read.
    grace_ms: u64,
}

struct Conclusion {
    verdict: Verdict,
    because: Vec<String>,
    sleeps_in_secs: Option<u64>,
}

fn conclude(evidence: &Evidence, waits: &Waits) -> Conclusion {
    let say = |verdict, because: Vec<String>, sleeps_in_secs| Conclusion { verdict, because, sleeps_in_secs };
    let longest_lease_ms = evidence.leases.first().map(|lease| lease.expires_in_secs.saturating_mul(1000));
    let secs = |ms: u64| Some(ms.div_ceil(1000));
    if !evidence.ready {
        return say(Verdict::Active, vec!["the machine is still starting".to_owned()], None);
    }
    let held = |lease: &Lease| {
        let reason = if lease.reason.is_empty() { String::new() } else { format!(": {}", lease.reason) };
        format!("held for another {}{reason}", shown(lease.expires_in_secs))
    };
    if evidence.asked_to_sleep {
        // A hold taken through the API is somebody else's; only they end it.
        let others: Vec<&Lease> = evidence.leases.iter().filter(|lease| lease.source == "api").collect();
        return match others.first() {
            Some(lease) => say(Verdict::Held, vec![held(lease)], Some(lease.expires_in_secs)),
            None => say(Verdict::Idle, vec!["somebody on the machine asked it to sleep".to_owned()], Some(0)),
        };
    }
    let active: Vec<String> = evidence
        .signals()
        .into_iter()
        .filter_map(
            |(_, reading)| if let Reading::Active(what) = reading { Some(what.clone()) } else { None },
        )
        .collect();
    if !active.is_empty() {
        return say(Verdict::Active, active, None);
    }
    let asking_ms = evidence.asking.as_ref().map_or(0, |asking| asking.left_ms);
    let sleeps_in_ms = waits.sleeps_in_ms.max(longest_lease_ms.unwrap_or(0)).max(asking_ms);
    if !evidence.leases.is_empty() {
        return say(Verdict::Held, evidence.leases.iter().map(held).collect(), secs(sleeps_in_ms));
    }
    if let Some(asking) = &evidence.asking {
        let because =
            format!("{}; kept for another {} for an answer", asking.what, shown(asking.left_ms / 1000));
        return say(Verdict::WaitingForHuman, vec![because], secs(sleeps_in_ms));
    }
    if waits.grace_ms > 0 {
        let unreadable = |(_, reading): (_, &Reading)| {
            if let Reading::Unreadable(why) = reading {
                Some(format!("it is not clear: {why}"))
            } else {
                None
            }
        };
        let because = evidence.signals().into_iter().filter_map(unreadable);
        return say(Verdict::Unknown, because.collect(), secs(sleeps_in_ms));
    }
    let mut because = vec![format!("nothing has happened for {}", shown(waits.quiet_ms / 1000))];
    if !evidence.agents.is_empty() {
        because.push(format!("{} parked", evidence.agents.join(", ")));
    }
    if sleeps_in_ms > 0 {
        say(Verdict::Quiet, because, secs(sleeps_in_ms))
    } else {
        say(Verdict::Idle, because, Some(0))
    }
}

fn shown(secs: u64) -> String {
    ebbtide_api::text::seconds(secs)
}

fn budget(name: &str, total_secs: u64, used_secs: u64) -> Budget {
    Budget { name: name.to_owned(), total_secs, used_secs: used_secs.min(total_secs) }
}

#[cfg(test)]
mod tests;
