//! Reservations: one row for each machine, in D1, from the moment at which it is asked for.
//!
//! A row begins as a reservation of the worst case, made by whoever asks for the machine, in one statement that looks at
//! the caps and writes or does not: however many ask at once, none too many gets through. What becomes of it is in
//! `ledger`. `ebbtide_control::money` says the same in Rust; the two are compared by the system tests.

use super::{AuditNote, Index, Intent, millis, number, optional_text, text};
use crate::error::{ApiError, ApiResult};
use crate::subrequests::Binding;
use ebbtide_api::workspace::State;
use ebbtide_api::{Generation, TenantId, Timestamp, WorkspaceId};
use ebbtide_control::money::caps::{CapUsage, Caps, Period, Spending, Spent};
use ebbtide_control::money::{Amount, PriceQuote, Worst};
use ebbtide_control::record::Placement;
use serde::Deserialize;
use wasm_bindgen::JsValue;
use worker::D1PreparedStatement;

/// How a tenant stands at ?1, with the day since ?2 and the month since ?3; machines of workspace ?5 are not counted.
/// Numbers arrive as doubles, whose division is not that of hours. An hour that began before the period is not its own.
const USAGE: &str = "WITH clock AS MATERIALIZED ( \
      SELECT CAST(?1 AS INTEGER) AS now, CAST(?2 AS INTEGER) AS day, CAST(?3 AS INTEGER) AS month), \
    bills AS ( \
      SELECT workspace, ended_at, reserved_micros, hourly_micros, monthly_micros, currency, \
        CASE WHEN started_at IS NULL THEN 0 \
          ELSE MAX(1, (MAX(0, COALESCE(ended_at, now) - started_at) + 3599999) / 3600000) END AS hours, \
        (MAX(0, day - COALESCE(started_at, now)) + 3599999) / 3600000 AS before_day, \
        (MAX(0, month - COALESCE(started_at, now)) + 3599999) / 3600000 AS before_month \
      FROM machines, clock WHERE tenant = ?4 AND (ended_at IS NULL OR ended_at > month)), \
    usage AS ( \
      SELECT COUNT(DISTINCT CASE WHEN ended_at IS NULL AND workspace <> ?5 THEN workspace END) AS machines, \
        COALESCE(SUM(MAX(0, hours - before_day) * hourly_micros), 0) AS day_spent, \
        COALESCE(SUM(MIN(COALESCE(monthly_micros, 9007199254740991), \
          MAX(0, hours - before_month) * hourly_micros)), 0) AS month_spent, \
        COALESCE(SUM(CASE WHEN ended_at IS NULL \
          THEN MAX(0, reserved_micros - hours * hourly_micros) ELSE 0 END), 0) AS reserved, \
        MAX(currency) AS currency, \
        (SELECT COUNT(*) FROM workspaces WHERE tenant = ?4 AND state <> 'deleted' AND id <> ?5) AS workspaces \
      FROM bills)";

/// Columns of a reservation, in order of [`Reservation::values`].
pub(super) const COLUMNS: &str = "workspace, generation, tenant, reserved_at, reserved_micros, currency, size, location, \
    hourly_micros, hourly_net_micros, monthly_micros, monthly_net_micros";

/// A machine that is asked for.
pub struct Reservation<'a> {
    /// Whose.
    pub workspace: &'a WorkspaceId,
    /// Its number.
    pub generation: Generation,
    /// Its owner.
    pub tenant: &'a TenantId,
    /// What it costs at worst.
    pub worst: Worst,
    /// Rates, the first one of the place that is tried first.
    pub quote: Option<&'a PriceQuote>,
    /// Where it goes first.
    pub placement: &'a Placement,
    /// When it is asked for.
    pub now: Timestamp,
}

/// What became of a reservation.
pub struct Reserved {
    /// Whether it was made now.
    pub made: bool,
    /// Whether it stands, made now or before.
    pub stands: bool,
    /// How the tenant stands after it.
    pub usage: CapUsage,
}

#[derive(Deserialize)]
struct UsageRow {
    machines: f64,
    workspaces: f64,
    day_spent: f64,
    month_spent: f64,
    reserved: f64,
    currency: Option<String>,
    stands: f64,
}

impl Reservation<'_> {
    /// ?1 to ?5 of [`USAGE`].
    fn usage(&self) -> Vec<JsValue> {
        usage_values(self.now, self.tenant, self.workspace.as_str())
    }

    /// In order of [`COLUMNS`].
    pub(super) fn values(&self) -> Vec<JsValue> {
        let rate = self.quote.and_then(|quote| quote.rate(self.placement).or(quote.rates.first()));
        let micros = |amount: Option<Amount>| amount.map_or(JsValue::NULL, |amount| number(amount.0));
        let known = |amount: Option<Amount>| number(amount.unwrap_or_default().0);
        vec![
            text(self.workspace.as_str()),
            number(self.generation.0.into()),
            text(self.tenant.as_str()),
            millis(self.now),
            number(self.worst.amount.0),
            text(&self.worst.currency),
            text(&self.placement.size),
            text(&self.placement.location),
            known(rate.map(|rate| rate.hourly)),
            known(rate.map(|rate| rate.hourly_net)),
            micros(rate.and_then(|rate| rate.monthly)),
            micros(rate.and_then(|rate| rate.monthly_net)),
        ]
    }
}

fn usage_values(now: Timestamp, tenant: &TenantId, without: &str) -> Vec<JsValue> {
    vec![
        millis(now),
        millis(Period::Day.start(now)),
        millis(Period::Month.start(now)),
        text(tenant.as_str()),
        text(without),
    ]
}

fn cap(most: Option<u64>) -> JsValue {
    most.map_or(JsValue::NULL, number)
}

impl Index {
    /// Reserves the machine of a new workspace and records the intent to create it, both or neither. Repeatable.
    ///
    /// # Errors
    /// The index does not answer; both may be recorded or neither.
    pub async fn reserve_new(
        &self,
        reservation: &Reservation<'_>,
        caps: &Caps,
        intent: &Intent<'_>,
        note: &AuditNote<'_>,
    ) -> ApiResult<Reserved> {
        let where_reserved = "WHERE EXISTS (SELECT 1 FROM machines WHERE workspace = ?1 AND generation = 1)";
        let row = "INSERT INTO workspaces (id, tenant, name, state, because, repo, size, location, created_at, since, \
            next_deadline, generation) SELECT ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?9, ?10, 0";
        let values = [
            text(intent.id.as_str()),
            text(intent.tenant.as_str()),
            text(intent.name),
            text(State::Requested.as_str()),
            text("the owner asked for it"),
            optional_text(intent.repo),
            text(intent.size),
            text(intent.location),
            millis(intent.now),
            millis(intent.next_deadline),
        ];
        let row = self.statement(&format!("{row} {where_reserved} ON CONFLICT (id) DO NOTHING"), &values)?;
        let line =
            "INSERT INTO audit (at, tenant, actor, action, subject, address) SELECT ?2, ?3, ?4, ?5, ?1, ?6";
        let values = [
            text(intent.id.as_str()),
            millis(note.at),
            text(note.tenant.as_str()),
            text(note.actor),
            text(note.action),
            text(note.from),
        ];
        let line = self.statement(&format!("{line} {where_reserved}"), &values)?;
        self.reserve(reservation, caps, vec![row, line]).await
    }

    /// Reserves another machine of a workspace. Repeatable: a reservation that stands is left as it is and counts as
    /// asked for now, so that the sweep does not give back what its machine is about to begin with.
    ///
    /// # Errors
    /// The index does not answer; it may be recorded or not.
    pub async fn reserve_next(&self, reservation: &Reservation<'_>, caps: &Caps) -> ApiResult<Reserved> {
        let caps = Caps { workspaces: None, ..*caps };
        let renew = "UPDATE machines SET reserved_at = ?3 WHERE workspace = ?1 AND generation = ?2 \
            AND started_at IS NULL AND ended_at IS NULL AND reserved_at < ?3";
        let values = [
            text(reservation.workspace.as_str()),
            number(reservation.generation.0.into()),
            millis(reservation.now),
        ];
        let renew = self.statement(renew, &values)?;
        self.reserve(reservation, &caps, vec![renew]).await
    }

    async fn reserve(
        &self,
        reservation: &Reservation<'_>,
        caps: &Caps,
        with_it: Vec<D1PreparedStatement>,
    ) -> ApiResult<Reserved> {
        // ?6 to ?17 are the columns, ?18 to ?21 the caps.
        let columns: Vec<String> = (6..18).map(|n| format!("?{n}")).collect();
        let sql = format!(
            "{USAGE} INSERT INTO machines ({COLUMNS}) SELECT {} FROM usage \
             WHERE (?18 IS NULL OR workspaces < ?18) AND (?19 IS NULL OR machines < ?19) \
             AND (?20 IS NULL OR ?10 = 0 OR day_spent + reserved + ?10 <= ?20) \
             AND (?21 IS NULL OR ?10 = 0 OR month_spent + reserved + ?10 <= ?21) \
             ON CONFLICT (workspace, generation) DO NOTHING",
            columns.join(", ")
        );
        let mut values = reservation.usage();
        values.extend(reservation.values());
        let micros = |most: Option<Amount>| cap(most.map(|most| most.0));
        values.extend([cap(caps.workspaces), cap(caps.machines), micros(caps.day), micros(caps.month)]);
        let mut statements = vec![self.statement(&sql, &values)?];
        statements.extend(with_it);
        let generation = number(reservation.generation.0.into());
        self.changed(statements, reservation.usage(), generation).await
    }

    /// Raises what a machine reserves, where the caps allow it; lowers it in any case. `stands` says whether that much is
    /// reserved now, or nothing is on record that could be raised.
    ///
    /// # Errors
    /// The index does not answer; it may be raised or not.
    pub async fn raise(&self, reservation: &Reservation<'_>, caps: &Caps) -> ApiResult<Reserved> {
        let sql = format!(
            "{USAGE} UPDATE machines SET reserved_micros = ?7 WHERE workspace = ?5 AND generation = ?6 \
             AND ended_at IS NULL AND (?7 <= reserved_micros OR EXISTS (SELECT 1 FROM usage WHERE \
             (?8 IS NULL OR day_spent + reserved + ?7 - machines.reserved_micros <= ?8) \
             AND (?9 IS NULL OR month_spent + reserved + ?7 - machines.reserved_micros <= ?9)))"
        );
        let generation = || number(reservation.generation.0.into());
        let mut values = reservation.usage();
        values.extend([generation(), number(reservation.worst.amount.0)]);
        values.extend([caps.day, caps.month].map(|most| cap(most.map(|most| most.0))));
        let mut found =
            self.changed(vec![self.statement(&sql, &values)?], reservation.usage(), generation()).await?;
        found.stands = found.made || !found.stands;
        Ok(found)
    }

    /// Runs statements and reads how the tenant stands after them.
    async fn changed(
        &self,
        mut statements: Vec<D1PreparedStatement>,
        mut values: Vec<JsValue>,
        generation: JsValue,
    ) -> ApiResult<Reserved> {
        let sql = format!(
            "{USAGE} SELECT *, EXISTS (SELECT 1 FROM machines WHERE workspace = ?5 AND generation = ?6) \
             AS stands FROM usage"
        );
        values.push(generation);
        statements.push(self.statement(&sql, &values)?);
        self.calls.count(Binding::D1);
        let results = self.db.batch(statements).await.map_err(ApiError::index)?;
        let made = results.first().map(super::changes).transpose()?.unwrap_or(0) > 0;
        let rows: Vec<UsageRow> = match results.last() {
            Some(result) => result.results().map_err(ApiError::index)?,
            None => Vec::new(),
        };
        let row = rows.into_iter().next().ok_or_else(|| ApiError::internal("the caps were not read"))?;
        Ok(Reserved { made, stands: row.stands > 0.0, usage: usage(row) })
    }

    /// Gives back what was reserved for a machine that was never started.
    ///
    /// # Errors
    /// The index does not answer.
    pub async fn release_reservation(&self, id: &WorkspaceId, generation: Generation) -> ApiResult<()> {
        let sql = "DELETE FROM machines WHERE workspace = ?1 AND generation = ?2 AND started_at IS NULL";
        self.run(sql, &[text(id.as_str()), number(generation.0.into())]).await.map(|_| ())
    }

    /// How a tenant stands to its caps.
    ///
    /// # Errors
    /// The index does not answer.
    pub async fn usage(&self, tenant: &TenantId, now: Timestamp) -> ApiResult<CapUsage> {
        let sql = format!("{USAGE} SELECT *, 0 AS stands FROM usage");
        let row: Option<UsageRow> = self.row(&sql, &usage_values(now, tenant, "")).await?;
        Ok(row.map(usage).unwrap_or_default())
    }

    /// What a tenant has spent, as a machine's alarm asks.
    ///
    /// # Errors
    /// The index does not answer.
    pub async fn spending(&self, tenant: &TenantId, now: Timestamp) -> ApiResult<Spending> {
        let CapUsage { day, month, currency, .. } = self.usage(tenant, now).await?;
        Ok(Spending { day: day.spent, month: month.spent, currency })
    }
}

#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // sums of our own; `as` saturates
pub(super) fn count(value: f64) -> u64 {
    value as u64
}

fn usage(row: UsageRow) -> CapUsage {
    let reserved = Amount(count(row.reserved));
    CapUsage {
        workspaces: count(row.workspaces),
        machines: count(row.machines),
        day: Spent { spent: Amount(count(row.day_spent)), reserved },
        month: Spent { spent: Amount(count(row.month_spent)), reserved },
        currency: row.currency.unwrap_or_default(),
    }
}
