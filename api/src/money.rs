//! Amounts of money as they are sent and stored: decimal texts, as the provider states them, never floats.

use serde::{Deserialize, Serialize};

/// An amount of money, as the provider states it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Cost {
    /// Decimal, tax included.
    pub gross: String,
    /// ISO 4217.
    pub currency: String,
    /// Hours billed, rounded up.
    pub hours: u64,
}
