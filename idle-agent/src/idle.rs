//! Whether anything still goes on: samples the machine, feeds the pure verdict, keeps its clocks on disk.
//!
//! `process` and `terminal` read, `progress`, `leases` and `verdict` decide. What a restart, a suspension or a slow
//! disk hides is not counted as quiet.

pub mod leases;
mod process;
mod progress;
mod terminal;
mod verdict;

use crate::clock::{Moment, boot_id};
use crate::durable;
use ebbtide_api::vm::{VmHold, VmPolicy};
use ebbtide_api::why::{Verdict, Why};
use leases::Leases;
use process::Reader;
use progress::Sampler;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;
use verdict::{Clocks, Evidence, Reading};

/// How often the state is stored at least.
const STORE_EVERY: Duration = Duration::from_secs(60);

/// What is kept over a restart.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Kept {
    clocks: Clocks,
    leases: Leases,
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
    user: Option<u32>,
    reader: Reader,
    sampler: Sampler,
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
            kept.boot = boot;
        }
        Self {
            kept,
            file,
            policy,
            user: None,
            reader: Reader::default(),
            sampler: Sampler::default(),
            marks: None,
            people: 0,
            last: None,
            told: None,
        }
    }

    /// Whose jobs count.
    pub fn set_user(&mut self, uid: Option<u32>) {
        self.user = uid;
        // What was not of interest before may be now.
        self.reader = Reader::default();
    }

    /// New durations.
    pub fn set_policy(&mut self, policy: VmPolicy) {
        self.policy = policy;
    }

    /// How often to look: a few times within the idle timeout, and not more often than the kernel's marks are worth.
    pub fn every(&self) -> Duration {
        Duration::from_secs((self.policy.idle_timeout_secs / 6).clamp(1, 10))
    }

    /// Looks at the machine and says why it is awake.
    pub fn tick(&mut self, now: Moment, ready: bool, people: u64, servers: &BTreeSet<u32>) -> Why {
        let passed = self.last.map_or(Duration::ZERO, |last| now.since(last));
        let progress = match self.reader.read_all(Path::new("/proc"), self.user) {
            Ok(processes) => Ok(self.sampler.sample(&processes, servers, self.user, passed)),
            Err(error) => Err(format!("/proc: {error}")),
        };
        let terminal = self.terminals(Path::new("/dev/pts"));
        let http = if people > self.people {
            Reading::Active("somebody uses a page of the workspace".to_owned())
        } else {
            Reading::Quiet("nobody uses a page".to_owned())
        };
        self.people = people;
        let (progress, agents) = match progress {
            Ok(progress) => match progress.works {
                Some(works) => (Reading::Active(works), progress.agents),
                None => (Reading::Quiet("no agent, build or test works".to_owned()), progress.agents),
            },
            Err(error) => (Reading::Unreadable(error), Vec::new()),
        };
        let evidence = Evidence {
            ready,
            progress,
            terminal,
            http,
            agents,
            leases: self.kept.leases.in_force(now),
            asked_to_sleep: self.kept.asked_to_sleep,
        };
        self.last = Some(now);
        let why = self.kept.clocks.tick(credit(passed, self.every()), &evidence, &self.policy);
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
