//! The brake on what a machine has written: its rows are counted where they are written, and a machine that has spent its
//! budget waits (`ebbtide_control::row_budget`).
//!
//! Rows of alarms and of the index count too: the machine brings them about. Rows of its owner's commands are few, and
//! count with them.

use super::{Inner, log, now, refuse_for};
use crate::log::Level;
use ebbtide_api::{ErrorCode, Timestamp};
use ebbtide_control::record::Record;
use ebbtide_control::row_budget::{Occasion, RowBudget};
use worker::{Response, Result};

impl Inner {
    /// How long the machine has to wait before anything is written for it.
    ///
    /// # Errors
    /// What SQLite or the configuration says.
    pub(super) fn row_wait_secs(&self, record: &Record) -> Result<Option<u64>> {
        let config = self.config()?;
        self.with_row_budget(|budget| {
            budget.wait_secs(record.generation, Occasion::of(record), now(), &config.policy)
        })
    }

    /// The refusal of a machine that has to wait, where it has to.
    ///
    /// # Errors
    /// As [`Inner::row_wait_secs`].
    pub(super) fn refuse_rows(&self, record: &Record) -> Result<Option<Response>> {
        let message =
            "this machine has had so many rows written that it has to wait: all workspaces share them";
        let Some(wait_secs) = self.row_wait_secs(record)? else { return Ok(None) };
        refuse_for(ErrorCode::RateLimited, message, Some(wait_secs)).map(Some)
    }

    /// Counts what has been written since the last time against the machine. Called after whatever writes.
    ///
    /// # Errors
    /// What SQLite or the configuration says.
    pub(super) fn charge_rows(&self, record: &Record) -> Result<()> {
        let (store, config) = (self.store()?, self.config()?);
        let (rows, now, occasion) = (store.take_written(), now(), Occasion::of(record));
        self.with_row_budget(|budget| {
            let waits = |budget: &RowBudget| {
                budget.wait_secs(record.generation, occasion, now, &config.policy).is_some()
            };
            let waited = waits(budget);
            budget.spend(rows, record.generation, occasion, now, &config.policy);
            if !waited && waits(budget) {
                let message = "a machine has spent its rows and waits";
                log::trouble(Level::Warn, record, message, &"POLICY machine_rows_per_hour bounds them");
            }
            if budget.is_to_save() {
                store.save_row_budget(budget)?;
                budget.saved();
            }
            Ok(())
        })?
    }

    /// Saves the record, and with it what the machine has spent, this row included.
    ///
    /// # Errors
    /// What SQLite or the configuration says.
    pub(super) fn save_and_charge(&self, record: &Record, alarm_at: Option<Timestamp>) -> Result<()> {
        let (store, config) = (self.store()?, self.config()?);
        let rows = store.take_written().saturating_add(1);
        self.with_row_budget(|budget| {
            budget.spend(rows, record.generation, Occasion::of(record), now(), &config.policy);
            store.save(record, alarm_at, budget)?;
            budget.saved();
            Ok(())
        })?
    }

    fn with_row_budget<T>(&self, use_it: impl FnOnce(&mut RowBudget) -> T) -> Result<T> {
        let mut kept = self.row_budget.borrow_mut();
        let budget = match kept.as_mut() {
            Some(budget) => budget,
            None => kept.insert(self.store()?.row_budget()?),
        };
        Ok(use_it(budget))
    }
}
