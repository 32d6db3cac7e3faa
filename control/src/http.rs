//! The network seam: one HTTP request out, one answer back.
//!
//! The Worker implements [`Http`] with `fetch`, the simulation with the local cloud's model in process. Whatever
//! implements it sends each request at most once: no retry, no redirect, no cache. It puts its own time limit on every
//! request. Retrying is decided by the lifecycle, never here and never in a provider client.

#[cfg(test)]
pub(crate) mod script;

use crate::secret::SecretText;
use jiff::Timestamp;
use serde::Serialize;
use std::fmt;

/// Sends HTTP requests.
///
/// # Contract
/// * At most one request goes out per call; redirects are answers, not followed.
/// * Any status is `Ok`: statuses are judged by the caller.
/// * [`HttpError::NotSent`] only where the request certainly had no effect. In doubt, [`HttpError::Unknown`].
/// * A request that takes longer than the implementation's time limit is abandoned as `Unknown`.
/// * Dropping the future may or may not stop the request.
#[allow(async_fn_in_trait, reason = "Workers' futures are not Send, so no Send bound is wanted")]
pub trait Http {
    /// Sends `request` and reads the whole answer.
    async fn send(&self, request: HttpRequest) -> Result<HttpResponse, HttpError>;
}

impl<H: Http + ?Sized> Http for &H {
    async fn send(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        (**self).send(request).await
    }
}

impl<H: Http + ?Sized> Http for std::rc::Rc<H> {
    async fn send(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        (**self).send(request).await
    }
}

/// The methods that the providers' APIs use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    Get,
    Post,
    Put,
    Patch,
    Delete,
}

impl Method {
    /// As it is written in a request line.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Post => "POST",
            Self::Put => "PUT",
            Self::Patch => "PATCH",
            Self::Delete => "DELETE",
        }
    }
}

/// The value of a request header.
#[derive(Debug, Clone)]
pub enum HeaderValue {
    /// May be logged.
    Plain(String),
    /// A credential.
    Secret(SecretText),
}

impl HeaderValue {
    /// The text to send.
    pub fn expose(&self) -> &str {
        match self {
            Self::Plain(text) => text,
            Self::Secret(text) => text.expose(),
        }
    }
}

/// A request, complete but for what the transport adds (`Host`, `Content-Length`).
#[derive(Clone)]
pub struct HttpRequest {
    /// Method.
    pub method: Method,
    /// Absolute URL with its query; never holds a credential.
    pub url: String,
    /// Lower-case names and values.
    pub headers: Vec<(String, HeaderValue)>,
    /// Body, where there is one. May hold a secret (user-data does).
    pub body: Option<Vec<u8>>,
}

impl HttpRequest {
    /// A request without headers or body.
    pub fn new(method: Method, url: impl Into<String>) -> Self {
        Self { method, url: url.into(), headers: Vec::new(), body: None }
    }

    /// Adds a header that may be logged.
    #[must_use]
    pub fn header(mut self, name: &str, value: impl Into<String>) -> Self {
        self.headers.push((name.to_ascii_lowercase(), HeaderValue::Plain(value.into())));
        self
    }

    /// Adds `Authorization: Bearer …`.
    #[must_use]
    pub fn bearer(mut self, token: &SecretText) -> Self {
        let value = HeaderValue::Secret(format!("Bearer {}", token.expose()).into());
        self.headers.push(("authorization".to_owned(), value));
        self
    }

    /// Sets a JSON body and its content type.
    ///
    /// # Errors
    /// `value` cannot be written as JSON; nothing has been sent.
    pub fn json(mut self, value: &impl Serialize) -> Result<Self, HttpError> {
        let body = serde_json::to_vec(value).map_err(|error| HttpError::NotSent {
            reason: format!("the request cannot be encoded: {error}"),
        })?;
        self.body = Some(body);
        Ok(self.header("content-type", "application/json"))
    }
}

impl fmt::Debug for HttpRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let body_bytes = self.body.as_ref().map(Vec::len);
        write!(f, "HttpRequest({} {}, body {body_bytes:?} bytes)", self.method.as_str(), self.url)
    }
}

/// An answer, read to its end.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct HttpResponse {
    /// Status code.
    pub status: u16,
    /// Names and values as received.
    pub headers: Vec<(String, String)>,
    /// Whole body.
    pub body: Vec<u8>,
}

impl HttpResponse {
    /// The first header of that name, in whatever case it came.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    /// Whether the status is 2xx.
    pub fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }
}

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HttpError {
    /// The request certainly had no effect: it was never sent (connection refused, name not found, not encodable).
    #[error("the request was not sent: {reason}")]
    NotSent { reason: String },
    /// The request may have had its effect: a time-out, a reset, an answer cut short.
    #[error("no answer: {reason}")]
    Unknown { reason: String },
}

/// What a caller does about a failure. Same words for every provider.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Retry {
    /// The same call again after a short, growing pause (1 s, doubled up to 60 s, at most 5 times). Where
    /// the call may have landed, look first.
    Backoff,
    /// The same call again, not before this moment.
    At(Timestamp),
    /// The same call again at the next wake-up, minutes away: something else has to finish first.
    Later,
    /// The same call will be refused again: a person or another choice is needed.
    Never,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_prints_neither_its_credentials_nor_its_body() {
        let request = HttpRequest::new(Method::Post, "https://api.example/servers")
            .bearer(&"hunter2".into())
            .json(&"hunter3")
            .unwrap();
        assert_eq!(
            format!("{request:?}"),
            "HttpRequest(POST https://api.example/servers, body Some(9) bytes)"
        );
        assert!(!format!("{:?}", request.headers).contains("hunter2"));
        assert_eq!(request.headers[0].1.expose(), "Bearer hunter2");
    }

    #[test]
    fn a_response_header_is_found_in_any_case() {
        let response = HttpResponse {
            status: 200,
            headers: vec![("RateLimit-Remaining".into(), "7".into())],
            body: Vec::new(),
        };
        assert_eq!(response.header("ratelimit-remaining"), Some("7"));
        assert_eq!(response.header("ratelimit-reset"), None);
    }
}
