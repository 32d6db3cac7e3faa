//! Variants of a trace: what a bad day does to the facts, while what happened stays the same. The same seed gives the
//! same variants.
//!
//! The labels stay, because the work does. Where a disturbance removes evidence that a label rests on, the segment
//! keeps its label and is granted the bounded time that docs/reference/idle.md promises for it, and no more: the grace for what
//! is unclear (a report lost or out of order, a signal unreadable), the time in which nobody looked, and what a restart
//! of the idle-agent may forget. Where nothing but one report told of work and that one is lost or out of order, no
//! judge can know of it; the segment is marked so, and counted apart. Time in which the machine was suspended is nobody's.

use super::case::{Case, Segment};
use ebbtide_idle_agent::idle::judge::{counted, every};
use ebbtide_idle_agent::idle::trace::{Entry, Look};
use ebbtide_idle_agent::os::clock::Moment;
use fastrand::Rng;
use std::borrow::Cow;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::time::Duration;

/// What the idle-agent may forget at a restart: it stores its clocks once a minute.
const FORGOTTEN_MS: u64 = 60_000;

/// The kernel tells starts of processes in ticks of 10 ms.
const MILLIS_PER_TICK: u64 = 10;

/// What happens to the facts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Disturbance {
    /// Single looks are missing.
    Dropped,
    /// The idle-agent does not get to look for up to two minutes.
    Stalled,
    /// Looks come late.
    Late,
    /// A look shows what the one before showed.
    Stale,
    /// A look is repeated.
    Doubled,
    /// A report is lost.
    ReportLost,
    /// A report comes late, after others.
    ReportLate,
    /// A report comes twice.
    ReportDoubled,
    /// Connections cannot be read for a while.
    BlindToSockets,
    /// Processes cannot be read for a while.
    BlindToProcesses,
    /// Terminals cannot be read for a while.
    BlindToTerminals,
    /// The machine is suspended and its clock steps.
    Suspended,
    /// The idle-agent begins again.
    Restarted,
}

const ALL: [Disturbance; 13] = [
    Disturbance::Dropped,
    Disturbance::Stalled,
    Disturbance::Late,
    Disturbance::Stale,
    Disturbance::Doubled,
    Disturbance::ReportLost,
    Disturbance::ReportLate,
    Disturbance::ReportDoubled,
    Disturbance::BlindToSockets,
    Disturbance::BlindToProcesses,
    Disturbance::BlindToTerminals,
    Disturbance::Suspended,
    Disturbance::Restarted,
];

/// A disturbed trace.
#[derive(Debug, Clone)]
pub struct Variant<'a> {
    /// What is seen.
    pub events: Vec<(Moment, Cow<'a, Entry>)>,
    /// What is right in it.
    pub segments: Vec<Segment>,
    /// Suspensions: where they end and how long they were.
    pub suspended: Vec<(Moment, u64)>,
    /// The same as they were made, one upon the other: from when on, and how much later everything is.
    shifts: Vec<(u64, u64)>,
    disturbances: Vec<Disturbance>,
}

/// The trace as it is.
pub fn unchanged(case: &Case) -> Variant<'_> {
    Variant {
        events: case.entries.iter().map(|(at, entry)| (*at, Cow::Borrowed(entry))).collect(),
        segments: case.segments.clone(),
        suspended: Vec::new(),
        shifts: Vec::new(),
        disturbances: Vec::new(),
    }
}

/// The variant of that number: one to three disturbances.
pub fn make(case: &Case, seed: u64, number: usize) -> Variant<'_> {
    let mut hasher = DefaultHasher::new();
    (seed, &case.name, number).hash(&mut hasher);
    let mut dice = Rng::with_seed(hasher.finish());
    let mut variant = unchanged(case);
    for _ in 0..dice.usize(1..=3) {
        let disturbance = ALL[dice.usize(..ALL.len())];
        variant.disturbances.push(disturbance);
        variant.disturb(disturbance, case, &mut dice);
    }
    let unseen = variant.unseen_ms(case);
    variant.grant(unseen);
    variant
}

impl Variant<'_> {
    /// What was done to it.
    pub fn what(&self) -> String {
        self.disturbances.iter().map(|one| format!("{one:?}")).collect::<Vec<_>>().join(", ")
    }

    fn disturb(&mut self, disturbance: Disturbance, case: &Case, dice: &mut Rng) {
        let grace_ms = case.policy.unknown_grace_secs * 1000;
        let every_ms = every(&case.policy).as_millis() as u64;
        match disturbance {
            Disturbance::Dropped => {
                let share = dice.f64() * 0.3;
                self.events.retain(|(_, entry)| !is_look(entry) || dice.f64() >= share);
            }
            Disturbance::Stalled => {
                let (from, to) = self.window(every_ms * 12, dice);
                self.events.retain(|(at, entry)| !is_look(entry) || *at < from || *at >= to);
            }
            Disturbance::Late => self.delay_looks(every_ms / 4, dice),
            Disturbance::Stale => self.look_stale(dice),
            Disturbance::Doubled => {
                if let Some(at) = self.pick(is_look, dice) {
                    self.events.insert(at, self.events[at].clone());
                }
            }
            Disturbance::ReportLost => {
                if let Some(at) = self.pick(is_report, dice) {
                    let (told, _) = self.events.remove(at);
                    self.untell(told, told);
                    self.grant(grace_ms);
                }
            }
            Disturbance::ReportLate => {
                if let Some(at) = self.pick(is_report, dice) {
                    let (told, report) = self.events.remove(at);
                    let late = Moment(told.0 + dice.u64(1..=every_ms * 2));
                    let place = self.events.partition_point(|(at, _)| *at <= late);
                    self.events.insert(place, (late, report));
                    self.untell(told, late);
                    self.grant(grace_ms);
                }
            }
            Disturbance::ReportDoubled => {
                if let Some(at) = self.pick(is_report, dice) {
                    self.events.insert(at, self.events[at].clone());
                }
            }
            Disturbance::BlindToSockets | Disturbance::BlindToProcesses | Disturbance::BlindToTerminals => {
                let (from, to) = self.window(grace_ms / 2, dice);
                for (at, entry) in &mut self.events {
                    if *at >= from && *at < to {
                        blind(entry, disturbance);
                    }
                }
                self.grant(grace_ms);
            }
            Disturbance::Suspended => self.suspend(dice),
            Disturbance::Restarted => {
                if let Some(at) = self.pick(is_look, dice) {
                    self.events.insert(at, (self.events[at].0, Cow::Owned(Entry::Restarted)));
                    self.grant(FORGOTTEN_MS + every_ms);
                }
            }
        }
    }

    /// Makes a look of the undisturbed trace one of this variant: what began after a suspension began later.
    pub fn place(&self, look: &mut Look) {
        for (from, length) in &self.shifts {
            shift(look, *from, *length);
        }
    }

    /// A report of between then and then, which alone tells of work, is lost or comes in another order.
    fn untell(&mut self, from: Moment, to: Moment) {
        for segment in &mut self.segments {
            segment.is_untold |= segment.told_at.is_some_and(|told| from <= told && told <= to);
        }
    }

    fn grant(&mut self, more_ms: u64) {
        for segment in &mut self.segments {
            segment.grace_ms += more_ms;
        }
    }

    /// Time between looks that no idle-agent may count as quiet, because nobody looked.
    fn unseen_ms(&self, case: &Case) -> u64 {
        let looks: Vec<u64> =
            self.events.iter().filter(|(_, entry)| is_look(entry)).map(|(at, _)| at.0).collect();
        let unseen = |gap: Duration| gap.saturating_sub(counted(gap, &case.policy)).as_millis() as u64;
        let gaps: u64 = looks.windows(2).map(|pair| unseen(Duration::from_millis(pair[1] - pair[0]))).sum();
        let suspended: u64 = self.suspended.iter().map(|(_, length)| *length).sum();
        gaps.saturating_sub(suspended)
    }

    /// A stretch of the trace, up to so long.
    fn window(&self, longest_ms: u64, dice: &mut Rng) -> (Moment, Moment) {
        let (Some((first, _)), Some((last, _))) = (self.events.first(), self.events.last()) else {
            return (Moment(0), Moment(0));
        };
        let from = dice.u64(first.0..=last.0);
        (Moment(from), Moment(from + dice.u64(0..=longest_ms)))
    }

    fn pick(&self, wanted: fn(&Entry) -> bool, dice: &mut Rng) -> Option<usize> {
        let places: Vec<usize> = (0..self.events.len()).filter(|at| wanted(&self.events[*at].1)).collect();
        (!places.is_empty()).then(|| places[dice.usize(..places.len())])
    }

    /// Delays looks, each by its own time, never past what comes after it.
    fn delay_looks(&mut self, longest_ms: u64, dice: &mut Rng) {
        for at in 0..self.events.len() {
            if is_look(&self.events[at].1) {
                let late = self.events[at].0.0 + dice.u64(0..=longest_ms);
                let next = self.events.get(at + 1).map_or(u64::MAX, |(next, _)| next.0.saturating_sub(1));
                self.events[at].0 = Moment(late.min(next).max(self.events[at].0.0));
            }
        }
    }

    fn look_stale(&mut self, dice: &mut Rng) {
        let looks: Vec<usize> = (0..self.events.len()).filter(|at| is_look(&self.events[*at].1)).collect();
        if looks.len() > 2 {
            let place = dice.usize(1..looks.len());
            self.events[looks[place]].1 = self.events[looks[place - 1]].1.clone();
        }
    }

    /// Everything from some moment on happens later.
    ///
    /// A hold ends by the machine's clock, which goes on: with one in force a stretch in which the workspace must stay
    /// would be another one.
    fn suspend(&mut self, dice: &mut Rng) {
        if self.events.iter().any(|(_, entry)| is_hold(entry)) {
            return;
        }
        let Some(place) = self.pick(is_look, dice) else { return };
        let from = self.events[place].0;
        // Whole ticks, in which the starts of processes are told.
        let length = dice.u64(1_000..=4 * 3_600_000) / MILLIS_PER_TICK * MILLIS_PER_TICK;
        let later = |at: &mut Moment| {
            if *at >= from {
                at.0 += length;
            }
        };
        for (at, entry) in &mut self.events {
            if *at >= from {
                match entry.to_mut() {
                    Entry::Look(look) => shift(look, from.0, length),
                    Entry::Hook { process, .. } => later_tick(&mut process.1, from.0, length),
                    _ => {}
                }
            }
            later(at);
        }
        self.shifts.push((from.0, length));
        for segment in &mut self.segments {
            later(&mut segment.from);
            segment.to.iter_mut().for_each(later);
            segment.told_at.iter_mut().for_each(later);
        }
        self.suspended.iter_mut().for_each(|(at, _)| later(at));
        self.suspended.push((Moment(from.0 + length), length));
    }
}

fn later_tick(started: &mut u64, from_ms: u64, length_ms: u64) {
    if *started * MILLIS_PER_TICK >= from_ms {
        *started += length_ms / MILLIS_PER_TICK;
    }
}

fn shift(look: &mut Look, from_ms: u64, length_ms: u64) {
    for process in look.facts.processes.iter_mut().flatten() {
        later_tick(&mut process.started, from_ms, length_ms);
    }
    for observation in &mut look.facts.observations {
        later_tick(&mut observation.process.1, from_ms, length_ms);
    }
}

fn is_look(entry: &Entry) -> bool {
    matches!(entry, Entry::Look(_))
}

fn is_hold(entry: &Entry) -> bool {
    matches!(entry, Entry::Hold { .. } | Entry::KeepAlive { .. } | Entry::Holds(_))
}

fn is_report(entry: &Entry) -> bool {
    matches!(entry, Entry::Hook { .. })
}

fn blind(entry: &mut Cow<'_, Entry>, disturbance: Disturbance) {
    if !is_look(entry) {
        return;
    }
    if let Entry::Look(look) = entry.to_mut() {
        match disturbance {
            Disturbance::BlindToProcesses => {
                look.facts.processes = Err("it cannot be read".to_owned());
                look.facts.observations.clear();
            }
            Disturbance::BlindToTerminals => look.facts.terminals = Err("it cannot be read".to_owned()),
            _ => look.facts.observations.iter_mut().for_each(|observation| observation.sockets = None),
        }
    }
}
