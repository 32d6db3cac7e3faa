//! The catalog: the sizes and locations that the provider offers, and their prices.

use crate::money::Cost;
use crate::{Duration, Timestamp};
use serde::{Deserialize, Serialize};

/// What can be had, where, and for how much: read from the provider.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Catalog {
    /// By price.
    pub sizes: Vec<CatalogSize>,
    /// By name.
    pub locations: Vec<CatalogLocation>,
    /// ISO 4217; absent where the provider did not say.
    pub currency: Option<String>,
    /// What is taken where a request names no size.
    pub default_size: String,
    /// What is taken where a request names no location.
    pub default_location: String,
    /// Lifetime that the worst cases are about.
    pub default_lifetime: Duration,
}

/// A server type.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct CatalogSize {
    /// For `size` in a create request.
    pub name: String,
    /// As the provider describes it.
    pub description: String,
    /// Processors.
    pub cores: u32,
    /// Memory in MiB.
    pub memory_mib: u64,
    /// Disk in GB.
    pub disk_gb: u64,
    /// `shared` or `dedicated` processors.
    pub cpu: String,
    /// Where it is offered.
    pub locations: Vec<CatalogOffer>,
}

/// A size at a location.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct CatalogOffer {
    /// For `location` in a create request.
    pub location: String,
    /// In stock now; `null` where the provider does not say.
    pub available: Option<bool>,
    /// Each started hour, tax included.
    pub hourly_gross: Option<String>,
    /// What a workspace of the default lifetime costs at worst.
    pub worst_case: Option<Cost>,
    /// From then on the provider makes no new machines of this size there.
    #[serde(default)]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>, format = DateTime))]
    pub unavailable_after: Option<Timestamp>,
}

/// A place where machines can be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct CatalogLocation {
    /// For `location` in a create request.
    pub name: String,
    /// City and country.
    pub description: String,
}
