//! Every refusal of the API: a stable `code`, a sentence for people, and a hint that says what to do next.
//!
//! The set of codes is closed: a client may match on it, and the OpenAPI document lists it.

use serde::{Deserialize, Serialize};

macro_rules! error_codes {
    ($($variant:ident = $code:literal, $status:literal, $meaning:literal, $hint:literal;)+) => {
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

            /// When the API answers so, one sentence.
            pub const fn meaning(self) -> &'static str { match self { $(Self::$variant => $meaning,)+ } }

            /// What the caller can do, where the place that refuses knows nothing better.
            pub const fn hint(self) -> &'static str { match self { $(Self::$variant => $hint,)+ } }
        }
    };
}

error_codes! {
    BadJson = "bad_json", 400,
        "The body is no JSON object, or it broke off.",
        "Send one JSON object with the content type application/json.";
    InvalidField = "invalid_field", 422,
        "A field has a value that cannot be used; the message names it.",
        "Correct the named field and send the request again.";
    UnknownField = "unknown_field", 422,
        "The body has a field that does not exist, perhaps misspelt.",
        "Remove the field; /openapi.json lists those that exist.";
    NotBuilt = "not_built", 422,
        "The request asks for something that Ebbtide does not do yet; the message names it.",
        "Leave it out; /openapi.json says what is built.";
    UnexpectedBody = "unexpected_body", 400,
        "The request has a body, and this path and method take none.",
        "Send the request without a body; /openapi.json says what each path takes.";
    BodyTooLarge = "body_too_large", 413,
        "The body is larger than this path takes.",
        "Send a smaller body.";
    LengthRequired = "length_required", 411,
        "A file was sent without its length.",
        "Send the body with a Content-Length header.";
    Unauthorized = "unauthorized", 401,
        "The request has no credential, or one that is not known.",
        "Send Authorization: Bearer with an API key or the owner token.";
    TokenExpired = "token_expired", 401,
        "The token or the restore kit's key has ended.",
        "Renew the token and send the request again.";
    KeysShredded = "keys_shredded", 409,
        "The workspace was deleted and its days to undo are over: its key is deleted, and its backups cannot be read.",
        "Use a restore kit that was made before: it holds the password. There is no other way.";
    Forbidden = "forbidden", 403,
        "The key is good, but its scope does not allow this.",
        "Use a key whose scope covers this request.";
    CsrfMismatch = "csrf_mismatch", 403,
        "A form of the dashboard belongs to another session or another site.",
        "Reload the page and try again.";
    NotFound = "not_found", 404,
        "Nothing of that name exists, or it is not yours.",
        "List what exists with GET /v1/workspaces.";
    MethodNotAllowed = "method_not_allowed", 405,
        "The path exists, with other methods.",
        "/openapi.json lists the methods of each path.";
    WrongState = "wrong_state", 409,
        "The workspace cannot do this in the state that it is in.",
        "Look at the workspace's state and wait for it, or choose another action.";
    RecordLost = "record_lost", 409,
        "The index knows the workspace, and its object holds no record of it: its backups can be read and it can be deleted.",
        "POST …/restore-kit gives what restic needs to read its backups; then DELETE the workspace and create another.";
    NameTaken = "name_taken", 409,
        "Something of that name exists already.",
        "Choose another name.";
    IdempotencyMismatch = "idempotency_mismatch", 409,
        "The same `Idempotency-Key` came with another body.",
        "Use a new Idempotency-Key for a new request.";
    IdempotencyInProgress = "idempotency_in_progress", 409,
        "The first request with that `Idempotency-Key` is not answered yet.",
        "The first request with this key is still running; ask again in a moment.";
    StaleGeneration = "stale_generation", 410,
        "A machine called whose time is over. You see it in its log only.",
        "A newer machine has taken over; this one must stop.";
    EnrolmentRefused = "enrolment_refused", 403,
        "A second machine wanted to register with one machine's token.",
        "Another machine key is enrolled already; wake the workspace for a new machine.";
    AlreadyExists = "already_exists", 403,
        "A backup object of that name exists. Objects are written once.",
        "Objects are written once; read the one that exists.";
    DeletionRefused = "deletion_refused", 403,
        "Backups were to be changed while a machine exists, or by a machine.",
        "Machines delete nothing; the owner may, while no machine exists.";
    QuotaReached = "quota_reached", 507,
        "The backups of the workspace have no room for this.",
        "Delete snapshots or raise the workspace's storage quota.";
    CapReached = "cap_reached", 403,
        "A cap on workspaces, machines, spending, keys, kits or holds does not allow it.",
        "End a workspace or raise the cap.";
    CapacityUnavailable = "capacity_unavailable", 503,
        "Hetzner has sold out the size at that location.",
        "Choose another size or location, or try again later.";
    RebootTooSoon = "reboot_too_soon", 429,
        "The machine was rebooted several times in a row; the message says when it may be again.",
        "Wait until then. If reboots do not help, let it sleep and wake it: it comes back on a new server.";
    RateLimited = "rate_limited", 429,
        "Too many requests without a token, or failed sign-ins, came from your address, or a machine has had too many rows written.",
        "Wait for the seconds given in Retry-After.";
    ProviderUnavailable = "provider_unavailable", 503,
        "Hetzner or Cloudflare's DNS did not answer, or its call limit is used up.",
        "The provider did not answer; try again in a minute.";
    StorageUnavailable = "storage_unavailable", 503,
        "D1 or R2 did not answer.",
        "Storage did not answer; try again in a minute.";
    NotConfigured = "not_configured", 500,
        "A variable or secret of the Worker is missing or unusable.",
        "GET /health names what the installation lacks.";
    Internal = "internal", 500,
        "Something went wrong inside. The Worker's log has the cause by the request's id.",
        "Try again; if it stays, report the request id.";
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
            assert!(code.hint().ends_with('.') && code.meaning().ends_with('.'), "{code:?}");
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
