//! What the driver needs of the place where an object lives.
//!
//! The Worker implements these over SQLite, the runtime's alarm and the providers; the simulation over memory and the
//! local cloud, where each of them may fail. An error ends the drive: whatever was saved by then is what counts.

use crate::lifecycle::{Effect, EffectOutcome, Note, Refusal};
use crate::policy::Policy;
use crate::record::Record;
use ebbtide_api::{Duration, Timestamp};
use std::rc::Rc;

/// Where an object lives: its clock, and what it remembers besides its record.
pub trait Host {
    /// Why it cannot go on.
    type Error;

    /// The control plane's clock.
    fn now(&self) -> Timestamp;

    /// When the machine of this record's generation was last heard of.
    fn last_seen_at(&self, record: &Record) -> Option<Timestamp>;
}

/// A record with the time for which its alarm is set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    /// The truth.
    pub record: Rc<Record>,
    /// When the alarm is due.
    pub alarm_at: Option<Timestamp>,
}

/// The object's own storage. Synchronous, so that load → decide → save cannot be interrupted.
pub trait Store: Host {
    /// What was saved last.
    ///
    /// # Errors
    /// The object holds no record, or storage does not answer.
    fn load(&self) -> Result<Stored, Self::Error>;

    /// Keeps the record and the time for which the alarm is set from now on, both or neither.
    ///
    /// # Errors
    /// Storage does not answer: then nothing was decided.
    fn save(&self, record: &Rc<Record>, alarm_at: Option<Timestamp>) -> Result<(), Self::Error>;
}

/// The object's one alarm.
#[allow(async_fn_in_trait, reason = "Workers' futures are not Send, so no Send bound is wanted")]
pub trait Alarm: Host {
    /// Sets it, in the place of any other; one for the past fires at once. `None` takes it back.
    ///
    /// # Errors
    /// The runtime does not take it.
    async fn set_alarm(&self, at: Option<Timestamp>, now: Timestamp) -> Result<(), Self::Error>;
}

/// Where effects happen, for one invocation.
#[allow(async_fn_in_trait, reason = "Workers' futures are not Send, so no Send bound is wanted")]
pub trait Outside {
    /// Why it cannot go on.
    type Error;

    /// Performs an effect for a record that was saved with it in flight. Whatever fails outside is an outcome.
    ///
    /// # Errors
    /// The object itself is gone, and nobody hears of the outcome.
    async fn perform(&self, effect: Effect, record: &Record) -> Result<EffectOutcome, Self::Error>;

    /// Calls made in this invocation so far.
    fn calls(&self) -> u32;

    /// Ends when so much time has passed.
    async fn pass(&self, time: Duration);

    /// Tells whoever keeps count of the providers' limits what was sent, where others should hear of it soon. Comes after
    /// the outcome is saved.
    async fn tell(&self);

    /// This invocation performs nothing more; what is due all the same is left to the next.
    fn end(&self, record: &Record, left: Option<Effect>);
}

/// A decision that was saved and whose alarm is set.
#[derive(Debug)]
pub struct Decided<'a> {
    /// What was remembered before.
    pub before: &'a Record,
    /// What is remembered now.
    pub next: &'a Rc<Record>,
    /// What to write into the history, in order.
    pub notes: Vec<Note>,
    /// Why the input was not taken, where it was not.
    pub refusal: Option<&'a Refusal>,
    /// When.
    pub now: Timestamp,
    /// For when the alarm is set.
    pub alarm_at: Option<Timestamp>,
    /// Whether the alarm, or somebody in its place, asked.
    pub woken: bool,
    /// Durations and limits that it was decided by.
    pub policy: &'a Policy,
}

/// An effect that has ended, before its outcome is decided on.
#[derive(Debug)]
pub struct Performed<'a> {
    /// The record that it was performed for.
    pub record: &'a Record,
    /// What was done.
    pub effect: Effect,
    /// How it ended.
    pub outcome: &'a EffectOutcome,
    /// When it began.
    pub began: Timestamp,
    /// When it ended.
    pub ended: Timestamp,
}

/// Who is told what happened: the history, the machine, the index, the log. Nothing here can stop the driver.
pub trait Observer {
    /// A decision stands.
    fn decided(&self, decided: Decided<'_>);

    /// An effect has ended.
    fn performed(&self, performed: &Performed<'_>);
}
