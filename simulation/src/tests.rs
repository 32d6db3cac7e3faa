//! The walks themselves are run by `scripts/simulate`; here is what makes their verdicts worth something.

use super::*;
use std::collections::BTreeSet;

#[test]
fn a_walk_is_determined_by_its_seed() {
    for seed in 1..12 {
        let (first, second) = (Walker.walk(seed), Walker.walk(seed));
        assert_eq!(first.report, second.report);
        assert_eq!(first.struck, second.struck);
    }
}

#[test]
fn a_replay_of_all_that_struck_is_the_same_walk() {
    for seed in 1..12 {
        let first = Walker.walk(seed);
        let again = Walker.replay(seed, first.struck.iter().copied().collect());
        assert_eq!(first.report, again.report);
        assert!(!again.trace.is_empty());
    }
}

#[test]
fn a_walk_that_nothing_disturbs_works_idles_and_sleeps() {
    for seed in 1..12 {
        let calm = Walker.replay(seed, BTreeSet::new());
        assert_eq!(calm.broken, None);
        assert_eq!((calm.report.machines, calm.report.slept), (1, 1), "{}", calm.trace.join("\n"));
    }
}
