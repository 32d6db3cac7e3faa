use super::*;
use crate::http::HttpResponse;
use std::collections::VecDeque;

const START: i64 = 1_763_700_000;

fn at(secs: i64) -> Timestamp {
    Timestamp::from_second(START + secs).unwrap()
}

fn at_ms(millis: i64) -> Timestamp {
    Timestamp::from_millisecond(START * 1_000 + millis).unwrap()
}

fn need(machines: u32, names: u32, urgency: Urgency) -> CallCost {
    CallCost { machines, names, urgency }
}

fn is_granted(gate: &mut RateLimiter, need: CallCost, now: Timestamp) -> bool {
    gate.ask(need, now) == Verdict::Granted
}

fn wait_secs(gate: &mut RateLimiter, need: CallCost, now: Timestamp) -> i64 {
    match gate.ask(need, now) {
        Verdict::Granted => 0,
        Verdict::Wait { until, .. } => until.duration_since(now).as_secs(),
    }
}

fn response(status: u16, headers: &[(&str, String)]) -> HttpResponse {
    let headers = headers.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
    HttpResponse { status, headers, body: Vec::new() }
}

fn machines_said(status: u16, limit: u32, remaining: u32, reset: i64, now: Timestamp) -> Report {
    let mut report = Report::default();
    let headers = [
        ("RateLimit-Limit", limit.to_string()),
        ("RateLimit-Remaining", remaining.to_string()),
        ("RateLimit-Reset", (START + reset).to_string()),
    ];
    report.answer(Provider::Machines, &response(status, &headers), now);
    report
}

/// Numbers that look random and are the same each time.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % sides
    }
}

/// A provider as documented: a bucket of `limit` that refills evenly, counted exactly in units of 1/window.
struct Provided {
    limit: u64,
    window_ms: u64,
    spent: u64,
    at_ms: i64,
}

impl Provided {
    /// Whether one more call is within the limit, and what its headers say.
    fn call(&mut self, now_ms: i64) -> (bool, u32, i64) {
        let elapsed = u64::try_from(now_ms - self.at_ms).unwrap();
        self.at_ms = now_ms;
        self.spent = self.spent.saturating_sub(elapsed * self.limit);
        let fits = self.spent + self.window_ms <= self.limit * self.window_ms;
        if fits {
            self.spent += self.window_ms;
        }
        let left = (self.limit * self.window_ms - self.spent) / self.window_ms;
        let reset = (now_ms + i64::try_from(self.spent / self.limit).unwrap()).div_euclid(1_000);
        (fits, u32::try_from(left).unwrap(), reset)
    }
}

#[test]
fn a_provider_that_is_asked_through_the_gate_never_refuses_whatever_its_limit_is() {
    for seed in 1..=40 {
        let mut dice = Dice(seed);
        // Never more than documented; the gate learns the rest from headers alone.
        let (limit, window_ms) =
            [(3_600, 3_600_000), (20, 60_000), (600, 3_600_000), (50, 10_000)][seed as usize % 4];
        let mut provided = Provided { limit, window_ms, spent: 0, at_ms: 0 };
        let mut gate = RateLimiter::new(at_ms(0));
        // The first answer tells the limit: a catalog is read before anything is created.
        let (_, left, reset) = provided.call(0);
        gate.report(&machines_said(200, limit as u32, left, reset, at_ms(0)), at_ms(0));
        let (mut now_ms, mut sent) = (0_i64, 0_u64);
        for _ in 0..3_000 {
            let span = if dice.roll(20) == 0 { 60_000 } else { 300 };
            now_ms += dice.roll(span) as i64;
            let urgency = [Urgency::End, Urgency::Begin, Urgency::Look][dice.roll(3) as usize];
            let asked = need(dice.roll(3) as u32 + 1, 0, urgency);
            if !is_granted(&mut gate, asked, at_ms(now_ms)) {
                continue;
            }
            let mut report = Report::default();
            report.grant(asked);
            for _ in 0..dice.roll(u64::from(asked.machines) + 1) {
                let (fits, left, reset) = provided.call(now_ms);
                assert!(fits, "seed {seed}: the provider refused after {sent} calls at {now_ms} ms");
                sent += 1;
                report.send(Provider::Machines);
                report.merge(machines_said(200, limit as u32, left, reset, at_ms(now_ms)));
            }
            // Some reports come late, some never.
            if dice.roll(10) > 0 {
                let late = dice.roll(2) as i64 * dice.roll(2_000) as i64;
                gate.report(&report, at_ms(now_ms + late));
                now_ms += late;
            }
        }
        // It is no use to refuse everything either: half of what the limit allows is used.
        let allowed = limit as f64 * (1.0 + now_ms as f64 / window_ms as f64);
        let wanted = 3_000.0 * 0.5;
        assert!(sent as f64 > allowed.min(wanted) * 0.4, "seed {seed}: {sent} of {allowed:.0} sent");
    }
}

#[test]
fn no_window_of_five_minutes_sees_more_calls_for_names_than_documented() {
    let mut gate = RateLimiter::new(at(0));
    let mut dice = Dice(7);
    let (mut now_ms, mut calls) = (0_i64, VecDeque::new());
    let mut most = 0;
    for _ in 0..60_000 {
        now_ms += dice.roll(40) as i64 * dice.roll(12) as i64;
        let asked = need(0, dice.roll(4) as u32 + 1, Urgency::End);
        if is_granted(&mut gate, asked, at_ms(now_ms)) {
            calls.extend(std::iter::repeat_n(now_ms, asked.names as usize));
        }
        while calls.front().is_some_and(|first| *first <= now_ms - 300_000) {
            calls.pop_front();
        }
        most = most.max(calls.len());
        assert!(calls.len() <= 1_200, "{} calls in five minutes", calls.len());
    }
    assert!(most > 1_000, "at most {most}");
}

#[test]
fn a_delete_finds_calls_left_when_looks_and_creates_took_what_they_could() {
    for others in [Urgency::Look, Urgency::Begin] {
        let mut gate = RateLimiter::new(at(0));
        gate.report(&machines_said(200, 20, 19, 3, at(0)), at(0));
        let mut taken = 0;
        while is_granted(&mut gate, need(1, 0, others), at(0)) {
            taken += 1;
        }
        assert!(taken >= 10, "{others:?} got {taken}");
        assert!(
            is_granted(&mut gate, CallCost::of(Effect::DeleteServer).unwrap(), at(0)),
            "after {others:?}"
        );
    }
}

#[test]
fn deletes_take_every_refilled_call_while_looks_ask_all_the_time() {
    let mut gate = RateLimiter::new(at(0));
    gate.report(&machines_said(429, 3_600, 0, 3_600, at(0)), at(0));
    let mut deletes = 0;
    for second in 1..=100 {
        assert!(!is_granted(&mut gate, need(1, 0, Urgency::Look), at(second)), "a look went first");
        assert!(!is_granted(&mut gate, need(1, 0, Urgency::Begin), at(second)), "a create went first");
        if is_granted(&mut gate, need(2, 0, Urgency::End), at(second)) {
            deletes += 1;
        }
    }
    assert!((45..=50).contains(&deletes), "{deletes} deletes in 100 s");
}

#[test]
fn creates_go_before_looks() {
    let mut gate = RateLimiter::new(at(0));
    gate.report(&machines_said(200, 20, 20, 0, at(0)), at(0));
    assert!(is_granted(&mut gate, need(12, 0, Urgency::End), at(0)));
    assert!(!is_granted(&mut gate, need(2, 0, Urgency::Look), at(0)));
    assert!(is_granted(&mut gate, need(3, 0, Urgency::Begin), at(0)));
    assert!(!is_granted(&mut gate, need(3, 0, Urgency::Begin), at(0)));
    assert!(is_granted(&mut gate, need(3, 0, Urgency::End), at(0)));
    // The same where others have used the project up.
    let mut gate = RateLimiter::new(at(0));
    gate.report(&machines_said(200, 3_600, 5, 3_595, at(0)), at(0));
    assert!(!is_granted(&mut gate, need(2, 0, Urgency::Look), at(0)));
    assert!(is_granted(&mut gate, need(3, 0, Urgency::Begin), at(0)));
    assert!(!is_granted(&mut gate, need(1, 0, Urgency::Begin), at(0)));
    assert!(is_granted(&mut gate, need(2, 0, Urgency::End), at(0)));
}

#[test]
fn those_who_wait_are_sent_away_to_different_times() {
    let mut gate = RateLimiter::new(at(0));
    gate.report(&machines_said(200, 20, 10, 29, at(0)), at(0));
    gate.report(&machines_said(200, 20, 20, 0, at(0)), at(0));
    assert!(is_granted(&mut gate, need(17, 0, Urgency::End), at(0)));
    let waits: Vec<i64> = (0..4).map(|_| wait_secs(&mut gate, need(2, 0, Urgency::Begin), at(0))).collect();
    assert!(waits.windows(2).all(|pair| pair[0] < pair[1]), "{waits:?}");
    // And each of them is granted when it comes back.
    for wait in waits {
        assert!(is_granted(&mut gate, need(2, 0, Urgency::Begin), at(wait + 1)), "after {wait} s");
    }
}

#[test]
fn whoever_waits_is_told_why_in_numbers() {
    let mut gate = RateLimiter::new(at(0));
    gate.report(&machines_said(200, 3_600, 1, 3_599, at(0)), at(0));
    let Verdict::Wait { waiting_for, .. } = gate.ask(need(3, 0, Urgency::Begin), at(0)) else {
        panic!("granted")
    };
    insta::assert_snapshot!(waiting_for, @"the server provider's rate limit: 3599 of 3600 calls this hour are used or kept for deletions; again in 4s");
    let mut report = Report::default();
    report.answer(Provider::Names, &response(429, &[("Retry-After", "7".into())]), at(0));
    gate.report(&report, at(0));
    let Verdict::Wait { waiting_for, .. } = gate.ask(need(0, 1, Urgency::End), at(0)) else {
        panic!("granted")
    };
    insta::assert_snapshot!(waiting_for, @"the DNS provider, which asked us to pause; again in 7s");
}

#[test]
fn a_refusal_pauses_everybody_and_deletes_no_longer_than_asked() {
    let mut gate = RateLimiter::new(at(0));
    let mut report = Report::default();
    report.answer(Provider::Machines, &response(429, &[("retry-after", "5".into())]), at(0));
    gate.report(&report, at(0));
    assert_eq!(wait_secs(&mut gate, need(1, 0, Urgency::End), at(0)), 5);
    assert!(is_granted(&mut gate, need(1, 0, Urgency::End), at(5)));
    assert!(wait_secs(&mut gate, need(4, 0, Urgency::Begin), at(5)) > 0);
    // Names are another provider's.
    assert!(is_granted(&mut gate, need(0, 1, Urgency::Look), at(0)));
}

#[test]
fn a_refusal_that_was_a_mistake_is_forgotten_with_the_next_answer() {
    let mut gate = RateLimiter::new(at(0));
    // Refused with thousands of calls left: the window that its headers would make is not believed.
    gate.report(&machines_said(429, 3_600, 0, 2, at(0)), at(0));
    let window = gate.levels(at(0)).machines.window_secs;
    assert_eq!(window, 3_600);
    let asked = need(4, 0, Urgency::Begin);
    assert!((1..=7).contains(&wait_secs(&mut gate, asked, at(0))));
    assert!(is_granted(&mut gate, asked, at(7)));
    assert!(!is_granted(&mut gate, asked, at(7)));
    gate.report(&machines_said(200, 3_600, 3_590, 10, at(7)), at(7));
    assert!(is_granted(&mut gate, asked, at(7)));
}

#[test]
fn a_clock_that_steps_neither_invents_calls_nor_stops_the_refilling() {
    let mut gate = RateLimiter::new(at(0));
    gate.report(&machines_said(429, 3_600, 0, 3_600, at(0)), at(0));
    assert_eq!(gate.levels(at(-7_200)).machines.left, 0, "two hours back");
    assert!(wait_secs(&mut gate, need(1, 0, Urgency::End), at(-7_200)) <= 900);
    let left = gate.levels(at(-7_200 + 60)).machines.left;
    assert!((55..=60).contains(&left), "{left} after a minute on the earlier clock");
    assert!(gate.levels(at(1_000_000)).machines.left <= 3_600, "far ahead");
}

#[test]
fn headers_overrule_each_other_and_never_our_own_count() {
    let mut gate = RateLimiter::new(at(0));
    // Somebody else uses the same project.
    gate.report(&machines_said(200, 3_600, 700, 2_900, at(0)), at(0));
    assert_eq!(gate.levels(at(0)).machines.left, 700);
    // And stops.
    gate.report(&machines_said(200, 3_600, 3_000, 600, at(0)), at(0));
    assert_eq!(gate.levels(at(0)).machines.left, 3_000);
    assert!(is_granted(&mut gate, need(1_000, 0, Urgency::End), at(0)));
    gate.report(&machines_said(200, 3_600, 3_500, 100, at(0)), at(0));
    assert_eq!(gate.levels(at(0)).machines.left, 2_600);
    // What a header said a while ago has been refilled since.
    let mut gate = RateLimiter::new(at(0));
    gate.report(&machines_said(200, 3_600, 700, 2_900, at(0)), at(100));
    assert!((795..=800).contains(&gate.levels(at(100)).machines.left));
}

#[test]
fn what_was_granted_and_not_sent_comes_back() {
    let mut gate = RateLimiter::new(at(0));
    let asked = need(3, 0, Urgency::Begin);
    assert!(is_granted(&mut gate, asked, at(0)));
    let mut report = Report::default();
    report.grant(asked);
    report.send(Provider::Machines);
    gate.report(&report, at(0));
    assert_eq!(gate.levels(at(0)).machines.left, 3_599);
    // And what was sent without asking is counted.
    let mut report = Report::default();
    report.send(Provider::Machines);
    gate.report(&report, at(0));
    assert_eq!(gate.levels(at(0)).machines.left, 3_598);
}

#[test]
fn a_gate_in_ordinary_use_needs_no_storage() {
    let mut gate = RateLimiter::new(at(0));
    for second in 0..500 {
        assert!(is_granted(&mut gate, need(1, 1, Urgency::Begin), at(second)));
    }
    assert!(!gate.is_worth_keeping(at(500)));
    let mut report = Report::default();
    report.answer(Provider::Machines, &response(429, &[]), at(500));
    gate.report(&report, at(500));
    assert!(gate.is_worth_keeping(at(500)));
    let kept = serde_json::to_string(&gate).unwrap();
    assert_eq!(serde_json::from_str::<RateLimiter>(&kept).unwrap(), gate);
}

#[test]
fn every_effect_that_calls_a_provider_asks_and_ends_go_first() {
    let ends =
        [Effect::DeleteServer, Effect::DeleteDns, Effect::PowerOff, Effect::TakeImage, Effect::AwaitImage];
    for effect in ends {
        assert_eq!(CallCost::of(effect).unwrap().urgency, Urgency::End, "{effect:?}");
    }
    assert_eq!(CallCost::of(Effect::AskServer).unwrap().urgency, Urgency::Look);
    assert_eq!(CallCost::of(Effect::CheckReceipt), None);
}

#[test]
fn what_providers_reported_is_stored_in_its_first_words_because_it_outlives_versions() {
    let stored = serde_json::to_value(RateLimiter::new(at(0))).unwrap().to_string();
    assert!(stored.contains(r#""told":"#) && stored.contains(r#""told_at_ms":"#), "{stored}");
    assert!(!stored.contains("reported"), "{stored}");
}
