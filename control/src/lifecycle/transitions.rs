//! Every change of phase: the table of moves, the one place that makes one, and what each move does to the record.
//!
//! Nothing else assigns a phase (a test reads the sources for it). Which move is due is decided by the rules (`phases`,
//! `silence`, `rescue`, `billing`, `heartbeat`, `outcomes`); here stands what is true once it is made. A machine with work
//! on it is let go by three moves alone: its verified last backup ([`saved`]), a recorded discard, and the rescue rules.

use super::draft::{Context, Draft, Reason};
use super::{other_place, receipts, rescue_image};
use crate::record::{DesiredState, Dns, DrainReason, Phase, Record, RescueStep, StartCheck, plus};
use ebbtide_api::backups::Persistence;
use ebbtide_api::failure::Failure;
use ebbtide_api::workspace::State;
use ebbtide_api::{EventCode, Timestamp};

/// So many machines of the past are known by their keys: one that comes back from further away is a stranger.
const FORMER_KEYS: usize = 4;

/// Why one state may follow another; `None` where it never does.
///
/// Every pair is named, so that a new state does not compile before somebody has thought about its moves.
pub(super) const fn may_follow(from: State, to: State) -> Option<&'static str> {
    use State::{
        Asleep, Booting, Deleted, Destroying, Draining, Failed, Provisioning, Requested, Rescuing, Running,
        Silent,
    };
    match from {
        Requested => match to {
            Provisioning => Some("a server is asked for"),
            Asleep => Some("put to sleep before it began"),
            Deleted => Some("deleted before it began"),
            Requested | Booting | Running | Silent | Draining | Rescuing | Destroying | Failed => None,
        },
        Provisioning => match to {
            Booting => Some("the server exists"),
            Destroying => Some("unwanted, refused or too slow, and a server may exist"),
            Asleep => Some("unwanted, and certainly nothing was created"),
            Failed => Some("refused or too slow, and certainly nothing was created"),
            Deleted => Some("deleted, and certainly nothing was created"),
            Requested | Provisioning | Running | Silent | Draining | Rescuing => None,
        },
        Booting => match to {
            Running => Some("the boot plan is through"),
            Draining => Some("the boot plan is through, only to back up a rescue image"),
            Destroying => Some("failed, stalled or unwanted; it holds no work yet"),
            // It holds no work yet: there is nothing to ask about, to back up or to rescue.
            Requested | Provisioning | Booting | Silent | Rescuing | Asleep | Failed | Deleted => None,
        },
        Running => match to {
            Silent => Some("not heard"),
            Draining => Some("idle, asked for, the lifetime or a cap: backed up first"),
            Running => Some("rebooted, as its owner asked"),
            Destroying => Some("discarded, not persisted, or gone at the provider"),
            Requested | Provisioning | Booting | Rescuing | Asleep | Failed | Deleted => None,
        },
        Silent => match to {
            Running | Draining => Some("heard again, where it was"),
            Rescuing => Some("not heard until its budget or its time was over"),
            Destroying => Some("its last backup is verified, or discarded, lost by rule, or gone"),
            Requested | Provisioning | Booting | Silent | Asleep | Failed | Deleted => None,
        },
        Draining => match to {
            Running => Some("taken back, or given back after a last backup that is not whole"),
            Silent => Some("not heard"),
            Rescuing => Some("the backup did not finish in time"),
            Destroying => Some("its last backup is verified, or discarded, lost by rule, or gone"),
            Requested | Provisioning | Booting | Draining | Asleep | Failed | Deleted => None,
        },
        Rescuing => match to {
            Destroying => Some("its image is written, or discarded, lost by rule, or gone"),
            // Its machine is switched off: nothing brings it back but a wake.
            Requested | Provisioning | Booting | Running | Silent | Draining | Rescuing | Asleep | Failed
            | Deleted => None,
        },
        Destroying => match to {
            Asleep => Some("no server is left"),
            Failed => Some("no server is left, and something to say"),
            Deleted => Some("no server is left, and no workspace is wanted"),
            Requested | Provisioning | Booting | Running | Silent | Draining | Rescuing | Destroying => None,
        },
        Asleep => match to {
            Requested => Some("woken"),
            Failed => Some("what it costs is not reserved"),
            Deleted => Some("deleted"),
            Provisioning | Booting | Running | Silent | Draining | Rescuing | Destroying | Asleep => None,
        },
        Failed => match to {
            Requested => Some("woken or retried"),
            Failed => Some("what it costs is not reserved"),
            Deleted => Some("deleted"),
            Provisioning | Booting | Running | Silent | Draining | Rescuing | Destroying | Asleep => None,
        },
        Deleted => match to {
            Asleep => Some("undone before anything was shredded"),
            Requested | Provisioning | Booting | Running | Silent | Draining | Rescuing | Destroying
            | Failed | Deleted => None,
        },
    }
}

/// Enters a phase, where the table knows the move.
fn enter(draft: &mut Draft, phase: Phase, because: Reason, now: Timestamp) -> bool {
    enter_after(draft, phase, because, now, |_| ())
}

/// Enters a phase after a change that is part of the move: the only place that changes the phase. What is true of one stay
/// alone is forgotten here.
///
/// A move that the table does not know is a mistake of ours: neither it nor the change is made, and the history says so.
/// Says whether it was made.
fn enter_after(
    draft: &mut Draft,
    phase: Phase,
    mut because: Reason,
    now: Timestamp,
    change: impl FnOnce(&mut Draft),
) -> bool {
    let (from, to) = (draft.record.state(), phase.state());
    if may_follow(from, to).is_none() {
        // Stops tests and simulated lives. The Worker is built without: there, a panic is a hang.
        debug_assert!(false, "{from} → {to} is no move: {}", because.sentence);
        tell_mistake(draft, to, &because.sentence);
        return false;
    }
    change(draft);
    // A machine that falls silent may hang: then its owner's wish for a reboot is worth most. Any other move ends it.
    if !matches!((&draft.record.phase, &phase), (Phase::Running, Phase::Silent { draining: None, .. })) {
        draft.record.reboot_asked_at = None;
    }
    if let Some(image) = draft.record.salvage_image_id {
        because.sentence = format!("salvaging the rescue image {image}: {}", because.sentence);
    }
    draft.record.phase = phase;
    draft.record.since = now;
    draft.record.pause = None;
    draft.record.image_missed_at = None;
    draft.record.silence_from = None;
    draft.note_as_reason(because);
    true
}

fn tell_mistake(draft: &mut Draft, to: State, because: &str) {
    let from = draft.record.state();
    let sentence =
        format!("a mistake of the control plane: it stays {from}, which {to} never follows ({because})");
    draft.note(EventCode::Mistake, sentence);
}

/// A server is created under the name and labels of this generation.
pub(super) fn provision(draft: &mut Draft, now: Timestamp) -> bool {
    let phase = Phase::Provisioning { refused: Vec::new(), maybe_created: false };
    enter(draft, phase, Reason::new(EventCode::CreatingServer, "creating a server"), now)
}

/// The server exists.
pub(super) fn boot(draft: &mut Draft, now: Timestamp) -> bool {
    let because = Reason::new(EventCode::ServerExists, "the server exists and boots");
    let start = StartCheck::NotAsked;
    let phase = Phase::Booting { progress: 0, progress_at: now, restored: 0, restored_at: None, start };
    enter(draft, phase, because, now)
}

/// The boot plan is through. A machine that was made from a rescue image holds work already and is backed up at once.
pub(super) fn ready(draft: &mut Draft, now: Timestamp) -> bool {
    draft.record.unstartable.clear();
    if draft.record.salvage_image_id.is_some() {
        let phase = Phase::Draining { reason: DrainReason::Salvage, trouble: None, frozen: false };
        let because = Reason::new(EventCode::SalvageReady, "what it holds is being backed up");
        return enter(draft, phase, because, now);
    }
    let because = match draft.record.spec.persistence {
        Persistence::Backup => "ready",
        Persistence::None => {
            "ready; nothing in it is backed up, as was chosen: its files end with this machine"
        }
    };
    enter(draft, Phase::Running, Reason::new(EventCode::Ready, because), now)
}

/// Moves to silent where the machine was not heard of for long enough.
pub(super) fn fall_silent(draft: &mut Draft, draining: Option<DrainReason>, context: &Context<'_>) -> bool {
    let now = context.now;
    let last_seen_at = context.last_seen(&draft.record);
    if now < plus(last_seen_at, context.policy.silence_after) {
        return false;
    }
    let phase = Phase::Silent {
        last_seen_at,
        rebooted_at: None,
        ask_at: now,
        status: None,
        draining,
        looked_at: None,
    };
    enter(draft, phase, Reason::new(EventCode::Silent, "the machine is not heard of"), now)
}

/// A running machine was reset at its owner's word: its time to be heard of begins anew.
pub(super) fn rebooted_as_asked(draft: &mut Draft, because: Reason, now: Timestamp) -> bool {
    enter(draft, Phase::Running, because, now)
}

/// The machine is heard again, and goes on where it was.
pub(super) fn seen_again(draft: &mut Draft, draining: Option<DrainReason>, now: Timestamp) -> bool {
    let phase = match draining {
        Some(reason) => Phase::Draining { reason, trouble: None, frozen: false },
        None => Phase::Running,
    };
    enter(draft, phase, Reason::new(EventCode::HeardAgain, "the machine is heard again"), now)
}

/// Begins to back up before the machine goes. No receipt from before counts for it.
pub(super) fn drain(draft: &mut Draft, reason: DrainReason, because: Reason, now: Timestamp) -> bool {
    enter_after(draft, Phase::Draining { reason, trouble: None, frozen: false }, because, now, |draft| {
        receipts::void_last_backup(&mut draft.record);
        draft.record.receipt_problem = None;
    })
}

/// Ends a machine that is idle: by a drain, unless nothing of it is kept.
pub(super) fn drain_idle(draft: &mut Draft, because: Reason, now: Timestamp) -> bool {
    draft.record.desired = DesiredState::Asleep;
    match draft.record.spec.persistence {
        Persistence::Backup => drain(draft, DrainReason::Idle, because, now),
        Persistence::None => destroy(draft, None, because, now),
    }
}

/// The drain is taken back before the freeze.
pub(super) fn take_back(draft: &mut Draft, now: Timestamp) -> bool {
    let because = Reason::new(EventCode::DrainTakenBack, "the drain was taken back");
    enter_after(draft, Phase::Running, because, now, |draft| {
        receipts::demote_pending(&mut draft.record);
    })
}

/// A machine that has frozen is given back: what it delivered last is not whole.
pub(super) fn thaw(draft: &mut Draft, now: Timestamp) -> bool {
    let because = Reason::new(EventCode::LastBackupIncomplete, "awake again: the last backup was incomplete");
    enter_after(draft, Phase::Running, because, now, |draft| draft.record.thaw_requested = true)
}

/// Begins to take an image of what a machine cannot deliver.
pub(super) fn take_image(draft: &mut Draft, because: Reason, now: Timestamp) -> bool {
    enter(draft, Phase::Rescuing { started_at: now, step: RescueStep::PowerOff }, because, now)
}

/// A verified final backup lets the machine go, and with it the image that it was made from.
///
/// The only move that trusts a backup. `final_snapshot` is set in one place (`receipts::checked`), by a receipt that came
/// after the machine had said that it stands still, is whole, and whose every pack was found in storage.
pub(super) fn saved(draft: &mut Draft, now: Timestamp) -> bool {
    let salvaged = draft.record.salvage_image_id.is_some();
    let because = Reason::new(EventCode::LastBackupVerified, "the backup is verified in storage");
    let moved = destroy(draft, None, because, now);
    if moved && salvaged {
        rescue_image::give_over(draft, now);
    }
    moved
}

/// Ends the machine. Callers have made sure that nothing unsaved is lost without a recorded decision.
pub(super) fn destroy(draft: &mut Draft, failure: Option<Failure>, because: Reason, now: Timestamp) -> bool {
    let failure = failure.map(|failure| rescue_image::as_told(&draft.record, failure));
    let late_image = rescue_image::unfinished(&draft.record);
    let phase =
        Phase::Destroying { failure, not_found_at: None, server_gone: false, names_tried: false, late_image };
    enter_after(draft, phase, because, now, |draft| draft.record.vanished_at = None)
}

/// Ends the machine because its owner gives up what is unsaved on it.
pub(super) fn discard(draft: &mut Draft, now: Timestamp) -> bool {
    destroy(draft, None, Reason::new(EventCode::Discarded, "the owner discards what is unsaved"), now)
}

/// Ends a machine of a workspace of which nothing is kept.
pub(super) fn end_unpersisted(draft: &mut Draft, now: Timestamp) -> bool {
    let because = "it is not persisted, as was chosen when it was created";
    destroy(draft, None, Reason::new(EventCode::NotPersisted, because), now)
}

/// Leaves provisioning: straight to rest where certainly nothing was created, else by way of a deletion.
pub(super) fn leave_provisioning(
    draft: &mut Draft,
    maybe_created: bool,
    failure: Option<Failure>,
    because: Reason,
    context: &Context<'_>,
) -> bool {
    let record = &draft.record;
    if maybe_created || record.server.is_some() || record.in_flight.is_some() {
        destroy(draft, failure, because, context.now)
    } else {
        rest(draft, failure, context)
    }
}

/// Comes to rest without a machine.
pub(super) fn rest(draft: &mut Draft, failure: Option<Failure>, context: &Context<'_>) -> bool {
    let now = context.now;
    let failure = failure.map(|failure| rescue_image::as_told(&draft.record, failure));
    let (phase, because) = match (draft.record.desired, failure) {
        (DesiredState::Deleted | DesiredState::Discarded, _) => {
            let purge_at = plus(now, context.policy.undo);
            let because = format!("deleted; can be undone for {}", context.policy.undo);
            (Phase::Deleted { purge_at, purged: false }, Reason::new(EventCode::Deleted, because))
        }
        (DesiredState::Awake | DesiredState::Asleep, Some(failure)) => {
            // What is wanted after a failure is for its owner to say.
            draft.record.desired = DesiredState::Asleep;
            let because = Reason::from(&failure);
            (Phase::Failed { failure }, because)
        }
        (DesiredState::Awake | DesiredState::Asleep, None) => {
            (Phase::Asleep, Reason::new(EventCode::Asleep, "no machine; the work is in storage"))
        }
    };
    enter_after(draft, phase, because, now, |draft| forget_machine(&mut draft.record))
}

/// What was true of the machine that is gone.
fn forget_machine(record: &mut Record) {
    record.salvage_image_id = None;
    record.held_until = None;
    record.server = None;
    record.dns = Dns::Absent;
    record.labels_stale = false;
    keep_former_key(record);
    record.pending = None;
    record.holds.clear();
}

fn keep_former_key(record: &mut Record) {
    record.former_machine_keys.extend(record.machine_key.take());
    let over = record.former_machine_keys.len().saturating_sub(FORMER_KEYS);
    record.former_machine_keys.drain(..over);
}

/// A workspace at rest does not wake: what its machine costs is not reserved.
pub(super) fn stay_without_money(draft: &mut Draft, failure: Failure, now: Timestamp) -> bool {
    draft.record.desired = DesiredState::Asleep;
    let sentence = format!("it does not wake: {}", failure.message);
    let because = Reason::new(EventCode::from(&failure.code), sentence);
    enter(draft, Phase::Failed { failure }, because, now)
}

/// Begins the next generation. What belongs to one machine begins anew with it.
pub(super) fn wake(draft: &mut Draft, context: &Context<'_>) -> bool {
    let because = Reason::new(EventCode::Woken, "the owner wakes it");
    enter_after(draft, Phase::Requested, because, context.now, |draft| {
        let record = &mut draft.record;
        record.generation = record.generation.next();
        record.woke_at = context.now;
        record.last_seen_at = None;
        record.vanished_at = None;
        record.last_create_at = None;
        record.clocks_restarted_at = None;
        record.final_snapshot = None;
        record.receipt_problem = None;
        record.thaw_requested = false;
        record.warnings_given = 0;
        record.owner_reboots.clear();
        record.data_loss_note = None;
        start_anew(draft);
        rescue_image::choose_start(draft, context);
        // A workspace of a version that pruned nothing waits as a new one does.
        draft.record.pruned_at.get_or_insert(context.now);
        draft.record.prune = crate::retention::order(&draft.record, context.policy, context.now);
    })
}

/// Takes in how the machine starts, and tells its owner where that differs from the one before.
fn start_anew(draft: &mut Draft) {
    let spec = &mut draft.record.spec;
    let (before, image) = (spec.placement.clone(), spec.image.clone());
    if let Some(next) = draft.record.next_start.take() {
        spec.start_as(next);
    }
    other_place::avoid(&mut draft.record);
    let spec = &draft.record.spec;
    if before != spec.placement || image != spec.image {
        let sentence = format!(
            "it starts as {} with {}; the last time it was {before} with {image}",
            spec.placement, spec.image
        );
        draft.note(EventCode::PlacedAnew, sentence);
    }
}

/// The deletion is taken back before anything was shredded.
pub(super) fn undelete(draft: &mut Draft, now: Timestamp) -> bool {
    enter(draft, Phase::Asleep, Reason::new(EventCode::Undeleted, "the deletion was undone"), now)
}

#[cfg(test)]
mod tests;
