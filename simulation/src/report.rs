//! What walks came to, summed up; the same whatever the number of threads.

use super::faults::{Disruption, Kind};
use std::collections::BTreeMap;

/// The sums and extremes of any number of walks.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Report {
    pub lifecycles: u64,
    pub steps: u64,
    pub machines: u64,
    pub decisions: u64,
    pub effects: u64,
    /// Times that an invocation had no calls left for what was due.
    pub left: u64,
    pub slept: u64,
    pub rescued: u64,
    pub salvaged: u64,
    pub told_lost: u64,
    /// Calls that a provider's bad spell struck.
    pub calls_struck: u64,
    /// Time in which machines existed.
    pub machine_ms: u64,
    /// Time of machines beyond their hard end for which nobody but us can be blamed, enforcement latency included.
    pub over_ms: u64,
    /// The longest such time of one machine.
    pub worst_over_ms: u64,
    /// Time beyond it in which the provider refused every attempt to delete, or owed the answer.
    pub refused_ms: u64,
    /// Time beyond it in which the platform did not run the control plane.
    pub asleep_ms: u64,
    /// Longest time in a passing state, counted from the last disruption.
    pub worst_converge_ms: u64,
    /// Living machines that ended for silence before their lifetime was over, work lost, …: each ends its walk.
    pub broken: BTreeMap<&'static str, u64>,
    pub faults: BTreeMap<&'static str, u64>,
    pub troubles: BTreeMap<&'static str, u64>,
    pub states: BTreeMap<&'static str, u64>,
}

impl Report {
    /// Counts what struck.
    pub fn count(&mut self, struck: &[Disruption]) {
        for disruption in struck {
            *self.faults.entry(disruption.kind.as_str()).or_default() += 1;
        }
    }

    /// Adds other walks' figures.
    pub fn add(&mut self, other: &Self) {
        self.lifecycles += other.lifecycles;
        self.steps += other.steps;
        self.machines += other.machines;
        self.decisions += other.decisions;
        self.effects += other.effects;
        self.left += other.left;
        self.slept += other.slept;
        self.rescued += other.rescued;
        self.salvaged += other.salvaged;
        self.told_lost += other.told_lost;
        self.calls_struck += other.calls_struck;
        self.machine_ms += other.machine_ms;
        self.over_ms += other.over_ms;
        self.worst_over_ms = self.worst_over_ms.max(other.worst_over_ms);
        self.refused_ms += other.refused_ms;
        self.asleep_ms += other.asleep_ms;
        self.worst_converge_ms = self.worst_converge_ms.max(other.worst_converge_ms);
        add(&mut self.broken, &other.broken);
        add(&mut self.faults, &other.faults);
        add(&mut self.troubles, &other.troubles);
        add(&mut self.states, &other.states);
    }

    /// The table, a line each.
    pub fn lines(&self, latency_secs: u64) -> Vec<String> {
        let hours = |ms: u64| format!("{:.1}", ms as f64 / 3_600_000.0);
        let broken =
            |promise: super::Promise| self.broken.get(promise.as_str()).copied().unwrap_or(0).to_string();
        let mut lines = vec![
            line("lifecycles", &self.lifecycles.to_string()),
            line("steps", &self.steps.to_string()),
            line("decisions by input", &self.decisions.to_string()),
            line("effects performed", &self.effects.to_string()),
            line("  left to the next invocation", &self.left.to_string()),
            line("machines", &self.machines.to_string()),
            line("machine-hours", &hours(self.machine_ms)),
        ];
        for kind in Kind::ALL {
            let count = self.faults.get(kind.as_str()).copied().unwrap_or(0);
            lines.push(line(&format!("  {}", kind.as_str()), &count.to_string()));
        }
        lines.push(line("provider calls struck", &self.calls_struck.to_string()));
        lines
            .extend(self.troubles.iter().map(|(name, n)| line(&format!("  spells: {name}"), &n.to_string())));
        lines.extend(self.states.iter().map(|(state, n)| line(&format!("at rest: {state}"), &n.to_string())));
        lines.extend([
            line("times put to sleep", &self.slept.to_string()),
            line("rescued into an image", &self.rescued.to_string()),
            line("salvaged from it", &self.salvaged.to_string()),
            line("told that work is lost", &self.told_lost.to_string()),
            line("longest wait to converge, s", &(self.worst_converge_ms / 1000).to_string()),
            line("worst overshoot past the hard end, s", &(self.worst_over_ms / 1000).to_string()),
            line(&format!("machine-hours beyond hard end + {latency_secs} s"), &hours(self.over_ms)),
            line("  besides: every deletion refused, h", &hours(self.refused_ms)),
            line("  besides: control plane not run, h", &hours(self.asleep_ms)),
            line("destroyed without receipt or decision", &broken(super::Promise::WorkIsKept)),
            line("live machines killed for silence", &broken(super::Promise::TheLivingAreLeft)),
        ]);
        lines
    }
}

fn add(to: &mut BTreeMap<&'static str, u64>, from: &BTreeMap<&'static str, u64>) {
    for (name, count) in from {
        *to.entry(name).or_default() += count;
    }
}

fn line(name: &str, value: &str) -> String {
    format!("{name:<44}{value:>14}")
}
