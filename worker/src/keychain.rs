//! Tenants' and workspaces' keys, kept wrapped in the bucket beside what they open, and workspaces' environments.
//!
//! Keys are made on first use and never replaced here; a wrapped key that does not open is an error, never a reason to
//! make another. Values in clear stay in `Secret`s.

use crate::chance::random;
use crate::config::Config;
use crate::error::{ApiError, ApiResult};
use crate::storage::{Put, Storage, tenant_key_path, workspace_key_path, workspace_secrets_path};
use ebbtide_api::vm::NamedSecret;
use ebbtide_api::{TenantId, WorkspaceId};
use ebbtide_control::keys::{DataKey, Wrapped};
use ebbtide_control::secret::{SecretKey, SecretText};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::rc::Rc;

/// Version under which keys and values are made today.
const VERSION: u32 = 1;

/// A wrapped key as it is stored.
#[derive(Debug, Serialize, Deserialize)]
struct StoredKey {
    version: u32,
    wrapped: Wrapped,
}

/// A workspace's environment as it is stored.
#[derive(Debug, Default, Serialize, Deserialize)]
struct StoredSecrets {
    version: u32,
    values: BTreeMap<String, Wrapped>,
}

/// The keys, on behalf of one invocation.
pub struct Keychain {
    config: Rc<Config>,
    storage: Storage,
}

impl Keychain {
    /// Opens the keychain.
    pub fn new(config: Rc<Config>, storage: Storage) -> Self {
        Self { config, storage }
    }

    /// A workspace's key, made where there is none. It is the repository's key.
    ///
    /// # Errors
    /// Storage does not answer, or a stored key does not open.
    pub async fn workspace_key(&self, tenant: &TenantId, workspace: &WorkspaceId) -> ApiResult<DataKey> {
        let tenant_key = self.tenant_key(tenant).await?;
        let path = workspace_key_path(tenant, workspace);
        let open = |stored: &StoredKey| {
            tenant_key
                .unwrap_workspace_key(&stored.wrapped, tenant, workspace, stored.version)
                .map_err(|error| ApiError::internal(format!("{path}: {error}")))
        };
        if let Some(stored) = self.storage.json::<StoredKey>(&path).await? {
            return open(&stored);
        }
        let key = SecretKey::new(random()?);
        let wrapped = tenant_key
            .wrap_workspace_key(&key, tenant, workspace, VERSION, random()?)
            .map_err(ApiError::internal)?;
        open(&self.keep(&path, StoredKey { version: VERSION, wrapped }).await?)
    }

    /// Seals a workspace's environment and stores it. Repeatable: what is stored already stays.
    ///
    /// # Errors
    /// Storage does not answer.
    pub async fn seal_env(
        &self,
        tenant: &TenantId,
        workspace: &WorkspaceId,
        values: BTreeMap<String, String>,
    ) -> ApiResult<()> {
        if values.is_empty() {
            return Ok(());
        }
        let key = self.tenant_key(tenant).await?;
        let mut stored = StoredSecrets { version: VERSION, values: BTreeMap::new() };
        for (name, value) in values {
            let sealed = key
                .seal_secret(&SecretText::new(value), &name, tenant, Some(workspace), VERSION, random()?)
                .map_err(ApiError::internal)?;
            stored.values.insert(name, sealed);
        }
        self.storage.create_json(&workspace_secrets_path(tenant, workspace), &stored).await.map(|_| ())
    }

    /// Opens a workspace's environment, for its machine.
    ///
    /// # Errors
    /// Storage does not answer, or a value does not open.
    pub async fn open_env(&self, tenant: &TenantId, workspace: &WorkspaceId) -> ApiResult<Vec<NamedSecret>> {
        let path = workspace_secrets_path(tenant, workspace);
        let Some(stored) = self.storage.json::<StoredSecrets>(&path).await? else { return Ok(Vec::new()) };
        let key = self.tenant_key(tenant).await?;
        stored
            .values
            .into_iter()
            .map(|(name, sealed)| {
                let value = key
                    .open_secret(&sealed, &name, tenant, Some(workspace), stored.version)
                    .map_err(|error| ApiError::internal(format!("{path}: {error}")))?;
                Ok(NamedSecret { name, value: value.expose().clone() })
            })
            .collect()
    }

    /// Deletes a workspace's wrapped key and its environment: its backups are noise from then on. Repeatable.
    ///
    /// # Errors
    /// Storage does not answer.
    pub async fn shred(&self, tenant: &TenantId, workspace: &WorkspaceId) -> ApiResult<()> {
        let keys = vec![workspace_key_path(tenant, workspace), workspace_secrets_path(tenant, workspace)];
        self.storage.delete(keys).await
    }

    async fn tenant_key(&self, tenant: &TenantId) -> ApiResult<DataKey> {
        let path = tenant_key_path(tenant);
        let open = |stored: &StoredKey| {
            self.config
                .master_keys
                .unwrap_tenant_key(&stored.wrapped, tenant, stored.version)
                .map_err(|error| ApiError::internal(format!("{path}: {error}")))
        };
        if let Some(stored) = self.storage.json::<StoredKey>(&path).await? {
            return open(&stored);
        }
        let key = SecretKey::new(random()?);
        let wrapped = self
            .config
            .master_keys
            .wrap_tenant_key(&key, tenant, VERSION, random()?)
            .map_err(ApiError::internal)?;
        open(&self.keep(&path, StoredKey { version: VERSION, wrapped }).await?)
    }

    /// Stores a key, or gives back the one that somebody else stored meanwhile.
    async fn keep(&self, path: &str, new: StoredKey) -> ApiResult<StoredKey> {
        match self.storage.create_json(path, &new).await? {
            Put::Stored => Ok(new),
            Put::Exists | Put::WrongHash => self
                .storage
                .json(path)
                .await?
                .ok_or_else(|| ApiError::internal(format!("{path}: there and not there"))),
        }
    }
}
