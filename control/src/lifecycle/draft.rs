//! A decision, and what it is made with: the context that it is made in, the draft that every step works on, and what
//! comes of it.

use crate::policy::Policy;
use crate::record::{Effect, Record};
use ebbtide_api::failure::Failure;
use ebbtide_api::workspace::State;
use ebbtide_api::{ErrorCode, EventCode, FailureCode, Hint, Timestamp};

/// What surrounds a decision.
#[derive(Debug, Clone, Copy)]
pub struct Context<'a> {
    /// The control plane's clock.
    pub now: Timestamp,
    /// Durations and limits.
    pub policy: &'a Policy,
    /// When the machine of this generation was last heard of, by this clock.
    pub last_seen_at: Option<Timestamp>,
}

impl Context<'_> {
    /// When the machine counts as last heard of: entering the phase and our own lateness restart the clock.
    pub(super) fn last_seen(&self, record: &Record) -> Timestamp {
        [self.last_seen_at, record.last_seen_at, record.clocks_restarted_at]
            .into_iter()
            .flatten()
            .fold(record.since, Timestamp::max)
    }
}

/// A request that cannot be met now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// Its code.
    pub code: ErrorCode,
    /// A sentence.
    pub message: String,
}

/// A line of history.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    /// The state at that point.
    pub state: State,
    /// What happened, for programs.
    pub code: EventCode,
    /// What happened and why, a sentence.
    pub because: String,
}

impl Note {
    /// The first line of every history.
    pub fn created(record: &Record) -> Self {
        Self { state: record.state(), code: EventCode::Created, because: record.because.clone() }
    }
}

/// Why something happens: a code for programs, and the sentence for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Reason {
    pub(super) code: EventCode,
    pub(super) sentence: String,
}

impl Reason {
    pub(super) fn new(code: EventCode, sentence: impl Into<String>) -> Self {
        Self { code, sentence: sentence.into() }
    }
}

/// A move that a failure alone explains.
impl From<&Failure> for Reason {
    fn from(failure: &Failure) -> Self {
        Self::new(EventCode::from(&failure.code), failure.message.clone())
    }
}

/// What is next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    /// The record to save before anything else.
    pub next: Record,
    /// What to do after that, with the number that its end must carry.
    pub effect: Option<(u64, Effect)>,
    /// What is due and was left to the next invocation, because no call was left for it.
    pub left: Option<Effect>,
    /// When to decide again, whatever happens.
    pub wake_at: Option<Timestamp>,
    /// What to write into the history, in order.
    pub notes: Vec<Note>,
    /// Why the input was not taken, where it was not.
    pub refusal: Option<Refusal>,
}

/// A decision in the making.
pub(super) struct Draft {
    pub(super) record: Record,
    pub(super) notes: Vec<Note>,
    pub(super) refusal: Option<Refusal>,
    /// The next machine's worst case was reserved for this very decision. Never stored: what was reserved for a wake that
    /// has to wait may be gone when the wait is over.
    pub(super) may_begin: bool,
}

impl Draft {
    /// Tells the history.
    pub(super) fn note(&mut self, code: EventCode, sentence: impl Into<String>) {
        self.notes.push(Note { state: self.record.state(), code, because: sentence.into() });
    }

    /// Tells the history, and makes it what the workspace says of itself.
    pub(super) fn note_as_reason(&mut self, reason: Reason) {
        self.record.because.clone_from(&reason.sentence);
        self.note(reason.code, reason.sentence);
    }

    /// Does not meet the request that was taken in.
    pub(super) fn refuse(&mut self, code: ErrorCode, message: impl Into<String>) {
        self.refusal = Some(Refusal { code, message: message.into() });
    }
}

/// A failure with its code, what happened, and what to do.
pub(crate) fn failure(code: FailureCode, message: impl Into<String>, hint: Hint) -> Failure {
    Failure { code, message: message.into(), hint: hint.for_api().to_owned() }
}
