//! Sessions of the dashboard that were ended before their time. All others are known by their signature alone.

use super::{Index, audit::AuditNote, millis, text};
use crate::error::ApiResult;
use ebbtide_api::Timestamp;
use serde::Deserialize;

#[derive(Deserialize)]
struct Row {}

impl Index {
    /// Ends a session; forgets those that would be over by now.
    ///
    /// # Errors
    /// The index does not answer.
    pub async fn end_session(
        &self,
        session: &str,
        until: Timestamp,
        now: Timestamp,
        note: &AuditNote<'_>,
    ) -> ApiResult<()> {
        let forget = self.statement("DELETE FROM ended_sessions WHERE until <= ?1", &[millis(now)])?;
        let sql =
            "INSERT INTO ended_sessions (session, until) VALUES (?1, ?2) ON CONFLICT (session) DO NOTHING";
        let end = self.statement(sql, &[text(session), millis(until)])?;
        self.run_all(vec![forget, end, self.note_statement(note)?]).await.map(|_| ())
    }

    /// Whether a session was ended before its time.
    ///
    /// # Errors
    /// The index does not answer.
    pub async fn is_session_ended(&self, session: &str) -> ApiResult<bool> {
        let sql = "SELECT session FROM ended_sessions WHERE session = ?1";
        let row: Option<Row> = self.row(sql, &[text(session)]).await?;
        Ok(row.is_some())
    }
}
