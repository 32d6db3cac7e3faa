//! Backups as their owner handles them: whether and which are kept, how one gets on, the list of them, the restore kit,
//! deletions that are undone, the master key's rotation.
//!
//! A restore kit holds secrets and is answered once; its `Debug` shows none.

use crate::keys::ApiKeyInfo;
use crate::{Duration, Generation, TenantId, Timestamp, WorkspaceId};
use serde::{Deserialize, Serialize};

/// Whether the workspace is backed up at all.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum Persistence {
    /// Backed up before its machine goes.
    #[default]
    Backup,
    /// Never backed up: a discard decided and recorded at spawn.
    None,
}

/// Which verified snapshots are kept: the newest ones, and the newest of each of so many hours, days and weeks (in UTC)
/// that have any. The newest of all is always kept. Together they are at most 150.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Retention {
    /// So many of the newest.
    #[cfg_attr(feature = "openapi", schema(maximum = 150))]
    pub keep_last: u32,
    /// One for each of so many hours.
    #[cfg_attr(feature = "openapi", schema(maximum = 150))]
    pub hourly: u32,
    /// One for each of so many days.
    #[cfg_attr(feature = "openapi", schema(maximum = 150))]
    pub daily: u32,
    /// One for each of so many weeks.
    #[cfg_attr(feature = "openapi", schema(maximum = 150))]
    pub weekly: u32,
}

impl Retention {
    /// More than these together no record lists.
    pub const MOST: u32 = 150;

    /// How many snapshots it keeps at most.
    pub fn most(&self) -> u32 {
        [self.hourly, self.daily, self.weekly].into_iter().fold(self.keep_last, u32::saturating_add)
    }
}

impl Default for Retention {
    fn default() -> Self {
        Self { keep_last: 10, hourly: 24, daily: 14, weekly: 8 }
    }
}

/// How far a backup or a restore is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct BackupProgress {
    /// `scan`, `upload`, `verify`, `restore`.
    pub phase: String,
    /// Bytes handled so far.
    pub bytes_done: u64,
    /// Bytes in all, where known.
    pub bytes_total: Option<u64>,
    /// Files handled so far.
    pub files_done: u64,
    /// Bytes a second over the last while.
    pub rate: u64,
}

/// A verified snapshot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct SnapshotSummary {
    /// The restic snapshot's id.
    pub snapshot: String,
    /// When the control plane verified it.
    #[cfg_attr(feature = "openapi", schema(value_type = String, format = DateTime))]
    pub verified_at: Timestamp,
    /// The generation that wrote it.
    pub generation: Generation,
    /// Files in it.
    pub files: u64,
    /// Their size in bytes.
    pub bytes: u64,
    /// Whether something could not be read.
    pub partial: bool,
}

/// Verified snapshots of a workspace.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct SnapshotList {
    /// Newest first.
    pub snapshots: Vec<SnapshotSummary>,
    /// Bytes in the repository.
    pub stored_bytes: u64,
    /// Bytes that it may hold; past them backups are refused.
    pub quota_bytes: u64,
    /// Which snapshots are kept.
    #[serde(default)]
    pub retention: Retention,
    /// How many are kept no longer, and go when the workspace wakes next or later.
    #[serde(default, rename = "due")]
    pub expired: u32,
    /// What its owner should do about it before backups stop.
    #[serde(default)]
    pub warning: Option<String>,
}

/// The body of `POST /v1/workspaces/{id}/restore-kit`; it may be left out.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct CreateRestoreKit {
    /// How long the kit's credential is good; 90 days where absent, 366 days at most. The password in it has no end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub r#for: Option<Duration>,
}

/// All that restic needs to bring a workspace's files back, without Ebbtide's programs. Keep it as a password is kept.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct RestoreKit {
    /// Whose backups.
    pub workspace: WorkspaceId,
    /// Its readable name.
    pub name: String,
    /// When the kit was made.
    #[cfg_attr(feature = "openapi", schema(value_type = String, format = DateTime))]
    pub made_at: Timestamp,
    /// The newest verified snapshot at that time.
    pub snapshot: String,
    /// For `RESTIC_REPOSITORY`; holds the kit's own credential, which reads these backups and can be revoked.
    pub repository: String,
    /// For `RESTIC_PASSWORD`.
    pub password: String,
    /// The credential as `GET /v1/keys` lists it; `DELETE /v1/keys/{id}` ends it.
    pub key: ApiKeyInfo,
    /// What to do with it, as text for a person.
    pub instructions: String,
}

impl std::fmt::Debug for RestoreKit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "RestoreKit({} of {}, secrets redacted)", self.snapshot, self.workspace)
    }
}

/// What came of bringing deleted objects of a repository back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct UndoneDeletions {
    /// Objects brought back by this request.
    pub restored: u64,
    /// Whether there may be more: send the request again, with `next_cursor` where there is one.
    pub more: bool,
    /// Pass as `?cursor=`.
    pub next_cursor: Option<String>,
}

/// What came of re-wrapping tenants' keys under the current master key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct MasterKeyRotation {
    /// Id of the master key that seals.
    pub current: String,
    /// Tenants' keys that this request wrapped anew.
    pub rewrapped: u64,
    /// Those that it found under the current key already.
    pub unchanged: u64,
    /// Those that it could not open or store: the older master keys are still needed.
    pub failed: Vec<RotationFailure>,
    /// Pass as `?cursor=` for the next slice; `null` after the last.
    pub next_cursor: Option<String>,
}

/// A tenant's key that was left as it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct RotationFailure {
    /// Whose.
    pub tenant: TenantId,
    /// Why.
    pub problem: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kit_shows_no_secret_by_accident() {
        let kit: RestoreKit = serde_json::from_str(
            r#"{"workspace":"k3v7q2mzab","name":"demo","made_at":"2026-11-21T05:00:00Z","snapshot":"ab",
            "repository":"rest:https://kit:SECRET1@host/","password":"SECRET2","instructions":"SECRET3",
            "key":{"id":"00","prefix":"ebb_00","label":"","scopes":[],"created_at":"2026-11-21T05:00:00Z",
            "last_used_at":null,"repository":"k3v7q2mzab"}}"#,
        )
        .unwrap();
        assert_eq!(format!("{kit:?}"), "RestoreKit(ab of k3v7q2mzab, secrets redacted)");
        assert_eq!(kit.key.repository, Some(kit.workspace));
    }
}
