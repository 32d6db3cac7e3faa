//! How long a boot may take.
//!
//! Pure. A boot that stands still is ended soon, and one that says ever new things without an end in hours. Only the
//! restoring of files takes as long as there are files: it may go on while it gets on, to the end of the lifetime, for
//! which money is reserved and no longer.

use crate::policy::Policy;
use crate::record::{Record, plus};
use ebbtide_api::Timestamp;

/// The times at which a boot is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct BootBounds {
    stalls_at: Timestamp,
    is_too_long_at: Timestamp,
    lifetime_ends_at: Timestamp,
}

/// Why a boot is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum BootOver {
    /// Nothing moves.
    Stalled,
    /// It had its time, and no file came back for as long.
    TooLong,
    /// The lifetime is over.
    LifetimeOver,
}

impl BootBounds {
    /// The bounds of a record's boot, of which these were heard: any progress, and restored files.
    pub(super) fn of(
        record: &Record,
        progress_at: Timestamp,
        restored_at: Option<Timestamp>,
        policy: &Policy,
    ) -> Self {
        Self {
            stalls_at: plus(progress_at, policy.boot_stall),
            is_too_long_at: plus(restored_at.unwrap_or(record.since), policy.boot_cap),
            lifetime_ends_at: record.lifetime_ends_at(),
        }
    }

    /// The first of them.
    pub(super) fn first(&self) -> Timestamp {
        self.stalls_at.min(self.is_too_long_at).min(self.lifetime_ends_at)
    }

    /// Whether the boot is over, and why.
    pub(super) fn over(&self, now: Timestamp) -> Option<BootOver> {
        if now >= self.lifetime_ends_at {
            Some(BootOver::LifetimeOver)
        } else if now >= self.stalls_at {
            Some(BootOver::Stalled)
        } else if now >= self.is_too_long_at {
            Some(BootOver::TooLong)
        } else {
            None
        }
    }
}

impl BootOver {
    /// In words.
    pub(super) fn words(self, record: &Record, policy: &Policy) -> String {
        match self {
            Self::Stalled => format!("no boot progress for {}", policy.boot_stall),
            Self::TooLong => format!("not ready within {}", policy.boot_cap),
            Self::LifetimeOver => format!("not ready within its lifetime of {}", record.spec.lifetime),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lifecycle::tests::new_record;
    use ebbtide_api::Duration;

    /// Each order of stall, cap and lifetime, and each side of every bound.
    #[test]
    fn a_boot_is_over_at_the_first_of_its_bounds_and_says_which() {
        let policy = Policy::default();
        let mut record = new_record();
        let begin = record.since;
        let after = |mins: u64| plus(begin, Duration::from_mins(mins));
        for lifetime in [1, 60, 119, 121, 24 * 60] {
            record.spec.lifetime = Duration::from_mins(lifetime);
            for moved in (0..=30 * 60).step_by(7) {
                for restored in [None, Some(0), Some(moved / 2), Some(moved)] {
                    let bounds = BootBounds::of(&record, after(moved), restored.map(after), &policy);
                    let (stall, cap) = (moved + 10, restored.unwrap_or(0) + 120);
                    let first = stall.min(cap).min(lifetime);
                    assert_eq!(bounds.first(), after(first));
                    for now in [0, first - 1, first, first + 1, stall, cap, lifetime, 31 * 60] {
                        let expect = match now {
                            _ if now >= lifetime => Some(BootOver::LifetimeOver),
                            _ if now >= stall => Some(BootOver::Stalled),
                            _ if now >= cap => Some(BootOver::TooLong),
                            _ => None,
                        };
                        assert_eq!(bounds.over(after(now)), expect, "{now} of {bounds:?}");
                        assert_eq!(bounds.over(after(now)).is_some(), now >= first);
                    }
                }
            }
        }
    }
}
