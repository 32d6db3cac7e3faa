//! The workspace's object: what the Worker's Durable Object does around `decide`, with crashes at every seam.

use super::cloud::Outside;
use super::{Odds, at};
use ebbtide_cloud_sim::model::wire::{CLOUDFLARE_PREFIX, HETZNER_PREFIX};
use ebbtide_control::cloudflare::Cloudflare;
use ebbtide_control::decide::{Context, Decision, Effect, Input, Refusal, decide};
use ebbtide_control::hetzner::{Hetzner, SshKeyId};
use ebbtide_control::perform::Shore;
use ebbtide_control::policy::Policy;
use ebbtide_control::record::Record;
use std::future::Future;
use std::pin::pin;
use std::task::{Context as TaskContext, Poll, Waker};

/// An object with its stored record and its alarm.
pub struct Object {
    /// As stored: what a crash leaves.
    pub record: Record,
    pub policy: Policy,
    pub alarm_ms: Option<i64>,
    /// For which time the alarm was set, where it fires late.
    pub alarm_due_ms: Option<i64>,
    pub heard_ms: Option<(u32, i64)>,
    pub history: Vec<String>,
    pub crashes: u64,
    pub effects: u64,
}

impl Object {
    /// Decides on an input, saves, sets the alarm and performs what is due.
    pub fn input(
        &mut self,
        input: Input,
        outside: &Outside,
        odds: Odds,
        rng: &mut fastrand::Rng,
    ) -> Option<Refusal> {
        let (refusal, mut effect) = self.decide(input, outside, odds, rng);
        for _ in 0..16 {
            let Some((attempt_id, begun)) = effect.take() else { break };
            if rng.u32(..1000) < odds.crash {
                self.crash("before", begun);
                break;
            }
            let outcome = self.perform(begun, outside);
            if rng.u32(..1000) < odds.crash / 4 {
                // Run twice: what an object does that lost its memory between the call and its end.
                let _second = self.perform(begun, outside);
            }
            if rng.u32(..1000) < odds.crash {
                self.crash("after", begun);
                break;
            }
            self.history.push(format!("{:>9} {begun:?} → {outcome:?}", outside.now_ms.get()));
            effect = self.decide(Input::Finished { attempt_id, outcome }, outside, odds, rng).1;
        }
        refusal
    }

    fn decide(
        &mut self,
        input: Input,
        outside: &Outside,
        odds: Odds,
        rng: &mut fastrand::Rng,
    ) -> (Option<Refusal>, Option<(u64, Effect)>) {
        let now_ms = outside.now_ms.get();
        let heard_at = self.heard_ms.filter(|(generation, _)| *generation == self.record.generation.0);
        let context =
            Context { now: at(now_ms), policy: &self.policy, heard_at: heard_at.map(|(_, ms)| at(ms)) };
        let Decision { next, effect, wake_at, notes, refusal } = decide(&self.record, input, &context);
        for note in notes {
            self.history.push(format!("{now_ms:>9} [{}] {}", note.state, note.because));
        }
        self.record = next;
        let due = wake_at.map(|at| at.as_millisecond() - super::EPOCH_MS);
        self.alarm_due_ms = due.map(|ms| ms.max(now_ms + 1));
        let late = if rng.u32(..1000) < odds.late_alarm { rng.i64(1_000..1_500_000) } else { 0 };
        self.alarm_ms = self.alarm_due_ms.map(|ms| ms + late);
        (refusal, effect)
    }

    fn perform(&mut self, effect: Effect, outside: &Outside) -> ebbtide_control::decide::EffectOutcome {
        self.effects += 1;
        let hetzner =
            Hetzner::new(outside, format!("http://sim{HETZNER_PREFIX}"), "hetzner-token".to_owned().into());
        let cloudflare = Cloudflare::new(
            outside,
            format!("http://sim{CLOUDFLARE_PREFIX}"),
            "cloudflare-token".to_owned().into(),
        );
        let zone_id = outside.cloud.borrow().zone_id();
        let shore = Shore {
            hetzner: &hetzner,
            cloudflare: &cloudflare,
            vault: &outside,
            install: "simulated",
            zone_id: &zone_id,
            ssh_keys: &[] as &[SshKeyId],
            policy: &self.policy,
            now: at(outside.now_ms.get()),
        };
        now_or_never(shore.perform(effect, &self.record))
    }

    fn crash(&mut self, when: &str, effect: Effect) {
        self.crashes += 1;
        self.history.push(format!("          crash {when} {effect:?}"));
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
