//! How a request is refused: one code of the closed set, a sentence, a hint, and what the log alone may know.
//!
//! The message is shown to whoever asked, so it never holds a secret or another tenant's data; the cause goes to the
//! log only.

use crate::log::{self, Level};
use ebbtide_api::{ErrorBody, ErrorCode};
use std::borrow::Cow;
use std::fmt;

/// A refusal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiError {
    code: ErrorCode,
    message: String,
    hint: Option<Cow<'static, str>>,
    cause: Option<String>,
    headers: Vec<(&'static str, String)>,
    status: Option<u16>,
}

/// What handlers answer with.
pub type ApiResult<T> = Result<T, ApiError>;

impl ApiError {
    /// A refusal with the code's own hint.
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), hint: None, cause: None, headers: Vec::new(), status: None }
    }

    /// A field that cannot be used as it is.
    pub fn field(name: &str, what: impl fmt::Display) -> Self {
        Self::new(ErrorCode::InvalidField, format!("{name}: {what}"))
    }

    /// A workspace that does not exist, or is another tenant's: both look the same.
    pub fn no_workspace(id: &str) -> Self {
        let shown: String = id.chars().filter(|c| !c.is_control()).take(40).collect();
        Self::new(ErrorCode::NotFound, format!("there is no workspace {shown}"))
    }

    /// The database did not answer as it should.
    pub fn index(error: worker::Error) -> Self {
        Self::new(ErrorCode::StorageUnavailable, "the index did not answer").cause(error)
    }

    /// The bucket did not answer as it should.
    pub fn storage(error: worker::Error) -> Self {
        Self::new(ErrorCode::StorageUnavailable, "storage did not answer").cause(error)
    }

    /// The installation lacks what this takes; which variable, but never its value, is told.
    pub fn not_configured(problems: impl fmt::Display) -> Self {
        Self::new(ErrorCode::NotConfigured, problems.to_string())
    }

    /// Something that should not happen.
    pub fn internal(error: impl fmt::Display) -> Self {
        Self::new(ErrorCode::Internal, "something went wrong on our side").cause(error)
    }

    /// Replaces the code's own hint.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<Cow<'static, str>>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Adds what the log alone may know.
    #[must_use]
    pub fn cause(mut self, cause: impl fmt::Display) -> Self {
        self.cause = Some(cause.to_string());
        self
    }

    /// Adds a header to the answer.
    #[must_use]
    pub fn header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    /// Answers with another status than the code's own; for protocols that know their own statuses.
    #[must_use]
    pub fn with_status(mut self, status: u16) -> Self {
        self.status = Some(status);
        self
    }

    /// Its code.
    pub fn code(&self) -> ErrorCode {
        self.code
    }

    /// What was wrong.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// The HTTP status.
    pub fn status(&self) -> u16 {
        self.status.unwrap_or(self.code.status())
    }

    /// What the log alone may know.
    pub fn logged_cause(&self) -> Option<&str> {
        self.cause.as_deref()
    }

    /// Writes what went wrong into the log, with the cause that no answer shows.
    pub fn log(&self, level: Level, message: &str, fields: &[(&str, &str)]) {
        let mut all = fields.to_vec();
        all.extend([
            ("code", self.code.as_str()),
            ("error", self.message()),
            ("cause", self.logged_cause().unwrap_or_default()),
        ]);
        log::write(level, message, &all);
    }

    /// Writes why something is left out that an answer can do without.
    pub fn log_left_out(&self, what: &str, request_id: &str) {
        self.log(Level::Warn, &format!("{what} left out"), &[("request.id", request_id)]);
    }

    /// Headers of the answer.
    pub fn headers(&self) -> &[(&'static str, String)] {
        &self.headers
    }

    /// The answer's body.
    pub fn body(&self, request_id: &str) -> ErrorBody {
        ErrorBody {
            code: self.code,
            message: self.message.clone(),
            hint: self.hint.as_deref().unwrap_or(self.code.hint()).to_owned(),
            request_id: request_id.to_owned(),
        }
    }
}

impl fmt::Display for ApiError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code.as_str(), self.message)
    }
}

impl std::error::Error for ApiError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cause_stays_out_of_the_answer() {
        let error = ApiError::new(ErrorCode::Internal, "no").cause("D1_ERROR: secret table");
        let body = serde_json::to_string(&error.body("r1")).unwrap();
        assert!(!body.contains("secret table"), "{body}");
        assert_eq!(error.logged_cause(), Some("D1_ERROR: secret table"));
    }

    #[test]
    fn a_hint_of_its_own_replaces_the_codes() {
        let error = ApiError::field("size", "there is no cx99").hint("Choose cx23.");
        assert_eq!(error.body("r1").hint, "Choose cx23.");
        assert_eq!(error.status(), 422);
        assert_eq!(error.to_string(), "invalid_field: size: there is no cx99");
    }
}
