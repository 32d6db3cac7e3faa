//! What calls to the providers came to, as the gate wants to hear it: how many were sent, and what the last answer's
//! headers said of the limit. Reads headers only; never a body, never a credential.

use super::{CallCost, Provider};
use crate::http::HttpResponse;
use ebbtide_api::Timestamp;
use serde::{Deserialize, Serialize};

/// Of both providers.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// The provider of machines.
    pub machines: Seen,
    /// The provider of names.
    pub names: Seen,
}

/// Of one.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seen {
    /// Calls that the gate had granted.
    pub granted: u32,
    /// Calls that were sent.
    pub sent: u32,
    /// When the headers below were read.
    pub at: Option<Timestamp>,
    /// Calls that the limit allows.
    pub limit: Option<u32>,
    /// Calls left.
    pub remaining: Option<u32>,
    /// When all are left again.
    pub reset: Option<Timestamp>,
    /// A call was refused for the limit.
    pub refused: bool,
    /// How long the provider asks to wait.
    pub retry_after_secs: Option<u64>,
}

impl Report {
    /// Notes what was granted.
    pub fn grant(&mut self, need: CallCost) {
        self.machines.granted = self.machines.granted.saturating_add(need.machines);
        self.names.granted = self.names.granted.saturating_add(need.names);
    }

    /// Notes a call that goes out.
    pub fn send(&mut self, provider: Provider) {
        let seen = self.of(provider);
        seen.sent = seen.sent.saturating_add(1);
    }

    /// Notes an answer's headers.
    pub fn answer(&mut self, provider: Provider, response: &HttpResponse, now: Timestamp) {
        let number = |name: &str| response.header(name).and_then(|text| text.trim().parse::<u64>().ok());
        let small = |name: &str| number(name).and_then(|value| u32::try_from(value).ok());
        let (limit, remaining, reset) = match provider {
            Provider::Machines => ("ratelimit-limit", "ratelimit-remaining", "ratelimit-reset"),
            Provider::Names => ("x-ratelimit-limit", "x-ratelimit-remaining", "x-ratelimit-reset"),
        };
        let later = Seen {
            at: Some(now),
            limit: small(limit),
            remaining: small(remaining),
            reset: number(reset)
                .and_then(|seconds| i64::try_from(seconds).ok())
                .and_then(|seconds| Timestamp::from_second(seconds).ok()),
            refused: response.status == 429,
            retry_after_secs: number("retry-after").filter(|_| response.status == 429),
            ..Seen::default()
        };
        self.of(provider).merge(later);
    }

    /// Adds what a later report says.
    pub fn merge(&mut self, later: Self) {
        self.machines.merge(later.machines);
        self.names.merge(later.names);
    }

    /// Whether there is anything to say.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Whether others should hear of it before anybody asks next.
    pub fn is_urgent(&self) -> bool {
        [&self.machines, &self.names].into_iter().any(|seen| {
            let few = |limit: u32| seen.remaining.is_some_and(|left| left < limit / 4);
            seen.refused || seen.limit.is_some_and(few)
        })
    }

    fn of(&mut self, provider: Provider) -> &mut Seen {
        match provider {
            Provider::Machines => &mut self.machines,
            Provider::Names => &mut self.names,
        }
    }
}

impl Seen {
    fn merge(&mut self, later: Self) {
        self.granted = self.granted.saturating_add(later.granted);
        self.sent = self.sent.saturating_add(later.sent);
        self.refused |= later.refused;
        self.retry_after_secs = later.retry_after_secs.max(self.retry_after_secs);
        let says = |seen: &Self| seen.remaining.is_some() || seen.refused;
        if says(&later) && later.at >= self.at {
            let Self { at, limit, remaining, reset, .. } = later;
            *self = Self { at, limit: limit.or(self.limit), remaining, reset, ..self.clone() };
        }
    }
}
