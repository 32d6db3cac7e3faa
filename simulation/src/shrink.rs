//! Makes a broken walk short: leaves disruptions out as long as the same promise still breaks (Zeller's `ddmin`).

use super::faults::Disruption;
use super::walk::Outcome;
use std::collections::BTreeSet;

/// Walks that one shrinking may take.
const MOST_TRIALS: u32 = 3_000;

/// The fewest disruptions found that still break the promise that `broken` broke, and the walk that they make.
/// `replay` walks with those disruptions alone.
pub fn shrink(replay: impl Fn(BTreeSet<Disruption>) -> Outcome, broken: Outcome) -> Outcome {
    let Some(promise) = broken.broken.as_ref().map(|broken| broken.promise) else { return broken };
    let mut best = broken;
    let mut trials = 0;
    let mut parts = 2;
    while best.struck.len() > 1 && trials < MOST_TRIALS {
        let kept: Vec<Disruption> = best.struck.clone();
        let size = kept.len().div_ceil(parts);
        let mut smaller = None;
        for from in (0..kept.len()).step_by(size) {
            trials += 1;
            let without: BTreeSet<Disruption> =
                kept.iter().take(from).chain(kept.iter().skip(from + size)).copied().collect();
            let tried = replay(without);
            if tried.broken.as_ref().is_some_and(|broken| broken.promise == promise)
                && tried.struck.len() < kept.len()
            {
                smaller = Some(tried);
                break;
            }
        }
        match smaller {
            Some(found) => {
                best = found;
                parts = parts.saturating_sub(1).max(2);
            }
            None if size == 1 => break,
            None => parts = (parts * 2).min(kept.len()),
        }
    }
    let none = replay(BTreeSet::new());
    if none.broken.as_ref().is_some_and(|broken| broken.promise == promise) { none } else { best }
}

/// The command that walks a shrunk walk again.
pub fn replay_command(seed: u64, struck: &[Disruption]) -> String {
    let names: Vec<String> = struck.iter().map(ToString::to_string).collect();
    let names = if names.is_empty() { "none".to_owned() } else { names.join(",") };
    format!("scripts/simulate --replay {seed} --only {names}")
}

#[cfg(test)]
mod tests {
    use super::super::{Broken, Kind, Promise, Report};
    use super::*;

    fn outcome(struck: BTreeSet<Disruption>, broken: Option<Promise>) -> Outcome {
        let broken = broken.map(|promise| Broken { promise, what: String::new() });
        Outcome { report: Report::default(), struck: struck.into_iter().collect(), broken, trace: Vec::new() }
    }

    #[test]
    fn what_does_not_matter_is_left_out_and_what_breaks_another_promise_is_no_witness() {
        let [one, two, other]: [Disruption; 3] =
            ["crash-after:30", "owner:3", "trouble:0"].map(|name| name.parse().expect("a name"));
        let replay = |with: BTreeSet<Disruption>| {
            let both = with.contains(&one) && with.contains(&two);
            let promise = if both {
                Some(Promise::WorkIsKept)
            } else {
                with.contains(&other).then_some(Promise::EverythingRests)
            };
            outcome(with, promise)
        };
        let mut all: BTreeSet<Disruption> =
            (0..60).map(|occasion| Disruption { kind: Kind::CrashAfter, occasion }).collect();
        all.extend([two, other]);
        let short = shrink(replay, replay(all));
        assert_eq!(short.struck, [two, one]);
        assert_eq!(short.broken.map(|broken| broken.promise), Some(Promise::WorkIsKept));
    }
}
