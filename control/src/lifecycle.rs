//! The lifecycle: one pure function from what we remember and what happened to what is next.
//!
//! [`decide`] first takes the input into the record (`heartbeat`, `commands`, `receipts`, `outcomes`), then lets the phase
//! move on as far as it can (`phases`, by the moves in `transitions`), then names the one effect that is due
//! (`next_effect`) and the time at which to look again (`deadlines`). The caller saves the record *before* it performs the
//! effect and sets its alarm; an effect may therefore be performed twice and must bear it. This module never reads a clock,
//! never calls anything and never loses an input: what cannot be done in the present phase changes what is wanted, or is
//! refused with a sentence.

#![deny(
    clippy::wildcard_enum_match_arm,
    reason = "a new phase, effect or outcome is to be thought about everywhere"
)]

mod billing;
mod boot_bounds;
mod commands;
mod deadlines;
mod draft;
mod heartbeat;
mod input;
mod next_effect;
mod other_place;
mod outcomes;
mod phases;
mod reboot;
mod receipts;
mod repository_lock;
mod rescue;
mod rescue_image;
mod silence;
mod start_check;
#[cfg(test)]
#[allow(clippy::wildcard_enum_match_arm, reason = "a test says what it expects")]
mod tests;
mod transitions;

pub(crate) use draft::failure;
pub use draft::{Context, Decision, Note, Refusal};
pub use input::{Command, EffectOutcome, HeartbeatSummary, Input, OTHER_PROJECT, Peers};
pub use repository_lock::object_count_warning;
#[cfg(test)]
pub(crate) use tests::new_record as a_record;

pub use crate::record::Effect;
use crate::record::Record;
use draft::Draft;

/// Whether an invocation may call for one effect more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Budget {
    /// It may.
    Left,
    /// It may not: what is due is left to the next.
    Spent,
}

/// Decides what follows from an input.
pub fn decide(record: &Record, input: Input, context: &Context<'_>) -> Decision {
    decide_within(record, input, context, Budget::Left)
}

/// Decides what follows from an input, in an invocation whose calls may be spent.
pub fn decide_within(record: &Record, input: Input, context: &Context<'_>, budget: Budget) -> Decision {
    let mut draft = Draft { record: record.clone(), notes: Vec::new(), refusal: None, may_begin: false };
    let deletion_accepted = matches!(&input, Input::Finished { outcome: EffectOutcome::Deleting, .. });
    let billing = if deletion_accepted { billing::Billing::Ends } else { billing::Billing::AsBefore };
    // The order is load-bearing. First: an answer that comes when its attempt counts as lost already is not believed,
    // whoever is first to notice (seed 1663630: what a late answer said was reserved had been given back meanwhile).
    outcomes::expire_lost_effect(&mut draft, context);
    take(&mut draft, input, context);
    phases::settle(&mut draft, context);
    // The bill follows what the moves have made of the record, and the effect is chosen by both.
    billing::follow(record, billing, &mut draft, context);
    let (effect, left) = match budget {
        Budget::Left => (next_effect::begin(&mut draft.record, context), None),
        // Nothing is marked as begun that nobody performs, so that nothing has to be given back: an effect that was
        // begun and given back took with it what its beginning had cleared.
        Budget::Spent => (None, next_effect::waiting(&draft.record, context)),
    };
    // Last: when the effect that has just begun counts as lost is one of the times.
    let wake_at = if left.is_some() { Some(context.now) } else { deadlines::wake_at(&draft.record, context) };
    Decision { next: draft.record, effect, left, wake_at, notes: draft.notes, refusal: draft.refusal }
}

fn take(draft: &mut Draft, input: Input, context: &Context<'_>) {
    match input {
        Input::Tick { due_at } => deadlines::tick(draft, due_at, context),
        Input::Ask(command) => commands::ask(draft, command, context),
        Input::Heartbeat(heartbeat) => heartbeat::take_in(draft, heartbeat, context),
        Input::Enrolled { machine_key } => heartbeat::enrol(draft, machine_key, context),
        Input::Delivered { receipt, last, wrong } => receipts::deliver(draft, receipt, last, wrong),
        Input::Finished { attempt_id, outcome } => outcomes::finish(draft, attempt_id, outcome, context),
    }
}
