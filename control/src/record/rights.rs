//! Rights to remove from the repository: the owner's, which is its lock, and what a fresh machine may prune.
//!
//! Who may use them when is decided by the record (`Record::live_lock`, `Record::may_prune`).

use ebbtide_api::Timestamp;
use ebbtide_api::backups::SnapshotSummary;
use serde::{Deserialize, Serialize};

/// The right to change and delete objects of the repository while no machine exists: the repository's lock.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RepositoryLock {
    /// Who holds it: an actor of the audit log.
    pub by: String,
    /// When it was given.
    #[serde(default)]
    pub since: Timestamp,
    /// When it ends by itself; every use moves this on.
    pub until: Timestamp,
}

/// What a machine may remove from the repository before it is ready: the named snapshots (restic's `forget`), and what
/// nothing needs then (`prune`).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Prune {
    /// Ids of the expired snapshots.
    pub snapshots: Vec<String>,
    /// Ids of those that no list names: proved by a later receipt of their machine, and old. Found as the machine begins.
    #[serde(default, rename = "strays")]
    pub orphans: Vec<String>,
    /// When its time is over; `None` until the machine begins, which it does once.
    #[serde(default)]
    pub until: Option<Timestamp>,
    /// Whether the machine has said that it is done, or is ready.
    #[serde(default)]
    pub ended: bool,
}

impl Prune {
    /// Whether it may remove this snapshot. What an owner's change has saved since stays.
    pub fn removes(&self, name: &str, kept: &[SnapshotSummary]) -> bool {
        let is_named = self.snapshots.iter().chain(&self.orphans).any(|known| known == name);
        is_named && !kept.iter().any(|known| known.snapshot == name)
    }
}

/// A snapshot that was brought back after its deletion.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unforgotten {
    /// Its id.
    pub snapshot: String,
    /// Until when no rule removes it again.
    pub until: Timestamp,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prune_is_stored_in_its_first_words_because_records_outlive_versions() {
        let stored = r#"{"snapshots":["a"],"strays":["b"],"until":null,"ended":false}"#;
        let prune: Prune = serde_json::from_str(stored).unwrap();
        assert_eq!(prune.orphans, ["b"]);
        assert_eq!(serde_json::to_string(&prune).unwrap(), stored);
    }
}
