//! How fast a scene is played: with an idle timeout of a minute or so and everything that belongs to it, or at full length.
//! Pure. Says durations only; what happens in them is the scenes'.

use serde_json::{Value, json};
use std::time::Duration;

/// The policy's idle timeout where none is given.
const FULL_TIMEOUT_SECS: u64 = 30 * 60;

/// How fast.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pace {
    /// All of the engine's durations are shortened with the idle timeout.
    Scaled {
        /// Of these seconds.
        idle_timeout_secs: u64,
    },
    /// As in production; what is over is watched for so long.
    FullLength {
        /// In seconds.
        rest_secs: u64,
    },
}

impl Pace {
    /// A pace of that idle timeout.
    pub const fn scaled(idle_timeout_secs: u64) -> Self {
        Self::Scaled { idle_timeout_secs }
    }

    /// That of production.
    pub const fn full_length(rest_secs: u64) -> Self {
        Self::FullLength { rest_secs }
    }

    /// So many idle timeouts, in seconds.
    pub fn times(self, timeouts: f64) -> u64 {
        (self.idle_timeout_secs() as f64 * timeouts).round() as u64
    }

    fn idle_timeout_secs(self) -> u64 {
        match self {
            Self::Scaled { idle_timeout_secs } => idle_timeout_secs,
            Self::FullLength { .. } => FULL_TIMEOUT_SECS,
        }
    }

    /// How long an idle workspace is watched: its timeout, and more than as long again.
    pub fn rest_secs(self) -> u64 {
        match self {
            Self::Scaled { .. } => self.times(2.2),
            Self::FullLength { rest_secs } => rest_secs,
        }
    }

    /// The longest wait for something that a scene brings about.
    pub fn limit(self) -> Duration {
        match self {
            Self::Scaled { .. } => Duration::from_secs(self.times(8.0).max(300)),
            Self::FullLength { .. } => Duration::from_secs(300),
        }
    }

    /// The control plane's policy. An idle machine stays: the scene decides when it ends.
    pub fn policy(self) -> Value {
        let Self::Scaled { idle_timeout_secs } = self else {
            return json!({ "use_paid_hour": true, "paid_hour_margin": "1s" });
        };
        let secs = |timeouts: f64| format!("{}s", self.times(timeouts));
        json!({
            "heartbeat": "3s", "poll": "1s", "retry_base": "1s", "retry_cap": "2s", "gone_after_create": "3s",
            "idle_timeout": format!("{idle_timeout_secs}s"), "unknown_grace": secs(1.0 / 3.0),
            "agent_silence": secs(3.0), "background": secs(6.0), "waiting_for_human": secs(3.0),
            "snapshot_every": "1h", "use_paid_hour": true,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::Pace;
    use ebbtide_control::policy::Policy;

    #[test]
    fn a_minute_stands_for_half_an_hour() {
        let policy = Policy::parse(&Pace::scaled(60).policy().to_string()).unwrap();
        assert_eq!(policy.idle_timeout.as_secs(), 60);
        assert_eq!(policy.unknown_grace.as_secs(), 20);
        assert_eq!(policy.agent_silence.as_secs(), 180);
        assert_eq!(policy.waiting_for_human.as_secs(), 180);
        assert_eq!(policy.background.as_secs(), 360);
        assert_eq!(Pace::scaled(60).rest_secs(), 132);
    }

    #[test]
    fn at_full_length_the_engine_works_by_the_durations_of_production() {
        let (full, production) =
            (Policy::parse(&Pace::full_length(2400).policy().to_string()).unwrap(), Policy::default());
        let timeouts = |policy: &Policy| {
            [policy.idle_timeout, policy.unknown_grace, policy.agent_silence, policy.background]
                .map(|duration| duration.as_secs())
        };
        assert_eq!(timeouts(&full), timeouts(&production));
        assert_eq!(Pace::full_length(2400).times(1.0), production.idle_timeout.as_secs());
    }
}
