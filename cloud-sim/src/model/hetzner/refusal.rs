//! The error envelope: `{"error":{"code","message","details"}}`, one constructor per outcome.

use serde_json::{Value, json};

use crate::model::wire::{BadBody, Response};

/// Why the vendor says no.
#[derive(Debug, Clone)]
pub(crate) struct Refusal {
    pub status: u16,
    pub code: String,
    pub message: String,
    pub details: Value,
}

impl Refusal {
    pub fn new(status: u16, code: &str, message: impl Into<String>) -> Self {
        Self { status, code: code.to_owned(), message: message.into(), details: json!({}) }
    }

    pub fn not_found(what: &str, id: impl std::fmt::Display) -> Self {
        Self::new(404, "not_found", format!("{what} with ID '{id}' not found"))
    }

    pub fn invalid(field: &str, message: impl Into<String>) -> Self {
        let message = message.into();
        Self {
            details: json!({"fields": [{"name": field, "messages": [message]}]}),
            ..Self::new(422, "invalid_input", format!("invalid input in field '{field}': {message}"))
        }
    }

    pub fn uniqueness(field: &str, message: impl Into<String>) -> Self {
        let message = message.into();
        Self {
            details: json!({"fields": [{"name": field, "messages": [message]}]}),
            ..Self::new(409, "uniqueness_error", message)
        }
    }

    pub fn limit(name: &str) -> Self {
        Self {
            details: json!({"limits": [{"name": name}]}),
            ..Self::new(403, "resource_limit_exceeded", format!("{name} exceeded"))
        }
    }

    pub fn sold_out() -> Self {
        Self::new(
            412,
            "resource_unavailable",
            "we are unable to provision servers for this location, try with a different location or try later",
        )
    }

    pub fn unsupported_location() -> Self {
        Self::invalid("location", "unsupported location for server type")
    }

    pub fn locked() -> Self {
        Self::new(423, "locked", "server is locked")
    }

    pub fn protected(what: &str) -> Self {
        Self::new(423, "protected", format!("{what} deletion is protected"))
    }

    pub fn gone_endpoint(announcement: &str) -> Self {
        Self {
            details: json!({"announcement": announcement}),
            ..Self::new(410, "deprecated_api_endpoint", "this endpoint was removed")
        }
    }

    pub fn response(&self) -> Response {
        Response::of(
            self.status,
            &json!({"error": {"code": self.code, "message": self.message, "details": self.details}}),
        )
    }
}

impl From<BadBody> for Refusal {
    fn from(bad: BadBody) -> Self {
        match bad {
            BadBody::Syntax => Self::new(400, "json_error", "the request body is no valid JSON"),
            BadBody::Shape(why) => Self {
                details: json!({"fields": [{"name": "body", "messages": [why]}]}),
                ..Self::new(422, "invalid_input", format!("invalid input: {why}"))
            },
        }
    }
}

pub(crate) type Reply = Result<Response, Refusal>;
