//! The last good policy, kept in the bucket: what machines live by while `POLICY` cannot be read.
//!
//! Production's defaults are not the installation's promises: a machine that was told "six hours" must not end by another
//! rule because of a typing error. Where none was kept, or the bucket does not answer, the defaults hold all the same:
//! deadlines that are not quite the right ones are better than none.

use crate::config::Config;
use crate::error::{ApiError, ApiResult};
use crate::log::{self, Level};
use crate::r2::bucket::Storage;
use crate::subrequests::Calls;
use ebbtide_control::policy::Policy;
use worker::Env;

/// Where it is kept. Pinned: a later version must find it.
const KEPT: &str = "config/policy";

/// Reads what was kept, where this isolate's configuration lacks a policy; to be awaited at every door of the Worker.
pub async fn prepare(env: &Env, calls: &Calls) {
    if !Config::from_env(env).is_ok_and(|config| config.awaits_policy()) {
        return;
    }
    match kept(env, calls).await {
        Ok(policy) => {
            log::write(
                Level::Error,
                "POLICY is unusable: the last good one holds, and no machine is started",
                &[],
            );
            Config::stand_in(env, policy.unwrap_or_else(Policy::unread));
        }
        Err(error) => {
            error.log(Level::Error, "POLICY is unusable, and the last good one cannot be read", &[]);
        }
    }
}

/// The kept policy; one that this version cannot read counts as none.
async fn kept(env: &Env, calls: &Calls) -> ApiResult<Option<Policy>> {
    let text = Storage::open(env, calls.clone())?.text(KEPT).await?;
    Ok(text.and_then(|text| Policy::parse(&text).ok()))
}

/// Keeps the policy for the day on which it cannot be read; costs a call, and one more where it has changed.
///
/// # Errors
/// The bucket does not answer.
pub async fn keep(config: &Config, storage: &Storage) -> ApiResult<()> {
    if config.lacks_policy() {
        return Ok(());
    }
    let text = serde_json::to_string(&config.policy).map_err(ApiError::internal)?;
    if storage.text(KEPT).await?.as_deref() == Some(text.as_str()) {
        return Ok(());
    }
    storage.replace(KEPT, text).await
}
