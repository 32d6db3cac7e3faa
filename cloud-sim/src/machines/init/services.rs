//! The services of a machine: what runs, what comes next, and what ends with what. A small part of systemd.
//!
//! Nothing blocks: the init's loop tells of children that ended and of time that passed.

use std::collections::{BTreeMap, VecDeque};
use std::fs;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use super::spawn;
use super::unit::{self, Exec, KillMode, Kind, Restart, Unit};

pub const UNIT_DIR: &str = "/etc/systemd/system";
/// How often a service that is ending is looked at, besides at each end of a process.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

#[derive(Default)]
pub struct Services {
    services: BTreeMap<String, Service>,
}

struct Service {
    unit: Unit,
    state: State,
    main: Option<Pid>,
    invocation: String,
    recent_starts: VecDeque<Instant>,
    restarts: u32,
}

enum State {
    Inactive,
    Failed {
        why: String,
    },
    /// A command before the main one, or one of a oneshot, runs.
    Starting {
        current: Exec,
        rest: VecDeque<Exec>,
    },
    Running,
    /// A oneshot that counts as active after its end.
    Done,
    /// Its processes are asked to end; those left at `kill_at` are killed.
    Ending {
        kill_at: Option<Instant>,
        next: Next,
    },
    /// Ended, and to be started again.
    Resting {
        until: Instant,
    },
}

enum Next {
    Inactive,
    Failed(String),
    Rest,
    Start,
}

#[derive(Debug, thiserror::Error)]
pub enum ServiceError {
    #[error("Unit {0} not found.")]
    NotFound(String),
    #[error("{name}: {source}")]
    Unusable { name: String, source: unit::UnitError },
}

/// Where a unit's file is.
pub fn unit_path(name: &str) -> String {
    format!("{UNIT_DIR}/{name}")
}

fn load(name: &str) -> Result<Unit, ServiceError> {
    let mut text =
        fs::read_to_string(unit_path(name)).map_err(|_| ServiceError::NotFound(name.to_owned()))?;
    let mut drop_ins: Vec<_> = fs::read_dir(unit_path(name) + ".d")
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path())
        .collect();
    drop_ins.sort();
    for path in drop_ins.iter().filter(|path| path.extension().is_some_and(|extension| extension == "conf")) {
        text += "\n";
        text += &fs::read_to_string(path).unwrap_or_default();
    }
    unit::parse(name, &text).map_err(|source| ServiceError::Unusable { name: name.to_owned(), source })
}

impl Services {
    /// Loads a unit for the first time; a loaded one stays as it is until [`Self::reload`].
    pub fn find(&mut self, name: &str) -> Result<(), ServiceError> {
        if !self.services.contains_key(name) {
            let unit = load(name)?;
            log(name, &format!("loaded{}", ignored(&unit)));
            self.services.insert(name.to_owned(), Service::new(unit));
        }
        Ok(())
    }

    pub fn unit(&self, name: &str) -> Option<&Unit> {
        self.services.get(name).map(|service| &service.unit)
    }

    /// Reads every loaded unit again; what runs goes on running.
    pub fn reload(&mut self) {
        self.services.retain(|name, service| match load(name) {
            Ok(unit) => {
                service.unit = unit;
                true
            }
            Err(error) => {
                log(name, &error.to_string());
                !matches!(service.state, State::Inactive | State::Failed { .. })
            }
        });
    }

    pub fn start(&mut self, name: &str, now: Instant) -> Result<(), ServiceError> {
        self.find(name)?;
        if let Some(service) = self.services.get_mut(name) {
            match &mut service.state {
                State::Inactive | State::Failed { .. } | State::Resting { .. } => service.begin(name, now),
                State::Ending { next, .. } => *next = Next::Start,
                State::Starting { .. } | State::Running | State::Done => {}
            }
        }
        Ok(())
    }

    /// Also right for a unit that is not loaded: it does not run.
    pub fn stop(&mut self, name: &str, now: Instant) {
        if let Some(service) = self.services.get_mut(name) {
            service.stop(name, Next::Inactive, now);
        }
    }

    pub fn restart(&mut self, name: &str, now: Instant) -> Result<(), ServiceError> {
        self.find(name)?;
        if let Some(service) = self.services.get_mut(name) {
            match service.state {
                State::Inactive | State::Failed { .. } | State::Resting { .. } => service.begin(name, now),
                _ => service.stop(name, Next::Start, now),
            }
        }
        Ok(())
    }

    pub fn signal(&self, name: &str, signal: Signal) {
        if let Some(service) = self.services.get(name) {
            for pid in service.processes() {
                let _ = kill_process(pid, signal);
            }
        }
    }

    pub fn stop_all(&mut self, now: Instant) {
        for (name, service) in &mut self.services {
            service.stop(name, Next::Inactive, now);
        }
    }

    pub fn child_ended(&mut self, pid: Pid, success: bool, how: &str, now: Instant) {
        for (name, service) in &mut self.services {
            if service.main == Some(pid) {
                service.main_ended(name, success, how, now);
            }
        }
        self.tick(now);
    }

    /// Does what is due.
    pub fn tick(&mut self, now: Instant) {
        for (name, service) in &mut self.services {
            service.tick(name, now);
        }
    }

    /// When [`Self::tick`] has something to do at the latest.
    pub fn next_tick(&self, now: Instant) -> Option<Instant> {
        self.services
            .values()
            .filter_map(|service| match service.state {
                State::Ending { .. } => Some(now + LOOK_AGAIN),
                State::Resting { until } => Some(until),
                _ => None,
            })
            .min()
    }

    /// Neither starting nor ending.
    pub fn is_settled(&self, name: &str) -> bool {
        self.services
            .get(name)
            .is_none_or(|service| !matches!(service.state, State::Starting { .. } | State::Ending { .. }))
    }

    pub fn all_ended(&self) -> bool {
        self.services.values().all(|service| matches!(service.state, State::Inactive | State::Failed { .. }))
    }

    /// systemd's words for the state: active and sub state.
    pub fn states(&self, name: &str) -> (&'static str, &'static str) {
        match self.services.get(name).map(|service| &service.state) {
            None | Some(State::Inactive) => ("inactive", "dead"),
            Some(State::Failed { .. }) => ("failed", "failed"),
            Some(State::Starting { .. }) => ("activating", "start"),
            Some(State::Running) => ("active", "running"),
            Some(State::Done) => ("active", "exited"),
            Some(State::Ending { .. }) => ("deactivating", "stop-sigterm"),
            Some(State::Resting { .. }) => ("activating", "auto-restart"),
        }
    }

    pub fn why_failed(&self, name: &str) -> Option<&str> {
        match &self.services.get(name)?.state {
            State::Failed { why } => Some(why),
            _ => None,
        }
    }

    pub fn main_pid(&self, name: &str) -> i32 {
        self.services.get(name).and_then(|service| service.main).map_or(0, |pid| pid.as_raw_nonzero().get())
    }

    pub fn restarts(&self, name: &str) -> u32 {
        self.services.get(name).map_or(0, |service| service.restarts)
    }

    pub fn names(&self) -> Vec<String> {
        self.services.keys().cloned().collect()
    }

    pub fn reset_failed(&mut self, name: &str) {
        if let Some(service) = self.services.get_mut(name) {
            service.recent_starts.clear();
            if matches!(service.state, State::Failed { .. }) {
                service.state = State::Inactive;
            }
        }
    }
}

impl Service {
    fn new(unit: Unit) -> Self {
        Self {
            unit,
            state: State::Inactive,
            main: None,
            invocation: String::new(),
            recent_starts: VecDeque::new(),
            restarts: 0,
        }
    }

    fn begin(&mut self, name: &str, now: Instant) {
        if let Some((burst, interval)) = self.unit.start_limit {
            self.recent_starts.retain(|start| now.duration_since(*start) < interval);
            if self.recent_starts.len() >= burst {
                return self.fail(name, "it was started too often (start-limit-hit)".to_owned());
            }
            self.recent_starts.push_back(now);
        }
        self.invocation = new_invocation();
        let commands = self.unit.exec_start_pre.iter().chain(&self.unit.exec_start).cloned().collect();
        self.run_next(name, commands, now);
    }

    fn run_next(&mut self, name: &str, mut commands: VecDeque<Exec>, now: Instant) {
        let Some(current) = commands.pop_front() else {
            return self.ended(name, None, now);
        };
        match spawn::service(name, &self.unit, &current, &self.invocation) {
            Ok(pid) => {
                self.main = Some(pid);
                let is_main = commands.is_empty() && self.unit.kind == Kind::Simple;
                self.state =
                    if is_main { State::Running } else { State::Starting { current, rest: commands } };
                log(name, &format!("started process {}", pid.as_raw_nonzero()));
            }
            Err(error) => {
                self.ended(
                    name,
                    Some(format!("{} cannot be executed: {error}", current.words.join(" "))),
                    now,
                );
            }
        }
    }

    fn main_ended(&mut self, name: &str, success: bool, how: &str, now: Instant) {
        self.main = None;
        log(name, &format!("its process {how}"));
        let why = (!success).then(|| format!("its process {how}"));
        match std::mem::replace(&mut self.state, State::Inactive) {
            State::Starting { current, rest } if success || current.failure_ignored => {
                self.run_next(name, rest, now)
            }
            State::Starting { .. } | State::Running => self.ended(name, why, now),
            other => self.state = other,
        }
    }

    /// The service has ended by itself: with a failure, or well.
    fn ended(&mut self, name: &str, failure: Option<String>, now: Instant) {
        if failure.is_none() && self.unit.kind == Kind::Oneshot && self.unit.remain_after_exit {
            self.state = State::Done;
            return;
        }
        let again = match self.unit.restart {
            Restart::Always => true,
            Restart::OnFailure => failure.is_some(),
            Restart::No => false,
        };
        let next = match failure {
            _ if again => Next::Rest,
            Some(why) => Next::Failed(why),
            None => Next::Inactive,
        };
        self.end_processes(name, next, now);
    }

    fn stop(&mut self, name: &str, next: Next, now: Instant) {
        match &mut self.state {
            State::Inactive | State::Failed { .. } => {}
            State::Resting { .. } => self.state = State::Inactive,
            State::Ending { next: planned, .. } => *planned = next,
            State::Starting { .. } | State::Running | State::Done => self.end_processes(name, next, now),
        }
    }

    /// Asks what is left of the service's processes to end.
    fn end_processes(&mut self, name: &str, next: Next, now: Instant) {
        for pid in self.processes() {
            let signal = if self.unit.kill_mode == KillMode::Mixed && self.main != Some(pid) {
                Signal::KILL
            } else {
                Signal::TERM
            };
            let _ = kill_process(pid, signal);
        }
        self.state = State::Ending { kill_at: self.unit.stop_timeout.map(|timeout| now + timeout), next };
        self.tick(name, now);
    }

    fn processes(&self) -> Vec<Pid> {
        match self.unit.kill_mode {
            KillMode::Process => self.main.into_iter().collect(),
            KillMode::ControlGroup | KillMode::Mixed if self.invocation.is_empty() => Vec::new(),
            KillMode::ControlGroup | KillMode::Mixed => {
                spawn::processes_of(&self.invocation, self.main).into_iter().collect()
            }
        }
    }

    fn tick(&mut self, name: &str, now: Instant) {
        match &self.state {
            State::Resting { until } if *until <= now => {
                self.restarts += 1;
                log(name, "starting again");
                self.begin(name, now);
            }
            State::Ending { kill_at, .. } => {
                let kill = kill_at.is_some_and(|at| at <= now);
                let left = self.processes();
                if kill {
                    for pid in &left {
                        let _ = kill_process(*pid, Signal::KILL);
                    }
                }
                if left.is_empty() && self.main.is_none() {
                    self.finish(name, now);
                }
            }
            _ => {}
        }
    }

    fn finish(&mut self, name: &str, now: Instant) {
        if let State::Ending { next, .. } = std::mem::replace(&mut self.state, State::Inactive) {
            match next {
                Next::Inactive => log(name, "ended"),
                Next::Failed(why) => self.fail(name, why),
                Next::Rest => self.state = State::Resting { until: now + self.unit.restart_after },
                Next::Start => self.begin(name, now),
            }
        }
    }

    fn fail(&mut self, name: &str, why: String) {
        log(name, &format!("failed: {why}"));
        self.state = State::Failed { why };
    }
}

fn new_invocation() -> String {
    let mut bytes = [0_u8; 16];
    // Not a secret: all zeroes would still mark the processes, only not this run's alone.
    let _ = rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty());
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn ignored(unit: &Unit) -> String {
    if unit.ignored.is_empty() {
        String::new()
    } else {
        format!("; ignored here: {}", unit.ignored.join(", "))
    }
}

fn log(name: &str, what: &str) {
    println!("{name}: {what}");
}
