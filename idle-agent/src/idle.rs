//! Whether anything still goes on: samples the machine, feeds the pure verdict, keeps its clocks on disk.
//!
//! `process`, `witness` and `terminal` read; `hook`, `progress`, `turns`, `leases` and `verdict` decide. What a restart, a suspension or a slow
//! disk hides is not counted as quiet.

pub mod countdown;
pub mod hook;
pub mod leases;
mod process;
pub mod progress;
mod terminal;
mod turns;
mod verdict;
mod witness;

use crate::clock::{Moment, boot_id};
use crate::durable;
use crate::host::User;
use ebbtide_api::vm::{VmHold, VmPolicy};
use ebbtide_api::why::{Verdict, Why};
use hook::{Happened, Hook};
use leases::Leases;
use process::{Process, Reader};
use progress::{Agent, Sampler};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;
use turns::{Standing, Turns};
use verdict::{Clocks, Evidence, Reading};
use witness::Witness;

/// How often the state is stored at least.
const STORE_EVERY: Duration = Duration::from_secs(60);

/// The kernel tells starts of processes in ticks of 10 ms.
const MILLIS_PER_TICK: u64 = 10;

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

/// What is kept over a restart.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Kept {
    clocks: Clocks,
    leases: Leases,
    #[serde(default)]
    turns: Turns,
    asked_to_sleep: bool,
    /// To which boot the moments belong, and when it was written.
    boot: String,
    at: Moment,
}

/// The watch over activity.
#[derive(Debug)]
pub struct Idle {
    kept: Kept,
    file: PathBuf,
    policy: VmPolicy,
    user: Option<User>,
    reader: Reader,
    sampler: Sampler,
    witness: Witness,
    marks: Option<terminal::Marks>,
    people: u64,
    last: Option<Moment>,
    told: Option<Verdict>,
}

impl Idle {
    /// Goes on with the clocks of an earlier life, or starts them.
    pub fn load(state: &Path, policy: VmPolicy, now: Moment) -> Self {
        let file = state.join("idle.json");
        let mut kept: Kept = durable::read_json(&file).unwrap_or_default();
        let boot = boot_id();
        if kept.boot != boot {
            kept.leases.rebase(kept.at, now);
            // No process of another boot lives.
            kept.turns = Turns::default();
            kept.boot = boot;
        }
        Self {
            kept,
            file,
            policy,
            user: None,
            reader: Reader::default(),
            sampler: Sampler::default(),
            witness: Witness::default(),
            marks: None,
            people: 0,
            last: None,
            told: None,
        }
    }

    /// Whose jobs count.
    pub fn set_user(&mut self, user: Option<User>) {
        self.user = user;
        // What was not of interest before may be now.
        self.reader = Reader::default();
    }

    /// New durations.
    pub fn set_policy(&mut self, policy: VmPolicy) {
        self.policy = policy;
    }

    /// How long nothing may happen.
    pub fn timeout_secs(&self) -> u64 {
        self.policy.idle_timeout_secs
    }

    /// How often to look: a few times within the idle timeout, and not more often than the kernel's marks are worth.
    pub fn every(&self) -> Duration {
        Duration::from_secs((self.policy.idle_timeout_secs / 6).clamp(1, 10))
    }

    /// Looks at the machine and says why it is awake.
    pub fn tick(&mut self, now: Moment, ready: bool, people: u64, servers: &BTreeSet<u32>) -> Why {
        let passed = self.last.map_or(Duration::ZERO, |last| now.since(last));
        let uid = self.user.as_ref().map(|user| user.uid);
        let processes =
            self.reader.read_all(Path::new("/proc"), uid).map_err(|error| format!("/proc: {error}"));
        let counted = credit(passed, self.every());
        let (progress, agents) = match &processes {
            Ok(processes) => {
                let seen = self.sampler.sample(processes, servers, uid, passed);
                let ended = self.kept.leases.drop_ended(|pid, started| is_there(processes, pid, started));
                let works = ended.map(|reason| format!("what was kept alive has ended: {reason}"));
                let reading = match works.or(seen.works) {
                    Some(works) => Reading::Active(works),
                    None => Reading::Quiet("no agent, build or test works".to_owned()),
                };
                (reading, seen.agents)
            }
            Err(error) => (Reading::Unreadable(error.clone()), Vec::new()),
        };
        let standing = match processes {
            Ok(_) => self.turns(counted, &agents),
            Err(error) => Standing { reading: Reading::Unreadable(error), asking: None },
        };
        let terminal = self.terminals(Path::new("/dev/pts"));
        let http = if people > self.people {
            Reading::Active("somebody uses a page of the workspace".to_owned())
        } else {
            Reading::Quiet("nobody uses a page".to_owned())
        };
        self.people = people;
        let evidence = Evidence {
            ready,
            progress,
            turn: standing.reading,
            asking: standing.asking,
            terminal,
            http,
            agents: agents.iter().map(|agent| format!("{} ({})", agent.name, agent.pid)).collect(),
            leases: self.kept.leases.in_force(now),
            asked_to_sleep: self.kept.asked_to_sleep,
        };
        self.last = Some(now);
        let why = self.kept.clocks.tick(counted, &evidence, &self.policy);
        if self.told.replace(why.verdict) != Some(why.verdict) || now.since(self.kept.at) >= STORE_EVERY {
            self.store(now);
        }
        why
    }

    /// Takes a lease on the machine; says its name. Whoever holds does not want sleep any more.
    ///
    /// # Errors
    /// There are too many.
    pub fn hold(&mut self, length: Duration, reason: &str, now: Moment) -> Result<String, leases::TooMany> {
        let id = self.kept.leases.take(length, reason, now)?;
        self.kept.asked_to_sleep = false;
        self.store(now);
        Ok(id)
    }

    /// Keeps the machine awake while a process lives, so long at most; says the lease's name.
    ///
    /// # Errors
    /// There is no such process, or there are too many leases.
    pub fn keep_alive(&mut self, pid: u32, length: Duration, now: Moment) -> Result<String, KeepError> {
        let process = process::read_one(Path::new("/proc"), pid).ok_or(KeepError::NoProcess(pid))?;
        let reason = format!("{} ({pid}) runs", process.comm);
        let id = self.kept.leases.keep((pid, process.started), length, &reason, now)?;
        self.kept.asked_to_sleep = false;
        self.store(now);
        Ok(id)
    }

    /// Takes a report of an agent in; `process` is whose it is.
    pub fn hear(&mut self, hook: &Hook, process: (u32, u64), now: Moment) {
        self.kept.turns.hear(hook, process, now.0 / MILLIS_PER_TICK);
        match hook.happened {
            // What a restart of ours must not forget.
            Happened::Prompted | Happened::Asks(_) | Happened::Stopped(_) => self.store(now),
            Happened::Started
            | Happened::Went
            | Happened::SubagentEnded
            | Happened::Parked
            | Happened::Ended => {}
        }
    }

    /// Gives leases of the machine back; says how many.
    pub fn release(&mut self, id: Option<&str>, now: Moment) -> usize {
        let released = self.kept.leases.release(id);
        self.store(now);
        released
    }

    /// Somebody on the machine wants it to sleep: leases taken here end.
    pub fn ask_to_sleep(&mut self, now: Moment) {
        self.kept.leases.release(None);
        self.kept.asked_to_sleep = true;
        self.store(now);
    }

    /// A wish to sleep is over: the control plane decided to go on.
    pub fn forget_sleep(&mut self, now: Moment) {
        if std::mem::take(&mut self.kept.asked_to_sleep) {
            self.store(now);
        }
    }

    /// Takes over the holds that the control plane names.
    pub fn set_holds(&mut self, holds: &[VmHold], now: Moment) {
        self.kept.leases.set_holds(holds, now);
    }

    fn turns(&mut self, counted: Duration, agents: &[Agent]) -> Standing {
        let Self { kept, witness, user, policy, .. } = self;
        let home = |uid: u32| match &*user {
            Some(user) if user.uid == uid => Some(PathBuf::from(&user.home)),
            _ => (uid == 0).then(|| PathBuf::from("/root")),
        };
        let seen = witness.look(agents, home, |process| kept.turns.transcript(process));
        kept.turns.tick(counted, &seen, policy)
    }

    fn terminals(&mut self, pts: &Path) -> Reading {
        match terminal::read(pts) {
            Ok(marks) => {
                let typed = self.marks.as_ref().and_then(|before| terminal::typed_on(before, &marks));
                let reading = match typed {
                    Some(name) => Reading::Active(format!("somebody types (pts/{name})")),
                    None => Reading::Quiet("nobody types".to_owned()),
                };
                self.marks = Some(marks);
                reading
            }
            // A machine without ptys has nobody at one.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                Reading::Quiet("there is no terminal".to_owned())
            }
            Err(error) => Reading::Unreadable(format!("{}: {error}", pts.display())),
        }
    }

    fn store(&mut self, now: Moment) {
        self.kept.at = now;
        if let Err(error) = durable::write_json(&self.file, &self.kept, 0o600) {
            tracing::error!(%error, "cannot store the idle clocks");
        }
    }
}

fn is_there(processes: &[Process], pid: u32, started: u64) -> bool {
    processes.iter().any(|process| (process.pid, process.started) == (pid, started))
}

/// How much of the time between two looks counts as seen: a machine that was suspended or stalled saw little of it.
fn credit(passed: Duration, every: Duration) -> Duration {
    passed.min(every * 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    const POLICY: VmPolicy = VmPolicy {
        heartbeat_secs: 15,
        idle_timeout_secs: 60,
        unknown_grace_secs: 600,
        waiting_for_human_secs: 7200,
        agent_silence_secs: 1800,
        background_secs: 7200,
        snapshot_every_secs: 900,
    };

    fn quiet_secs(why: &Why) -> u64 {
        why.budgets.iter().find(|budget| budget.name == "idle_timeout").unwrap().used_secs
    }

    /// A watch that sees no user's processes, so that only the scene counts.
    fn watch(directory: &Path, now: u64) -> Idle {
        Idle::load(directory, POLICY, Moment(now))
    }

    #[test]
    fn a_suspended_machine_does_not_become_idle_by_it() {
        let directory = tempfile::tempdir().unwrap();
        let mut idle = watch(directory.path(), 0);
        idle.marks = Some(terminal::Marks::new());
        idle.tick(Moment(0), true, 0, &BTreeSet::new());
        let before = idle.kept.clocks.clone();
        idle.kept.clocks = before;
        assert_eq!(credit(Duration::from_secs(3600), idle.every()), Duration::from_secs(20));
    }

    #[test]
    fn a_restart_keeps_leases_and_clocks_and_a_reboot_keeps_what_was_left() {
        let directory = tempfile::tempdir().unwrap();
        let mut idle = watch(directory.path(), 1_000_000);
        idle.hold(Duration::from_secs(100), "demo", Moment(1_000_000)).unwrap();
        let mut again = watch(directory.path(), 1_030_000);
        assert_eq!(again.kept.leases.in_force(Moment(1_030_000))[0].expires_in_secs, 70);
        // Another boot: its clock begins again, and nobody knows how long the machine was off.
        again.kept.boot = "another".into();
        durable::write_json(&again.file, &again.kept, 0o600).unwrap();
        let mut rebooted = watch(directory.path(), 5_000);
        assert_eq!(rebooted.kept.leases.in_force(Moment(5_000))[0].expires_in_secs, 100);
    }

    #[test]
    fn time_without_the_agent_is_not_counted() {
        let directory = tempfile::tempdir().unwrap();
        let mut idle = watch(directory.path(), 0);
        idle.tick(Moment(0), true, 0, &BTreeSet::new());
        let mut again = watch(directory.path(), 900_000);
        let why = again.tick(Moment(900_000), true, 0, &BTreeSet::new());
        assert_eq!(quiet_secs(&why), 0);
    }

    #[test]
    fn a_hold_takes_back_a_wish_to_sleep() {
        let directory = tempfile::tempdir().unwrap();
        let mut idle = watch(directory.path(), 0);
        idle.ask_to_sleep(Moment(0));
        assert_eq!(idle.tick(Moment(1), true, 0, &BTreeSet::new()).verdict, Verdict::Idle);
        idle.hold(Duration::from_secs(5), "wait", Moment(2)).unwrap();
        assert_ne!(idle.tick(Moment(3), true, 0, &BTreeSet::new()).verdict, Verdict::Idle);
    }
}
