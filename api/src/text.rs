//! Amounts as sentences for people write them: lengths of time, points in time and money, one way each.
//!
//! Sentences are stored and sent as they are, by programs that know no reader. A length of time reads as people type
//! one (`1h40m`), and a point in time is written in UTC, to the minute, so that [`parts`] finds it again: a page then
//! shows it in its reader's own zone.

use crate::{Duration, Timestamp};

/// A length of time in its two largest units: `42s`, `3m50s`, `1h40m`, `26h`.
pub fn duration(length: Duration) -> String {
    let secs = length.as_secs();
    let cut = if secs >= 3600 { secs - secs % 60 } else { secs };
    Duration::from_secs(cut).to_string()
}

/// A length of time in whole seconds, as [`duration`] writes it.
pub fn seconds(secs: u64) -> String {
    duration(Duration::from_secs(secs))
}

/// A point in time, to the minute: `2026-11-21 10:18 UTC`.
pub fn time(at: Timestamp) -> String {
    at.strftime("%Y-%m-%d %H:%M UTC").to_string()
}

/// An amount of money beside the mark of its currency: `€10.00`.
pub fn money(amount: &str, currency: &str) -> String {
    match currency {
        "EUR" => format!("€{amount}"),
        "USD" => format!("${amount}"),
        "GBP" => format!("£{amount}"),
        "" => amount.to_owned(),
        // Kept on one line.
        other => format!("{amount}\u{a0}{other}"),
    }
}

/// A piece of a sentence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part<'a> {
    /// What it says, as it stands there.
    Words(&'a str),
    /// A point in time.
    Time(Timestamp),
}

/// Takes a sentence apart at the points in time in it: those that [`time`] writes, and `2026-11-21T10:18:33.823Z` as
/// older sentences hold it.
pub fn parts(sentence: &str) -> Vec<Part<'_>> {
    let mut parts = Vec::new();
    let (mut rest, mut from) = (sentence, 0);
    while let Some(start) = rest.get(from..).and_then(|tail| tail.find(|c: char| c.is_ascii_digit())) {
        let start = from + start;
        let (before, tail) = rest.split_at_checked(start).unwrap_or((rest, ""));
        let Some((at, length)) = leading(tail) else {
            from = start + tail.len() - tail.trim_start_matches(|c: char| c.is_ascii_digit()).len();
            continue;
        };
        if !before.is_empty() {
            parts.push(Part::Words(before));
        }
        parts.push(Part::Time(at));
        (rest, from) = (tail.get(length..).unwrap_or_default(), 0);
    }
    if !rest.is_empty() {
        parts.push(Part::Words(rest));
    }
    parts
}

/// The point in time that a text begins with, and how long it is there.
fn leading(text: &str) -> Option<(Timestamp, usize)> {
    const MINUTE: usize = "2026-11-21 10:18".len();
    let parse = |text: &str| text.parse::<Timestamp>().ok();
    if let Some(minute) =
        text.get(..MINUTE).filter(|_| text.get(MINUTE..).is_some_and(|rest| rest.starts_with(" UTC")))
    {
        return Some((parse(&format!("{minute}:00Z"))?, MINUTE + " UTC".len()));
    }
    // Longer than any that is written with fractions of a second.
    let end = text.bytes().take(40).position(|byte| byte == b'Z')? + 1;
    let whole = text.get(..end).filter(|whole| whole.as_bytes().get(10) == Some(&b'T'))?;
    Some((parse(whole)?, end))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn lengths_of_time_show_their_two_largest_units() {
        let table = [
            (0, "0s"),
            (59, "59s"),
            (60, "1m"),
            (230, "3m50s"),
            (3601, "1h"),
            (6000, "1h40m"),
            (7325, "2h2m"),
            (86_400, "24h"),
            (93_660, "26h1m"),
        ];
        for (secs, expected) in table {
            assert_eq!(duration(Duration::from_secs(secs)), expected, "{secs}");
        }
    }

    #[test]
    fn a_sentence_gives_its_points_in_time_back() {
        let held = at("2026-11-21T10:18:33.823Z");
        assert_eq!(time(held), "2026-11-21 10:18 UTC");
        let minute = Part::Time(at("2026-11-21T10:18:00Z"));
        let sentence = format!("held until {}: taken on the dashboard", time(held));
        assert_eq!(
            parts(&sentence),
            [Part::Words("held until "), minute, Part::Words(": taken on the dashboard")]
        );
        let older = format!("image 7 holds it until {held}");
        assert_eq!(parts(&older), [Part::Words("image 7 holds it until "), Part::Time(held)]);
        let two = format!("{} to {held}.", time(held));
        assert_eq!(parts(&two), [minute, Part::Words(" to "), Part::Time(held), Part::Words(".")]);
    }

    #[test]
    fn what_only_looks_like_a_point_in_time_stays_words() {
        for sentence in [
            "",
            "9m10s",
            "2026-11-21",
            "2026-13-41 10:18 UTC",
            "2026-11-21T99:00:00Z",
            "undone until 2026-11-28",
            "123456789012Z",
            "ümläut 2026-11-2é 10:18 UTC",
            "1Z",
        ] {
            let whole: Vec<_> = (!sentence.is_empty()).then_some(Part::Words(sentence)).into_iter().collect();
            assert_eq!(parts(sentence), whole, "{sentence}");
        }
    }
}
