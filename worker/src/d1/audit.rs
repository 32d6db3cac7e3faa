//! The audit log: who did what to which thing, when, and from where. Written by every mutation, never changed.

use super::{Index, millis, moment, number, text};
use crate::error::ApiResult;
use ebbtide_api::audit::{AuditEntry, AuditList};
use ebbtide_api::{TenantId, Timestamp};
use serde::Deserialize;
use worker::D1PreparedStatement;

/// Rows on a page.
const PAGE: usize = 100;

/// A line to be written.
pub struct AuditNote<'a> {
    /// When.
    pub at: Timestamp,
    /// Whose thing.
    pub tenant: &'a TenantId,
    /// Who: `owner`, `key:{id}`, …
    pub actor: &'a str,
    /// What: `workspace.create`, …
    pub action: &'a str,
    /// To which thing: its id.
    pub subject: &'a str,
    /// From which address.
    pub from: &'a str,
}

#[derive(Deserialize)]
struct Row {
    seq: f64,
    at: f64,
    actor: String,
    action: String,
    subject: String,
    address: String,
}

impl Index {
    /// The statement that writes a line, to run with the change it is about.
    pub(super) fn note_statement(&self, note: &AuditNote<'_>) -> ApiResult<D1PreparedStatement> {
        let sql =
            "INSERT INTO audit (at, tenant, actor, action, subject, address) VALUES (?1, ?2, ?3, ?4, ?5, ?6)";
        let values = [
            millis(note.at),
            text(note.tenant.as_str()),
            text(note.actor),
            text(note.action),
            text(note.subject),
            text(note.from),
        ];
        self.statement(sql, &values)
    }

    /// Writes a line.
    ///
    /// # Errors
    /// The index does not answer.
    pub async fn note(&self, note: &AuditNote<'_>) -> ApiResult<()> {
        self.run_all(vec![self.note_statement(note)?]).await.map(|_| ())
    }

    /// A page of a tenant's audit log, newest first, before line `before`.
    ///
    /// # Errors
    /// The index does not answer.
    pub async fn audit(&self, tenant: &TenantId, before: Option<u64>) -> ApiResult<AuditList> {
        let sql = "SELECT seq, at, actor, action, subject, address FROM audit \
            WHERE tenant = ?1 AND seq < ?2 ORDER BY seq DESC LIMIT ?3";
        let before = before.unwrap_or(1 << 53);
        let limit = u64::try_from(PAGE + 1).unwrap_or(101);
        let values = [text(tenant.as_str()), number(before), number(limit)];
        let mut rows: Vec<Row> = self.rows(sql, &values).await?;
        let more = rows.len() > PAGE;
        rows.truncate(PAGE);
        let next_cursor = rows.last().filter(|_| more).map(|row| format!("{}", row.seq));
        let entry = |row: Row| AuditEntry {
            at: moment(row.at),
            actor: row.actor,
            action: row.action,
            subject: row.subject,
            from: row.address,
        };
        Ok(AuditList { entries: rows.into_iter().map(entry).collect(), next_cursor })
    }
}
