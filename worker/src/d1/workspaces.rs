//! Rows of workspaces: written as an intent before the object exists, then by the object at each change of state.

use super::{Index, millis, moment, number, optional_text, text};
use crate::error::{ApiError, ApiResult};
use crate::subrequests::Calls;
use ebbtide_api::secrets::{SecretChoice, SecretUser};
use ebbtide_api::workspace::{State, WorkspaceList, WorkspaceSummary};
use ebbtide_api::{TenantId, Timestamp, WorkspaceId};
use ebbtide_control::record::Record;
use ebbtide_control::view;
use serde::Deserialize;
use std::str::FromStr;
use wasm_bindgen::JsValue;
use worker::Env;

/// Rows on a page of the list.
const PAGE: usize = 50;

/// Workspaces that are looked at for the secrets that they get.
const CHOOSERS: u64 = 500;

const UPSERT: &str = "INSERT INTO workspaces \
    (id, tenant, name, state, because, repo, size, location, created_at, since, next_deadline, generation, server_id, \
    backup_at, rescue_image, line, secrets) \
    VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17) ON CONFLICT (id) DO UPDATE SET \
    state = excluded.state, because = excluded.because, size = excluded.size, location = excluded.location, \
    since = excluded.since, next_deadline = excluded.next_deadline, generation = excluded.generation, \
    server_id = excluded.server_id, backup_at = excluded.backup_at, rescue_image = excluded.rescue_image, \
    line = excluded.line, secrets = excluded.secrets, lost_at = NULL \
    WHERE (excluded.since >= workspaces.since OR workspaces.lost_at IS NOT NULL) AND (workspaces.state, workspaces.because, workspaces.size, \
      workspaces.location, workspaces.since, workspaces.next_deadline, workspaces.generation, workspaces.server_id, \
      workspaces.backup_at, workspaces.rescue_image, workspaces.line, workspaces.secrets) IS NOT (excluded.state, excluded.because, excluded.size, \
      excluded.location, excluded.since, excluded.next_deadline, excluded.generation, excluded.server_id, \
      excluded.backup_at, excluded.rescue_image, excluded.line, excluded.secrets)";

/// What is written before a workspace's object is called for the first time.
pub struct Intent<'a> {
    /// Its id.
    pub id: &'a WorkspaceId,
    /// Its owner.
    pub tenant: &'a TenantId,
    /// Its readable name.
    pub name: &'a str,
    /// What is cloned.
    pub repo: Option<&'a str>,
    /// Size asked for.
    pub size: &'a str,
    /// Location asked for.
    pub location: &'a str,
    /// When it was asked for.
    pub now: Timestamp,
    /// When the sweep may ask what became of it.
    pub next_deadline: Timestamp,
}

/// What the database holds of a workspace. Where it differs, there is something to write.
#[derive(Debug, PartialEq, Eq)]
pub struct WorkspaceRow {
    summary: WorkspaceSummary,
    location: String,
    next_deadline: Option<Timestamp>,
    generation: u32,
    server_id: Option<u64>,
    backup_at: Option<Timestamp>,
    rescue_image: Option<u64>,
    /// Names of the secrets that it chose, as JSON.
    secrets: Option<String>,
}

impl WorkspaceRow {
    /// The row of a record, looked at again after `next_deadline` where nothing is heard of it.
    pub fn of(record: &Record, next_deadline: Option<Timestamp>) -> Self {
        Self {
            summary: view::people::summary(record),
            location: record.spec.placement.location.clone(),
            next_deadline,
            generation: record.generation.0,
            server_id: record.server.as_ref().map(|server| server.id),
            backup_at: record.snapshots.first().map(|snapshot| snapshot.verified_at),
            rescue_image: record.rescue_image,
            secrets: match &record.spec.secrets {
                SecretChoice::Everywhere => None,
                SecretChoice::Named(names) => serde_json::to_string(names).ok(),
            },
        }
    }

    /// The same without its sentences.
    #[must_use]
    pub fn wordless(mut self) -> Self {
        self.summary.because.clear();
        self.summary.line.clear();
        self
    }
}

/// A workspace that gets secrets.
pub struct Chooser {
    /// Which.
    pub user: SecretUser,
    /// Which it gets.
    pub choice: SecretChoice,
    /// Whether it may have a machine.
    pub has_machine: bool,
}

/// A workspace whose alarm seems to have been missed.
pub struct Overdue {
    /// Its id.
    pub id: WorkspaceId,
    /// Its owner.
    pub tenant: TenantId,
    /// Whether it is an intent that no object has confirmed.
    pub unconfirmed: bool,
    /// Whether its record is lost and its owner has deleted it.
    pub lost: bool,
}

#[derive(Deserialize)]
pub(super) struct SummaryRow {
    id: String,
    name: String,
    state: State,
    because: String,
    line: Option<String>,
    repo: Option<String>,
    size: String,
    created_at: f64,
    since: f64,
}

impl Index {
    /// Brings the row of a workspace, and its machines in the ledger, in line with its record, making them where they are
    /// missing.
    ///
    /// # Errors
    /// The index does not answer.
    pub async fn put_record(&self, record: &Record, next_deadline: Option<Timestamp>) -> ApiResult<()> {
        let WorkspaceRow {
            summary,
            location,
            next_deadline,
            generation,
            server_id,
            backup_at,
            rescue_image,
            secrets,
        } = WorkspaceRow::of(record, next_deadline);
        let values = [
            text(summary.id.as_str()),
            text(record.tenant.as_str()),
            text(&summary.name),
            text(summary.state.as_str()),
            text(&summary.because),
            optional_text(summary.repo.as_deref()),
            text(&summary.size),
            text(&location),
            millis(summary.created_at),
            millis(summary.since),
            next_deadline.map_or(JsValue::NULL, millis),
            number(generation.into()),
            server_id.map_or(JsValue::NULL, number),
            backup_at.map_or(JsValue::NULL, millis),
            rescue_image.map_or(JsValue::NULL, number),
            text(&summary.line),
            optional_text(secrets.as_deref()),
        ];
        let mut statements = vec![self.statement(UPSERT, &values)?];
        statements.extend(self.account(record)?);
        self.run_all(statements).await.map(|_| ())
    }

    /// Removes a row: of an intent that never became an object, with its reservation, or of a workspace that was purged,
    /// whose bills stay.
    ///
    /// # Errors
    /// The index does not answer.
    pub async fn remove(&self, id: &WorkspaceId) -> ApiResult<()> {
        let row = self.statement("DELETE FROM workspaces WHERE id = ?1", &[text(id.as_str())])?;
        let reservation = "DELETE FROM machines WHERE workspace = ?1 AND started_at IS NULL";
        self.run_all(vec![row, self.statement(reservation, &[text(id.as_str())])?]).await.map(|_| ())
    }

    /// Puts off when the sweep looks at a workspace again; the object's next change of state overwrites it.
    ///
    /// # Errors
    /// The index does not answer.
    pub async fn postpone(&self, id: &WorkspaceId, until: Timestamp) -> ApiResult<()> {
        let sql = "UPDATE workspaces SET next_deadline = ?2 WHERE id = ?1 AND next_deadline < ?2";
        self.run(sql, &[text(id.as_str()), millis(until)]).await.map(|_| ())
    }

    /// Whether a workspace is that tenant's.
    ///
    /// # Errors
    /// The index does not answer.
    pub async fn belongs(&self, id: &WorkspaceId, tenant: &TenantId) -> ApiResult<bool> {
        Ok(self.tenant_of(id).await?.is_some_and(|owner| owner == *tenant))
    }

    /// Whose workspace it is; `None` where nobody has it.
    ///
    /// # Errors
    /// The index does not answer.
    pub async fn tenant_of(&self, id: &WorkspaceId) -> ApiResult<Option<TenantId>> {
        #[derive(Deserialize)]
        struct Row {
            tenant: String,
        }
        let sql = "SELECT tenant FROM workspaces WHERE id = ?1";
        let row: Option<Row> = self.row(sql, &[text(id.as_str())]).await?;
        Ok(row.map(|row| TenantId(row.tenant)))
    }

    /// A page of a tenant's workspaces, newest first. Deleted ones are left out.
    ///
    /// # Errors
    /// The index does not answer.
    pub async fn list(&self, tenant: &TenantId, cursor: Option<&Cursor>) -> ApiResult<WorkspaceList> {
        let sql = "SELECT id, name, state, because, line, repo, size, created_at, since FROM workspaces \
            WHERE tenant = ?1 AND (created_at, id) < (?2, ?3) AND state <> 'deleted' \
            ORDER BY created_at DESC, id DESC LIMIT ?4";
        // Ids are a-z and 2-7: `~` is above all of them.
        let (before_ms, before_id) =
            cursor.map_or((9_007_199_254_740_991.0, "~"), |cursor| (cursor.created_ms, &cursor.id));
        let limit = number(u64::try_from(PAGE + 1).unwrap_or(51));
        let values = [text(tenant.as_str()), JsValue::from_f64(before_ms), text(before_id), limit];
        let mut rows: Vec<SummaryRow> = self.rows(sql, &values).await?;
        let more = rows.len() > PAGE;
        rows.truncate(PAGE);
        let next_cursor = rows.last().filter(|_| more).map(|row| format!("{}.{}", row.created_at, row.id));
        Ok(WorkspaceList { workspaces: rows.into_iter().filter_map(summary).collect(), next_cursor })
    }

    /// Which secrets a tenant's workspaces get, the newest first.
    ///
    /// # Errors
    /// The index does not answer.
    pub async fn choosers(&self, tenant: &TenantId) -> ApiResult<Vec<Chooser>> {
        #[derive(Deserialize)]
        struct Row {
            id: String,
            name: String,
            state: State,
            secrets: Option<String>,
        }
        let sql = "SELECT id, name, state, secrets FROM workspaces WHERE tenant = ?1 AND state <> 'deleted' \
            ORDER BY created_at DESC, id DESC LIMIT ?2";
        let rows: Vec<Row> = self.rows(sql, &[text(tenant.as_str()), number(CHOOSERS)]).await?;
        Ok(rows
            .into_iter()
            .filter_map(|row| {
                let names = row.secrets.map(|text| serde_json::from_str(&text).unwrap_or_default());
                Some(Chooser {
                    user: SecretUser { id: row.id.parse().ok()?, name: row.name },
                    choice: names.map_or(SecretChoice::Everywhere, SecretChoice::Named),
                    has_machine: row.state.may_have_machine(),
                })
            })
            .collect())
    }

    /// Workspaces whose deadline passed before `before`, longest ago first.
    ///
    /// # Errors
    /// The index does not answer.
    pub async fn overdue(&self, before: Timestamp, limit: u64) -> ApiResult<Vec<Overdue>> {
        #[derive(Deserialize)]
        struct Row {
            id: String,
            tenant: String,
            state: String,
            generation: f64,
            lost_at: Option<f64>,
        }
        let sql = "SELECT id, tenant, state, generation, lost_at FROM workspaces \
            WHERE next_deadline < ?1 AND state NOT IN ('asleep', 'failed') ORDER BY next_deadline LIMIT ?2";
        let rows: Vec<Row> = self.rows(sql, &[millis(before), number(limit)]).await?;
        Ok(rows
            .into_iter()
            .filter_map(|row| {
                Some(Overdue {
                    id: row.id.parse().ok()?,
                    tenant: TenantId(row.tenant),
                    lost: row.lost_at.is_some(),
                    unconfirmed: row.state == State::Requested.as_str() && row.generation < 1.0,
                })
            })
            .collect())
    }
}

pub(super) fn summary(row: SummaryRow) -> Option<WorkspaceSummary> {
    Some(WorkspaceSummary {
        id: row.id.parse().ok()?,
        name: row.name,
        state: row.state,
        line: row.line.unwrap_or_else(|| row.because.clone()),
        because: row.because,
        repo: row.repo,
        size: row.size,
        created_at: moment(row.created_at),
        since: moment(row.since),
    })
}

/// Where a page of the list ended.
#[derive(Debug, Clone, PartialEq)]
pub struct Cursor {
    created_ms: f64,
    id: String,
}

impl FromStr for Cursor {
    type Err = ApiError;

    fn from_str(text: &str) -> Result<Self, ApiError> {
        let parse = || {
            let (created, id) = text.split_once('.')?;
            let created: u64 = created.parse().ok()?;
            let id: WorkspaceId = id.parse().ok()?;
            #[allow(clippy::cast_precision_loss)] // written from a double
            Some(Self { created_ms: created as f64, id: id.as_str().to_owned() })
        };
        parse().ok_or_else(|| ApiError::field("cursor", "this is no cursor of ours"))
    }
}

/// Brings the index in line with a record that has changed. The object goes on where it cannot: its own storage is
/// the truth, and the next change of state writes the row again.
pub async fn record_changed(env: &Env, record: &Record, next_deadline: Option<Timestamp>) {
    let written = match Index::open(env, Calls::default()) {
        Ok(index) => index.put_record(record, next_deadline).await,
        Err(error) => Err(error),
    };
    if let Err(error) = written {
        let fields = [("workspace.id", record.id.as_str())];
        error.log(crate::log::Level::Warn, "the index lags behind a workspace", &fields);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_cursors_of_ours_are_read() {
        assert_eq!(
            "1763690000000.k3v7q2mzab".parse(),
            Ok(Cursor { created_ms: 1_763_690_000_000.0, id: "k3v7q2mzab".into() })
        );
        for text in ["", "x", "1.2", "-1.k3v7q2mzab", "1.k3v7q2mzab'--", "NaN.k3v7q2mzab"] {
            assert!(text.parse::<Cursor>().is_err(), "{text}");
        }
    }
}
