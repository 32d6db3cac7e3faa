//! Scenes and properties of the verdict.

use super::*;
use proptest::prelude::*;

const POLICY: VmPolicy = VmPolicy {
    heartbeat_secs: 15,
    idle_timeout_secs: 1800,
    unknown_grace_secs: 600,
    waiting_for_human_secs: 7200,
    snapshot_every_secs: 900,
};

fn quiet() -> Evidence {
    Evidence {
        ready: true,
        progress: Reading::Quiet(String::new()),
        terminal: Reading::Quiet(String::new()),
        http: Reading::Quiet(String::new()),
        agents: vec![],
        leases: vec![],
        asked_to_sleep: false,
    }
}

fn working() -> Evidence {
    Evidence { progress: Reading::Active("claude works".into()), ..quiet() }
}

fn lease(secs: u64, source: &str) -> Lease {
    Lease { id: "h1".into(), source: source.into(), reason: "demo".into(), expires_in_secs: secs }
}

fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

#[test]
fn quiet_becomes_idle_after_the_timeout_and_not_before() {
    let mut clocks = Clocks::default();
    clocks.tick(secs(10), &working(), &POLICY);
    let almost = clocks.tick(secs(1799), &quiet(), &POLICY);
    assert_eq!((almost.verdict, almost.sleeps_in_secs), (Verdict::Quiet, Some(1)));
    let idle = clocks.tick(secs(1), &quiet(), &POLICY);
    assert_eq!((idle.verdict, idle.sleeps_in_secs), (Verdict::Idle, Some(0)));
    assert_eq!(idle.because, ["nothing has happened for 30m"]);
}

#[test]
fn a_machine_that_boots_is_never_idle_and_its_clocks_start_when_it_is_ready() {
    let mut clocks = Clocks::default();
    let booting = Evidence { ready: false, ..quiet() };
    assert_eq!(clocks.tick(secs(99_999), &booting, &POLICY).verdict, Verdict::Active);
    assert_eq!(clocks.tick(secs(1), &quiet(), &POLICY).sleeps_in_secs, Some(1799));
}

#[test]
fn a_parked_agent_is_named_and_keeps_nothing_awake() {
    let mut clocks = Clocks::default();
    let parked = Evidence { agents: vec!["claude (20)".into()], ..quiet() };
    let why = clocks.tick(secs(1800), &parked, &POLICY);
    assert_eq!(why.verdict, Verdict::Idle);
    assert_eq!(why.because[1], "claude (20) parked");
}

#[test]
fn an_unreadable_signal_holds_for_its_grace_and_not_for_ever() {
    let mut clocks = Clocks::default();
    let blind = Evidence { progress: Reading::Unreadable("/proc cannot be read".into()), ..quiet() };
    assert_eq!(clocks.tick(secs(599), &blind, &POLICY).verdict, Verdict::Unknown);
    let over = clocks.tick(secs(1), &blind, &POLICY);
    assert_eq!(
        (over.verdict, over.sleeps_in_secs),
        (Verdict::Quiet, Some(1800)),
        "the clock stood still meanwhile"
    );
    assert_eq!(clocks.tick(secs(1800), &blind, &POLICY).verdict, Verdict::Idle);
}

#[test]
fn ebb_sleep_counts_more_than_the_keys_that_typed_it_but_not_than_the_owners_hold() {
    let mut clocks = Clocks::default();
    let asked = Evidence { asked_to_sleep: true, terminal: Reading::Active("typing".into()), ..quiet() };
    assert_eq!(clocks.tick(secs(1), &asked, &POLICY).verdict, Verdict::Idle);
    let held = Evidence { leases: vec![lease(60, "api")], ..asked };
    assert_eq!(clocks.tick(secs(1), &held, &POLICY).verdict, Verdict::Held);
}

#[test]
fn since_counts_how_long_a_verdict_stands() {
    let mut clocks = Clocks::default();
    assert_eq!(clocks.tick(secs(10), &working(), &POLICY).since_secs, 0);
    assert_eq!(clocks.tick(secs(10), &working(), &POLICY).since_secs, 10);
    assert_eq!(clocks.tick(secs(10), &quiet(), &POLICY).since_secs, 0);
}

fn reading() -> impl Strategy<Value = Reading> {
    prop_oneof![
        Just(Reading::Quiet(String::new())),
        Just(Reading::Active("x".into())),
        Just(Reading::Unreadable("x".into())),
    ]
}

fn evidence() -> impl Strategy<Value = Evidence> {
    let leases = prop::collection::vec((1u64..4000, prop_oneof![Just("hold"), Just("api")]), 0..3);
    (any::<bool>(), reading(), reading(), reading(), leases, prop::bool::weighted(0.1)).prop_map(
        |(ready, progress, terminal, http, leases, asked_to_sleep)| {
            let mut leases: Vec<Lease> =
                leases.into_iter().map(|(secs, source)| lease(secs, source)).collect();
            leases.sort_by_key(|lease| std::cmp::Reverse(lease.expires_in_secs));
            Evidence { ready, progress, terminal, http, agents: vec![], leases, asked_to_sleep }
        },
    )
}

fn history() -> impl Strategy<Value = Vec<(u64, Evidence)>> {
    prop::collection::vec((0u64..900, evidence()), 0..12)
}

fn after(history: &[(u64, Evidence)]) -> Clocks {
    let mut clocks = Clocks::default();
    for (passed, evidence) in history {
        clocks.tick(secs(*passed), evidence, &POLICY);
    }
    clocks
}

/// How long the machine stays awake at least: for ever while something is active.
fn awake_for(why: &Why) -> u64 {
    why.sleeps_in_secs.unwrap_or(u64::MAX)
}

proptest! {
    #[test]
    fn a_lease_never_shortens_wakefulness(past in history(), now in evidence(), extra in 1u64..9000) {
        let without = after(&past).tick(secs(5), &now, &POLICY);
        let mut with = now.clone();
        with.leases.push(lease(extra, "api"));
        with.leases.sort_by_key(|lease| std::cmp::Reverse(lease.expires_in_secs));
        let with = after(&past).tick(secs(5), &with, &POLICY);
        prop_assert!(awake_for(&with) >= awake_for(&without), "{with:?} {without:?}");
        prop_assert!(with.verdict != Verdict::Idle);
    }

    #[test]
    fn liveness_never_extends_it(past in history(), now in evidence()) {
        let without = after(&past).tick(secs(5), &now, &POLICY);
        let with = Evidence { agents: vec!["claude (1)".into()], ..now };
        let with = after(&past).tick(secs(5), &with, &POLICY);
        prop_assert_eq!((with.verdict, with.sleeps_in_secs), (without.verdict, without.sleeps_in_secs));
    }

    #[test]
    fn a_restart_neither_forgets_nor_invents(past in history(), now in evidence()) {
        let mut running = after(&past);
        let mut restarted: Clocks = serde_json::from_str(&serde_json::to_string(&running).unwrap()).unwrap();
        prop_assert_eq!(running.tick(secs(5), &now, &POLICY), restarted.tick(secs(5), &now, &POLICY));
    }

    #[test]
    fn more_activity_never_brings_sleep_nearer(past in history(), now in evidence()) {
        let before = after(&past).tick(secs(5), &now, &POLICY);
        for place in 0..3 {
            let mut more = now.clone();
            *[&mut more.progress, &mut more.terminal, &mut more.http][place] = Reading::Active("more".into());
            let more = after(&past).tick(secs(5), &more, &POLICY);
            prop_assert!(awake_for(&more) >= awake_for(&before), "{more:?} {before:?}");
        }
    }

    #[test]
    fn nothing_is_idle_sooner_than_the_timeout_after_activity(past in history(), waited in 0u64..1800) {
        let mut clocks = after(&past);
        clocks.tick(secs(1), &working(), &POLICY);
        prop_assert!(clocks.tick(secs(waited), &quiet(), &POLICY).verdict != Verdict::Idle);
    }
}
