//! The sweep's one row, and what it looks up about workspaces. One run at a time holds the lease, so that the limit on
//! what a run may end is one.

use super::{AuditNote, Index, millis, moment, number, text};
use crate::error::{ApiError, ApiResult};
use ebbtide_api::sweep::SweepMode;
use ebbtide_api::workspace::State;
use ebbtide_api::{Generation, TenantId, Timestamp, WorkspaceId};
use ebbtide_control::sweep::Row;
use ebbtide_control::sweep::state::SweepState;
use serde::Deserialize;
use std::collections::BTreeMap;

/// Any run that is alive has ended by then: a request to a provider takes 20 s at most, and there are 40.
const LEASE_MS: i64 = 15 * 60 * 1000;

/// What is stored.
pub struct StoredSweep {
    /// What `PUT /v1/sweep` said last.
    pub asked: SweepMode,
    /// How the parts stand.
    pub state: SweepState,
}

/// A workspace whose object has been called.
pub struct Settled {
    /// What the index knows of it.
    pub row: Row,
    /// Its owner.
    pub tenant: TenantId,
}

#[derive(Deserialize)]
struct Stored {
    mode: String,
    state: String,
}

#[derive(Deserialize)]
pub(super) struct WorkspaceRow {
    id: String,
    tenant: String,
    state: State,
    generation: f64,
    server_id: Option<f64>,
    since: f64,
    lost_at: Option<f64>,
}

impl Stored {
    /// A mode that cannot be read is the strictest. A state that cannot be read is begun anew.
    fn read(&self) -> StoredSweep {
        let asked = SweepMode::parse(&self.mode).unwrap_or(SweepMode::Off);
        StoredSweep { asked, state: serde_json::from_str(&self.state).unwrap_or_default() }
    }
}

impl Index {
    /// Takes the lease of the sweep; `None` where another run has it.
    ///
    /// # Errors
    /// The index does not answer.
    pub async fn claim_sweep(&self, lease: &str, now: Timestamp) -> ApiResult<Option<StoredSweep>> {
        let sql = "INSERT INTO sweep (id, mode, state, lease, lease_until) VALUES (1, 'on', '{}', ?1, ?2) \
            ON CONFLICT (id) DO UPDATE SET lease = ?1, lease_until = ?2 WHERE lease_until < ?3 \
            RETURNING mode, state";
        let until = Timestamp::from_millisecond(now.as_millisecond().saturating_add(LEASE_MS));
        let values = [text(lease), millis(until.unwrap_or(now)), millis(now)];
        let row: Option<Stored> = self.row(sql, &values).await?;
        Ok(row.map(|row| row.read()))
    }

    /// Stores how the parts stand, gives the lease back, and writes the audit lines of what was done.
    ///
    /// # Errors
    /// The index does not answer.
    pub async fn save_sweep(
        &self,
        lease: &str,
        state: &SweepState,
        notes: &[AuditNote<'_>],
    ) -> ApiResult<()> {
        let json = serde_json::to_string(state).map_err(ApiError::internal)?;
        let sql = "UPDATE sweep SET state = ?2, lease = NULL, lease_until = 0 WHERE id = 1 AND lease = ?1";
        let mut statements = vec![self.statement(sql, &[text(lease), text(&json)])?];
        for note in notes {
            statements.push(self.note_statement(note)?);
        }
        self.run_all(statements).await.map(|_| ())
    }

    /// What the sweep remembers.
    ///
    /// # Errors
    /// The index does not answer.
    pub async fn sweep(&self) -> ApiResult<StoredSweep> {
        let row: Option<Stored> = self.row("SELECT mode, state FROM sweep WHERE id = 1", &[]).await?;
        Ok(row.map_or_else(
            || StoredSweep { asked: SweepMode::On, state: SweepState::default() },
            |row| row.read(),
        ))
    }

    /// Says what the sweep may do from now on, with its audit line.
    ///
    /// # Errors
    /// The index does not answer; it may be said or not.
    pub async fn set_sweep(&self, mode: SweepMode, note: &AuditNote<'_>) -> ApiResult<()> {
        let sql = "INSERT INTO sweep (id, mode, state, lease_until) VALUES (1, ?1, '{}', 0) \
            ON CONFLICT (id) DO UPDATE SET mode = ?1";
        let set = self.statement(sql, &[text(mode.as_str())])?;
        self.run_all(vec![set, self.note_statement(note)?]).await.map(|_| ())
    }

    /// What the index knows of those workspaces. Ids that it does not know are left out.
    ///
    /// # Errors
    /// The index does not answer.
    pub async fn rows_of(&self, ids: &[WorkspaceId]) -> ApiResult<BTreeMap<WorkspaceId, Row>> {
        if ids.is_empty() {
            return Ok(BTreeMap::new());
        }
        // One value, whatever their number: a statement has at most 100.
        let list = serde_json::to_string(ids).map_err(ApiError::internal)?;
        let sql = "SELECT id, tenant, state, generation, server_id, since, lost_at FROM workspaces \
            WHERE id IN (SELECT value FROM json_each(?1))";
        let rows: Vec<WorkspaceRow> = self.rows(sql, &[text(&list)]).await?;
        Ok(rows.into_iter().filter_map(|row| settled(row).map(|one| (one.row.id.clone(), one.row))).collect())
    }

    /// Whether the index knows no workspace at all.
    ///
    /// # Errors
    /// The index does not answer.
    pub async fn is_empty(&self) -> ApiResult<bool> {
        #[derive(Deserialize)]
        struct One {
            #[allow(dead_code)] // that there is a row is all that matters
            id: String,
        }
        let one: Option<One> = self.row("SELECT id FROM workspaces LIMIT 1", &[]).await?;
        Ok(one.is_none())
    }

    /// Up to `limit` workspaces that have begun and are not deleted, or lost, by id and after `after`.
    ///
    /// # Errors
    /// The index does not answer.
    pub async fn settled(&self, after: &str, limit: u64) -> ApiResult<Vec<Settled>> {
        let sql = "SELECT id, tenant, state, generation, server_id, since, lost_at FROM workspaces \
            WHERE id > ?1 AND generation > 0 AND (state <> 'deleted' OR lost_at IS NOT NULL) ORDER BY id LIMIT ?2";
        let rows: Vec<WorkspaceRow> = self.rows(sql, &[text(after), number(limit)]).await?;
        Ok(rows.into_iter().filter_map(settled).collect())
    }
}

pub(super) fn settled(row: WorkspaceRow) -> Option<Settled> {
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // written by `number`; `as` saturates
    let row_of = |id: WorkspaceId| Row {
        id,
        state: row.state,
        generation: Generation(row.generation as u32),
        server: row.server_id.map(|id| id as u64),
        since: moment(row.since),
        lost_at: row.lost_at.map(moment),
    };
    Some(Settled { row: row_of(row.id.parse().ok()?), tenant: TenantId(row.tenant) })
}
