//! When a snapshot is taken while work goes on: pure. Every so often while something changes, and when one is asked for.

use crate::os::clock::Moment;
use std::time::Duration;

/// Wait after a failed snapshot, doubled with every further failure.
const FIRST_WAIT: Duration = Duration::from_secs(5);
const LONGEST_WAIT: Duration = Duration::from_secs(300);

/// The schedule.
#[derive(Debug)]
pub struct Schedule {
    every: Duration,
    /// Something has stirred since the last snapshot was begun.
    changed: bool,
    last: Moment,
    /// How many snapshots had been asked for when the last one was begun.
    answered: u64,
    wanted: u64,
    /// One was asked for on the machine itself.
    asked_here: bool,
    /// The one that was begun last was.
    answers_here: bool,
    failures: u32,
    not_before: Moment,
}

impl Schedule {
    /// A schedule that begins now. What an earlier life of the agent saw stir is not known, so something has.
    pub fn new(every: Duration, answered: u64, now: Moment) -> Self {
        Self {
            every,
            changed: true,
            last: now,
            answered,
            wanted: answered,
            asked_here: false,
            answers_here: false,
            failures: 0,
            not_before: now,
        }
    }

    /// Changes the rhythm.
    pub fn set_every(&mut self, every: Duration) {
        self.every = every;
    }

    /// So many snapshots have been asked for in all.
    pub fn want(&mut self, wanted: u64) {
        self.wanted = wanted;
    }

    /// One is asked for on the machine itself.
    pub fn ask(&mut self) {
        self.asked_here = true;
    }

    /// Something stirred.
    pub fn stirred(&mut self) {
        self.changed = true;
    }

    /// Whether one is due.
    pub fn is_due(&self, now: Moment) -> bool {
        let asked = self.wanted > self.answered || self.asked_here;
        let by_time = self.changed && now.since(self.last) >= self.every;
        (asked || by_time) && now >= self.not_before
    }

    /// One begins.
    pub fn begin(&mut self, now: Moment) {
        self.last = now;
        self.changed = false;
        self.answers_here = std::mem::take(&mut self.asked_here);
    }

    /// One is complete that was begun when so many had been asked for.
    pub fn succeeded(&mut self, answered: u64) {
        self.answered = self.answered.max(answered);
        self.failures = 0;
    }

    /// One failed: it is tried again, later each time.
    pub fn failed(&mut self, now: Moment) {
        self.changed = true;
        self.asked_here |= std::mem::take(&mut self.answers_here);
        self.last = Moment(0);
        self.not_before = now.plus(FIRST_WAIT.saturating_mul(1 << self.failures.min(8)).min(LONGEST_WAIT));
        self.failures = self.failures.saturating_add(1);
    }

    /// How many have been asked for.
    pub fn wanted(&self) -> u64 {
        self.wanted
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EVERY: Duration = Duration::from_secs(900);

    #[test]
    fn it_is_taken_every_so_often_while_something_changes() {
        let mut schedule = Schedule::new(EVERY, 0, Moment(0));
        assert!(!schedule.is_due(Moment(899_999)));
        assert!(schedule.is_due(Moment(900_000)));
        schedule.begin(Moment(900_000));
        schedule.succeeded(0);
        assert!(!schedule.is_due(Moment(9_000_000)), "nothing has changed");
        schedule.stirred();
        assert!(schedule.is_due(Moment(9_000_000)));
    }

    #[test]
    fn one_that_is_asked_for_is_taken_at_once_and_once() {
        let mut schedule = Schedule::new(EVERY, 2, Moment(0));
        schedule.want(2);
        assert!(!schedule.is_due(Moment(1)));
        schedule.want(3);
        assert!(schedule.is_due(Moment(1)));
        schedule.begin(Moment(1));
        schedule.want(4);
        schedule.succeeded(3);
        assert!(schedule.is_due(Moment(2)), "another was asked for meanwhile");
        schedule.succeeded(4);
        assert!(!schedule.is_due(Moment(3)));
    }

    #[test]
    fn one_that_is_asked_for_on_the_machine_is_taken_once() {
        let mut schedule = Schedule::new(EVERY, 0, Moment(0));
        schedule.ask();
        assert!(schedule.is_due(Moment(1)));
        schedule.begin(Moment(1));
        assert!(!schedule.is_due(Moment(2)));
        schedule.failed(Moment(2));
        assert!(schedule.is_due(Moment(6_000)), "a failed one is tried again by itself");
    }

    #[test]
    fn a_failed_one_is_tried_again_ever_more_rarely() {
        let mut schedule = Schedule::new(EVERY, 0, Moment(0));
        let mut tries = Vec::new();
        for second in (900..3000).step_by(5) {
            if schedule.is_due(Moment(second * 1000)) {
                tries.push(second);
                schedule.begin(Moment(second * 1000));
                schedule.failed(Moment(second * 1000));
            }
        }
        assert_eq!(tries, [900, 905, 915, 935, 975, 1055, 1215, 1515, 1815, 2115, 2415, 2715]);
    }
}
