//! Where a machine goes: a size at a location, as the provider names them. The provider's answers say which exist.

use serde::{Deserialize, Serialize};

/// A size at a location.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Placement {
    /// The provider's server type.
    pub size: String,
    /// The provider's location.
    pub location: String,
}
