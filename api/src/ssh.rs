//! SSH: whose keys may sign in to the workspaces that let SSH in, and how such a workspace is reached.
//!
//! Requests deny unknown fields; answers may grow. Nothing here holds a private key.

use crate::Timestamp;
use serde::{Deserialize, Serialize};

/// Most keys of a tenant.
pub const MOST: usize = 20;
/// Longest public key, in bytes: RSA of 16 384 bits fits.
pub const KEY_MAX: usize = 4096;
/// As whom people sign in.
pub const USER: &str = "ebb";
/// Where `sshd` listens.
pub const PORT: u16 = 22;

/// The body of `PUT /v1/ssh-keys/{name}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct PutSshKey {
    /// One line as in a file `.pub`: `ssh-ed25519 AAAA… comment`. No options before it.
    #[cfg_attr(feature = "openapi", schema(min_length = 1, max_length = 4096))]
    pub public_key: String,
}

/// A key that may sign in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct SshKeyInfo {
    /// Its name.
    pub name: String,
    /// Kind and key, without a comment.
    pub public_key: String,
    /// As `ssh-keygen -l` shows it.
    pub fingerprint: String,
    /// When it was written.
    #[cfg_attr(feature = "openapi", schema(value_type = String, format = DateTime))]
    pub written_at: Timestamp,
}

/// All keys that may sign in.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct SshKeyList {
    /// By name.
    pub keys: Vec<SshKeyInfo>,
}

/// What became of a key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct SshKeyChanged {
    /// The key.
    pub key: SshKeyInfo,
    /// From when on, in a sentence.
    pub applies: String,
}

/// How a workspace that lets SSH in is reached.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct SshAccess {
    /// The name to connect to. It leads to the server while the workspace is awake.
    pub host: String,
    /// Where `sshd` listens.
    pub port: u16,
    /// As whom.
    pub user: String,
    /// The server's public key, the same at every wake.
    pub host_key: String,
    /// Of that key, as `ssh` shows it when it asks.
    pub fingerprint: String,
    /// A block for `~/.ssh/config`.
    pub config: String,
    /// A line for `~/.ssh/known_hosts`.
    pub known_hosts: String,
}
