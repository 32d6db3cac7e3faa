//! Judges a trace again: entry by entry through the same [`Judge`], with the moments of the trace. Pure.

use super::Entry;
use crate::idle::STORE_EVERY;
use crate::idle::facts::Facts;
use crate::idle::judge::{Judge, Kept};
use crate::idle::read::hook::Hook;
use crate::os::clock::Moment;
use ebbtide_api::vm::{VmHold, VmPolicy};
use ebbtide_api::why::{Verdict, Why};
use std::time::Duration;

/// A machine's watch as a trace drives it.
#[derive(Debug, Clone)]
pub struct Player {
    judge: Judge,
    policy: VmPolicy,
    /// What would be on disk.
    stored: Kept,
    told: Option<Verdict>,
}

impl Player {
    /// Begins; the policy counts until the trace brings its own.
    pub fn new(policy: VmPolicy) -> Self {
        Self { judge: Judge::default(), policy, stored: Kept::default(), told: None }
    }

    /// Takes an entry in; a look gives a verdict.
    pub fn take(&mut self, at: Moment, entry: &Entry) -> Option<Why> {
        match entry {
            Entry::Look(look) => return Some(self.look(at, &look.facts)),
            Entry::Policy(policy) => self.policy = policy.clone(),
            Entry::Hook { process, session, happened } => {
                let hook = Hook { session: session.clone(), transcript: None, happened: *happened };
                self.judge.hear(&hook, *process, at);
                if happened.is_worth_storing() {
                    self.store(at);
                }
            }
            // Too many holds are refused here as there.
            Entry::Hold { secs } => {
                _ = self.judge.hold(Duration::from_secs(*secs), "", at);
                self.store(at);
            }
            Entry::KeepAlive { process, secs } => {
                _ = self.judge.keep_alive(*process, Duration::from_secs(*secs), "", at);
                self.store(at);
            }
            Entry::Release { id } => {
                self.judge.release(id.as_deref());
                self.store(at);
            }
            Entry::Holds(holds) => {
                let hold = |(id, secs): &(String, u64)| VmHold {
                    id: id.clone(),
                    reason: String::new(),
                    expires_in_secs: *secs,
                };
                self.judge.set_holds(&holds.iter().map(hold).collect::<Vec<_>>(), at);
            }
            Entry::SleepAsked => {
                self.judge.ask_to_sleep();
                self.store(at);
            }
            Entry::SleepForgotten => {
                self.judge.forget_sleep();
                self.store(at);
            }
            Entry::Restarted => self.restart(at),
            Entry::Began { .. } | Entry::Mark(_) | Entry::Full => {}
        }
        None
    }

    /// Judges a look.
    pub fn look(&mut self, at: Moment, facts: &Facts) -> Why {
        let why = self.judge.judge(at, facts, &self.policy);
        let is_news = self.told.replace(why.verdict) != Some(why.verdict);
        if is_news || at.since(self.judge.kept_at()) >= STORE_EVERY {
            self.store(at);
        }
        why
    }

    fn store(&mut self, at: Moment) {
        self.stored = self.judge.keep(at).clone();
    }

    /// The idle-agent begins again: what it stored goes through the disk's form, the rest is forgotten.
    fn restart(&mut self, at: Moment) {
        let text = serde_json::to_vec(&self.stored).unwrap_or_default();
        self.judge = Judge::resume(serde_json::from_slice(&text).unwrap_or_default(), "", at);
        self.told = None;
    }
}
