//! The estimate of the next backup, with what it needs of the machine: when the last backup was begun, and whether there
//! are any at all.

pub mod estimator;
pub mod restore_rate;

use crate::control_plane::status::StatusFacts;
use crate::os::clock::Moment;
use crate::os::{atomic_file, disk};
use ebbtide_api::backups::Persistence;
use ebbtide_api::vm::Receipt;
use ebbtide_api::why::{DiskUse, Keeping, NEARLY_FULL_PERCENT};
use ebbtide_api::workspace::StepState;
use estimator::{Estimator, SurveyResult};
use restore_rate::RestoreRate;
use std::path::{Path, PathBuf};

/// When something began.
#[derive(Debug, Clone, Copy)]
pub struct BackupStart {
    at: Moment,
    /// By the wall clock, in seconds since 1970; compared with times of files of this machine only.
    wall: Option<i64>,
}

impl BackupStart {
    /// Now.
    pub fn now() -> Self {
        let since_1970 = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).ok();
        Self { at: Moment::now(), wall: since_1970.and_then(|since| i64::try_from(since.as_secs()).ok()) }
    }
}

/// The estimator, with what it keeps on disk.
pub struct BackupEstimator {
    estimator: Estimator,
    /// When the last backup was begun, or what it restored was in place.
    saved_at: Option<i64>,
    file: PathBuf,
    /// Whether backups are taken at all.
    pub persistence: Persistence,
}

impl BackupEstimator {
    /// Goes on from what is on disk.
    pub fn load(state: &Path, persistence: Persistence) -> Self {
        if let Err(error) = atomic_file::keep_spares(state) {
            tracing::warn!(%error, "no room is kept for what the daemon notes on a full disk");
        }
        let file = state.join("saved-at.json");
        Self { estimator: Estimator::default(), saved_at: atomic_file::read_json(&file), file, persistence }
    }

    /// Begins a survey where one is due on a ready machine: since when changes are new is returned.
    pub fn begin_survey(&mut self, now: Moment, facts: &StatusFacts) -> Option<Option<i64>> {
        if self.persistence == Persistence::None || !facts.ready || !self.estimator.is_due(now) {
            return None;
        }
        let is_restored =
            facts.boot.iter().any(|step| step.name == "restore" && step.state == StepState::Done);
        if self.saved_at.is_none() && is_restored {
            // What was restored is in the store already.
            self.note_saved(BackupStart::now());
        }
        if is_restored {
            self.estimator.restored(self.file.parent().and_then(RestoreRate::read));
        }
        self.estimator.begin(now);
        Some(self.saved_at)
    }

    /// A survey ended.
    pub fn survey_ended(&mut self, found: Option<SurveyResult>, now: Moment) {
        self.estimator.survey_ended(found, now);
    }

    /// A backup is complete.
    pub fn backed_up(&mut self, receipt: &Receipt, begun: BackupStart, now: Moment) {
        self.estimator.backed_up(receipt.bytes_total, receipt.bytes_sent, now.since(begun.at), now);
        self.note_saved(begun);
    }

    /// What becomes of the files.
    pub fn keeping(&self) -> Keeping {
        let estimate = self.estimator.estimate().filter(|_| self.persistence == Persistence::Backup);
        // The state is on the machine's one disk, as the files are.
        let usage = self.file.parent().and_then(disk::usage);
        let used = usage
            .map(|usage| DiskUse { space_percent: usage.space_percent, files_percent: usage.files_percent });
        let is_said = |used: &DiskUse| used.space_percent.max(used.files_percent) >= NEARLY_FULL_PERCENT;
        Keeping { persistence: self.persistence, estimate, disk: used.filter(is_said) }
    }

    fn note_saved(&mut self, begun: BackupStart) {
        self.saved_at = begun.wall;
        if let Err(error) = atomic_file::write_json(&self.file, &begun.wall, 0o600) {
            tracing::warn!(%error, "cannot note when the last backup was begun; estimates will be too high");
        }
    }
}
