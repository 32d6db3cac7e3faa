//! What the next backup would be like, kept up to date while work goes on: pure. A survey now and then says how much there
//! is and how much of it is new; backups that were taken say how fast that goes.
//!
//! The estimate is told with every heartbeat, so that what would not fit is known hours before the end. Must never cost
//! more than a few percent of one processor: the slower a survey, the rarer it is.

use crate::os::clock::Moment;
use ebbtide_api::why::BackupEstimate;
use std::time::Duration;

/// Least time between two surveys.
const EVERY: Duration = Duration::from_secs(600);
/// A survey may take this part of all time at most.
const SHARE: u32 = 30;
/// What a backup is taken to send a second before one was measured: a slow disk, or a slow way to the store.
const ASSUMED_RATE: u64 = 4_000_000;
/// What a backup costs besides, before one was measured.
const ASSUMED_BASE: Duration = Duration::from_secs(5);
/// Backups that sent less say nothing about the rate, and all about what a backup costs besides.
const TELLING: u64 = 4_000_000;

/// What a survey found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Deserialize)]
pub struct SurveyResult {
    /// Bytes of all files.
    pub bytes: u64,
    /// Bytes of those that changed since the time that was named.
    pub new_bytes: u64,
    /// Time ran out: there is more.
    pub at_least: bool,
}

/// What is known, and when to look again.
#[derive(Debug, Default)]
pub struct Estimator {
    found: Option<SurveyResult>,
    rate: Option<u64>,
    base: Option<Duration>,
    restore_rate: Option<u64>,
    not_before: Moment,
    begun: Option<Moment>,
}

impl Estimator {
    /// Whether a survey is due; one that runs is not begun again.
    pub fn is_due(&self, now: Moment) -> bool {
        self.begun.is_none() && now >= self.not_before
    }

    /// A survey begins.
    pub fn begin(&mut self, now: Moment) {
        self.begun = Some(now);
    }

    /// It ended, with or without a result.
    pub fn survey_ended(&mut self, found: Option<SurveyResult>, now: Moment) {
        let took = self.begun.take().map_or(Duration::ZERO, |begun| now.since(begun));
        self.not_before = now.plus(took.saturating_mul(SHARE).max(EVERY));
        self.found = found.or(self.found);
    }

    /// The restore that this machine began with went so fast, in bytes a second.
    pub fn restored(&mut self, rate: Option<u64>) {
        self.restore_rate = rate.filter(|rate| *rate > 0);
    }

    /// A backup is complete: everything was in it.
    pub fn backed_up(&mut self, bytes: u64, sent: u64, took: Duration, now: Moment) {
        let millis = u64::try_from(took.as_millis()).unwrap_or(u64::MAX).max(1);
        if sent >= TELLING {
            let rate = sent.saturating_mul(1000) / millis;
            // The mean of what was known and what is new: one slow day does not make all slow.
            self.rate = Some(self.rate.map_or(rate, |known| known.midpoint(rate)).max(1));
        } else {
            self.base = Some(took);
        }
        self.found = Some(SurveyResult { bytes, new_bytes: 0, at_least: false });
        self.not_before = now.plus(EVERY);
    }

    /// The estimate, once something is known.
    pub fn estimate(&self) -> Option<BackupEstimate> {
        self.found.map(|found| {
            let sending = found.new_bytes / self.rate.unwrap_or(ASSUMED_RATE);
            BackupEstimate {
                bytes: found.bytes,
                new_bytes: found.new_bytes,
                secs: self.base.unwrap_or(ASSUMED_BASE).as_secs().saturating_add(sending).max(1),
                at_least: found.at_least,
                // Before one was measured nothing is said of it: a guess would warn whoever has an hour's lifetime.
                restore_secs: self.restore_rate.map(|rate| found.bytes / rate),
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GB: u64 = 1_000_000_000;

    fn found(new_bytes: u64) -> Option<SurveyResult> {
        Some(SurveyResult { bytes: 2 * new_bytes, new_bytes, at_least: false })
    }

    #[test]
    fn nothing_is_told_before_something_is_known() {
        let mut estimator = Estimator::default();
        assert!(estimator.is_due(Moment(0)));
        assert_eq!(estimator.estimate(), None);
        estimator.begin(Moment(0));
        assert!(!estimator.is_due(Moment(0)), "one runs");
        estimator.survey_ended(found(8 * GB), Moment(0));
        let estimate = estimator.estimate().unwrap();
        assert_eq!((estimate.bytes, estimate.new_bytes, estimate.secs), (16 * GB, 8 * GB, 5 + 2000));
    }

    #[test]
    fn backups_that_were_taken_say_how_fast_it_goes() {
        let mut estimator = Estimator::default();
        estimator.backed_up(GB, GB, Duration::from_secs(10), Moment(0));
        estimator.backed_up(GB, 100, Duration::from_secs(3), Moment(0));
        assert_eq!(estimator.estimate().map(|estimate| (estimate.new_bytes, estimate.secs)), Some((0, 3)));
        estimator.survey_ended(found(20 * GB), Moment(0));
        assert_eq!(estimator.estimate().unwrap().secs, 3 + 200);
        estimator.backed_up(GB, GB, Duration::from_secs(40), Moment(0));
        estimator.survey_ended(found(10 * GB), Moment(0));
        assert_eq!(estimator.estimate().unwrap().secs, 3 + 160, "100 and 25 MB/s make 62.5");
    }

    #[test]
    fn a_restore_of_all_files_takes_as_long_as_the_last_one_did() {
        let mut estimator = Estimator::default();
        estimator.survey_ended(found(20 * GB), Moment(0));
        assert_eq!(estimator.estimate().unwrap().restore_secs, None);
        estimator.restored(Some(20_000_000));
        assert_eq!(estimator.estimate().unwrap().restore_secs, Some(2_000));
        estimator.restored(Some(0));
        assert_eq!(estimator.estimate().unwrap().restore_secs, None);
    }

    #[test]
    fn a_survey_that_takes_long_is_rare_and_one_that_fails_changes_nothing() {
        let mut estimator = Estimator::default();
        estimator.begin(Moment(0));
        estimator.survey_ended(found(GB), Moment(100_000));
        assert!(!estimator.is_due(Moment(3_099_999)));
        assert!(estimator.is_due(Moment(3_100_000)));
        estimator.begin(Moment(3_100_000));
        estimator.survey_ended(None, Moment(3_100_500));
        assert_eq!(estimator.estimate().unwrap().new_bytes, GB);
        assert!(!estimator.is_due(Moment(3_200_000)));
        assert!(estimator.is_due(Moment(3_701_000)));
    }
}
