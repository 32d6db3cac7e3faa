//! A token bucket: a vendor's request budget, refilled evenly. Pure; the caller passes the time.

use serde::{Deserialize, Serialize};

/// A budget of `limit` requests per `window_ms`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Budget {
    pub limit: u32,
    pub window_ms: u64,
}

/// What is left of a budget. Tokens are kept in units of 1/window_ms, so that refilling is exact.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Bucket {
    spent: u64,
    at_ms: i64,
}

/// The budget after a request was counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Level {
    pub allowed: bool,
    pub limit: u32,
    pub remaining: u32,
    /// When the bucket would be full again, unix seconds.
    pub reset_secs: i64,
    /// How long until one more request fits, rounded up.
    pub retry_after_secs: u64,
}

impl Bucket {
    pub fn take(&mut self, budget: Budget, now_ms: i64) -> Level {
        let limit = u64::from(budget.limit.max(1));
        let window = budget.window_ms.max(1);
        let elapsed = u64::try_from(now_ms - self.at_ms).unwrap_or(0);
        self.spent = self.spent.saturating_sub(elapsed.saturating_mul(limit));
        self.at_ms = self.at_ms.max(now_ms);
        let allowed = self.spent + window <= limit * window;
        if allowed {
            self.spent += window;
        }
        let remaining = (limit * window - self.spent) / window;
        let refill_ms = self.spent.div_ceil(limit);
        let over = (self.spent + window).saturating_sub(limit * window);
        Level {
            allowed,
            limit: budget.limit,
            remaining: u32::try_from(remaining).unwrap_or(u32::MAX),
            reset_secs: (now_ms + i64::try_from(refill_ms).unwrap_or(i64::MAX / 2)).div_euclid(1000) + 1,
            retry_after_secs: over.div_ceil(limit).div_ceil(1000).max(1),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOURLY: Budget = Budget { limit: 3600, window_ms: 3_600_000 };

    #[test]
    fn a_full_bucket_allows_its_limit_at_once_and_no_more() {
        let mut bucket = Bucket::default();
        for left in (0..3600).rev() {
            let level = bucket.take(HOURLY, 1_000_000_000);
            assert!(level.allowed);
            assert_eq!(level.remaining, left);
        }
        let level = bucket.take(HOURLY, 1_000_000_000);
        assert!(!level.allowed);
        assert_eq!(level.retry_after_secs, 1);
    }

    #[test]
    fn it_refills_one_request_a_second() {
        let mut bucket = Bucket::default();
        for _ in 0..3600 {
            bucket.take(HOURLY, 1_000_000_000);
        }
        assert!(!bucket.take(HOURLY, 1_000_000_999).allowed);
        assert!(bucket.take(HOURLY, 1_000_001_000).allowed);
        assert!(!bucket.take(HOURLY, 1_000_001_000).allowed);
    }

    #[test]
    fn a_clock_that_steps_back_refills_nothing_and_breaks_nothing() {
        let mut bucket = Bucket::default();
        bucket.take(HOURLY, 1_000_000_000);
        assert_eq!(bucket.take(HOURLY, 5).remaining, 3598);
    }
}
