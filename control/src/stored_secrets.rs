//! A tenant's secrets: which are taken, how they are sealed, who gets them, and what git is answered. Pure.
//!
//! What a secret is for is sealed with its value, under the tenant's key: whoever can write the bucket cannot have a
//! password sent to another host. See [`crate::keys`] for the cipher; the Worker's keychain stores what is made here.

mod check;
#[cfg(test)]
mod tests;

pub use check::{SecretError, check, check_choice, is_name};

use crate::keys::{DataKey, KeyError, NonceBytes, Wrapped};
use crate::secret::SecretText;
use ebbtide_api::secrets::{SecretChoice, SecretInfo, SecretUse, SecretUser};
use ebbtide_api::vm::{GitAuthor, GitCredential, NamedSecret, SecretFile, SshKey, UserSettings};
use ebbtide_api::{TenantId, Timestamp};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// All secrets of a tenant as they are stored. Pinned: a later version must read it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredSecrets {
    /// By name.
    pub secrets: BTreeMap<String, StoredSecret>,
    /// The highest version that a name has had which is gone: one that comes back goes on from there.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub past: BTreeMap<String, u32>,
}

/// A secret as it is stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredSecret {
    /// Rises with each value.
    pub version: u32,
    /// When the value was written.
    pub written_at: Timestamp,
    /// [`Secret`], sealed.
    pub sealed: Wrapped,
}

/// A secret in clear.
#[derive(Debug, Clone)]
pub struct Secret {
    /// What it is for.
    pub usage: SecretUse,
    /// Whether every workspace gets it that names none of its own.
    pub everywhere: bool,
    /// The value.
    pub value: SecretText,
}

/// What is sealed.
#[derive(Serialize, Deserialize)]
struct Content {
    r#use: SecretUse,
    everywhere: bool,
    value: String,
}

/// A secret with its name and when it was written.
#[derive(Debug, Clone)]
pub struct OpenedSecret {
    /// Its name.
    pub name: String,
    /// Rises with each value.
    pub version: u32,
    /// When the value was written.
    pub written_at: Timestamp,
    /// The rest.
    pub secret: Secret,
}

impl StoredSecrets {
    /// Seals a secret in the place of one of the same name.
    ///
    /// # Errors
    /// See [`crate::keys::seal`].
    pub fn put(
        &mut self,
        name: &str,
        secret: Secret,
        tenant: &TenantId,
        key: &DataKey,
        nonce: NonceBytes,
        now: Timestamp,
    ) -> Result<(), KeyError> {
        let before = self.secrets.get(name).map(|stored| stored.version);
        let version = before.or_else(|| self.past.get(name).copied()).unwrap_or(0).saturating_add(1);
        let Secret { usage, everywhere, value } = secret;
        let content = Content { r#use: usage, everywhere, value: value.expose().clone() };
        let text = serde_json::to_string(&content).map_err(|_| KeyError::Malformed { part: "plaintext" })?;
        let sealed = key.seal_secret(&SecretText::new(text), name, tenant, None, version, nonce)?;
        self.past.remove(name);
        self.secrets.insert(name.to_owned(), StoredSecret { version, written_at: now, sealed });
        Ok(())
    }

    /// Removes a secret. What was sealed under its versions never counts again.
    pub fn remove(&mut self, name: &str) {
        if let Some(removed) = self.secrets.remove(name) {
            self.past.insert(name.to_owned(), removed.version);
            while self.past.len() > ebbtide_api::secrets::MOST {
                self.past.pop_first();
            }
        }
    }

    /// Opens them all, in order of their names.
    ///
    /// # Errors
    /// See [`crate::keys::open`].
    pub fn open(&self, tenant: &TenantId, key: &DataKey) -> Result<Vec<OpenedSecret>, KeyError> {
        let open = |(name, stored): (&String, &StoredSecret)| {
            let text = key.open_secret(&stored.sealed, name, tenant, None, stored.version)?;
            let Content { r#use: usage, everywhere, value } =
                serde_json::from_str(text.expose()).map_err(|_| KeyError::Malformed { part: "content" })?;
            let secret = Secret { usage, everywhere, value: value.into() };
            let StoredSecret { version, written_at, .. } = *stored;
            Ok(OpenedSecret { name: name.clone(), version, written_at, secret })
        };
        self.secrets.iter().map(open).collect()
    }
}

impl OpenedSecret {
    /// What is shown of it.
    pub fn info(&self, workspaces: Vec<SecretUser>) -> SecretInfo {
        SecretInfo {
            name: self.name.clone(),
            r#use: self.secret.usage.clone(),
            everywhere: self.secret.everywhere,
            version: self.version,
            written_at: self.written_at,
            workspaces,
        }
    }

    /// Whether a workspace of that choice gets it.
    pub fn is_for(&self, choice: &SecretChoice) -> bool {
        choice.includes(&self.name, self.secret.everywhere)
    }
}

/// What a workspace's user works with. Of several secrets for one place the first by name counts; a variable of the
/// workspace's own goes before all.
pub fn settings(
    revision: u64,
    own: Vec<NamedSecret>,
    secrets: &[OpenedSecret],
    choice: &SecretChoice,
) -> UserSettings {
    let mut settings = UserSettings { revision, variables: own, ..UserSettings::default() };
    let mut variables: BTreeSet<String> =
        settings.variables.iter().map(|variable| variable.name.clone()).collect();
    let mut paths = BTreeSet::new();
    for OpenedSecret { name, secret, .. } in secrets.iter().filter(|secret| secret.is_for(choice)) {
        let value = secret.value.expose().clone();
        match &secret.usage {
            SecretUse::Environment { variable } => {
                if variables.insert(variable.clone()) {
                    settings.variables.push(NamedSecret { name: variable.clone(), value });
                }
            }
            SecretUse::File { path, mode } => {
                if paths.insert(path.clone()) {
                    let (name, path) = (name.clone(), path.clone());
                    settings.files.push(SecretFile { name, path, mode: *mode, value });
                }
            }
            SecretUse::SshKey { host } => {
                settings.ssh_keys.push(SshKey { name: name.clone(), host: host.clone(), value });
            }
            SecretUse::GitAuthor {} => {
                settings.git_author = settings.git_author.take().or_else(|| GitAuthor::parse(&value));
            }
            // Asked for each time that git needs it, and kept nowhere.
            SecretUse::GitCredential { .. } => {}
        }
    }
    settings
}

/// What git signs in with at a host, where a workspace of that choice has something for it: the first by name. A password
/// goes over plain http only where its secret says so.
pub fn git_credential(
    protocol: &str,
    host: &str,
    secrets: &[OpenedSecret],
    choice: &SecretChoice,
) -> Option<GitCredential> {
    let asked = origin(protocol, host)?;
    secrets.iter().filter(|secret| secret.is_for(choice)).find_map(|OpenedSecret { secret, .. }| {
        let SecretUse::GitCredential { host, username } = &secret.usage else { return None };
        let (protocol, host) = match host.strip_prefix("http://") {
            Some(host) => ("http", host),
            None => ("https", host.as_str()),
        };
        (origin(protocol, host)? == asked)
            .then(|| GitCredential { username: username.clone(), password: secret.value.expose().clone() })
    })
}

/// A host as it is compared: with its protocol, in lower case, and with a port.
fn origin(protocol: &str, host: &str) -> Option<String> {
    let usual = match protocol {
        "https" => "443",
        "http" => "80",
        _ => return None,
    };
    let host = host.to_ascii_lowercase();
    let (name, port) = match host.rsplit_once(':') {
        Some((name, port)) if !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit()) => {
            (name, port)
        }
        Some(_) | None => (host.as_str(), usual),
    };
    Some(format!("{protocol}://{}:{port}", name.trim_end_matches('.')))
}
