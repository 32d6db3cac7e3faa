//! Keys wrapped by keys: master key → tenant key → workspace key, and secrets sealed under the tenant's key.
//!
//! AES-256-GCM throughout. The associated data names purpose, wrapping key, tenant, workspace and version, so that
//! nothing sealed for one place opens in another. Nonces are passed in: 12 fresh random bytes for every seal. A key in
//! clear never leaves a [`Secret`], and no error says more than which key was wanted.
//! Deleting a wrapped key shreds what it opens; rotation re-wraps keys and touches no data.

use crate::secret::{Secret, SecretKey, SecretText};
use aes_gcm::aead::{Aead, Payload};
use aes_gcm::{Aes256Gcm, KeyInit, Nonce};
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use ebbtide_api::{TenantId, WorkspaceId};
use serde::{Deserialize, Serialize};

/// Version of the format that [`seal`] writes.
const FORMAT: u8 = 1;

/// 12 bytes that are never used twice with one key.
pub type NonceBytes = [u8; 12];

/// A key and the id under which it is known.
#[derive(Debug, Clone)]
pub struct DataKey {
    id: String,
    key: SecretKey,
}

/// What a sealed value is for; part of its associated data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose<'a> {
    /// A tenant's key, under a master key.
    TenantKey,
    /// A workspace's key, under its tenant's key.
    WorkspaceKey,
    /// A stored secret of that name, under its tenant's key.
    Secret(&'a str),
    /// The key by which SSH clients know a workspace, under its tenant's key.
    SshHostKey,
    /// A tenant's keys that sign in over SSH, under its key.
    LoginKeys,
}

/// Where a sealed value belongs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Aad<'a> {
    pub tenant: &'a TenantId,
    /// Absent for what belongs to the tenant as a whole.
    pub workspace: Option<&'a WorkspaceId>,
    /// Of the sealed value: rises when it is replaced.
    pub version: u32,
    pub purpose: Purpose<'a>,
}

/// A sealed value as it is stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wrapped {
    /// Version of this format.
    pub v: u8,
    /// Id of the key that opens it.
    pub kid: String,
    /// Base64.
    pub nonce: String,
    /// Ciphertext and tag, base64.
    pub ct: String,
}

/// Why a key or a sealed value is of no use.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// The value is sealed under a key that we do not have.
    #[error("the value is sealed under key {kid}, which is not among the live keys")]
    UnknownKey { kid: String },
    /// Written by a newer version.
    #[error("the value is sealed in format {v}, which this version does not know")]
    UnknownFormat { v: u8 },
    /// Not base64, or of the wrong length.
    #[error("the sealed value is damaged: {part} is malformed")]
    Malformed { part: &'static str },
    /// Altered, sealed for another place, or sealed under another key of the same id.
    #[error("the sealed value does not open: it was altered or belongs elsewhere")]
    DoesNotOpen,
    /// A configured key is missing, malformed, doubled or an example.
    #[error("the configured keys are unusable: {0}")]
    Configuration(String),
}

impl DataKey {
    /// A key under an id.
    pub fn new(id: impl Into<String>, key: SecretKey) -> Self {
        Self { id: id.into(), key }
    }

    /// Its id.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Its bytes, to be wrapped.
    pub fn bytes(&self) -> &SecretKey {
        &self.key
    }

    /// The password of the restic repository that this workspace key opens.
    pub fn repository_password(&self) -> SecretText {
        hex::encode(self.key.expose()).into()
    }
}

/// Seals `plain` under `key` for the place that `aad` names.
///
/// # Errors
/// `plain` is longer than the cipher can take (64 GiB).
pub fn seal(plain: &[u8], key: &DataKey, nonce: NonceBytes, aad: &Aad<'_>) -> Result<Wrapped, KeyError> {
    let payload = Payload { msg: plain, aad: &associated_data(FORMAT, &key.id, aad) };
    let sealed = cipher(key)?
        .encrypt(&Nonce::from(nonce), payload)
        .map_err(|_| KeyError::Malformed { part: "plaintext" })?;
    Ok(Wrapped { v: FORMAT, kid: key.id.clone(), nonce: BASE64.encode(nonce), ct: BASE64.encode(sealed) })
}

/// Opens what [`seal`] sealed under the same key for the same place.
///
/// # Errors
/// Another key or place, or a single bit that differs.
pub fn open(wrapped: &Wrapped, key: &DataKey, aad: &Aad<'_>) -> Result<Secret<Vec<u8>>, KeyError> {
    if wrapped.v != FORMAT {
        return Err(KeyError::UnknownFormat { v: wrapped.v });
    }
    if wrapped.kid != key.id {
        return Err(KeyError::UnknownKey { kid: wrapped.kid.clone() });
    }
    let nonce: NonceBytes = BASE64
        .decode(&wrapped.nonce)
        .ok()
        .and_then(|bytes| bytes.try_into().ok())
        .ok_or(KeyError::Malformed { part: "nonce" })?;
    let sealed = BASE64.decode(&wrapped.ct).map_err(|_| KeyError::Malformed { part: "ct" })?;
    let payload = Payload { msg: &sealed, aad: &associated_data(wrapped.v, &wrapped.kid, aad) };
    let plain = cipher(key)?.decrypt(&Nonce::from(nonce), payload).map_err(|_| KeyError::DoesNotOpen)?;
    Ok(plain.into())
}

/// Opens a sealed key and gives it an id.
///
/// # Errors
/// As [`open`], or what was sealed is not a key.
pub fn open_key(wrapped: &Wrapped, key: &DataKey, aad: &Aad<'_>, id: &str) -> Result<DataKey, KeyError> {
    let plain = open(wrapped, key, aad)?;
    let bytes: [u8; 32] =
        plain.expose().as_slice().try_into().map_err(|_| KeyError::Malformed { part: "key length" })?;
    Ok(DataKey::new(id, bytes.into()))
}

/// Id of a tenant's key of that version.
pub fn tenant_key_id(version: u32) -> String {
    format!("tenant-{version}")
}

/// Id of a workspace's key of that version.
pub fn workspace_key_id(version: u32) -> String {
    format!("workspace-{version}")
}

/// The installation's own keys: one that seals, several that open.
#[derive(Debug, Clone)]
pub struct MasterKeys {
    current: DataKey,
    older: Vec<DataKey>,
}

impl MasterKeys {
    /// `current` seals; all open.
    pub fn new(current: DataKey, older: Vec<DataKey>) -> Self {
        Self { current, older }
    }

    /// Reads the configured keys: `id:base64` pairs separated by commas or blanks, the sealing one first.
    ///
    /// # Errors
    /// Missing, malformed, doubled or example keys; the error repeats no key.
    pub fn parse(text: &SecretText) -> Result<Self, KeyError> {
        let mut keys = parse_key_list(text)?.into_iter();
        let current = keys.next().ok_or_else(|| KeyError::Configuration("there is none".to_owned()))?;
        Ok(Self::new(current, keys.collect()))
    }

    /// The key that seals.
    pub fn current(&self) -> &DataKey {
        &self.current
    }

    /// The key of that id.
    ///
    /// # Errors
    /// There is none among the live keys.
    pub fn get(&self, kid: &str) -> Result<&DataKey, KeyError> {
        std::iter::once(&self.current)
            .chain(&self.older)
            .find(|key| key.id == kid)
            .ok_or_else(|| KeyError::UnknownKey { kid: kid.to_owned() })
    }

    /// Wraps a new tenant key.
    ///
    /// # Errors
    /// See [`seal`].
    pub fn wrap_tenant_key(
        &self,
        tenant_key: &SecretKey,
        tenant: &TenantId,
        version: u32,
        nonce: NonceBytes,
    ) -> Result<Wrapped, KeyError> {
        seal(tenant_key.expose(), &self.current, nonce, &tenant_aad(tenant, version))
    }

    /// Opens a tenant's key.
    ///
    /// # Errors
    /// See [`open`].
    pub fn unwrap_tenant_key(
        &self,
        wrapped: &Wrapped,
        tenant: &TenantId,
        version: u32,
    ) -> Result<DataKey, KeyError> {
        let key = self.get(&wrapped.kid)?;
        open_key(wrapped, key, &tenant_aad(tenant, version), &tenant_key_id(version))
    }

    /// Wraps a tenant's key anew where it is not under the current key; `None` where it is. Rotation of the master key
    /// is this for every tenant, and nothing else.
    ///
    /// # Errors
    /// See [`open`].
    pub fn rewrap_tenant_key(
        &self,
        wrapped: &Wrapped,
        tenant: &TenantId,
        version: u32,
        nonce: NonceBytes,
    ) -> Result<Option<Wrapped>, KeyError> {
        if wrapped.kid == self.current.id {
            return Ok(None);
        }
        let key = self.unwrap_tenant_key(wrapped, tenant, version)?;
        self.wrap_tenant_key(&key.key, tenant, version, nonce).map(Some)
    }
}

/// A tenant's key wraps workspace keys and seals secrets.
impl DataKey {
    /// Wraps a workspace's key.
    ///
    /// # Errors
    /// See [`seal`].
    pub fn wrap_workspace_key(
        &self,
        workspace_key: &SecretKey,
        tenant: &TenantId,
        workspace: &WorkspaceId,
        version: u32,
        nonce: NonceBytes,
    ) -> Result<Wrapped, KeyError> {
        seal(workspace_key.expose(), self, nonce, &workspace_aad(tenant, workspace, version))
    }

    /// Opens a workspace's key.
    ///
    /// # Errors
    /// See [`open`].
    pub fn unwrap_workspace_key(
        &self,
        wrapped: &Wrapped,
        tenant: &TenantId,
        workspace: &WorkspaceId,
        version: u32,
    ) -> Result<DataKey, KeyError> {
        open_key(wrapped, self, &workspace_aad(tenant, workspace, version), &workspace_key_id(version))
    }

    /// Seals a stored secret; `workspace` where it belongs to one alone.
    ///
    /// # Errors
    /// See [`seal`].
    pub fn seal_secret(
        &self,
        value: &SecretText,
        name: &str,
        tenant: &TenantId,
        workspace: Option<&WorkspaceId>,
        version: u32,
        nonce: NonceBytes,
    ) -> Result<Wrapped, KeyError> {
        let aad = Aad { tenant, workspace, version, purpose: Purpose::Secret(name) };
        seal(value.expose().as_bytes(), self, nonce, &aad)
    }

    /// Opens a stored secret.
    ///
    /// # Errors
    /// See [`open`]; or it is not text.
    pub fn open_secret(
        &self,
        wrapped: &Wrapped,
        name: &str,
        tenant: &TenantId,
        workspace: Option<&WorkspaceId>,
        version: u32,
    ) -> Result<SecretText, KeyError> {
        let aad = Aad { tenant, workspace, version, purpose: Purpose::Secret(name) };
        let plain = open(wrapped, self, &aad)?;
        let text = std::str::from_utf8(plain.expose()).map_err(|_| KeyError::Malformed { part: "text" })?;
        Ok(text.into())
    }
}

/// Reads `id:base64` pairs of 32-byte keys.
pub(crate) fn parse_key_list(text: &SecretText) -> Result<Vec<DataKey>, KeyError> {
    let mut keys: Vec<DataKey> = Vec::new();
    let separator = |character: char| character == ',' || character.is_whitespace();
    for pair in text.expose().split(separator).filter(|pair| !pair.is_empty()) {
        let number = keys.len() + 1;
        let wrong = |what: &str| KeyError::Configuration(format!("key number {number} {what}"));
        let (id, encoded) = pair.split_once(':').ok_or_else(|| wrong("is not of the form id:base64"))?;
        let id_is_plain =
            id.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'));
        if id.is_empty() || id.len() > 32 || !id_is_plain {
            return Err(wrong("has an id that is not 1 to 32 letters, digits, dots and dashes"));
        }
        let bytes: [u8; 32] = BASE64
            .decode(encoded)
            .ok()
            .and_then(|bytes| bytes.try_into().ok())
            .ok_or_else(|| wrong("is not 32 bytes in base64"))?;
        if bytes.iter().all(|byte| Some(byte) == bytes.first()) {
            return Err(wrong("is an example, not a random key"));
        }
        if keys.iter().any(|key| key.id == id) {
            return Err(wrong("has the id of an earlier one"));
        }
        keys.push(DataKey::new(id, bytes.into()));
    }
    Ok(keys)
}

fn tenant_aad(tenant: &TenantId, version: u32) -> Aad<'_> {
    Aad { tenant, workspace: None, version, purpose: Purpose::TenantKey }
}

fn workspace_aad<'a>(tenant: &'a TenantId, workspace: &'a WorkspaceId, version: u32) -> Aad<'a> {
    Aad { tenant, workspace: Some(workspace), version, purpose: Purpose::WorkspaceKey }
}

fn cipher(key: &DataKey) -> Result<Aes256Gcm, KeyError> {
    Aes256Gcm::new_from_slice(key.key.expose()).map_err(|_| KeyError::Malformed { part: "key length" })
}

/// Every field with its length in front: no two places have the same bytes.
fn associated_data(format: u8, kid: &str, aad: &Aad<'_>) -> Vec<u8> {
    let (purpose, name) = match aad.purpose {
        Purpose::TenantKey => ("tenant-key", ""),
        Purpose::WorkspaceKey => ("workspace-key", ""),
        Purpose::Secret(name) => ("secret", name),
        Purpose::SshHostKey => ("ssh-host-key", ""),
        Purpose::LoginKeys => ("ssh-login-keys", ""),
    };
    let workspace = aad.workspace.map_or("", WorkspaceId::as_str);
    let version = aad.version.to_string();
    let mut bytes = b"ebbtide-seal\0".to_vec();
    bytes.push(format);
    for field in [purpose, name, kid, aad.tenant.as_str(), workspace, &version] {
        bytes.extend(u64::try_from(field.len()).unwrap_or(u64::MAX).to_be_bytes());
        bytes.extend(field.as_bytes());
    }
    bytes
}

#[cfg(test)]
mod tests;
