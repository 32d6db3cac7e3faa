//! The bucket: wrapped keys, sealed secrets, the idle-agent's binaries and every workspace's restic repository.
//!
//! Large bodies pass through as streams of the runtime and are never read here. Everything a machine writes is
//! create-only, and the bucket itself checks SHA-256. What is stored under which key is pinned by the tests below.

use crate::error::{ApiError, ApiResult};
use crate::log::{self, Level};
use crate::subrequests::{Binding, Calls};
use ebbtide_api::{Generation, TenantId, WorkspaceId};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::collections::HashMap;
use worker::{Bucket, Conditional, Data, Env, Include, Object, Objects, Range};

/// Name of the binding in `wrangler.toml`.
const BINDING: &str = "BUCKET";

/// Key of the object that names the idle-agent for new machines.
pub const AGENT_CURRENT: &str = "agent/current";

/// Key of what is remembered of the provider's project. Pinned: a later version must find it.
pub const PROJECT: &str = "config/project.json";

/// Key of an idle-agent binary.
pub fn agent_key(sha256: &str) -> String {
    format!("agent/{sha256}")
}

/// Key of the list of published programs.
pub const PROGRAMS: &str = "programs/list.json";

/// Key of a part of a program.
pub fn program_part(sha256: &str) -> String {
    format!("programs/parts/{sha256}")
}

/// Key of a tenant's wrapped key.
pub fn tenant_key_path(tenant: &TenantId) -> String {
    format!("tenants/{tenant}/key.json")
}

/// Key of a tenant's sealed secrets. Not below `tenants/`, where a rotation looks for keys alone.
pub fn secrets_path(tenant: &TenantId) -> String {
    format!("secrets/{tenant}.json")
}

/// Key of a tenant's keys that sign in over SSH.
pub fn login_keys_path(tenant: &TenantId) -> String {
    format!("ssh-keys/{tenant}.json")
}

/// Below it is all that is stored of a workspace.
pub fn home_path(tenant: &TenantId, workspace: &WorkspaceId) -> String {
    format!("workspaces/{tenant}/{workspace}/")
}

/// Key of a workspace's wrapped key.
pub fn workspace_key_path(tenant: &TenantId, workspace: &WorkspaceId) -> String {
    format!("workspaces/{tenant}/{workspace}/key.json")
}

/// Key of the sealed key by which SSH clients know a workspace.
pub fn ssh_host_key_path(tenant: &TenantId, workspace: &WorkspaceId) -> String {
    format!("workspaces/{tenant}/{workspace}/ssh-host-key.json")
}

/// Key of a workspace's sealed environment.
pub fn workspace_secrets_path(tenant: &TenantId, workspace: &WorkspaceId) -> String {
    format!("workspaces/{tenant}/{workspace}/secrets.json")
}

/// Key of an object of a workspace's restic repository; `path` as restic names it (`config`, `data/…`).
pub fn repository_path(tenant: &TenantId, workspace: &WorkspaceId, path: &str) -> String {
    format!("workspaces/{tenant}/{workspace}/restic/{path}")
}

/// Key of a deleted object of a repository, by the time of its deletion, so that the oldest are listed first.
pub fn trash_path(at_ms: i64, tenant: &TenantId, workspace: &WorkspaceId, path: &str) -> String {
    format!("{TRASH}{at_ms:013}/{tenant}/{workspace}/{path}")
}

/// Prefix of deleted objects.
pub const TRASH: &str = "trash/";

/// Metadata of an object: the generation of the machine that wrote it.
const GENERATION: &str = "g";
/// Metadata of an object that an older version brought back: when it first arrived, in milliseconds.
const ARRIVED: &str = "t";

/// The machine that wrote an object, and when storage received it, in milliseconds since 1970. Asked of keys, and of what is
/// older than the ledger; what cannot be read counts as a machine's that never was.
pub fn mark(object: &Object) -> (Option<Generation>, i64) {
    let metadata = object.custom_metadata().unwrap_or_default();
    let by = metadata.get(GENERATION).map(|text| Generation(text.parse().unwrap_or(u32::MAX)));
    let arrived = metadata.get(ARRIVED).and_then(|text| text.parse().ok());
    let uploaded = i64::try_from(object.uploaded().as_millis()).unwrap_or(i64::MAX);
    (by, arrived.unwrap_or(uploaded))
}

/// What became of a create-only write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Put {
    /// It is stored now.
    Stored,
    /// Something was there already, and stays.
    Exists,
    /// The content is not what its name says.
    WrongHash,
}

/// The bucket, on behalf of one invocation.
#[derive(Clone)]
pub struct Storage {
    bucket: Bucket,
    calls: Calls,
}

impl Storage {
    /// Opens the bucket.
    ///
    /// # Errors
    /// The binding is missing.
    pub fn open(env: &Env, calls: Calls) -> ApiResult<Self> {
        Ok(Self { bucket: env.bucket(BINDING).map_err(ApiError::internal)?, calls })
    }

    /// What is known of an object, where it exists.
    ///
    /// # Errors
    /// Storage does not answer.
    pub async fn head(&self, key: &str) -> ApiResult<Option<Object>> {
        self.calls.count(Binding::R2);
        self.bucket.head(key).await.map_err(ApiError::storage)
    }

    /// Size of an object in bytes, where it exists.
    ///
    /// # Errors
    /// Storage does not answer.
    pub async fn size(&self, key: &str) -> ApiResult<Option<u64>> {
        Ok(self.head(key).await?.map(|object| object.size()))
    }

    /// An object, or a part of it.
    ///
    /// # Errors
    /// Storage does not answer, or there is no such part.
    pub async fn get(&self, key: &str, range: Option<Range>) -> ApiResult<Option<Object>> {
        self.calls.count(Binding::R2);
        let get = self.bucket.get(key);
        let get = match range {
            Some(range) => get.range(range),
            None => get,
        };
        get.execute().await.map_err(ApiError::storage)
    }

    /// Stores an object that does not exist yet. `sha256` is what the content has to hash to.
    ///
    /// # Errors
    /// Storage does not answer; nothing or all of it is stored.
    pub async fn create(
        &self,
        key: &str,
        content: impl Into<Data>,
        sha256: Option<[u8; 32]>,
    ) -> ApiResult<Put> {
        self.create_marked(key, content, sha256, None).await
    }

    /// The same, marked as written by a machine.
    ///
    /// # Errors
    /// Storage does not answer; nothing or all of it is stored.
    pub async fn create_marked(
        &self,
        key: &str,
        content: impl Into<Data>,
        sha256: Option<[u8; 32]>,
        by: Option<Generation>,
    ) -> ApiResult<Put> {
        self.calls.count(Binding::R2);
        let absent = Conditional { etag_does_not_match: Some("*".to_owned()), ..Conditional::default() };
        let mark: HashMap<String, String> =
            by.map(|by| (GENERATION.to_owned(), by.to_string())).into_iter().collect();
        let put = self.bucket.put(key, content).only_if(absent).custom_metadata(mark);
        let put = match sha256 {
            Some(hash) => put.sha256(hash),
            None => put,
        };
        match put.execute().await {
            Ok(Some(_)) => Ok(Put::Stored),
            Ok(None) => Ok(Put::Exists),
            Err(error) if is_wrong_hash(&error.to_string()) => Ok(Put::WrongHash),
            Err(error) => Err(ApiError::storage(error)),
        }
    }

    /// Stores a text, replacing what was there.
    ///
    /// # Errors
    /// Storage does not answer.
    pub async fn replace(&self, key: &str, text: String) -> ApiResult<()> {
        self.calls.count(Binding::R2);
        self.bucket.put(key, text).execute().await.map(|_| ()).map_err(ApiError::storage)
    }

    /// Stores a text where exactly that version still stands; says whether it did.
    ///
    /// # Errors
    /// Storage does not answer.
    pub async fn replace_version(&self, key: &str, text: String, etag: String) -> ApiResult<bool> {
        self.calls.count(Binding::R2);
        let unchanged = Conditional { etag_matches: Some(etag), ..Conditional::default() };
        let put = self.bucket.put(key, text).only_if(unchanged);
        Ok(put.execute().await.map_err(ApiError::storage)?.is_some())
    }

    /// Copies an object. Repeatable: what is there already stays. Says its size; `None` where there is
    /// nothing to copy. One that is damaged is copied as it is: whoever removes it is not kept by that.
    ///
    /// # Errors
    /// Storage does not answer.
    pub async fn copy(&self, from: &str, to: &str, sha256: Option<[u8; 32]>) -> ApiResult<Option<u64>> {
        let copied = self.copy_once(from, to, sha256).await?;
        let Some((size, Put::WrongHash)) = copied else { return Ok(copied.map(|(size, _)| size)) };
        let text = size.to_string();
        log::write(Level::Warn, "an object is not what its name says", &[("key", from), ("bytes", &text)]);
        Ok(self.copy_once(from, to, None).await?.map(|(size, _)| size))
    }

    async fn copy_once(
        &self,
        from: &str,
        to: &str,
        sha256: Option<[u8; 32]>,
    ) -> ApiResult<Option<(u64, Put)>> {
        let Some(object) = self.get(from, None).await? else { return Ok(None) };
        let size = object.size();
        let body = object.body().ok_or_else(|| ApiError::internal(format!("{from} has no content")))?;
        let body = match body.response_body().map_err(ApiError::storage)? {
            worker::ResponseBody::Stream(stream) => Data::from(stream),
            worker::ResponseBody::Body(bytes) => Data::from(bytes),
            worker::ResponseBody::Empty => Data::Empty,
        };
        Ok(Some((size, self.create(to, body, sha256).await?)))
    }

    /// Deletes objects. Repeatable.
    ///
    /// # Errors
    /// Storage does not answer.
    pub async fn delete(&self, keys: Vec<String>) -> ApiResult<()> {
        self.calls.count(Binding::R2);
        self.bucket.delete_multiple(keys).await.map_err(ApiError::storage)
    }

    /// Up to 1 000 objects below a prefix, in order.
    ///
    /// # Errors
    /// Storage does not answer.
    pub async fn list(&self, prefix: &str, cursor: Option<String>) -> ApiResult<Objects> {
        self.list_some(prefix, cursor, 1_000).await
    }

    /// Up to `most` of them.
    ///
    /// # Errors
    /// Storage does not answer.
    pub async fn list_some(&self, prefix: &str, cursor: Option<String>, most: u32) -> ApiResult<Objects> {
        self.list_with(prefix, cursor, most, Vec::new()).await
    }

    /// Objects with their marks, as many as storage says at once: fewer, and how many fewer it does not promise.
    ///
    /// # Errors
    /// Storage does not answer.
    pub async fn list_marked(&self, prefix: &str, cursor: Option<String>) -> ApiResult<Objects> {
        self.list_with(prefix, cursor, 1_000, vec![Include::CustomMetadata]).await
    }

    async fn list_with(
        &self,
        prefix: &str,
        cursor: Option<String>,
        most: u32,
        include: Vec<Include>,
    ) -> ApiResult<Objects> {
        self.calls.count(Binding::R2);
        let list = self.bucket.list().prefix(prefix).limit(most).include(include);
        let list = match cursor {
            Some(cursor) => list.cursor(cursor),
            None => list,
        };
        list.execute().await.map_err(ApiError::storage)
    }

    /// Up to `limit` directories below a prefix that come after a key, in order, and whether there are more.
    ///
    /// # Errors
    /// Storage does not answer.
    pub async fn directories(
        &self,
        prefix: &str,
        after: Option<&str>,
        limit: u32,
    ) -> ApiResult<(Vec<String>, bool)> {
        self.calls.count(Binding::R2);
        let list = self.bucket.list().prefix(prefix).delimiter("/").limit(limit);
        let list = match after {
            Some(after) => list.start_after(after),
            None => list,
        };
        let found = list.execute().await.map_err(ApiError::storage)?;
        Ok((found.delimited_prefixes(), found.truncated()))
    }

    /// A small text, where it exists.
    ///
    /// # Errors
    /// Storage does not answer.
    pub async fn text(&self, key: &str) -> ApiResult<Option<String>> {
        let Some(object) = self.get(key, None).await? else { return Ok(None) };
        match object.body() {
            Some(body) => body.text().await.map(Some).map_err(ApiError::storage),
            None => Ok(None),
        }
    }

    /// A small JSON object, where it exists. One that cannot be read is an error, never absent.
    ///
    /// # Errors
    /// Storage does not answer, or the object is damaged.
    pub async fn json<T: DeserializeOwned>(&self, key: &str) -> ApiResult<Option<T>> {
        let Some(text) = self.text(key).await? else { return Ok(None) };
        serde_json::from_str(&text).map(Some).map_err(|error| ApiError::internal(format!("{key}: {error}")))
    }

    /// Stores a small JSON object that does not exist yet.
    ///
    /// # Errors
    /// Storage does not answer.
    pub async fn create_json(&self, key: &str, value: &impl Serialize) -> ApiResult<Put> {
        let text = serde_json::to_string(value).map_err(ApiError::internal)?;
        self.create(key, text, None).await
    }

    /// SHA-256 of the idle-agent for new machines, hex; `None` before one was published.
    ///
    /// # Errors
    /// Storage does not answer.
    pub async fn current_agent(&self) -> ApiResult<Option<String>> {
        Ok(self.text(AGENT_CURRENT).await?.map(|text| text.trim().to_owned()))
    }
}

/// Whether the bucket refused a content for its hash: error 10037, in whatever words.
fn is_wrong_hash(error: &str) -> bool {
    error.contains("10037") || error.to_ascii_lowercase().contains("checksum")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_pinned_because_stored_workspaces_are_found_by_them() {
        let (tenant, workspace) = (TenantId::owner(), "k3v7q2mzab".parse().unwrap());
        assert_eq!(agent_key("ab"), "agent/ab");
        assert_eq!((PROGRAMS, program_part("ab").as_str()), ("programs/list.json", "programs/parts/ab"));
        assert_eq!(tenant_key_path(&tenant), "tenants/owner/key.json");
        assert_eq!(secrets_path(&tenant), "secrets/owner.json");
        assert_eq!(login_keys_path(&tenant), "ssh-keys/owner.json");
        assert_eq!(ssh_host_key_path(&tenant, &workspace), "workspaces/owner/k3v7q2mzab/ssh-host-key.json");
        assert_eq!(workspace_key_path(&tenant, &workspace), "workspaces/owner/k3v7q2mzab/key.json");
        assert_eq!(workspace_secrets_path(&tenant, &workspace), "workspaces/owner/k3v7q2mzab/secrets.json");
        assert_eq!(
            trash_path(1_700_000_000_000, &tenant, &workspace, "config"),
            "trash/1700000000000/owner/k3v7q2mzab/config"
        );
        assert_eq!(
            repository_path(&tenant, &workspace, "config"),
            "workspaces/owner/k3v7q2mzab/restic/config"
        );
    }

    #[test]
    fn a_wrong_hash_is_told_from_other_failures() {
        assert!(is_wrong_hash(
            "put: The SHA-256 checksum you specified did not match what we received. (10037)"
        ));
        assert!(!is_wrong_hash("put: We encountered an internal error. Please try again. (10001)"));
    }
}
