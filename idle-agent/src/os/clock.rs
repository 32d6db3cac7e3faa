//! The suspend-aware monotonic clock. Nothing in the agent decides by wall-clock time, which users and NTP change.

use std::time::Duration;

/// A moment, in milliseconds since the kernel booted, suspension included.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, serde::Serialize, serde::Deserialize,
)]
#[serde(transparent)]
pub struct Moment(pub u64);

impl Moment {
    /// Now.
    pub fn now() -> Self {
        let time = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
        let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
        let nanos = u64::try_from(time.tv_nsec).unwrap_or(0);
        Self(seconds * 1000 + nanos / 1_000_000)
    }

    /// Time since an earlier moment; zero where that is not earlier.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }

    /// The moment so much later.
    #[must_use]
    pub fn plus(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)))
    }
}

/// A time that somebody with a better clock has told: theirs then, and ours since.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ToldTime {
    secs: u64,
    heard_at: Moment,
}

impl ToldTime {
    /// It was so many seconds since 1970 when that was heard.
    pub fn new(secs: u64, heard_at: Moment) -> Self {
        Self { secs, heard_at }
    }

    /// Seconds since 1970 at a moment.
    pub fn at(self, moment: Moment) -> u64 {
        self.secs.saturating_add(moment.since(self.heard_at).as_secs())
    }
}

/// Names this boot of the kernel: moments of another boot mean nothing.
pub fn boot_id() -> String {
    std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default().trim().to_owned()
}
