//! Time as the model writes it: milliseconds in, RFC 3339 out. It never asks what time it is.

/// Formats milliseconds since 1970 as RFC 3339 in UTC, to the second, as the vendors do.
pub fn rfc3339(ms: i64) -> String {
    jiff::Timestamp::from_second(ms.div_euclid(1000)).map(|time| time.to_string()).unwrap_or_default()
}

/// Parses an RFC 3339 time into milliseconds since 1970.
pub fn parse_rfc3339(text: &str) -> Option<i64> {
    // A `+` that travelled unescaped in a query string arrives as a space.
    let text = text.replace(' ', "+");
    text.parse::<jiff::Timestamp>().ok().map(|time| time.as_millisecond())
}

/// Started hours between two moments, the way the vendor bills: never less than one.
pub fn started_hours(from_ms: i64, to_ms: i64) -> u64 {
    const HOUR_MS: u64 = 3_600_000;
    u64::try_from(to_ms - from_ms).unwrap_or(0).div_ceil(HOUR_MS).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_to_the_second_in_utc() {
        assert_eq!(rfc3339(1_794_000_000_123), "2026-11-06T21:20:00Z");
        assert_eq!(parse_rfc3339("2026-11-06T21:20:00Z"), Some(1_794_000_000_000));
        assert_eq!(parse_rfc3339("2026-11-06T22:20:00 01:00"), Some(1_794_000_000_000));
    }

    #[test]
    fn every_started_hour_is_billed_whole() {
        assert_eq!(started_hours(0, 0), 1);
        assert_eq!(started_hours(0, 300_000), 1);
        assert_eq!(started_hours(0, 3_600_000), 1);
        assert_eq!(started_hours(0, 3_600_001), 2);
    }
}
