//! Where a machine goes: a size at a location, as the provider names them. The provider's answers say which exist.
//!
//! What an owner wishes for outlives what a provider sells: sizes and images are withdrawn, so each start chooses anew.

use serde::{Deserialize, Serialize};

/// A size at a location.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Placement {
    /// The provider's server type.
    pub size: String,
    /// The provider's location.
    pub location: String,
}

impl std::fmt::Display for Placement {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} at {}", self.size, self.location)
    }
}

/// What an owner asked for; what is `None` is left to the installation.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Wish {
    /// The provider's server type.
    pub size: Option<String>,
    /// The provider's location.
    pub location: Option<String>,
}

/// How large a machine is: what takes its place when its size is withdrawn is at least as large.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shape {
    /// Virtual processors.
    pub cores: u32,
    /// Memory, in MiB.
    pub memory_mib: u64,
    /// Disk, in GB.
    pub disk_gb: u64,
}

impl Shape {
    /// What holds both.
    pub fn or_larger(self, other: Self) -> Self {
        Self {
            cores: self.cores.max(other.cores),
            memory_mib: self.memory_mib.max(other.memory_mib),
            disk_gb: self.disk_gb.max(other.disk_gb),
        }
    }

    /// Whether everything that fits into the other fits into this one.
    pub fn holds(&self, other: &Self) -> bool {
        self.cores >= other.cores && self.memory_mib >= other.memory_mib && self.disk_gb >= other.disk_gb
    }
}

/// How the next machine starts, chosen from what is offered on that day.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Start {
    /// Where it goes first.
    pub placement: Placement,
    /// Where else it may go when that is sold out, in order.
    pub fallbacks: Vec<Placement>,
    /// The provider's image.
    pub image: String,
    /// How large the first is.
    pub shape: Option<Shape>,
}
