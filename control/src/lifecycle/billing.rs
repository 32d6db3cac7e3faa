//! What money has to do with the lifecycle: what a machine is billed for, the hour that is paid anyway, and the look at
//! what its owner has spent.
//!
//! Nothing here ends a machine without a backup: an exceeded cap drains by the ordinary path, because work is worth more
//! than an hour. The caps themselves are enforced where machines are asked for, before this module ever runs.

use super::draft::{Context, Draft, Reason, failure};
use super::transitions::{destroy, drain, stay_without_money};
use crate::money::caps::{Alert, Caps, Spending, alerts};
use crate::record::{DesiredState, DrainReason, Effect, MachineMoney, Phase, Record, Warm, minus, plus};
use crate::reservation::NextMachine;
use ebbtide_api::backups::Persistence;
use ebbtide_api::failure::Failure;
use ebbtide_api::text::time;
use ebbtide_api::{Duration, EventCode, FailureCode, Hint, Timestamp};

const HOUR_SECS: i64 = 3600;
/// A drain whose length is not known yet is taken to need so long.
const DRAIN_EXPECTED: Duration = Duration::from_mins(2);
/// And never more than so much of a paid hour is given up for it.
const DRAIN_EXPECTED_MAX: Duration = Duration::from_mins(30);

/// What a decision saw of the bill.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Billing {
    /// Nothing.
    AsBefore,
    /// The provider has accepted a deletion: it bills no longer, unless the server is found again.
    Ends,
}

/// Brings what is known about the money in line with where the record has come to.
pub(super) fn follow(before: &Record, billing: Billing, draft: &mut Draft, context: &Context<'_>) {
    let now = context.now;
    let record = &mut draft.record;
    if record.generation != before.generation {
        begin(record, context);
    }
    if let Some(server) = &record.server {
        record.money.placement = Some(server.placement.clone());
        let asked_at = record.last_create_at.unwrap_or(record.woke_at);
        record.money.started_at.get_or_insert(server.created.unwrap_or(asked_at));
    }
    if let Phase::Destroying { not_found_at, .. } = record.phase {
        if billing == Billing::Ends {
            // Of a server that landed unseen nothing but its deletion is ever heard.
            record.money.started_at.get_or_insert(record.last_create_at.unwrap_or(record.woke_at));
            record.money.placement.get_or_insert_with(|| record.spec.placement.clone());
            record.money.ended_at = Some(now);
        }
        if record.money.started_at.is_some() && record.money.ended_at.is_none() {
            record.money.ended_at = not_found_at;
        }
    }
    if let (Phase::Draining { .. }, Phase::Destroying { failure: None, .. }) = (&before.phase, &record.phase)
    {
        record.money.last_drain_secs = u64::try_from(now.duration_since(before.since).as_secs()).ok();
    }
    if record.phase != Phase::Running || !record.holds.is_empty() {
        record.money.warm = None;
    }
}

/// A machine of a new generation: what was reserved for it is what it costs.
fn begin(record: &mut Record, context: &Context<'_>) {
    let last = std::mem::take(&mut record.money);
    let quote = last.next.or(last.quote);
    if let Some(quote) = &quote {
        record.worst_case = Some(quote.worst(record.spec.lifetime, context.policy).into());
    }
    record.money = MachineMoney {
        quote,
        last_ended_at: last.ended_at,
        last_drain_secs: last.last_drain_secs,
        ..MachineMoney::default()
    };
}

/// Whether the money for the next machine has to be reserved before it may begin: the wake waited for something, so that
/// what was reserved for it may be gone, or nobody reserved anything (a salvage goes on into an ordinary wake).
pub(super) fn must_reserve(record: &Record, context: &Context<'_>) -> bool {
    record.desired == DesiredState::Awake && record.live_lock(context.now).is_none()
}

/// It is reserved: the machine begins in this same decision.
pub(super) fn reserved(draft: &mut Draft, next: NextMachine) {
    stop_reserving(&mut draft.record);
    let rests = matches!(draft.record.phase, Phase::Asleep | Phase::Failed { .. });
    if !rests || draft.record.desired != DesiredState::Awake {
        return;
    }
    draft.may_begin = true;
    next.keep(&mut draft.record);
}

/// A cap does not allow it: the workspace rests, and says so.
pub(super) fn reservation_refused(draft: &mut Draft, failure: Failure, context: &Context<'_>) {
    stop_reserving(&mut draft.record);
    let rests = matches!(draft.record.phase, Phase::Asleep | Phase::Failed { .. });
    if rests && draft.record.desired == DesiredState::Awake {
        stay_without_money(draft, failure, context.now);
    }
}

/// Ends a wake for which nothing could be reserved for as long as creating a server may take.
pub(super) fn give_up_reserving(draft: &mut Draft, context: &Context<'_>) -> bool {
    let Some(since) = draft.record.money.reserving_since else { return false };
    let budget = context.policy.provision_budget;
    if context.now < plus(since, budget) || draft.record.in_flight.is_some() {
        return false;
    }
    let waited_for = draft.record.pause.as_ref().map_or("an answer", |pause| pause.waiting_for.as_str());
    let message = format!("what it costs could not be reserved within {budget}: {waited_for}");
    let failure = failure(FailureCode::NotReserved, message, Hint::WakeAgain);
    reservation_refused(draft, failure, context);
    true
}

/// Nothing is to be reserved any more.
pub(super) fn stop_reserving(record: &mut Record) {
    if record.money.reserving_since.take().is_some() {
        record.pause = None;
    }
}

/// Whether a machine that counts as idle is kept, since the hour that has started is paid.
pub(super) fn keep_warm(draft: &mut Draft, because: &str, context: &Context<'_>) -> bool {
    let now = context.now;
    if let Some(warm) = &draft.record.money.warm {
        return warm.until > now;
    }
    let Some(until) = paid_until(&draft.record, context).filter(|until| *until > now) else { return false };
    draft.record.money.warm = Some(Warm { since: now, until, because: because.to_owned() });
    let text = format!("idle: {because}; kept until {} because the hour is paid", time(until));
    draft.note_as_reason(Reason::new(EventCode::KeptForPaidHour, text));
    true
}

/// The machine is not idle any more.
pub(super) fn busy_again(draft: &mut Draft, because: Option<&str>) {
    if draft.record.money.warm.take().is_some() {
        let text = because.unwrap_or("it is not idle any more");
        draft.note_as_reason(Reason::new(EventCode::BusyAgain, text));
    }
}

/// Why a machine that was kept within its paid hour goes now.
pub(super) fn paid_hour_over(record: &Record, now: Timestamp) -> Option<Reason> {
    let warm = record.money.warm.as_ref().filter(|warm| warm.until <= now)?;
    let text = format!("idle since {}: {}; its paid hour ends", warm.since, warm.because);
    Some(Reason::new(EventCode::PaidHourOver, text))
}

/// When an idle machine has to begin to go, so that it is gone before its started hour ends.
fn paid_until(record: &Record, context: &Context<'_>) -> Option<Timestamp> {
    let policy = context.policy;
    let started_at = record.money.started_at.filter(|_| policy.use_paid_hour)?;
    let past = context.now.duration_since(started_at).as_secs().max(0) % HOUR_SECS;
    let left = Duration::from_secs(u64::try_from(HOUR_SECS - past).unwrap_or(0));
    let drain = record.money.last_drain_secs.map_or(DRAIN_EXPECTED, |secs| {
        // Half as long again: the next backup may be larger than the last.
        Duration::from_secs(secs.saturating_add(secs / 2)).min(DRAIN_EXPECTED_MAX)
    });
    Some(minus(plus(context.now, left), policy.paid_hour_margin.plus(drain)))
}

/// When a running machine looks at what its owner has spent.
fn check_at(record: &Record, context: &Context<'_>) -> Option<Timestamp> {
    let caps = Caps::of(context.policy);
    let watched = record.phase == Phase::Running
        && record.desired == DesiredState::Awake
        && (caps.day.is_some() || caps.month.is_some());
    // Not since the last change of state: reboots in a row would put the check off without end.
    let last = record.money.checked_at.unwrap_or(record.woke_at);
    watched.then(|| plus(last, context.policy.spend_check))
}

/// The effect that is due, where nothing more urgent is.
pub(super) fn due(record: &Record, context: &Context<'_>) -> Option<Effect> {
    check_at(record, context).filter(|at| *at <= context.now).map(|_| Effect::CheckSpending)
}

/// When to decide again for the money's sake.
pub(super) fn wake_at(record: &Record, context: &Context<'_>) -> Option<Timestamp> {
    let warm = record.money.warm.as_ref().map(|warm| warm.until);
    [warm, check_at(record, context)].into_iter().flatten().filter(|at| *at > context.now).min()
}

/// Takes what the owner has spent into account; `None` where nobody could say.
pub(super) fn checked(draft: &mut Draft, spending: Option<&Spending>, context: &Context<'_>) {
    draft.record.money.checked_at = Some(context.now);
    let Some(spending) = spending.filter(|_| draft.record.phase == Phase::Running) else { return };
    for alert in alerts(spending, context.policy) {
        match alert {
            Alert::Exceeded(_, text) => {
                draft.record.money.over_cap = true;
                draft.record.desired = DesiredState::Asleep;
                let because = Reason::new(EventCode::SpendingExceeded, text);
                if draft.record.spec.persistence == Persistence::Backup {
                    drain(draft, DrainReason::Asked, because, context.now);
                } else {
                    destroy(draft, None, because, context.now);
                }
                return;
            }
            Alert::Warn(period, text) => {
                if !draft.record.money.warned.contains(&period) {
                    draft.record.money.warned.push(period);
                    draft.note(EventCode::SpendingWarning, text);
                }
            }
        }
    }
}
