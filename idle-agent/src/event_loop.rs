//! The daemon's one loop: events in, the pure parts asked, their actions carried out. It waits for nothing but events
//! and time; backups and deliveries run in threads of their own and come back as events.

mod draining;
mod jobs;
mod receipt_parts;
mod requests;

use crate::access::Access;
use crate::control_plane::api_client::{ApiClient, CallError};
use crate::control_plane::status::{Status, Urgency};
use crate::control_socket::{Reply, Request};
use crate::idle::Idle;
use crate::os::atomic_file;
use crate::os::clock::{Moment, ToldTime};
use crate::os::mutex::{lock, write};
use crate::os::users::User;
use crate::ports::Servers;
use crate::ports::cut::cut_soon;
use crate::sleep::backup_estimate::estimator::SurveyResult;
use crate::sleep::backup_estimate::{BackupEstimator, BackupStart};
use crate::sleep::backup_process::{BackupProcessError, BackupProcesses};
use crate::sleep::countdown::Countdown;
use crate::sleep::drain::{self, Drain, FoundFrozen};
use crate::sleep::freezer::Freezer;
use crate::sleep::snapshot_schedule::Schedule;
use crate::sleep::terminals::tell_terminals;
use crate::terminal::{End, Terminals};
use crate::user_settings::Settings;
use ebbtide_api::backups::Persistence;
use ebbtide_api::vm::{DesiredMachineState, Instruction, Receipt, ReceiptAnswer, ReceiptStatus, VmPolicy};
use ebbtide_api::why::Verdict;
use jobs::Jobs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender};
use std::time::Duration;

/// How often a drain looks whether something is to be tried again.
const DRAIN_TICK: Duration = Duration::from_millis(200);

/// What the loop hears.
#[derive(Debug)]
pub enum Event {
    /// From the control plane, heard at that moment.
    Instruction(Box<Instruction>, Moment),
    /// A newer machine has taken over.
    Fenced,
    /// The boot plan has come far enough that the user exists.
    User(User),
    /// From the machine's own command line.
    Request(Request, Sender<Reply>),
    /// The backup with this number ended.
    BackedUp(u64, Result<Box<Receipt>, BackupProcessError>),
    /// A look at what a backup would hold ended.
    SurveyEnded(Option<SurveyResult>),
    /// The settings were fetched and written, or could not be.
    SettingsFetched,
    /// The answer to the drain's receipt.
    Answered(Result<ReceiptAnswer, CallError>),
    /// The last answer to a receipt that was delivered while work goes on, of a snapshot that was begun when so many had
    /// been asked for.
    Delivered(Box<Receipt>, u64, Result<ReceiptAnswer, CallError>),
}

/// What the backup that runs is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Purpose {
    /// A snapshot while work goes on; answers so many that were asked for.
    Snapshot(u64),
    /// A drain.
    Drain,
}

/// The backup that runs.
#[derive(Debug)]
struct Running {
    number: u64,
    purpose: Purpose,
    begun: BackupStart,
}

/// The loop's state.
pub struct EventLoop {
    status: Arc<Status>,
    access: Arc<Access>,
    terminals: Option<Arc<Terminals>>,
    servers: Servers,
    idle: Idle,
    countdown: Countdown,
    drain: Drain,
    freezer: Freezer,
    schedule: Schedule,
    jobs: Jobs,
    running: Option<Running>,
    backup_estimator: BackupEstimator,
    user: Option<User>,
    snapshot_file: PathBuf,
    settings: Arc<Settings>,
    is_fetching_settings: bool,
}

/// What the loop is made of.
pub struct Parts {
    /// Told to the control plane.
    pub status: Arc<Status>,
    /// Who may come in.
    pub access: Arc<Access>,
    /// Terminals in browsers, where the machine has any.
    pub terminals: Option<Arc<Terminals>>,
    /// Processes that listen.
    pub servers: Servers,
    /// Calls.
    pub api_client: Arc<ApiClient>,
    /// Backups.
    pub backup_processes: Arc<BackupProcesses>,
    /// Durations.
    pub policy: VmPolicy,
    /// Whether backups are taken at all.
    pub persistence: Persistence,
    /// Where state is kept.
    pub state: PathBuf,
    /// Stops what runs.
    pub freezer: Freezer,
    /// Directories that are backed up.
    pub include: Vec<PathBuf>,
    /// Where the threads of jobs send their ends.
    pub events: Sender<Event>,
    /// What the workspace's user works with.
    pub settings: Arc<Settings>,
}

impl EventLoop {
    /// Goes on from what is on disk.
    pub fn new(parts: Parts) -> Self {
        let now = Moment::now();
        let frozen = if parts.freezer.found_frozen() { FoundFrozen::Yes } else { FoundFrozen::No };
        if frozen == FoundFrozen::Yes {
            tracing::warn!("found frozen; waiting for what the control plane wants");
            write(&parts.access.door).closed = true;
        }
        let snapshot_file = parts.state.join("snapshots.json");
        let answered = atomic_file::read_json(&snapshot_file).unwrap_or(0);
        let event_loop = Self {
            idle: Idle::load(&parts.state, parts.policy.clone(), now),
            countdown: Countdown::default(),
            drain: Drain::new(frozen),
            freezer: parts.freezer,
            schedule: Schedule::new(Duration::from_secs(parts.policy.snapshot_every_secs), answered, now),
            jobs: Jobs::new(
                parts.api_client,
                parts.backup_processes,
                Arc::clone(&parts.status),
                parts.include,
                parts.events,
            ),
            running: None,
            backup_estimator: BackupEstimator::load(&parts.state, parts.persistence),
            user: None,
            snapshot_file,
            settings: parts.settings,
            is_fetching_settings: false,
            status: parts.status,
            access: parts.access,
            terminals: parts.terminals,
            servers: parts.servers,
        };
        event_loop.tell_phase();
        event_loop
    }

    /// Runs until the machine is fenced.
    pub fn run(mut self, events: &Receiver<Event>) {
        let mut look_at = Moment::now();
        loop {
            let now = Moment::now();
            if now >= look_at {
                self.look(now);
                look_at = now.plus(self.idle.every());
            }
            self.drain_step(drain::Event::Tick);
            self.snapshot_if_due(now);
            self.survey_if_due(now);
            let until =
                if self.drain.phase().is_some() { look_at.min(now.plus(DRAIN_TICK)) } else { look_at };
            match events.recv_timeout(until.since(Moment::now())) {
                Ok(Event::Fenced) => {
                    self.jobs.stop();
                    return;
                }
                Ok(event) => self.take(event),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    fn take(&mut self, event: Event) {
        let now = Moment::now();
        match event {
            Event::Instruction(instruction, heard_at) => self.instruct(&instruction, heard_at, now),
            Event::User(user) => {
                self.idle.set_user(Some(user.clone()).filter(|user| user.uid != 0));
                self.user = Some(user);
            }
            Event::Request(Request::GitCredential { protocol, host }, reply) => {
                self.jobs.git_credential(protocol, host, reply);
            }
            Event::Request(asked, reply) => {
                let answer = self.answer(asked, now);
                // The command may have given up waiting.
                let _ = reply.send(answer);
            }
            Event::BackedUp(number, result) => self.backed_up(number, result, now),
            Event::SettingsFetched => self.is_fetching_settings = false,
            Event::SurveyEnded(found) => self.backup_estimator.survey_ended(found, now),
            Event::Answered(Ok(answer)) => {
                if answer.status == ReceiptStatus::Refused {
                    let problem = answer.problem.as_deref().unwrap_or("it did not say why");
                    self.trouble(&format!("the control plane refused the receipt: {problem}"));
                }
                self.drain_step(drain::Event::Answered(answer.status));
            }
            Event::Answered(Err(error)) => {
                self.trouble(&format!("the receipt is not delivered: {error}"));
                self.drain_step(drain::Event::NotDelivered);
            }
            Event::Delivered(receipt, asked, answer) => self.delivered(&receipt, asked, answer),
            Event::Fenced => {}
        }
    }

    fn instruct(&mut self, instruction: &Instruction, heard_at: Moment, now: Moment) {
        if let Some(policy) = &instruction.policy {
            self.idle.set_policy(policy.clone(), now);
            self.schedule.set_every(Duration::from_secs(policy.snapshot_every_secs));
        }
        self.idle.set_holds(&instruction.holds, now);
        let left = {
            let mut door = write(&self.access.door);
            door.open |= instruction.open;
            if let Some(secs) = instruction.control_time_secs {
                door.time = Some(ToldTime::new(secs, heard_at));
            }
            door.admit(
                &instruction.public_ports,
                instruction.access.as_ref().zip(instruction.control_time_secs),
            )
        };
        if left.terminal {
            self.end_terminals(End::Revoked);
        }
        if let Some(run) = self.access.run().filter(|_| !left.servers.is_empty()) {
            cut_soon(run, left.servers);
        }
        self.fetch_settings(instruction.settings_revision);
        self.schedule.want(instruction.snapshots_wanted);
        let is_ready = self.status.read(|facts| facts.ready);
        match instruction.desired {
            DesiredMachineState::Drain | DesiredMachineState::DrainNow if !is_ready => {
                // A backup of a machine that is half restored would stand for the whole.
                self.trouble("nothing is backed up before the machine has finished starting");
            }
            desired => self.drain_step(drain::Event::Desired(desired)),
        }
    }

    /// Fetches settings that are others than those which are known. Not before there is a user to write them for, and not
    /// while the last backup is under way: the next instruction says so again.
    fn fetch_settings(&mut self, revision: Option<u64>) {
        let is_news = revision.is_some_and(|revision| revision != self.settings.revision());
        let Some(user) = self.user.clone().filter(|_| is_news && !self.is_fetching_settings) else { return };
        if self.drain.phase().is_none() {
            self.is_fetching_settings = true;
            self.jobs.fetch_settings(Arc::clone(&self.settings), user);
        }
    }

    fn end_terminals(&self, why: End) {
        if let Some(terminals) = &self.terminals {
            terminals.end_all(why);
        }
    }

    /// Looks whether something goes on, and tells.
    fn look(&mut self, now: Moment) {
        let ready = self.status.read(|facts| facts.ready);
        let servers = lock(&self.servers).clone();
        let (typed, own_pts) = self
            .terminals
            .as_ref()
            .map_or((0, Vec::new()), |terminals| (terminals.typed(), terminals.own_pts()));
        self.idle.overlook(own_pts);
        let people = self.access.people() + typed;
        let mut why = self.idle.tick(now, ready, people, &servers);
        why.keeping = Some(self.backup_estimator.keeping());
        if why.verdict == Verdict::Active && ready {
            self.schedule.stirred();
        }
        let before = self.status.read(|facts| facts.why.as_ref().map(|why| why.verdict));
        let urgency = if before == Some(why.verdict) { Urgency::Whenever } else { Urgency::Now };
        if urgency == Urgency::Now {
            tracing::info!(verdict = ?why.verdict, because = %why.because.join("; "), "verdict");
        }
        if ready && let Some(left) = self.countdown.warning(why.sleeps_in_secs, self.idle.timeout_secs()) {
            let then = match self.backup_estimator.persistence {
                Persistence::Backup => "sleeps",
                Persistence::None => "ends, with all its files and without a backup,",
            };
            let text =
                format!("This workspace {then} in {left} if nothing happens. To stay: ebb hold 30m \"why\"");
            tell_terminals(self.user.as_ref(), &text);
        }
        self.status.update(urgency, |facts| facts.why = Some(why));
    }

    fn backed_up(&mut self, number: u64, result: Result<Box<Receipt>, BackupProcessError>, now: Moment) {
        let Some(running) = self.running.take_if(|running| running.number == number) else {
            // Stopped meanwhile: nobody waits for it.
            return;
        };
        let purpose = running.purpose;
        if let Ok(receipt) = &result {
            self.backup_estimator.backed_up(receipt, running.begun, now);
            if receipt.packs_new.len() >= receipt_parts::MANY * self.jobs.receipt_packs() {
                self.status.log(&format!(
                    "the receipt of this backup names {} packs; it is delivered in parts, and checking it takes minutes",
                    receipt.packs_new.len()
                ));
            }
        }
        // A job that broke off has not said so itself.
        self.status.update(Urgency::Whenever, |facts| facts.backup = None);
        match (&result, purpose) {
            (Ok(_), _) => self.status.update(Urgency::Now, |facts| facts.backup_trouble = None),
            (Err(error), _) => self.trouble(&format!("the backup failed: {error}")),
        }
        match (result, purpose) {
            (Ok(receipt), Purpose::Drain) => self.drain_step(drain::Event::BackedUp(receipt)),
            (Err(_), Purpose::Drain) => self.drain_step(drain::Event::BackupFailed),
            (Ok(receipt), Purpose::Snapshot(answered)) => {
                self.schedule.succeeded(answered);
                self.jobs.deliver(receipt, answered);
            }
            (Err(_), Purpose::Snapshot(_)) => self.schedule.failed(now),
        }
    }

    fn delivered(&mut self, receipt: &Receipt, asked: u64, answer: Result<ReceiptAnswer, CallError>) {
        match answer {
            Ok(answer) if answer.status == ReceiptStatus::Verified => {
                self.status.log(&format!("snapshot {} is stored and verified", receipt.snapshot));
                self.jobs.remember_packs(receipt);
                // Not before it counts: an agent that dies until then takes it again in its next life.
                if let Err(error) = note_taken(&self.snapshot_file, asked) {
                    tracing::error!(%error, "cannot store which snapshot was taken");
                }
            }
            Ok(answer) if answer.status == ReceiptStatus::Refused => {
                let problem = answer.problem.unwrap_or_default();
                self.trouble(&format!("the control plane refused the receipt: {problem}"));
                self.schedule.failed(Moment::now());
            }
            Ok(_) => tracing::warn!(
                "the control plane is still checking a receipt; the next one repeats its packs"
            ),
            Err(error) => {
                // The files are stored, and count for nothing before their receipt is there.
                self.trouble(&format!("the receipt of a backup is not delivered: {error}"));
                self.schedule.failed(Moment::now());
            }
        }
    }

    fn snapshot_if_due(&mut self, now: Moment) {
        let is_ready = self.status.read(|facts| facts.ready);
        let is_kept = self.backup_estimator.persistence == Persistence::Backup;
        let is_free = self.running.is_none() && self.drain.phase().is_none();
        if is_kept && is_ready && is_free && self.schedule.is_due(now) {
            self.schedule.begin(now);
            self.back_up(Purpose::Snapshot(self.schedule.wanted()));
        }
    }

    fn back_up(&mut self, purpose: Purpose) {
        let begun = BackupStart::now();
        self.running = Some(Running { number: self.jobs.back_up(), purpose, begun });
    }

    /// Looks, now and then, at what a backup would hold.
    fn survey_if_due(&mut self, now: Moment) {
        if self.running.is_some() || self.drain.phase().is_some() {
            return;
        }
        let backup_estimator = &mut self.backup_estimator;
        if let Some(since) = self.status.read(|facts| backup_estimator.begin_survey(now, facts)) {
            self.jobs.survey(since);
        }
    }

    fn trouble(&self, text: &str) {
        let text = self.status.clean(text);
        let is_news = self.status.read(|facts| facts.backup_trouble.as_deref() != Some(&text));
        if is_news {
            self.status.log(&text);
            self.status.update(Urgency::Now, |facts| facts.backup_trouble = Some(text));
        }
    }
}

/// Notes that the snapshots up to this number are taken. Of two deliveries the older may be answered last: the number
/// never falls, or what was taken would be taken again.
fn note_taken(file: &Path, asked: u64) -> std::io::Result<()> {
    let noted = atomic_file::read_json(file).unwrap_or(0);
    atomic_file::write_json(file, &asked.max(noted), 0o600)
}

#[cfg(test)]
mod tests;
