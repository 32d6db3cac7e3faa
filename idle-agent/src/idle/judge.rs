//! From facts and reports to the verdict: pure, without a clock, a file or the machine.
//!
//! The same facts in the same order give the same verdicts, on the machine and in the replay of a trace. What a
//! restart, a suspension or a slow disk hides is not counted as quiet.

pub mod agent_activity;
pub mod cloudcli_sessions;
pub mod leases;
pub mod progress;
pub mod turns;
pub mod verdict;

use super::facts::{Facts, Marks};
use super::read::hook::Hook;
use super::read::terminal;
use crate::os::clock::Moment;
use crate::os::processes::Process;
use agent_activity::ActivityTracker;
use cloudcli_sessions::CloudCliSessions;
use ebbtide_api::vm::{VmHold, VmPolicy};
use ebbtide_api::why::Why;
use leases::{Leases, TooMany};
use progress::Sampler;
use serde::{Deserialize, Serialize};
use std::path::Path;
use std::time::Duration;
use turns::{Standing, Turns};
use verdict::{Clocks, Evidence, Reading};

/// The kernel tells starts of processes in ticks of 10 ms.
const MILLIS_PER_TICK: u64 = 10;

/// Who did not look for so many times the longest that counts was suspended.
const SUSPENDED: u32 = 3;

/// What is kept over a restart.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Kept {
    clocks: Clocks,
    leases: Leases,
    #[serde(default)]
    turns: Turns,
    asked_to_sleep: bool,
    /// For how long nothing else has been going on.
    #[serde(default)]
    alone: Alone,
    /// To which boot the moments belong, and when it was written.
    boot: String,
    at: Moment,
}

/// How long each of what may be work and may be nobody's has been the only thing that went on.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
struct Alone {
    servers_ms: u64,
    network_ms: u64,
    cloudcli_ms: u64,
}

/// What the look before showed; a restart forgets it.
#[derive(Debug, Clone, Default)]
struct Before {
    sampler: Sampler,
    activity: ActivityTracker,
    cloudcli: CloudCliSessions,
    marks: Option<Marks>,
    people: Option<u64>,
    at: Option<Moment>,
    /// When processes were read: what they used is about the time since.
    sampled_at: Option<Moment>,
}

/// Judges what goes on.
#[derive(Debug, Clone, Default)]
pub struct Judge {
    kept: Kept,
    before: Before,
}

/// How often to look: thirty times within the idle timeout, every ten seconds at the latest. The kernel's marks on terminals
/// have a grain of eight seconds: more looks than that show no more of these.
pub fn every(policy: &VmPolicy) -> Duration {
    Duration::from_secs((policy.idle_timeout_secs / 30).clamp(1, 10))
}

/// How much of the time between two looks counts as seen at most: two looks of a long idle timeout, and of a short one
/// what a slow machine may need.
pub fn longest_credit(policy: &VmPolicy) -> Duration {
    Duration::from_secs(2 * (policy.idle_timeout_secs / 6).clamp(1, 10))
}

/// How much of the time between two looks counts: all of it, of a longer one that much, and of one in which the machine
/// was suspended rather than slow, two looks.
pub fn counted(passed: Duration, policy: &VmPolicy) -> Duration {
    let longest = longest_credit(policy);
    if passed <= longest * SUSPENDED { passed.min(longest) } else { longest.min(every(policy) * 2) }
}

impl Judge {
    /// Goes on with what an earlier life kept.
    pub fn resume(mut kept: Kept, boot: &str, now: Moment) -> Self {
        if kept.boot != boot {
            kept.leases.rebase(kept.at, now);
            // No process of another boot lives.
            kept.turns = Turns::default();
            boot.clone_into(&mut kept.boot);
        }
        Self { kept, before: Before::default() }
    }

    /// What a later life needs, as of now.
    pub fn keep(&mut self, now: Moment) -> &Kept {
        self.kept.at = now;
        &self.kept
    }

    /// When something was kept last.
    pub fn kept_at(&self) -> Moment {
        self.kept.at
    }

    /// Judges one look at the machine and says why it is awake.
    pub fn judge(&mut self, at: Moment, facts: &Facts, policy: &VmPolicy) -> Why {
        let passed = self.before.at.map_or(Duration::ZERO, |before| at.since(before));
        self.before.at = Some(at);
        let counted = counted(passed, policy);
        let (seen, ended) = match &facts.processes {
            Ok(processes) => {
                let before = self.before.sampled_at.replace(at);
                let passed = before.map_or(Duration::ZERO, |before| at.since(before));
                let seen = self.before.sampler.sample(
                    processes,
                    &facts.servers,
                    &facts.watchers,
                    facts.user,
                    passed,
                );
                let ended = self.kept.leases.drop_ended(|pid, started| is_there(processes, pid, started));
                (Ok(seen), ended)
            }
            Err(error) => (Err(error.clone()), None),
        };
        let (standing, is_talking) = match &seen {
            Ok(seen) => {
                let looked = self.before.activity.compare(&seen.agents, &facts.observations);
                (self.kept.turns.tick(counted, &looked, policy), self.before.activity.is_job_talking())
            }
            Err(error) => (Standing::unreadable(error.clone()), false),
        };
        let (terminal, http) = (self.terminal(facts), self.http(facts));
        let is_active = |reading: &Reading| matches!(reading, Reading::Active(_));
        let is_other = [&standing.reading, &terminal, &http].into_iter().any(is_active);
        let progress = match &seen {
            Ok(seen) => {
                let agent = seen.agents.iter().find(|agent| Some(agent.pid) == standing.working);
                let works = ended
                    .map(|reason| format!("what was kept alive has ended: {reason}"))
                    .or_else(|| agent.map(|agent| format!("{} works ({})", agent.name, agent.uses)))
                    .or_else(|| seen.works.clone());
                let alone = &mut self.kept.alone;
                if is_other || works.is_some() {
                    *alone = Alone::default();
                }
                // What polls looks like work: each of these alone holds the machine within a bound, and in all between two
                // activities of another kind (docs/reference/idle.md).
                let may_work = seen.may_work.clone();
                let may_work =
                    may_work.filter(|_| is_within(&mut alone.servers_ms, counted, policy.background_secs));
                let talks = is_talking.then(|| "a program in a terminal talks over the network".to_owned());
                let talks =
                    talks.filter(|_| is_within(&mut alone.network_ms, counted, policy.agent_silence_secs));
                match works.or(may_work).or(talks) {
                    Some(works) => Reading::Active(works),
                    None => Reading::Quiet("no agent, build or test works".to_owned()),
                }
            }
            Err(error) => Reading::Unreadable(error.clone()),
        };
        let turn = match self.before.cloudcli.compare(counted, &facts.cloudcli, policy) {
            // It may say for ever that it runs: with nothing else to show it, it holds as long as any background work.
            Some(Reading::Active(_))
                if !is_within(&mut self.kept.alone.cloudcli_ms, counted, policy.background_secs) =>
            {
                let stuck = "a session in CloudCLI says that it runs, and nothing else shows it";
                turns::stronger(standing.reading, Reading::Quiet(stuck.to_owned()))
            }
            // Both are named: whoever looks for the session finds it in CloudCLI and nowhere else.
            Some(Reading::Active(session)) => Reading::Active(match standing.reading {
                Reading::Active(turn) => format!("{turn}; {session}"),
                Reading::Unreadable(_) | Reading::Quiet(_) => session,
            }),
            Some(cloudcli) => turns::stronger(standing.reading, cloudcli),
            None => standing.reading,
        };
        let agents = seen.map(|seen| seen.agents).unwrap_or_default();
        let evidence = Evidence {
            ready: facts.ready,
            progress,
            turn,
            asking: standing.asking,
            terminal,
            http,
            agents: agents.iter().map(|agent| format!("{} ({})", agent.name, agent.pid)).collect(),
            leases: self.kept.leases.in_force(at),
            asked_to_sleep: self.kept.asked_to_sleep,
        };
        self.kept.clocks.tick(counted, &evidence, policy)
    }

    fn terminal(&mut self, facts: &Facts) -> Reading {
        match &facts.terminals {
            Ok(Some(marks)) => {
                let typed = self.before.marks.as_ref().and_then(|before| terminal::typed_on(before, marks));
                let reading = match typed {
                    Some(name) => Reading::Active(format!("somebody types (pts/{name})")),
                    None => Reading::Quiet("nobody types".to_owned()),
                };
                self.before.marks = Some(marks.clone());
                reading
            }
            // A machine without ptys has nobody at one.
            Ok(None) => Reading::Quiet("there is no terminal".to_owned()),
            Err(error) => Reading::Unreadable(error.clone()),
        }
    }

    fn http(&mut self, facts: &Facts) -> Reading {
        let before = self.before.people.replace(facts.people);
        // The count begins with the idle-agent: its first look knows no difference.
        if before.is_some_and(|before| facts.people > before) {
            Reading::Active("somebody uses a page of the workspace".to_owned())
        } else {
            Reading::Quiet("nobody uses a page".to_owned())
        }
    }

    /// Takes a report of an agent in; `process` is whose it is.
    pub fn hear(&mut self, hook: &Hook, process: (u32, u64), now: Moment) {
        self.kept.turns.hear(hook, process, now.0 / MILLIS_PER_TICK);
    }

    /// Whether an agent is in a turn by its own reports.
    pub fn is_in_turn(&self, process: (u32, u64)) -> bool {
        self.kept.turns.is_in_turn(process)
    }

    /// Where the transcript of an agent's session grows, where it told.
    pub fn transcript(&self, process: (u32, u64)) -> Option<&Path> {
        self.kept.turns.transcript(process)
    }

    /// Takes a lease on the machine; says its name. Whoever holds does not want sleep any more.
    ///
    /// # Errors
    /// There are too many.
    pub fn hold(&mut self, length: Duration, reason: &str, now: Moment) -> Result<String, TooMany> {
        let id = self.kept.leases.take(length, reason, now)?;
        self.kept.asked_to_sleep = false;
        Ok(id)
    }

    /// Takes a lease that ends with a process; says its name.
    ///
    /// # Errors
    /// There are too many.
    pub fn keep_alive(
        &mut self,
        process: (u32, u64),
        length: Duration,
        reason: &str,
        now: Moment,
    ) -> Result<String, TooMany> {
        let id = self.kept.leases.keep(process, length, reason, now)?;
        self.kept.asked_to_sleep = false;
        Ok(id)
    }

    /// Gives leases of the machine back; says how many.
    pub fn release(&mut self, id: Option<&str>) -> usize {
        self.kept.leases.release(id)
    }

    /// Takes over the holds that the control plane names.
    pub fn set_holds(&mut self, holds: &[VmHold], now: Moment) {
        self.kept.leases.set_holds(holds, now);
    }

    /// Somebody on the machine wants it to sleep: leases taken here end.
    pub fn ask_to_sleep(&mut self) {
        self.kept.leases.release(None);
        self.kept.asked_to_sleep = true;
    }

    /// A wish to sleep is over; says whether there was one.
    pub fn forget_sleep(&mut self) -> bool {
        std::mem::take(&mut self.kept.asked_to_sleep)
    }
}

fn is_there(processes: &[Process], pid: u32, started: u64) -> bool {
    processes.iter().any(|process| (process.pid, process.started) == (pid, started))
}

/// Counts how long something has been going on while nothing else did; says whether that is within a bound.
fn is_within(counter_ms: &mut u64, passed: Duration, bound_secs: u64) -> bool {
    let passed_ms = u64::try_from(passed.as_millis()).unwrap_or(u64::MAX);
    *counter_ms = counter_ms.saturating_add(passed_ms);
    *counter_ms <= bound_secs.saturating_mul(1000)
}

#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;
