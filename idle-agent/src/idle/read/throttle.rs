//! How often something that costs is read: so seldom that it stays a small share of a core, whatever one reading takes.
//! Pure but for the cost, which its user measures.

use crate::os::clock::Moment;
use std::time::Duration;

/// A reading may cost one part in so many of the time until the next, 0.025 % of a core: the whole watch was
/// measured at 0.12 % ("What watching costs" in docs/evidence/idle.md).
const SHARE: u32 = 4000;
/// The longest between two readings, whatever they cost.
const LONGEST: Duration = Duration::from_secs(60);

/// When something is read again.
#[derive(Debug, Default)]
pub struct Throttle {
    next: Moment,
}

impl Throttle {
    /// Whether it is time.
    pub fn is_due(&self, now: Moment) -> bool {
        now >= self.next
    }

    /// Something was read, and took so long.
    pub fn spent(&mut self, now: Moment, cost: Duration) {
        self.next = now.plus(cost.saturating_mul(SHARE).min(LONGEST));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_costs_more_is_read_less_often_and_once_a_minute_at_least() {
        let mut throttle = Throttle::default();
        assert!(throttle.is_due(Moment(0)));
        throttle.spent(Moment(1000), Duration::from_millis(2));
        assert!(!throttle.is_due(Moment(8999)) && throttle.is_due(Moment(9000)));
        throttle.spent(Moment(1000), Duration::from_secs(9));
        assert!(!throttle.is_due(Moment(60_999)) && throttle.is_due(Moment(61_000)));
    }
}
