//! The provider's reset: when the owner may have it, what is known of it afterwards, and when it is given up.
//!
//! It ends whatever runs and leaves the disk. Whether a silent machine is reset without being asked for is `next_effect`'s
//! to say.

use super::draft::{Context, Draft, Reason};
use super::receipts;
use super::transitions::rebooted_as_asked;
use crate::policy::Policy;
use crate::record::{Phase, Record, plus};
use ebbtide_api::text::time;
use ebbtide_api::{ErrorCode, EventCode, Timestamp};

/// Reboots of one machine that its owner may have within as many times `reboot_grace`: whoever needs more has a fault that
/// no reboot mends, and each ends what runs and costs calls that the clean-up needs.
const IN_A_ROW: usize = 3;

/// The provider's reset. It ends whatever runs and leaves the disk, so it is refused where that would cost more than
/// running programs. Asked for again before it is done, it is still one reboot.
pub(super) fn ask(draft: &mut Draft, context: &Context<'_>) {
    if let Some(why_not) = why_not_reboot(&draft.record) {
        draft.refuse(ErrorCode::WrongState, why_not);
    } else if !draft.record.is_reboot_asked() {
        if let Some(at) = too_soon_until(&draft.record.owner_reboots, context.policy, context.now) {
            let message = format!(
                "it was rebooted {IN_A_ROW} times in a row; the next may be asked for at {}",
                time(at)
            );
            return draft.refuse(ErrorCode::RebootTooSoon, message);
        }
        draft.record.reboot_asked_at = Some(context.now);
        draft.record.owner_reboots.push(context.now);
        let surplus = draft.record.owner_reboots.len().saturating_sub(IN_A_ROW);
        draft.record.owner_reboots.drain(..surplus);
        if let Phase::Silent { status, ask_at, .. } = &mut draft.record.phase {
            // What Hetzner said some time ago may be over: one that is off is switched on, one that runs is reset.
            *status = None;
            *ask_at = context.now;
        }
        let sentence = "its owner has it rebooted: what runs in it ends, its files stay";
        draft.note(EventCode::RebootAsked, sentence);
    }
}

/// Until when another would be one too many; `None` where it may be asked for now. `asked` has the oldest first.
fn too_soon_until(asked: &[Timestamp], policy: &Policy, now: Timestamp) -> Option<Timestamp> {
    let oldest = *asked.iter().rev().nth(IN_A_ROW - 1)?;
    let until = (0..IN_A_ROW).fold(oldest, |at, _| plus(at, policy.reboot_grace));
    (now < until).then_some(until)
}

fn why_not_reboot(record: &Record) -> Option<&'static str> {
    if record.salvage_image_id.is_some() && record.phase.may_have_machine() {
        return Some("its rescue image is being salvaged, and a reboot would cut that off");
    }
    match record.phase {
        Phase::Running | Phase::Silent { draining: None, .. } => None,
        Phase::Requested | Phase::Provisioning { .. } => Some("it has no machine yet that could be rebooted"),
        Phase::Booting { .. } => Some("it is booting already; a boot that gets stuck ends by itself"),
        Phase::Draining { .. } | Phase::Silent { draining: Some(_), .. } => {
            Some("its last backup is under way, and a reboot would cut that off")
        }
        Phase::Rescuing { .. } => Some("an image is being taken of what is not backed up"),
        Phase::Destroying { .. } => Some("its machine is being deleted"),
        Phase::Asleep => Some("it is asleep and has no machine; wake it"),
        Phase::Failed { .. } => Some("it has failed and has no machine; retry it"),
        Phase::Deleted { .. } => Some("it is deleted and has no machine"),
    }
}

/// Lets go of an owner's wish that could not be met in time: while it waits, nothing else is done for the machine.
pub(super) fn is_given_up(draft: &mut Draft, waiting_for: &str, context: &Context<'_>) -> bool {
    let asked_at = draft.record.reboot_asked_at;
    let over = asked_at.is_some_and(|at| context.now >= plus(at, context.policy.reboot_grace));
    if over {
        draft.record.reboot_asked_at = None;
        draft.record.pause = None;
        let sentence = format!("it was not rebooted, for its time is over: it waited for {waiting_for}");
        draft.note(EventCode::RebootGivenUp, sentence);
    }
    over
}

/// What is known of a reset.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Reset {
    /// The provider says that it is done.
    Done,
    /// Its answer was lost: it may be done.
    Perhaps,
}

/// What is told of a reset whose answer was lost.
const UNCONFIRMED: &str = "Hetzner was told to reboot it, as its owner asked, and did not say whether it did";

/// Silence begins to count anew with a reboot; no other time is prolonged by one.
pub(super) fn done(draft: &mut Draft, reset: Reset, context: &Context<'_>) {
    let now = context.now;
    receipts::void_last_backup(&mut draft.record);
    let is_asked = draft.record.is_reboot_asked();
    draft.record.reboot_asked_at = None;
    if let Phase::Silent { rebooted_at, ask_at, .. } = &mut draft.record.phase {
        *rebooted_at = Some(now);
        *ask_at = plus(now, context.policy.reboot_grace);
        draft.record.pause = None;
        let (code, sentence) = match (is_asked, reset) {
            (true, Reset::Done) => {
                (EventCode::Rebooted, "it was rebooted, as its owner asked, and may come back")
            }
            (true, Reset::Perhaps) => (EventCode::RebootUnconfirmed, UNCONFIRMED),
            (false, Reset::Done | Reset::Perhaps) => {
                (EventCode::Rebooted, "the machine was dead to the provider too and has been rebooted once")
            }
        };
        draft.note(code, sentence);
    } else if is_asked && draft.record.phase == Phase::Running {
        let because = match reset {
            Reset::Done => {
                let sentence = "it was rebooted, as its owner asked, and is coming back";
                Reason::new(EventCode::Rebooted, sentence)
            }
            Reset::Perhaps => Reason::new(EventCode::RebootUnconfirmed, UNCONFIRMED),
        };
        rebooted_as_asked(draft, because, now);
    }
}
