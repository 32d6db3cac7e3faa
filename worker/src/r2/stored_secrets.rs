//! A tenant's secrets in the bucket: one object, sealed secret by secret, changed only over the version that was read.

use super::bucket::{Put, Storage, secrets_path};
use super::keychain::Keychain;
use crate::durable_objects::rpc::Chosen;
use crate::error::{ApiError, ApiResult};
use crate::random::random;
use ebbtide_api::secrets::MOST;
use ebbtide_api::vm::UserSettings;
use ebbtide_api::{ErrorCode, TenantId, Timestamp, WorkspaceId};
use ebbtide_control::secret::SecretText;
use ebbtide_control::stored_secrets::{OpenedSecret, Secret, StoredSecrets, settings};

/// How often a change is tried again that another one came before.
const TRIES: u32 = 4;

/// What is stored, and the version that was read; `None` where nothing is.
struct Found {
    stored: StoredSecrets,
    etag: Option<String>,
}

impl Keychain {
    /// A tenant's secrets in clear, by name.
    ///
    /// # Errors
    /// Storage does not answer, or a secret does not open.
    pub async fn secrets(&self, tenant: &TenantId) -> ApiResult<Vec<OpenedSecret>> {
        self.open_secrets(tenant, &self.find_secrets(tenant).await?.stored).await
    }

    /// What a workspace's user works with on its machine: its variables, the secrets that it chose, and how SSH is let in.
    ///
    /// # Errors
    /// Storage does not answer, or a value does not open.
    pub async fn user_settings(
        &self,
        tenant: &TenantId,
        workspace: &WorkspaceId,
        chosen: &Chosen,
    ) -> ApiResult<UserSettings> {
        let own = self.open_env(tenant, workspace).await?;
        let settings = settings(chosen.revision, own, &self.secrets(tenant).await?, &chosen.choice);
        let ssh = if chosen.ssh { self.ssh_door(tenant, workspace).await? } else { None };
        Ok(UserSettings { ssh, ..settings })
    }

    /// Stores a secret, in the place of one of that name. Answers with it and the one that was replaced.
    ///
    /// # Errors
    /// There are too many, storage does not answer, or others change them all the time.
    pub async fn put_secret(
        &self,
        tenant: &TenantId,
        name: &str,
        secret: Secret,
        now: Timestamp,
    ) -> ApiResult<(OpenedSecret, Option<OpenedSecret>)> {
        let key = self.tenant_key(tenant).await?;
        for _ in 0..TRIES {
            let Found { mut stored, etag } = self.find_secrets(tenant).await?;
            let before = self.open_secrets(tenant, &stored).await?.into_iter().find(|old| old.name == name);
            if before.is_none() && stored.secrets.len() >= MOST {
                return Err(ApiError::new(
                    ErrorCode::CapReached,
                    format!("there are {MOST} secrets already"),
                )
                .hint("Delete one that is not used any more."));
            }
            let nonce = random()?;
            stored.put(name, secret.clone(), tenant, &key, nonce, now).map_err(ApiError::internal)?;
            if self.replace_secrets(tenant, &stored, etag).await? {
                let version = stored.secrets.get(name).map_or(1, |stored| stored.version);
                let name = name.to_owned();
                return Ok((OpenedSecret { name, version, written_at: now, secret }, before));
            }
        }
        Err(crowded())
    }

    /// Removes a secret and answers with what it was, without its value; `None` where there is none.
    ///
    /// # Errors
    /// Storage does not answer, or others change them all the time.
    pub async fn remove_secret(&self, tenant: &TenantId, name: &str) -> ApiResult<Option<OpenedSecret>> {
        for _ in 0..TRIES {
            let Found { mut stored, etag } = self.find_secrets(tenant).await?;
            let before = self.open_secrets(tenant, &stored).await?.into_iter().find(|old| old.name == name);
            let Some(mut before) = before else { return Ok(None) };
            stored.remove(name);
            if self.replace_secrets(tenant, &stored, etag).await? {
                before.secret.value = SecretText::from("");
                return Ok(Some(before));
            }
        }
        Err(crowded())
    }

    async fn find_secrets(&self, tenant: &TenantId) -> ApiResult<Found> {
        let path = secrets_path(tenant);
        let Some(object) = self.storage().get(&path, None).await? else {
            return Ok(Found { stored: StoredSecrets::default(), etag: None });
        };
        let etag = Some(object.etag());
        let body = object.body().ok_or_else(|| ApiError::internal(format!("{path} has no content")))?;
        let text = body.text().await.map_err(ApiError::storage)?;
        let stored =
            serde_json::from_str(&text).map_err(|error| ApiError::internal(format!("{path}: {error}")))?;
        Ok(Found { stored, etag })
    }

    async fn open_secrets(&self, tenant: &TenantId, stored: &StoredSecrets) -> ApiResult<Vec<OpenedSecret>> {
        if stored.secrets.is_empty() {
            return Ok(Vec::new());
        }
        let key = self.tenant_key(tenant).await?;
        let unusable = |error| ApiError::internal(format!("{}: {error}", secrets_path(tenant)));
        stored.open(tenant, &key).map_err(unusable)
    }

    /// Whether it was stored: false where somebody else was first.
    async fn replace_secrets(
        &self,
        tenant: &TenantId,
        stored: &StoredSecrets,
        etag: Option<String>,
    ) -> ApiResult<bool> {
        let (storage, path): (&Storage, _) = (self.storage(), secrets_path(tenant));
        let Some(etag) = etag else {
            return Ok(storage.create_json(&path, stored).await? == Put::Stored);
        };
        let text = serde_json::to_string(stored).map_err(ApiError::internal)?;
        storage.replace_version(&path, text, etag).await
    }
}

fn crowded() -> ApiError {
    ApiError::new(ErrorCode::StorageUnavailable, "the secrets are being changed by others at the same time")
}
