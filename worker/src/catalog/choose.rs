//! Where a new machine goes, where else it may go, and what it costs at worst. Pure.

use super::Offers;
use crate::error::{ApiError, ApiResult};
use ebbtide_api::workspace::Cost;
use ebbtide_api::{Duration, ErrorCode, Timestamp};
use ebbtide_control::hetzner::{Price, ServerType};
use ebbtide_control::policy::Policy;
use ebbtide_control::record::Placement;

/// Most places that are tried after the first.
const FALLBACKS_MAX: usize = 5;

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
    let sizes = sizes(offers, size, defaults.size, now);
    let mut candidates: Vec<(Placement, Option<bool>)> = Vec::new();
    for server_type in &sizes {
        let mut offered = offered_at(server_type, now);
        offered.sort_by_key(|(name, _)| (*name != defaults.location, *name));
        offered.retain(|(name, _)| location.is_none_or(|wanted| wanted == *name));
        candidates.extend(offered.into_iter().map(|(name, available)| {
            (Placement { size: server_type.name.clone(), location: name.to_owned() }, available)
        }));
    }
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

/// What a machine costs at worst: its price and its address's, for the lifetime and the time that enforcing it may
/// take, in started hours as the provider bills. `None` where a price is not known.
pub fn worst_case(
    offers: &Offers,
    size: &str,
    location: &str,
    lifetime: Duration,
    policy: &Policy,
) -> Option<Cost> {
    let pricing = offers.pricing.as_ref()?;
    let server_type = offers.sizes.iter().find(|server_type| server_type.name == size)?;
    let machine = hourly(server_type, location)?.gross.micros_rounded_up()?;
    let address = pricing
        .primary_ips
        .iter()
        .filter(|price| price.kind == "ipv4")
        .flat_map(|price| &price.prices)
        .find(|price| price.location == location)
        .and_then(|price| price.price_hourly.gross.micros_rounded_up())
        .unwrap_or(0);
    let hours = lifetime.plus(policy.enforcement_latency()).as_secs().div_ceil(3600);
    let micros = machine.checked_add(address)?.checked_mul(hours)?;
    Some(Cost { gross: decimal(micros), currency: pricing.currency.clone(), hours })
}

/// Millionths as a decimal text, rounded up to ten-thousandths.
fn decimal(micros: u64) -> String {
    let rounded = micros.div_ceil(100);
    format!("{}.{:04}", rounded / 10_000, rounded % 10_000)
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

/// Price of a started hour.
pub(super) fn hourly<'a>(size: &'a ServerType, location: &str) -> Option<&'a Price> {
    size.prices.iter().find(|price| price.location == location).map(|price| &price.price_hourly)
}

fn cheapest_micros(size: &ServerType) -> Option<u64> {
    size.prices.iter().filter_map(|price| price.price_hourly.gross.micros_rounded_up()).min()
}

/// The sizes to try: the one asked for, or the default and what is at least as large for at most twice its price.
fn sizes<'a>(offers: &'a Offers, wanted: Option<&str>, default: &str, now: Timestamp) -> Vec<&'a ServerType> {
    let named = |name: &str| offers.sizes.iter().find(|size| size.name == name);
    let first = named(wanted.unwrap_or(default));
    let mut sizes: Vec<&ServerType> = first.into_iter().collect();
    if let (None, Some(first)) = (wanted, first) {
        let limit = cheapest_micros(first).map(|micros| micros.saturating_mul(2));
        let large_enough = |size: &&ServerType| {
            size.name != first.name
                && size.cores >= first.cores
                && size.memory_mib >= first.memory_mib
                && size.disk_gb >= first.disk_gb
                && !offered_at(size, now).is_empty()
                && cheapest_micros(size) <= limit
        };
        let mut others: Vec<&ServerType> = offers.sizes.iter().filter(large_enough).collect();
        others.sort_by_key(|size| (cheapest_micros(size), size.name.clone()));
        sizes.extend(others);
    }
    sizes
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

fn offered_names<'a>(offers: &'a Offers, size: &str, now: Timestamp) -> Vec<&'a str> {
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
mod tests {
    use super::*;
    use ebbtide_control::hetzner::Pricing;

    const DEFAULTS: Defaults<'static> = Defaults { size: "cx23", location: "fsn1" };

    fn size(name: &str, cores: u32, price: &str, at: &[(&str, bool)]) -> ServerType {
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

    fn offers() -> Offers {
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
    fn the_worst_case_counts_the_address_and_started_hours_until_enforcement() {
        // 24 h + 2 h drain + 30 min rescue + 60 s + 60 s: 27 started hours at 0.0060 + 0.0010.
        let cost =
            worst_case(&offers(), "cx23", "fsn1", Duration::from_hours(24), &Policy::default()).unwrap();
        assert_eq!(cost, Cost { gross: "0.1890".into(), currency: "EUR".into(), hours: 27 });
        assert_eq!(worst_case(&offers(), "cx23", "ash", Duration::from_hours(24), &Policy::default()), None);
        assert_eq!(decimal(1), "0.0001");
        assert_eq!(decimal(12_345_600), "12.3456");
    }
}
