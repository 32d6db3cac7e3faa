//! What any call can answer instead of its own outcomes, and what to do about it.
//!
//! The distinction that matters most is [`Failure::may_have_landed`]: after such a failure a caller looks before it
//! creates anything. A text from the provider is shown to people, never matched on.

use crate::http::{HttpError, Retry};
use jiff::Timestamp;
use serde::Deserialize;

/// Longest vendor message that is kept, in characters: it ends up in records and logs.
const MESSAGE_MAX_CHARS: usize = 400;

/// Why a call did not come to one of its own outcomes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// The token is missing, wrong, read-only or not allowed to do this. Nothing happened.
    #[error("the provider refuses our token ({0})")]
    Unauthorized(VendorError),
    /// The project's API budget is used up. Nothing happened.
    #[error("the provider's API budget is used up")]
    RateLimited { reset: Option<Timestamp>, error: Option<VendorError> },
    /// Something else is going on with the resource, or maintenance. Nothing happened.
    #[error("the provider is busy with it ({0})")]
    Busy(VendorError),
    /// The request never left. Nothing happened.
    #[error("the provider cannot be reached: {reason}")]
    NotSent { reason: String },
    /// No usable answer: it may have happened or not.
    #[error("the provider's answer is missing or unusable: {reason}")]
    Unknown { reason: String, error: Option<VendorError> },
    /// The provider refuses the call as it is. Nothing happened.
    #[error("the provider refuses ({0})")]
    Refused(VendorError),
}

impl Failure {
    /// What to do next, by the rules of the provider's own client: `conflict`, `rate_limit_exceeded`, `bad_gateway`,
    /// `timeout`, 502, 504 and lost answers are tried again at once; other server errors wait; refusals stay refused.
    pub fn retry(&self) -> Retry {
        match self {
            Self::Unauthorized(_) | Self::Refused(_) => Retry::Never,
            Self::RateLimited { reset: Some(reset), .. } => Retry::At(*reset),
            Self::RateLimited { reset: None, .. } | Self::NotSent { .. } => Retry::Backoff,
            Self::Busy(error) if error.code == "conflict" => Retry::Backoff,
            Self::Busy(_) => Retry::Later,
            Self::Unknown { error: Some(error), .. } => match error.status {
                500 | 503 => Retry::Later,
                _ => Retry::Backoff,
            },
            Self::Unknown { error: None, .. } => Retry::Backoff,
        }
    }

    /// Whether the call may have had its effect although it failed. A spent budget counts as that too: it can be a
    /// gateway's, about an answer rather than the request, and a look costs less than a server that nobody knows.
    pub fn may_have_landed(&self) -> bool {
        matches!(self, Self::Unknown { .. } | Self::RateLimited { .. })
    }

    pub(super) fn garbled(reason: &str) -> Self {
        Self::Unknown { reason: format!("the answer is {reason}"), error: None }
    }
}

impl From<HttpError> for Failure {
    fn from(error: HttpError) -> Self {
        match error {
            HttpError::NotSent { reason } => Self::NotSent { reason },
            HttpError::Unknown { reason } => Self::Unknown { reason, error: None },
        }
    }
}

/// An error as the provider words it.
#[derive(Debug, Clone, PartialEq, Eq, Default, thiserror::Error)]
#[error("HTTP {status} {code}: {message}")]
pub struct VendorError {
    /// HTTP status.
    pub status: u16,
    /// Stable code, such as `resource_unavailable`.
    pub code: String,
    /// For people, shortened.
    pub message: String,
    /// Fields that are wrong, where it names some.
    pub fields: Box<[FieldError]>,
    /// Limits that are reached, where it names some.
    pub limits: Box<[String]>,
}

/// A field that the provider does not accept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldError {
    /// Its name in the request.
    pub name: String,
    /// What is wrong with it.
    pub messages: Vec<String>,
}

impl VendorError {
    /// Whether the thing that the call names does not exist.
    pub(super) fn is_not_found(&self) -> bool {
        self.status == 404 && self.code == "not_found"
    }

    /// Whether the resource is locked by something that is still going on, or protected.
    pub(super) fn is_locked(&self) -> bool {
        self.status == 423 || matches!(self.code.as_str(), "locked" | "protected")
    }

    pub(super) fn bare(status: u16) -> Self {
        Self { status, ..Self::default() }
    }

    /// Reads the error envelope; `None` where the body is something else (a proxy's page, say).
    pub(super) fn parse(status: u16, body: &[u8]) -> Option<Self> {
        let envelope: Envelope = serde_json::from_slice(body).ok()?;
        let details =
            envelope.error.details.and_then(|details| serde_json::from_value::<Details>(details).ok());
        let Details { fields, limits } = details.unwrap_or_default();
        Some(Self {
            status,
            code: envelope.error.code,
            message: envelope.error.message.unwrap_or_default().chars().take(MESSAGE_MAX_CHARS).collect(),
            fields: fields
                .into_iter()
                .map(|field| FieldError { name: field.name, messages: field.messages })
                .collect(),
            limits: limits.into_iter().map(|limit| limit.name).collect(),
        })
    }
}

#[derive(Deserialize)]
struct Envelope {
    error: WireError,
}

#[derive(Deserialize)]
struct WireError {
    code: String,
    message: Option<String>,
    details: Option<serde_json::Value>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Details {
    fields: Vec<WireField>,
    limits: Vec<WireLimit>,
}

#[derive(Deserialize)]
struct WireField {
    name: String,
    #[serde(default)]
    messages: Vec<String>,
}

#[derive(Deserialize)]
struct WireLimit {
    name: String,
}
