//! What the provider offers, remembered for five minutes, and what follows from it: placements, fallbacks, worst cases.
//!
//! No size, location or price is known to the code. Where the provider does not answer, the last offers stand however
//! old they are, and before there are any, choices go unchecked: the provider checks them when the server is created.

mod again;
mod choose;

pub use again::choose_again;
pub use choose::{Choice, Defaults, choose, quote, shape};

use crate::app::App;
use crate::error::{ApiError, ApiResult};
use ebbtide_api::catalog::{Catalog, CatalogLocation, CatalogOffer, CatalogSize};
use ebbtide_api::{Duration, ErrorCode, Timestamp};
use ebbtide_control::hetzner::{Architecture, Failure, Location, Pricing, ServerType};
use ebbtide_control::money::PriceQuote;
use std::cell::RefCell;
use std::rc::Rc;

/// How long offers are taken as they are: availability changes within minutes, and a call each is spent on it.
const FRESH_FOR: Duration = Duration::from_mins(5);
/// How long nobody else waits after the provider did not answer.
const PAUSE: Duration = Duration::from_secs(15);

/// What the provider offers.
#[derive(Debug, Clone, Default)]
pub struct Offers {
    /// Sizes; only those for x86, which is all that machines are built for.
    pub sizes: Vec<ServerType>,
    /// Places.
    pub locations: Vec<Location>,
    /// Prices of addresses, and the currency of all prices.
    pub pricing: Option<Pricing>,
}

/// What an isolate remembers for itself.
#[derive(Debug, Default)]
struct Memory {
    offers: Option<(Timestamp, Rc<Offers>)>,
    failed_at: Option<Timestamp>,
}

thread_local! {
    static MEMORY: RefCell<Memory> = RefCell::default();
}

/// The provider's offers; `None` where it does not answer and none are remembered.
pub async fn offers(app: &App) -> Option<Rc<Offers>> {
    let now = app.now();
    let failed_lately =
        |memory: &Memory| memory.failed_at.is_some_and(|at| now.duration_since(at) < PAUSE.into());
    if MEMORY.with_borrow(failed_lately) {
        return remembered();
    }
    match fresh(app).await {
        Ok(offers) => Some(offers),
        Err(failure) => {
            let fields = [("request.id", app.request_id.as_str()), ("error", &failure.to_string())];
            crate::log::write(crate::log::Level::Warn, "the provider's catalog is not to be had", &fields);
            MEMORY.with_borrow_mut(|memory| memory.failed_at = Some(now));
            remembered()
        }
    }
}

fn remembered() -> Option<Rc<Offers>> {
    MEMORY.with_borrow(|memory| memory.offers.as_ref().map(|(_, offers)| Rc::clone(offers)))
}

async fn fresh(app: &App) -> Result<Rc<Offers>, Failure> {
    let now = app.now();
    let fresh = MEMORY.with_borrow(|memory| {
        let fresh = memory.offers.as_ref().filter(|(at, _)| now.duration_since(*at) < FRESH_FOR.into());
        fresh.map(|(_, offers)| Rc::clone(offers))
    });
    if let Some(offers) = fresh {
        return Ok(offers);
    }
    let hetzner = app.hetzner();
    let mut sizes = hetzner.server_types().await.outcome?;
    sizes.retain(|size| size.architecture == Architecture::X86);
    let locations = hetzner.locations().await.outcome?;
    // Without prices one can still create: the worst case is then not shown.
    let pricing = hetzner.pricing().await.outcome.inspect_err(|failure| {
        let fields = [("request.id", app.request_id.as_str()), ("error", &failure.to_string())];
        crate::log::write(crate::log::Level::Warn, "prices are not to be had", &fields);
    });
    let pricing = pricing.ok();
    let offers = Rc::new(Offers { sizes, locations, pricing });
    MEMORY.set(Memory { offers: Some((now, Rc::clone(&offers))), failed_at: None });
    Ok(offers)
}

/// What can be chosen, for the API and for the dashboard's create form.
///
/// # Errors
/// The provider does not answer and nothing is remembered.
pub async fn catalog(app: &App) -> ApiResult<Catalog> {
    let offers = offers(app).await.ok_or_else(|| {
        ApiError::new(
            ErrorCode::ProviderUnavailable,
            "the provider does not say what it offers at the moment",
        )
    })?;
    let config = &app.config;
    let now = app.now();
    let mut sizes: Vec<CatalogSize> = offers.sizes.iter().map(|size| show(&offers, size, app, now)).collect();
    sizes.retain(|size| !size.locations.is_empty());
    sizes.sort_by_key(|size| {
        let cheapest =
            size.locations.iter().filter_map(|offer| offer.hourly_gross.clone()).min_by_key(micros);
        (cheapest.as_ref().map_or(u64::MAX, micros), size.name.clone())
    });
    let mut locations: Vec<CatalogLocation> = offers
        .locations
        .iter()
        .map(|location| CatalogLocation {
            name: location.name.clone(),
            description: [location.city.as_str(), location.country.as_str()]
                .into_iter()
                .filter(|part| !part.is_empty())
                .collect::<Vec<_>>()
                .join(", "),
        })
        .collect();
    locations.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(Catalog {
        sizes,
        locations,
        currency: offers.pricing.as_ref().map(|pricing| pricing.currency.clone()),
        default_size: config.default_size.clone(),
        default_location: config.default_location.clone(),
        default_lifetime: config.policy.lifetime,
    })
}

#[allow(clippy::ptr_arg)] // a key function of `min_by_key`
fn micros(price: &String) -> u64 {
    ebbtide_control::amount::Decimal(price.clone()).micros_rounded_up().unwrap_or(u64::MAX)
}

fn show(offers: &Offers, size: &ServerType, app: &App, now: Timestamp) -> CatalogSize {
    let policy = &app.config.policy;
    let offered = choose::offered_at(size, now);
    CatalogSize {
        name: size.name.clone(),
        description: size.description.clone(),
        cores: size.cores,
        memory_mib: size.memory_mib,
        disk_gb: size.disk_gb,
        cpu: size.cpu_type.clone(),
        locations: offered
            .into_iter()
            .map(|(location, available)| CatalogOffer {
                hourly_gross: choose::hourly(size, location).map(|price| price.gross.to_string()),
                worst_case: choose::rate(offers, &size.name, location).zip(offers.pricing.as_ref()).map(
                    |(rate, pricing)| {
                        PriceQuote::of(vec![rate], pricing).worst(policy.lifetime, policy).into()
                    },
                ),
                unavailable_after: choose::ends_at(size, location),
                location: location.to_owned(),
                available,
            })
            .collect(),
    }
}
