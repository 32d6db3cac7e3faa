//! Scenes and properties of the verdict.

use super::*;
use proptest::prelude::*;

const POLICY: VmPolicy = VmPolicy {
    heartbeat_secs: 15,
    idle_timeout_secs: 1800,
    unknown_grace_secs: 600,
    waiting_for_human_secs: 7200,
    agent_silence_secs: 1800,
    background_secs: 7200,
    snapshot_every_secs: 900,
};

fn quiet() -> Evidence {
    Evidence {
        ready: true,
        progress: Reading::Quiet(String::new()),
        turn: Reading::Quiet(String::new()),
        asking: None,
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
    let why = clocks.tick(secs(599), &blind, &POLICY);
    assert_eq!((why.verdict, why.sleeps_in_secs), (Verdict::Unknown, Some(1801)));
    let over = clocks.tick(secs(1), &blind, &POLICY);
    assert_eq!(
        (over.verdict, over.sleeps_in_secs),
        (Verdict::Quiet, Some(1800)),
        "the clock stood still meanwhile"
    );
    // It comes and goes: that gives no second grace.
    clocks.tick(secs(10), &quiet(), &POLICY);
    assert_eq!(clocks.tick(secs(10), &blind, &POLICY).sleeps_in_secs, Some(1780));
    assert_eq!(clocks.tick(secs(1780), &blind, &POLICY).verdict, Verdict::Idle);
}

#[test]
fn a_question_keeps_the_machine_for_its_budget_and_says_so() {
    let asking = |left_secs: u64| Evidence {
        asking: Some(Asking {
            what: "claude asks a question".into(),
            left_ms: left_secs * 1000,
            total_ms: 7_200_000,
        }),
        ..quiet()
    };
    let mut clocks = Clocks::default();
    clocks.tick(secs(10), &working(), &POLICY);
    let why = clocks.tick(secs(3600), &asking(3600), &POLICY);
    assert_eq!((why.verdict, why.sleeps_in_secs), (Verdict::WaitingForHuman, Some(3600)));
    assert_eq!(why.because, ["claude asks a question; kept for another 1h for an answer"]);
    assert_eq!(why.budgets[1], budget("waiting_for_human", 7200, 3600));
    assert_eq!(clocks.tick(secs(3600), &quiet(), &POLICY).verdict, Verdict::Idle, "nobody came");
}

#[test]
fn clocks_of_an_agent_that_knew_no_turns_are_read() {
    let old = r#"{"progress":{"quiet_ms":5,"unreadable_ms":0,"ever":true},"terminal":{"quiet_ms":7,"unreadable_ms":0,"ever":false},"http":{"quiet_ms":7,"unreadable_ms":0,"ever":false},"verdict":"quiet","verdict_ms":5}"#;
    assert_eq!(serde_json::from_str::<Clocks>(old).unwrap().progress.quiet_ms, 5);
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
    let asking = prop::option::weighted(0.2, 1u64..7_200_000).prop_map(|left| {
        left.map(|left_ms| Asking { what: "claude asks".into(), left_ms, total_ms: 7_200_000 })
    });
    let signals = (reading(), reading(), reading(), reading());
    (any::<bool>(), signals, asking, leases, prop::bool::weighted(0.1)).prop_map(
        |(ready, (progress, turn, terminal, http), asking, leases, asked_to_sleep)| {
            let mut leases: Vec<Lease> =
                leases.into_iter().map(|(secs, source)| lease(secs, source)).collect();
            leases.sort_by_key(|lease| std::cmp::Reverse(lease.expires_in_secs));
            let agents = vec![];
            Evidence { ready, progress, turn, asking, terminal, http, agents, leases, asked_to_sleep }
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
        for place in 0..4 {
            let mut more = now.clone();
            *[&mut more.progress, &mut more.turn, &mut more.terminal, &mut more.http][place] = Reading::Active("more".into());
            let more = after(&past).tick(secs(5), &more, &POLICY);
            prop_assert!(awake_for(&more) >= awake_for(&before), "{more:?} {before:?}");
        }
    }

    #[test]
    fn no_sequence_of_unreadable_signals_keeps_a_machine_beyond_its_grace(
        past in history(),
        blind in prop::collection::vec(0u8..16, 40..80),
    ) {
        let mut clocks = after(&past);
        clocks.tick(secs(1), &working(), &POLICY);
        let unless = |is_blind: bool| {
            if is_blind { Reading::Unreadable("x".into()) } else { Reading::Quiet("x".into()) }
        };
        let mut why = None;
        for bits in &blind {
            let scene = Evidence {
                progress: unless(bits & 1 != 0),
                turn: unless(bits & 2 != 0),
                terminal: unless(bits & 4 != 0),
                http: unless(bits & 8 != 0),
                ..quiet()
            };
            why = Some(clocks.tick(secs(60), &scene, &POLICY));
        }
        // 40 looks of a minute: the timeout and the grace.
        prop_assert_eq!(why.unwrap().verdict, Verdict::Idle);
    }

    #[test]
    fn what_it_says_about_sleep_comes_true(past in history(), now in evidence()) {
        let mut clocks = after(&past);
        let why = clocks.tick(secs(5), &now, &POLICY);
        // Leases and questions shrink by themselves, which this scene does not play.
        if let Some(left) = why.sleeps_in_secs
            && now.leases.is_empty() && now.asking.is_none() && left > 1
        {
            prop_assert!(clocks.clone().tick(secs(left - 2), &now, &POLICY).verdict != Verdict::Idle);
            prop_assert_eq!(clocks.tick(secs(left), &now, &POLICY).verdict, Verdict::Idle);
        }
    }

    #[test]
    fn nothing_is_idle_sooner_than_the_timeout_after_activity(past in history(), waited in 0u64..1800) {
        let mut clocks = after(&past);
        clocks.tick(secs(1), &working(), &POLICY);
        prop_assert!(clocks.tick(secs(waited), &quiet(), &POLICY).verdict != Verdict::Idle);
    }
}
