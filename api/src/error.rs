//! Every refusal of the API: a stable `code`, a sentence for people, and a hint that says what to do next.
//!
//! The set of codes is closed: a client may match on it, and the OpenAPI document lists it.

use serde::{Deserialize, Serialize};

macro_rules! error_codes {
    ($($variant:ident = $code:literal, $status:literal, $hint:literal;)+) => {
        /// Why a request was refused. The text form is stable; see `status` and `hint` for what follows from it.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
        #[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
        pub enum ErrorCode { $(#[serde(rename = $code)] #[doc = $hint] $variant,)+ }

        impl ErrorCode {
            /// All codes, for documents and tests.
            pub const ALL: &[Self] = &[$(Self::$variant,)+];

            /// The HTTP status that carries this code.
            pub const fn status(self) -> u16 { match self { $(Self::$variant => $status,)+ } }

            /// The stable text form.
            pub const fn as_str(self) -> &'static str { match self { $(Self::$variant => $code,)+ } }

            /// What the caller can do, where the place that refuses knows nothing better.
            pub const fn hint(self) -> &'static str { match self { $(Self::$variant => $hint,)+ } }
        }
    };
}

error_codes! {
    BadJson = "bad_json", 400, "Send one JSON object with the content type application/json.";
    InvalidField = "invalid_field", 422, "Correct the named field and send the request again.";
    UnknownField = "unknown_field", 422, "Remove the field; /openapi.json lists those that exist.";
    BodyTooLarge = "body_too_large", 413, "Send a smaller body.";
    LengthRequired = "length_required", 411, "Send the body with a Content-Length header.";
    Unauthorized = "unauthorized", 401, "Send Authorization: Bearer with an API key or the owner token.";
    TokenExpired = "token_expired", 401, "Renew the token and send the request again.";
    Forbidden = "forbidden", 403, "Use a key whose scope covers this request.";
    CsrfMismatch = "csrf_mismatch", 403, "Reload the page and try again.";
    NotFound = "not_found", 404, "List what exists with GET /v1/workspaces.";
    MethodNotAllowed = "method_not_allowed", 405, "/openapi.json lists the methods of each path.";
    WrongState = "wrong_state", 409, "Look at the workspace's state and wait for it, or choose another action.";
    NameTaken = "name_taken", 409, "Choose another name.";
    IdempotencyMismatch = "idempotency_mismatch", 409, "Use a new Idempotency-Key for a new request.";
    IdempotencyInProgress = "idempotency_in_progress", 409, "The first request with this key is still running; ask again in a moment.";
    StaleGeneration = "stale_generation", 410, "A newer machine has taken over; this one must stop.";
    EnrolmentRefused = "enrolment_refused", 403, "Another machine key is enrolled already; wake the workspace for a new machine.";
    AlreadyExists = "already_exists", 403, "Objects are written once; read the one that exists.";
    DeletionRefused = "deletion_refused", 403, "Machines delete nothing; the owner may, while no machine exists.";
    QuotaReached = "quota_reached", 507, "Delete snapshots or raise the workspace's storage quota.";
    CapReached = "cap_reached", 403, "End a workspace or raise the cap.";
    CapacityUnavailable = "capacity_unavailable", 503, "Choose another size or location, or try again later.";
    RateLimited = "rate_limited", 429, "Wait for the seconds given in Retry-After.";
    ProviderUnavailable = "provider_unavailable", 503, "The provider did not answer; try again in a minute.";
    StorageUnavailable = "storage_unavailable", 503, "Storage did not answer; try again in a minute.";
    NotConfigured = "not_configured", 500, "GET /health names what the installation lacks.";
    Internal = "internal", 500, "Try again; if it stays, report the request id.";
}

/// The body of every answer that is not a success.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ErrorBody {
    /// Stable; match on this.
    pub code: ErrorCode,
    /// What was wrong, with the offending value where it is safe to repeat.
    pub message: String,
    /// What to do next.
    pub hint: String,
    /// Names this request in the logs.
    pub request_id: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_unique_and_carry_an_error_status_and_a_hint() {
        let mut seen = std::collections::BTreeSet::new();
        for code in ErrorCode::ALL {
            assert!(seen.insert(code.as_str()), "{code:?} twice");
            assert!((400..600).contains(&code.status()), "{code:?}");
            assert!(code.hint().ends_with('.'), "{code:?}");
            assert_eq!(serde_json::to_string(code).unwrap(), format!("\"{}\"", code.as_str()));
        }
    }

    #[test]
    fn the_body_keeps_its_shape_because_scripts_match_on_it() {
        let body = ErrorBody {
            code: ErrorCode::NotFound,
            message: "no workspace k3v7q2mzab".into(),
            hint: ErrorCode::NotFound.hint().into(),
            request_id: "r1".into(),
        };
        assert_eq!(
            serde_json::to_string(&body).unwrap(),
            r#"{"code":"not_found","message":"no workspace k3v7q2mzab","hint":"List what exists with GET /v1/workspaces.","request_id":"r1"}"#
        );
    }
}
