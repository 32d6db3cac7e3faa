//! What the cron looks after: workspaces whose alarm was missed, and keys of requests long answered.
//!
//! The parts are isolated: one that fails stops no other. A finding is a candidate only: the object is asked, and
//! decides for itself. Calls stay below 40 an invocation.

use crate::error::ApiError;
use crate::index::Overdue;
use crate::invocation::Invocation;
use crate::log::{self, Level};
use crate::object::Call;
use ebbtide_api::{Duration, ErrorCode};
use ebbtide_control::record::{minus, plus};
use serde_json::Value;

/// A workspace is poked when its deadline is so far past.
const LATE: Duration = Duration::from_mins(10);
/// And again after so long: its row may lag behind an object that is well.
const AGAIN: Duration = Duration::from_mins(30);
/// Workspaces poked in a run.
const POKES_MAX: u64 = 15;
/// How long answers of requests with an Idempotency-Key are kept.
const KEYS_KEPT: Duration = Duration::from_hours(48);

/// Runs all parts.
pub async fn run(invocation: &Invocation) {
    if let Err(error) = poke_overdue(invocation).await {
        report(invocation, "overdue workspaces", &error);
    }
    if let Err(error) = forget_keys(invocation).await {
        report(invocation, "idempotency keys", &error);
    }
}

async fn poke_overdue(invocation: &Invocation) -> Result<(), ApiError> {
    let now = invocation.now();
    let index = invocation.index()?;
    for overdue in index.overdue(minus(now, LATE), POKES_MAX).await? {
        let Overdue { id, tenant, unconfirmed } = overdue;
        let fields = [("workspace.id", id.as_str())];
        match invocation.ask::<Value>(&tenant, &id, Call::Poke).await {
            Ok(_) => log::write(Level::Info, "a workspace past its deadline was poked", &fields),
            Err(error) if error.code() == ErrorCode::NotFound && unconfirmed => {
                // The intent was recorded and the object never called: nothing else exists of it.
                index.remove(&id).await?;
                log::write(Level::Warn, "an intent without a workspace was removed", &fields);
                continue;
            }
            Err(error) => report(invocation, &format!("workspace {id}"), &error),
        }
        index.postpone(&id, plus(now, AGAIN)).await?;
    }
    Ok(())
}

async fn forget_keys(invocation: &Invocation) -> Result<(), ApiError> {
    let before = minus(invocation.now(), KEYS_KEPT);
    invocation.index()?.forget_keys(before).await.map(|_| ())
}

fn report(invocation: &Invocation, part: &str, error: &ApiError) {
    let fields = [
        ("request.id", invocation.request_id.as_str()),
        ("part", part),
        ("error", error.message()),
        ("cause", error.logged_cause().unwrap_or_default()),
    ];
    log::write(Level::Error, "a part of the sweep failed", &fields);
}
