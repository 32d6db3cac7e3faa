//! Rescue: what becomes of work that a machine cannot deliver. An image of it is taken, or what the owner chose at spawn
//! decides. What becomes of the image then is in `rescue_image`.

use super::draft::{Context, Draft, Reason, failure};
use super::rescue_image::{last_backup, take_over};
use super::transitions::{destroy, end_unpersisted, take_image};
use crate::record::{Phase, RescueStep, plus};
use ebbtide_api::backups::Persistence;
use ebbtide_api::failure::Failure;
use ebbtide_api::workspace::{OnUnsaved, RescueChoice};
use ebbtide_api::{EventCode, FailureCode, Hint};

/// Begins to save what a machine cannot deliver.
pub(super) fn rescue(draft: &mut Draft, because: Reason, context: &Context<'_>) -> bool {
    let now = context.now;
    if draft.record.spec.persistence == Persistence::None {
        return end_unpersisted(draft, now);
    }
    // What a salvage machine holds is in the image that it was made from.
    if draft.record.salvage_image_id.is_some() {
        let message = because.sentence.clone();
        let failure = Failure { code: FailureCode::SalvageFailed, message, hint: String::new() };
        return destroy(draft, Some(failure), because, now);
    }
    if draft.record.spec.rescue_image == RescueChoice::Refuse {
        return give_up_rescue(draft, "rescue images are refused, as was chosen at its creation", context);
    }
    take_image(draft, because, now)
}

/// Ends a rescue that brings nothing: what the owner chose at spawn decides.
pub(super) fn give_up_rescue(draft: &mut Draft, why: &str, context: &Context<'_>) -> bool {
    match draft.record.spec.on_unsaved {
        OnUnsaved::Destroy => {
            let lost = format!("work since the last backup is lost: {why}; {}", last_backup(&draft.record));
            draft.record.data_loss_note = Some(lost.clone());
            let failure = failure(FailureCode::WorkLost, lost, Hint::WakeRestores);
            let because = Reason::new(EventCode::WorkLost, "no rescue image could be had");
            destroy(draft, Some(failure), because, context.now)
        }
        OnUnsaved::Hold => {
            keep_on(draft, why, context);
            false
        }
    }
}

/// Keeps a machine past its end by the owner's choice: its label moves on and the owner is told, now and daily.
fn keep_on(draft: &mut Draft, why: &str, context: &Context<'_>) {
    if draft.record.held_until.is_some_and(|until| context.now < until) {
        return;
    }
    let reminder = context.policy.hold_reminder;
    draft.record.held_until = Some(plus(context.now, reminder));
    draft.record.labels_stale = draft.record.server.is_some();
    let sentence = format!(
        "past its time limit with unsaved work ({why}). You chose to keep it, so it still costs money. To end it, \
         delete it without a backup. Said again in {reminder}"
    );
    draft.note(EventCode::KeptUnsaved, sentence);
}

/// The image is complete: it holds the work, and the machine may go.
pub(super) fn image_written(draft: &mut Draft, context: &Context<'_>) {
    let Phase::Rescuing { step: RescueStep::AwaitImage { image }, .. } = draft.record.phase else { return };
    let (failure, because) = take_over(draft, image, context);
    destroy(draft, Some(failure), because, context.now);
}
