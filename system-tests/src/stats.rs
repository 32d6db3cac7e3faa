//! Small arithmetic on measurements.

use std::time::Duration;

/// The value below which a share of the samples lies (nearest rank); `None` without samples.
pub fn percentile(samples: &[Duration], percent: usize) -> Option<Duration> {
    let mut sorted = samples.to_vec();
    sorted.sort_unstable();
    let rank = (sorted.len() * percent).div_ceil(100).max(1);
    sorted.get(rank - 1).copied()
}

/// Seconds with one digit.
pub fn secs(duration: Duration) -> String {
    format!("{:.1} s", duration.as_secs_f64())
}

/// A size for people.
pub fn bytes(size: u64) -> String {
    const STEP: f64 = 1000.0;
    #[allow(clippy::cast_precision_loss)] // shown with one digit
    let mut value = size as f64;
    for unit in ["B", "kB", "MB", "GB"] {
        if value < STEP {
            return if unit == "B" { format!("{value} B") } else { format!("{value:.1} {unit}") };
        }
        value /= STEP;
    }
    format!("{value:.1} TB")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_nearest_ranks() {
        let samples: Vec<Duration> = (1..=20).map(Duration::from_secs).collect();
        assert_eq!(percentile(&samples, 50), Some(Duration::from_secs(10)));
        assert_eq!(percentile(&samples, 95), Some(Duration::from_secs(19)));
        assert_eq!(percentile(&samples[..1], 95), Some(Duration::from_secs(1)));
        assert_eq!(percentile(&[], 95), None);
    }

    #[test]
    fn sizes_are_short() {
        assert_eq!(
            (bytes(12), bytes(12_345), bytes(12_345_678)),
            ("12 B".into(), "12.3 kB".into(), "12.3 MB".into())
        );
    }
}
