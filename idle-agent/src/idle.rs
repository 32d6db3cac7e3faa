//! Whether anything still goes on: reads the machine, has it judged, keeps the clocks on disk.
//!
//! `read` reads, which gives `facts`; `process_kinds` says what each process is; `judge` is pure; `trace` writes down
//! what was read, and judges it again.

pub mod facts;
pub mod judge;
pub mod process_kinds;
pub mod read;
pub mod trace;

use crate::cloudcli::sessions::SessionsClient;
use crate::os::atomic_file;
use crate::os::clock::{Moment, boot_id};
use crate::os::processes::{self, Reader};
use crate::os::users::User;
use ebbtide_api::vm::{VmHold, VmPolicy};
use ebbtide_api::why::{Verdict, Why};
use facts::{Facts, Marks};
use judge::{Judge, Kept, agent_activity, leases};
use read::agent_probe;
use read::container_listeners::ContainerListeners;
use read::hook::Hook;
use read::inotify::InotifyWatchers;
use read::terminal;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;
use trace::{Entry, RecordError, Recorder, trace_context};

/// How often the state is stored at least.
const STORE_EVERY: Duration = Duration::from_secs(60);

/// Why a process cannot be kept alive.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeepError {
    /// It is not there.
    #[error("there is no process {0}")]
    NoProcess(u32),
    /// There are too many leases.
    #[error(transparent)]
    TooMany(#[from] leases::TooMany),
}

/// The watch over activity.
#[derive(Debug)]
pub struct Idle {
    judge: Judge,
    state: PathBuf,
    policy: VmPolicy,
    user: Option<User>,
    reader: Reader,
    container_listeners: ContainerListeners,
    inotify_watchers: InotifyWatchers,
    cloudcli: SessionsClient,
    recorder: Option<Recorder>,
    told: Option<Verdict>,
    /// See [`Self::overlook`].
    overlooked: Vec<String>,
}

impl Idle {
    /// Goes on with the clocks of an earlier life, or starts them.
    pub fn load(state: &Path, policy: VmPolicy, now: Moment) -> Self {
        let kept: Kept = atomic_file::read_json(&file(state)).unwrap_or_default();
        let recorder = Recorder::resume(state, &policy, now).unwrap_or_else(|error| {
            tracing::warn!(%error, "a recording does not go on");
            None
        });
        Self {
            judge: Judge::resume(kept, &boot_id(), now),
            state: state.to_owned(),
            policy,
            user: None,
            reader: Reader::default(),
            container_listeners: ContainerListeners::default(),
            inotify_watchers: InotifyWatchers::default(),
            cloudcli: SessionsClient::new(state),
            recorder,
            told: None,
            overlooked: Vec::new(),
        }
    }

    /// Pseudo-terminals whose input is not looked at from now on: it is told of by itself.
    pub fn overlook(&mut self, pts: Vec<String>) {
        self.overlooked = pts;
    }

    /// Whose jobs count.
    pub fn set_user(&mut self, user: Option<User>) {
        self.user = user;
        // What was not of interest before may be now.
        self.reader = Reader::default();
    }

    /// New durations.
    pub fn set_policy(&mut self, policy: VmPolicy, now: Moment) {
        if self.policy != policy {
            self.record(|recorder| recorder.write(now, &Entry::Policy(policy.clone())));
        }
        self.policy = policy;
    }

    /// How long nothing may happen.
    pub fn timeout_secs(&self) -> u64 {
        self.policy.idle_timeout_secs
    }

    /// How often to look.
    pub fn every(&self) -> Duration {
        judge::every(&self.policy)
    }

    /// Looks at the machine and says why it is awake.
    pub fn tick(&mut self, now: Moment, ready: bool, people: u64, servers: &BTreeSet<u32>) -> Why {
        let facts = self.read(ready, people, servers, now);
        if self.recorder.is_some() {
            let home = self.user.as_ref().map(|user| Path::new(&user.home));
            let context = trace_context::look(facts.processes.as_deref().unwrap_or_default(), home, now);
            self.record(|recorder| recorder.look(now, &facts, context));
        }
        let why = self.judge.judge(now, &facts, &self.policy);
        if self.told.replace(why.verdict) != Some(why.verdict)
            || now.since(self.judge.kept_at()) >= STORE_EVERY
        {
            self.store(now);
        }
        why
    }

    fn read(&mut self, ready: bool, people: u64, servers: &BTreeSet<u32>, now: Moment) -> Facts {
        let proc = Path::new("/proc");
        let uid = self.user.as_ref().map(|user| user.uid);
        let processes = self.reader.read_all(proc, uid).map_err(|error| format!("/proc: {error}"));
        let all = processes.as_deref().unwrap_or_default();
        let mut servers = servers.clone();
        servers.extend(self.container_listeners.look(proc, &process_kinds::of_workspace(all, uid), now));
        let agents = process_kinds::agents_among(all, &servers, uid);
        let jobs = process_kinds::terminal_jobs(all, &servers, uid);
        let home = |uid: u32| match &self.user {
            Some(user) if user.uid == uid => Some(PathBuf::from(&user.home)),
            _ => (uid == 0).then(|| PathBuf::from("/root")),
        };
        let observations = agent_probe::look(&agents, &jobs, home, |process| self.judge.transcript(process));
        let left =
            agent_activity::left_behind(&agents, &observations, |process| self.judge.is_in_turn(process));
        Facts {
            ready,
            user: uid,
            servers,
            watchers: self.inotify_watchers.look(proc, &left, now),
            terminals: terminals(Path::new("/dev/pts"), &self.overlooked)
                .map_err(|error| format!("/dev/pts: {error}")),
            people,
            observations,
            cloudcli: self.cloudcli.look(uid),
            processes,
        }
    }

    /// Takes a lease on the machine; says its name. Whoever holds does not want sleep any more.
    ///
    /// # Errors
    /// There are too many.
    pub fn hold(&mut self, length: Duration, reason: &str, now: Moment) -> Result<String, leases::TooMany> {
        let id = self.judge.hold(length, reason, now)?;
        self.record(|recorder| recorder.write(now, &Entry::Hold { secs: length.as_secs() }));
        self.store(now);
        Ok(id)
    }

    /// Keeps the machine awake while a process lives, so long at most; says the lease's name.
    ///
    /// # Errors
    /// There is no such process, or there are too many leases.
    pub fn keep_alive(&mut self, pid: u32, length: Duration, now: Moment) -> Result<String, KeepError> {
        let found = processes::read_one(Path::new("/proc"), pid).ok_or(KeepError::NoProcess(pid))?;
        let reason = format!("{} ({pid}) runs", found.comm);
        let process = (pid, found.started);
        let id = self.judge.keep_alive(process, length, &reason, now)?;
        self.record(|recorder| recorder.write(now, &Entry::KeepAlive { process, secs: length.as_secs() }));
        self.store(now);
        Ok(id)
    }

    /// Takes a report of an agent in; `process` is whose it is.
    pub fn hear(&mut self, hook: &Hook, process: (u32, u64), now: Moment) {
        self.judge.hear(hook, process, now);
        self.record(|recorder| recorder.hook(hook, process, now));
        if hook.happened.is_worth_storing() {
            self.store(now);
        }
    }

    /// Gives leases of the machine back; says how many.
    pub fn release(&mut self, id: Option<&str>, now: Moment) -> usize {
        let released = self.judge.release(id);
        self.record(|recorder| recorder.write(now, &Entry::Release { id: id.map(str::to_owned) }));
        self.store(now);
        released
    }

    /// Somebody on the machine wants it to sleep: leases taken here end.
    pub fn ask_to_sleep(&mut self, now: Moment) {
        self.judge.ask_to_sleep();
        self.record(|recorder| recorder.write(now, &Entry::SleepAsked));
        self.store(now);
    }

    /// A wish to sleep is over: the control plane decided to go on.
    pub fn forget_sleep(&mut self, now: Moment) {
        if self.judge.forget_sleep() {
            self.record(|recorder| recorder.write(now, &Entry::SleepForgotten));
            self.store(now);
        }
    }

    /// Takes over the holds that the control plane names.
    pub fn set_holds(&mut self, holds: &[VmHold], now: Moment) {
        self.judge.set_holds(holds, now);
        self.record(|recorder| recorder.holds(holds, now));
    }

    /// Begins to record a trace; an earlier one is lost.
    ///
    /// # Errors
    /// It cannot be kept.
    pub fn start_trace(&mut self, now: Moment) -> Result<(), RecordError> {
        // Ended first: the file of one that goes on is about to be removed.
        self.recorder = None;
        self.recorder = Some(Recorder::start(&self.state, &self.policy, now)?);
        Ok(())
    }

    /// Ends the recording; says how long it became.
    ///
    /// # Errors
    /// There is none, or it cannot be kept.
    pub fn stop_trace(&mut self) -> Result<u64, RecordError> {
        let recorder = self.recorder.take().ok_or(RecordError::NotRecording)?;
        let bytes = recorder.bytes();
        recorder.stop()?;
        Ok(bytes)
    }

    /// Writes into the recording where a scene is.
    ///
    /// # Errors
    /// Nothing is recorded, or the mark is not usable.
    pub fn mark_trace(&mut self, name: &str, now: Moment) -> Result<(), RecordError> {
        self.recorder.as_mut().ok_or(RecordError::NotRecording)?.mark(name, now)
    }

    /// The recording that goes on or ended last.
    ///
    /// # Errors
    /// There is none.
    pub fn trace(&self) -> Result<String, RecordError> {
        Recorder::text(&self.state)
    }

    /// Records, where that is wanted. What cannot be written ends the recording.
    fn record(&mut self, write: impl FnOnce(&mut Recorder) -> std::io::Result<()>) {
        let Some(recorder) = &mut self.recorder else { return };
        if let Err(error) = write(recorder) {
            tracing::warn!(%error, "the recording ends");
            self.recorder = None;
        }
    }

    fn store(&mut self, now: Moment) {
        if let Err(error) = atomic_file::write_json(&file(&self.state), self.judge.keep(now), 0o600) {
            tracing::error!(%error, "cannot store the idle clocks");
        }
    }
}

fn file(state: &Path) -> PathBuf {
    state.join("idle.json")
}

fn terminals(pts: &Path, overlooked: &[String]) -> std::io::Result<Option<Marks>> {
    match terminal::read(pts) {
        Ok(marks) => Ok(Some(marks.into_iter().filter(|(name, _)| !overlooked.contains(name)).collect())),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests;
