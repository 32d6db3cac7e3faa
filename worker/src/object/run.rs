//! Runs effects, and remembers what machines say.

use super::shore::Backing;
use super::{Alarm, Inner, now, story};
use crate::calls::Calls;
use ebbtide_api::vm::Heartbeat;
use ebbtide_api::{Generation, Timestamp};
use ebbtide_control::lifecycle::{Effect, EffectOutcome, Input};
use ebbtide_control::record::Record;
use futures_util::future::{Either, select};
use serde::{Deserialize, Serialize};
use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;
use worker::{Delay, Result};

/// Calls after which an invocation begins no further effect: the largest (a slice of a receipt) makes 16, and all
/// together, the index included, stay within 40 of the plan's 50. A chain that is longer goes on in the next invocation, which the alarm
/// starts at once.
const CALLS_BUDGET: u32 = 20;

/// What was last heard of a machine.
pub(super) struct Heard {
    pub(super) generation: Generation,
    pub(super) at: Timestamp,
    /// As it came, log lines taken out.
    pub(super) heartbeat: Heartbeat,
    /// What of it is stored, to see whether a new one is worth a row.
    stored: Option<Heartbeat>,
}

/// What survives hibernation in the socket's attachment.
#[derive(Serialize, Deserialize)]
pub(super) struct Attachment {
    pub(super) generation: u32,
    pub(super) heard_ms: i64,
}

/// Performs an effect and those that follow from it.
///
/// # Errors
/// Where the record cannot be loaded or saved; the alarm repeats what was cut off.
pub(super) async fn drive(inner: &Rc<Inner>, first: (u64, Effect)) -> Result<()> {
    let mut next = Some(first);
    let calls = Calls::default();
    while let Some((attempt_id, effect)) = next {
        let Some(stored) = inner.load()? else { return Ok(()) };
        // Given up while we waited for something else: its successor acts, on a record that may have moved on.
        if stored.record.in_flight.as_ref().is_none_or(|flight| flight.attempt_id != attempt_id) {
            return Ok(());
        }
        if calls.total() >= CALLS_BUDGET {
            story::called(&stored.record, &calls);
            return inner.yield_effect(attempt_id).await;
        }
        let began = now();
        let outcome = match Backing::open(&inner.env, now(), calls.clone()) {
            Ok(backing) => in_time(backing.perform(effect, &stored.record), backing.patience()).await,
            Err(error) => EffectOutcome::Later {
                waiting_for: error.message().to_owned(),
                maybe_landed: false,
                not_before: None,
            },
        };
        story::ran(&stored.record, effect, &outcome, (began, now()));
        let settled = inner.decide(Input::Finished { attempt_id, outcome }, Alarm::Stands).await?;
        crate::gate::tell_urgent(&inner.env, &calls).await;
        next = settled.effect;
        if next.is_none() {
            story::called(&settled.record, &calls);
        }
    }
    Ok(())
}

/// The outcome, or "may have landed" where it is not there in time: the attempt must end before it counts as lost and
/// a second one begins.
async fn in_time(outcome: impl Future<Output = EffectOutcome>, patience: Duration) -> EffectOutcome {
    match select(pin!(outcome), pin!(Delay::from(patience))).await {
        Either::Left((outcome, _)) => outcome,
        Either::Right(_) => EffectOutcome::Later {
            waiting_for: "an answer that did not come in time".to_owned(),
            maybe_landed: true,
            not_before: None,
        },
    }
}

impl Inner {
    /// Gives back an effect that was begun but not performed, and asks to be woken for it at once.
    async fn yield_effect(&self, attempt_id: u64) -> Result<()> {
        let Some(stored) = self.load()? else { return Ok(()) };
        let mut record = stored.record;
        if record.in_flight.take_if(|flight| flight.attempt_id == attempt_id).is_some() {
            let now = now();
            self.store()?.save(&record, Some(now))?;
            self.set_alarm(Some(now), now).await?;
        }
        Ok(())
    }

    /// When the machine of the current generation was last heard of.
    pub(super) fn heard_at(&self, record: &Record) -> Option<Timestamp> {
        let in_memory = self
            .heard
            .borrow()
            .as_ref()
            .filter(|heard| heard.generation == record.generation)
            .map(|heard| heard.at);
        let attached = self.state.get_websockets().into_iter().filter_map(|socket| {
            let attachment: Attachment = socket.deserialize_attachment().ok().flatten()?;
            let current = attachment.generation == record.generation.0;
            current.then(|| Timestamp::from_millisecond(attachment.heard_ms).ok()).flatten()
        });
        attached.chain(in_memory).max()
    }

    /// The last heartbeat of the current generation.
    pub(super) fn last_heartbeat(&self, record: &Record) -> Option<Heartbeat> {
        let remembered = self
            .heard
            .borrow()
            .as_ref()
            .filter(|heard| heard.generation == record.generation)
            .map(|heard| heard.heartbeat.clone());
        remembered.or_else(|| self.store().ok()?.heard().ok().flatten())
    }

    /// Takes note of a heartbeat. Writes a row only where a person would see a difference.
    ///
    /// # Errors
    /// What SQLite says.
    pub(super) fn remember(&self, generation: Generation, mut heartbeat: Heartbeat) -> Result<()> {
        let log = std::mem::take(&mut heartbeat.log);
        self.store()?.add_log(&log)?;
        let remembered = self.heard.borrow_mut().take().filter(|heard| heard.generation == generation);
        // After hibernation only the row is left to compare with: reading it costs less than writing it again.
        let stored = match remembered.and_then(|heard| heard.stored) {
            Some(stored) => Some(stored),
            None => self.store()?.heard()?,
        };
        let stored = match stored {
            Some(stored) if !differs(&stored, &heartbeat) => Some(stored),
            _ => {
                self.store()?.save_heard(&heartbeat)?;
                Some(heartbeat.clone())
            }
        };
        *self.heard.borrow_mut() = Some(Heard { generation, at: now(), heartbeat, stored });
        Ok(())
    }

    /// Counts any sign of life of the machine.
    pub(super) fn touch(&self, generation: Generation) {
        let mut slot = self.heard.borrow_mut();
        match slot.as_mut().filter(|heard| heard.generation == generation) {
            Some(heard) => heard.at = now(),
            None => {
                let heartbeat = Heartbeat::default();
                *slot = Some(Heard { generation, at: now(), heartbeat, stored: None });
            }
        }
    }

    /// Forgets what the last machine said; the history stays.
    ///
    /// # Errors
    /// What SQLite says.
    pub(super) fn forget_machine(&self) -> Result<()> {
        *self.heard.borrow_mut() = None;
        self.store()?.clear_machine()
    }
}

/// Whether a person who looks would see a difference that outlives a moment: counters and countdowns do not count.
fn differs(a: &Heartbeat, b: &Heartbeat) -> bool {
    let steps = |heartbeat: &Heartbeat| -> Vec<_> {
        heartbeat.boot.iter().map(|step| (step.name.clone(), step.state)).collect()
    };
    let verdict = |heartbeat: &Heartbeat| heartbeat.why.as_ref().map(|why| why.verdict);
    steps(a) != steps(b)
        || a.ready != b.ready
        || a.boot_failure != b.boot_failure
        || a.ports != b.ports
        || verdict(a) != verdict(b)
        || a.drain != b.drain
        || a.backup_trouble != b.backup_trouble
}
