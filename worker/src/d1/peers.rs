//! How the other workspaces are, for one that fell silent: many that did so together have not died together.
//!
//! Counts rows and nothing else: no tenant learns anything of another's but whether the installation is in trouble.

use super::{Index, millis, text};
use crate::error::ApiResult;
use ebbtide_api::workspace::State;
use ebbtide_control::lifecycle::Peers;
use ebbtide_control::policy::Policy;
use ebbtide_control::record::{Record, minus, plus};
use serde::Deserialize;

/// A scan of the table: a workspace falls silent seldom, and an index would cost a row at every change of state.
const NEIGHBOURS: &str = "SELECT \
    COALESCE(SUM(state = ?1 AND since BETWEEN ?4 AND ?5), 0) AS silent, \
    COALESCE(SUM(state IN (?2, ?3)), 0) AS awake FROM workspaces WHERE id <> ?6";

#[derive(Deserialize)]
struct Row {
    silent: u32,
    awake: u32,
}

impl Index {
    /// Counts the workspaces that fell silent at about the same time as this one, and those that are heard of.
    ///
    /// # Errors
    /// The index does not answer.
    pub async fn peers(&self, record: &Record, policy: &Policy) -> ApiResult<Peers> {
        let within = policy.silent_together_within;
        let values = [
            text(State::Silent.as_str()),
            text(State::Running.as_str()),
            text(State::Draining.as_str()),
            millis(minus(record.since, within)),
            millis(plus(record.since, within)),
            text(record.id.as_str()),
        ];
        let row: Option<Row> = self.row(NEIGHBOURS, &values).await?;
        Ok(row.map_or_else(Peers::default, |row| Peers { silent: row.silent, awake: row.awake }))
    }
}
