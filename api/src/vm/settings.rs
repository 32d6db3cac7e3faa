//! What the workspace's user works with on a machine: variables, files, keys. It may change while the machine runs.

use super::NamedSecret;
use crate::secrets::FileMode;
use serde::{Deserialize, Serialize};

/// The answer to `POST /v1/vm/settings`. All of it stays in memory.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct UserSettings {
    /// As [`super::Instruction::settings_revision`] names it: another one there is fetched.
    pub revision: u64,
    /// Environment of terminals and agents.
    pub variables: Vec<NamedSecret>,
    /// Files, each with a link to it below the home.
    pub files: Vec<SecretFile>,
    /// Private keys for ssh.
    pub ssh_keys: Vec<SshKey>,
}

/// A file that is kept in memory.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SecretFile {
    /// The secret's name.
    pub name: String,
    /// The link's path below the home.
    pub path: String,
    /// What its owner may do with it.
    pub mode: FileMode,
    /// Its content.
    pub value: String,
}

impl std::fmt::Debug for SecretFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SecretFile({} at {}, redacted)", self.name, self.path)
    }
}

/// A private key for ssh.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SshKey {
    /// The secret's name.
    pub name: String,
    /// The one host that it is tried at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// As `ssh-keygen` writes it.
    pub value: String,
}

impl std::fmt::Debug for SshKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SshKey({}, redacted)", self.name)
    }
}

/// The body of `POST /v1/vm/git-credential`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AskGitCredential {
    /// `https` or `http`, as git names it.
    pub protocol: String,
    /// The host, with its port where git names one.
    pub host: String,
}

/// The answer: what git signs in with. Kept nowhere.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GitCredential {
    /// As whom.
    pub username: String,
    /// Password or token.
    pub password: String,
}

impl std::fmt::Debug for GitCredential {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("GitCredential(redacted)")
    }
}
