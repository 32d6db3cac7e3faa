//! What machines cost: rates, made from the provider's own answers, and the worst case that a lifetime comes to.
//!
//! Pure. No price is known here. Everything is rounded up where it is made, so that no sum is ever below what will be billed.

use crate::amount::{Amount, Decimal};
use crate::hetzner::{Pricing, ServerType};
use crate::placement::Placement;
use crate::policy::Policy;
use ebbtide_api::Duration;
use ebbtide_api::money::Cost;
use serde::{Deserialize, Serialize};

/// Worst cases are shown in ten-thousandths.
const SHOWN: u64 = 100;

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
pub struct PriceQuote {
    /// ISO 4217.
    pub currency: String,
    /// One for each place.
    pub rates: Vec<Rate>,
    /// A gigabyte of a rescue image a month, tax included, where that is known.
    #[serde(default)]
    pub image_gb_month: Option<Amount>,
}

impl PriceQuote {
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

#[cfg(test)]
mod tests {
    use super::*;

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
        let quote = PriceQuote { currency: "EUR".into(), rates, image_gb_month: None };
        // 24 h + 2 h drain + 30 min rescue + 60 s + 60 s: 27 started hours.
        let worst = quote.worst(Duration::from_hours(24), &Policy::default());
        assert_eq!((worst.hours, worst.amount), (27, Amount(243_000)));
        let cost = Cost::from(worst);
        assert_eq!(cost, Cost { gross: "0.2430".into(), currency: "EUR".into(), hours: 27 });
        assert_eq!(reserved(Some(&cost)), Amount(243_000));
        assert_eq!(reserved(None), Amount(0));
    }
}
