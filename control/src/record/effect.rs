//! What is to be done outside: named by a decision, stored while it is under way, done by the executor.

use serde::{Deserialize, Serialize};

/// Something to do outside, safe to repeat.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Effect {
    /// Reserve the money for the machine after this one, which waited or was not asked for by itself.
    Reserve,
    /// Find the server of this generation by its labels, or create it.
    EnsureServer,
    /// Make both DNS records point at the server.
    EnsureDns,
    /// Write the labels anew (the expiry has moved).
    UpdateLabels,
    /// Look by label and by id whether the server exists at all.
    FindServer,
    /// Read the server's status and metrics.
    AskServer,
    /// Switch it on, or reset it.
    Reboot,
    /// Switch it off.
    PowerOff,
    /// Ask for an image of it.
    TakeImage,
    /// See whether the image is written.
    AwaitImage,
    /// Delete every server of this generation, or find that there is none.
    DeleteServer,
    /// Delete the DNS records of this generation.
    DeleteDns,
    /// Check the next slice of the pending receipt against storage.
    CheckReceipt,
    /// Delete the workspace's keys from storage.
    Purge,
    /// Add up what the owner has spent.
    CheckSpending,
    /// Look whether other workspaces fell silent at the same time.
    #[serde(rename = "look_around")]
    CheckPeers,
    /// Delete an image whose content is in storage or given up.
    DeleteImage {
        /// The provider's image id.
        image: u64,
    },
}
