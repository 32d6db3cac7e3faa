//! What a machine is billed, hour by hour: every started hour is whole, and a calendar month costs no more than the
//! monthly price.
//!
//! An hour belongs to the day (UTC) in which it starts, so that the days of a machine add up to its bill whatever the
//! period asked for. The index adds up the same in SQL for the caps; usage is made here.

use crate::amount::Amount;
use ebbtide_api::Timestamp;

const HOUR_MS: i64 = 3_600_000;
const DAY_MS: i64 = 24 * HOUR_MS;

/// A machine, as it is billed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Machine {
    /// Since when the provider bills.
    pub started_at: Timestamp,
    /// Until when; `None` while it does.
    pub ended_at: Option<Timestamp>,
    /// A started hour, and a calendar month at most, tax included.
    pub gross: Tariff,
    /// The same before tax.
    pub net: Tariff,
}

/// A price by the hour with its bound by the month.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tariff {
    /// A started hour.
    pub hourly: Amount,
    /// A calendar month at most, where the provider caps it.
    pub monthly: Option<Amount>,
}

/// What was billed for a machine on a day.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Charge {
    /// Hours that started on it.
    pub hours: u64,
    /// Tax included.
    pub gross: Amount,
    /// Before tax.
    pub net: Amount,
}

impl Charge {
    /// Both together.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self {
            hours: self.hours.saturating_add(other.hours),
            gross: self.gross.plus(other.gross),
            net: self.net.plus(other.net),
        }
    }
}

/// A day in UTC, counted from 1970-01-01.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Day(pub i64);

impl Day {
    /// The day of a moment.
    pub fn of(at: Timestamp) -> Self {
        Self(at.as_millisecond().div_euclid(DAY_MS))
    }

    /// Reads `2026-11-21`.
    pub fn parse(text: &str) -> Option<Self> {
        let date: jiff::civil::Date = text.parse().ok().filter(|_| text.len() == 10)?;
        Some(Self::of(date.to_zoned(jiff::tz::TimeZone::UTC).ok()?.timestamp()))
    }

    /// When it begins.
    pub fn start(self) -> Timestamp {
        let ms = self.0.saturating_mul(DAY_MS);
        Timestamp::from_millisecond(ms).unwrap_or(if ms < 0 { Timestamp::MIN } else { Timestamp::MAX })
    }

    /// So many days later.
    #[must_use]
    pub fn plus(self, days: i64) -> Self {
        Self(self.0.saturating_add(days))
    }

    /// The first day of its month.
    #[must_use]
    pub fn month_start(self) -> Self {
        let date = self.start().to_zoned(jiff::tz::TimeZone::UTC).date();
        self.plus(1 - i64::from(date.day()))
    }
}

impl std::fmt::Display for Day {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.start().to_zoned(jiff::tz::TimeZone::UTC).date().fmt(f)
    }
}

impl Machine {
    /// Started hours from the start to `at`, or to the end where that came before.
    pub fn hours_until(&self, at: Timestamp) -> u64 {
        let end = self.ended_at.map_or(at, |ended| ended.min(at)).max(self.started_at);
        let ms = end.as_millisecond().saturating_sub(self.started_at.as_millisecond());
        u64::try_from(ms).unwrap_or(0).div_ceil(HOUR_MS.unsigned_abs()).max(1)
    }

    /// What is billed for each day from `from` to the day before `to`, as known at `now`. Days that cost nothing are
    /// left out.
    pub fn by_day(&self, from: Day, to: Day, now: Timestamp) -> Vec<(Day, Charge)> {
        let started = self.started_at.as_millisecond();
        let total = self.hours_until(now);
        // Hours that have started before a moment.
        let before = |day: Day| {
            let ms = day.start().as_millisecond().saturating_sub(started);
            u64::try_from(ms).unwrap_or(0).div_ceil(HOUR_MS.unsigned_abs()).min(total)
        };
        let mut day = Day::of(self.started_at).max(from.month_start());
        let (mut gross, mut net) = (Spent::default(), Spent::default());
        let mut days = Vec::new();
        while day < to && before(day) < total {
            if day == day.month_start() {
                (gross, net) = <_>::default();
            }
            let next = day.plus(1);
            let hours = before(next).saturating_sub(before(day));
            let charge = Charge { hours, gross: gross.add(self.gross, hours), net: net.add(self.net, hours) };
            if hours > 0 && day >= from {
                days.push((day, charge));
            }
            day = next;
        }
        days
    }
}

/// What a month has come to so far.
#[derive(Default)]
struct Spent(Amount);

impl Spent {
    fn add(&mut self, tariff: Tariff, hours: u64) -> Amount {
        let sum = self.0.plus(tariff.hourly.times(hours));
        let capped = tariff.monthly.map_or(sum, |most| most.min(sum));
        let added = capped.minus(self.0);
        self.0 = capped;
        added
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn machine(started: &str, ended: Option<&str>) -> Machine {
        let tariff = |hourly, monthly| Tariff { hourly: Amount(hourly), monthly: Some(Amount(monthly)) };
        Machine {
            started_at: at(started),
            ended_at: ended.map(at),
            gross: tariff(7_000, 7_000 * 500),
            net: tariff(6_000, 6_000 * 500),
        }
    }

    fn check(started: &str, ended: &str, wanted: &str) {
        let bill: Vec<String> = machine(started, Some(ended))
            .by_day(Day(0), Day(100_000), at("2030-01-01T00:00:00Z"))
            .into_iter()
            .map(|(day, charge)| format!("{day} {}h {}", charge.hours, charge.gross))
            .collect();
        assert_eq!(bill.join(", "), wanted, "{started} to {ended}");
    }

    #[test]
    fn a_machine_of_a_second_costs_an_hour() {
        check("2026-11-21T10:00:00Z", "2026-11-21T10:00:01Z", "2026-11-21 1h 0.007");
        check("2026-11-21T10:00:00Z", "2026-11-21T10:00:00Z", "2026-11-21 1h 0.007");
    }

    #[test]
    fn hours_are_whole_and_not_one_more() {
        check("2026-11-21T10:00:00Z", "2026-11-21T11:00:00Z", "2026-11-21 1h 0.007");
        check("2026-11-21T10:00:00Z", "2026-11-21T11:00:00.001Z", "2026-11-21 2h 0.014");
    }

    #[test]
    fn a_machine_over_midnight_is_billed_on_the_day_in_which_each_hour_starts() {
        check("2026-11-21T23:30:00Z", "2026-11-22T00:10:00Z", "2026-11-21 1h 0.007");
        check("2026-11-21T23:30:00Z", "2026-11-22T01:10:00Z", "2026-11-21 1h 0.007, 2026-11-22 1h 0.007");
        check("2026-11-21T23:00:00Z", "2026-11-22T01:00:00Z", "2026-11-21 1h 0.007, 2026-11-22 1h 0.007");
    }

    #[test]
    fn summer_time_changes_nothing() {
        // 29 March 2026 has 23 hours in Berlin, 24 here.
        check("2026-03-29T00:00:00Z", "2026-03-30T00:00:00Z", "2026-03-29 24h 0.168");
    }

    #[test]
    fn a_month_costs_no_more_than_its_price_and_the_next_begins_anew() {
        let whole = machine("2026-10-01T00:00:00Z", Some("2026-11-02T00:00:00Z"));
        let days = whole.by_day(Day(0), Day(100_000), at("2030-01-01T00:00:00Z"));
        let month = |month: &str| {
            let of_month = days.iter().filter(|(day, _)| day.to_string().starts_with(month));
            of_month.fold(Charge::default(), |sum, (_, charge)| sum.plus(*charge))
        };
        assert_eq!(month("2026-10"), Charge { hours: 744, gross: Amount(3_500_000), net: Amount(3_000_000) });
        assert_eq!(month("2026-11"), Charge { hours: 24, gross: Amount(168_000), net: Amount(144_000) });
        // A period that begins in the middle of a month knows what was spent before it.
        let late = Day::parse("2026-10-25").unwrap();
        let tail = whole.by_day(late, late.plus(5), at("2030-01-01T00:00:00Z"));
        assert!(tail.iter().all(|(_, charge)| charge.hours == 24 && charge.gross == Amount(0)), "{tail:?}");
    }

    #[test]
    fn a_running_machine_is_billed_up_to_now() {
        let running = machine("2026-11-21T10:00:00Z", None);
        let bill = running.by_day(Day(0), Day(100_000), at("2026-11-21T12:30:00Z"));
        assert_eq!(bill.iter().map(|(_, charge)| charge.hours).sum::<u64>(), 3);
    }

    #[test]
    fn the_days_add_up_to_the_bill_however_the_period_is_cut() {
        let start = at("2026-09-30T20:17:03Z").as_millisecond();
        for minutes in (0..90_000).step_by(487) {
            for offset in [0, 1_800_000, 12_345_678, 86_399_999] {
                let started_at = Timestamp::from_millisecond(start + offset).unwrap();
                let ended_at = Timestamp::from_millisecond(start + offset + minutes * 60_000).unwrap();
                let machine =
                    Machine { started_at, ended_at: Some(ended_at), ..machine("2026-01-01T00:00:00Z", None) };
                let now = at("2030-01-01T00:00:00Z");
                let sum = |from, to| {
                    let days = machine.by_day(from, to, now);
                    days.into_iter().fold(Charge::default(), |sum, (_, charge)| sum.plus(charge))
                };
                let cut = Day::of(started_at).plus(minutes % 40);
                let whole = sum(Day(0), Day(100_000));
                assert_eq!(whole.hours, machine.hours_until(now));
                assert_eq!(whole, sum(Day(0), cut).plus(sum(cut, Day(100_000))), "{minutes} {offset}");
                assert!(whole.gross <= Amount(7_000).times(whole.hours));
            }
        }
    }

    #[test]
    fn days_read_back_and_know_their_month() {
        let day = Day::parse("2026-02-28").unwrap();
        assert_eq!(
            (day.to_string().as_str(), day.month_start().to_string().as_str()),
            ("2026-02-28", "2026-02-01")
        );
        assert_eq!(day.plus(1).to_string(), "2026-03-01");
        for text in ["", "2026-02-30", "21.11.2026", "2026-11-21T00:00:00Z", "20261121"] {
            assert_eq!(Day::parse(text), None, "{text}");
        }
    }
}
