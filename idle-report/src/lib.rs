//! How well the idle verdict judges: labelled traces and thousands of variants of them through the engine and through
//! baselines that judge as other systems do. Nothing runs but the replay.
//!
//! `case` reads traces, `scene` and `made_traces` make some, `variant` disturbs them, `engine` and `baseline` judge, `score`
//! counts, `table` shows. A label never comes from an engine: recorded traces have it from marks of the script that
//! drove the programs, made ones from the script that made them.

pub mod baseline;
pub mod case;
pub mod engine;
pub mod made_traces;
pub mod scene;
pub mod score;
pub mod table;
pub mod tail;
pub mod variant;

use anyhow::Context as _;
use case::Case;
use ebbtide_idle_agent::idle::trace::Entry;
use ebbtide_idle_agent::idle::trace::replay::Player;
use ebbtide_idle_agent::os::clock::Moment;
use engine::Kind;
use score::Tally;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// What is counted apart: whose verdicts, recorded or made, held out or not, as they are or disturbed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Group {
    /// Whose.
    pub engine: Kind,
    /// Recorded from real programs.
    pub is_recorded: bool,
    /// Not looked at while the engine was made.
    pub is_held_out: bool,
    /// Variants rather than traces as they are.
    pub is_variant: bool,
    /// Work that shows nothing for longer than the engine's bounds.
    pub is_beyond: bool,
}

/// What to run.
#[derive(Debug, Clone, Copy)]
pub struct Plan {
    /// How many variants of all traces together, about.
    pub variants: usize,
    /// What they come from.
    pub seed: u64,
    /// Whether traces that are held out take part.
    pub with_held_out: bool,
}

/// All that was counted.
#[derive(Debug, Default)]
pub struct Report {
    /// By group.
    pub tallies: BTreeMap<Group, Tally>,
    /// What our engine got wrong: trace, variant and what happened.
    pub wrong: Vec<String>,
    /// How many traces and variants were judged.
    pub traces: usize,
    /// See `traces`.
    pub variants: usize,
}

/// Where the traces of real programs are, in the repository as it was when this crate was built.
pub fn recorded() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("traces/recorded")
}

/// The traces of a directory and those that scripts make.
///
/// # Errors
/// A file cannot be read, or is no labelled trace.
pub fn cases(directory: &Path) -> anyhow::Result<Vec<Case>> {
    let mut cases = case::read_all(directory).with_context(|| format!("{}", directory.display()))?;
    cases.extend(made_traces::all());
    let mut names = std::collections::BTreeSet::new();
    for case in &cases {
        anyhow::ensure!(names.insert(&case.name), "two traces are called {}", case.name);
    }
    Ok(cases)
}

/// Judges all of it, on two threads.
pub fn run(cases: &[Case], plan: &Plan) -> Report {
    let chosen: Vec<&Case> = cases.iter().filter(|case| plan.with_held_out || !case.is_held_out).collect();
    let each = plan.variants.div_ceil(chosen.len().max(1));
    let (even, odd): (Vec<_>, Vec<_>) = chosen.iter().enumerate().partition(|(at, _)| at % 2 == 0);
    let run = |part: Vec<(usize, &&Case)>| {
        let mut report = Report::default();
        for (_, case) in part {
            report.judge(case, each, plan);
        }
        report
    };
    let mut report = std::thread::scope(|scope| {
        let other = scope.spawn(|| run(odd));
        let mut report = run(even);
        if let Ok(other) = other.join() {
            report.add(other);
        }
        report
    });
    // What must never be comes first.
    report.wrong.sort_by_key(|wrong| (wrong.contains("after the end of work"), wrong.clone()));
    report
}

impl Report {
    fn judge(&mut self, case: &Case, variants: usize, plan: &Plan) {
        self.traces += 1;
        self.count(case, &variant::unchanged(case), None);
        for number in 0..variants {
            self.variants += 1;
            self.count(case, &variant::make(case, plan.seed, number), Some(number));
        }
    }

    fn count(&mut self, case: &Case, variant: &variant::Variant, number: Option<usize>) {
        for engine in Kind::ALL {
            let scores = score::judge(case, variant, engine);
            for (score, segment) in scores.iter().zip(&variant.segments) {
                let group = Group {
                    engine,
                    is_recorded: case.is_recorded(),
                    is_held_out: case.is_held_out,
                    is_variant: number.is_some(),
                    is_beyond: segment.is_beyond,
                };
                let tally = self.tallies.entry(group).or_default();
                if engine == Kind::Ours
                    && !segment.is_beyond
                    && let Some(wrong) = score.wrong()
                {
                    let which =
                        number.map_or(String::new(), |number| format!(" #{number} ({})", variant.what()));
                    self.wrong.push(format!("{}{which}: {wrong}", case.name));
                }
                tally.add(score, case.policy.idle_timeout_secs);
            }
        }
    }

    fn add(&mut self, other: Self) {
        for (group, tally) in other.tallies {
            self.tallies.entry(group).or_default().merge(tally);
        }
        self.wrong.extend(other.wrong);
        self.traces += other.traces;
        self.variants += other.variants;
    }

    /// Everything of some groups.
    pub fn sum(&self, wanted: impl Fn(&Group) -> bool) -> Tally {
        let mut sum = Tally::default();
        for (_, tally) in self.tallies.iter().filter(|(group, _)| wanted(group)) {
            sum.merge(tally.clone());
        }
        sum
    }

    /// What must never be, in our engine: work that was cut off within its bounds, or a workspace kept without end.
    pub fn failures(&self) -> usize {
        let ours = self.sum(|group| group.engine == Kind::Ours && !group.is_beyond);
        ours.killed + ours.unbounded
    }
}

/// A variant as our engine judges it: a line wherever the verdict or its reasons change.
pub fn told(case: &Case, variant: &variant::Variant) -> String {
    let mut player = Player::new(case.policy.clone());
    let (mut text, mut before) = (format!("{}: {}\n", case.name, case.argument), None);
    let began = case.entries.first().map_or(Moment(0), |(at, _)| *at);
    for (at, entry) in &variant.events {
        let secs = at.since(began).as_secs();
        match (&**entry, player.take(*at, entry)) {
            (_, Some(why)) => {
                // Without the numbers that change all the time.
                let because = why.because.join("; ");
                let shape: String = because.chars().filter(|c| !c.is_ascii_digit()).collect();
                if before.replace((why.verdict, shape.clone())) != Some((why.verdict, shape)) {
                    text += &format!("{secs:6} s  {:?}: {because}\n", why.verdict);
                }
            }
            (Entry::Mark(mark), None) => text += &format!("{secs:6} s  -- {mark}\n"),
            (Entry::Hook { happened, .. }, None) => text += &format!("{secs:6} s  report: {happened:?}\n"),
            _ => {}
        }
    }
    for engine in Kind::ALL {
        let scores = score::judge(case, variant, engine);
        text += &format!("{}: {scores:?}\n", engine.name());
    }
    text
}

#[cfg(test)]
mod tests;
