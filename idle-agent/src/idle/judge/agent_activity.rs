//! What vouches for agents, compared with the look before: connections on which something moves, transcripts that grow.
//! Pure. What cannot be read is no change.

use super::progress::Agent;
use super::turns::{AgentActivity, ConnectionActivity, SessionStatus};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Less than this between two looks is a ping: one of a TLS connection has 39 bytes, two have 78.
const CONTENT_BYTES: u64 = 100;
/// From here on what goes out is a question to a model: it carries all that was said before.
const QUESTION_BYTES: u64 = 1000;
/// From here on it is an answer whatever comes after: what Codex hears at its prompt, minutes apart, has 111 bytes.
const ANSWER_BYTES: u64 = 1000;

/// What was read about one agent, or of a program in a terminal its connections.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AgentObservation {
    /// Its process: id and start.
    pub process: (u32, u64),
    /// Its connections; absent where they cannot be read.
    pub sockets: Option<Sockets>,
    /// A number that changes when its transcripts grow.
    pub grown: u64,
    /// What it says of itself in its session file.
    pub status: Option<SessionStatus>,
}

/// The connections that an agent opened.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sockets {
    /// How many there are.
    pub open: u32,
    /// Whether something was asked on one and nothing has come since.
    pub is_asked: bool,
    /// Bytes of content that came in so far on all of them.
    pub received_bytes: u64,
    /// The same that went out; zero in traces from before it was read.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub sent_bytes: u64,
}

fn is_zero(bytes: &u64) -> bool {
    *bytes == 0
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
    pub fn compare(&mut self, agents: &[Agent], observations: &[AgentObservation]) -> Vec<AgentActivity> {
        let mut after = BTreeMap::new();
        let mut seen = Vec::with_capacity(agents.len());
        for agent in agents {
            let key = (agent.pid, agent.started);
            let observation = observations.iter().find(|observation| observation.process == key);
            let before = self.before.get(&key).copied();
            let known = before.and_then(|before| before.sockets);
            let sockets = observation.and_then(|observation| observation.sockets);
            let mut waits = before.is_some_and(|before| before.waits);
            let line = sockets
                .map_or(ConnectionActivity::Unreadable, |sockets| line(&sockets, known.as_ref(), &mut waits));
            let sockets = sockets.or(known);
            let grown =
                observation.map(|observation| observation.grown).or(before.map(|before| before.grown));
            if let Some(grown) = grown {
                after.insert(key, Before { sockets, grown, waits });
            }
            seen.push(AgentActivity {
                pid: agent.pid,
                started: agent.started,
                name: agent.name.to_owned(),
                works: agent.works,
                only_stirs: agent.only_stirs,
                is_lasting: agent.is_lasting,
                writes: before.is_some_and(|before| Some(before.grown) != grown),
                line,
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
            let line = line(&sockets, known.as_ref(), &mut false);
            self.is_job_talking |= matches!(
                line,
                ConnectionActivity::Asked | ConnectionActivity::Trickling | ConnectionActivity::Moving
            );
            after.insert(
                observation.process,
                Before { sockets: Some(sockets), grown: observation.grown, waits: false },
            );
        }
        self.before = after;
        seen
    }

    /// Whether in the last look a program in a terminal had asked something over the network, or got an answer.
    pub fn is_job_talking(&self) -> bool {
        self.is_job_talking
    }
}

/// What agents may have left behind, which is asked whether it watches files: in a turn everything counts. Where reports say
/// one thing and the session file another, the file is believed here; it costs no more than a few reads.
pub fn left_behind(
    agents: &[Agent],
    observations: &[AgentObservation],
    is_in_turn: impl Fn((u32, u64)) -> bool,
) -> Vec<(u32, u64)> {
    let is_left = |agent: &&Agent| {
        let key = (agent.pid, agent.started);
        let status = observations
            .iter()
            .find(|observation| observation.process == key)
            .and_then(|observation| observation.status);
        !is_in_turn(key) || matches!(status, Some(SessionStatus::Idle | SessionStatus::Shell))
    };
    agents.iter().filter(is_left).flat_map(Agent::programs).collect()
}

/// What moves on connections since the look before, and whether an answer is still waited for. Over HTTP/2 the receipt of
/// a question is acknowledged at once, with less than an answer has; pings go both ways meanwhile.
fn line(sockets: &Sockets, before: Option<&Sockets>, waits: &mut bool) -> ConnectionActivity {
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

    fn agent() -> Agent {
        Agent {
            pid: 20,
            started: 7,
            uid: 1000,
            name: "codex",
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
        let line = |now: &Sockets, before: Option<u64>| {
            line(now, before.map(|received| one(received, false)).as_ref(), &mut false)
        };
        assert_eq!(line(&Sockets::default(), Some(0)), ConnectionActivity::Absent);
        assert_eq!(
            line(&one(500, false), None),
            ConnectionActivity::Open,
            "the first look knows no difference"
        );
        assert_eq!(line(&one(539, false), Some(500)), ConnectionActivity::Open, "a ping");
        assert_eq!(line(&one(700, false), Some(500)), ConnectionActivity::Trickling);
        assert_eq!(line(&one(1500, false), Some(500)), ConnectionActivity::Moving);
        assert_eq!(line(&one(500, true), Some(500)), ConnectionActivity::Asked);
    }

    #[test]
    fn a_question_over_http_2_waits_for_its_answer_although_its_receipt_was_acknowledged() {
        let mut tracker = ActivityTracker::default();
        let mut look = |sent_bytes, received_bytes| {
            let sockets = Some(Sockets { open: 1, is_asked: false, received_bytes, sent_bytes });
            tracker.compare(&[agent()], &[AgentObservation { sockets, ..observation(0, 3) }]).remove(0).line
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
            let seen = tracker.compare(&[agent()], observation.as_slice()).remove(0);
            (seen.line, seen.writes)
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
