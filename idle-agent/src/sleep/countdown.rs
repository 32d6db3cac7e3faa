//! When people at terminals are told that sleep comes near: five minutes before and one. Pure.

use ebbtide_api::Duration;

/// How long before.
const WARNINGS_SECS: [u64; 2] = [5 * 60, 60];

/// What was announced last.
#[derive(Debug, Default)]
pub struct Countdown {
    /// Seconds until sleep at the look before; absent while something was active.
    before: Option<u64>,
}

impl Countdown {
    /// Takes in how long it is until sleep; says what is left where that is to be told now. A warning that would come
    /// as soon as somebody stops typing is none: it has to be shorter than half the idle timeout.
    pub fn warning(&mut self, sleeps_in_secs: Option<u64>, timeout_secs: u64) -> Option<Duration> {
        let before = std::mem::replace(&mut self.before, sleeps_in_secs);
        let now = sleeps_in_secs.filter(|now| *now > 0)?;
        let crossed = |warning: &u64| now <= *warning && before.is_none_or(|before| before > *warning);
        let told = WARNINGS_SECS
            .into_iter()
            .filter(|warning| warning * 2 <= timeout_secs)
            .any(|warning| crossed(&warning));
        told.then(|| Duration::from_secs(now))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(timeout_secs: u64, looks: &[Option<u64>]) -> Vec<Option<u64>> {
        let mut countdown = Countdown::default();
        looks.iter().map(|look| countdown.warning(*look, timeout_secs).map(Duration::as_secs)).collect()
    }

    #[test]
    fn terminals_are_told_at_five_minutes_and_at_one_and_again_after_activity() {
        let looks =
            [None, Some(1790), Some(305), Some(295), Some(290), Some(61), Some(60), Some(10), Some(0)];
        assert_eq!(told(1800, &looks), [None, None, None, Some(295), None, None, Some(60), None, None]);
        assert_eq!(told(1800, &[Some(300), None, Some(1800), Some(299)]), [Some(300), None, None, Some(299)]);
    }

    #[test]
    fn a_short_timeout_has_no_warning_that_would_come_at_once() {
        assert_eq!(told(10, &[Some(10), Some(9)]), [None, None]);
        assert_eq!(told(120, &[Some(119), Some(60)]), [None, Some(60)]);
    }
}
