//! The whole watch, upon the machine that the test runs on.

use super::read::hook::Happened;
use super::*;

const POLICY: VmPolicy = VmPolicy {
    heartbeat_secs: 15,
    idle_timeout_secs: 60,
    unknown_grace_secs: 600,
    waiting_for_human_secs: 7200,
    agent_silence_secs: 1800,
    background_secs: 7200,
    snapshot_every_secs: 900,
};

#[test]
fn a_recording_replays_to_the_same_verdicts_and_goes_on_over_a_restart() {
    let state = tempfile::tempdir().unwrap();
    let hour = Duration::from_secs(3600);
    let own = processes::read_one(Path::new("/proc"), std::process::id()).unwrap();
    let claude = Hook { session: "secret-name".into(), transcript: None, happened: Happened::Prompted };
    let mut idle = Idle::load(state.path(), POLICY, Moment(0));
    assert!(matches!(idle.stop_trace(), Err(RecordError::NotRecording)));
    assert!(matches!(idle.trace(), Err(RecordError::Nothing)));
    idle.start_trace(Moment(0)).unwrap();
    let mut told = Vec::new();
    let mut look = |idle: &mut Idle, at: u64, people: u64| {
        told.push(idle.tick(Moment(at), true, people, &BTreeSet::new()).verdict);
    };
    look(&mut idle, 0, 0);
    look(&mut idle, 10_000, 1);
    idle.hold(hour, "my secret plan", Moment(10_000)).unwrap();
    look(&mut idle, 20_000, 1);
    idle.keep_alive(own.pid, hour, Moment(20_000)).unwrap();
    idle.release(Some("h1"), Moment(20_000));
    idle.hear(&claude, (own.pid, own.started), Moment(21_000));
    idle.mark_trace("must_sleep", Moment(25_000)).unwrap();
    assert!(matches!(idle.mark_trace("two words", Moment(25_000)), Err(RecordError::Mark)));
    let mut idle = Idle::load(state.path(), POLICY, Moment(30_000));
    look(&mut idle, 30_000, 0);
    idle.ask_to_sleep(Moment(31_000));
    look(&mut idle, 40_000, 0);
    assert!(idle.stop_trace().unwrap() > 0);

    let text = idle.trace().unwrap();
    assert!(!text.contains("secret"), "the names of sessions and reasons of holds are nobody's business");
    let trace = trace::Trace::parse(&text).unwrap();
    let mut player = trace::replay::Player::new(POLICY);
    let again: Vec<Verdict> = trace
        .entries
        .iter()
        .filter_map(|(at, entry)| player.take(*at, entry).map(|why| why.verdict))
        .collect();
    assert_eq!(again, told);
    assert_eq!(told.last(), Some(&Verdict::Idle));
}
