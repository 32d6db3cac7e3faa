//! Boot steps and backup progress as bars, marks and words.

use crate::text;
use ebbtide_api::backups::BackupProgress;
use ebbtide_api::workspace::{BootStep, State, StepState};

/// The boot plan as last heard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BootView {
    /// `3 of 5 steps · 12s`.
    pub summary: String,
    /// Whether it is what matters now, and shown unfolded.
    pub open: bool,
    /// In order.
    pub steps: Vec<StepView>,
}

/// One boot step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StepView {
    /// "Cloning the repository".
    pub title: String,
    /// `pending`, `running`, `done`, `warned`, `skipped` or `failed`, for the mark.
    pub tone: &'static str,
    /// The state in words, for who does not see the mark.
    pub word: &'static str,
    /// How long it took or has taken.
    pub duration: Option<String>,
    /// How much is done.
    pub percent: Option<u8>,
    /// What it does now, or why it failed.
    pub detail: Option<String>,
}

/// A progress bar.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProgressView {
    /// What is going on: "Uploading".
    pub title: &'static str,
    /// `12.1 MB of 38.2 MB · 4.0 MB/s · 1 204 files`.
    pub detail: String,
    /// 0 to 100; `None` where the whole is not known yet.
    pub percent: Option<u8>,
}

/// Shows the boot plan; `None` where no step is known.
pub fn boot(steps: &[BootStep], state: State) -> Option<BootView> {
    if steps.is_empty() {
        return None;
    }
    let ended =
        steps.iter().filter(|step| matches!(step.state, StepState::Done | StepState::Skipped)).count();
    let total: u64 = steps.iter().map(|step| step.duration_ms).fold(0, u64::saturating_add);
    let unfinished = ended < steps.len();
    Some(BootView {
        summary: format!("{ended} of {} steps · {}", steps.len(), text::millis(total)),
        open: unfinished || state == State::Booting,
        steps: steps.iter().map(step).collect(),
    })
}

fn step(step: &BootStep) -> StepView {
    let (tone, word) = match step.state {
        StepState::Done if step.warned => ("warned", "done in part"),
        StepState::Pending => ("pending", "not begun"),
        StepState::Running => ("running", "at work"),
        StepState::Done => ("done", "done"),
        StepState::Skipped => ("skipped", "skipped"),
        StepState::Failed => ("failed", "failed"),
    };
    let at_work = step.state == StepState::Running;
    let begun = matches!(step.state, StepState::Running | StepState::Done | StepState::Failed);
    StepView {
        title: step.title.clone(),
        tone,
        word,
        duration: begun.then(|| text::millis(step.duration_ms)),
        percent: step.percent.filter(|_| at_work).map(|percent| percent.min(100)),
        detail: step.detail.clone().filter(|_| at_work || step.warned || step.state == StepState::Failed),
    }
}

/// Shows a running backup or restore.
pub fn progress(progress: &BackupProgress) -> ProgressView {
    let title = match progress.phase.as_str() {
        "scan" => "Looking for changes",
        "upload" => "Uploading the backup, encrypted",
        "verify" => "Reading the backup back to check it",
        "restore" => "Restoring the files",
        _ => "Backing up",
    };
    let mut parts = vec![match progress.bytes_total {
        Some(total) => format!("{} of {}", text::bytes(progress.bytes_done), text::bytes(total)),
        None => text::bytes(progress.bytes_done),
    }];
    if progress.rate > 0 {
        parts.push(format!("{}/s", text::bytes(progress.rate)));
    }
    parts.push(text::plural(progress.files_done, "file", "files"));
    let begun = progress.bytes_done > 0 || progress.files_done > 0 || progress.bytes_total.is_some();
    let detail = if begun { parts.join(" · ") } else { "Begins…".to_owned() };
    ProgressView { title, detail, percent: percent(progress) }
}

/// Whole percents, rounded down: 100 is shown only when everything is done.
fn percent(progress: &BackupProgress) -> Option<u8> {
    let total = u128::from(progress.bytes_total?);
    let percent = (u128::from(progress.bytes_done) * 100).checked_div(total).unwrap_or(100).min(100);
    u8::try_from(percent).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn upload(done: u64, total: Option<u64>) -> BackupProgress {
        BackupProgress {
            phase: "upload".into(),
            bytes_done: done,
            bytes_total: total,
            files_done: 1,
            rate: 0,
        }
    }

    #[test]
    fn a_bar_is_full_only_when_everything_is_done() {
        let table = [
            (0, Some(10), Some(0)),
            (999, Some(1000), Some(99)),
            (1000, Some(1000), Some(100)),
            (2000, Some(1000), Some(100)),
            (0, Some(0), Some(100)),
            (5, None, None),
            (u64::MAX, Some(u64::MAX), Some(100)),
        ];
        for (done, total, expected) in table {
            assert_eq!(progress(&upload(done, total)).percent, expected, "{done} of {total:?}");
        }
    }

    #[test]
    fn a_machine_that_claims_200_percent_gets_a_full_bar() {
        let wild = BootStep {
            name: "clone".into(),
            title: "Cloning".into(),
            state: StepState::Running,
            duration_ms: 1,
            percent: Some(200),
            detail: None,
            warned: false,
        };
        assert_eq!(step(&wild).percent, Some(100));
    }
}
