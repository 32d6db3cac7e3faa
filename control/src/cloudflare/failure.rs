//! What a call to Cloudflare can fail with, read from status and error codes, and what to do about it.

use crate::http::{HttpError, HttpResponse, Retry};
use jiff::Timestamp;
use serde::Deserialize;

/// Why a call did not do what it was asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// Such a record exists already. Nothing happened.
    #[error("the record exists already ({0})")]
    AlreadyExists(ApiError),
    /// The record does not exist. Nothing happened.
    #[error("the record does not exist ({0})")]
    NotFound(ApiError),
    /// The zone is full. Nothing happened.
    #[error("the zone may not have more records ({0})")]
    QuotaReached(ApiError),
    /// The token is wrong or may not do this, or the zone is not ours. Nothing happened.
    #[error("the DNS provider refuses our token ({0})")]
    Auth(ApiError),
    /// Too many calls. Nothing happened.
    #[error("the DNS provider's API budget is used up")]
    RateLimited { retry_after_secs: Option<u64> },
    /// The request never left. Nothing happened.
    #[error("the DNS provider cannot be reached: {reason}")]
    NotSent { reason: String },
    /// No usable answer: it may have happened or not.
    #[error("the DNS provider's answer is missing or unusable: {reason}")]
    Unknown { reason: String },
    /// Refused for another reason. Nothing happened.
    #[error("the DNS provider refuses ({0})")]
    Other(ApiError),
}

impl Failure {
    /// What to do next; `now` is what a pause is counted from.
    pub fn retry(&self, now: Timestamp) -> Retry {
        match self {
            Self::AlreadyExists(_) | Self::NotFound(_) | Self::Auth(_) | Self::Other(_) => Retry::Never,
            Self::QuotaReached(_) => Retry::Later,
            Self::RateLimited { retry_after_secs: Some(seconds) } => {
                let seconds = i64::try_from(*seconds).unwrap_or(i64::MAX);
                let at = now.as_second().checked_add(seconds).and_then(|at| Timestamp::from_second(at).ok());
                at.map_or(Retry::Later, Retry::At)
            }
            Self::RateLimited { retry_after_secs: None } => Retry::Later,
            Self::NotSent { .. } | Self::Unknown { .. } => Retry::Backoff,
        }
    }

    /// Whether the call may have had its effect although it failed.
    pub fn may_have_landed(&self) -> bool {
        matches!(self, Self::Unknown { .. })
    }
}

impl From<HttpError> for Failure {
    fn from(error: HttpError) -> Self {
        match error {
            HttpError::NotSent { reason } => Self::NotSent { reason },
            HttpError::Unknown { reason } => Self::Unknown { reason },
        }
    }
}

/// The first error of an answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("HTTP {status}, code {code}: {message}")]
pub struct ApiError {
    /// HTTP status.
    pub status: u16,
    /// Cloudflare's number; 0 where it gave none.
    pub code: u32,
    /// For people, shortened.
    pub message: String,
}

/// Longest message that is kept, in characters: it ends up in records and logs.
const MESSAGE_MAX_CHARS: usize = 400;

#[derive(Deserialize)]
struct ErrorEnvelope {
    success: Option<bool>,
    #[serde(default)]
    errors: Vec<WireError>,
}

#[derive(Deserialize)]
struct WireError {
    #[serde(default)]
    code: u32,
    #[serde(default)]
    message: String,
}

/// Takes an answer apart: its body where it says success, else what went wrong.
pub(super) fn judge(response: HttpResponse) -> Result<Vec<u8>, Failure> {
    let status = response.status;
    let envelope: Option<ErrorEnvelope> = serde_json::from_slice(&response.body).ok();
    let said_no = envelope.as_ref().is_some_and(|envelope| envelope.success == Some(false));
    if response.is_success() && !said_no {
        return Ok(response.body);
    }
    let first = envelope.and_then(|envelope| envelope.errors.into_iter().next());
    let has_error = first.is_some();
    let error = ApiError {
        status,
        code: first.as_ref().map_or(0, |error| error.code),
        message: first
            .map_or_else(String::new, |error| error.message.chars().take(MESSAGE_MAX_CHARS).collect()),
    };
    Err(match (status, error.code) {
        (429, _) | (_, 971 | 10013) => Failure::RateLimited {
            retry_after_secs: response.header("retry-after").and_then(|text| text.trim().parse().ok()),
        },
        (500.., _) | (408, _) => Failure::Unknown { reason: error.to_string() },
        (_, 81053 | 81054 | 81057 | 81058) => Failure::AlreadyExists(error),
        (_, 81044) => Failure::NotFound(error),
        (_, 81045) => Failure::QuotaReached(error),
        // 7003 and 7000: no such zone, or none of ours. Never "the record is gone".
        (401 | 403, _) | (_, 7000 | 7003 | 9103 | 9106 | 9109 | 10000 | 10001) => Failure::Auth(error),
        (404, _) if has_error => Failure::NotFound(error),
        (400..500, _) if has_error => Failure::Other(error),
        (_, _) if has_error && said_no => Failure::Other(error),
        (_, _) => Failure::Unknown { reason: format!("HTTP {status} without an error of its own") },
    })
}
