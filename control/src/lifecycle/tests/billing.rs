//! The paid hour, the bill's beginning and end, and what an exceeded cap does.

use super::*;
use crate::money::caps::{Period, Spending};
use crate::money::{Amount, PriceQuote, Rate};
use ebbtide_api::money::Cost;

const MINUTE: i64 = 60;

fn quote(hourly: u64) -> PriceQuote {
    let rate = Rate {
        placement: placement(),
        hourly: Amount(hourly),
        hourly_net: Amount(hourly),
        monthly: None,
        monthly_net: None,
    };
    PriceQuote { currency: "EUR".into(), rates: vec![rate], image_gb_month: None }
}

fn idle() -> HeartbeatSummary {
    HeartbeatSummary { idle: Some("nothing happens any more".into()), ..HeartbeatSummary::default() }
}

fn busy() -> HeartbeatSummary {
    HeartbeatSummary { busy: Some("claude works".into()), ..HeartbeatSummary::default() }
}

/// A running workspace whose hour is worth something.
fn paid() -> World {
    let mut world = World::running();
    world.policy.use_paid_hour = true;
    world.record.money.started_at = Some(at(0));
    world
}

fn heartbeat_at(world: &mut World, secs: i64, heartbeat: HeartbeatSummary) -> State {
    world.now = secs;
    world.heartbeat(heartbeat);
    world.record.state()
}

#[test]
fn an_idle_machine_is_kept_while_its_hour_is_paid_and_begins_to_go_before_it_ends() {
    let mut world = paid();
    assert_eq!(heartbeat_at(&mut world, 35 * MINUTE, idle()), State::Running);
    // 60 min - 5 min margin - 2 min for a drain of unknown length.
    let warm = world.record.money.warm.clone().unwrap();
    assert_eq!((warm.since, warm.until), (at(35 * MINUTE), at(53 * MINUTE)));
    assert!(world.record.because.contains("kept until") && world.record.because.contains("paid"));
    let stored = world.record.clone();
    // Said again and again: nothing is written.
    for secs in (36 * MINUTE..53 * MINUTE).step_by(15) {
        assert_eq!(heartbeat_at(&mut world, secs, idle()), State::Running);
        assert_eq!(world.record.money, stored.money);
        assert!(world.wake_at.unwrap() <= at(53 * MINUTE));
    }
    world.at(53 * MINUTE);
    assert_eq!(world.record.state(), State::Draining);
    assert!(world.record.because.contains("its paid hour ends"), "{}", world.record.because);
    assert_eq!(world.record.money.warm, None);
}

#[test]
fn activity_within_the_paid_hour_keeps_the_machine_beyond_it() {
    let mut world = paid();
    heartbeat_at(&mut world, 35 * MINUTE, idle());
    assert_eq!(heartbeat_at(&mut world, 50 * MINUTE, busy()), State::Running);
    assert_eq!(world.record.money.warm, None);
    assert!(world.notes.last().unwrap().contains("claude works"));
    assert_eq!(heartbeat_at(&mut world, 53 * MINUTE, busy()), State::Running);
    // Idle again at the end of the hour: no new hour is begun for it.
    assert_eq!(heartbeat_at(&mut world, 58 * MINUTE, idle()), State::Draining);
}

#[test]
fn a_hold_taken_meanwhile_ends_the_waiting_for_the_hour() {
    let mut world = paid();
    heartbeat_at(&mut world, 35 * MINUTE, idle());
    let hold = Hold { id: "h".into(), reason: String::new(), ends_at: at(90 * MINUTE) };
    world.ask(Command::TakeHold(hold));
    assert_eq!(world.record.money.warm, None);
    assert_eq!(heartbeat_at(&mut world, 54 * MINUTE, idle()), State::Running);
}

#[test]
fn the_owners_sleep_is_never_delayed() {
    let mut world = paid();
    heartbeat_at(&mut world, 35 * MINUTE, idle());
    world.ask(Command::Sleep);
    assert_eq!(world.record.state(), State::Draining);
}

#[test]
fn an_hour_that_was_missed_is_not_waited_for_again() {
    let mut world = paid();
    heartbeat_at(&mut world, 35 * MINUTE, idle());
    // The alarm was late by more than the rest of the hour.
    assert_eq!(heartbeat_at(&mut world, 65 * MINUTE, idle()), State::Draining);
}

#[test]
fn a_long_drain_begins_earlier() {
    let mut world = paid();
    world.record.money.last_drain_secs = Some(10 * 60);
    heartbeat_at(&mut world, 20 * MINUTE, idle());
    assert_eq!(world.record.money.warm.as_ref().unwrap().until, at(40 * MINUTE));
    // And one that takes for ever does not end the machine at once.
    let mut world = paid();
    world.record.money.last_drain_secs = Some(100_000);
    assert_eq!(heartbeat_at(&mut world, 20 * MINUTE, idle()), State::Running);
    assert_eq!(world.record.money.warm.as_ref().unwrap().until, at(25 * MINUTE));
}

#[test]
fn without_the_policy_idle_means_now() {
    let mut world = paid();
    world.policy.use_paid_hour = false;
    assert_eq!(heartbeat_at(&mut world, 5 * MINUTE, idle()), State::Draining);
}

#[test]
fn the_bill_begins_with_the_provider_and_ends_with_the_last_accepted_deletion() {
    let mut world = World::new();
    world.tick();
    let created = at(3);
    world.now = 9;
    world.ends(Effect::EnsureServer, EffectOutcome::Exists(Server { created: Some(created), ..server() }));
    assert_eq!(world.record.money.started_at, Some(created));
    world.effect = None;
    world.record.in_flight = None;
    world.ask(Command::Discard).state(State::Destroying);
    for (secs, outcome) in
        [(100, EffectOutcome::Deleting), (200, EffectOutcome::Deleting), (300, EffectOutcome::Gone)]
    {
        world.at(secs).ends(Effect::DeleteServer, outcome);
    }
    assert_eq!(world.record.money.ended_at, Some(at(200)));
}

#[test]
fn a_server_that_landed_unseen_is_on_the_bill_and_one_that_never_was_is_not() {
    let mut world = World::new();
    world.tick();
    world.now = 40;
    let lost = EffectOutcome::Later { waiting_for: "x".into(), maybe_landed: true, not_before: None };
    world.ends(Effect::EnsureServer, lost).ask(Command::Discard).state(State::Destroying);
    let mut unseen = world;
    unseen.now = 50;
    unseen.effect = Some((unseen.record.attempts, Effect::DeleteServer));
    unseen.ends(Effect::DeleteServer, EffectOutcome::Deleting);
    assert_eq!(unseen.record.money.started_at, Some(at(0)));
    let mut never = World::new();
    never.tick();
    let refused = failure(FailureCode::Limit, "no", Hint::RaiseTheLimit);
    never.ends(Effect::EnsureServer, EffectOutcome::Refused(refused)).state(State::Failed);
    assert_eq!((never.record.money.started_at, never.record.money.ended_at), (None, None));
}

#[test]
fn a_wake_costs_what_was_reserved_for_it() {
    let mut world = World::new();
    world.tick();
    let refused = failure(FailureCode::Limit, "no", Hint::RaiseTheLimit);
    world.ends(Effect::EnsureServer, EffectOutcome::Refused(refused)).state(State::Failed);
    let next = NextMachine { start: None, quote: Some(quote(9_000)) };
    world.ask(Command::Next(next.into())).ask(Command::Retry).state(State::Provisioning);
    let cost = Cost { gross: "0.2430".into(), currency: "EUR".into(), hours: 27 };
    assert_eq!(world.record.worst_case, Some(cost));
    assert_eq!(
        (world.record.money.quote.clone(), world.record.money.next.clone()),
        (Some(quote(9_000)), None)
    );
}

fn spends(world: &mut World, secs: i64, day: u64) {
    world.last_seen = Some(secs);
    world.at(secs);
    let spending = Spending { day: Amount(day), month: Amount(day), currency: "EUR".into() };
    world.ends(Effect::CheckSpending, EffectOutcome::Spending(spending));
}

#[test]
fn spending_is_looked_at_once_an_hour_and_warned_of_once() {
    let mut world = World::running();
    world.record.since = at(0);
    let hour = 60 * MINUTE;
    world.last_seen = Some(hour - 1);
    world.at(hour - 1);
    assert_eq!(world.effect, None);
    spends(&mut world, hour, 8_600_000);
    let warnings = |world: &World| world.told(&EventCode::SpendingWarning);
    assert_eq!((warnings(&world), world.record.money.warned.clone()), (1, vec![Period::Day]));
    spends(&mut world, 2 * hour, 9_000_000);
    assert_eq!((warnings(&world), world.record.state()), (1, State::Running));
}

#[test]
fn an_exceeded_cap_drains_and_never_cuts() {
    let mut world = World::running();
    world.record.since = at(0);
    spends(&mut world, 60 * MINUTE, 10_000_001);
    assert_eq!(world.record.state(), State::Draining);
    assert!(world.record.because.contains("the cap spend_per_day is exceeded"), "{}", world.record.because);
    // A wake now needs a reservation, which the cap refuses: the drain is not taken back past it.
    assert_eq!(
        crate::reservation::ReservationRequest::of(&world.record, at(world.now)).next,
        Some(world.record.generation.next())
    );
}

#[test]
fn spending_that_nobody_can_count_stops_nothing() {
    let mut world = World::running();
    world.record.since = at(0);
    world.last_seen = Some(60 * MINUTE);
    world.at(60 * MINUTE).ends(Effect::CheckSpending, EffectOutcome::Done);
    assert_eq!(world.record.state(), State::Running);
    world.input(Input::Tick { due_at: None });
    assert_eq!(world.effect, None);
}

/// Seed 1663630: what was reserved is given back when nobody has asked for it for long enough, and an answer that comes
/// late says nothing of what stands by then.
#[test]
fn a_reservation_that_is_heard_of_after_its_attempt_was_given_up_begins_no_machine() {
    let mut world = World::draining();
    world.heartbeat(HeartbeatSummary {
        ready: true,
        drain: Some(DrainPhase::Frozen),
        ..HeartbeatSummary::default()
    });
    world.ask(Command::Wake { snapshot: None });
    world.deliver(receipt(), true);
    world.ends(Effect::CheckReceipt, EffectOutcome::ReceiptChecked { packs: 3 });
    world.destroyed().state(State::Asleep);
    let timeout = i64::try_from(world.policy.effect_timeout.as_secs()).unwrap();
    let (attempt_id, effect) = world.effect.take().unwrap();
    assert_eq!(effect, Effect::Reserve);
    world.now += timeout;
    let outcome = EffectOutcome::Reserved(Box::default());
    world.input(Input::Finished { attempt_id, outcome }).state(State::Asleep);
    assert_eq!(world.record.generation, Generation(1), "what stood then may be given back by now");
    world.now += 2;
    world.tick();
    world.ends(Effect::Reserve, EffectOutcome::Reserved(Box::default())).state(State::Provisioning);
}
