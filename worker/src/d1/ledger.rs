//! The ledger: what machines were billed, kept in line with the workspaces' objects.
//!
//! The object is the truth. With each change of state it writes the row of its machine; a row that got lost is written
//! again with the next, and a reservation that no object knows is removed. What was billed is never deleted.

use super::money::{COLUMNS, Reservation, count};
use super::{Index, millis, moment, number, text};
use crate::error::ApiResult;
use ebbtide_api::{TenantId, Timestamp, WorkspaceId};
use ebbtide_control::money::bill::{Machine, Tariff};
use ebbtide_control::money::{Amount, Worst, reserved};
use ebbtide_control::record::MachineMoney;
use ebbtide_control::record::{Phase, Record};
use serde::Deserialize;
use wasm_bindgen::JsValue;
use worker::D1PreparedStatement;

/// A machine in the ledger.
pub struct Billed {
    /// Whose.
    pub workspace: WorkspaceId,
    /// ISO 4217.
    pub currency: String,
    /// What it is billed.
    pub machine: Machine,
}

#[derive(Deserialize)]
struct BilledRow {
    workspace: String,
    currency: String,
    hourly_micros: f64,
    hourly_net_micros: f64,
    monthly_micros: Option<f64>,
    monthly_net_micros: Option<f64>,
    started_at: f64,
    ended_at: Option<f64>,
}

impl Index {
    /// Machines that were billed in a period, at most `limit`.
    ///
    /// # Errors
    /// The index does not answer.
    pub async fn billed(
        &self,
        tenant: &TenantId,
        from: Timestamp,
        to: Timestamp,
        limit: u64,
    ) -> ApiResult<Vec<Billed>> {
        let sql = "SELECT workspace, currency, hourly_micros, hourly_net_micros, monthly_micros, monthly_net_micros, \
            started_at, ended_at FROM machines WHERE tenant = ?1 AND (ended_at IS NULL OR ended_at >= ?2) \
            AND started_at < ?3 ORDER BY workspace, generation LIMIT ?4";
        let values = [text(tenant.as_str()), millis(from), millis(to), number(limit)];
        let rows: Vec<BilledRow> = self.rows(sql, &values).await?;
        Ok(rows.into_iter().filter_map(billed).collect())
    }

    /// Names of workspaces on record.
    ///
    /// # Errors
    /// The index does not answer.
    pub async fn names(&self, tenant: &TenantId) -> ApiResult<Vec<(String, String)>> {
        #[derive(Deserialize)]
        struct Row {
            id: String,
            name: String,
        }
        let sql = "SELECT id, name FROM workspaces WHERE tenant = ?1 LIMIT 5000";
        let rows: Vec<Row> = self.rows(sql, &[text(tenant.as_str())]).await?;
        Ok(rows.into_iter().map(|row| (row.id, row.name)).collect())
    }

    /// Removes reservations from before `before` that belong to no machine: the request that made them came to nothing.
    /// A workspace that has one in work says so itself with its next change.
    ///
    /// # Errors
    /// The index does not answer.
    pub async fn forget_reservations(&self, before: Timestamp) -> ApiResult<u64> {
        let sql = "DELETE FROM machines WHERE started_at IS NULL AND ended_at IS NULL AND reserved_at < ?1 \
            AND NOT EXISTS (SELECT 1 FROM workspaces WHERE id = machines.workspace \
              AND generation <= machines.generation AND state NOT IN ('asleep', 'failed', 'deleted'))";
        self.run(sql, &[millis(before)]).await
    }

    /// Workspaces whose machine is not in the ledger, or whose ledger has one that they do not have.
    ///
    /// # Errors
    /// The index does not answer.
    pub async fn out_of_account(&self, limit: u64) -> ApiResult<Vec<(TenantId, WorkspaceId)>> {
        #[derive(Deserialize)]
        struct Row {
            id: String,
            tenant: String,
        }
        // A nudge brings both in line with the object, which is the truth. An intent has its own part of the sweep. At
        // random, so that those which cannot be mended keep no other from it.
        let sql = "SELECT id, tenant FROM workspaces WHERE generation > 0 AND lost_at IS NULL \
            AND (state IN ('asleep', 'failed', 'deleted')) = EXISTS (SELECT 1 FROM machines \
              WHERE workspace = workspaces.id AND generation <= workspaces.generation AND ended_at IS NULL) ORDER BY RANDOM() LIMIT ?1";
        let rows: Vec<Row> = self.rows(sql, &[number(limit)]).await?;
        let known = |row: Row| Some((TenantId(row.tenant), row.id.parse().ok()?));
        Ok(rows.into_iter().filter_map(known).collect())
    }

    /// Statements that bring the ledger in line with a record; they run with the change of its row.
    pub(super) fn account(&self, record: &Record) -> ApiResult<Vec<D1PreparedStatement>> {
        let at_rest = matches!(record.phase, Phase::Asleep | Phase::Failed { .. } | Phase::Deleted { .. });
        let MachineMoney { quote, placement, started_at, ended_at, last_ended_at, .. } = &record.money;
        let (workspace, generation) = (text(record.id.as_str()), number(record.generation.0.into()));
        let mut statements = Vec::new();
        if record.generation.0 > 1 {
            // Machines before this one are gone; what is not known of their end is taken to be the next one's beginning.
            let end = "UPDATE machines SET ended_at = ?3 WHERE workspace = ?1 AND generation < ?2 \
                AND started_at IS NOT NULL AND ended_at IS NULL";
            let ended = millis(last_ended_at.unwrap_or(record.woke_at));
            statements.push(self.statement(end, &[workspace.clone(), generation.clone(), ended])?);
            let forget =
                "DELETE FROM machines WHERE workspace = ?1 AND generation < ?2 AND started_at IS NULL";
            statements.push(self.statement(forget, &[workspace.clone(), generation.clone()])?);
        }
        if at_rest && started_at.is_none() {
            let forget =
                "DELETE FROM machines WHERE workspace = ?1 AND generation = ?2 AND started_at IS NULL";
            statements.push(self.statement(forget, &[workspace, generation])?);
            return Ok(statements);
        }
        let worst = Worst {
            amount: reserved(record.worst_case.as_ref()),
            hours: 0,
            currency: record.worst_case.as_ref().map(|cost| cost.currency.clone()).unwrap_or_default(),
        };
        let row = Reservation {
            workspace: &record.id,
            generation: record.generation,
            tenant: &record.tenant,
            worst,
            quote: quote.as_ref(),
            placement: placement.as_ref().unwrap_or(&record.spec.placement),
            now: record.woke_at,
        };
        let ended = ended_at.unwrap_or(record.since);
        let mut values = row.values();
        values.push(started_at.map_or(JsValue::NULL, millis));
        values.push(if at_rest { millis(ended) } else { JsValue::NULL });
        // Updates may arrive out of order: a row that has ended stays so, and one that has begun does not go back.
        let sql = format!(
            "INSERT INTO machines ({COLUMNS}, started_at, ended_at) \
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14) \
             ON CONFLICT (workspace, generation) DO UPDATE SET reserved_micros = excluded.reserved_micros, \
             currency = excluded.currency, size = excluded.size, location = excluded.location, \
             hourly_micros = excluded.hourly_micros, hourly_net_micros = excluded.hourly_net_micros, \
             monthly_micros = excluded.monthly_micros, monthly_net_micros = excluded.monthly_net_micros, \
             started_at = excluded.started_at, ended_at = excluded.ended_at \
             WHERE machines.ended_at IS NULL AND (excluded.started_at IS NOT NULL OR machines.started_at IS NULL) \
             AND (machines.reserved_micros <> excluded.reserved_micros \
               OR machines.started_at IS NOT excluded.started_at OR excluded.ended_at IS NOT NULL \
               OR machines.hourly_micros <> excluded.hourly_micros)"
        );
        statements.push(self.statement(&sql, &values)?);
        Ok(statements)
    }
}

fn billed(row: BilledRow) -> Option<Billed> {
    let tariff = |hourly: f64, monthly: Option<f64>| Tariff {
        hourly: Amount(count(hourly)),
        monthly: monthly.map(|monthly| Amount(count(monthly))),
    };
    Some(Billed {
        workspace: row.workspace.parse().ok()?,
        currency: row.currency,
        machine: Machine {
            started_at: moment(row.started_at),
            ended_at: row.ended_at.map(moment),
            gross: tariff(row.hourly_micros, row.monthly_micros),
            net: tariff(row.hourly_net_micros, row.monthly_net_micros),
        },
    })
}
