//! What agents are in the middle of, from their own reports and from what vouches for these. Pure.
//!
//! A report alone keeps nothing awake: a turn counts while its process lives and something else shows it (progress, a
//! growing transcript, a connection, a tool that runs), and everything but progress is bounded. A report that is lost
//! therefore costs a bounded time, in either direction; and so does one that is repeated without end.

use super::agent_activity::{AgentActivity, ConnectionActivity};
use super::verdict::{Asking, Reading};
use crate::idle::facts::SessionStatus;
use crate::idle::process_kinds::Child;
use crate::idle::read::hook::{Asks, Happened, Hook, Left};
use ebbtide_api::vm::VmPolicy;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Most sessions that are kept, and so the bound of the file that keeps them over a restart.
const SESSIONS: usize = 200;
/// A command that an agent, whose first turn we did not see begin, starts so long after itself (in ticks of 10 ms) is its
/// work; what starts with it are helpers that live as long as it does.
const HELPERS_TICKS: u64 = 5 * 100;
/// The part of `unknown_grace` for which a report of a turn outweighs a session file that says "at the prompt", where
/// nothing was asked of the model and no command runs: a file that lags behind is late by less than a minute of ten. A
/// turn that a person interrupts is reported nowhere else, and would be unclear for all of the grace each time.
const DOUBT_PART: u64 = 10;

/// How a session stands, by its own reports.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
enum Phase {
    /// It has reported nothing.
    Untold,
    /// At its prompt.
    Parked,
    Turn,
    Asks(Asks),
    /// The turn is over and something goes on.
    Left(Left),
}

/// One agent's session.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Session {
    pid: u32,
    started: u64,
    id: String,
    transcript: Option<PathBuf>,
    phase: Phase,
    /// When its first turn began, in ticks since the kernel booted: what it started before is no work.
    prompted: Option<u64>,
    /// Something was reported since the last look.
    heard: bool,
    /// How long it has shown no progress.
    silent_ms: u64,
    /// For how long its reports alone have kept it going, since it last showed something itself.
    #[serde(default)]
    unconfirmed_ms: u64,
    /// How long it has been waiting for a person, since it last got on by itself.
    asking_ms: u64,
    /// A question was reported that does not follow another, and it has shown nothing since.
    #[serde(default)]
    asks_anew: bool,
    /// For how long it has shown nothing but what a watcher or a loop shows as well.
    #[serde(default)]
    weak_ms: u64,
    /// How long ago something was asked or came in last, if ever.
    #[serde(default)]
    heard_from_ms: Option<u64>,
}

/// All sessions; kept over a restart.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Turns {
    sessions: Vec<Session>,
}

/// What all of them say together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    /// Whether an agent is in the middle of something.
    pub reading: Reading,
    /// Whether one waits for a person.
    pub asking: Option<Asking>,
    /// An agent whose use of the processor or of storage counts as work.
    pub working: Option<u32>,
}

impl Standing {
    /// What agents do cannot be read.
    pub fn unreadable(why: String) -> Self {
        Self { reading: Reading::Unreadable(why), asking: None, working: None }
    }
}

impl Turns {
    /// Takes a report in; `process` is whose it is, `ticks` the kernel's now.
    pub fn hear(&mut self, hook: &Hook, process: (u32, u64), ticks: u64) {
        let session = self.session(process);
        if session.id != hook.session {
            session.id.clone_from(&hook.session);
            session.phase = Phase::Parked;
        }
        if hook.transcript.is_some() {
            session.transcript.clone_from(&hook.transcript);
        }
        let phase = match hook.happened {
            Happened::Started | Happened::SubagentEnded => session.phase,
            // What goes on within a turn tells of its beginning, where that was lost.
            Happened::Prompted | Happened::Went => {
                session.prompted.get_or_insert(ticks);
                Phase::Turn
            }
            Happened::Asks(asks) => {
                // A notification that follows a request is no second question, and no other one.
                if let Phase::Asks(_) = session.phase {
                    session.phase
                } else {
                    session.asks_anew = true;
                    Phase::Asks(asks)
                }
            }
            // It may come late, and says nothing about what runs in the background or about a question.
            Happened::Parked => match session.phase {
                Phase::Untold | Phase::Turn => Phase::Parked,
                Phase::Parked | Phase::Asks(_) | Phase::Left(_) => session.phase,
            },
            Happened::Stopped(left) if left == Left::default() => Phase::Parked,
            Happened::Stopped(left) => Phase::Left(left),
            Happened::Ended => {
                self.sessions.retain(|session| (session.pid, session.started) != process);
                return;
            }
        };
        session.phase = phase;
        // A notification comes without anything having happened.
        session.heard |= !matches!(hook.happened, Happened::Parked);
    }

    /// Where the transcript of an agent's session grows, where it told.
    pub fn transcript(&self, process: (u32, u64)) -> Option<&Path> {
        self.known(process)?.transcript.as_deref()
    }

    /// Whether an agent is in a turn by its own reports.
    pub fn is_in_turn(&self, process: (u32, u64)) -> bool {
        self.known(process).is_some_and(|session| session.phase == Phase::Turn)
    }

    fn known(&self, process: (u32, u64)) -> Option<&Session> {
        self.sessions.iter().find(|session| (session.pid, session.started) == process)
    }

    /// Takes in what is seen after so much time. An agent that is gone takes its session along.
    pub fn tick(&mut self, passed: Duration, agents: &[AgentActivity], policy: &VmPolicy) -> Standing {
        let passed_ms = u64::try_from(passed.as_millis()).unwrap_or(u64::MAX);
        self.sessions.retain(|session| {
            agents.iter().any(|activity| (activity.pid, activity.started) == (session.pid, session.started))
        });
        let (mut active, mut doubts, mut parked) = (Vec::new(), Vec::new(), Vec::new());
        let mut asking: Option<Asking> = None;
        let mut working = None;
        for activity in agents {
            let session = self.session((activity.pid, activity.started));
            let (reading, asks, works) = session.tick(passed_ms, activity, policy);
            working = working.or(works.then_some(activity.pid));
            match reading {
                Reading::Active(text) => active.push(text),
                Reading::Unreadable(text) => doubts.push(text),
                Reading::Quiet(text) => parked.push(text),
            }
            // The one that waits longest counts.
            if let Some(asks) = asks
                && asking.as_ref().is_none_or(|other| other.left_ms < asks.left_ms)
            {
                asking = Some(asks);
            }
        }
        let reading = if !active.is_empty() {
            Reading::Active(active.join("; "))
        } else if !doubts.is_empty() {
            Reading::Unreadable(doubts.join("; "))
        } else if parked.is_empty() {
            Reading::Quiet("no agent is there".to_owned())
        } else {
            Reading::Quiet(parked.join("; "))
        };
        Standing { reading, asking, working }
    }

    fn session(&mut self, (pid, started): (u32, u64)) -> &mut Session {
        let at = self.sessions.iter().position(|session| (session.pid, session.started) == (pid, started));
        let at = at.unwrap_or_else(|| {
            if self.sessions.len() >= SESSIONS {
                self.sessions.remove(0);
            }
            self.sessions.push(Session {
                pid,
                started,
                id: String::new(),
                transcript: None,
                phase: Phase::Untold,
                prompted: None,
                heard: false,
                silent_ms: 0,
                unconfirmed_ms: 0,
                asking_ms: 0,
                asks_anew: false,
                weak_ms: 0,
                heard_from_ms: None,
            });
            self.sessions.len() - 1
        });
        &mut self.sessions[at]
    }
}

impl Session {
    /// How it stands, whether it asks, and whether what it uses counts as work.
    fn tick(
        &mut self,
        passed_ms: u64,
        activity: &AgentActivity,
        policy: &VmPolicy,
    ) -> (Reading, Option<Asking>, bool) {
        let heard = std::mem::take(&mut self.heard);
        let activity =
            &AgentActivity { connection: self.confirmed(passed_ms, activity, policy), ..activity.clone() };
        let phase = self.believed(activity);
        // A watcher polls and a loop writes for ever; an agent that works asks its model between times.
        let is_moved = matches!(
            activity.connection,
            ConnectionActivity::Asked | ConnectionActivity::Moving | ConnectionActivity::Unreadable
        );
        if activity.is_lasting || heard || is_moved {
            self.weak_ms = 0;
        } else {
            self.weak_ms = self.weak_ms.saturating_add(passed_ms);
        }
        let bound_ms = policy.background_secs.saturating_mul(1000);
        // Where its reports and its file say that it is in a turn, a small command may take as long as it likes.
        let is_sure = phase == Phase::Turn && activity.status == Some(SessionStatus::Busy);
        let is_fresh = is_sure || self.weak_ms <= bound_ms;
        let is_over = is_at_prompt(phase, activity.status) || self.only_watches(phase, activity);
        // One that reports nothing and is parked writes and repaints; one that works has asked its model just before.
        let doubt_ms = doubt_ms(policy);
        let is_parked = phase == Phase::Untold || is_doubted(phase, activity.status);
        let is_flush = is_parked && activity.only_stirs && self.weak_ms > doubt_ms;
        let works = activity.works && (activity.is_lasting || is_fresh && !is_over && !is_flush);
        let shows = works || activity.writes && is_fresh;
        // Whoever can report can do so for ever: what reports buy is counted, and is no more than a silence in all.
        if shows {
            self.unconfirmed_ms = 0;
        } else if heard {
            let bought_ms = self.silent_ms.saturating_add(passed_ms);
            self.unconfirmed_ms = self.unconfirmed_ms.saturating_add(bought_ms);
        }
        let heard = heard && self.unconfirmed_ms <= policy.agent_silence_secs.saturating_mul(1000);
        self.silent_ms = if shows || heard { 0 } else { self.silent_ms.saturating_add(passed_ms) };
        let asks = matches!(phase, Phase::Asks(_));
        if asks || phase == Phase::Parked && activity.status.is_some() {
            // At its prompt it need not show anything.
            self.silent_ms = 0;
        }
        // A new question has a new budget only where the agent got on between the two.
        if shows && (std::mem::take(&mut self.asks_anew) || !asks) {
            self.asking_ms = 0;
        }
        if let Phase::Asks(asks) = phase {
            self.asking_ms = self.asking_ms.saturating_add(passed_ms);
            let (reading, asking) = self.asks(asks, heard, activity, policy);
            return (reading, asking, works);
        }
        self.asks_anew = false;
        let name = &activity.name;
        let reading = if heard {
            Reading::Active(format!("{name} reports what it does"))
        } else {
            match phase {
                Phase::Turn => self.turn(activity, policy),
                // The beginning of a turn was not reported, and what goes on in the background goes on.
                Phase::Left(left) if activity.status == Some(SessionStatus::Busy) => {
                    stronger(self.turn(activity, policy), self.left(left, activity, policy))
                }
                Phase::Left(left) => self.left(left, activity, policy),
                Phase::Untold => self.untold(shows, activity, policy),
                Phase::Parked | Phase::Asks(_) => Reading::Quiet(format!("{name} is at its prompt")),
            }
        };
        (reading, None, works)
    }

    /// What its connections show, a little that comes in taken for more or for nothing: of one that reports nothing, or
    /// the end of its turn, it counts where something was asked or came in just before. A turn shows something again and again; at their prompt
    /// programs hear something every few minutes.
    fn confirmed(
        &mut self,
        passed_ms: u64,
        activity: &AgentActivity,
        policy: &VmPolicy,
    ) -> ConnectionActivity {
        let ago_ms = self.heard_from_ms.map(|ago_ms| ago_ms.saturating_add(passed_ms));
        let is_moved = matches!(
            activity.connection,
            ConnectionActivity::Asked | ConnectionActivity::Trickling | ConnectionActivity::Moving
        );
        self.heard_from_ms = if is_moved { Some(0) } else { ago_ms };
        let is_just_before =
            ago_ms.is_some_and(|ago_ms| ago_ms <= doubt_ms(policy).saturating_add(passed_ms));
        match activity.connection {
            ConnectionActivity::Trickling
                if is_just_before || !matches!(self.phase, Phase::Untold | Phase::Parked) =>
            {
                ConnectionActivity::Moving
            }
            ConnectionActivity::Trickling => ConnectionActivity::Open,
            connection => connection,
        }
    }

    /// Whether a turn whose end was not reported is over by the session file, and nothing but watchers and servers is left.
    fn only_watches(&self, phase: Phase, activity: &AgentActivity) -> bool {
        let is_over = is_doubted(phase, activity.status)
            && !matches!(activity.connection, ConnectionActivity::Asked | ConnectionActivity::Moving);
        let since = self.prompted.unwrap_or(activity.started.saturating_add(HELPERS_TICKS));
        let mut commands = activity.children.iter().filter(|child| child.started >= since);
        is_over
            && activity.children.iter().any(|child| child.is_watcher)
            && commands.all(|child| child.is_server || child.is_watcher)
    }

    /// What the reports and the session file say together. The file is a witness for what was never reported.
    fn believed(&self, activity: &AgentActivity) -> Phase {
        let Some(status) = activity.status else {
            // A hook of the repository may have sent it on after the end that was reported to ours: without a file only
            // what it asks of its model tells of that.
            let goes_on =
                matches!(activity.connection, ConnectionActivity::Asked | ConnectionActivity::Moving);
            return if self.phase == Phase::Parked && goes_on { Phase::Untold } else { self.phase };
        };
        match (self.phase, status) {
            (Phase::Untold | Phase::Parked | Phase::Asks(_), SessionStatus::Busy) => Phase::Turn,
            // A question that was dismissed is reported nowhere else.
            (Phase::Untold | Phase::Asks(_), SessionStatus::Idle) => Phase::Parked,
            (Phase::Untold | Phase::Parked | Phase::Turn, SessionStatus::Waiting) => {
                Phase::Asks(Asks::Answer)
            }
            (Phase::Untold | Phase::Parked, SessionStatus::Shell) => {
                Phase::Left(Left { shells: 1, ..Left::default() })
            }
            (phase, _) => phase,
        }
    }

    fn turn(&self, activity: &AgentActivity, policy: &VmPolicy) -> Reading {
        let (name, silent) = (&activity.name, shown(self.silent_ms));
        if self.silent_ms == 0 {
            return Reading::Active(format!("{name} is in a turn"));
        }
        let since = self.prompted.unwrap_or(activity.started.saturating_add(HELPERS_TICKS));
        let is_within = |bound_secs: u64| self.silent_ms < bound_secs.saturating_mul(1000);
        if activity.connection == ConnectionActivity::Moving && is_within(policy.background_secs) {
            return Reading::Active(format!("{name} receives its model's answer"));
        }
        let mut commands =
            activity.children.iter().filter(|child| child.started >= since && !child.is_server);
        // The reports say one thing and the file another: neither is believed alone.
        if activity.status == Some(SessionStatus::Idle) {
            let shows_one =
                matches!(activity.connection, ConnectionActivity::Asked | ConnectionActivity::Moving)
                    || commands.next().is_some();
            return if shows_one || self.silent_ms < doubt_ms(policy) {
                Reading::Unreadable(format!("{name} reported a turn, and says that it is at its prompt"))
            } else {
                Reading::Quiet(format!("{name} reported no end of its turn, and is at its prompt"))
            };
        }
        if activity.status == Some(SessionStatus::Shell) {
            return if commands.next().is_some() {
                self.left(Left { shells: 1, ..Left::default() }, activity, policy)
            } else {
                Reading::Unreadable(format!("{name} reported a turn, and says that only a command is left"))
            };
        }
        if is_within(policy.agent_silence_secs) {
            match activity.connection {
                ConnectionActivity::Open | ConnectionActivity::Asked => {
                    return Reading::Active(format!("{name} waits for its model, silent for {silent}"));
                }
                ConnectionActivity::Absent
                | ConnectionActivity::Unreadable
                | ConnectionActivity::Trickling
                | ConnectionActivity::Moving => {}
            }
            if commands.next().is_some() {
                return Reading::Active(format!("{name} waits for a command, silent for {silent}"));
            }
        }
        Reading::Unreadable(format!("{name} says it is working; nothing has confirmed that for {silent}"))
    }

    fn left(&self, left: Left, activity: &AgentActivity, policy: &VmPolicy) -> Reading {
        let (name, silent) = (&activity.name, shown(self.silent_ms));
        if self.silent_ms >= policy.background_secs.saturating_mul(1000) {
            return Reading::Quiet(format!(
                "what {name} left in the background has shown nothing for {silent}"
            ));
        }
        let since = self.prompted.unwrap_or(activity.started.saturating_add(HELPERS_TICKS));
        let mut commands = activity.children.iter().filter(|child| child.started >= since);
        if left.shells > 0 && commands.any(|child| !child.is_server && !child.is_watcher) {
            return Reading::Active(format!("a background command of {name} runs"));
        }
        if left.others > 0 {
            if self.silent_ms == 0 || activity.connection == ConnectionActivity::Moving {
                return Reading::Active(format!("{name} works in the background"));
            }
            let is_open = matches!(activity.connection, ConnectionActivity::Open | ConnectionActivity::Asked);
            if is_open && self.silent_ms < policy.agent_silence_secs.saturating_mul(1000) {
                return Reading::Active(format!("{name} works in the background, silent for {silent}"));
            }
            if left.wakeups == 0 {
                return Reading::Unreadable(format!("{name} left work in the background that shows nothing"));
            }
        }
        if left.wakeups > 0 {
            return Reading::Active(format!("{name} has set a time to go on by itself"));
        }
        Reading::Quiet(format!("{name} is waiting for you; only servers and watchers run"))
    }

    /// An agent that reports nothing: believed while it has worked lately and still waits for something.
    fn untold(&self, shows: bool, activity: &AgentActivity, policy: &VmPolicy) -> Reading {
        let (name, silent) = (&activity.name, shown(self.silent_ms));
        if shows {
            return Reading::Active(format!("{name} works"));
        }
        if self.silent_ms < policy.agent_silence_secs.saturating_mul(1000) {
            match activity.connection {
                ConnectionActivity::Asked => {
                    return Reading::Active(format!("{name} waits for an answer, silent for {silent}"));
                }
                ConnectionActivity::Moving => return Reading::Active(format!("{name} receives an answer")),
                ConnectionActivity::Absent
                | ConnectionActivity::Open
                | ConnectionActivity::Trickling
                | ConnectionActivity::Unreadable => {}
            }
            // A quick model has it start a command as soon as it starts its helpers: here only their names tell them apart.
            let is_command = |child: &Child| child.is_command && !child.is_server;
            if activity.children.iter().any(is_command) {
                return Reading::Active(format!("{name} waits for a command, silent for {silent}"));
            }
        }
        match activity.connection {
            ConnectionActivity::Unreadable => Reading::Unreadable(format!("the connections of {name}")),
            _ => Reading::Quiet(format!("{name} shows nothing")),
        }
    }

    fn asks(
        &self,
        asks: Asks,
        heard: bool,
        activity: &AgentActivity,
        policy: &VmPolicy,
    ) -> (Reading, Option<Asking>) {
        let name = &activity.name;
        let what = match asks {
            Asks::Permission => format!("{name} asks for permission"),
            Asks::Answer => format!("{name} asks a question"),
        };
        let total_ms = policy.waiting_for_human_secs.saturating_mul(1000);
        let left_ms = total_ms.saturating_sub(self.asking_ms);
        // The question itself is the last that happened.
        let reading = if heard { Reading::Active(what.clone()) } else { Reading::Quiet(what.clone()) };
        (reading, (left_ms > 0).then_some(Asking { what, left_ms, total_ms }))
    }
}

/// Whether an agent is at its prompt by its reports and by its file, with nothing of its own in the background: what its
/// helpers and watchers use is no work then, unless it is much and lasts.
fn is_at_prompt(phase: Phase, status: Option<SessionStatus>) -> bool {
    let is_over = match phase {
        Phase::Parked => true,
        Phase::Left(left) => left.others == 0,
        Phase::Untold | Phase::Turn | Phase::Asks(_) => false,
    };
    is_over && matches!(status, Some(SessionStatus::Idle | SessionStatus::Shell))
}

/// Whether a turn was reported and the file says that there is none.
fn is_doubted(phase: Phase, status: Option<SessionStatus>) -> bool {
    phase == Phase::Turn && matches!(status, Some(SessionStatus::Idle | SessionStatus::Shell))
}

/// The one that keeps the machine awake for longer.
pub fn stronger(one: Reading, other: Reading) -> Reading {
    match (&one, &other) {
        (Reading::Active(_), _) | (Reading::Unreadable(_), Reading::Quiet(_)) => one,
        (Reading::Unreadable(_) | Reading::Quiet(_), _) => other,
    }
}

/// For how long a report outweighs what is seen beside it.
fn doubt_ms(policy: &VmPolicy) -> u64 {
    policy.unknown_grace_secs.saturating_mul(1000) / DOUBT_PART
}

fn shown(ms: u64) -> String {
    ebbtide_api::text::seconds(ms / 1000)
}

#[cfg(test)]
mod tests;
