//! What can be bought, where and for how much: `GET /server_types`, `/locations`, `/pricing`.
//!
//! No size, location or price is known to the code: all of it is read here, in the project's own currency.

use super::page::{Listing, Meta};
use super::wire::{open_enum, scaled, time};
use super::{Answer, Failure, Hetzner, Price, Reply, decode};
use crate::amount::Decimal;
use crate::http::{Http, Method};
use jiff::Timestamp;
use serde::Deserialize;

/// A size of server.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(from = "WireServerType")]
pub struct ServerType {
    pub name: String,
    pub description: String,
    pub cores: u32,
    pub memory_mib: u64,
    pub disk_gb: u64,
    pub architecture: Architecture,
    /// `shared` or `dedicated`.
    pub cpu_type: String,
    pub category: Option<String>,
    /// By location.
    pub prices: Vec<LocationPrice>,
    /// Where it is offered. Empty where the provider does not say, which is not "nowhere".
    pub locations: Vec<ServerTypeLocation>,
}

open_enum! {
    /// Processor architecture.
    Architecture {
        X86 = "x86",
        Arm = "arm",
    }
}

/// Whether a size can be had at a location.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerTypeLocation {
    pub name: String,
    /// In stock now; absent where the provider does not say.
    pub available: Option<bool>,
    pub recommended: Option<bool>,
    /// No new servers from then on.
    pub unavailable_after: Option<Timestamp>,
}

/// What something costs at a location.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct LocationPrice {
    pub location: String,
    /// Each started hour.
    pub price_hourly: Price,
    /// At most, a month.
    pub price_monthly: Option<Price>,
}

/// A place where servers can be.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Location {
    pub name: String,
    #[serde(default)]
    pub description: String,
    #[serde(default)]
    pub city: String,
    #[serde(default)]
    pub country: String,
    pub network_zone: Option<String>,
}

/// Prices of everything, in one currency.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pricing {
    /// Such as `EUR`.
    pub currency: String,
    pub vat_rate: Option<Decimal>,
    /// Of an image, for each gigabyte and month.
    pub image_gb_month: Option<Price>,
    pub primary_ips: Vec<PrimaryIpPrice>,
    pub server_types: Vec<ServerTypePricing>,
}

/// What a primary IP costs.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct PrimaryIpPrice {
    /// `ipv4` or `ipv6`.
    #[serde(rename = "type")]
    pub kind: String,
    #[serde(default)]
    pub prices: Vec<LocationPrice>,
}

/// What a size costs.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct ServerTypePricing {
    pub name: String,
    #[serde(default)]
    pub prices: Vec<LocationPrice>,
}

impl<H: Http> Hetzner<H> {
    /// All sizes.
    pub async fn server_types(&self) -> Answer<Vec<ServerType>> {
        self.all::<ServerTypes>("/server_types", &[]).await
    }

    /// All locations. Needs no more than a valid token, and so checks one.
    pub async fn locations(&self) -> Answer<Vec<Location>> {
        self.all::<Locations>("/locations", &[]).await
    }

    /// All prices.
    pub async fn pricing(&self) -> Answer<Pricing> {
        self.call(Ok(self.request(Method::Get, "/pricing"))).await.and_then(|reply| match reply {
            Reply::Done(body) => Ok(decode::<OnePricing>(&body)?.pricing.into()),
            Reply::Refused(error) => Err(Failure::Refused(error)),
        })
    }
}

#[derive(Deserialize)]
struct ServerTypes {
    server_types: Vec<ServerType>,
    meta: Option<Meta>,
}

impl Listing for ServerTypes {
    type Item = ServerType;
    fn split(self) -> (Vec<ServerType>, Option<Meta>) {
        (self.server_types, self.meta)
    }
}

#[derive(Deserialize)]
struct Locations {
    locations: Vec<Location>,
    meta: Option<Meta>,
}

impl Listing for Locations {
    type Item = Location;
    fn split(self) -> (Vec<Location>, Option<Meta>) {
        (self.locations, self.meta)
    }
}

#[derive(Deserialize)]
struct WireServerType {
    name: String,
    #[serde(default)]
    description: String,
    #[serde(default)]
    cores: u32,
    #[serde(default)]
    memory: f64,
    #[serde(default)]
    disk: f64,
    architecture: Option<Architecture>,
    cpu_type: Option<String>,
    category: Option<String>,
    #[serde(default)]
    prices: Vec<LocationPrice>,
    #[serde(default)]
    locations: Vec<WireTypeLocation>,
}

#[derive(Deserialize)]
struct WireTypeLocation {
    name: String,
    available: Option<bool>,
    recommended: Option<bool>,
    deprecation: Option<WireDeprecation>,
}

#[derive(Deserialize)]
struct WireDeprecation {
    unavailable_after: Option<String>,
}

#[derive(Deserialize)]
struct OnePricing {
    pricing: WirePricing,
}

#[derive(Deserialize)]
struct WirePricing {
    currency: String,
    vat_rate: Option<Decimal>,
    image: Option<WireImagePrice>,
    #[serde(default)]
    primary_ips: Vec<PrimaryIpPrice>,
    #[serde(default)]
    server_types: Vec<ServerTypePricing>,
}

#[derive(Deserialize)]
struct WireImagePrice {
    price_per_gb_month: Option<Price>,
}

impl From<WireServerType> for ServerType {
    fn from(wire: WireServerType) -> Self {
        let location = |wire: WireTypeLocation| ServerTypeLocation {
            name: wire.name,
            available: wire.available,
            recommended: wire.recommended,
            unavailable_after: wire.deprecation.and_then(|deprecation| time(deprecation.unavailable_after)),
        };
        Self {
            name: wire.name,
            description: wire.description,
            cores: wire.cores,
            memory_mib: scaled(wire.memory, 1024.0),
            disk_gb: scaled(wire.disk, 1.0),
            architecture: wire.architecture.unwrap_or_else(|| Architecture::Other(String::new())),
            cpu_type: wire.cpu_type.unwrap_or_default(),
            category: wire.category,
            prices: wire.prices,
            locations: wire.locations.into_iter().map(location).collect(),
        }
    }
}

impl From<WirePricing> for Pricing {
    fn from(wire: WirePricing) -> Self {
        Self {
            currency: wire.currency,
            vat_rate: wire.vat_rate,
            image_gb_month: wire.image.and_then(|image| image.price_per_gb_month),
            primary_ips: wire.primary_ips,
            server_types: wire.server_types,
        }
    }
}
