//! Where the next machine of a workspace goes: chosen anew at each start, from what the provider offers that day. Pure.
//!
//! What its owner named is kept to while it is offered, also where it is sold out for now: that is refused by name. What
//! the provider has withdrawn gives way to the cheapest that is at least as large, so that no workspace sleeps for ever.

use super::choose::{FALLBACKS_MAX, offered_at, offered_names, rate, shape};
use super::{Choice, Defaults, Offers, choose};
use crate::error::{ApiError, ApiResult};
use ebbtide_api::{ErrorCode, Timestamp};
use ebbtide_control::record::{Placement, Shape};
use ebbtide_control::reservation::ReservationRequest;

/// Chooses where the next machine goes.
///
/// # Errors
/// What its owner named is sold out, or too small for the backup.
pub fn choose_again(
    offers: &Offers,
    request: &ReservationRequest,
    defaults: Defaults<'_>,
    now: Timestamp,
) -> ApiResult<Choice> {
    let last = request.placements.first().map(|place| place.size.as_str());
    let wished = request.wish.size.as_deref();
    let last_shape = request.room.shape.or_else(|| last.and_then(|last| shape(offers, last)));
    let takes_the_image = |size: &&str| {
        shape(offers, size).zip(last_shape).is_some_and(|(size, last)| size.disk_gb >= last.disk_gb)
    };
    let named = if request.room.salvages { wished.filter(takes_the_image).or(last) } else { wished };
    let size = named.unwrap_or(defaults.size);
    let offered_in = offered_names(offers, size, now);
    let held = last_shape.filter(|_| request.room.was_held).map_or(u64::MAX, |shape| shape.disk_gb);
    let disk_gb = request.room.disk_gb.min(held);
    // The last size held what it backed up, whatever the sum says.
    let fits = |size: &str| {
        (request.room.was_held && Some(size) == last)
            || shape(offers, size).is_none_or(|shape| shape.disk_gb >= disk_gb)
    };
    if offered_in.is_empty() || (named.is_none() && !fits(size)) {
        return substitute(offers, size, request, disk_gb, defaults, now);
    }
    if !fits(size) {
        let message = format!("the disk of {size} is too small for the backup that is restored");
        return Err(ApiError::field("size", message)
            .hint(format!("Choose a size with at least {disk_gb} GB of disk from GET /v1/catalog.")));
    }
    let still_there = |location: &&str| match named {
        Some(_) => offered_in.contains(location),
        None => offers.locations.iter().any(|known| known.name == **location),
    };
    let location = request.wish.location.as_deref().filter(still_there);
    let mut choice = match choose(offers, named, location, defaults, now) {
        // The size was nobody's choice: the image comes from it, and fits any that is as large.
        Err(error) if request.room.salvages && error.code() == ErrorCode::CapacityUnavailable => {
            return substitute(offers, size, request, disk_gb, defaults, now);
        }
        chosen => chosen?,
    };
    choice.fallbacks.retain(|place| fits(&place.size));
    if fits(&choice.placement.size) {
        return Ok(choice);
    }
    substitute(offers, size, request, disk_gb, defaults, now)
}

/// The cheapest places that hold what the last machine held, and what is wished for would hold.
fn substitute(
    offers: &Offers,
    instead_of: &str,
    request: &ReservationRequest,
    disk_gb: u64,
    defaults: Defaults<'_>,
    now: Timestamp,
) -> ApiResult<Choice> {
    let last = request.placements.first().and_then(|last| shape(offers, &last.size));
    let known = [request.room.shape.or(last), shape(offers, instead_of)];
    let least = known.into_iter().flatten().reduce(Shape::or_larger).or_else(|| shape(offers, defaults.size));
    let least = least.unwrap_or(Shape { cores: 0, memory_mib: 0, disk_gb: 0 });
    let least = Shape { disk_gb: least.disk_gb.max(disk_gb), ..least };
    let wished = request.wish.location.as_deref();
    let meant = wished.unwrap_or(defaults.location);
    let mut found = Vec::new();
    for size in &offers.sizes {
        if !shape(offers, &size.name).is_some_and(|shape| shape.holds(&least)) {
            continue;
        }
        let in_stock = offered_at(size, now).into_iter().filter(|(_, available)| *available != Some(false));
        for (location, _) in in_stock {
            let hourly = rate(offers, &size.name, location).map(|rate| rate.hourly);
            let elsewhere = location != meant;
            let place = Placement { size: size.name.clone(), location: location.to_owned() };
            // Another place than the one that was named only where that has nothing.
            found.push((wished.is_some() && elsewhere, hourly, elsewhere, place));
        }
    }
    // Without a price only where none has one.
    if found.iter().any(|(_, hourly, ..)| hourly.is_some()) {
        found.retain(|(_, hourly, ..)| hourly.is_some());
    }
    found.sort();
    let mut places = found.into_iter().map(|(.., place)| place);
    let Some(placement) = places.next() else {
        let message = format!("{instead_of} is not offered any more, and nothing as large is in stock");
        return Err(ApiError::new(ErrorCode::CapacityUnavailable, message));
    };
    let fallbacks: Vec<Placement> = places.take(FALLBACKS_MAX).collect();
    Ok(Choice { placement, fallbacks })
}

#[cfg(test)]
mod tests {
    use super::super::choose::tests::{DEFAULTS, offers, size};
    use super::*;
    use ebbtide_api::{Duration, Generation};
    use ebbtide_control::record::Wish;
    use ebbtide_control::reservation::Room;

    /// A workspace that wishes for this, and slept on a machine with two processors and 40 GB.
    fn request(size: Option<&str>, location: Option<&str>) -> ReservationRequest {
        ReservationRequest {
            next: Some(Generation(2)),
            current: None,
            placements: vec![Placement { size: "cx23".into(), location: "fsn1".into() }],
            wish: Wish { size: size.map(Into::into), location: location.map(Into::into) },
            room: Room {
                shape: Some(Shape { cores: 2, memory_mib: 8, disk_gb: 40 }),
                disk_gb: 10,
                was_held: true,
                salvages: false,
            },
            quote: None,
            worst_case: None,
            lifetime: Duration::from_hours(24),
            woke_at: Timestamp::UNIX_EPOCH,
        }
    }

    #[track_caller]
    fn check(offers: &Offers, request: &ReservationRequest, wanted: &str) {
        let found = match choose_again(offers, request, DEFAULTS, Timestamp::UNIX_EPOCH) {
            Ok(choice) => {
                let places = std::iter::once(&choice.placement).chain(&choice.fallbacks);
                places.map(|place| format!("{}@{}", place.size, place.location)).collect::<Vec<_>>().join(" ")
            }
            Err(error) => error.to_string(),
        };
        assert_eq!(found, wanted);
    }

    fn without(size: &str) -> Offers {
        let mut offers = offers();
        offers.sizes.retain(|known| known.name != size);
        offers
    }

    #[test]
    fn what_is_offered_is_chosen_as_for_a_new_workspace() {
        check(&offers(), &request(None, None), "cx23@fsn1 cx23@nbg1 cpx22@fsn1");
        check(&offers(), &request(Some("cx33"), None), "cx33@fsn1");
        check(&offers(), &request(Some("cx23"), Some("nbg1")), "cx23@nbg1");
        let sold_out = "capacity_unavailable: the provider has sold out cx23 in hel1";
        check(&offers(), &request(Some("cx23"), Some("hel1")), sold_out);
    }

    #[test]
    fn what_is_withdrawn_gives_way_to_the_cheapest_that_is_as_large() {
        // Named or not: the size is gone.
        for size in [Some("cx23"), None] {
            check(&without("cx23"), &request(size, None), "cpx22@fsn1 cx33@fsn1");
        }
        // Listed, and made nowhere any more.
        let mut ending = offers();
        for size in ending.sizes.iter_mut().filter(|size| size.name == "cx23") {
            for location in &mut size.locations {
                location.unavailable_after = Some(Timestamp::UNIX_EPOCH);
            }
        }
        check(&ending, &request(Some("cx23"), None), "cpx22@fsn1 cx33@fsn1");
        let mut nothing = without("cx23");
        nothing.sizes.retain(|size| size.cores < 2);
        let none = "capacity_unavailable: cx23 is not offered any more, and nothing as large is in stock";
        check(&nothing, &request(Some("cx23"), None), none);
    }

    #[test]
    fn a_place_that_a_size_has_left_is_not_insisted_on() {
        check(&offers(), &request(Some("cx33"), Some("nbg1")), "cx33@fsn1");
        check(&offers(), &request(None, Some("mars")), "cx23@fsn1 cx23@nbg1 cpx22@fsn1");
        // For another size, the named place comes first, whatever it costs.
        let mut offers = without("cx23");
        offers.sizes.push(size("big", 8, "0.9000", &[("nbg1", true)]));
        check(&offers, &request(Some("cx23"), Some("nbg1")), "big@nbg1 cpx22@fsn1 cx33@fsn1");
    }

    #[test]
    fn a_place_without_a_price_takes_nobody_s_quote_away() {
        let mut offers = offers();
        for size in offers.sizes.iter_mut().filter(|size| size.name == "cx23") {
            size.prices.retain(|price| price.location != "nbg1");
        }
        let choice = choose_again(&offers, &request(None, None), DEFAULTS, Timestamp::UNIX_EPOCH).unwrap();
        let places = std::iter::once(&choice.placement).chain(&choice.fallbacks);
        assert!(super::super::quote(&offers, places).is_some());
        check(&offers, &request(None, None), "cx23@fsn1 cpx22@fsn1");
    }

    #[test]
    fn a_backup_goes_onto_a_disk_that_holds_it() {
        let mut large = offers();
        large.sizes.push(with_disk("cx53", 160));
        let mut request = request(Some("cx33"), None);
        (request.room.shape, request.room.disk_gb, request.room.was_held) = (None, 100, false);
        let small = "invalid_field: size: the disk of cx33 is too small for the backup that is restored";
        check(&large, &request, small);
        request.wish.size = None;
        request.placements.clear();
        check(&large, &request, "cx53@fsn1");
        // The size that it slept on held it, whatever the sum says.
        request.placements = vec![Placement { size: "cx23".into(), location: "fsn1".into() }];
        (request.wish.size, request.room.was_held) = (Some("cx23".into()), true);
        check(&large, &request, "cx23@fsn1 cx23@nbg1");
    }

    fn with_disk(name: &str, disk_gb: u64) -> ebbtide_control::hetzner::ServerType {
        ebbtide_control::hetzner::ServerType { disk_gb, ..size(name, 4, "0.0500", &[("fsn1", true)]) }
    }

    #[test]
    fn a_rescue_image_goes_onto_the_size_it_was_taken_from() {
        let mut request = request(Some("cpx22"), None);
        request.room.salvages = true;
        request.wish.size = None;
        check(&offers(), &request, "cx23@fsn1 cx23@nbg1");
        check(&without("cx23"), &request, "cpx22@fsn1 cx33@fsn1");
        let mut sold_out = offers();
        for size in sold_out.sizes.iter_mut().filter(|size| size.name == "cx23") {
            size.locations.iter_mut().for_each(|location| location.available = Some(false));
        }
        check(&sold_out, &request, "cpx22@fsn1 cx33@fsn1");
        // Its owner may name another that takes the image; one that does not is not tried.
        request.wish.size = Some("cx33".into());
        check(&sold_out, &request, "cx33@fsn1");
        let mut small = sold_out.clone();
        small.sizes.iter_mut().filter(|size| size.name == "cx33").for_each(|size| size.disk_gb = 20);
        check(&small, &request, "cpx22@fsn1");
    }

    #[test]
    fn what_a_fallback_held_is_what_the_next_machine_has_to_hold() {
        let mut offers = offers();
        offers.sizes.iter_mut().filter(|size| size.name == "cpx22").for_each(|size| size.disk_gb = 80);
        let mut request = request(None, None);
        request.placements = vec![Placement { size: "cpx22".into(), location: "fsn1".into() }];
        (request.room.shape, request.room.disk_gb) = (None, 82);
        check(&offers, &request, "cpx22@fsn1");
    }

    #[test]
    fn while_no_price_is_known_a_withdrawn_size_gives_way_all_the_same() {
        let mut unpriced = without("cx23");
        unpriced.pricing = None;
        let choice = choose_again(&unpriced, &request(Some("cx23"), None), DEFAULTS, Timestamp::UNIX_EPOCH);
        assert_eq!(choice.unwrap().placement.size, "cpx22");
    }
}
