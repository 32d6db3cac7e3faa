//! Rescue images: when one is taken, what becomes of it, and how its content comes back.
//!
//! An image holds the only copy of unsaved work, in clear. So it is passed on to deletion in three cases alone: a
//! verified backup holds its content, it has expired (the owner was warned), or the workspace is discarded or purged.
//! A wake salvages it: the next machine is made from the image only to be backed up, and the one after restores that.

use super::draft::{Context, Draft, failure};
use super::phases::destroy;
use crate::record::{DesiredState, OldImage, Phase, Record, RescueStep, minus, plus};
use ebbtide_api::backups::Persistence;
use ebbtide_api::text::time;
use ebbtide_api::workspace::{Failure, OnUnsaved, RescueChoice};
use ebbtide_api::{Duration, Hint, Timestamp};

/// Code of a salvage that brought nothing into storage; the image stays.
const SALVAGE_FAILED: &str = "salvage_failed";

/// Begins to save what a machine cannot deliver.
pub(super) fn rescue(draft: &mut Draft, because: &str, context: &Context<'_>) -> bool {
    let now = context.now;
    if draft.record.spec.persistence == Persistence::None {
        return destroy(draft, None, "it is not persisted, as was chosen when it was created", now);
    }
    // What a salvage machine holds is in the image that it was made from.
    if draft.record.salvage_image_id.is_some() {
        let told = failure(SALVAGE_FAILED, because, "");
        return destroy(draft, Some(told), because, now);
    }
    if draft.record.spec.rescue_image == RescueChoice::Refuse {
        return give_up_rescue(draft, "rescue images are refused, as was chosen at its creation", context);
    }
    draft.enter(Phase::Rescuing { started_at: now, step: RescueStep::PowerOff }, because, now);
    true
}

/// Ends a rescue that brings nothing: what the owner chose at spawn decides.
pub(super) fn give_up_rescue(draft: &mut Draft, why: &str, context: &Context<'_>) -> bool {
    match draft.record.spec.on_unsaved {
        OnUnsaved::Destroy => {
            let lost = format!("work since the last backup is lost: {why}; {}", last_backup(&draft.record));
            draft.record.data_loss_note = Some(lost.clone());
            let failure = failure("work_lost", lost, "POST …/wake restores the last verified backup.");
            // It may yet be completed: kept for whoever looks at the provider, and billed no longer than any.
            abandon(draft, plus(context.now, context.policy.rescue_image_keep));
            destroy(draft, Some(failure), "no rescue image could be had", context.now)
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
    draft.note(format!(
        "past its time limit with unsaved work ({why}). You chose to keep it, so it still costs money. To end it, \
         delete it without a backup. Said again in {reminder}"
    ));
}

fn last_backup(record: &Record) -> String {
    let short = |id: &str| id.get(..8).unwrap_or(id).to_owned();
    record.snapshots.first().map_or_else(
        || "it was never backed up".to_owned(),
        |snapshot| {
            let verified = time(snapshot.verified_at);
            format!("the last verified backup is {} of {verified}", short(&snapshot.snapshot))
        },
    )
}

/// Notes an image that is still being written when the rescue ends without it, so that it does not stay for ever.
pub(super) fn abandon(draft: &mut Draft, delete_at: Timestamp) {
    if let Phase::Rescuing { step: RescueStep::AwaitImage { image }, .. } = draft.record.phase {
        draft.record.old_images.push(OldImage { image, delete_at, failures: 0 });
        draft.note(format!(
            "the image {image}, which was not complete, stays at the provider until {}",
            time(delete_at)
        ));
    }
}

/// The image is complete: it holds the work, and the machine may go.
pub(super) fn image_written(draft: &mut Draft, context: &Context<'_>) {
    let Phase::Rescuing { step: RescueStep::AwaitImage { image }, .. } = draft.record.phase else { return };
    let expires_at = plus(context.now, context.policy.rescue_image_keep);
    let until = time(expires_at);
    set_aside(draft);
    draft.record.rescue_image = Some(image);
    draft.record.rescue_image_expires_at = Some(expires_at);
    draft.record.rescue_image_warned = false;
    let failure = failure(
        "rescued",
        format!("the machine could not deliver its work; the rescue image {image} holds it until {until}"),
        Hint::WakeSalvages,
    );
    destroy(
        draft,
        Some(failure),
        format!("the rescue image {image} holds the work until {until}"),
        context.now,
    );
}

/// What the next machine is for, at a wake: to salvage the image where there is one, unless a snapshot was chosen.
pub(super) fn choose_start(draft: &mut Draft, context: &Context<'_>) {
    draft.record.salvage_image_id = None;
    let chosen = draft.record.restore_snapshot_chosen.take();
    if let Some(gone) = chosen.as_ref().filter(|chosen| !is_known(&draft.record, chosen)) {
        draft.note(format!("the snapshot {gone} was removed before the wake began; it is not restored"));
    }
    if let Some(chosen) = chosen.filter(|chosen| is_known(&draft.record, chosen)) {
        draft.record.restore = Some(chosen);
        if let Some(image) = draft.record.rescue_image {
            let until = time(draft.record.rescue_image_expires_at.unwrap_or(context.now));
            draft.note(format!(
                "the rescue image {image} is passed over for the snapshot that was chosen: it stays at the provider \
                 until {until}, and no wake brings its content back"
            ));
            set_aside(draft);
        }
    } else if let Some(image) = draft.record.rescue_image {
        draft.record.salvage_image_id = Some(image);
        draft.record.restore = None;
        let end = draft.record.hard_end_at(context.policy);
        draft.record.rescue_image_expires_at = draft.record.rescue_image_expires_at.map(|at| at.max(end));
    } else {
        draft.record.restore = draft.record.snapshots.first().map(|newest| newest.snapshot.clone());
    }
}

fn is_known(record: &Record, snapshot: &str) -> bool {
    record.snapshots.iter().any(|known| known.snapshot == snapshot)
}

/// A verified backup holds the work: the machine may go, and with it the image that it was made from.
pub(super) fn saved(draft: &mut Draft, now: Timestamp) -> bool {
    destroy(draft, None, "the backup is verified in storage", now);
    if draft.record.salvage_image_id.is_some() {
        give_over(draft, now);
    }
    true
}

/// The failure as its owner should read it: that of a salvage machine leaves the image and a choice.
pub(super) fn told(record: &Record, failure: Failure) -> Failure {
    let Some(image) =
        record.salvage_image_id.filter(|_| failure.code != SALVAGE_FAILED || failure.hint.is_empty())
    else {
        return failure;
    };
    let until = record.rescue_image_expires_at.map_or_else(String::new, |at| format!(" until {}", time(at)));
    Failure {
        code: SALVAGE_FAILED.to_owned(),
        message: format!("the rescue image {image} could not be salvaged: {}", failure.message),
        hint: format!("{}{until}.", Hint::SalvageAgain.for_api()),
    }
}

/// Whether the image was missed before, and not just now: one not-found is looked into, the second is believed.
pub(super) fn is_missed_twice(draft: &mut Draft, context: &Context<'_>) -> bool {
    let now = context.now;
    let first = *draft.record.image_missed_at.get_or_insert(now);
    first < now && now >= plus(first, context.policy.poll)
}

/// The provider has no such image any more: what only it held is lost, which is told, and waited for by nobody.
pub(super) fn image_vanished(draft: &mut Draft, message: &str) -> Failure {
    let image = draft.record.rescue_image.take().unwrap_or_default();
    draft.record.rescue_image_expires_at = None;
    let lost = format!("the rescue image {image} is gone: {message}; {}", last_backup(&draft.record));
    draft.record.data_loss_note = Some(lost.clone());
    failure(SALVAGE_FAILED, lost, "POST …/wake restores the last verified backup.")
}

/// Looks after the images of a workspace that rests: warns of their end, and ends them.
pub(super) fn tend(draft: &mut Draft, context: &Context<'_>) {
    let now = context.now;
    let purged = match draft.record.phase {
        Phase::Asleep | Phase::Failed { .. } => false,
        Phase::Deleted { purged, .. } => purged,
        _ => return,
    };
    let Some(image) = draft.record.rescue_image else { return };
    if purged || draft.record.desired == DesiredState::Discarded {
        return give_over(draft, now);
    }
    let since = draft.record.since;
    let keep = context.policy.rescue_image_keep;
    let expires_at = *draft.record.rescue_image_expires_at.get_or_insert(plus(since, keep));
    if now >= expires_at {
        let lost = format!(
            "the rescue image {image} has expired and is deleted; what only it held is lost; {}",
            last_backup(&draft.record)
        );
        draft.note(lost.clone());
        draft.record.data_loss_note = Some(lost.clone());
        if let Phase::Failed { failure: told } = &mut draft.record.phase {
            *told = failure("work_lost", lost, Hint::WakeRestores);
        }
        give_over(draft, now);
    } else if !draft.record.rescue_image_warned && now >= warns_at(expires_at, context) {
        draft.record.rescue_image_warned = true;
        draft.note(format!(
            "the rescue image {image} is deleted at {}, with what is in no backup: wake the workspace to recover it",
            time(expires_at)
        ));
    }
}

fn warns_at(expires_at: Timestamp, context: &Context<'_>) -> Timestamp {
    minus(expires_at, context.policy.rescue_image_warning)
}

/// When [`tend`] has something to do next.
pub(super) fn wake_at(record: &Record, context: &Context<'_>) -> Option<Timestamp> {
    let rests = matches!(record.phase, Phase::Asleep | Phase::Failed { .. } | Phase::Deleted { .. });
    let expires_at = record.rescue_image_expires_at.filter(|_| rests && record.rescue_image.is_some());
    let warning = expires_at.map(|at| warns_at(at, context)).filter(|_| !record.rescue_image_warned);
    let old = record.next_old_image().map(|old| old.delete_at);
    [expires_at, warning, old].into_iter().flatten().filter(|at| *at > context.now).min()
}

/// Passes the image on to deletion, now.
pub(super) fn give_over(draft: &mut Draft, now: Timestamp) {
    draft.record.rescue_image_expires_at = Some(now);
    set_aside(draft);
}

/// Everything goes: the workspace is purged.
pub(super) fn give_over_all(draft: &mut Draft, now: Timestamp) {
    give_over(draft, now);
    for old in &mut draft.record.old_images {
        old.delete_at = old.delete_at.min(now);
    }
}

/// Lets the image expire without being salvaged. One without an end of its own has that of its label.
fn set_aside(draft: &mut Draft) {
    let expires_at = draft.record.rescue_image_expires_at.take();
    draft.record.rescue_image_warned = false;
    if let (Some(image), Some(delete_at)) = (draft.record.rescue_image.take(), expires_at) {
        draft.record.old_images.push(OldImage { image, delete_at, failures: 0 });
    }
}

/// An image is deleted, or was not there.
pub(super) fn deleted(draft: &mut Draft, image: u64) {
    draft.record.old_images.retain(|old| old.image != image);
    draft.note(format!("the image {image} is deleted"));
}

/// An image's deletion has to wait. It has a clock of its own, so that it holds nothing else back.
pub(super) fn put_off(
    draft: &mut Draft,
    image: u64,
    waiting_for: &str,
    not_before: Option<Timestamp>,
    context: &Context<'_>,
) {
    let Some(old) = draft.record.old_images.iter_mut().find(|old| old.image == image) else { return };
    old.failures = old.failures.saturating_add(1);
    let doubled = context.policy.retry_base.as_secs().saturating_mul(1 << old.failures.min(16));
    let pause = Duration::from_secs(doubled).min(context.policy.image_retry_cap);
    old.delete_at = plus(context.now, pause).max(not_before.unwrap_or(context.now));
    if old.failures == 3 {
        draft.note(format!("the image {image} is not deleted yet: waiting for {waiting_for}"));
    }
}
