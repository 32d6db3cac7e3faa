//! The report as people read it: Markdown tables.

use super::engine::Kind;
use super::score::{Tally, interval};
use super::{Group, Report};
use std::fmt::Write as _;

/// Which groups a table is about.
type Wanted = fn(&Group) -> bool;

/// Tables with their titles.
const TABLES: [(&str, Wanted); 7] = [
    ("All traces", |group| !group.is_variant),
    ("Recorded from real programs", |group| !group.is_variant && group.is_recorded),
    ("Made by scripts", |group| !group.is_variant && !group.is_recorded),
    ("Held out", |group| !group.is_variant && group.is_held_out),
    ("Variants of all traces", |group| group.is_variant),
    ("Variants of those held out", |group| group.is_variant && group.is_held_out),
    ("Silent for longer than the bounds, in none of the above", |group| !group.is_variant && group.is_beyond),
];

/// All tables; those about nothing are left out.
pub fn shown(report: &Report) -> String {
    let mut text = String::new();
    for (at, (title, wanted)) in TABLES.iter().enumerate() {
        // The last table is about nothing else, and the others about everything else.
        let wanted = |group: &Group| group.is_beyond == (at + 1 == TABLES.len()) && wanted(group);
        let ours = report.sum(|group| group.engine == Kind::Ours && wanted(group));
        if ours == Tally::default() {
            continue;
        }
        let (stay, sleep) = (ours.must_stay(), ours.must_sleep());
        let _ = write!(
            text,
            "**{title}**: {stay} stretches in which work goes on, {sleep} after its end\n\n\
             | judged by | work: stays | work: cut off | cut off, untold | over: sleeps | over: late | over: for ever | cut off, 95 % | late or for ever, 95 % | slept after, median | p95 |\n\
             |---|---|---|---|---|---|---|---|---|---|---|\n"
        );
        for engine in Kind::ALL {
            let tally = report.sum(|group| group.engine == engine && wanted(group));
            let _ = writeln!(text, "{}", row(engine, &tally));
        }
        text.push('\n');
    }
    text
}

fn row(engine: Kind, tally: &Tally) -> String {
    let kept = tally.late + tally.unbounded;
    let cells = [
        engine.name().to_owned(),
        tally.stayed.to_string(),
        tally.killed.to_string(),
        tally.untold.to_string(),
        tally.slept.to_string(),
        tally.late.to_string(),
        tally.unbounded.to_string(),
        rate(tally.killed, tally.must_stay()),
        rate(kept, tally.must_sleep()),
        waste(tally, 0.5),
        waste(tally, 0.95),
    ];
    format!("| {} |", cells.join(" | "))
}

fn rate(hits: usize, of: usize) -> String {
    if of == 0 {
        return "-".to_owned();
    }
    let (low, high) = interval(hits, of);
    let percent = |rate: f64| {
        if rate > 0.0 && rate < 0.01 {
            format!("{:.2}", rate * 100.0)
        } else {
            format!("{:.1}", rate * 100.0)
        }
    };
    format!("{} % ({}-{})", percent(hits as f64 / of as f64), percent(low), percent(high))
}

fn waste(tally: &Tally, share: f64) -> String {
    match tally.waste_at(share) {
        _ if tally.must_sleep() == 0 => "-".to_owned(),
        Some(thousandths) => format!("{:.2}×", thousandths as f64 / 1000.0),
        None => "for ever".to_owned(),
    }
}
