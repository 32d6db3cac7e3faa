//! Receipts: taken from a machine whose turn it is, checked against storage pack by pack, and counted when all are there.
//!
//! The only place that sets and clears `final_snapshot`, by which `transitions::saved` lets a machine go.

use super::draft::{Context, Draft, Reason};
use crate::record::{PendingReceipt, Phase, Record};
use ebbtide_api::backups::SnapshotSummary;
use ebbtide_api::vm::Receipt;
use ebbtide_api::{ErrorCode, EventCode};

/// Longest path of a machine's that is repeated in a sentence, in characters.
const PATH_SHOWN: usize = 300;

pub(super) fn deliver(draft: &mut Draft, receipt: Receipt, last: bool, wrong: Option<String>) {
    match draft.record.phase {
        Phase::Running | Phase::Silent { .. } | Phase::Draining { .. } => {}
        // Its time has not come rather than being over: 410 would make the machine stop for good.
        Phase::Requested | Phase::Provisioning { .. } | Phase::Booting { .. } => {
            draft.refuse(ErrorCode::WrongState, "the machine has not reported that it is ready");
            return;
        }
        Phase::Rescuing { .. }
        | Phase::Destroying { .. }
        | Phase::Asleep
        | Phase::Failed { .. }
        | Phase::Deleted { .. } => {
            draft.refuse(ErrorCode::StaleGeneration, "this machine's time is over");
            return;
        }
    }
    // What is done between a backup and the freeze is in no receipt: one that comes before the machine has said that
    // it is frozen ends nothing, whatever it claims. It is delivered again. (docs/decisions/0001: a million walks from seed
    // 1 lost work five times to a receipt from before the freeze.)
    if last
        && matches!(
            draft.record.phase,
            Phase::Draining { frozen: false, .. } | Phase::Silent { draining: Some(_), .. }
        )
    {
        draft.refuse(ErrorCode::WrongState, "the machine has not reported that it is frozen");
        return;
    }
    if let Some(problem) = wrong {
        let pending = &mut draft.record.pending;
        // Another that is being checked is none the worse for it.
        pending.take_if(|pending| pending.receipt.snapshot == receipt.snapshot);
        return tell_wrong(draft, problem);
    }
    let same = draft.record.pending.as_ref().is_some_and(|pending| {
        let same = pending.receipt.snapshot == receipt.snapshot && pending.last == last;
        same && pending.receipt.packs_to_come == receipt.packs_to_come
    });
    let settled = last && draft.record.final_snapshot.as_deref() == Some(receipt.snapshot.as_str());
    if !same && !settled {
        let unchecked = receipt.packs_new.clone();
        draft.record.pending = Some(PendingReceipt {
            receipt: Receipt { packs_new: Vec::new(), indexes: None, ..receipt },
            unchecked,
            last,
        });
    }
}

pub(super) fn checked(draft: &mut Draft, packs: usize, context: &Context<'_>) {
    let Some(pending) = &mut draft.record.pending else { return };
    let left = pending.unchecked.len().saturating_sub(packs);
    pending.unchecked.truncate(left);
    if left > 0 {
        return;
    }
    let Some(pending) = draft.record.pending.take() else { return };
    let receipt = pending.receipt;
    if receipt.packs_to_come > 0 {
        // A part: nothing counts before the last.
        draft.record.receipt_problem = None;
        return;
    }
    let partial = receipt.is_partial();
    let summary = SnapshotSummary {
        snapshot: receipt.snapshot.clone(),
        verified_at: context.now,
        generation: draft.record.generation,
        files: receipt.files,
        bytes: receipt.bytes_total,
        partial,
    };
    draft.record.snapshots.retain(|known| known.snapshot != summary.snapshot);
    draft.record.expired.retain(|known| known.snapshot != summary.snapshot);
    draft.record.snapshots.insert(0, summary);
    crate::retention::thin(&mut draft.record, context.policy, context.now);
    if partial {
        let first = receipt.unreadable.first().map_or("", |unreadable| unreadable.path.as_str());
        let first: String = first.chars().take(PATH_SHOWN).collect();
        let paths = (receipt.unreadable.len() as u64).saturating_add(receipt.unreadable_more);
        let text = format!("{paths} paths could not be backed up, {first} among them");
        let reason = Reason::new(EventCode::BackupPartial, text.clone());
        refused(draft, text, reason);
    } else {
        draft.record.receipt_problem = None;
        let excluded = receipt.excluded.as_ref().map_or(String::new(), |excluded| {
            let at_least = if excluded.at_least { "at least " } else { "" };
            let (files, bytes) = (excluded.files, excluded.bytes);
            let first: String =
                excluded.first.first().map_or("", String::as_str).chars().take(PATH_SHOWN).collect();
            let first = if first.is_empty() { first } else { format!(", {first} among them") };
            format!("; the owner's rules leave out {at_least}{files} files of {bytes} bytes{first}")
        });
        let sentence = format!("a backup of {} files is verified in storage{excluded}", receipt.files);
        draft.note(EventCode::BackupVerified, sentence);
        if pending.last
            && matches!(draft.record.phase, Phase::Draining { .. } | Phase::Silent { draining: Some(_), .. })
        {
            draft.record.final_snapshot = Some(receipt.snapshot);
        }
    }
}

/// A receipt that names what is not there proves nothing.
pub(super) fn is_wrong(draft: &mut Draft, problem: String) {
    draft.record.pending = None;
    tell_wrong(draft, problem);
}

fn tell_wrong(draft: &mut Draft, problem: String) {
    let sentence = format!("a receipt was refused: {problem}");
    refused(draft, problem, Reason::new(EventCode::ReceiptRefused, sentence));
}

/// Keeps what is wrong with a receipt; told once, however often the machine delivers the same again.
pub(super) fn refused(draft: &mut Draft, problem: String, told: Reason) {
    if draft.record.receipt_problem.as_ref() != Some(&problem) {
        draft.note(told.code, told.sentence);
    }
    draft.record.receipt_problem = Some(problem);
}

/// No receipt from before counts as the last any more: what is done from now on is in none of them. Called where a drain
/// begins and where a reboot may have undone a freeze; a machine that is still frozen delivers it again.
pub(super) fn void_last_backup(record: &mut Record) {
    record.final_snapshot = None;
    demote_pending(record);
}

/// A receipt that is still being checked stays a backup, but it proves nothing about what is done from now on.
pub(super) fn demote_pending(record: &mut Record) {
    if let Some(pending) = &mut record.pending {
        pending.last = false;
    }
}
