//! Amounts as people read them: durations, bytes, counts, money and points in time. How a length and a point of time
//! are written is `ebbtide_api::text`'s, for the sentences of machines are shown beside ours.
//!
//! Every function is pure and total; a value that cannot be read is shown as it came. Spaces inside an amount are
//! no-break spaces, so that a line never ends between a number and its unit.

use ebbtide_api::money::Cost;
use ebbtide_api::text::Part;
use ebbtide_api::{Duration, Timestamp};

/// Keeps a number and its unit on one line.
const NBSP: char = '\u{a0}';

/// A point in time for a `<time>` element.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Time {
    /// `3m ago`, `in 2h`.
    pub relative: String,
    /// `2026-11-21 14:03 UTC`; the script writes it in the reader's own zone.
    pub absolute: String,
    /// `2026-11-21T14:03:12Z`, for the `datetime` attribute.
    pub machine: String,
}

/// A point in time as what has passed since: `2h`, for sentences such as "running for 2h".
pub fn passed(since: Timestamp, now: Timestamp) -> Time {
    let secs = now.as_second().saturating_sub(since.as_second());
    Time { relative: coarse(u64::try_from(secs).unwrap_or(0)), ..time(since, now) }
}

/// A point in time as seen from `now`.
pub fn time(at: Timestamp, now: Timestamp) -> Time {
    Time {
        relative: relative(at, now),
        absolute: ebbtide_api::text::time(at),
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

/// The largest unit alone, for distances that nobody needs exactly; hours below two keep their minutes.
fn coarse(secs: u64) -> String {
    let whole = |unit: u64| secs - secs % unit;
    match secs {
        0..60 => seconds(secs),
        60..7200 => seconds(whole(60)),
        7200..172_800 => seconds(whole(3600)),
        _ => plural(secs / 86_400, "day", "days"),
    }
}

/// A length of time, as every sentence writes it: `42s`, `3m20s`, `26h`.
pub fn seconds(secs: u64) -> String {
    ebbtide_api::text::seconds(secs)
}

/// A length of time, as every sentence writes it.
pub fn duration(duration: Duration) -> String {
    ebbtide_api::text::duration(duration)
}

/// A measured length of time: tenths of a second below ten seconds.
pub fn millis(millis: u64) -> String {
    if millis < 10_000 {
        let tenths = (millis + 50) / 100;
        return format!("{}.{}s", tenths / 10, tenths % 10);
    }
    seconds(millis / 1000)
}

/// A piece of a sentence: words, or a point in time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Piece {
    /// What it says.
    pub words: String,
    /// The point in time, where it is one.
    pub time: Option<Time>,
}

/// A sentence whose points in time can be shown in the reader's own zone.
pub type Sentence = Vec<Piece>;

/// Takes a sentence apart at its points in time.
pub fn pieces(sentence: &str, now: Timestamp) -> Sentence {
    let piece = |part| match part {
        Part::Words(words) => Piece { words: words.to_owned(), time: None },
        Part::Time(at) => Piece { words: String::new(), time: Some(time(at, now)) },
    };
    ebbtide_api::text::parts(sentence).into_iter().map(piece).collect()
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
    let amount = scaled_up(gross).map_or_else(|| gross.to_owned(), decimal);
    ebbtide_api::text::money(&amount, currency)
}

/// A bound on money, which is mostly a whole amount: `€10`, `€7.50`.
pub fn bound(gross: &str, currency: &str) -> String {
    let amount = scaled_up(gross).map_or_else(|| gross.to_owned(), decimal);
    ebbtide_api::text::money(amount.strip_suffix(".00").unwrap_or(&amount), currency)
}

/// Two amounts of money together; `None` where one of them is no plain decimal.
pub fn sum(one: &str, other: &str) -> Option<String> {
    scaled_up(one)?.checked_add(scaled_up(other)?).map(decimal)
}

/// A decimal in ten-thousandths, rounded up; `None` where the text is no plain decimal.
fn scaled_up(decimal: &str) -> Option<u128> {
    const PLACES: usize = 4;
    let (whole, fraction) = decimal.split_once('.').unwrap_or((decimal, ""));
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() || !digits(whole) || !digits(fraction) {
        return None;
    }
    let kept: String = fraction.chars().chain(std::iter::repeat('0')).take(PLACES).collect();
    let lost = fraction.chars().skip(PLACES).any(|digit| digit != '0');
    format!("{whole}{kept}").parse::<u128>().ok()?.checked_add(u128::from(lost))
}

/// Ten-thousandths as a decimal of two to four places.
fn decimal(scaled: u128) -> String {
    let (whole, fraction) = (scaled / 10_000, scaled % 10_000);
    let fraction = format!("{fraction:04}");
    let short = fraction.trim_end_matches('0');
    format!("{whole}.{short:0<2}")
}

/// What a machine costs at worst: `€0.1820 for 28h`.
pub fn cost(cost: &Cost) -> String {
    format!("{} for {}", money(&cost.gross, &cost.currency), hours(cost.hours))
}

/// Hours that are billed.
pub fn hours(hours: u64) -> String {
    duration(Duration::from_hours(hours))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain(text: &str) -> String {
        text.replace(['\u{a0}', '\u{202f}'], " ")
    }

    #[test]
    fn measured_lengths_show_tenths_while_they_are_short() {
        for (measured, expected) in [(449, "0.4s"), (9_960, "10.0s"), (10_200, "10s"), (61_500, "1m1s")] {
            assert_eq!(millis(measured), expected);
        }
    }

    #[test]
    fn points_in_time_are_told_from_now_and_in_full() {
        let now: Timestamp = "2026-11-21T14:00:00Z".parse().unwrap();
        let table = [
            ("2026-11-21T14:00:00Z", "just now"),
            ("2026-11-21T13:59:48Z", "12s ago"),
            ("2026-11-21T13:56:10Z", "3m ago"),
            ("2026-11-21T12:35:59Z", "1h24m ago"),
            ("2026-11-20T09:00:00Z", "29h ago"),
            ("2026-11-19T13:00:00Z", "2 days ago"),
            ("2026-11-21T16:00:00Z", "in 2h"),
        ];
        for (at, expected) in table {
            assert_eq!(plain(&time(at.parse().unwrap(), now).relative), expected, "{at}");
        }
        let shown = time("2026-11-21T13:59:48.25Z".parse().unwrap(), now);
        assert_eq!(shown.absolute, "2026-11-21 13:59 UTC");
        assert_eq!(shown.machine, "2026-11-21T13:59:48Z");
        assert_eq!(passed("2026-11-21T13:59:48Z".parse().unwrap(), now).relative, "12s");
        assert_eq!(passed("2026-11-21T14:00:01Z".parse().unwrap(), now).relative, "0s", "clocks differ");
    }

    #[test]
    fn a_sentence_of_an_older_record_shows_no_milliseconds() {
        let now: Timestamp = "2026-11-21T10:00:00Z".parse().unwrap();
        let said = pieces("Held until 2026-11-21T10:18:33.823Z: taken on the dashboard.", now);
        let shown = said.iter().map(|piece| piece.time.as_ref().map_or(&piece.words, |time| &time.absolute));
        let shown: String = shown.map(String::as_str).collect();
        assert_eq!(shown, "Held until 2026-11-21 10:18 UTC: taken on the dashboard.");
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
        assert_eq!((bound("10.00", "EUR"), bound("7.5", "")), ("€10".into(), "7.50".into()));
        assert_eq!(sum("0.41", "0.2000001").as_deref(), Some("0.6101"), "never too low");
        assert_eq!(sum("0.41", "?"), None);
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
