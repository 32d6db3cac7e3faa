//! Rescue images once they are taken: how their content comes back, when they are told of, and when they are deleted.
//!
//! An image holds the only copy of unsaved work, in clear. So it is passed on to deletion in three cases alone: a verified
//! backup holds its content, it has expired (the owner was warned), or the workspace is discarded or purged. A wake
//! salvages it: the next machine is made from the image only to be backed up, and the one after restores that.

use super::draft::{Context, Draft, Reason, failure};
use crate::record::{DesiredState, OldImage, Phase, Record, RescueStep, minus, plus};
use crate::restore_note::note_of_machine;
use ebbtide_api::failure::Failure;
use ebbtide_api::text::time;
use ebbtide_api::{Duration, EventCode, FailureCode, Hint, Timestamp};

/// What the next machine is for, at a wake: to salvage the image where there is one, unless a snapshot was chosen.
pub(super) fn choose_start(draft: &mut Draft, context: &Context<'_>) {
    draft.record.salvage_image_id = None;
    let chosen = draft.record.restore_snapshot_chosen.take();
    if let Some(gone) = chosen.as_ref().filter(|chosen| !is_known(&draft.record, chosen)) {
        let sentence = format!("the snapshot {gone} was removed before the wake began; it is not restored");
        draft.note(EventCode::SnapshotGone, sentence);
    }
    if let Some(chosen) = chosen.filter(|chosen| is_known(&draft.record, chosen)) {
        draft.record.restore = Some(chosen);
        if let Some(image) = draft.record.rescue_image {
            let until = time(draft.record.rescue_image_expires_at.unwrap_or(context.now));
            let sentence = format!(
                "the rescue image {image} is passed over for the snapshot that was chosen: it stays at the provider \
                 until {until}, and no wake brings its content back"
            );
            draft.note(EventCode::RescueImagePassedOver, sentence);
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
    if let Some(note) = note_of_machine(&draft.record) {
        draft.note(EventCode::RestoreNoted, note.sentence);
    }
}

fn is_known(record: &Record, snapshot: &str) -> bool {
    record.snapshots.iter().any(|known| known.snapshot == snapshot)
}

/// The image that is being written, where a rescue ends before it is complete.
pub(super) fn unfinished(record: &Record) -> Option<u64> {
    let Phase::Rescuing { step: RescueStep::AwaitImage { image }, .. } = record.phase else { return None };
    (record.rescue_image != Some(image)).then_some(image)
}

/// Why a rescue that has had its time has brought nothing.
pub(super) fn why_none_in_time(record: &Record) -> String {
    let waited_for = record.pause.as_ref().map(|pause| format!("; it waited for {}", pause.waiting_for));
    format!("the rescue has had its time{}", waited_for.unwrap_or_default())
}

/// Whether an image that is late is not waited for any more: nobody wants it, or it has had as long again. No server bills
/// meanwhile.
pub(super) fn may_be_abandoned(record: &Record, context: &Context<'_>) -> bool {
    record.desired == DesiredState::Discarded
        || context.now >= plus(record.since, context.policy.rescue_ceiling)
}

/// When that is.
pub(super) fn abandoned_at(record: &Record, context: &Context<'_>) -> Option<Timestamp> {
    let Phase::Destroying { late_image: Some(_), .. } = record.phase else { return None };
    Some(plus(record.since, context.policy.rescue_ceiling))
}

/// Notes an image that was never complete, so that it does not stay for ever: kept for whoever looks at the provider, and
/// billed no longer than any.
pub(super) fn abandon(draft: &mut Draft, context: &Context<'_>) {
    let Phase::Destroying { late_image: Some(image), .. } = draft.record.phase else { return };
    let keep = match draft.record.desired {
        DesiredState::Discarded => Duration::from_secs(0),
        DesiredState::Awake | DesiredState::Asleep | DesiredState::Deleted => {
            context.policy.rescue_image_keep
        }
    };
    let delete_at = plus(context.now, keep);
    draft.record.old_images.push(OldImage { image, delete_at, failures: 0 });
    let until = time(delete_at);
    let sentence = format!("the image {image}, which was not complete, stays at the provider until {until}");
    draft.note(EventCode::RescueImageAbandoned, sentence);
}

/// A complete image is the workspace's from now on: what holds its work, and the next wake salvages.
pub(super) fn take_over(draft: &mut Draft, image: u64, context: &Context<'_>) -> (Failure, Reason) {
    let expires_at = plus(context.now, context.policy.rescue_image_keep);
    let until = time(expires_at);
    set_aside(draft);
    draft.record.rescue_image = Some(image);
    draft.record.rescue_image_expires_at = Some(expires_at);
    draft.record.rescue_image_warned = false;
    let failure = failure(
        FailureCode::Rescued,
        format!("the machine could not deliver its work; the rescue image {image} holds it until {until}"),
        Hint::WakeSalvages,
    );
    let sentence = format!("the rescue image {image} holds the work until {until}");
    (failure, Reason::new(EventCode::Rescued, sentence))
}

/// An image that was given up is complete after all: nothing is lost.
pub(super) fn written_late(draft: &mut Draft, context: &Context<'_>) {
    let Phase::Destroying { late_image: Some(image), .. } = draft.record.phase else { return };
    let (rescued, because) = take_over(draft, image, context);
    draft.record.data_loss_note = None;
    draft.note_as_reason(because);
    if let Phase::Destroying { failure, late_image, .. } = &mut draft.record.phase {
        (*failure, *late_image) = (Some(rescued), None);
    }
}

/// An image that was given up is gone: what was said of it stands.
pub(super) fn late_one_gone(draft: &mut Draft) {
    if let Phase::Destroying { late_image, .. } = &mut draft.record.phase {
        *late_image = None;
    }
}

/// The failure as its owner should read it: that of a salvage machine leaves the image and a choice.
pub(super) fn as_told(record: &Record, failure: Failure) -> Failure {
    let Some(image) = record
        .salvage_image_id
        .filter(|_| failure.code != FailureCode::SalvageFailed || failure.hint.is_empty())
    else {
        return failure;
    };
    let until = record.rescue_image_expires_at.map_or_else(String::new, |at| format!(" until {}", time(at)));
    Failure {
        code: FailureCode::SalvageFailed,
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
    failure(FailureCode::SalvageFailed, lost, Hint::WakeRestores)
}

/// Looks after the images of a workspace that rests: warns of their end, and ends them.
pub(super) fn tend(draft: &mut Draft, context: &Context<'_>) {
    let now = context.now;
    let purged = match draft.record.phase {
        Phase::Asleep | Phase::Failed { .. } => false,
        Phase::Deleted { purged, .. } => purged,
        Phase::Requested
        | Phase::Provisioning { .. }
        | Phase::Booting { .. }
        | Phase::Running
        | Phase::Silent { .. }
        | Phase::Draining { .. }
        | Phase::Rescuing { .. }
        | Phase::Destroying { .. } => return,
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
        draft.note(EventCode::RescueImageExpired, lost.clone());
        draft.record.data_loss_note = Some(lost.clone());
        if let Phase::Failed { failure: shown } = &mut draft.record.phase {
            *shown = failure(FailureCode::WorkLost, lost, Hint::WakeRestores);
        }
        give_over(draft, now);
    } else if !draft.record.rescue_image_warned && now >= warns_at(expires_at, context) {
        draft.record.rescue_image_warned = true;
        let sentence = format!(
            "the rescue image {image} is deleted at {}, with what is in no backup: wake the workspace to recover it",
            time(expires_at)
        );
        draft.note(EventCode::RescueImageEndsSoon, sentence);
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
pub(super) fn set_aside(draft: &mut Draft) {
    let expires_at = draft.record.rescue_image_expires_at.take();
    draft.record.rescue_image_warned = false;
    if let (Some(image), Some(delete_at)) = (draft.record.rescue_image.take(), expires_at) {
        draft.record.old_images.push(OldImage { image, delete_at, failures: 0 });
    }
}

/// An image is deleted, or was not there.
pub(super) fn deleted(draft: &mut Draft, image: u64) {
    draft.record.old_images.retain(|old| old.image != image);
    draft.note(EventCode::RescueImageDeleted, format!("the image {image} is deleted"));
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
        let sentence = format!("the image {image} is not deleted yet: waiting for {waiting_for}");
        draft.note(EventCode::RescueImageNotDeleted, sentence);
    }
}

/// What the owner has instead of what was lost.
pub(super) fn last_backup(record: &Record) -> String {
    let short = |id: &str| id.get(..8).unwrap_or(id).to_owned();
    record.snapshots.first().map_or_else(
        || "it was never backed up".to_owned(),
        |snapshot| {
            let verified = time(snapshot.verified_at);
            format!("the last verified backup is {} of {verified}", short(&snapshot.snapshot))
        },
    )
}
