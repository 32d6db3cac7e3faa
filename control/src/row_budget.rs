//! How many rows one machine may make the control plane write. Pure.
//!
//! Rows are what all workspaces of an account share: where they run out, no alarm is set and nothing ends any more. A
//! machine that was taken over may therefore spend `machine_rows_per_hour` and no more, whichever way it comes: heartbeats
//! over its socket or as calls, receipts, objects of its backups. A boot and a last backup have a reserve besides, so that a
//! machine can end however much it has written before. The arithmetic is in `docs/evidence/plan-budgets.md`.

use crate::policy::Policy;
use crate::record::{Phase, Record};
use ebbtide_api::{Generation, Timestamp};
use serde::{Deserialize, Serialize};

/// After so many rows the budget is written down at the latest; it goes with the record wherever that is saved. What memory
/// forgets in between is charged as if it had been spent: an object that sleeps between two calls gives nothing away.
const SAVE_EVERY: u32 = 8;
/// So much may be spent at once.
const BURST_MS: i64 = 3_600_000;

/// What a machine writes rows for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Occasion {
    /// It works.
    Work,
    /// It boots, or makes its last backup: the reserve may be used.
    Passage,
}

impl Occasion {
    /// What the machine of a workspace is at.
    pub fn of(record: &Record) -> Self {
        match &record.phase {
            Phase::Provisioning { .. }
            | Phase::Booting { .. }
            | Phase::Draining { .. }
            | Phase::Silent { draining: Some(_), .. } => Self::Passage,
            Phase::Requested
            | Phase::Running
            | Phase::Silent { draining: None, .. }
            | Phase::Rescuing { .. }
            | Phase::Destroying { .. }
            | Phase::Asleep
            | Phase::Failed { .. }
            | Phase::Deleted { .. } => Self::Work,
        }
    }
}

/// What a machine has spent. Its JSON is stored.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct RowBudget {
    /// Whose reserve is counted.
    generation: Generation,
    /// When all that was written will be made up for, at the hourly rate.
    even_at: Timestamp,
    /// Rows taken from the reserve.
    reserve_used: u32,
    /// Rows that are not in the stored form yet.
    #[serde(skip)]
    unsaved: u32,
    /// Whether memory reaches back to what is stored.
    #[serde(skip)]
    is_whole: bool,
}

impl RowBudget {
    /// Counts rows that were written for the machine of a generation.
    pub fn spend(
        &mut self,
        rows: u32,
        generation: Generation,
        occasion: Occasion,
        now: Timestamp,
        policy: &Policy,
    ) {
        if rows == 0 {
            return;
        }
        if generation != self.generation {
            (self.generation, self.reserve_used) = (generation, 0);
        }
        let forgotten = if self.is_whole { 0 } else { SAVE_EVERY - 1 };
        self.is_whole = true;
        let rows = rows.saturating_add(forgotten);
        self.unsaved = self.unsaved.saturating_add(rows);
        match occasion {
            Occasion::Passage if self.owes_ms(now) > 0 => {
                self.reserve_used = self.reserve_used.saturating_add(rows);
            }
            Occasion::Passage | Occasion::Work => {
                let each_ms = BURST_MS / i64::from(policy.machine_rows_per_hour.max(1));
                let from = self.even_at.max(now).as_millisecond();
                let even_at = from.saturating_add(each_ms.saturating_mul(rows.into()));
                self.even_at = Timestamp::from_millisecond(even_at).unwrap_or(Timestamp::MAX);
            }
        }
    }

    /// How many seconds a machine has to wait before it may have rows written. `None`: it may now.
    pub fn wait_secs(
        &self,
        generation: Generation,
        occasion: Occasion,
        now: Timestamp,
        policy: &Policy,
    ) -> Option<u64> {
        let used = if generation == self.generation { self.reserve_used } else { 0 };
        let has_reserve = occasion == Occasion::Passage && used < policy.machine_rows_reserve;
        let owes_ms = self.owes_ms(now);
        (owes_ms > 0 && !has_reserve).then(|| u64::try_from(owes_ms).unwrap_or(0).div_ceil(1000))
    }

    /// Whether so much was spent that it is to be written down.
    pub fn is_to_save(&self) -> bool {
        self.unsaved >= SAVE_EVERY
    }

    /// It is written down.
    pub fn saved(&mut self) {
        self.unsaved = 0;
    }

    /// For how long more was spent than may be spent at once, in milliseconds.
    fn owes_ms(&self, now: Timestamp) -> i64 {
        let ahead = self.even_at.as_millisecond().saturating_sub(now.as_millisecond());
        ahead.saturating_sub(BURST_MS).max(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIRST: Generation = Generation(1);

    fn at(secs: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + secs).unwrap()
    }

    /// A machine that takes every row that it may have: how many it gets in so many seconds, forgotten by memory (as a
    /// sleeping object does) after every `kept` rows.
    fn most_rows(seconds: i64, kept: u32, occasion: impl Fn(i64) -> Occasion) -> u32 {
        let policy = Policy::default();
        let mut budget = RowBudget::default();
        let mut stored = budget.clone();
        let (mut written, mut since) = (0, 0);
        for second in 0..seconds {
            for _ in 0..10 {
                let occasion = occasion(second);
                if budget.wait_secs(FIRST, occasion, at(second), &policy).is_some() {
                    break;
                }
                budget.spend(1, FIRST, occasion, at(second), &policy);
                (written, since) = (written + 1, since + 1);
                if budget.is_to_save() {
                    budget.saved();
                    written += 1;
                    budget.spend(1, FIRST, occasion, at(second), &policy);
                    stored = serde_json::from_str(&serde_json::to_string(&budget).unwrap()).unwrap();
                }
                if since >= kept {
                    (budget, since) = (stored.clone(), 0);
                }
            }
        }
        written
    }

    #[test]
    fn a_machine_that_takes_all_it_can_has_an_hours_rows_at_once_and_then_as_many_an_hour() {
        let work = |_| Occasion::Work;
        assert!(most_rows(3_600, u32::MAX, work).abs_diff(4_000) < 20);
        assert!(most_rows(24 * 3_600, u32::MAX, work).abs_diff(50_000) < 200);
    }

    #[test]
    fn an_object_that_forgets_between_two_calls_gives_nothing_away() {
        for kept in [1, 3, 7, 9, 20] {
            let rows = most_rows(24 * 3_600, kept, |_| Occasion::Work);
            assert!(rows <= 50_200, "{rows} rows where memory lasts for {kept}");
        }
    }

    #[test]
    fn a_last_backup_goes_on_where_work_has_spent_everything_and_ends_at_its_reserve() {
        let policy = Policy::default();
        let mut budget = RowBudget::default();
        budget.spend(9_000, FIRST, Occasion::Work, at(0), &policy);
        let wait =
            |budget: &RowBudget, generation, occasion| budget.wait_secs(generation, occasion, at(0), &policy);
        assert_eq!(wait(&budget, FIRST, Occasion::Work), Some((9_007 - 2_000) * 18 / 10 + 1));
        assert_eq!(wait(&budget, FIRST, Occasion::Passage), None);
        budget.spend(policy.machine_rows_reserve - 1, FIRST, Occasion::Passage, at(0), &policy);
        assert_eq!(wait(&budget, FIRST, Occasion::Passage), None);
        budget.spend(1, FIRST, Occasion::Passage, at(0), &policy);
        assert!(wait(&budget, FIRST, Occasion::Passage).is_some());
        assert_eq!(wait(&budget, Generation(2), Occasion::Passage), None, "the next machine has its own");
    }

    /// The rows of a last backup of the whole quota, as docs/evidence/plan-budgets.md adds them up.
    #[test]
    fn the_last_backup_of_a_full_quota_fits_into_the_reserve() {
        let policy = Policy::default();
        let packs = policy.repository_quota_bytes / (8 << 20);
        // A row for so many packs that are admitted (`repository::PACKS_AHEAD`); four for a slice of the receipt's check.
        let admitted = packs.div_ceil(32);
        let checked = packs.div_ceil(15) * 4;
        let ceiling = policy.drain_ceiling.as_secs();
        // Ten seconds: log lines. A minute: a heartbeat that is kept. Five minutes: an index, with its ledger.
        let beside = ceiling / 10 + ceiling / 60 + ceiling / 300 * 6;
        let all = (admitted + checked + beside) * 9 / 8;
        assert_eq!(all, 9_101);
        assert!(all < policy.machine_rows_reserve.into());
    }

    #[test]
    fn what_is_stored_is_pinned() {
        let mut budget = RowBudget::default();
        budget.spend(1, FIRST, Occasion::Work, at(0), &Policy::default());
        let text = r#"{"generation":1,"even_at":"2027-01-15T08:00:14.4Z","reserve_used":0}"#;
        assert_eq!(serde_json::to_string(&budget).unwrap(), text);
        assert_eq!(serde_json::from_str::<RowBudget>("{}").unwrap(), RowBudget::default());
    }
}
