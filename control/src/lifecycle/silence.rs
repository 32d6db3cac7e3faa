//! Silence: a question, not a countdown.
//!
//! Nothing here ends a machine because it is silent: the provider is asked, a dead one is rebooted once, and one that
//! lives is kept until its lifetime ends. Before anything harmful the other workspaces are looked at: many that fell
//! silent together have not died together, and the clock begins anew. Only the hard end is stronger.

use super::draft::{Context, Draft, Reason};
use super::input::Peers;
use super::rescue::rescue;
use super::transitions::{discard, saved, seen_again};
use crate::policy::Policy;
use crate::record::{DesiredState, DrainReason, Phase, Record, ServerStatus, minus, plus};
use ebbtide_api::text::time;
use ebbtide_api::{EventCode, Timestamp};

/// What follows for a machine that is not heard of.
pub(super) fn silent(
    draft: &mut Draft,
    last_seen_at: Timestamp,
    draining: Option<DrainReason>,
    context: &Context<'_>,
) -> bool {
    let (now, policy) = (context.now, context.policy);
    if context.last_seen_at.is_some_and(|seen_at| seen_at > last_seen_at) {
        return seen_again(draft, draining, now);
    }
    if draft.record.desired == DesiredState::Discarded {
        return discard(draft, now);
    }
    if draining.is_some() && draft.record.final_snapshot.is_some() {
        return saved(draft, now);
    }
    if now >= draft.record.drain_ends_at(policy) {
        let because = "the machine was still silent when its time was over";
        return rescue(draft, Reason::new(EventCode::SilentTooLong, because), context);
    }
    if now < ends_at(&draft.record, last_seen_at, policy) {
        return false;
    }
    // A look that is older than a question is none.
    if let Phase::Silent { looked_at, .. } = &mut draft.record.phase {
        let stale = minus(now, policy.silence_question);
        *looked_at = looked_at.filter(|at| *at > stale);
        if looked_at.is_none() {
            return false;
        }
    }
    let because = "no report from the server until its time limit; its disk is saved";
    rescue(draft, Reason::new(EventCode::SilentTooLong, because), context)
}

/// Until when a silent machine is kept: its lifetime, its silence budget at least, never past the drain ceiling.
pub(super) fn ends_at(record: &Record, last_seen_at: Timestamp, policy: &Policy) -> Timestamp {
    let counted_from = [record.clocks_restarted_at, record.silence_from]
        .into_iter()
        .flatten()
        .fold(last_seen_at, Timestamp::max);
    plus(counted_from, policy.silence_budget).max(record.lifetime_ends_at()).min(record.drain_ends_at(policy))
}

/// From when on a look around tells who is silent together: those who fell silent at once are noticed within a heartbeat
/// of one another.
pub(super) fn settled_at(record: &Record, policy: &Policy) -> Timestamp {
    plus(record.since, policy.heartbeat.plus(policy.heartbeat))
}

/// Takes in what the provider says of a silent machine, and tells the owner where it is news.
pub(super) fn answered(draft: &mut Draft, seen: ServerStatus, context: &Context<'_>) {
    let Phase::Silent { last_seen_at, .. } = draft.record.phase else { return };
    let kept_until = time(ends_at(&draft.record, last_seen_at, context.policy));
    let Phase::Silent { status, ask_at, looked_at, rebooted_at, .. } = &mut draft.record.phase else {
        return;
    };
    let is_news = *status != Some(seen);
    *status = Some(seen);
    *ask_at = plus(context.now, context.policy.silence_question);
    let may_reboot = rebooted_at.is_none();
    let (code, text) = match seen {
        ServerStatus::Off | ServerStatus::Flat => {
            // A reboot interrupts whatever still works: the peers are looked at once more before it.
            *looked_at = if may_reboot { None } else { *looked_at };
            let dead =
                if seen == ServerStatus::Off { "off" } else { "on, with neither CPU nor network in use" };
            let then = if may_reboot { "it is rebooted once" } else { "one reboot has not helped" };
            let text = format!("Hetzner says that the server is {dead}: {then}; kept until {kept_until}");
            (EventCode::SilentServerDown, text)
        }
        ServerStatus::Alive => {
            let text = format!(
                "the server runs at Hetzner but does not reach us: it is left to work until {kept_until}, then an \
                 image of it is taken"
            );
            (EventCode::SilentServerRuns, text)
        }
        ServerStatus::Unclear => {
            let text =
                format!("Hetzner does not say whether the server runs: it is left alone until {kept_until}");
            (EventCode::SilentServerUnclear, text)
        }
    };
    if is_news {
        draft.note(code, text);
    }
}

/// Takes in how the other workspaces are.
pub(super) fn looked(draft: &mut Draft, peers: Peers, context: &Context<'_>) {
    let now = context.now;
    let ours = peers.fault_is_ours(context.policy);
    let noted_before = draft.record.silence_from.is_some();
    let Phase::Silent { looked_at, status, ask_at, .. } = &mut draft.record.phase else { return };
    *looked_at = Some(now);
    if ours {
        // What the provider said of one of them is no ground either: it is asked again.
        *status = None;
        *ask_at = plus(now, context.policy.silence_question);
        draft.record.silence_from = Some(now);
        if !noted_before {
            let Peers { silent, awake } = peers;
            let sentence = format!(
                "{silent} other workspaces fell silent with it and {awake} are heard of: the fault is not this \
                 machine's, the clock begins anew, and nothing is rebooted or rescued for it"
            );
            draft.note(EventCode::SilentTogether, sentence);
        }
    }
}
