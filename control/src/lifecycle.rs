//! The lifecycle: one pure function from what we remember and what happened to what is next.
//!
//! [`decide`] first takes the input into the record (`heartbeat`, `commands`, `receipts`, `outcomes`), then lets the phase move on as far as it can
//! (`phases`), then names the one effect that is due (`next_effect`) and the time at which to look again. The caller saves
//! the record *before* it performs the effect and sets its alarm; an effect may therefore be performed twice and must
//! bear it. This module never reads a clock, never calls anything and never loses an input: what cannot be done in the
//! present phase changes what is wanted, or is refused with a sentence.

mod billing;
mod commands;
mod draft;
mod heartbeat;
mod input;
mod next_effect;
mod outcomes;
mod phases;
mod receipts;
mod repository_lock;
mod rescue;
mod silence;
#[cfg(test)]
mod tests;

pub(crate) use draft::failure;
pub use draft::{Context, Decision, Note, Refusal};
pub use input::{Command, EffectOutcome, Heard, Input, Peers, PortAccess};
pub use repository_lock::object_count_warning;
#[cfg(test)]
pub(crate) use tests::new_record as a_record;

pub use crate::record::Effect;
use crate::record::Record;
use draft::Draft;

/// Decides what follows from an input.
pub fn decide(record: &Record, input: Input, context: &Context<'_>) -> Decision {
    let mut draft = Draft { record: record.clone(), notes: Vec::new(), refusal: None, may_begin: false };
    let billing = match &input {
        Input::Finished { outcome: EffectOutcome::Deleting, .. } => billing::Billing::Ends,
        _ => billing::Billing::AsBefore,
    };
    heartbeat::take(&mut draft, input, context);
    heartbeat::expire_lost_effect(&mut draft, context);
    phases::settle(&mut draft, context);
    billing::follow(record, billing, &mut draft, context);
    let effect = next_effect::begin(&mut draft.record, context);
    let wake_at = phases::wake_at(&draft.record, context);
    Decision { next: draft.record, effect, wake_at, notes: draft.notes, refusal: draft.refusal }
}
