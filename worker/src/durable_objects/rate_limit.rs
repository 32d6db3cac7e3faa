//! How everything that calls a provider asks the `ProviderGate` object first, and tells it afterwards.
//!
//! One ask an effect; what was sent and answered goes along with the isolate's next ask, or at once where calls are few.
//! Where the gate does not answer, what ends a machine goes ahead all the same: the provider itself still counts, and
//! a machine that is not deleted costs more than a refused call. Everything else waits a little. Nothing here keeps a
//! timer or an alarm: an idle account asks nothing.

use crate::clock;
use crate::error::{ApiError, ApiResult};
use crate::log::Level;
use crate::subrequests::{Binding, Calls};
use ebbtide_api::{Duration, ErrorCode, Timestamp};
use ebbtide_control::http::HttpResponse;
use ebbtide_control::lifecycle::EffectOutcome;
use ebbtide_control::rate_limit::{CallCost, Levels, Provider, Report, Urgency, Verdict};
use ebbtide_control::record::plus;
use futures_util::future::{Either, select};
use serde::{Deserialize, Serialize};
use std::cell::RefCell;
use std::pin::pin;
use std::rc::Rc;
use worker::{Delay, Env, Method, Request, RequestInit};

/// Name of the binding in `wrangler.toml`.
const BINDING: &str = "PROVIDER_GATE";
/// The gate of the one provider project that an installation has.
const PROJECT: &str = "project";
/// How long the gate may take: it holds a few numbers in memory.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(3);
/// How long whatever does not end a machine waits for a gate that does not answer.
const AGAIN: Duration = Duration::from_secs(5);

/// What is sent to the gate.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Ask {
    pub(super) need: Option<CallCost>,
    pub(super) report: Report,
}

/// What it answers.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Reply {
    pub(super) verdict: Option<Verdict>,
    pub(super) levels: Levels,
}

thread_local! {
    /// What this isolate has sent and not told the gate yet.
    static UNTOLD: RefCell<Report> = RefCell::default();
}

/// Leave to call the providers. What was sent with it is told to the gate once it is dropped.
#[derive(Debug, Default)]
pub struct Permit {
    report: Rc<RefCell<Report>>,
}

/// Counts calls and reads the answers' headers.
#[derive(Debug, Clone)]
pub struct Meter {
    /// Of a [`Permit`]; else it goes straight to what is untold.
    report: Option<Rc<RefCell<Report>>>,
    provider: Provider,
}

/// Why the providers cannot be called now.
#[derive(Debug, Clone)]
pub struct RetryAfter {
    /// Worth asking again then.
    pub until: Timestamp,
    /// What is waited for, for a person.
    pub waiting_for: String,
}

impl Permit {
    /// Counts what goes to a provider.
    pub fn meter(&self, provider: Provider) -> Meter {
        Meter { report: Some(Rc::clone(&self.report)), provider }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let report = self.report.take();
        UNTOLD.with_borrow_mut(|untold| untold.merge(report));
    }
}

impl Meter {
    /// Counts calls that a person waits for and that nobody asked the gate about.
    pub fn unasked(provider: Provider) -> Self {
        Self { report: None, provider }
    }

    /// A call goes out.
    pub fn sent(&self) {
        self.note(|report| report.send(self.provider));
    }

    /// An answer came.
    pub fn answered(&self, response: &HttpResponse) {
        self.note(|report| report.answer(self.provider, response, clock::now()));
    }

    fn note(&self, change: impl FnOnce(&mut Report)) {
        match &self.report {
            Some(report) => change(&mut report.borrow_mut()),
            None => UNTOLD.with_borrow_mut(change),
        }
    }
}

impl From<RetryAfter> for EffectOutcome {
    fn from(wait: RetryAfter) -> Self {
        Self::Later { waiting_for: wait.waiting_for, maybe_landed: false, not_before: Some(wait.until) }
    }
}

impl From<RetryAfter> for ApiError {
    fn from(wait: RetryAfter) -> Self {
        let message = format!("waiting for {}", wait.waiting_for);
        Self::new(ErrorCode::ProviderUnavailable, message)
    }
}

/// Asks for calls.
///
/// # Errors
/// When to ask again.
pub async fn ask(env: &Env, calls: &Calls, need: CallCost) -> Result<Permit, RetryAfter> {
    let pass = Permit::default();
    match converse(env, calls, Some(need)).await {
        Ok(Reply { verdict: Some(Verdict::Wait { until, waiting_for }), .. }) => {
            Err(RetryAfter { until, waiting_for })
        }
        Ok(_) => {
            pass.report.borrow_mut().grant(need);
            Ok(pass)
        }
        Err(error) => {
            error.log(Level::Warn, "the provider gate does not answer", &[]);
            if need.urgency == Urgency::End {
                return Ok(pass);
            }
            Err(RetryAfter {
                until: plus(clock::now(), AGAIN),
                waiting_for: "our own count of the provider's rate limit, which does not answer".to_owned(),
            })
        }
    }
}

/// Tells the gate what has not been told, where others should hear of it before the next ask.
pub async fn tell_urgent(env: &Env, calls: &Calls) {
    if UNTOLD.with_borrow(Report::is_urgent) {
        tell(env, calls).await;
    }
}

/// Tells the gate what has not been told.
pub async fn tell(env: &Env, calls: &Calls) {
    if UNTOLD.with_borrow(Report::is_empty) {
        return;
    }
    if let Err(error) = converse(env, calls, None).await {
        error.log(Level::Warn, "the provider gate was not told", &[]);
    }
}

/// What is left of the providers' limits.
///
/// # Errors
/// The gate does not answer.
pub async fn levels(env: &Env, calls: &Calls) -> ApiResult<Levels> {
    converse(env, calls, None).await.map(|reply| reply.levels)
}

/// Tells and asks in one call. What could not be told stays to be told.
async fn converse(env: &Env, calls: &Calls, need: Option<CallCost>) -> ApiResult<Reply> {
    let ask = Ask { need, report: UNTOLD.take() };
    calls.count(Binding::Object);
    let reply = match select(pin!(send(env, &ask)), pin!(Delay::from(PATIENCE))).await {
        Either::Left((reply, _)) => reply,
        Either::Right(_) => Err(ApiError::new(ErrorCode::Internal, "no answer in time")),
    };
    if reply.is_err() {
        UNTOLD.with_borrow_mut(|untold| untold.merge(ask.report));
    }
    reply
}

async fn send(env: &Env, ask: &Ask) -> ApiResult<Reply> {
    let body = serde_json::to_string(ask).map_err(ApiError::internal)?;
    let mut init = RequestInit::new();
    init.with_method(Method::Post).with_body(Some(body.into()));
    let request = Request::new_with_init("https://gate/ask", &init).map_err(ApiError::internal)?;
    let stub = env.durable_object(BINDING).and_then(|gates| gates.get_by_name(PROJECT));
    let mut response =
        stub.map_err(ApiError::internal)?.fetch_with_request(request).await.map_err(ApiError::internal)?;
    response.json().await.map_err(ApiError::internal)
}
