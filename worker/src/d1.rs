//! The index in D1: which workspaces exist, who may sign in, what was done, and which requests were answered.
//!
//! The truth about a workspace is its object; a row here is written before the object and after each of its changes of
//! state, so that lists and the sweep find it. Rows written are what the plan counts: nothing here is written per
//! request, and heartbeats write nothing. Every statement is prepared with bound values.

mod audit;
mod figures;
mod idempotency;
mod keys;
mod ledger;
mod lost;
mod money;
mod peers;
mod sessions;
mod sweep;
mod workspaces;

pub use audit::AuditNote;
pub use figures::{CronTraces, StateFigures};
pub use idempotency::{Claim, Claimed};
pub use keys::{KEYS_MAX, KeyRow};
pub use ledger::Billed;
pub use money::{Reservation, Reserved};
pub use sweep::{Settled, StoredSweep};
pub use workspaces::{Chooser, Cursor, Intent, Overdue, WorkspaceRow, record_changed};

use crate::error::{ApiError, ApiResult};
use crate::subrequests::{Binding, Calls};
use ebbtide_api::Timestamp;
use serde::Deserialize;
use wasm_bindgen::JsValue;
use worker::{D1Database, D1PreparedStatement, D1Result, Env};

/// Name of the binding in `wrangler.toml`.
const BINDING: &str = "DB";

/// The index, on behalf of one invocation.
pub struct Index {
    db: D1Database,
    calls: Calls,
}

impl Index {
    /// Opens the index.
    ///
    /// # Errors
    /// The binding is missing.
    pub fn open(env: &Env, calls: Calls) -> ApiResult<Self> {
        Ok(Self { db: env.d1(BINDING).map_err(ApiError::internal)?, calls })
    }

    fn statement(&self, sql: &str, values: &[JsValue]) -> ApiResult<D1PreparedStatement> {
        self.db.prepare(sql).bind(values).map_err(ApiError::index)
    }

    /// Runs a statement and says how many rows it changed.
    async fn run(&self, sql: &str, values: &[JsValue]) -> ApiResult<u64> {
        let statement = self.statement(sql, values)?;
        self.calls.count(Binding::D1);
        changes(&statement.run().await.map_err(ApiError::index)?)
    }

    /// Runs statements as one transaction and says how many rows each changed.
    async fn run_all(&self, statements: Vec<D1PreparedStatement>) -> ApiResult<Vec<u64>> {
        self.calls.count(Binding::D1);
        self.db.batch(statements).await.map_err(ApiError::index)?.iter().map(changes).collect()
    }

    async fn rows<T: for<'a> Deserialize<'a>>(&self, sql: &str, values: &[JsValue]) -> ApiResult<Vec<T>> {
        let statement = self.statement(sql, values)?;
        self.calls.count(Binding::D1);
        statement.all().await.and_then(|result| result.results()).map_err(ApiError::index)
    }

    async fn row<T: for<'a> Deserialize<'a>>(&self, sql: &str, values: &[JsValue]) -> ApiResult<Option<T>> {
        Ok(self.rows(sql, values).await?.into_iter().next())
    }
}

fn changes(result: &D1Result) -> ApiResult<u64> {
    let meta = result.meta().map_err(ApiError::index)?;
    Ok(meta.and_then(|meta| meta.changes).and_then(|changes| u64::try_from(changes).ok()).unwrap_or(0))
}

/// A moment as it is stored: milliseconds since 1970, exact in a double.
fn millis(at: Timestamp) -> JsValue {
    #[allow(clippy::cast_precision_loss)] // 2^53 ms is the year 287396
    JsValue::from_f64(at.as_millisecond() as f64)
}

/// A stored moment.
fn moment(millis: f64) -> Timestamp {
    #[allow(clippy::cast_possible_truncation)] // written by `millis`
    Timestamp::from_millisecond(millis as i64).unwrap_or(Timestamp::UNIX_EPOCH)
}

fn text(value: &str) -> JsValue {
    JsValue::from_str(value)
}

fn optional_text(value: Option<&str>) -> JsValue {
    value.map_or(JsValue::NULL, JsValue::from_str)
}

fn number(value: u64) -> JsValue {
    #[allow(clippy::cast_precision_loss)] // ids of the provider stay below 2^53
    JsValue::from_f64(value as f64)
}
