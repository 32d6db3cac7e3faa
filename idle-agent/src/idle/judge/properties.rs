//! What must hold for whole sequences of looks, whatever is in them.

use super::tests::{self, still};
use super::*;
use crate::idle::facts::{AgentObservation, SessionStatus, Sockets};
use crate::idle::read::hook::{Happened, Left};
use ebbtide_api::why::Verdict;
use proptest::prelude::*;

/// Short, so that few looks reach every bound.
const POLICY: VmPolicy = VmPolicy { unknown_grace_secs: 120, agent_silence_secs: 180, ..tests::POLICY };
/// Milliseconds between looks.
const LOOK: u64 = 10_000;
const SHELL: (u32, u64) = (40, 4);
const CODEX: (u32, u64) = (50, 5);
/// Looks until idle when nothing goes on: the timeout, and the first look that counts nothing.
const TIMEOUT_LOOKS: u64 = 60_000 / LOOK + 1;

/// What happens between two looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    Nothing,
    Types,
    OpensPage,
    JobWorks,
    AgentWorks,
    AgentAsks,
    Blind,
    BlindToTerminals,
    BlindToSockets,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => Just(Step::Nothing),
        1 => Just(Step::Types),
        1 => Just(Step::OpensPage),
        1 => Just(Step::JobWorks),
        1 => Just(Step::AgentWorks),
        2 => Just(Step::AgentAsks),
        2 => Just(Step::Blind),
        1 => Just(Step::BlindToTerminals),
        2 => Just(Step::BlindToSockets),
    ]
}

fn blind() -> impl Strategy<Value = Step> {
    prop_oneof![
        Just(Step::Nothing),
        Just(Step::Blind),
        Just(Step::BlindToTerminals),
        Just(Step::BlindToSockets)
    ]
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    prop::collection::vec(step(), 1..40)
}

fn process((pid, started): (u32, u64), comm: &str, ticks: u64) -> Process {
    Process {
        pid,
        parent: 1,
        comm: comm.into(),
        uid: 1000,
        has_terminal: true,
        started,
        ticks,
        storage_bytes: Some(0),
        arguments: vec![],
    }
}

/// A machine that looks as these steps left it.
fn looks(steps: &[Step]) -> Vec<Facts> {
    let (mut typed, mut people, mut job, mut agent) = (0, 0, 0, 0);
    let look = |step: &Step| {
        typed += i64::from(*step == Step::Types);
        people += u64::from(*step == Step::OpensPage);
        job += if *step == Step::JobWorks { 900 } else { 0 };
        agent += if *step == Step::AgentWorks { 300 } else { 5 };
        let sockets =
            Sockets { open: 1, is_asked: *step == Step::AgentAsks, received_bytes: 0, sent_bytes: 0 };
        let observation = AgentObservation {
            process: CODEX,
            sockets: (*step != Step::BlindToSockets).then_some(sockets),
            grown: 0,
            status: None,
        };
        let mut facts = Facts {
            processes: Ok(vec![process(SHELL, "make", job), process(CODEX, "codex", agent)]),
            terminals: Ok(Some([("0".to_owned(), (typed, 0))].into())),
            people,
            observations: vec![observation],
            ..still()
        };
        match step {
            Step::Blind => {
                facts.processes = Err("it cannot be read".into());
                facts.observations.clear();
            }
            Step::BlindToTerminals => facts.terminals = Err("it cannot be read".into()),
            _ => {}
        }
        facts
    };
    steps.iter().map(look).collect()
}

fn after(looks: &[Facts]) -> (Judge, Moment) {
    let mut judge = Judge::default();
    let mut now = Moment(0);
    for facts in looks {
        now.0 += LOOK;
        judge.judge(now, facts, &POLICY);
    }
    (judge, now)
}

fn next(judge: &Judge, now: Moment, facts: &Facts) -> Why {
    judge.clone().judge(Moment(now.0 + LOOK), facts, &POLICY)
}

/// How long the machine stays awake at least: for ever while something is active.
fn awake_for(why: &Why) -> u64 {
    why.sleeps_in_secs.unwrap_or(u64::MAX)
}

/// The last look again, with nothing new in it.
fn same(looks: &[Facts]) -> Facts {
    let mut steps = looks.iter().rev();
    let mut last = steps.find(|facts| facts.processes.is_ok() && facts.terminals.is_ok()).cloned();
    for observation in last.iter_mut().flat_map(|facts| &mut facts.observations) {
        observation.sockets = Some(Sockets { open: 1, is_asked: false, received_bytes: 0, sent_bytes: 0 });
    }
    let mut last = last.unwrap_or_else(still);
    last.people = looks.iter().map(|facts| facts.people).max().unwrap_or(0);
    last
}

proptest! {
    #[test]
    fn a_lease_never_shortens_wakefulness(steps in steps(), at in any::<prop::sample::Index>(), secs in 1u64..9000) {
        let looks = looks(&steps);
        let held_at = at.index(looks.len());
        let (mut without, mut with) = (Judge::default(), Judge::default());
        for (number, facts) in (0u64..).zip(&looks) {
            let now = Moment((number + 1) * LOOK);
            let before = without.judge(now, facts, &POLICY);
            let why = with.judge(now, facts, &POLICY);
            prop_assert!(awake_for(&why) >= awake_for(&before), "{why:?} {before:?}");
            if number == held_at as u64 {
                with.hold(Duration::from_secs(secs), "", now).unwrap();
            }
        }
    }

    #[test]
    fn agents_that_are_there_and_do_nothing_never_extend_it(steps in steps()) {
        let (mut without, mut with) = (Judge::default(), Judge::default());
        for (number, facts) in (0u64..).zip(looks(&steps)) {
            let now = Moment((number + 1) * LOOK);
            let mut more = facts.clone();
            if let Ok(processes) = &mut more.processes {
                processes.push(process((60, 6), "claude", 7));
                let sockets = Some(Sockets { open: 2, is_asked: false, received_bytes: 5, sent_bytes: 0 });
                more.observations.push(AgentObservation { process: (60, 6), sockets, grown: 3, status: None });
            }
            let (before, why) = (without.judge(now, &facts, &POLICY), with.judge(now, &more, &POLICY));
            prop_assert_eq!((why.verdict, why.sleeps_in_secs), (before.verdict, before.sleeps_in_secs));
        }
    }

    #[test]
    fn no_sequence_of_unreadable_signals_keeps_beyond_the_grace(
        past in steps(),
        blind in prop::collection::vec(blind(), 60..70),
    ) {
        let past = looks(&past);
        let (mut judge, mut now) = after(&past);
        let quiet = same(&past);
        let mut idle = false;
        // The grace, the timeout, what an agent without reports may be silent, and a look for each that counts none.
        let bound_secs =
            POLICY.unknown_grace_secs + POLICY.idle_timeout_secs + POLICY.agent_silence_secs + 3 * LOOK / 1000;
        for (number, step) in (0u64..).zip(&blind) {
            now.0 += LOOK;
            let mut facts = quiet.clone();
            match step {
                Step::Blind => facts.processes = Err("it cannot be read".into()),
                Step::BlindToTerminals => facts.terminals = Err("it cannot be read".into()),
                Step::BlindToSockets => facts.observations.clear(),
                _ => {}
            }
            idle |= judge.judge(now, &facts, &POLICY).verdict == Verdict::Idle;
            if number * LOOK / 1000 > bound_secs {
                prop_assert!(idle, "{number} {:?}", judge.judge(now, &facts, &POLICY));
                return Ok(());
            }
        }
        prop_assert!(false, "too few looks");
    }

    #[test]
    fn restarts_neither_forget_quiet_nor_invent_it(
        past in steps(),
        restarts in prop::collection::btree_set(0u64..TIMEOUT_LOOKS, 0..4),
    ) {
        let past = looks(&past);
        let (mut judge, mut now) = after(&past);
        let quiet = same(&past);
        let mut through = judge.clone();
        // What the past left behind: an agent that had asked, something unreadable.
        let (mut slept, mut slept_through) = (None, None);
        for number in 0..60 {
            now.0 += LOOK;
            if restarts.contains(&number) {
                let text = serde_json::to_string(judge.keep(now)).unwrap();
                judge = Judge::resume(serde_json::from_str(&text).unwrap(), "", now);
            }
            let verdict = judge.judge(now, &quiet, &POLICY).verdict;
            slept = slept.or((verdict == Verdict::Idle).then_some(number));
            let verdict = through.judge(now, &quiet, &POLICY).verdict;
            slept_through = slept_through.or((verdict == Verdict::Idle).then_some(number));
        }
        let (slept, slept_through) = (slept.unwrap(), slept_through.unwrap());
        // Each restart costs the look that it cannot compare with one before.
        let late = slept_through + restarts.len() as u64;
        prop_assert!(slept >= slept_through && slept <= late, "{slept} {slept_through} {restarts:?}");
    }

    #[test]
    fn a_clock_that_jumps_counts_as_two_looks_at_most(past in steps(), jump in 1u64..40_000_000) {
        let past = looks(&past);
        let (judge, now) = after(&past);
        let quiet = same(&past);
        let jumped = judge.clone().judge(Moment(now.0 + jump), &quiet, &POLICY);
        let mut steady = judge;
        steady.judge(Moment(now.0 + LOOK), &quiet, &POLICY);
        let steady = steady.judge(Moment(now.0 + 2 * LOOK), &quiet, &POLICY);
        prop_assert!(awake_for(&jumped) >= awake_for(&steady), "{jumped:?} {steady:?}");
    }

    #[test]
    fn whoever_watches_files_is_judged_as_before_but_for_what_an_agent_left_behind(steps in steps()) {
        let (mut without, mut with) = (Judge::default(), Judge::default());
        for (number, facts) in (0u64..).zip(looks(&steps)) {
            let now = Moment((number + 1) * LOOK);
            let mut watching = facts.clone();
            watching.watchers = [SHELL.0, CODEX.0].into();
            for process in watching.processes.iter_mut().flatten() {
                process.arguments = vec![process.comm.clone(), "--watch".to_owned()];
            }
            let (before, why) = (without.judge(now, &facts, &POLICY), with.judge(now, &watching, &POLICY));
            prop_assert_eq!((why.verdict, why.sleeps_in_secs), (before.verdict, before.sleeps_in_secs));
        }
    }

    #[test]
    fn a_watcher_in_a_turn_keeps_it_as_any_command_and_one_left_behind_keeps_nothing_longer(
        ticks in prop::collection::vec(0u64..300, 2..40),
        is_over in any::<bool>(),
    ) {
        let claude = (60, 6);
        let (mut without, mut with) = (Judge::default(), Judge::default());
        let report = |happened| Hook { session: "s".to_owned(), transcript: None, happened };
        let left = Left { shells: 1, ..Left::default() };
        let reports = [Some(Happened::Prompted), is_over.then_some(Happened::Stopped(left))];
        for happened in reports.into_iter().flatten() {
            without.hear(&report(happened), claude, Moment(0));
            with.hear(&report(happened), claude, Moment(0));
        }
        let mut used = 0;
        for (number, ticks) in (0u64..).zip(ticks) {
            used += ticks;
            let now = Moment((number + 1) * LOOK);
            let tsc = Process {
                parent: claude.0,
                arguments: vec!["tsc".to_owned(), "--watch".to_owned()],
                ..process((61, 900), "tsc", used)
            };
            let status = if is_over { SessionStatus::Shell } else { SessionStatus::Busy };
            let observation = AgentObservation { process: claude, sockets: None, grown: 0, status: Some(status) };
            let facts = Facts {
                processes: Ok(vec![process(claude, "claude", 5), tsc]),
                observations: vec![observation],
                ..still()
            };
            let watching = Facts { watchers: [61].into(), ..facts.clone() };
            let (before, why) = (without.judge(now, &facts, &POLICY), with.judge(now, &watching, &POLICY));
            if is_over {
                prop_assert!(awake_for(&why) <= awake_for(&before), "{why:?} {before:?}");
            } else {
                prop_assert_eq!((why.verdict, why.sleeps_in_secs), (before.verdict, before.sleeps_in_secs));
            }
        }
    }

    #[test]
    fn more_activity_never_brings_sleep_nearer(past in steps()) {
        let past = looks(&past);
        let (judge, now) = after(&past);
        let quiet = same(&past);
        let before = next(&judge, now, &quiet);
        let mut typed = quiet.clone();
        typed.terminals = Ok(Some([("0".to_owned(), (1_000_000, 0))].into()));
        let mut page = quiet.clone();
        page.people += 1;
        let mut works = quiet.clone();
        works.processes.iter_mut().flatten().for_each(|process| process.ticks += 100_000);
        let mut asks = quiet.clone();
        asks.observations.iter_mut().flat_map(|observation| &mut observation.sockets).for_each(|sockets| sockets.is_asked = true);
        for more in [typed, page, works, asks] {
            let why = next(&judge, now, &more);
            prop_assert!(awake_for(&why) >= awake_for(&before), "{why:?} {before:?}");
        }
    }
}
