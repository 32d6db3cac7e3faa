//! A length of time as people write it (`90m`, `1h 30m`, `PT1H30M`) and as we store it (whole seconds).
//!
//! An unusable text is refused with an error that shows a usable one; it is never replaced by a default, because a
//! silently replaced timeout has kept machines billing (or killed them) elsewhere.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// Longest duration that any field accepts: 366 days.
const MAX_SECS: u64 = 366 * 24 * 3600;

/// A length of time in whole seconds, at most 366 days. On the wire a text such as `"90m"` or `"PT1H30M"`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Duration {
    secs: u64,
}

/// A text that is no usable duration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidDuration {
    /// Neither `90m` nor ISO 8601.
    #[error("\"{0}\" is not a valid duration; write for example 90m, 1h30m or PT1H30M")]
    Syntax(String),
    /// Negative, shorter than a second, or longer than 366 days.
    #[error("\"{0}\" is out of range; a duration lies between 1s and 366 days")]
    Range(String),
}

impl Duration {
    /// The forms that the document of the API names. What it matches is read; so are some more, such as `1 hour`.
    pub const PATTERN: &str = "^(?=.*[1-9])(([0-7]?[0-9]{1,3}h ?)?([0-9]{1,4}m ?)?([0-9]{1,5}s)?|\
        PT([0-7]?[0-9]{1,3}H)?([0-9]{1,4}M)?([0-9]{1,5}S)?)$";

    /// A duration of so many seconds, cut to 366 days.
    pub const fn from_secs(secs: u64) -> Self {
        Self { secs: if secs > MAX_SECS { MAX_SECS } else { secs } }
    }

    /// A duration of so many minutes.
    pub const fn from_mins(mins: u64) -> Self {
        Self::from_secs(mins.saturating_mul(60))
    }

    /// A duration of so many hours.
    pub const fn from_hours(hours: u64) -> Self {
        Self::from_secs(hours.saturating_mul(3600))
    }

    /// The whole seconds.
    pub const fn as_secs(self) -> u64 {
        self.secs
    }

    /// The sum, cut to 366 days.
    #[must_use]
    pub const fn plus(self, other: Self) -> Self {
        Self::from_secs(self.secs.saturating_add(other.secs))
    }
}

impl From<Duration> for jiff::SignedDuration {
    fn from(duration: Duration) -> Self {
        jiff::SignedDuration::from_secs(i64::try_from(duration.secs).unwrap_or(i64::MAX))
    }
}

impl From<Duration> for std::time::Duration {
    fn from(duration: Duration) -> Self {
        std::time::Duration::from_secs(duration.secs)
    }
}

/// How much of a refused text the error repeats, in characters.
const SHOWN: usize = 40;

impl FromStr for Duration {
    type Err = InvalidDuration;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let shown = || text.chars().filter(|c| !c.is_control()).take(SHOWN).collect::<String>();
        if text.len() > 64 {
            return Err(InvalidDuration::Syntax(shown()));
        }
        let parsed: jiff::SignedDuration =
            text.trim().parse().map_err(|_| InvalidDuration::Syntax(shown()))?;
        match u64::try_from(parsed.as_secs()) {
            Ok(secs) if (1..=MAX_SECS).contains(&secs) => Ok(Self { secs }),
            _ => Err(InvalidDuration::Range(shown())),
        }
    }
}

impl TryFrom<String> for Duration {
    type Error = InvalidDuration;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<Duration> for String {
    fn from(duration: Duration) -> Self {
        duration.to_string()
    }
}

impl fmt::Display for Duration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (hours, minutes, seconds) = (self.secs / 3600, self.secs % 3600 / 60, self.secs % 60);
        let mut wrote = false;
        for (amount, unit) in [(hours, 'h'), (minutes, 'm'), (seconds, 's')] {
            if amount > 0 {
                write!(f, "{amount}{unit}")?;
                wrote = true;
            }
        }
        if wrote { Ok(()) } else { f.write_str("0s") }
    }
}

impl fmt::Debug for Duration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn usual_forms_are_read() {
        let table = [
            ("90m", 5400),
            ("1h30m", 5400),
            ("1h 30m", 5400),
            ("PT1H30M", 5400),
            ("10s", 10),
            ("24h", 86_400),
            (" 2h ", 7200),
        ];
        for (text, secs) in table {
            assert_eq!(text.parse::<Duration>(), Ok(Duration::from_secs(secs)), "{text}");
        }
    }

    #[test]
    fn unusable_forms_are_refused_with_the_reason() {
        for text in
            ["", "soon", "-5m", "0s", "500ms", "9999999h", "1e9", "90", "$(id)", "P1Y", &"9".repeat(10_000)]
        {
            let refusal = text.parse::<Duration>();
            assert!(refusal.is_err(), "{text}: {refusal:?}");
        }
    }

    #[test]
    fn what_is_shown_reads_back() {
        for secs in [1, 59, 60, 61, 3600, 5400, 86_400, 86_401, 172_800, 31_536_000] {
            let duration = Duration::from_secs(secs);
            assert_eq!(duration.to_string().parse::<Duration>(), Ok(duration), "{duration}");
        }
        assert_eq!(Duration::from_mins(90).to_string(), "1h30m");
        assert_eq!(Duration::from_hours(24).to_string(), "24h");
    }
}

#[cfg(test)]
mod fuzz {
    use super::*;
    use ebbtide_fuzz_inputs::text_like;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_length_that_is_read_is_written_and_read_again(
            text in text_like(&["90m", "1h 30m", "PT1H30M", "P2DT3S", "1d2h3m4s", "0.5h"]),
        ) {
            if let Ok(read) = text.parse::<Duration>() {
                prop_assert_eq!(read.to_string().parse::<Duration>(), Ok(read));
                prop_assert!((1..=MAX_SECS).contains(&read.as_secs()));
            }
        }
    }
}
