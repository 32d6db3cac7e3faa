//! Rows of workspaces whose object holds no record. An object that is there after all writes its row over this.

use super::sweep::WorkspaceRow;
use super::workspaces::{SummaryRow, summary};
use super::{Index, millis, text};
use crate::error::ApiResult;
use ebbtide_api::{TenantId, Timestamp, WorkspaceId};
use ebbtide_control::sweep::lost::{LOST, LOST_AND_DELETED};
use ebbtide_control::view::lost::RowShown;
use serde::Deserialize;

#[derive(Deserialize)]
struct WholeRow {
    #[serde(flatten)]
    row: WorkspaceRow,
    location: String,
}

impl Index {
    /// What the index knows of one workspace of a tenant's.
    ///
    /// # Errors
    /// The index does not answer.
    pub async fn row_shown(&self, tenant: &TenantId, id: &WorkspaceId) -> ApiResult<Option<RowShown>> {
        let values = [text(id.as_str()), text(tenant.as_str())];
        let sql = "SELECT id, tenant, state, generation, server_id, since, lost_at, location FROM workspaces \
            WHERE id = ?1 AND tenant = ?2";
        let whole: Option<WholeRow> = self.row(sql, &values).await?;
        let sql = "SELECT id, name, state, because, line, repo, size, created_at, since FROM workspaces \
            WHERE id = ?1 AND tenant = ?2";
        let shown: Option<SummaryRow> = self.row(sql, &values).await?;
        Ok(whole.zip(shown).and_then(|(WholeRow { row, location }, shown)| {
            Some(RowShown { row: super::sweep::settled(row)?.row, summary: summary(shown)?, location })
        }))
    }

    /// Lists a workspace as lost. Its `since` stays: the object's own word is never the older one.
    ///
    /// # Errors
    /// The index does not answer.
    pub async fn mark_lost(&self, id: &WorkspaceId, now: Timestamp) -> ApiResult<()> {
        let sql = "UPDATE workspaces SET lost_at = COALESCE(lost_at, ?2), state = 'failed', because = ?3, line = ?3, \
            next_deadline = NULL WHERE id = ?1 AND state <> 'deleted'";
        self.run(sql, &[text(id.as_str()), millis(now), text(LOST)]).await.map(|_| ())
    }

    /// Notes that the owner of a lost workspace deletes it; from `purge_at` on its row and what is stored may go.
    /// Repeatable: the first time counts.
    ///
    /// # Errors
    /// The index does not answer.
    pub async fn delete_lost(&self, id: &WorkspaceId, purge_at: Timestamp, now: Timestamp) -> ApiResult<()> {
        let sql = "UPDATE workspaces SET lost_at = COALESCE(lost_at, ?3), state = 'deleted', because = ?4, line = ?4, \
            since = ?3, next_deadline = ?2 WHERE id = ?1 AND state <> 'deleted'";
        let values = [text(id.as_str()), millis(purge_at), millis(now), text(LOST_AND_DELETED)];
        self.run(sql, &values).await.map(|_| ())
    }

    /// Notes that no machine of a lost workspace exists any more: it is billed no longer, and nothing is reserved.
    ///
    /// # Errors
    /// The index does not answer.
    pub async fn end_lost_account(&self, id: &WorkspaceId, now: Timestamp) -> ApiResult<()> {
        let end = "UPDATE machines SET ended_at = ?2 WHERE workspace = ?1 AND started_at IS NOT NULL AND ended_at IS NULL";
        let forget = "DELETE FROM machines WHERE workspace = ?1 AND started_at IS NULL";
        let gone = "UPDATE workspaces SET server_id = NULL WHERE id = ?1 AND server_id IS NOT NULL";
        self.run_all(vec![
            self.statement(end, &[text(id.as_str()), millis(now)])?,
            self.statement(forget, &[text(id.as_str())])?,
            self.statement(gone, &[text(id.as_str())])?,
        ])
        .await
        .map(|_| ())
    }
}
