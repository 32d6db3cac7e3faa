//! Tenants' and workspaces' keys, kept wrapped in the bucket beside what they open, and workspaces' environments.
//!
//! Keys are made on first use and never replaced here; a wrapped key that does not open is an error, never a reason to
//! make another. Values in clear stay in `Secret`s.

use crate::config::Config;
use crate::error::{ApiError, ApiResult};
use crate::log::{self, Level};
use crate::r2::bucket::{
    Put, Storage, ssh_host_key_path, tenant_key_path, workspace_key_path, workspace_secrets_path,
};
use crate::random::random;
use ebbtide_api::backups::{MasterKeyRotation, RotationFailure};
use ebbtide_api::vm::NamedSecret;
use ebbtide_api::{TenantId, WorkspaceId};
use ebbtide_control::keys::{DataKey, KeyError, MasterKeys, Wrapped};
use ebbtide_control::secret::{SecretKey, SecretText};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::rc::Rc;

/// Version under which keys and values are made today.
pub(super) const VERSION: u32 = 1;

/// Below it are the tenants' keys.
const TENANTS: &str = "tenants/";
/// Tenants whose keys one request wraps anew: two calls each, and the list.
const TENANTS_A_SLICE: u32 = 15;

/// A wrapped key as it is stored.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct StoredKey {
    pub(super) version: u32,
    pub(super) wrapped: Wrapped,
}

/// Why a tenant's key stays under the master key that it was wrapped under. `Display` is shown to who rotates.
#[derive(Debug, thiserror::Error)]
enum RotateError {
    #[error("{}", .0.message())]
    Storage(#[from] ApiError),
    #[error("it has no content")]
    Empty,
    #[error("it is no stored key: {0}")]
    NoKey(#[from] serde_json::Error),
    #[error(transparent)]
    Key(#[from] KeyError),
    #[error("it was changed meanwhile; rotate again")]
    Changed,
}

impl RotateError {
    /// Writes it into the log, with what no answer shows.
    fn log(&self, tenant: &TenantId) {
        let (message, tenant) = ("a tenant's key was not wrapped anew", ("tenant", tenant.as_str()));
        match self {
            Self::Storage(error) => error.log(Level::Warn, message, &[tenant]),
            Self::Empty | Self::NoKey(_) | Self::Key(_) | Self::Changed => {
                log::write(Level::Warn, message, &[tenant, ("error", &self.to_string())]);
            }
        }
    }
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

    pub(super) fn storage(&self) -> &Storage {
        &self.storage
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

    /// A workspace's key, where there is one: it is made with the workspace's first machine, and shredded with its end.
    ///
    /// # Errors
    /// Storage does not answer, or a stored key does not open.
    pub async fn kept_workspace_key(
        &self,
        tenant: &TenantId,
        workspace: &WorkspaceId,
    ) -> ApiResult<Option<DataKey>> {
        let stored = self.storage.json::<StoredKey>(&workspace_key_path(tenant, workspace)).await?;
        match stored {
            Some(_) => self.workspace_key(tenant, workspace).await.map(Some),
            None => Ok(None),
        }
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
        let sealed = self.sealed(tenant, workspace, values).await?;
        self.storage.create_json(&workspace_secrets_path(tenant, workspace), &sealed).await.map(|_| ())
    }

    /// Seals an environment and stores it in the place of the one that there is. An empty one ends it.
    ///
    /// # Errors
    /// Storage does not answer.
    pub async fn replace_env(
        &self,
        tenant: &TenantId,
        workspace: &WorkspaceId,
        values: BTreeMap<String, String>,
    ) -> ApiResult<()> {
        let path = workspace_secrets_path(tenant, workspace);
        if values.is_empty() {
            return self.storage.delete(vec![path]).await;
        }
        let sealed = self.sealed(tenant, workspace, values).await?;
        let text = serde_json::to_string(&sealed).map_err(ApiError::internal)?;
        self.storage.replace(&path, text).await
    }

    async fn sealed(
        &self,
        tenant: &TenantId,
        workspace: &WorkspaceId,
        values: BTreeMap<String, String>,
    ) -> ApiResult<StoredSecrets> {
        let key = self.tenant_key(tenant).await?;
        let mut stored = StoredSecrets { version: VERSION, values: BTreeMap::new() };
        for (name, value) in values {
            let sealed = key
                .seal_secret(&SecretText::new(value), &name, tenant, Some(workspace), VERSION, random()?)
                .map_err(ApiError::internal)?;
            stored.values.insert(name, sealed);
        }
        Ok(stored)
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

    /// Wraps the keys of a slice of all tenants under the current master key. What those keys open stays as it is, so
    /// nothing is uploaded and nobody waits; what cannot be opened is left as it is and named.
    ///
    /// # Errors
    /// Storage does not answer.
    pub async fn rotate(&self, cursor: Option<String>) -> ApiResult<MasterKeyRotation> {
        let page = self.storage.list_some(TENANTS, cursor, TENANTS_A_SLICE).await?;
        let mut rotation = MasterKeyRotation {
            current: self.master_keys()?.current().id().to_owned(),
            rewrapped: 0,
            unchanged: 0,
            failed: Vec::new(),
            next_cursor: page.cursor().filter(|_| page.truncated()),
        };
        for object in page.objects() {
            let key = object.key();
            let tenant = key.strip_prefix(TENANTS).and_then(|rest| rest.strip_suffix("/key.json"));
            let Some(tenant) = tenant.map(|tenant| TenantId(tenant.to_owned())) else { continue };
            match self.rotate_one(&tenant, &key).await {
                Ok(true) => rotation.rewrapped = rotation.rewrapped.saturating_add(1),
                Ok(false) => rotation.unchanged = rotation.unchanged.saturating_add(1),
                Err(error) => {
                    error.log(&tenant);
                    rotation.failed.push(RotationFailure { tenant, problem: error.to_string() });
                }
            }
        }
        Ok(rotation)
    }

    /// Whether the key was wrapped anew.
    async fn rotate_one(&self, tenant: &TenantId, path: &str) -> Result<bool, RotateError> {
        let Some(object) = self.storage.get(path, None).await? else { return Ok(false) };
        let body = object.body().ok_or(RotateError::Empty)?;
        let text = body.text().await.map_err(ApiError::storage)?;
        let StoredKey { version, wrapped } = serde_json::from_str(&text)?;
        let rewrapped = self.master_keys()?.rewrap_tenant_key(&wrapped, tenant, version, random()?)?;
        let Some(wrapped) = rewrapped else { return Ok(false) };
        let text = serde_json::to_string(&StoredKey { version, wrapped })?;
        // Only over the version that was read: two rotations at once, or a deletion, lose nothing.
        match self.storage.replace_version(path, text, object.etag()).await? {
            true => Ok(true),
            false => Err(RotateError::Changed),
        }
    }

    /// Whether the tenant's key, where there is one, opens with the master keys that we hold. Makes none.
    ///
    /// # Errors
    /// Storage does not answer.
    pub async fn opens(&self, tenant: &TenantId) -> ApiResult<bool> {
        let stored = self.storage.json::<StoredKey>(&tenant_key_path(tenant)).await?;
        let keys = self.master_keys()?;
        Ok(stored
            .is_none_or(|stored| keys.unwrap_tenant_key(&stored.wrapped, tenant, stored.version).is_ok()))
    }

    /// Deletes a workspace's keys and its environment: its backups are noise from then on. Repeatable.
    ///
    /// # Errors
    /// Storage does not answer.
    pub async fn shred(&self, tenant: &TenantId, workspace: &WorkspaceId) -> ApiResult<()> {
        let keys = [workspace_key_path, workspace_secrets_path, ssh_host_key_path];
        self.storage.delete(keys.map(|path| path(tenant, workspace)).into()).await
    }

    fn master_keys(&self) -> ApiResult<&MasterKeys> {
        self.config.master_keys().map_err(ApiError::not_configured)
    }

    pub(super) async fn tenant_key(&self, tenant: &TenantId) -> ApiResult<DataKey> {
        let path = tenant_key_path(tenant);
        let master_keys = self.master_keys()?;
        let open = |stored: &StoredKey| {
            master_keys
                .unwrap_tenant_key(&stored.wrapped, tenant, stored.version)
                .map_err(|error| ApiError::internal(format!("{path}: {error}")))
        };
        if let Some(stored) = self.storage.json::<StoredKey>(&path).await? {
            return open(&stored);
        }
        let key = SecretKey::new(random()?);
        let wrapped =
            master_keys.wrap_tenant_key(&key, tenant, VERSION, random()?).map_err(ApiError::internal)?;
        open(&self.keep(&path, StoredKey { version: VERSION, wrapped }).await?)
    }

    /// Stores a key, or gives back the one that somebody else stored meanwhile.
    pub(super) async fn keep(&self, path: &str, new: StoredKey) -> ApiResult<StoredKey> {
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
