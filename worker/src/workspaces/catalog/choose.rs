//! Where a new machine goes, where else it may go, and what it costs at worst. Pure.

use super::Offers;
use crate::error::{ApiError, ApiResult};
use ebbtide_api::{ErrorCode, Timestamp};
use ebbtide_control::hetzner::{Price, ServerType};
use ebbtide_control::money::{PriceQuote, Rate};
use ebbtide_control::record::{Placement, Shape};

/// Most places that are tried after the first.
pub(super) const FALLBACKS_MAX: usize = 5;

/// Where a machine goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Choice {
    /// First.
    pub placement: Placement,
    /// Then, in order; only what the user left open varies.
    pub fallbacks: Vec<Placement>,
}

/// What the installation takes where the user leaves it open.
#[derive(Debug, Clone, Copy)]
pub struct Defaults<'a> {
    /// Size.
    pub size: &'a str,
    /// Location.
    pub location: &'a str,
}

/// Chooses placements from the provider's offers.
///
/// # Errors
/// What the user named does not exist, is not offered together, or is sold out.
pub fn choose(
    offers: &Offers,
    size: Option<&str>,
    location: Option<&str>,
    defaults: Defaults<'_>,
    now: Timestamp,
) -> ApiResult<Choice> {
    if let Some(size) = size {
        known_size(offers, size)?;
    }
    if let Some(location) = location {
        known_location(offers, location)?;
    }
    let candidates = priced(offers, candidates(offers, size, location, defaults, now));
    let in_stock: Vec<Placement> = candidates
        .iter()
        .filter(|(_, available)| *available != Some(false))
        .map(|(p, _)| p.clone())
        .collect();
    let mut usable = in_stock.into_iter();
    if let Some(placement) = usable.next() {
        return Ok(Choice { placement, fallbacks: usable.take(FALLBACKS_MAX).collect() });
    }
    match (size, location) {
        (Some(size), Some(location)) if candidates.is_empty() => {
            let where_else = list(offered_names(offers, size, now));
            Err(ApiError::field("location", format!("{size} is not offered in {location}"))
                .hint(format!("It is offered in {where_else}.")))
        }
        (None, None) if candidates.is_empty() => {
            // The provider knows nothing of the installation's default: it is asked for all the same, and refuses.
            let placement =
                Placement { size: defaults.size.to_owned(), location: defaults.location.to_owned() };
            Ok(Choice { placement, fallbacks: Vec::new() })
        }
        _ => {
            let wanted = match (size, location) {
                (Some(size), Some(location)) => format!("{size} in {location}"),
                (Some(size), None) => size.to_owned(),
                (None, Some(location)) => format!("every usable size in {location}"),
                (None, None) => "every usable size".to_owned(),
            };
            Err(ApiError::new(ErrorCode::CapacityUnavailable, format!("the provider has sold out {wanted}")))
        }
    }
}

/// The rate of a size at a location, its address included. `None` where a price is not known.
pub fn rate(offers: &Offers, size: &str, location: &str) -> Option<Rate> {
    let size = offers.sizes.iter().find(|known| known.name == size)?;
    Rate::of(size, location, offers.pricing.as_ref()?)
}

/// What a machine costs wherever of these places it ends up; `None` where one of them has no price.
pub fn quote<'a>(offers: &Offers, places: impl IntoIterator<Item = &'a Placement>) -> Option<PriceQuote> {
    let rates: Option<Vec<Rate>> =
        places.into_iter().map(|place| rate(offers, &place.size, &place.location)).collect();
    Some(PriceQuote::of(rates?, offers.pricing.as_ref()?))
}

/// How large a size is; `None` where the provider does not list it.
pub fn shape(offers: &Offers, size: &str) -> Option<Shape> {
    let ServerType { cores, memory_mib, disk_gb, .. } =
        offers.sizes.iter().find(|known| known.name == size)?;
    Some(Shape { cores: *cores, memory_mib: *memory_mib, disk_gb: *disk_gb })
}

/// Leaves places out that have no price, where others have one: what a machine costs must be known before it starts.
fn priced(offers: &Offers, mut places: Vec<(Placement, Option<bool>)>) -> Vec<(Placement, Option<bool>)> {
    let has_price = |place: &Placement| rate(offers, &place.size, &place.location).is_some();
    if places.iter().any(|(place, _)| has_price(place)) {
        places.retain(|(place, _)| has_price(place));
    }
    places
}

/// Where a size is offered, and whether it is in stock there.
pub(super) fn offered_at(size: &ServerType, now: Timestamp) -> Vec<(&str, Option<bool>)> {
    if size.locations.is_empty() {
        return size.prices.iter().map(|price| (price.location.as_str(), None)).collect();
    }
    size.locations
        .iter()
        .filter(|location| location.unavailable_after.is_none_or(|end| end > now))
        .map(|location| (location.name.as_str(), location.available))
        .collect()
}

/// From when on no new machine of a size is made at a location, where the provider has said so.
pub(super) fn ends_at(size: &ServerType, location: &str) -> Option<Timestamp> {
    size.locations.iter().find(|known| known.name == location)?.unavailable_after
}

/// Price of a started hour.
pub(super) fn hourly<'a>(size: &'a ServerType, location: &str) -> Option<&'a Price> {
    size.prices.iter().find(|price| price.location == location).map(|price| &price.price_hourly)
}

/// Places to try, each with whether it is in stock: the one that was meant, then the others in order of price. What is
/// taken instead of the default size is at least as large and costs at most twice as much.
fn candidates(
    offers: &Offers,
    size: Option<&str>,
    location: Option<&str>,
    defaults: Defaults<'_>,
    now: Timestamp,
) -> Vec<(Placement, Option<bool>)> {
    let meant_size = size.unwrap_or(defaults.size);
    let meant_location = location.unwrap_or(defaults.location);
    let Some(first) = offers.sizes.iter().find(|known| known.name == meant_size) else { return Vec::new() };
    let price = |size: &ServerType, location: &str| {
        hourly(size, location).and_then(|price| price.gross.micros_rounded_up())
    };
    // Where the default is not offered at that place, its cheapest price is what the others are measured by.
    let cheapest =
        || first.prices.iter().filter_map(|price| price.price_hourly.gross.micros_rounded_up()).min();
    let limit = price(first, meant_location).or_else(cheapest).map(|micros| micros.saturating_mul(2));
    let large_enough = |other: &ServerType| {
        other.cores >= first.cores && other.memory_mib >= first.memory_mib && other.disk_gb >= first.disk_gb
    };
    let mut found = Vec::new();
    for server_type in &offers.sizes {
        let same = server_type.name == first.name;
        if !same && (size.is_some() || !large_enough(server_type)) {
            continue;
        }
        for (name, available) in offered_at(server_type, now) {
            let wanted = location.is_none_or(|wanted| wanted == name);
            let micros = price(server_type, name);
            if wanted && (same || micros.zip(limit).is_some_and(|(micros, limit)| micros <= limit)) {
                let order = (
                    !(same && name == meant_location),
                    micros.unwrap_or(u64::MAX),
                    !same,
                    name != meant_location,
                    server_type.name.clone(),
                    name.to_owned(),
                );
                found.push((order, available));
            }
        }
    }
    found.sort();
    found
        .into_iter()
        .map(|((.., size, location), available)| (Placement { size, location }, available))
        .collect()
}

fn known_size(offers: &Offers, size: &str) -> ApiResult<()> {
    if offers.sizes.iter().any(|known| known.name == size) {
        return Ok(());
    }
    let known = list(offers.sizes.iter().map(|size| size.name.as_str()).collect());
    Err(ApiError::field("size", format!("the provider has no size {}", shown(size)))
        .hint(format!("Choose one of {known}.")))
}

fn known_location(offers: &Offers, location: &str) -> ApiResult<()> {
    if offers.locations.iter().any(|known| known.name == location) {
        return Ok(());
    }
    let known = list(offers.locations.iter().map(|location| location.name.as_str()).collect());
    Err(ApiError::field("location", format!("the provider has no location {}", shown(location)))
        .hint(format!("Choose one of {known}.")))
}

pub(super) fn offered_names<'a>(offers: &'a Offers, size: &str, now: Timestamp) -> Vec<&'a str> {
    let size = offers.sizes.iter().find(|known| known.name == size);
    size.map(|size| offered_at(size, now).into_iter().map(|(name, _)| name).collect()).unwrap_or_default()
}

fn list(mut names: Vec<&str>) -> String {
    names.sort_unstable();
    if names.is_empty() { "nothing".to_owned() } else { names.join(", ") }
}

/// As much of a refused text as an error repeats.
fn shown(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(40).collect()
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use ebbtide_api::Duration;
    use ebbtide_api::money::Cost;
    use ebbtide_control::amount::Decimal;
    use ebbtide_control::hetzner::Pricing;
    use ebbtide_control::policy::Policy;

    pub(crate) const DEFAULTS: Defaults<'static> = Defaults { size: "cx23", location: "fsn1" };

    pub(crate) fn size(name: &str, cores: u32, price: &str, at: &[(&str, bool)]) -> ServerType {
        let locations: Vec<_> = at
            .iter()
            .map(|(name, available)| serde_json::json!({"name": name, "available": available}))
            .collect();
        let prices: Vec<_> = at
            .iter()
            .map(|(name, _)| serde_json::json!({"location": name, "price_hourly": {"net": price, "gross": price}}))
            .collect();
        serde_json::from_value(serde_json::json!({
            "name": name, "cores": cores, "memory": 4 * cores, "disk": 40, "architecture": "x86",
            "prices": prices, "locations": locations,
        }))
        .unwrap()
    }

    pub(crate) fn offers() -> Offers {
        let location = |name: &str| serde_json::from_value(serde_json::json!({"name": name})).unwrap();
        Offers {
            sizes: vec![
                size("cx23", 2, "0.0060", &[("fsn1", true), ("nbg1", true), ("hel1", false)]),
                size("cpx22", 2, "0.0100", &[("fsn1", true)]),
                size("cx33", 4, "0.0130", &[("fsn1", true)]),
                size("cx13", 1, "0.0040", &[("fsn1", true)]),
                size("gone", 8, "0.0061", &[("fsn1", false)]),
            ],
            locations: vec![location("fsn1"), location("nbg1"), location("hel1"), location("ash")],
            pricing: Some(Pricing {
                currency: "EUR".into(),
                vat_rate: None,
                image_gb_month: None,
                primary_ips: vec![
                    serde_json::from_value(serde_json::json!({
                        "type": "ipv4",
                        "prices": [{"location": "fsn1", "price_hourly": {"net": "0.0008", "gross": "0.0010"}}],
                    }))
                    .unwrap(),
                ],
                server_types: vec![],
            }),
        }
    }

    fn check(size: Option<&str>, location: Option<&str>, wanted: &str) {
        let found = match choose(&offers(), size, location, DEFAULTS, Timestamp::UNIX_EPOCH) {
            Ok(choice) => std::iter::once(&choice.placement)
                .chain(&choice.fallbacks)
                .map(|placement| format!("{}@{}", placement.size, placement.location))
                .collect::<Vec<_>>()
                .join(" "),
            Err(error) => {
                let body = error.body("");
                format!("{}: {} {}", body.code.as_str(), body.message, body.hint)
            }
        };
        assert_eq!(found, wanted, "{size:?} {location:?}");
    }

    #[test]
    fn only_what_the_user_left_open_varies() {
        check(None, None, "cx23@fsn1 cx23@nbg1 cpx22@fsn1");
        check(Some("cx23"), None, "cx23@fsn1 cx23@nbg1");
        check(None, Some("nbg1"), "cx23@nbg1");
        check(Some("cx33"), Some("fsn1"), "cx33@fsn1");
    }

    #[test]
    fn what_cannot_be_had_is_refused_with_what_can() {
        check(
            Some("cx99"),
            None,
            "invalid_field: size: the provider has no size cx99 Choose one of cpx22, cx13, cx23, cx33, gone.",
        );
        check(
            None,
            Some("mars"),
            "invalid_field: location: the provider has no location mars Choose one of ash, fsn1, hel1, nbg1.",
        );
        check(
            Some("cx23"),
            Some("ash"),
            "invalid_field: location: cx23 is not offered in ash It is offered in fsn1, hel1, nbg1.",
        );
        check(
            Some("cx23"),
            Some("hel1"),
            "capacity_unavailable: the provider has sold out cx23 in hel1 Choose another size or location, or try again later.",
        );
        check(
            Some("gone"),
            None,
            "capacity_unavailable: the provider has sold out gone Choose another size or location, or try again later.",
        );
        check(
            None,
            Some("hel1"),
            "capacity_unavailable: the provider has sold out every usable size in hel1 Choose another size or location, or try again later.",
        );
    }

    #[test]
    fn the_worst_case_counts_the_address_and_started_hours_until_enforcement_at_the_dearest_place() {
        let place = |size: &str, location: &str| Placement { size: size.into(), location: location.into() };
        let worst = |places: &[Placement]| {
            let quote = quote(&offers(), places)?;
            Some(Cost::from(quote.worst(Duration::from_hours(24), &Policy::default())))
        };
        // 24 h + 2 h drain + 30 min rescue + 60 s + 60 s: 27 started hours at 0.0060 + 0.0010.
        let cost = |gross: &str| Some(Cost { gross: gross.into(), currency: "EUR".into(), hours: 27 });
        assert_eq!(worst(&[place("cx23", "fsn1")]), cost("0.1890"));
        assert_eq!(worst(&[place("cx23", "fsn1"), place("cpx22", "fsn1")]), cost("0.2970"));
        assert_eq!(worst(&[place("cx23", "fsn1"), place("cx23", "ash")]), None);
    }

    #[test]
    fn fallbacks_come_in_order_of_price_whatever_their_size() {
        let mut offers = offers();
        // Elsewhere the default is dearer than another size at home.
        for price in
            offers.sizes.iter_mut().filter(|size| size.name == "cx23").flat_map(|size| &mut size.prices)
        {
            if price.location == "nbg1" {
                price.price_hourly.gross = Decimal("0.0110".into());
            }
        }
        let choice = choose(&offers, None, None, DEFAULTS, Timestamp::UNIX_EPOCH).unwrap();
        let order: Vec<_> = choice.fallbacks.iter().map(|place| place.size.as_str()).collect();
        assert_eq!((choice.placement.location.as_str(), order), ("fsn1", vec!["cpx22", "cx23"]));
    }
}
