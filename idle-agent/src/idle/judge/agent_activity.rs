//! What vouches for agents, compared with the look before: connections on which something moves, transcripts that grow.
//! Pure. What cannot be read is no change.

use crate::idle::facts::{AgentObservation, SessionStatus, Sockets};
use crate::idle::process_kinds::{Child, RunningAgent};
use std::collections::BTreeMap;

/// Less than this between two looks is a ping: one of a TLS connection has 39 bytes, two have 78.
const CONTENT_BYTES: u64 = 100;
/// From here on what goes out is a question to a model: it carries all that was said before.
const QUESTION_BYTES: u64 = 1000;
/// From here on it is an answer whatever comes after: what Codex hears at its prompt, minutes apart, has 111 bytes. Less
/// counts only with more beside it (`turns`): a Codex at its prompt was kept without end before (section "How well it judges" of
/// docs/reference/idle.md).
const ANSWER_BYTES: u64 = 1000;

/// What an agent looks like from outside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AgentActivity {
    /// Its process.
    pub pid: u32,
    /// When that started, in ticks.
    pub started: u64,
    /// Which agent.
    pub name: String,
    /// It uses processor time or storage.
    pub works: bool,
    /// It only writes and repaints, itself.
    pub only_stirs: bool,
    /// It does so for long enough that it counts at its prompt, too.
    pub is_lasting: bool,
    /// Its transcript has grown.
    pub writes: bool,
    /// Its connections.
    pub connection: ConnectionActivity,
    /// What it started.
    pub children: Vec<Child>,
    /// What it says of itself in its session file.
    pub status: Option<SessionStatus>,
}

/// The most that an agent's connections show.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConnectionActivity {
    /// There is none.
    Absent,
    /// It is open.
    Open,
    /// Something was asked and nothing has come since.
    Asked,
    /// A little comes in: part of an answer, or what a program at its prompt hears every few minutes.
    Trickling,
    /// Content comes in.
    Moving,
    /// It cannot be read.
    Unreadable,
}

/// What one process showed in the look before.
#[derive(Debug, Clone, Copy)]
struct Before {
    /// Its connections when they could last be read.
    sockets: Option<Sockets>,
    grown: u64,
    /// Whether it waits for the answer to a question.
    waits: bool,
}

/// The look before, to take differences from.
#[derive(Debug, Clone, Default)]
pub struct ActivityTracker {
    before: BTreeMap<(u32, u64), Before>,
    is_job_talking: bool,
}

impl ActivityTracker {
    /// Says how each agent looks from outside. One that nobody looked at shows nothing readable.
    pub fn compare(
        &mut self,
        agents: &[RunningAgent],
        observations: &[AgentObservation],
    ) -> Vec<AgentActivity> {
        let mut after = BTreeMap::new();
        let mut activity = Vec::with_capacity(agents.len());
        for agent in agents {
            let key = (agent.pid, agent.started);
            let observation = observations.iter().find(|observation| observation.process == key);
            let before = self.before.get(&key).copied();
            let known = before.and_then(|before| before.sockets);
            let sockets = observation.and_then(|observation| observation.sockets);
            let mut waits = before.is_some_and(|before| before.waits);
            let connection = sockets.map_or(ConnectionActivity::Unreadable, |sockets| {
                connection(&sockets, known.as_ref(), &mut waits)
            });
            let sockets = sockets.or(known);
            let grown =
                observation.map(|observation| observation.grown).or(before.map(|before| before.grown));
            if let Some(grown) = grown {
                after.insert(key, Before { sockets, grown, waits });
            }
            activity.push(AgentActivity {
                pid: agent.pid,
                started: agent.started,
                name: agent.name.as_str().to_owned(),
                works: agent.works,
                only_stirs: agent.only_stirs,
                is_lasting: agent.is_lasting,
                writes: before.is_some_and(|before| Some(before.grown) != grown),
                connection,
                children: agent.children.clone(),
                status: observation.and_then(|observation| observation.status),
            });
        }
        let is_agents = |observation: &&AgentObservation| {
            agents.iter().any(|agent| (agent.pid, agent.started) == observation.process)
        };
        self.is_job_talking = false;
        for observation in observations.iter().filter(|observation| !is_agents(observation)) {
            let Some(sockets) = observation.sockets else { continue };
            let known = self.before.get(&observation.process).and_then(|before| before.sockets);
            // What a job asked long ago is not remembered: it may be a session that is only kept open.
            let connection = connection(&sockets, known.as_ref(), &mut false);
            self.is_job_talking |= matches!(
                connection,
                ConnectionActivity::Asked | ConnectionActivity::Trickling | ConnectionActivity::Moving
            );
            after.insert(
                observation.process,
                Before { sockets: Some(sockets), grown: observation.grown, waits: false },
            );
        }
        self.before = after;
        activity
    }

    /// Whether in the last look a program in a terminal had asked something over the network, or got an answer.
    pub fn is_job_talking(&self) -> bool {
        self.is_job_talking
    }
}

/// What agents may have left behind, which is asked whether it watches files: in a turn everything counts. Where reports say
/// one thing and the session file another, the file is believed here; it costs no more than a few reads.
pub fn left_behind(
    agents: &[RunningAgent],
    observations: &[AgentObservation],
    is_in_turn: impl Fn((u32, u64)) -> bool,
) -> Vec<(u32, u64)> {
    let is_left = |agent: &&RunningAgent| {
        let key = (agent.pid, agent.started);
        let status = observations
            .iter()
            .find(|observation| observation.process == key)
            .and_then(|observation| observation.status);
        !is_in_turn(key) || matches!(status, Some(SessionStatus::Idle | SessionStatus::Shell))
    };
    agents.iter().filter(is_left).flat_map(RunningAgent::programs).collect()
}

/// What moves on connections since the look before, and whether an answer is still waited for. Over HTTP/2 the receipt of
/// a question is acknowledged at once, with less than an answer has; pings go both ways meanwhile.
fn connection(sockets: &Sockets, before: Option<&Sockets>, waits: &mut bool) -> ConnectionActivity {
    let received = before.map_or(0, |before| sockets.received_bytes.saturating_sub(before.received_bytes));
    let sent = before.map_or(0, |before| sockets.sent_bytes.saturating_sub(before.sent_bytes));
    if received >= CONTENT_BYTES || sockets.open == 0 {
        *waits = false;
    } else if sent >= QUESTION_BYTES {
        *waits = true;
    }
    if received >= ANSWER_BYTES {
        ConnectionActivity::Moving
    } else if received >= CONTENT_BYTES {
        ConnectionActivity::Trickling
    } else if sockets.is_asked || *waits {
        ConnectionActivity::Asked
    } else if sockets.open == 0 {
        ConnectionActivity::Absent
    } else {
        ConnectionActivity::Open
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn agent() -> RunningAgent {
        RunningAgent {
            pid: 20,
            started: 7,
            uid: 1000,
            name: ebbtide_api::Agent::Codex,
            works: false,
            only_stirs: false,
            is_lasting: false,
            uses: String::new(),
            own: vec![20],
            children: vec![],
        }
    }

    fn observation(received_bytes: u64, grown: u64) -> AgentObservation {
        let sockets = Sockets { open: 1, is_asked: false, received_bytes, sent_bytes: 0 };
        AgentObservation { process: (20, 7), sockets: Some(sockets), grown, status: None }
    }

    #[test]
    fn connections_are_judged_by_what_moves_on_them() {
        let one = |received_bytes, is_asked| Sockets { open: 1, received_bytes, is_asked, sent_bytes: 0 };
        let connection = |now: &Sockets, before: Option<u64>| {
            connection(now, before.map(|received| one(received, false)).as_ref(), &mut false)
        };
        assert_eq!(connection(&Sockets::default(), Some(0)), ConnectionActivity::Absent);
        assert_eq!(
            connection(&one(500, false), None),
            ConnectionActivity::Open,
            "the first look knows no difference"
        );
        assert_eq!(connection(&one(539, false), Some(500)), ConnectionActivity::Open, "a ping");
        assert_eq!(connection(&one(700, false), Some(500)), ConnectionActivity::Trickling);
        assert_eq!(connection(&one(1500, false), Some(500)), ConnectionActivity::Moving);
        assert_eq!(connection(&one(500, true), Some(500)), ConnectionActivity::Asked);
    }

    #[test]
    fn a_question_over_http_2_waits_for_its_answer_although_its_receipt_was_acknowledged() {
        let mut tracker = ActivityTracker::default();
        let mut look = |sent_bytes, received_bytes| {
            let sockets = Some(Sockets { open: 1, is_asked: false, received_bytes, sent_bytes });
            tracker
                .compare(&[agent()], &[AgentObservation { sockets, ..observation(0, 3) }])
                .remove(0)
                .connection
        };
        assert_eq!(look(0, 0), ConnectionActivity::Open);
        assert_eq!(look(5000, 83), ConnectionActivity::Asked);
        for pings in 1..100 {
            assert_eq!(look(5000 + 39 * pings, 83 + 39 * pings), ConnectionActivity::Asked);
        }
        assert_eq!(look(9000, 5200), ConnectionActivity::Moving, "the answer");
        assert_eq!(look(9039, 5239), ConnectionActivity::Open);
    }

    #[test]
    fn what_cannot_be_read_for_a_while_has_not_moved_meanwhile() {
        let mut tracker = ActivityTracker::default();
        let mut look = |observation: Option<AgentObservation>| {
            let activity = tracker.compare(&[agent()], observation.as_slice()).remove(0);
            (activity.connection, activity.writes)
        };
        assert_eq!(look(Some(observation(5000, 3))), (ConnectionActivity::Open, false), "the first look");
        assert_eq!(
            look(Some(AgentObservation { sockets: None, ..observation(0, 3) })),
            (ConnectionActivity::Unreadable, false)
        );
        assert_eq!(look(None), (ConnectionActivity::Unreadable, false));
        assert_eq!(look(Some(observation(5000, 3))), (ConnectionActivity::Open, false));
        assert_eq!(look(Some(observation(5200, 4))), (ConnectionActivity::Trickling, true));
    }
}
