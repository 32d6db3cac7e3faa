//! Counts: what an engine did in each segment, and sums of that.

use super::baseline::Rule;
use super::case::{Case, Label};
use super::engine::{Engine, Kind};
use super::tail::Tail;
use super::variant::Variant;
use ebbtide_api::vm::VmPolicy;
use ebbtide_idle_agent::idle::judge::every;
use ebbtide_idle_agent::idle::trace::Entry;
use ebbtide_idle_agent::os::clock::Moment;

/// How much later than the idle timeout a workspace may sleep and still be in time: a minute with the usual half hour,
/// and three looks at the least.
fn late_ms(policy: &VmPolicy) -> u64 {
    let looks_ms = 3 * every(policy).as_secs() * 1000;
    (policy.idle_timeout_secs * 1000 / 30).max(looks_ms)
}

/// What happened in one segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Score {
    /// Stayed awake while there was work.
    Stayed,
    /// Was put to sleep while there was work, so long after the segment's begin.
    Killed {
        /// Milliseconds.
        after_ms: u64,
    },
    /// Slept in time, so long after the true end.
    Slept {
        /// Milliseconds, suspensions left out.
        after_ms: u64,
    },
    /// Slept, but late.
    Late {
        /// Milliseconds, suspensions left out.
        after_ms: u64,
    },
    /// Had not slept when its bounds were over.
    Unbounded,
    /// Was put to sleep while there was work of which a report alone tells, and that report is lost or out of order.
    Untold {
        /// Milliseconds after the segment's begin.
        after_ms: u64,
    },
    /// The segment ended before it could be told.
    TooShort,
}

impl Score {
    /// What was wrong, in words; absent where nothing was.
    pub fn wrong(&self) -> Option<String> {
        match self {
            Self::Stayed | Self::Slept { .. } | Self::TooShort => None,
            Self::Killed { after_ms } => Some(format!("cut off after {} s of work", after_ms / 1000)),
            Self::Untold { after_ms } => {
                Some(format!("cut off after {} s of work, of which nothing tells", after_ms / 1000))
            }
            Self::Late { after_ms } => Some(format!("slept {} s after the end of work", after_ms / 1000)),
            Self::Unbounded => Some("kept without end".to_owned()),
        }
    }
}

/// Sums.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tally {
    /// Work went on, and the workspace stayed.
    pub stayed: usize,
    /// Work went on, and it was put to sleep.
    pub killed: usize,
    /// The same where nothing tells of that work any more; not among `killed`.
    pub untold: usize,
    /// Work was over, and it slept in time.
    pub slept: usize,
    /// Work was over, and it slept late.
    pub late: usize,
    /// Work was over, and it never slept.
    pub unbounded: usize,
    /// Of all that slept: how long after the true end, in thousandths of the idle timeout.
    pub waste: Vec<u64>,
}

impl Tally {
    /// Counts one more.
    pub fn add(&mut self, score: &Score, idle_timeout_secs: u64) {
        let share = |after_ms: &u64| after_ms / idle_timeout_secs.max(1);
        match score {
            Score::Stayed => self.stayed += 1,
            Score::Killed { .. } => self.killed += 1,
            Score::Slept { after_ms } => {
                self.slept += 1;
                self.waste.push(share(after_ms));
            }
            Score::Late { after_ms } => {
                self.late += 1;
                self.waste.push(share(after_ms));
            }
            Score::Untold { .. } => self.untold += 1,
            Score::Unbounded => self.unbounded += 1,
            Score::TooShort => {}
        }
    }

    /// Takes another's counts over.
    pub fn merge(&mut self, other: Self) {
        self.stayed += other.stayed;
        self.killed += other.killed;
        self.untold += other.untold;
        self.slept += other.slept;
        self.late += other.late;
        self.unbounded += other.unbounded;
        self.waste.extend(other.waste);
    }

    /// Segments in which work went on, and something told of it.
    pub fn must_stay(&self) -> usize {
        self.stayed + self.killed
    }

    /// Segments in which it was over.
    pub fn must_sleep(&self) -> usize {
        self.slept + self.late + self.unbounded
    }

    /// The waste, in thousandths of the idle timeout, that such a share of all segments without work does not exceed; absent where that share never slept.
    pub fn waste_at(&self, share: f64) -> Option<u64> {
        let mut waste = self.waste.clone();
        waste.sort_unstable();
        let rank = (share * self.must_sleep() as f64).ceil().max(1.0) as usize;
        waste.get(rank - 1).copied()
    }
}

/// The 95 % interval of a rate (Wilson).
pub fn interval(hits: usize, of: usize) -> (f64, f64) {
    if of == 0 {
        return (0.0, 1.0);
    }
    let (hits, of, z) = (hits as f64, of as f64, 1.959_964);
    let rate = hits / of;
    let scale = 1.0 + z * z / of;
    let middle = rate + z * z / (2.0 * of);
    let width = z * (rate * (1.0 - rate) / of + z * z / (4.0 * of * of)).sqrt();
    (((middle - width) / scale).max(0.0), ((middle + width) / scale).min(1.0))
}

/// Judges a variant, and scores each of its segments.
pub fn judge(case: &Case, variant: &Variant, kind: Kind) -> Vec<Score> {
    if matches!(kind, Kind::Baseline(Rule::FileTimes | Rule::Script)) && !case.knows_files() {
        return Vec::new();
    }
    let mut engine = Engine::new(kind, &case.policy);
    let mut idle: Vec<Option<Moment>> = vec![None; variant.segments.len()];
    let is_look = |entry: &Entry| matches!(entry, Entry::Look(_));
    // The last looks may be missing in the variant; what comes after them does not come sooner for that.
    let last = case.entries.iter().rev().find(|(_, entry)| is_look(entry)).map_or(0, |(at, _)| at.0);
    let end = Moment(last + variant.suspended.iter().map(|(_, length)| *length).sum::<u64>());
    for (at, entry) in &variant.events {
        if engine.take(*at, entry) == Some(true)
            && let Some(place) = variant
                .segments
                .iter()
                .position(|segment| *at >= segment.from && segment.to.is_none_or(|to| *at < to))
        {
            idle[place].get_or_insert(*at);
        }
    }
    let bound_ms = engine.bound_secs(&case.policy) * 1000;
    let count = variant.segments.len();
    let mut scores = Vec::with_capacity(count);
    for (place, segment) in variant.segments.iter().enumerate() {
        let slept = idle[place];
        scores.push(match segment.label {
            Label::MustStay => slept.map_or(Score::Stayed, |at| {
                let after_ms = at.0 - segment.from.0;
                if segment.is_untold { Score::Untold { after_ms } } else { Score::Killed { after_ms } }
            }),
            Label::MustSleep => {
                let is_open = segment.to.is_none();
                let limit_ms =
                    case.policy.idle_timeout_secs * 1000 + late_ms(&case.policy) + segment.grace_ms;
                let end = segment.to.unwrap_or(end);
                let slept = match slept {
                    None if is_open => {
                        let bound_ms = bound_ms + segment.grace_ms + late_ms(&case.policy);
                        watch_on(&mut engine, case, variant, end, bound_ms)
                    }
                    slept => slept,
                };
                let suspended = |until: Moment| -> u64 {
                    let within = |at: &Moment| *at > segment.from && *at <= until;
                    variant.suspended.iter().filter(|(at, _)| within(at)).map(|(_, length)| *length).sum()
                };
                match slept {
                    Some(at) => {
                        let after_ms = (at.0 - segment.from.0).saturating_sub(suspended(at));
                        if after_ms <= limit_ms {
                            Score::Slept { after_ms }
                        } else {
                            Score::Late { after_ms }
                        }
                    }
                    None if is_open => Score::Unbounded,
                    None => {
                        let length = (end.0 - segment.from.0).saturating_sub(suspended(end));
                        if length > bound_ms + segment.grace_ms + late_ms(&case.policy) {
                            Score::Unbounded
                        } else if length > limit_ms {
                            Score::Late { after_ms: length }
                        } else {
                            Score::TooShort
                        }
                    }
                }
            }
        });
    }
    scores
}

/// Goes on with a trace that has ended, until the engine sleeps or its bounds are over.
fn watch_on(
    engine: &mut Engine,
    case: &Case,
    variant: &Variant,
    end: Moment,
    bound_ms: u64,
) -> Option<Moment> {
    let original = case.segments.last()?.from;
    let mut tail = Tail::of(case, original)?;
    let mut at = end;
    let until = end.0 + bound_ms;
    while at.0 < until {
        let (passed, mut look) = tail.next()?;
        variant.place(&mut look);
        at.0 += passed.max(1);
        if engine.take(at, &Entry::Look(Box::new(look))) == Some(true) {
            return Some(at);
        }
    }
    None
}
