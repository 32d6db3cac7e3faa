//! The boot plan's execution: step after step, with time, percentage, retries, a ceiling and log lines.
//!
//! Progress is on disk at every change, so that an agent that was killed goes on where it was. `record` says what to
//! go on with (pure), `steps` how each step is done, `command` runs programs, `git` understands git.

mod git;
mod prune;
mod record;
mod steps;

pub use steps::workspace_of;

use crate::config::Places;
use crate::control_plane::status::{Status, Urgency};
use crate::os::atomic_file;
use crate::os::clock::Moment;
use crate::sleep::backup_process::BackupProcesses;
use crate::sleep::freezer;
use ebbtide_api::vm::{BootPlan, NamedSecret, StepAction};
use ebbtide_api::workspace::StepState;
use record::Record;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// What the steps need.
pub struct Boot {
    /// The steps.
    pub plan: BootPlan,
    /// Where the agent keeps things.
    pub places: Places,
    /// Where progress is told.
    pub status: Arc<Status>,
    /// For restores.
    pub backup_processes: Arc<BackupProcesses>,
    /// The workspace's environment.
    pub secrets: Vec<NamedSecret>,
    /// Where Caddy listens.
    pub listen_port: u16,
    /// The running Caddy, once its step is through.
    pub caddy: Option<crate::access::caddy::Caddy>,
    /// CloudCLI, once its step is through.
    pub cloudcli: Option<crate::cloudcli::start::CloudCli>,
}

/// Why a step did not succeed.
#[derive(Debug)]
struct StepError {
    /// What happened and what to do.
    text: String,
    retry: Retry,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Retry {
    MayHelp,
    Useless,
}

impl StepError {
    fn passing(text: impl std::fmt::Display) -> Self {
        Self { text: text.to_string(), retry: Retry::MayHelp }
    }

    fn lasting(text: impl std::fmt::Display) -> Self {
        Self { text: text.to_string(), retry: Retry::Useless }
    }
}

/// How a step ended well.
enum Success {
    Done(Option<String>),
    NothingToDo(String),
}

/// Where a step tells how far it is.
struct Reporter<'a> {
    status: &'a Status,
    place: usize,
    begun: Moment,
}

impl Reporter<'_> {
    /// So much is done. Nothing is told twice.
    fn percent(&self, percent: u8) {
        self.change(|step| {
            let rises = step.percent.is_none_or(|before| percent > before);
            if rises {
                step.percent = Some(percent.min(100));
            }
            rises
        });
    }

    /// What it does now.
    fn detail(&self, detail: &str) {
        let detail = self.status.clean(detail);
        self.change(|step| {
            let differs = step.detail.as_deref() != Some(&detail);
            step.detail = Some(detail);
            differs
        });
    }

    fn change(&self, change: impl FnOnce(&mut ebbtide_api::workspace::BootStep) -> bool) {
        let elapsed = millis(Moment::now().since(self.begun));
        self.status.update(Urgency::Soon, |facts| {
            if let Some(step) = facts.boot.get_mut(self.place) {
                step.duration_ms = elapsed;
                facts.boot_progress += u64::from(change(step));
            }
        });
    }
}

impl Boot {
    /// Puts into the status how far an earlier life of the agent came: before the first heartbeat, and before [`Self::run`].
    pub fn resume(&self) {
        let record = Record::resume(&self.plan, atomic_file::read_json(&self.record_file()));
        self.status.update(Urgency::Now, |facts| {
            facts.ready = record.is_ready();
            facts.boot_failure = record.failure();
            facts.boot = record.steps;
        });
    }

    /// Works through the plan. On return the status says that the machine is ready, or why not.
    pub fn run(&mut self) {
        if let Some(failure) = self.status.read(|facts| facts.boot_failure.clone()) {
            tracing::error!(%failure, "the boot has failed before");
            return;
        }
        for place in 0..self.plan.steps.len() {
            if !self.pass(place) {
                return;
            }
        }
        self.status.update(Urgency::Now, |facts| facts.ready = true);
        tracing::info!("ready");
    }

    /// Does one step; false where the boot ends here.
    fn pass(&mut self, place: usize) -> bool {
        let Some(planned) = self.plan.steps.get(place).cloned() else { return true };
        let before = self.status.read(|facts| facts.boot.get(place).map(|step| step.state));
        let was_done = matches!(before, Some(StepState::Done | StepState::Skipped));
        if was_done {
            let is_once = matches!(
                planned.action,
                StepAction::Clone { .. } | StepAction::Restore { .. } | StepAction::Prune { .. }
            );
            // A frozen terminal does not answer, and nothing of the user's may start beside it.
            let is_frozen = matches!(planned.action, StepAction::StartTerminal { .. })
                && freezer::is_frozen(&self.places.run);
            if !is_once && !is_frozen {
                // What must stand on every start is looked after again, quietly: the boot itself is through.
                let reporter =
                    Reporter { status: &self.status.clone(), place: usize::MAX, begun: Moment::now() };
                if let Err(error) = self.perform(&planned.action, limit(planned.timeout_secs), &reporter) {
                    tracing::error!(step = %planned.name, error = %error.text, "a finished step does not stand any more");
                }
            }
            return true;
        }
        let begun = Moment::now();
        self.set(place, StepState::Running, begun, None);
        self.status.log(&format!("{}…", planned.title));
        let mut waits = backon::BackoffBuilder::build(
            backon::ExponentialBuilder::default().with_max_delay(Duration::from_secs(15)).without_max_times(),
        );
        let mut left = planned.retries;
        loop {
            let status = Arc::clone(&self.status);
            let reporter = Reporter { status: &status, place, begun };
            match self.perform(&planned.action, limit(planned.timeout_secs), &reporter) {
                Ok(Success::Done(detail)) => {
                    self.set(place, StepState::Done, begun, detail);
                    return true;
                }
                Ok(Success::NothingToDo(detail)) => {
                    self.set(place, StepState::Skipped, begun, Some(detail));
                    return true;
                }
                Err(error) if error.retry == Retry::MayHelp && left > 0 => {
                    left -= 1;
                    self.status.log(&format!("{}: {}; trying again", planned.title, error.text));
                    reporter.detail(&error.text);
                    std::thread::sleep(waits.next().unwrap_or(Duration::from_secs(15)));
                }
                Err(error) => {
                    let text = self.status.clean(&error.text);
                    self.status.log(&format!("{} failed: {text}", planned.title));
                    self.set(place, StepState::Failed, begun, Some(text.clone()));
                    let failure = format!("{}: {text}", planned.title);
                    self.status.update(Urgency::Now, |facts| facts.boot_failure = Some(failure));
                    return false;
                }
            }
        }
    }

    /// Changes a step's state, on disk first.
    fn set(&self, place: usize, state: StepState, begun: Moment, detail: Option<String>) {
        let mut steps = self.status.read(|facts| facts.boot.clone());
        if let Some(step) = steps.get_mut(place) {
            step.state = state;
            step.duration_ms = millis(Moment::now().since(begun));
            step.detail = detail.map(|detail| self.status.clean(&detail));
            if state == StepState::Done && step.percent.is_some() {
                step.percent = Some(100);
            }
        }
        if let Err(error) =
            atomic_file::write_json(&self.record_file(), &Record { steps: steps.clone() }, 0o600)
        {
            tracing::error!(%error, "cannot store how far the boot is");
        }
        self.status.update(Urgency::Now, |facts| {
            facts.boot = steps;
            facts.boot_progress += 1;
        });
    }

    fn record_file(&self) -> PathBuf {
        self.places.state.join("boot.json")
    }
}

fn limit(secs: u64) -> Duration {
    Duration::from_secs(secs.max(1))
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
