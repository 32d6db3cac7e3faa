//! Other ways to judge, each as systems in the field describe theirs: one signal and a timer that it restarts, or the
//! script that looks every five minutes. docs/evidence/idle.md says where each is described.

use ebbtide_api::vm::VmPolicy;
use ebbtide_idle_agent::idle::process_kinds::programs::agent_of;
use ebbtide_idle_agent::idle::read::hook::Happened;
use ebbtide_idle_agent::idle::trace::{Entry, Look};
use ebbtide_idle_agent::os::clock::Moment;
use ebbtide_idle_agent::os::processes::Process;
use std::collections::{BTreeMap, BTreeSet};

/// Which signal restarts the timer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rule {
    /// A connection from outside is open: a browser, an editor, SSH.
    Connections,
    /// An agent's process is there.
    Process,
    /// A file of the workspaces has changed.
    FileTimes,
    /// The user's processes together use a tenth of a core, on average between two looks of an alarm: five minutes.
    Processor,
    /// An agent has reported the beginning of a turn and not its end.
    Turn,
    /// Every five minutes: `pgrep -f`, `ss`, `who` and `find -mmin`.
    Script,
}

/// Share of a core, in percent.
const BUSY_PERCENT: u64 = 10;

impl Rule {
    /// For people.
    pub fn name(self) -> &'static str {
        match self {
            Self::Connections => "connections only",
            Self::Process => "process exists",
            Self::FileTimes => "file times",
            Self::Processor => "CPU threshold",
            Self::Turn => "turn state only",
            Self::Script => "5-minute script",
        }
    }
}

/// One rule in the middle of a trace.
#[derive(Debug)]
pub struct Baseline {
    rule: Rule,
    timeout_ms: u64,
    /// How often it looks; the five minutes of a script and of an alarm are a sixth of the timeout.
    every_ms: u64,
    looked: Option<Moment>,
    active: Option<Moment>,
    ticks: BTreeMap<(u32, u64), u64>,
    /// Used since the alarm's last look, and when that was.
    used: u64,
    used_since: Option<Moment>,
    newest_file: Option<u64>,
    turns: BTreeSet<(u32, u64)>,
}

impl Baseline {
    /// Begins.
    pub fn new(rule: Rule, policy: &VmPolicy) -> Self {
        let timeout_ms = policy.idle_timeout_secs * 1000;
        Self {
            rule,
            timeout_ms,
            every_ms: if matches!(rule, Rule::Script | Rule::Processor) { timeout_ms / 6 } else { 0 },
            looked: None,
            active: None,
            ticks: BTreeMap::new(),
            used: 0,
            used_since: None,
            newest_file: None,
            turns: BTreeSet::new(),
        }
    }

    /// Takes an entry in; after a look it says whether the timer has run out.
    pub fn take(&mut self, at: Moment, entry: &Entry) -> Option<bool> {
        match entry {
            Entry::Hook { process, happened, .. } => {
                match happened {
                    Happened::Prompted | Happened::Went | Happened::Asks(_) => {
                        _ = self.turns.insert(*process)
                    }
                    Happened::Stopped(_) | Happened::Ended => _ = self.turns.remove(process),
                    Happened::Started | Happened::SubagentEnded | Happened::Parked => {}
                }
                None
            }
            Entry::Look(look) => Some(self.look(at, look)),
            // None of them knows holds; time that passes unseen counts for all of them.
            _ => None,
        }
    }

    fn look(&mut self, at: Moment, look: &Look) -> bool {
        let began = *self.active.get_or_insert(at);
        if self.rule == Rule::Processor {
            self.add_ticks(look);
        }
        let is_due = self.looked.is_none_or(|looked| at.0 >= looked.0 + self.every_ms);
        if !is_due {
            return false;
        }
        self.looked = Some(at);
        if !look.facts.ready || self.is_active(at, look) {
            self.active = Some(at);
            return false;
        }
        at.0.saturating_sub(began.0) >= self.timeout_ms
    }

    fn is_active(&mut self, at: Moment, look: &Look) -> bool {
        let processes = look.facts.processes.as_deref().unwrap_or_default();
        match self.rule {
            Rule::Connections => look.context.inbound.values().any(|count| *count > 0),
            Rule::Process => processes.iter().any(|process| agent_of(process).is_some()),
            Rule::FileTimes => self.has_file_changed(look),
            Rule::Processor => self.is_busy(at),
            Rule::Turn => !self.turns.is_empty(),
            Rule::Script => {
                let mentions = !look.context.mention_agents.is_empty()
                    || processes.iter().any(|process| agent_of(process).is_some());
                let connected = look.context.inbound.values().any(|count| *count > 0);
                let logged_in = processes.iter().any(is_login);
                let changed = look
                    .context
                    .newest_file_secs
                    .is_some_and(|changed| (at.0 / 1000).saturating_sub(changed) < self.timeout_ms / 1000);
                mentions || connected || logged_in || changed
            }
        }
    }

    fn has_file_changed(&mut self, look: &Look) -> bool {
        let newest = look.context.newest_file_secs;
        let before = std::mem::replace(&mut self.newest_file, newest);
        newest > before
    }

    /// Takes in what the user's processes have used since the look before; what cannot be read is told by a later one.
    fn add_ticks(&mut self, look: &Look) {
        let Ok(processes) = &look.facts.processes else { return };
        let is_own = |process: &&Process| process.has_terminal || Some(process.uid) == look.facts.user;
        let after: BTreeMap<_, _> = processes
            .iter()
            .filter(is_own)
            .map(|process| ((process.pid, process.started), process.ticks))
            .collect();
        let used = after
            .iter()
            .map(|(key, ticks)| ticks.saturating_sub(self.ticks.get(key).copied().unwrap_or(0)))
            .sum::<u64>();
        self.used += used;
        self.ticks = after;
    }

    fn is_busy(&mut self, at: Moment) -> bool {
        let used = std::mem::take(&mut self.used);
        let passed = self.used_since.replace(at).map(|before| at.0.saturating_sub(before.0));
        // Ticks are 10 ms: a tick in a second is a percent.
        passed.is_some_and(|passed| used * 1000 >= BUSY_PERCENT * passed.max(1))
    }
}

/// What `who` shows: a session over SSH.
fn is_login(process: &Process) -> bool {
    process.comm.starts_with("sshd") && process.uid != 0
}
