//! Moving averages of what was used, over a time, from samples of any length. Pure.

use std::time::Duration;

/// Ticks a second in `/proc`; fixed by Linux towards programs.
const TICKS_PER_SEC: u64 = 100;
/// So finely means are kept.
const FINE: u64 = 100;

/// Processor time in percent of a core, and storage traffic in bytes a second.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    pub share: u64,
    pub rate: u64,
}

impl Usage {
    /// Of so many ticks and bytes in a time.
    pub fn of((ticks, bytes): (u64, u64), passed: Duration) -> Self {
        let millis = u64::try_from(passed.as_millis()).unwrap_or(u64::MAX).max(1);
        Self {
            share: ticks.saturating_mul(1000 / TICKS_PER_SEC * 100) / millis,
            rate: bytes.saturating_mul(1000) / millis,
        }
    }
}

/// A mean that forgets.
#[derive(Debug, Clone, Copy, Default)]
pub struct MovingAverage {
    fine: Usage,
}

impl MovingAverage {
    /// Takes a sample in; says what was used both now and in the mean of so many milliseconds.
    pub fn lasting(&mut self, now: Usage, passed: Duration, over_millis: u64) -> Usage {
        let millis = u64::try_from(passed.as_millis()).unwrap_or(u64::MAX).min(over_millis);
        let mean = |before: u64, now: u64| {
            let now = now.saturating_mul(FINE).saturating_mul(millis);
            before.saturating_mul(over_millis - millis).saturating_add(now) / over_millis.max(1)
        };
        self.fine = Usage { share: mean(self.fine.share, now.share), rate: mean(self.fine.rate, now.rate) };
        let mean = self.mean();
        Usage { share: now.share.min(mean.share), rate: now.rate.min(mean.rate) }
    }

    /// What was used in the mean.
    pub fn mean(&self) -> Usage {
        Usage { share: self.fine.share / FINE, rate: self.fine.rate / FINE }
    }
}
