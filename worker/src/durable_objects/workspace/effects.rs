//! The outside as `ebbtide_control::driver` sees it, for one invocation: performs effects where they happen (`backends`), and
//! counts what they call.

use super::backends::Backing;
use super::{log, now};
use crate::subrequests::Calls;
use ebbtide_api::Duration;
use ebbtide_control::driver::Outside;
use ebbtide_control::lifecycle::{Effect, EffectOutcome};
use ebbtide_control::record::Record;
use worker::{Delay, Env, Error, Result};

/// What one invocation may perform.
pub(super) struct Effects {
    env: Env,
    calls: Calls,
}

impl Effects {
    /// Effects of a fresh invocation, which has called nothing yet.
    pub(super) fn new(env: &Env) -> Self {
        Self { env: env.clone(), calls: Calls::default() }
    }
}

impl Outside for Effects {
    type Error = Error;

    async fn perform(&self, effect: Effect, record: &Record) -> Result<EffectOutcome> {
        Ok(match Backing::open(&self.env, now(), self.calls.clone()) {
            Ok(backing) => backing.perform(effect, record).await,
            Err(error) => {
                let waiting_for = error.message().to_owned();
                log::failed(record, effect, &error.into());
                EffectOutcome::Later { waiting_for, maybe_landed: false, not_before: None }
            }
        })
    }

    fn calls(&self) -> u32 {
        self.calls.total()
    }

    async fn pass(&self, time: Duration) {
        Delay::from(std::time::Duration::from_secs(time.as_secs())).await;
    }

    async fn tell(&self) {
        crate::durable_objects::rate_limit::tell_urgent(&self.env, &self.calls).await;
    }

    fn end(&self, record: &Record, left: Option<Effect>) {
        log::called(record, &self.calls, left);
    }
}
