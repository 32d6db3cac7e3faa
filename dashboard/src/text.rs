//! Amounts as people read them: durations, bytes, counts, money and points in time.
//!
//! Every function is pure and total; a value that cannot be read is shown as it came. Spaces inside an amount are
//! no-break spaces, so that a line never ends between a number and its unit.

use ebbtide_api::{Duration, Timestamp, workspace::Cost};

/// Keeps a number and its unit on one line.
const NBSP: char = '\u{a0}';

/// A point in time for a `<time>` element.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Time {
    /// `3 min ago`, `in 2 h`.
    pub relative: String,
    /// `2026-11-21 14:03:12 UTC`.
    pub absolute: String,
    /// `2026-11-21T14:03:12Z`, for the `datetime` attribute.
    pub machine: String,
}

/// A point in time as what has passed since: `2 h`, for sentences such as "running for 2 h".
pub fn passed(since: Timestamp, now: Timestamp) -> Time {
    let secs = now.as_second().saturating_sub(since.as_second());
    Time { relative: coarse(u64::try_from(secs).unwrap_or(0)), ..time(since, now) }
}

/// A point in time as seen from `now`.
pub fn time(at: Timestamp, now: Timestamp) -> Time {
    Time {
        relative: relative(at, now),
        absolute: at.strftime("%Y-%m-%d %H:%M:%S UTC").to_string(),
        machine: at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
    }
}

fn relative(at: Timestamp, now: Timestamp) -> String {
    let ahead = at.as_second().saturating_sub(now.as_second());
    let amount = coarse(ahead.unsigned_abs());
    match ahead {
        -2..=2 => "just now".to_owned(),
        3.. => format!("in{NBSP}{amount}"),
        _ => format!("{amount}{NBSP}ago"),
    }
}

/// Units of time, longest first, in seconds.
const UNITS: [(u64, &str); 4] = [(86_400, "d"), (3600, "h"), (60, "min"), (1, "s")];

/// The largest unit alone, for distances that nobody needs exactly; hours below two keep their minutes, and days
/// below two are told in hours.
fn coarse(secs: u64) -> String {
    match secs {
        3600..7200 => return seconds(secs - secs % 60),
        7200..172_800 => return format!("{}{NBSP}h", secs / 3600),
        _ => {}
    }
    let (size, unit) = UNITS.into_iter().find(|(size, _)| secs >= *size).unwrap_or((1, "s"));
    format!("{}{NBSP}{unit}", secs / size)
}

/// A length of time in its two largest units: `42 s`, `3 min 20 s`, `26 h` as `1 d 2 h`.
pub fn seconds(secs: u64) -> String {
    let Some(first) = UNITS.iter().position(|(size, _)| secs >= *size) else {
        return format!("0{NBSP}s");
    };
    let mut rest = secs;
    let mut parts = Vec::new();
    for (size, unit) in UNITS.into_iter().skip(first).take(2) {
        if rest >= size {
            parts.push(format!("{}{NBSP}{unit}", rest / size));
            rest %= size;
        }
    }
    parts.join("\u{a0}")
}

/// A configured duration: whole hours stay hours up to two days, since people set `24h`, not `1 d`.
pub fn duration(duration: Duration) -> String {
    let secs = duration.as_secs();
    if (3600..=48 * 3600).contains(&secs) && secs.is_multiple_of(3600) {
        return format!("{}{NBSP}h", secs / 3600);
    }
    seconds(secs)
}

/// A measured length of time: tenths of a second below ten seconds.
pub fn millis(millis: u64) -> String {
    if millis < 10_000 {
        let tenths = (millis + 50) / 100;
        return format!("{}.{}{NBSP}s", tenths / 10, tenths % 10);
    }
    seconds(millis / 1000)
}

/// A size in decimal units, as the provider and the storage bill it: `38.2 MB`.
pub fn bytes(bytes: u64) -> String {
    const UNITS: [&str; 4] = ["kB", "MB", "GB", "TB"];
    if bytes < 1000 {
        return format!("{bytes}{NBSP}B");
    }
    let (mut scale, mut unit) = (1000_u64, "kB");
    for name in UNITS.into_iter().skip(1) {
        // 999 950 bytes would round to "1000.0 kB".
        if bytes / 10 * 10 < scale.saturating_mul(1000) - scale / 20 {
            break;
        }
        (scale, unit) = (scale.saturating_mul(1000), name);
    }
    let tenths = (u128::from(bytes) * 10 + u128::from(scale) / 2) / u128::from(scale);
    format!("{}.{}{NBSP}{unit}", tenths / 10, tenths % 10)
}

/// A number with its thousands set apart: `12 408`.
pub fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push('\u{202f}');
        }
        text.push(digit);
    }
    text
}

/// A count with its noun: `1 file`, `2 files`.
pub fn plural(number: u64, one: &str, many: &str) -> String {
    format!("{}{NBSP}{}", count(number), if number == 1 { one } else { many })
}

/// An amount of money, rounded up to four decimals where it has more: an estimate may be too high, never too low.
pub fn money(gross: &str, currency: &str) -> String {
    let amount = rounded_up(gross).unwrap_or_else(|| gross.to_owned());
    match currency {
        "EUR" => format!("€{amount}"),
        "USD" => format!("${amount}"),
        "GBP" => format!("£{amount}"),
        other => format!("{amount}{NBSP}{other}"),
    }
}

/// A decimal of two to four places, rounded up; `None` where the text is no plain decimal.
fn rounded_up(decimal: &str) -> Option<String> {
    const PLACES: usize = 4;
    let (whole, fraction) = decimal.split_once('.').unwrap_or((decimal, ""));
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() || !digits(whole) || !digits(fraction) {
        return None;
    }
    let kept: String = fraction.chars().chain(std::iter::repeat('0')).take(PLACES).collect();
    let lost = fraction.chars().skip(PLACES).any(|digit| digit != '0');
    let scaled = format!("{whole}{kept}").parse::<u128>().ok()?.checked_add(u128::from(lost))?;
    let (whole, fraction) = (scaled / 10_000, scaled % 10_000);
    let fraction = format!("{fraction:04}");
    let short = fraction.trim_end_matches('0');
    Some(format!("{whole}.{short:0<2}"))
}

/// What a machine costs at worst: `€0.1820 for 28 h`.
pub fn cost(cost: &Cost) -> String {
    format!("{} for {}{NBSP}h", money(&cost.gross, &cost.currency), count(cost.hours))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain(text: &str) -> String {
        text.replace(['\u{a0}', '\u{202f}'], " ")
    }

    #[test]
    fn lengths_of_time_show_their_two_largest_units() {
        let table = [
            (0, "0 s"),
            (59, "59 s"),
            (60, "1 min"),
            (200, "3 min 20 s"),
            (3600, "1 h"),
            (3601, "1 h"),
            (7500, "2 h 5 min"),
            (93_600, "1 d 2 h"),
        ];
        for (secs, expected) in table {
            assert_eq!(plain(&seconds(secs)), expected, "{secs}");
        }
        assert_eq!(plain(&duration(Duration::from_hours(24))), "24 h");
        assert_eq!(plain(&duration(Duration::from_mins(90))), "1 h 30 min");
        assert_eq!(plain(&millis(449)), "0.4 s");
        assert_eq!(plain(&millis(9_960)), "10.0 s");
        assert_eq!(plain(&millis(61_500)), "1 min 1 s");
    }

    #[test]
    fn points_in_time_are_told_from_now_and_in_full() {
        let now: Timestamp = "2026-11-21T14:00:00Z".parse().unwrap();
        let table = [
            ("2026-11-21T14:00:00Z", "just now"),
            ("2026-11-21T13:59:48Z", "12 s ago"),
            ("2026-11-21T13:56:10Z", "3 min ago"),
            ("2026-11-21T12:35:59Z", "1 h 24 min ago"),
            ("2026-11-20T09:00:00Z", "29 h ago"),
            ("2026-11-19T13:00:00Z", "2 d ago"),
            ("2026-11-21T16:00:00Z", "in 2 h"),
        ];
        for (at, expected) in table {
            assert_eq!(plain(&time(at.parse().unwrap(), now).relative), expected, "{at}");
        }
        let shown = time("2026-11-21T13:59:48.25Z".parse().unwrap(), now);
        assert_eq!(shown.absolute, "2026-11-21 13:59:48 UTC");
        assert_eq!(shown.machine, "2026-11-21T13:59:48Z");
        assert_eq!(plain(&passed("2026-11-21T13:59:48Z".parse().unwrap(), now).relative), "12 s");
        assert_eq!(
            plain(&passed("2026-11-21T14:00:01Z".parse().unwrap(), now).relative),
            "0 s",
            "clocks differ"
        );
    }

    #[test]
    fn sizes_are_decimal_and_never_show_a_thousand() {
        let table = [
            (0, "0 B"),
            (999, "999 B"),
            (1000, "1.0 kB"),
            (38_211_000, "38.2 MB"),
            (999_999, "1.0 MB"),
            (999_949_999, "999.9 MB"),
            (5_400_000_000_000, "5.4 TB"),
            (u64::MAX, "18446744.1 TB"),
        ];
        for (size, expected) in table {
            assert_eq!(plain(&bytes(size)), expected, "{size}");
        }
    }

    #[test]
    fn money_is_rounded_up_and_odd_texts_are_shown_as_they_came() {
        let table = [
            ("0.0083300000000000", "EUR", "€0.0084"),
            ("0.2332400000", "EUR", "€0.2333"),
            ("3.5", "USD", "$3.50"),
            ("12", "GBP", "£12.00"),
            ("0.00000001", "EUR", "€0.0001"),
            ("1e9", "EUR", "€1e9"),
            ("-1", "SEK", "-1 SEK"),
            ("7.25", "SEK", "7.25 SEK"),
        ];
        for (gross, currency, expected) in table {
            assert_eq!(plain(&money(gross, currency)), expected, "{gross}");
        }
    }

    #[test]
    fn counts_set_thousands_apart() {
        for (number, expected) in
            [(0, "0 files"), (1, "1 file"), (999, "999 files"), (1_234_567, "1 234 567 files")]
        {
            assert_eq!(plain(&plural(number, "file", "files")), expected);
        }
    }
}
