//! What the sweep remembers between runs: one JSON text in the index, read back by later versions.
//!
//! Losing it costs a round from the beginning and nothing else. It is bounded: findings are kept up to a number.

use super::walk::Walk;
use ebbtide_api::Timestamp;
use ebbtide_api::sweep::{SweepFinding, SweepMode, SweepPart, SweepPartReport, SweepReport};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Findings that are kept for each part.
const FINDINGS_KEPT: usize = 20;

/// All parts, and the last run.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct SweepState {
    /// How the parts stand.
    pub parts: BTreeMap<SweepPart, PartState>,
    /// When it last ran.
    pub last_run_at: Option<Timestamp>,
    /// Calls that run made.
    pub calls: u32,
    /// How many things it could still have ended.
    pub limit_left: u32,
    /// Whether the provider's token saw another project than the one that this installation began in, at the last look.
    pub other_project: bool,
}

/// Where a part goes on.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "at", rename_all = "snake_case")]
pub enum Cursor {
    /// At the beginning.
    #[default]
    Start,
    /// In a listing by id.
    Listing(Walk),
    /// After a key.
    After {
        /// A workspace's id, or a key of the bucket.
        key: String,
    },
    /// In the workspaces whose ids begin so.
    Below {
        /// How their ids begin.
        prefix: String,
        /// The last of them that was dealt with.
        after: Option<String>,
    },
}

impl Cursor {
    fn shown(&self) -> Option<String> {
        match self {
            Self::Start => None,
            Self::Listing(walk) => Some(format!("after id {} on page {}", walk.after, walk.page)),
            Self::After { key } => Some(format!("after {key}")),
            Self::Below { prefix, after: None } => Some(format!("at {prefix}…")),
            Self::Below { prefix, after: Some(after) } => Some(format!("at {prefix}… after {after}")),
        }
    }
}

/// How one part stands.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct PartState {
    /// When it had its last turn.
    pub last_run_at: Option<Timestamp>,
    /// When it last came to the end of everything.
    pub last_round_at: Option<Timestamp>,
    /// How often it has.
    pub rounds: u64,
    /// Where it goes on.
    pub cursor: Cursor,
    /// What it has looked at in this round.
    pub seen: u64,
    /// What it has ended.
    pub ended: u64,
    /// What stopped its last turn.
    pub error: Option<String>,
    /// What it found lately, newest last.
    pub findings: Vec<SweepFinding>,
}

impl PartState {
    /// Notes a finding in place of an older one about the same thing.
    pub fn note(&mut self, finding: SweepFinding) {
        self.findings.retain(|known| known.id != finding.id);
        self.findings.push(finding);
        let surplus = self.findings.len().saturating_sub(FINDINGS_KEPT);
        self.findings.drain(..surplus);
    }

    /// Notes that it came to the end of everything.
    pub fn finish_round(&mut self, now: Timestamp) {
        self.rounds = self.rounds.saturating_add(1);
        self.last_round_at = Some(now);
        self.cursor = Cursor::Start;
    }
}

impl SweepState {
    /// The report for people.
    pub fn report(&self, configured: SweepMode, asked: SweepMode, limit: u32) -> SweepReport {
        let part = |part: SweepPart| {
            let state = self.parts.get(&part).cloned().unwrap_or_default();
            SweepPartReport {
                part,
                last_run_at: state.last_run_at,
                last_round_at: state.last_round_at,
                rounds: state.rounds,
                position: state.cursor.shown(),
                seen: state.seen,
                ended: state.ended,
                error: state.error,
                findings: state.findings,
            }
        };
        SweepReport {
            mode: configured.max(asked),
            configured,
            asked,
            last_run_at: self.last_run_at,
            calls: self.calls,
            limit,
            limit_left: if self.last_run_at.is_some() { self.limit_left } else { limit },
            parts: SweepPart::ALL.map(part).to_vec(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ebbtide_api::sweep::SweepVerdict;

    fn finding(id: u64) -> SweepFinding {
        SweepFinding {
            at: Timestamp::UNIX_EPOCH,
            id: format!("server {id}"),
            workspace: None,
            generation: None,
            verdict: SweepVerdict::Leave,
            because: "somebody should look".into(),
            done: String::new(),
        }
    }

    #[test]
    fn the_stored_form_is_pinned_because_the_next_version_reads_it() {
        let mut state = SweepState { calls: 7, limit_left: 4, ..SweepState::default() };
        let walk = Walk { after: 4711, page: 3, total: Some(120) };
        let part = PartState { cursor: Cursor::Listing(walk), seen: 9, ..PartState::default() };
        state.parts.insert(SweepPart::Servers, part);
        let below = Cursor::Below { prefix: "k3".into(), after: Some("k3v7q2mzab".into()) };
        state.parts.insert(SweepPart::Names, PartState { cursor: below, ..PartState::default() });
        let json = serde_json::to_string(&state).unwrap();
        assert_eq!(
            json,
            concat!(
                r#"{"parts":{"servers":{"last_run_at":null,"last_round_at":null,"rounds":0,"cursor":{"at":"listing","#,
                r#""after":4711,"page":3,"total":120},"seen":9,"ended":0,"error":null,"findings":[]},"#,
                r#""names":{"last_run_at":null,"last_round_at":null,"rounds":0,"cursor":{"at":"below","prefix":"k3","#,
                r#""after":"k3v7q2mzab"},"seen":0,"ended":0,"error":null,"findings":[]}},"#,
                r#""last_run_at":null,"calls":7,"limit_left":4,"other_project":false}"#
            )
        );
        assert_eq!(serde_json::from_str::<SweepState>(&json).unwrap(), state);
        assert_eq!(serde_json::from_str::<SweepState>("{}").unwrap(), SweepState::default());
    }

    #[test]
    fn findings_are_bounded_and_each_thing_is_told_once() {
        let mut part = PartState::default();
        for id in 0..100 {
            part.note(finding(id));
        }
        part.note(finding(90));
        assert_eq!(part.findings.len(), FINDINGS_KEPT);
        assert_eq!(part.findings.iter().filter(|finding| finding.id == "server 90").count(), 1);
        assert_eq!(part.findings.last().unwrap().id, "server 90");
    }

    #[test]
    fn a_report_has_every_part_and_the_stricter_mode() {
        let report = SweepState::default().report(SweepMode::On, SweepMode::DryRun, 5);
        assert_eq!(report.parts.len(), SweepPart::ALL.len());
        assert_eq!((report.mode, report.limit_left), (SweepMode::DryRun, 5));
    }
}
