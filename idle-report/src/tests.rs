//! The report in its short form, and its own arithmetic.

use super::*;
use ebbtide_idle_agent::idle::trace::Look;

#[test]
fn work_is_never_cut_off_and_nothing_is_kept_without_end() {
    let cases = cases(&recorded()).unwrap();
    let recorded = cases.iter().filter(|case| case.is_recorded()).count();
    assert!(recorded >= 40 && cases.len() - recorded >= 20, "{recorded} of {}", cases.len());
    // Traces that are held out judge the engine in scripts/idle-report alone: what is judged at every change is tuned for.
    let report = run(&cases, &Plan { variants: 200, seed: 7, with_held_out: false });
    assert_eq!(report.failures(), 0, "{:#?}", report.wrong);
}

#[test]
fn every_baseline_fails_in_at_least_one_direction() {
    let report = run(&made_traces::all(), &Plan { variants: 0, seed: 0, with_held_out: false });
    for engine in Kind::ALL {
        let tally = report.sum(|group| group.engine == engine);
        let is_wrong = tally.killed + tally.late + tally.unbounded > 0;
        assert!(is_wrong || engine == Kind::Ours, "{engine:?} {tally:?}");
    }
}

#[test]
fn the_same_seed_gives_the_same_variants_and_another_seed_others() {
    let case = &made_traces::all()[0];
    let shown = |seed| format!("{:?}", variant::make(case, seed, 3).events);
    assert_eq!(shown(1), shown(1));
    assert_ne!(shown(1), shown(2));
}

#[test]
fn intervals_are_those_of_the_tables() {
    let near = |(low, high): (f64, f64), expected: (f64, f64)| {
        assert!((low - expected.0).abs() < 5e-4 && (high - expected.1).abs() < 5e-4, "{low} {high}");
    };
    near(score::interval(0, 10), (0.0, 0.2775));
    near(score::interval(5, 10), (0.2366, 0.7634));
    near(score::interval(0, 10_000), (0.0, 0.00038));
    assert_eq!(score::interval(0, 0), (0.0, 1.0));
}

#[test]
fn labels_follow_from_marks_and_a_trace_says_of_itself_what_is_so() {
    let mut scene = scene::Scene::new("two-stretches", "the script says so");
    scene.must_stay();
    scene.pass(60);
    scene.must_sleep();
    scene.lost();
    scene.pass(60);
    scene.unlabelled();
    scene.pass(60);
    let case = scene.cut();
    let [stay, sleep] = case.segments.as_slice() else { panic!("{:?}", case.segments) };
    assert_eq!((stay.label, stay.to), (case::Label::MustStay, Some(sleep.from)));
    // What comes after the last label is left out, so that the last stretch can go on as it ended.
    assert_eq!((sleep.label, sleep.to, sleep.grace_ms), (case::Label::MustSleep, None, 600_000));
    assert_eq!(case.entries.last().unwrap().0.since(sleep.from).as_secs(), 50);
}

#[test]
fn a_trace_goes_on_as_it_ended_for_as_long_as_is_wanted() {
    let mut scene = scene::Scene::new("a-server-polls", "nobody asks it anything");
    let server = scene.serve("node");
    scene.load(server, 30);
    scene.must_sleep();
    scene.pass(300);
    let case = scene.cut();
    let ticks = |look: &Look| {
        let processes = look.facts.processes.as_ref().unwrap();
        processes.iter().find(|process| process.pid == server).unwrap().ticks
    };
    let (mut last, mut secs) = (0, 0);
    let tail = tail::Tail::of(&case, case.segments[0].from).unwrap();
    for (passed, look) in tail.take(100) {
        assert!(ticks(&look) >= last, "counters never go back");
        (last, secs) = (ticks(&look), secs + passed / 1000);
    }
    // 3 % of a core, as before.
    assert_eq!(secs, 1000);
    let began = case.entries.iter().rev().find_map(|(_, entry)| match entry {
        Entry::Look(look) => Some(ticks(look)),
        _ => None,
    });
    let used = last - began.unwrap();
    assert!((2000..4000).contains(&used), "{used}");
}

#[test]
fn a_rest_goes_on_whole_and_what_ended_in_it_does_not_come_back() {
    let mut scene = scene::Scene::new("a-timer-fires-and-a-build-ends", "the script says so");
    let build = scene.spawn(1, "rustc");
    let timer = scene.spawn(1, "bash");
    scene.must_sleep();
    scene.pass(60);
    scene.end(build);
    scene.load(timer, 500);
    scene.pass(20);
    scene.load(timer, 0);
    scene.pass(520);
    let case = scene.cut();
    let has = |look: &Look, pid| look.facts.processes.iter().flatten().any(|process| process.pid == pid);
    let ticks = |look: &Look| {
        let mut processes = look.facts.processes.iter().flatten();
        processes.find(|process| process.pid == timer).unwrap().ticks
    };
    let rounds: Vec<(u64, Look)> =
        tail::Tail::of(&case, case.segments[0].from).unwrap().take(4 * 59).collect();
    assert!(rounds.iter().all(|(_, look)| !has(look, build)));
    // Ten seconds of a core a round, although the last minute of the trace shows none.
    let used = ticks(&rounds.last().unwrap().1) - ticks(&rounds[0].1);
    assert!((3000..6000).contains(&used), "{used}");
}

#[test]
fn work_of_which_one_report_tells_is_counted_apart_where_a_variant_loses_it() {
    let cases = made_traces::all();
    let case = cases.iter().find(|case| case.name == "scheduled-wake-up").unwrap();
    let told = case.segments[0].told_at.unwrap();
    let is_told = |variant: &variant::Variant| {
        let mut hooks = variant.events.iter().filter(|(_, entry)| matches!(&**entry, Entry::Hook { .. }));
        hooks.any(|(at, entry)| *at == told && format!("{entry:?}").contains("wakeups: 1"))
    };
    let mut lost = 0;
    for number in 0..400 {
        let variant = variant::make(case, 3, number);
        if variant.suspended.is_empty() && !is_told(&variant) {
            lost += 1;
            assert!(variant.segments[0].is_untold, "{}", variant.what());
        }
    }
    assert!(lost > 0);
    assert!(!variant::unchanged(case).segments[0].is_untold);
}

#[test]
fn an_alarm_on_processor_time_averages_over_its_period() {
    let mut scene = scene::Scene::new("one-look-of-load", "a second of load in five minutes is no load");
    let job = scene.spawn(1, "python3");
    for _ in 0..9 {
        scene.load(job, 900);
        scene.pass(10);
        scene.load(job, 0);
        scene.pass(290);
    }
    scene.must_sleep();
    scene.pass(20);
    let case = scene.cut();
    let mut alarm = baseline::Baseline::new(baseline::Rule::Processor, &case.policy);
    let verdicts = case.entries.iter().filter_map(|(at, entry)| alarm.take(*at, entry));
    assert!(
        verdicts.into_iter().any(|is_idle| is_idle),
        "a look at 90 % of a core every five minutes is 3 %"
    );
}
