//! Who judges: our engine and the baselines, behind one seam.

use super::baseline::{Baseline, Rule};
use ebbtide_api::vm::VmPolicy;
use ebbtide_api::why::Verdict;
use ebbtide_idle_agent::idle::trace::Entry;
use ebbtide_idle_agent::idle::trace::replay::Player;
use ebbtide_idle_agent::os::clock::Moment;

/// Which.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// The idle-agent's.
    Ours,
    /// One signal, and a timer.
    Baseline(Rule),
}

impl Kind {
    /// All of them, ours first.
    pub const ALL: [Self; 7] = [
        Self::Ours,
        Self::Baseline(Rule::Connections),
        Self::Baseline(Rule::Process),
        Self::Baseline(Rule::FileTimes),
        Self::Baseline(Rule::Processor),
        Self::Baseline(Rule::Turn),
        Self::Baseline(Rule::Script),
    ];

    /// For people.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ours => "Ebbtide",
            Self::Baseline(rule) => rule.name(),
        }
    }
}

/// A judge in the middle of a trace.
pub enum Engine {
    /// The idle-agent's, through the replay.
    Ours(Box<Player>),
    /// One signal, and a timer.
    Baseline(Box<Baseline>),
}

impl Engine {
    /// Begins.
    pub fn new(kind: Kind, policy: &VmPolicy) -> Self {
        match kind {
            Kind::Ours => Self::Ours(Box::new(Player::new(policy.clone()))),
            Kind::Baseline(rule) => Self::Baseline(Box::new(Baseline::new(rule, policy))),
        }
    }

    /// Takes an entry in; after a look it says whether the workspace would sleep now.
    pub fn take(&mut self, at: Moment, entry: &Entry) -> Option<bool> {
        match self {
            Self::Ours(player) => player.take(at, entry).map(|why| why.verdict == Verdict::Idle),
            Self::Baseline(baseline) => baseline.take(at, entry),
        }
    }

    /// How long it may keep a workspace in which nothing happens, by all bounds that it has.
    pub fn bound_secs(&self, policy: &VmPolicy) -> u64 {
        let idle = policy.idle_timeout_secs;
        match self {
            Self::Ours(_) => {
                let VmPolicy { unknown_grace_secs, waiting_for_human_secs, .. } = policy;
                let VmPolicy { agent_silence_secs, background_secs, .. } = policy;
                idle + unknown_grace_secs + waiting_for_human_secs + agent_silence_secs + background_secs
            }
            // It has a timer and nothing else: what has not let it run out within two of its periods never does.
            Self::Baseline(_) => idle * 2 + 600,
        }
    }
}
