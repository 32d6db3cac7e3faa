//! Whose keys sign in, as they are stored: public keys, and sealed all the same, so that whoever can write the bucket
//! cannot add one of their own.

use super::public_key::{PublicKey, PublicKeyError};
use crate::keys::{Aad, DataKey, KeyError, NonceBytes, Purpose, Wrapped, open, seal};
use ebbtide_api::ssh::SshKeyInfo;
use ebbtide_api::{TenantId, Timestamp};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// All keys of a tenant as they are stored. Pinned: a later version must read it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredLoginKeys {
    /// Rises with each change.
    pub version: u32,
    /// The keys by name, sealed as one.
    pub sealed: Wrapped,
}

/// A key that signs in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LoginKey {
    /// Kind and key.
    pub public_key: String,
    /// When it was written.
    pub written_at: Timestamp,
}

impl LoginKey {
    /// Reads what somebody gave.
    ///
    /// # Errors
    /// Why it may not sign in.
    pub fn parse(text: &str, now: Timestamp) -> Result<Self, PublicKeyError> {
        Ok(Self { public_key: PublicKey::parse(text)?.to_string(), written_at: now })
    }

    /// What is shown of it.
    pub fn info(&self, name: &str) -> SshKeyInfo {
        SshKeyInfo {
            name: name.to_owned(),
            public_key: self.public_key.clone(),
            fingerprint: PublicKey::parse(&self.public_key)
                .map_or_else(|_| String::new(), |key| key.fingerprint()),
            written_at: self.written_at,
        }
    }
}

impl StoredLoginKeys {
    /// Seals the keys.
    ///
    /// # Errors
    /// See [`seal`].
    pub fn seal(
        keys: &BTreeMap<String, LoginKey>,
        key: &DataKey,
        tenant: &TenantId,
        version: u32,
        nonce: NonceBytes,
    ) -> Result<Self, KeyError> {
        let text = serde_json::to_vec(keys).map_err(|_| KeyError::Malformed { part: "plaintext" })?;
        Ok(Self { version, sealed: seal(&text, key, nonce, &aad(tenant, version))? })
    }

    /// Opens them.
    ///
    /// # Errors
    /// See [`open`].
    pub fn open(&self, key: &DataKey, tenant: &TenantId) -> Result<BTreeMap<String, LoginKey>, KeyError> {
        let text = open(&self.sealed, key, &aad(tenant, self.version))?;
        serde_json::from_slice(text.expose()).map_err(|_| KeyError::Malformed { part: "content" })
    }
}

fn aad(tenant: &TenantId, version: u32) -> Aad<'_> {
    Aad { tenant, workspace: None, version, purpose: Purpose::LoginKeys }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_can_write_the_bucket_cannot_add_a_key() {
        let line = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIIkVjA0oKZP8/lQhL+U2J7/ylHq35ZGpeQDShr5ZjFLh";
        let key = LoginKey::parse(line, Timestamp::UNIX_EPOCH).unwrap();
        let keys = BTreeMap::from([("laptop".to_owned(), key.clone())]);
        let (tenant, tenant_key) = (TenantId::owner(), DataKey::new("tenant-1", [5; 32].into()));
        let stored = StoredLoginKeys::seal(&keys, &tenant_key, &tenant, 3, [1; 12]).unwrap();
        assert_eq!(stored.open(&tenant_key, &tenant).unwrap(), keys);
        let text = serde_json::to_string(&stored).unwrap();
        assert!(text.starts_with(r#"{"version":3,"sealed":{"v":1,"kid":"tenant-1","#), "{text}");
        for forged in [
            StoredLoginKeys { version: 4, ..stored.clone() },
            StoredLoginKeys::seal(&keys, &DataKey::new("tenant-1", [6; 32].into()), &tenant, 3, [1; 12])
                .unwrap(),
        ] {
            assert_eq!(forged.open(&tenant_key, &tenant), Err(KeyError::DoesNotOpen));
        }
        assert_eq!(key.info("laptop").fingerprint, "SHA256:zwxK+HJicUTpGh7FrYj+9fvbnvGz+PH/DHU6u3bG/DY");
    }
}
