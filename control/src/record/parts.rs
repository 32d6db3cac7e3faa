//! What the record knows of things outside: a server, names, images, a receipt that is being checked, and the one
//! effect that is under way.

use super::effect::Effect;
use crate::placement::Placement;
use ebbtide_api::Timestamp;
use ebbtide_api::vm::{Pack, Receipt};
use serde::{Deserialize, Serialize};

/// The server of the current generation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Server {
    /// The provider's id.
    pub id: u64,
    /// Its address.
    pub ipv4: Option<String>,
    /// Where it is.
    pub placement: Placement,
    /// Since when it exists, and is billed, by the provider's clock.
    #[serde(default)]
    pub created: Option<Timestamp>,
}

/// How the DNS records of a generation stand.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Dns {
    /// Never asked for, or gone.
    #[default]
    Absent,
    /// Asked for; some may stand.
    MayExist,
    /// All stand.
    Ready,
}

/// An effect that was begun and whose outcome is not known yet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InFlight {
    /// Tells this attempt from an earlier one that was given up.
    pub attempt_id: u64,
    /// What was begun.
    pub effect: Effect,
    /// When.
    pub started_at: Timestamp,
}

/// A pause after an effect that failed or has to be looked at again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pause {
    /// When the effect is due again.
    pub until: Timestamp,
    /// How many attempts have failed in a row.
    pub failures: u32,
    /// What is waited for, for a person.
    pub waiting_for: String,
}

/// A receipt that is being checked against storage.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PendingReceipt {
    /// The receipt without its packs.
    pub receipt: Receipt,
    /// Packs still to be checked; shrinks from the end.
    pub unchecked: Vec<Pack>,
    /// Whether the machine may go once it is verified.
    pub last: bool,
}

/// An image at the provider that no wake salvages any more.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OldImage {
    /// The provider's image id.
    pub image: u64,
    /// When it is deleted, or tried again.
    pub delete_at: Timestamp,
    /// How many attempts have failed.
    #[serde(default)]
    pub failures: u32,
}

/// What the next backup would not fit into.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BackupLimit {
    /// The quota of the repository.
    Quota,
    /// The time of a drain.
    Time,
    /// The lifetime, by the time that a wake would take to restore it.
    Restore,
}
