//! The one driver of a workspace's object: load → decide → save → alarm → perform → decide … → leave to the next alarm.
//!
//! The Worker's Durable Object and the simulation both run this code, over their own [`Store`], [`Alarm`], [`Outside`]
//! and [`Observer`]. It reads no clock and starts nothing by itself; a crash between any two of its lines is recovered
//! by the alarm, which is set before every effect. Between load and save nothing is awaited, so that no other input can
//! slip in. What is decided is in [`crate::lifecycle`], what an effect does in [`crate::executor`].

mod seams;
#[cfg(test)]
mod tests;

pub use seams::{Alarm, Decided, Host, Observer, Outside, Performed, Store, Stored};

use crate::lifecycle::{Budget, Context, Decision, Effect, EffectOutcome, Input, Refusal, decide_within};
use crate::policy::Policy;
use crate::record::Record;
use ebbtide_api::{Duration, Timestamp};
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;

/// An alarm this late is not coming: the runtime gives up after six retries, a few minutes in all.
const LOST_ALARM_SECS: i64 = 600;

/// Calls after which an invocation begins no further effect. The largest (a slice of a receipt) makes 16, and all
/// together, the index included, stay within 40 of the plan's 50. A chain that is longer goes on in the next
/// invocation, which the alarm starts at once.
pub const CALLS_BUDGET: u32 = 20;

/// Drives one object.
pub struct Driver<'a, H> {
    /// Where it lives.
    pub host: &'a H,
    /// Durations and limits.
    pub policy: &'a Policy,
}

/// What is left to do after a decision was saved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settled {
    /// As it was saved.
    pub record: Rc<Record>,
    /// What was begun and has to be driven.
    pub effect: Option<Begun>,
    /// What is due and was left to the next invocation, for which the alarm is set.
    pub left: Option<Effect>,
    /// Why the input was not taken, where it was not.
    pub refusal: Option<Refusal>,
}

/// An effect that is saved as in flight, and not performed yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Begun {
    /// The number that its end must carry.
    pub attempt_id: u64,
    /// What is to be done.
    pub effect: Effect,
}

/// Whether the alarm that the store knows may still fire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Standing {
    /// It may.
    Stands,
    /// It has just fired.
    Spent,
}

impl<H: Store + Alarm + Observer> Driver<'_, H> {
    /// Takes an input: decides on it, saves what follows and sets the alarm. What was begun is left to the caller, to
    /// [`Driver::drive`] at once or after its answer.
    ///
    /// # Errors
    /// The host cannot load, save or set the alarm. Before the save that means that nothing was decided.
    pub async fn take(&self, input: Input) -> Result<Settled, H::Error> {
        self.decide(input, Standing::Stands, Budget::Left).await
    }

    /// Looks again: the alarm has fired, or somebody noticed that it should have.
    ///
    /// # Errors
    /// As [`Driver::take`].
    pub async fn wake(&self) -> Result<Settled, H::Error> {
        let due_at = self.host.load()?.alarm_at;
        self.decide(Input::Tick { due_at }, Standing::Spent, Budget::Left).await
    }

    /// Performs what was begun, and what follows from it for as long as calls are left.
    ///
    /// # Errors
    /// As [`Driver::take`], or the host is gone; the alarm repeats what was cut off.
    pub async fn drive<O>(&self, first: Begun, outside: &O) -> Result<(), H::Error>
    where
        O: Outside<Error = H::Error>,
    {
        let mut next = Some(first);
        while let Some(Begun { attempt_id, effect }) = next {
            let record = self.host.load()?.record;
            // Given up while we waited for something else: its successor acts, on a record that may have moved on.
            if record.in_flight.as_ref().is_none_or(|flight| flight.attempt_id != attempt_id) {
                return Ok(());
            }
            let began = self.host.now();
            let outcome = self.perform(effect, &record, outside).await?;
            let ended = self.host.now();
            self.host.performed(&Performed { record: &record, effect, outcome: &outcome, began, ended });
            let budget = if outside.calls() < CALLS_BUDGET { Budget::Left } else { Budget::Spent };
            let input = Input::Finished { attempt_id, outcome };
            let settled = self.decide(input, Standing::Stands, budget).await?;
            outside.tell().await;
            next = settled.effect;
            if next.is_none() {
                outside.end(&settled.record, settled.left);
            }
        }
        Ok(())
    }

    /// The outcome, or "may have landed" where it is not there in time: the attempt must end before it counts as lost
    /// and a second one begins.
    async fn perform<O>(
        &self,
        effect: Effect,
        record: &Record,
        outside: &O,
    ) -> Result<EffectOutcome, H::Error>
    where
        O: Outside<Error = H::Error>,
    {
        let patience = Duration::from_secs((self.policy.effect_timeout.as_secs() * 3 / 4).max(1));
        let outcome = before(outside.perform(effect, record), outside.pass(patience)).await;
        outcome.unwrap_or_else(|| {
            Ok(EffectOutcome::Later {
                waiting_for: "an answer that did not come in time".to_owned(),
                maybe_landed: true,
                not_before: None,
            })
        })
    }

    async fn decide(&self, input: Input, alarm: Standing, budget: Budget) -> Result<Settled, H::Error> {
        let now = self.host.now();
        let Stored { record: before, alarm_at: set_for } = self.host.load()?;
        let context = Context { now, policy: self.policy, last_seen_at: self.host.last_seen_at(&before) };
        let Decision { next, effect, left, wake_at, notes, refusal } =
            decide_within(&before, input, &context, budget);
        let next = Rc::new(next);
        let standing = set_for.filter(|at| alarm == Standing::Stands && !is_lost(*at, now));
        let alarm_at = alarm_for(standing, wake_at, now);
        if next != before || alarm_at != set_for {
            self.host.save(&next, alarm_at)?;
        }
        // Right after the save, and whenever an alarm was spent, even for the same time: the one in the store has fired.
        if alarm_at != standing {
            self.host.set_alarm(alarm_at, now).await?;
        }
        self.host.decided(Decided {
            before: &before,
            next: &next,
            notes,
            refusal: refusal.as_ref(),
            now,
            alarm_at,
            woken: alarm == Standing::Spent,
            policy: self.policy,
        });
        let effect = effect.map(|(attempt_id, effect)| Begun { attempt_id, effect });
        Ok(Settled { record: next, effect, left, refusal })
    }
}

/// Whether an alarm that should have fired long ago is lost: whoever comes by sets it again.
fn is_lost(at: Timestamp, now: Timestamp) -> bool {
    now.duration_since(at).as_secs() > LOST_ALARM_SECS
}

/// For when the alarm is to be set. A later time is left to the standing alarm, which finds nothing due and sets itself
/// again: so heartbeats write nothing. What is to happen at once is not left to an alarm that is overdue.
fn alarm_for(standing: Option<Timestamp>, wake_at: Option<Timestamp>, now: Timestamp) -> Option<Timestamp> {
    match (standing, wake_at) {
        (Some(_), Some(wake_at)) if wake_at <= now => Some(wake_at),
        (Some(standing), Some(wake_at)) => Some(standing.min(wake_at)),
        (None, wake_at) => wake_at,
        (Some(_), None) => None,
    }
}

/// What a future comes to, or nothing where the limit is reached first.
async fn before<T>(future: impl Future<Output = T>, limit: impl Future<Output = ()>) -> Option<T> {
    let (mut future, mut limit) = (pin!(future), pin!(limit));
    std::future::poll_fn(|context| match future.as_mut().poll(context) {
        Poll::Ready(value) => Poll::Ready(Some(value)),
        Poll::Pending => limit.as_mut().poll(context).map(|()| None),
    })
    .await
}
