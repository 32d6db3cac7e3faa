//! What vouches for agents, compared with the look before: connections on which something moves, transcripts that grow.
//! Pure. What cannot be read is no change.

use super::progress::Agent;
use super::turns::{Line, Seen, Status};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Less than this between two looks is a ping: one of a TLS connection has 39 bytes, two have 78.
const CONTENT_BYTES: u64 = 100;

/// What was read about one agent, or of a program in a terminal its connections.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sight {
    /// Its process: id and start.
    pub process: (u32, u64),
    /// Its connections; absent where they cannot be read.
    pub sockets: Option<Sockets>,
    /// A number that changes when its transcripts grow.
    pub grown: u64,
    /// What it says of itself in its session file.
    pub status: Option<Status>,
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
}

/// The look before, to take differences from.
#[derive(Debug, Clone, Default)]
pub struct Sights {
    before: BTreeMap<(u32, u64), (Option<u64>, u64)>,
    is_job_talking: bool,
}

impl Sights {
    /// Says how each agent looks from outside. One that nobody looked at shows nothing readable.
    pub fn compare(&mut self, agents: &[Agent], sights: &[Sight]) -> Vec<Seen> {
        let mut after = BTreeMap::new();
        let mut seen = Vec::with_capacity(agents.len());
        for agent in agents {
            let key = (agent.pid, agent.started);
            let sight = sights.iter().find(|sight| sight.process == key);
            let before = self.before.get(&key).copied();
            let received = before.and_then(|(received, _)| received);
            let sockets = sight.and_then(|sight| sight.sockets);
            let line = sockets.map_or(Line::Unreadable, |sockets| line(&sockets, received));
            let received = sockets.map(|sockets| sockets.received_bytes).or(received);
            let grown = sight.map(|sight| sight.grown).or(before.map(|(_, grown)| grown));
            if let Some(grown) = grown {
                after.insert(key, (received, grown));
            }
            seen.push(Seen {
                pid: agent.pid,
                started: agent.started,
                name: agent.name.to_owned(),
                works: agent.works,
                only_stirs: agent.only_stirs,
                is_lasting: agent.is_lasting,
                writes: before.is_some_and(|(_, before)| Some(before) != grown),
                line,
                children: agent.children.clone(),
                status: sight.and_then(|sight| sight.status),
            });
        }
        let is_agents =
            |sight: &&Sight| agents.iter().any(|agent| (agent.pid, agent.started) == sight.process);
        self.is_job_talking = false;
        for sight in sights.iter().filter(|sight| !is_agents(sight)) {
            let Some(sockets) = sight.sockets else { continue };
            let before = self.before.get(&sight.process).and_then(|(received, _)| *received);
            self.is_job_talking |= matches!(line(&sockets, before), Line::Asked | Line::Moving);
            after.insert(sight.process, (Some(sockets.received_bytes), sight.grown));
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
    sights: &[Sight],
    is_in_turn: impl Fn((u32, u64)) -> bool,
) -> Vec<(u32, u64)> {
    let is_left = |agent: &&Agent| {
        let key = (agent.pid, agent.started);
        let status = sights.iter().find(|sight| sight.process == key).and_then(|sight| sight.status);
        !is_in_turn(key) || matches!(status, Some(Status::Idle | Status::Shell))
    };
    agents.iter().filter(is_left).flat_map(Agent::programs).collect()
}

fn line(sockets: &Sockets, before: Option<u64>) -> Line {
    if before.is_some_and(|before| sockets.received_bytes.saturating_sub(before) >= CONTENT_BYTES) {
        Line::Moving
    } else if sockets.is_asked {
        Line::Asked
    } else if sockets.open == 0 {
        Line::Absent
    } else {
        Line::Open
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

    fn sight(received_bytes: u64, grown: u64) -> Sight {
        let sockets = Sockets { open: 1, is_asked: false, received_bytes };
        Sight { process: (20, 7), sockets: Some(sockets), grown, status: None }
    }

    #[test]
    fn connections_are_judged_by_what_moves_on_them() {
        let one = |received_bytes, is_asked| Sockets { open: 1, received_bytes, is_asked };
        assert_eq!(line(&Sockets::default(), Some(0)), Line::Absent);
        assert_eq!(line(&one(500, false), None), Line::Open, "the first look knows no difference");
        assert_eq!(line(&one(539, false), Some(500)), Line::Open, "a ping");
        assert_eq!(line(&one(700, false), Some(500)), Line::Moving);
        assert_eq!(line(&one(500, true), Some(500)), Line::Asked);
    }

    #[test]
    fn what_cannot_be_read_for_a_while_has_not_moved_meanwhile() {
        let mut sights = Sights::default();
        let mut look = |sight: Option<Sight>| {
            let seen = sights.compare(&[agent()], sight.as_slice()).remove(0);
            (seen.line, seen.writes)
        };
        assert_eq!(look(Some(sight(5000, 3))), (Line::Open, false), "the first look");
        assert_eq!(look(Some(Sight { sockets: None, ..sight(0, 3) })), (Line::Unreadable, false));
        assert_eq!(look(None), (Line::Unreadable, false));
        assert_eq!(look(Some(sight(5000, 3))), (Line::Open, false));
        assert_eq!(look(Some(sight(5200, 4))), (Line::Moving, true));
    }
}
