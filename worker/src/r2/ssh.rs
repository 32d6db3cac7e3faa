//! SSH in the bucket: the keys that sign in, one sealed object of a tenant that is changed only over the version that was
//! read, and the key by which clients know a workspace, made on first use and never replaced.

use super::bucket::{Put, login_keys_path, ssh_host_key_path};
use super::keychain::{Keychain, StoredKey, VERSION};
use crate::error::{ApiError, ApiResult};
use crate::random::random;
use ebbtide_api::ssh::MOST;
use ebbtide_api::vm::SshDoor;
use ebbtide_api::{ErrorCode, TenantId, WorkspaceId};
use ebbtide_control::secret::SecretKey;
use ebbtide_control::ssh::{HostKey, LoginKey, StoredLoginKeys};
use std::collections::BTreeMap;

/// How often a change is tried again that another one came before.
const TRIES: u32 = 4;

/// Keys by name.
type LoginKeys = BTreeMap<String, LoginKey>;

/// What is stored, and the version that was read; `None` where nothing is.
struct Found {
    keys: LoginKeys,
    version: u32,
    etag: Option<String>,
}

impl Keychain {
    /// A tenant's keys that sign in.
    ///
    /// # Errors
    /// Storage does not answer, or what is stored does not open.
    pub async fn login_keys(&self, tenant: &TenantId) -> ApiResult<LoginKeys> {
        Ok(self.find_login_keys(tenant).await?.keys)
    }

    /// Stores a key, in the place of one of that name.
    ///
    /// # Errors
    /// There are too many, it is there under another name, storage does not answer, or others change them all the time.
    pub async fn put_login_key(&self, tenant: &TenantId, name: &str, key: LoginKey) -> ApiResult<()> {
        for _ in 0..TRIES {
            let mut found = self.find_login_keys(tenant).await?;
            let is_same =
                |(known, one): (&String, &LoginKey)| known != name && one.public_key == key.public_key;
            if let Some((known, _)) = found.keys.iter().find(|pair| is_same(*pair)) {
                return Err(ApiError::field("public_key", format!("it is there already, as {known}"))
                    .hint("A key needs to be there once."));
            }
            if !found.keys.contains_key(name) && found.keys.len() >= MOST {
                return Err(ApiError::new(ErrorCode::CapReached, format!("there are {MOST} keys already"))
                    .hint("Delete one that is not used any more."));
            }
            found.keys.insert(name.to_owned(), key.clone());
            if self.replace_login_keys(tenant, found).await? {
                return Ok(());
            }
        }
        Err(crowded())
    }

    /// Removes a key and answers with it; `None` where there is none.
    ///
    /// # Errors
    /// Storage does not answer, or others change them all the time.
    pub async fn remove_login_key(&self, tenant: &TenantId, name: &str) -> ApiResult<Option<LoginKey>> {
        for _ in 0..TRIES {
            let mut found = self.find_login_keys(tenant).await?;
            let Some(removed) = found.keys.remove(name) else { return Ok(None) };
            if self.replace_login_keys(tenant, found).await? {
                return Ok(Some(removed));
            }
        }
        Err(crowded())
    }

    /// The key by which clients know a workspace, made where there is none.
    ///
    /// # Errors
    /// Storage does not answer, or a stored key does not open.
    pub async fn ssh_host_key(&self, tenant: &TenantId, workspace: &WorkspaceId) -> ApiResult<HostKey> {
        let tenant_key = self.tenant_key(tenant).await?;
        let path = ssh_host_key_path(tenant, workspace);
        let open = |stored: &StoredKey| {
            HostKey::open(&stored.wrapped, &tenant_key, tenant, workspace, stored.version)
                .map_err(|error| ApiError::internal(format!("{path}: {error}")))
        };
        if let Some(stored) = self.storage().json::<StoredKey>(&path).await? {
            return open(&stored);
        }
        let key = HostKey::from_seed(SecretKey::new(random()?));
        let wrapped =
            key.seal(&tenant_key, tenant, workspace, VERSION, random()?).map_err(ApiError::internal)?;
        open(&self.keep(&path, StoredKey { version: VERSION, wrapped }).await?)
    }

    /// How a machine lets SSH in; `None` where no key would be let in.
    pub(super) async fn ssh_door(
        &self,
        tenant: &TenantId,
        workspace: &WorkspaceId,
    ) -> ApiResult<Option<SshDoor>> {
        let keys = self.login_keys(tenant).await?;
        if keys.is_empty() {
            return Ok(None);
        }
        let host_key = self.ssh_host_key(tenant, workspace).await?.private_key().expose().clone();
        let authorized_keys = keys.iter().map(|(name, key)| format!("{} {name}", key.public_key)).collect();
        Ok(Some(SshDoor { host_key, authorized_keys }))
    }

    async fn find_login_keys(&self, tenant: &TenantId) -> ApiResult<Found> {
        let path = login_keys_path(tenant);
        let Some(object) = self.storage().get(&path, None).await? else {
            return Ok(Found { keys: LoginKeys::new(), version: 0, etag: None });
        };
        let etag = Some(object.etag());
        let body = object.body().ok_or_else(|| ApiError::internal(format!("{path} has no content")))?;
        let text = body.text().await.map_err(ApiError::storage)?;
        let unusable = |error: String| ApiError::internal(format!("{path}: {error}"));
        let stored: StoredLoginKeys =
            serde_json::from_str(&text).map_err(|error| unusable(error.to_string()))?;
        let key = self.tenant_key(tenant).await?;
        let keys = stored.open(&key, tenant).map_err(|error| unusable(error.to_string()))?;
        Ok(Found { keys, version: stored.version, etag })
    }

    /// Whether it was stored: false where somebody else was first.
    async fn replace_login_keys(&self, tenant: &TenantId, next: Found) -> ApiResult<bool> {
        let Found { keys, version, etag } = next;
        let key = self.tenant_key(tenant).await?;
        let stored = StoredLoginKeys::seal(&keys, &key, tenant, version.saturating_add(1), random()?)
            .map_err(ApiError::internal)?;
        let path = login_keys_path(tenant);
        let Some(etag) = etag else {
            return Ok(self.storage().create_json(&path, &stored).await? == Put::Stored);
        };
        let text = serde_json::to_string(&stored).map_err(ApiError::internal)?;
        self.storage().replace_version(&path, text, etag).await
    }
}

fn crowded() -> ApiError {
    ApiError::new(ErrorCode::StorageUnavailable, "the keys are being changed by others at the same time")
}
