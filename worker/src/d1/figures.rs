//! Figures about everything in the index, for `/metrics` and `/health`: one call each, whatever the number of rows.
//!
//! Reads only, but for the cron's sign of life.

use super::{Index, millis, moment, text};
use crate::error::ApiResult;
use ebbtide_api::workspace::State;
use ebbtide_api::{TenantId, Timestamp};
use serde::Deserialize;

/// What is known of the workspaces in one state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StateFigures {
    /// The state.
    pub state: State,
    /// How many are in it.
    pub workspaces: u64,
    /// Of those, how many have a rescue image.
    pub rescue_images: u64,
    /// The earliest deadline.
    pub deadline: Option<Timestamp>,
    /// The oldest of their last verified backups; where one has none, when its state began.
    pub backed_up_at: Option<Timestamp>,
}

#[derive(Deserialize)]
struct Row {
    state: State,
    workspaces: f64,
    rescue_images: f64,
    deadline: Option<f64>,
    backed_up_at: Option<f64>,
}

#[derive(Deserialize)]
struct Pulse {
    at: f64,
}

/// What a look at the cron finds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CronTraces {
    /// When it last ran; `None` where it never did.
    pub at: Option<Timestamp>,
    /// Whether the provider's token saw another project then.
    pub sees_other_project: bool,
}

#[derive(Deserialize)]
struct Traces {
    at: Option<f64>,
    other_project: Option<f64>,
}

impl Index {
    /// A tenant's workspaces by state; states that none is in are left out.
    ///
    /// # Errors
    /// The index does not answer.
    pub async fn figures(&self, tenant: &TenantId) -> ApiResult<Vec<StateFigures>> {
        let sql = "SELECT state, COUNT(*) AS workspaces, COUNT(rescue_image) AS rescue_images, \
            MIN(next_deadline) AS deadline, MIN(COALESCE(backup_at, since)) AS backed_up_at \
            FROM workspaces WHERE tenant = ?1 GROUP BY state";
        let rows: Vec<Row> = self.rows(sql, &[text(tenant.as_str())]).await?;
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // counts
        let figures = |row: Row| StateFigures {
            state: row.state,
            workspaces: row.workspaces as u64,
            rescue_images: row.rescue_images as u64,
            deadline: row.deadline.map(moment),
            backed_up_at: row.backed_up_at.map(moment),
        };
        Ok(rows.into_iter().map(figures).collect())
    }

    /// Notes that the cron has run.
    ///
    /// # Errors
    /// The index does not answer.
    pub async fn note_cron(&self, now: Timestamp) -> ApiResult<()> {
        let sql = "INSERT INTO pulse (name, at) VALUES ('cron', ?1) ON CONFLICT (name) DO UPDATE SET at = excluded.at";
        self.run(sql, &[millis(now)]).await.map(|_| ())
    }

    /// What the cron left behind.
    ///
    /// # Errors
    /// The index does not answer.
    pub async fn traces(&self) -> ApiResult<CronTraces> {
        let sql = "SELECT (SELECT at FROM pulse WHERE name = 'cron') AS at, \
            (SELECT json_extract(state, '$.other_project') FROM sweep WHERE id = 1 AND json_valid(state)) AS other_project";
        let row: Option<Traces> = self.row(sql, &[]).await?;
        let at = row.as_ref().and_then(|row| row.at).map(moment);
        let sees_other_project = row.and_then(|row| row.other_project).is_some_and(|seen| seen != 0.0);
        Ok(CronTraces { at, sees_other_project })
    }

    /// When the cron last ran; `None` where it never did.
    ///
    /// # Errors
    /// The index does not answer.
    pub async fn cron_at(&self) -> ApiResult<Option<Timestamp>> {
        let row: Option<Pulse> = self.row("SELECT at FROM pulse WHERE name = 'cron'", &[]).await?;
        Ok(row.map(|pulse| moment(pulse.at)))
    }
}
