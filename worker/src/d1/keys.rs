//! API keys: the SHA-256 is stored, the key itself is shown once and forgotten.

use super::{Index, audit::AuditNote, millis, moment, optional_text, text};
use crate::error::ApiResult;
use ebbtide_api::keys::{ApiKeyInfo, Scope};
use ebbtide_api::{TenantId, Timestamp, WorkspaceId};
use serde::Deserialize;
use wasm_bindgen::JsValue;

/// Most keys of a tenant.
pub const KEYS_MAX: usize = 50;

/// An API key as it is stored.
pub struct KeyRow {
    /// Its owner.
    pub tenant: TenantId,
    /// SHA-256 of the whole key, hex.
    pub digest: String,
    /// What it may do.
    pub scopes: Vec<Scope>,
    /// The one workspace whose backups it reads, for a restore kit's key.
    pub repository: Option<WorkspaceId>,
    /// When it was last used, to the hour.
    pub last_used_at: Option<Timestamp>,
    /// When it ends by itself.
    pub expires_at: Option<Timestamp>,
}

#[derive(Deserialize)]
struct Row {
    id: String,
    tenant: String,
    label: String,
    digest: String,
    scopes: String,
    repository: Option<String>,
    created_at: f64,
    last_used_at: Option<f64>,
    expires_at: Option<f64>,
}

impl Index {
    /// Stores a key's digest.
    ///
    /// # Errors
    /// The index does not answer.
    pub async fn put_key(
        &self,
        tenant: &TenantId,
        info: &ApiKeyInfo,
        digest: &str,
        note: &AuditNote<'_>,
    ) -> ApiResult<()> {
        let sql =
            "INSERT INTO api_keys (id, tenant, label, digest, scopes, created_at, repository, expires_at)
                   VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)";
        let values = [
            text(&info.id),
            text(tenant.as_str()),
            text(&info.label),
            text(digest),
            text(&join(&info.scopes)),
            millis(info.created_at),
            optional_text(info.repository.as_ref().map(WorkspaceId::as_str)),
            info.expires_at.map_or(JsValue::NULL, millis),
        ];
        let insert = self.statement(sql, &values)?;
        self.run_all(vec![insert, self.note_statement(note)?]).await.map(|_| ())
    }

    /// The key of that id, whoever owns it.
    ///
    /// # Errors
    /// The index does not answer.
    pub async fn key(&self, id: &str) -> ApiResult<Option<KeyRow>> {
        let row: Option<Row> = self.row("SELECT * FROM api_keys WHERE id = ?1", &[text(id)]).await?;
        Ok(row.map(|row| KeyRow {
            tenant: TenantId(row.tenant),
            digest: row.digest,
            scopes: split(&row.scopes),
            // What cannot be read opens nothing: a kit's key has no scope besides.
            repository: row.repository.and_then(|id| id.parse().ok()),
            last_used_at: row.last_used_at.map(moment),
            expires_at: row.expires_at.map(moment),
        }))
    }

    /// A tenant's keys, newest first.
    ///
    /// # Errors
    /// The index does not answer.
    pub async fn keys(&self, tenant: &TenantId) -> ApiResult<Vec<ApiKeyInfo>> {
        let sql = "SELECT * FROM api_keys WHERE tenant = ?1 ORDER BY created_at DESC LIMIT 200";
        let rows: Vec<Row> = self.rows(sql, &[text(tenant.as_str())]).await?;
        Ok(rows
            .into_iter()
            .map(|row| ApiKeyInfo {
                prefix: format!("ebb_{}", row.id),
                id: row.id,
                label: row.label,
                scopes: split(&row.scopes),
                created_at: moment(row.created_at),
                last_used_at: row.last_used_at.map(moment),
                repository: row.repository.and_then(|id| id.parse().ok()),
                expires_at: row.expires_at.map(moment),
            })
            .collect())
    }

    /// Forgets keys that have ended by themselves.
    ///
    /// # Errors
    /// The index does not answer.
    pub async fn drop_expired_keys(&self, tenant: &TenantId, now: Timestamp) -> ApiResult<()> {
        let sql = "DELETE FROM api_keys WHERE tenant = ?1 AND expires_at IS NOT NULL AND expires_at <= ?2";
        self.run(sql, &[text(tenant.as_str()), millis(now)]).await.map(|_| ())
    }

    /// Revokes a key; says whether there was one.
    ///
    /// # Errors
    /// The index does not answer.
    pub async fn revoke_key(&self, tenant: &TenantId, id: &str) -> ApiResult<bool> {
        let sql = "DELETE FROM api_keys WHERE id = ?1 AND tenant = ?2";
        Ok(self.run(sql, &[text(id), text(tenant.as_str())]).await? > 0)
    }

    /// Notes that a key was used.
    ///
    /// # Errors
    /// The index does not answer.
    pub async fn touch_key(&self, id: &str, now: Timestamp) -> ApiResult<()> {
        self.run("UPDATE api_keys SET last_used_at = ?2 WHERE id = ?1", &[text(id), millis(now)])
            .await
            .map(|_| ())
    }
}

fn join(scopes: &[Scope]) -> String {
    scopes.iter().map(|scope| scope.as_str()).collect::<Vec<_>>().join(",")
}

fn split(scopes: &str) -> Vec<Scope> {
    scopes.split(',').filter_map(Scope::parse).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stored_scopes_read_back_and_unknown_ones_grant_nothing() {
        assert_eq!(join(&[Scope::Read, Scope::Admin]), "read,admin");
        assert_eq!(split("read,write,admin"), [Scope::Read, Scope::Write, Scope::Admin]);
        assert_eq!(split("root,,read"), [Scope::Read]);
    }
}
