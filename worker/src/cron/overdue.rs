//! Workspaces whose deadline passed without a word, intents that no object confirmed, and keys of requests long
//! answered. Nothing here touches a provider: it goes on while the switch is off.

use super::turn::{Ended, Subject, Sweeper, Trouble};
use crate::d1::Overdue;
use crate::durable_objects::rpc::Call;
use crate::r2::bucket::home_path;
use crate::workspaces::trash;
use ebbtide_api::{Duration, ErrorCode};
use ebbtide_control::record::{minus, plus};
use ebbtide_control::sweep::state::PartState;
use ebbtide_control::sweep::{Judged, Verdict};
use serde_json::Value;

/// And again after so long: its row may lag behind an object that is well.
const AGAIN: Duration = Duration::from_mins(30);
/// Workspaces nudged in a run.
const NUDGES_MAX: u64 = 10;
/// How long answers of requests with an Idempotency-Key are kept.
const KEYS_KEPT: Duration = Duration::from_hours(48);

/// Nudges workspaces that overslept, longest ago first.
///
/// # Errors
/// The index does not answer.
pub async fn turn(sweeper: &mut Sweeper<'_>, state: &mut PartState) -> Result<Ended, Trouble> {
    let index = sweeper.index()?;
    let late = sweeper.app.config.policy.sweep_overdue;
    let overdue = index.overdue(minus(sweeper.now, late), NUDGES_MAX).await?;
    let count = u64::try_from(overdue.len()).unwrap_or(u64::MAX);
    state.seen = state.seen.saturating_add(count);
    for Overdue { id, tenant, unconfirmed, lost } in overdue {
        if !sweeper.has(3) {
            return Ok(Ended::Turn);
        }
        let because = format!("its deadline passed more than {late} ago");
        let judged = Judged { verdict: Verdict::Nudge, because };
        let subject = Subject {
            what: format!("workspace {id}"),
            tenant: Some(tenant.clone()),
            workspace: Some(id.clone()),
            generation: None,
        };
        let done = match sweeper.app.workspace(&tenant, &id).ask::<Value>(Call::Nudge).await {
            Ok(_) => "its workspace was told".to_owned(),
            Err(error) if error.code() == ErrorCode::RecordLost && lost => {
                // Its owner deleted it, and the time to think again is over: with the last object goes the row.
                let home = home_path(&tenant, &id);
                if sweeper.app.r2()?.list_some(&home, None, 1).await?.objects().is_empty() {
                    index.remove(&id).await?;
                    sweeper.acted(
                        "sweep.row.end",
                        &subject,
                        "its owner deleted it, and nothing is left of it",
                    );
                    "its row was removed".to_owned()
                } else {
                    "what is stored of it goes first".to_owned()
                }
            }
            Err(error) if error.code() == ErrorCode::RecordLost && unconfirmed => {
                // The intent was recorded and the object never called: nothing else exists of it.
                index.remove(&id).await?;
                let because = "an intent that no workspace confirmed";
                sweeper.acted("sweep.intent.end", &subject, because);
                "its row was removed".to_owned()
            }
            Err(error) => format!("its workspace could not be told: {}", error.message()),
        };
        index.postpone(&id, plus(sweeper.now, AGAIN)).await?;
        sweeper.found(state, &subject, &judged, done);
    }
    let is_all = count < NUDGES_MAX;
    Ok(if is_all { Ended::Round } else { Ended::Turn })
}

/// Forgets the answers of requests that nobody repeats any more.
///
/// # Errors
/// The index does not answer.
pub async fn keys(sweeper: &mut Sweeper<'_>, state: &mut PartState) -> Result<Ended, Trouble> {
    let forgotten = sweeper.index()?.forget_keys(minus(sweeper.now, KEYS_KEPT)).await?;
    state.ended = state.ended.saturating_add(forgotten);
    Ok(Ended::Round)
}

/// Deletes for good what was deleted from repositories longer ago than that can be undone. It was ended by its owner, so
/// it does not count against the limit.
///
/// # Errors
/// Storage does not answer.
pub async fn trash(sweeper: &mut Sweeper<'_>, state: &mut PartState) -> Result<Ended, Trouble> {
    if sweeper.may_end().is_err() {
        return Ok(Ended::Turn);
    }
    let count = trash::purge(sweeper.app).await?;
    state.ended = state.ended.saturating_add(u64::try_from(count).unwrap_or(u64::MAX));
    Ok(Ended::Round)
}
