//! The boot plan's execution: step after step, with time, percentage, retries, a ceiling and log lines.
//!
//! Progress is on disk at every change, so that an agent that was killed goes on where it was. `record` says what to
//! go on with (pure), `steps` how each step is done, `command` runs programs, `git` understands git.

mod agents;
mod clone;
mod docker;
mod git;
mod lfs;
pub mod own;
mod packages;
mod prune;
mod record;
mod repository_host;
mod restore_progress;
mod ssh;
mod steps;
mod submodules;

pub use git::NO_ANSWER;
pub use ssh::SignIn;
pub use steps::{tmux_of, workspace_of};

use crate::access::Access;
use crate::access::caddy::Caddy;
use crate::cloudcli::start::CloudCli;
use crate::config::Places;
use crate::containers::DataRoot;
use crate::control_plane::status::{Status, Urgency};
use crate::firewall::Firewall;
use crate::os::atomic_file;
use crate::os::clock::Moment;
use crate::sleep::backup_process::BackupProcesses;
use crate::sleep::freezer;
use crate::user_settings::Settings;
use ebbtide_api::vm::{BootPlan, PlannedStep, StepAction};
use ebbtide_api::workspace::{BootStep, StepState};
use record::Record;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// The longest pause before a finished step that does not stand is tried again.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

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
    /// What the workspace's user works with.
    pub settings: Arc<Settings>,
    /// What Docker keeps, where there is one.
    pub docker: DataRoot,
    /// Where the control plane is.
    pub control_url: String,
    /// Where Caddy listens.
    pub listen_port: u16,
    /// Caddy, from its step on.
    pub caddy: Option<Caddy>,
    /// The packet filter, where the machine is ours.
    pub firewall: Option<Firewall>,
    /// SSH, where the machine is ours.
    pub sign_in: Option<SignIn>,
    /// Whether people may come in.
    pub access: Arc<Access>,
    /// CloudCLI, once its step is through.
    pub cloudcli: Option<CloudCli>,
    /// Steps that were finished and do not stand any more.
    pub unsettled: Vec<Unsettled>,
}

/// A finished step that does not stand any more, and is tried again until it does.
#[derive(Debug)]
pub struct Unsettled {
    place: usize,
    failures: u32,
    again_at: Moment,
    /// Why, as it was told last.
    reason: String,
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
    /// Something is missing, and the boot goes on without it.
    Warned(String),
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

    /// A line that a program of the step says. It counts as progress, so only for steps that end by a limit of their own.
    fn said(&self, line: &str) {
        self.status.log(line);
        self.status.update(Urgency::Soon, |facts| facts.boot_progress += 1);
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

    fn change(&self, change: impl FnOnce(&mut BootStep) -> bool) {
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
        // A record that is there and cannot be read may say that everything is done: nothing is restored over that.
        let (stored, unreadable) = match atomic_file::read_json_or_error(&self.record_file()) {
            Ok(stored) => (stored, None),
            Err(error) => (None, Some(format!("the record of this machine's boot cannot be read: {error}"))),
        };
        let record = Record::resume(&self.plan, stored);
        self.status.update(Urgency::Now, |facts| {
            facts.ready = unreadable.is_none() && record.is_ready();
            facts.boot_failure = unreadable.or_else(|| record.failure());
            facts.boot = record.steps;
        });
    }

    /// Works through the plan. On return the status says that the machine is ready, or why not.
    pub fn run(&mut self) {
        if let Some(failure) = self.status.read(|facts| facts.boot_failure.clone()) {
            tracing::error!(%failure, "the boot has failed before");
            return;
        }
        self.tend_firewall();
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
        if matches!(before, Some(StepState::Done | StepState::Skipped)) {
            if let Err(error) = self.look_again(&planned) {
                let reason = self.status.clean(&error.text);
                self.status.log(&format!(
                    "{}: it does not stand any more, and is tried again: {reason}",
                    planned.title
                ));
                // Caddy looks after itself from here on, and waits for nothing meanwhile.
                if planned.action != StepAction::StartCaddy {
                    self.unsettled.push(Unsettled { place, failures: 1, again_at: Moment::now(), reason });
                }
            }
            return true;
        }
        self.work_through(place, &planned)
    }

    /// Looks after what must stand on every start, quietly: the boot itself is through.
    fn look_again(&mut self, planned: &PlannedStep) -> Result<(), StepError> {
        let is_once = matches!(
            planned.action,
            StepAction::Clone { .. }
                | StepAction::Restore { .. }
                | StepAction::Prune { .. }
                // Another version, or another choice, is for the next start.
                | StepAction::InstallBundles { .. }
                | StepAction::InstallPackages { .. }
                // Docker is a service of the system's from then on.
                | StepAction::InstallDocker { .. }
                | StepAction::RunSetup { .. }
        );
        // A frozen terminal does not answer, and nothing of the user's may start beside it.
        let is_frozen = matches!(planned.action, StepAction::StartTerminal { .. })
            && freezer::is_frozen(&self.places.run);
        if is_once || is_frozen {
            return Ok(());
        }
        let reporter = Reporter { status: &self.status.clone(), place: usize::MAX, begun: Moment::now() };
        self.perform(&planned.action, limit(planned.timeout_secs), &reporter).map(drop)
    }

    /// Does a step for the first time; false where the boot ends here.
    fn work_through(&mut self, place: usize, planned: &PlannedStep) -> bool {
        let begun = Moment::now();
        if let Err(error) = self.set(place, StepState::Running, begun, None) {
            tracing::error!(%error, "cannot store how far the boot is");
        }
        self.status.log(&format!("{}…", planned.title));
        let mut waits = backon::BackoffBuilder::build(
            backon::ExponentialBuilder::default().with_max_delay(Duration::from_secs(15)).without_max_times(),
        );
        let mut left = planned.retries;
        let mut done: Option<Success> = None;
        loop {
            let status = Arc::clone(&self.status);
            let reporter = Reporter { status: &status, place, begun };
            let performed = match done.take() {
                Some(success) => Ok(success),
                None => self.perform(&planned.action, limit(planned.timeout_secs), &reporter),
            };
            let error = match performed.map(|success| (self.finish(place, begun, &success), success)) {
                Ok((Ok(()), _)) => return true,
                // A step that is not known to be done is done again at the next start: a restore over what was worked on
                // since. So it is not done before that is stored.
                Ok((Err(error), success)) => {
                    done = Some(success);
                    StepError::passing(format!("cannot store that it is done: {error}"))
                }
                Err(error) => error,
            };
            if error.retry == Retry::Useless || left == 0 {
                self.fail(place, planned, begun, &error);
                return false;
            }
            left -= 1;
            self.status.log(&format!("{}: {}; trying again", planned.title, error.text));
            reporter.detail(&error.text);
            std::thread::sleep(waits.next().unwrap_or(Duration::from_secs(15)));
        }
    }

    fn finish(&self, place: usize, begun: Moment, success: &Success) -> std::io::Result<()> {
        match success {
            Success::Done(detail) => self.set(place, StepState::Done, begun, detail.clone()),
            Success::NothingToDo(detail) => self.set(place, StepState::Skipped, begun, Some(detail.clone())),
            Success::Warned(detail) => self.store(place, begun, |step| {
                (step.state, step.warned) = (StepState::Done, true);
                step.detail = Some(detail.clone());
            }),
        }
    }

    fn fail(&self, place: usize, planned: &PlannedStep, begun: Moment, error: &StepError) {
        let text = self.status.clean(&error.text);
        self.status.log(&format!("{} failed: {text}", planned.title));
        if let Err(error) = self.set(place, StepState::Failed, begun, Some(text.clone())) {
            tracing::error!(%error, "cannot store that the boot has failed");
        }
        let failure = format!("{}: {text}", planned.title);
        self.status.update(Urgency::Now, |facts| facts.boot_failure = Some(failure));
    }

    /// Whether there is something to look after.
    pub fn is_tended(&self) -> bool {
        self.firewall.is_some()
            || self.caddy.is_some()
            || self.cloudcli.is_some()
            || !self.unsettled.is_empty()
    }

    /// Looks after what must stand while the machine runs; to be called every few seconds.
    pub fn tend(&mut self) {
        self.tend_ssh();
        self.tend_firewall();
        if let Some(news) = self.caddy.as_mut().and_then(Caddy::tend) {
            self.status.log(&news);
        }
        if let Some(news) = self.cloudcli.as_mut().and_then(CloudCli::tend) {
            self.status.log(&news);
        }
        let now = Moment::now();
        let due = |unsettled: &mut Unsettled| now >= unsettled.again_at;
        for mut unsettled in self.unsettled.extract_if(.., due).collect::<Vec<_>>() {
            let Some(planned) = self.plan.steps.get(unsettled.place).cloned() else { continue };
            let Err(error) = self.look_again(&planned) else {
                self.status.log(&format!("{}: it stands again", planned.title));
                continue;
            };
            let reason = self.status.clean(&error.text);
            if reason != unsettled.reason {
                self.status.log(&format!("{}: {reason}; trying again", planned.title));
            }
            let pause = Duration::from_secs(2 << unsettled.failures.min(5)).min(LONGEST_PAUSE);
            unsettled.failures = unsettled.failures.saturating_add(1);
            (unsettled.reason, unsettled.again_at) = (reason, Moment::now().plus(pause));
            self.unsettled.push(unsettled);
        }
    }

    fn tend_firewall(&mut self) {
        if let Some((firewall, sign_in)) = self.firewall.as_mut().zip(self.sign_in.as_ref()) {
            firewall.let_ssh(sign_in.wanted_of_firewall());
        }
        if let Some(news) = self.firewall.as_mut().and_then(Firewall::tend) {
            self.status.log(&news);
        }
    }

    /// Changes a step's state, on disk first. One that cannot be stored as done is not told as done either.
    fn set(
        &self,
        place: usize,
        state: StepState,
        begun: Moment,
        detail: Option<String>,
    ) -> std::io::Result<()> {
        self.store(place, begun, |step| {
            step.state = state;
            step.detail = detail;
        })
    }

    fn store(&self, place: usize, begun: Moment, change: impl FnOnce(&mut BootStep)) -> std::io::Result<()> {
        let mut steps = self.status.read(|facts| facts.boot.clone());
        let mut state = StepState::Pending;
        if let Some(step) = steps.get_mut(place) {
            change(step);
            state = step.state;
            step.duration_ms = millis(Moment::now().since(begun));
            step.detail = step.detail.as_deref().map(|detail| self.status.clean(detail));
            if state == StepState::Done && step.percent.is_some() {
                step.percent = Some(100);
            }
        }
        let stored = atomic_file::write_json(&self.record_file(), &Record { steps: steps.clone() }, 0o600);
        if stored.is_err() && matches!(state, StepState::Done | StepState::Skipped) {
            return stored;
        }
        self.status.update(Urgency::Now, |facts| {
            facts.boot = steps;
            facts.boot_progress += 1;
        });
        stored
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

#[cfg(test)]
impl Boot {
    /// Of a machine whose files are all below a directory, with a user `ebb`, and of whose control plane there is the URL
    /// alone.
    fn of_a_test(directory: &std::path::Path, control_url: &str) -> Self {
        use crate::config::Config;
        use crate::control_plane::api_client::ApiClient;
        use crate::control_plane::machine_key::MachineKey;
        let [config, state, run, etc] = ["config", "state", "run", "etc"].map(|name| directory.join(name));
        std::fs::create_dir(&etc).unwrap();
        std::fs::write(etc.join("passwd"), "ebb:x:1000:1000::/home/ebb:/bin/sh\n").unwrap();
        let places = Places { config, state, run, etc };
        places.create().unwrap();
        let status = Arc::new(Status::new().unwrap().0);
        let config: Config = serde_json::from_value(serde_json::json!({
            "control_url": control_url, "workspace": "abcdefghij", "generation": 1,
        }))
        .unwrap();
        let key = MachineKey::load_or_create(&places.state.join("key")).unwrap();
        let api_client = Arc::new(ApiClient::new(config, key, places.clone()));
        let repository =
            serde_json::from_value(serde_json::json!({"path": "/", "password": "", "host": "abcdefghij"}));
        let nothing = Vec::new;
        let docker = DataRoot::new(directory.join("docker"));
        Self {
            plan: BootPlan { steps: Vec::new() },
            places: places.clone(),
            status: Arc::clone(&status),
            backup_processes: Arc::new(BackupProcesses::new(
                api_client,
                repository.unwrap(),
                places.clone(),
                directory.to_path_buf(),
                nothing(),
                nothing(),
                docker.clone(),
            )),
            docker,
            settings: Arc::new(Settings::new(places, status, Default::default())),
            control_url: control_url.to_owned(),
            listen_port: 0,
            caddy: None,
            firewall: None,
            sign_in: None,
            access: Arc::default(),
            cloudcli: None,
            unsettled: Vec::new(),
        }
    }
}
