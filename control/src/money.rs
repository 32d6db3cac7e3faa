//! What machines cost: amounts, rates, worst cases. Bills by day are in [`bill`], caps in [`caps`].
//!
//! Pure. No price is known here: rates are made from the provider's own answers. Amounts are whole millionths of the
//! provider's currency, rounded up where they are made, so that no sum is ever below what will be billed.

pub mod bill;
pub mod caps;

use crate::hetzner::{Decimal, Pricing, ServerType};
use crate::policy::Policy;
use crate::record::{Phase, Placement, Record};
use ebbtide_api::money::Cost;
use ebbtide_api::text::time;
use ebbtide_api::why::Why;
use ebbtide_api::{Duration, Generation, Timestamp};
use serde::{Deserialize, Serialize};
use std::fmt;

/// Millionths in a whole.
const MICRO: u64 = 1_000_000;
/// Worst cases are shown in ten-thousandths.
const SHOWN: u64 = 100;

/// An amount in millionths of the provider's currency. On the wire a decimal text such as `"10.00"`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Amount(pub u64);

/// A text that is no amount.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("\"{0}\" is no amount; write a decimal number such as 12.50")]
pub struct InvalidAmount(String);

impl Amount {
    /// Whole units of the currency.
    pub const fn whole(units: u64) -> Self {
        Self(units.saturating_mul(MICRO))
    }

    /// So many times as much.
    #[must_use]
    pub const fn times(self, count: u64) -> Self {
        Self(self.0.saturating_mul(count))
    }

    /// Both together.
    #[must_use]
    pub const fn plus(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }

    /// What is left after taking the other away; nothing where that is more.
    #[must_use]
    pub const fn minus(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }

    /// Hundredths of `whole` that this is, rounded down; 100 and more where it is all of it.
    pub fn percent_of(self, whole: Self) -> u64 {
        let hundredfold = u128::from(self.0).saturating_mul(100);
        let percent = hundredfold.checked_div(u128::from(whole.0)).unwrap_or(100);
        u64::try_from(percent).unwrap_or(u64::MAX)
    }
}

impl TryFrom<String> for Amount {
    type Error = InvalidAmount;

    fn try_from(text: String) -> Result<Self, InvalidAmount> {
        match Decimal(text).micros_rounded_up_or_text() {
            Ok(micros) => Ok(Self(micros)),
            Err(text) => Err(InvalidAmount(text.chars().filter(|c| !c.is_control()).take(40).collect())),
        }
    }
}

impl Decimal {
    fn micros_rounded_up_or_text(self) -> Result<u64, String> {
        self.micros_rounded_up().ok_or(self.0)
    }
}

impl From<Amount> for String {
    fn from(amount: Amount) -> Self {
        amount.to_string()
    }
}

impl fmt::Display for Amount {
    /// Exact, with two decimals at least: `10.00`, `0.006664`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut fraction = format!("{:06}", self.0 % MICRO);
        while fraction.len() > 2 && fraction.ends_with('0') {
            fraction.pop();
        }
        write!(f, "{}.{fraction}", self.0 / MICRO)
    }
}

/// What a machine of a size at a location costs, its IPv4 address included.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rate {
    /// For which machines.
    pub placement: Placement,
    /// A started hour, tax included.
    pub hourly: Amount,
    /// A started hour before tax.
    pub hourly_net: Amount,
    /// A calendar month at most, tax included, where the provider caps it.
    pub monthly: Option<Amount>,
    /// A calendar month at most, before tax.
    pub monthly_net: Option<Amount>,
}

impl Rate {
    /// Reads the rate of a size at a location from the provider's offers; `None` where one price is not known.
    pub fn of(size: &ServerType, location: &str, pricing: &Pricing) -> Option<Self> {
        let own = size.prices.iter().find(|price| price.location == location)?;
        let address = pricing
            .primary_ips
            .iter()
            .filter(|price| price.kind == "ipv4")
            .flat_map(|price| &price.prices)
            .find(|price| price.location == location);
        let sum = |own: &Decimal, address: Option<&Decimal>| {
            let address = address.map_or(Some(0), Decimal::micros_rounded_up)?;
            Some(Amount(own.micros_rounded_up()?).plus(Amount(address)))
        };
        // Without a cap on the address's price there is none on the sum.
        let month = own.price_monthly.as_ref().zip(match address {
            Some(address) => address.price_monthly.as_ref().map(Some),
            None => Some(None),
        });
        Some(Self {
            placement: Placement { size: size.name.clone(), location: location.to_owned() },
            hourly: sum(&own.price_hourly.gross, address.map(|price| &price.price_hourly.gross))?,
            hourly_net: sum(&own.price_hourly.net, address.map(|price| &price.price_hourly.net))?,
            monthly: month.and_then(|(own, address)| sum(&own.gross, address.map(|price| &price.gross))),
            monthly_net: month.and_then(|(own, address)| sum(&own.net, address.map(|price| &price.net))),
        })
    }
}

/// What the next machine costs, wherever of its places it ends up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Quote {
    /// ISO 4217.
    pub currency: String,
    /// One for each place.
    pub rates: Vec<Rate>,
    /// A gigabyte of a rescue image a month, tax included, where that is known.
    #[serde(default)]
    pub image_gb_month: Option<Amount>,
}

impl Quote {
    /// What those rates come to with the provider's other prices.
    pub fn of(rates: Vec<Rate>, pricing: &Pricing) -> Self {
        let image = pricing.image_gb_month.as_ref().and_then(|price| price.gross.micros_rounded_up());
        Self { currency: pricing.currency.clone(), rates, image_gb_month: image.map(Amount) }
    }

    /// The rate at a place.
    pub fn rate(&self, placement: &Placement) -> Option<&Rate> {
        self.rates.iter().find(|rate| rate.placement == *placement)
    }

    /// Most that a machine of that lifetime costs: at the dearest place, in started hours until it is gone for sure.
    pub fn worst(&self, lifetime: Duration, policy: &Policy) -> Worst {
        let hours = worst_hours(lifetime, policy);
        let hourly = self.rates.iter().map(|rate| rate.hourly).max().unwrap_or_default();
        // Rounded here, so that what people see is what is reserved.
        let amount = Amount(hourly.times(hours).0.div_ceil(SHOWN).saturating_mul(SHOWN));
        Worst { amount, hours, currency: self.currency.clone() }
    }
}

/// A worst case.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Worst {
    /// Tax included, rounded up to ten-thousandths.
    pub amount: Amount,
    /// Started hours.
    pub hours: u64,
    /// ISO 4217.
    pub currency: String,
}

impl From<Worst> for Cost {
    fn from(worst: Worst) -> Self {
        let rounded = worst.amount.0.div_ceil(SHOWN);
        let gross = format!("{}.{:04}", rounded / 10_000, rounded % 10_000);
        Self { gross, currency: worst.currency, hours: worst.hours }
    }
}

/// Started hours that a machine of that lifetime may come to: the lifetime and the time that enforcing its end takes.
pub fn worst_hours(lifetime: Duration, policy: &Policy) -> u64 {
    lifetime.plus(policy.enforcement_latency()).as_secs().div_ceil(3600)
}

/// The amount that a stated worst case reserves.
pub fn reserved(worst: Option<&Cost>) -> Amount {
    worst.and_then(|cost| Decimal(cost.gross.clone()).micros_rounded_up()).map(Amount).unwrap_or_default()
}

/// What the record of a workspace knows about the money of its current machine. The rest is in the index.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct MachineMoney {
    /// At what rates it was asked for.
    pub quote: Option<Quote>,
    /// Rates for the machine after this one, as the request for it was reserved.
    pub next: Option<Quote>,
    /// Since when the next machine waits for its reservation.
    pub reserving_since: Option<Timestamp>,
    /// Where it is, once that is known; stays when the server is gone.
    pub placement: Option<Placement>,
    /// Since when the provider bills for it.
    pub started_at: Option<Timestamp>,
    /// Until when: the last deletion that the provider accepted.
    pub ended_at: Option<Timestamp>,
    /// Kept although idle, because the hour is paid.
    pub warm: Option<Warm>,
    /// When its owner's spending was last looked at.
    pub checked_at: Option<Timestamp>,
    /// Periods whose spending its owner was warned of.
    pub warned: Vec<caps::Period>,
    /// Whether it is drained because a cap is exceeded.
    pub over_cap: bool,
    /// When the machine before this one ended, where it did.
    pub last_ended_at: Option<Timestamp>,
    /// How long the last drain took, of this machine or the one before.
    pub last_drain_secs: Option<u64>,
}

/// What came of asking for the money of a machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reserved {
    /// It is reserved, at these rates where they are known.
    Stands(Option<Quote>),
    /// A cap does not allow it.
    Refused(ebbtide_api::workspace::Failure),
}

/// What a request for a machine, or for more of one, has to reserve.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Terms {
    /// Number of the machine that a wake or a retry would start; `None` where none would be.
    pub next: Option<Generation>,
    /// Number of the machine that there is, or will be without being asked for again.
    pub current: Option<Generation>,
    /// Where the next machine may go.
    pub placements: Vec<Placement>,
    /// Rates of the machine that there is: of its place, once it has one.
    pub quote: Option<Quote>,
    /// What that one reserves.
    pub worst_case: Option<Cost>,
    /// Its lifetime.
    pub lifetime: Duration,
    /// Since when the lifetime counts.
    pub woke_at: Timestamp,
}

/// The terms of a workspace as it stands.
pub fn terms(record: &Record, now: Timestamp) -> Terms {
    let spec = &record.spec;
    let money = &record.money;
    let exists = record.phase.may_have_machine() || record.phase == Phase::Requested;
    // A drain that can be taken back starts no machine, unless a cap is why it drains.
    let ends = match &record.phase {
        Phase::Asleep | Phase::Failed { .. } | Phase::Destroying { .. } => true,
        Phase::Draining { frozen, .. } => (*frozen && !record.may_thaw(now)) || money.over_cap,
        Phase::Silent { draining, .. } => draining.is_some() && money.over_cap,
        Phase::Requested
        | Phase::Provisioning { .. }
        | Phase::Booting { .. }
        | Phase::Running
        | Phase::Rescuing { .. }
        | Phase::Deleted { .. } => false,
    };
    let placed = |quote: &Quote| match money.rate() {
        Some(rate) => Quote { rates: vec![rate.clone()], ..quote.clone() },
        None => quote.clone(),
    };
    Terms {
        next: ends.then(|| record.generation.next()),
        current: exists.then_some(record.generation),
        placements: std::iter::once(&spec.placement).chain(&spec.fallbacks).cloned().collect(),
        quote: money.quote.as_ref().map(placed),
        worst_case: record.worst_case.clone(),
        lifetime: spec.lifetime,
        woke_at: record.woke_at,
    }
}

/// Says that a machine is kept within its paid hour, where its own reasons are shown.
pub fn kept(mut why: Why, money: &MachineMoney, now: Timestamp) -> Why {
    if let Some(warm) = &money.warm {
        let (since, until) = (time(warm.since), time(warm.until));
        let text = format!("idle since {since}; kept until {until} because the hour is paid");
        why.because.insert(0, text);
        why.sleeps_in_secs = Some(u64::try_from(warm.until.duration_since(now).as_secs()).unwrap_or(0));
    }
    why
}

/// An idle machine that is kept within its paid hour.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Warm {
    /// Since when it is idle.
    pub since: Timestamp,
    /// Until when it is kept.
    pub until: Timestamp,
    /// Why it counts as idle.
    pub because: String,
}

impl MachineMoney {
    /// What a gigabyte of a rescue image costs a month, for a person: `0.01309 EUR`.
    pub fn image_price(&self) -> Option<String> {
        let quote = self.quote.as_ref()?;
        Some(format!("{} {}", quote.image_gb_month?, quote.currency))
    }

    /// The rate that its machine is billed at.
    pub fn rate(&self) -> Option<&Rate> {
        self.quote.as_ref()?.rate(self.placement.as_ref()?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_read_back_exactly_and_are_pinned_because_policies_hold_them() {
        for (text, micros, shown) in [
            ("10", 10_000_000, "10.00"),
            ("0.006664", 6_664, "0.006664"),
            ("12.50", 12_500_000, "12.50"),
            ("0", 0, "0.00"),
            ("0.0000001", 1, "0.000001"),
        ] {
            let amount = Amount::try_from(text.to_owned()).unwrap();
            assert_eq!((amount.0, amount.to_string().as_str()), (micros, shown), "{text}");
            assert_eq!(serde_json::to_string(&amount).unwrap(), format!("\"{shown}\""));
            assert_eq!(Amount::try_from(shown.to_owned()).unwrap(), amount);
        }
    }

    #[test]
    fn unusable_amounts_are_refused_with_a_usable_one() {
        for text in ["", "ten", "-1", "1e3", "1,50", "€5"] {
            let refusal = Amount::try_from(text.to_owned()).unwrap_err().to_string();
            assert!(refusal.contains("12.50"), "{refusal}");
        }
    }

    #[test]
    fn the_dearest_place_and_every_started_hour_are_in_the_worst_case() {
        let rate = |location: &str, hourly| Rate {
            placement: Placement { size: "cx23".into(), location: location.into() },
            hourly: Amount(hourly),
            hourly_net: Amount(hourly),
            monthly: None,
            monthly_net: None,
        };
        let rates = vec![rate("fsn1", 7_000), rate("ash", 9_000)];
        let quote = Quote { currency: "EUR".into(), rates, image_gb_month: None };
        // 24 h + 2 h drain + 30 min rescue + 60 s + 60 s: 27 started hours.
        let worst = quote.worst(Duration::from_hours(24), &Policy::default());
        assert_eq!((worst.hours, worst.amount), (27, Amount(243_000)));
        let cost = Cost::from(worst);
        assert_eq!(cost, Cost { gross: "0.2430".into(), currency: "EUR".into(), hours: 27 });
        assert_eq!(reserved(Some(&cost)), Amount(243_000));
        assert_eq!(reserved(None), Amount(0));
    }

    #[test]
    fn hundredths_never_divide_by_nothing() {
        assert_eq!(Amount(85).percent_of(Amount(100)), 85);
        assert_eq!(Amount(0).percent_of(Amount(0)), 100);
        assert_eq!(Amount(u64::MAX).percent_of(Amount(1)), u64::MAX);
    }
}
