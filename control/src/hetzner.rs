//! A thin client for the Hetzner Cloud API: one method per call, one file per group of calls.
//!
//! Tolerant of what it does not know (new enum values, missing and additional fields) and strict where a wrong
//! reading would cost money or work: ids must be there, listings must be whole, "gone" needs the provider's own
//! `not_found`. Nothing retries in here, nothing keeps state, no price or size is written down.
//! Where to read next: [`Failure`] (what every call can answer), then the file of the call.

mod actions;
mod catalog;
mod create_server;
mod failure;
mod firewalls;
mod images;
mod metrics;
mod page;
mod power;
mod primary_ips;
mod servers;
mod ssh_keys;
mod wire;

pub use actions::{Action, ActionError, ActionStatus};
pub use catalog::{
    Architecture, Location, LocationPrice, Pricing, PrimaryIpPrice, ServerType, ServerTypeLocation,
    ServerTypePricing,
};
pub use create_server::{CapacityKind, CreateServer, ImageRef, PublicNet, ServerSpec};
pub use failure::{Failure, FieldError, VendorError};
pub use firewalls::{CreateFirewall, Firewall, FirewallSpec};
pub use images::{CreateImage, DeleteImage, Image, ImageStatus};
pub use metrics::{MetricKind, Point, ServerMetrics};
pub use page::{PER_PAGE, Page};
pub use power::{PowerAction, PowerOutcome};
pub use primary_ips::{DeletePrimaryIp, PrimaryIp};
pub use servers::{DeleteServer, Server, ServerStatus, UpdateLabels};
pub use ssh_keys::{CreateSshKey, SshKey};
pub use wire::{ActionId, FirewallId, ImageId, Labels, Price, PrimaryIpId, ServerId, SshKeyId};

use crate::http::{Http, HttpError, HttpRequest, HttpResponse, Method};
use crate::secret::SecretText;
use jiff::Timestamp;
use serde::de::DeserializeOwned;

/// The Hetzner Cloud API behind an [`Http`] seam.
pub struct Hetzner<H> {
    http: H,
    base: String,
    token: SecretText,
}

/// What a call came to, and what is left of the API budget.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer<T> {
    /// What the provider did, or why it did not.
    pub outcome: Result<T, Failure>,
    /// The budget as the provider last told it.
    pub budget: Option<RateBudget>,
}

/// What is left of the project's 3 600 calls an hour.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RateBudget {
    /// Calls left.
    pub remaining: u32,
    /// When the bucket is full again.
    pub reset: Option<Timestamp>,
}

/// A lookup of one thing by its id.
#[derive(Debug, Clone, PartialEq)]
pub enum Lookup<T> {
    Found(T),
    /// The provider says that there is no such thing.
    Gone,
}

/// An answer that says yes, or no for a reason of the call's own.
enum Reply {
    Done(Vec<u8>),
    Refused(VendorError),
}

impl<H: Http> Hetzner<H> {
    /// A client for the API at `base` (`https://api.hetzner.cloud/v1`), without a trailing slash.
    pub fn new(http: H, base: impl Into<String>, token: SecretText) -> Self {
        let base = base.into().trim_end_matches('/').to_owned();
        Self { http, base, token }
    }

    fn request(&self, method: Method, path: &str) -> HttpRequest {
        HttpRequest::new(method, format!("{}{path}", self.base)).bearer(&self.token)
    }

    fn query(&self, path: &str, pairs: &[(&str, &str)]) -> HttpRequest {
        let query = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish();
        self.request(Method::Get, &format!("{path}?{query}"))
    }

    async fn call(&self, request: Result<HttpRequest, HttpError>) -> Answer<Reply> {
        let response = match request {
            Ok(request) => self.http.send(request).await,
            Err(error) => Err(error),
        };
        match response {
            Ok(response) => {
                let budget = rate_budget(&response);
                Answer { outcome: judge(response, budget), budget }
            }
            Err(error) => Answer { outcome: Err(error.into()), budget: None },
        }
    }

    /// `GET` of one thing: [`Lookup::Gone`] when the provider says `not_found`.
    async fn look_up<W: DeserializeOwned, T>(&self, path: &str, pick: fn(W) -> T) -> Answer<Lookup<T>> {
        self.call(Ok(self.request(Method::Get, path))).await.and_then(|reply| match reply {
            Reply::Done(body) => Ok(Lookup::Found(pick(decode(&body)?))),
            Reply::Refused(error) if error.is_not_found() => Ok(Lookup::Gone),
            Reply::Refused(error) => Err(Failure::Refused(error)),
        })
    }
}

impl<T> Answer<T> {
    fn and_then<U>(self, judge: impl FnOnce(T) -> Result<U, Failure>) -> Answer<U> {
        Answer { outcome: self.outcome.and_then(judge), budget: self.budget }
    }
}

fn decode<W: DeserializeOwned>(body: &[u8]) -> Result<W, Failure> {
    serde_json::from_slice(body).map_err(|error| Failure::garbled(&format!("not understood: {error}")))
}

fn judge(response: HttpResponse, budget: Option<RateBudget>) -> Result<Reply, Failure> {
    if response.is_success() {
        return Ok(Reply::Done(response.body));
    }
    let status = response.status;
    let error = VendorError::parse(status, &response.body);
    let code = error.as_ref().map(|error| error.code.clone()).unwrap_or_default();
    match (status, code.as_str(), error) {
        (429, _, error) | (_, "rate_limit_exceeded", error) => {
            let reset = budget.and_then(|budget| budget.reset);
            Err(Failure::RateLimited { reset, error })
        }
        (401, _, error) | (403, "forbidden" | "token_readonly", error) => {
            Err(Failure::Unauthorized(error.unwrap_or_else(|| VendorError::bare(status))))
        }
        (409, "conflict", Some(error)) | (403, "maintenance", Some(error)) => Err(Failure::Busy(error)),
        (500.., _, error) | (408, _, error) | (_, "service_error" | "timeout", error) => {
            Err(Failure::Unknown { reason: format!("HTTP {status}"), error })
        }
        (400..500, _, Some(error)) => Ok(Reply::Refused(error)),
        (_, _, None | Some(_)) => {
            Err(Failure::garbled(&format!("HTTP {status} without an error of its own")))
        }
    }
}

fn rate_budget(response: &HttpResponse) -> Option<RateBudget> {
    let remaining = response.header("ratelimit-remaining")?.trim().parse().ok()?;
    let reset = response
        .header("ratelimit-reset")
        .and_then(|text| text.trim().parse().ok())
        .and_then(|seconds| Timestamp::from_second(seconds).ok());
    Some(RateBudget { remaining, reset })
}

#[cfg(test)]
mod tests;
