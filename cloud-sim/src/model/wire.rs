//! Requests and responses as the model sees them: plain data, no HTTP library.
//!
//! The façade builds a [`Request`] from a socket, a simulation builds one in memory; both hand it to
//! `Cloud::apply` and read the same [`Response`]. Bodies are bytes on both sides, so that a client under test
//! encodes and decodes exactly what it would send to the vendor.

use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::Value;

/// Path prefix under which Hetzner's API answers.
pub const HETZNER_PREFIX: &str = "/hetzner/v1";
/// Path prefix under which Cloudflare's API answers.
pub const CLOUDFLARE_PREFIX: &str = "/cloudflare/client/v4";

/// Which vendor's API a request speaks to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Provider {
    Hetzner,
    Cloudflare,
}

/// One API call. `path` carries the provider's prefix; header names are lower case.
#[derive(Debug, Clone, Default)]
pub struct Request {
    pub method: String,
    pub path: String,
    pub query: Vec<(String, String)>,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Request {
    /// Builds a request from a method and either a path or a whole URL, query string included.
    pub fn new(method: &str, url: &str) -> Self {
        let after_scheme = match url.split_once("://") {
            Some((_, rest)) => &rest[rest.find('/').unwrap_or(rest.len())..],
            None => url,
        };
        let (path, query) = after_scheme.split_once('?').unwrap_or((after_scheme, ""));
        Self {
            method: method.to_ascii_uppercase(),
            path: path.to_owned(),
            query: parse_query(query),
            headers: Vec::new(),
            body: Vec::new(),
        }
    }

    /// Adds a header; the name is stored in lower case.
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_ascii_lowercase(), value.to_owned()));
        self
    }

    /// Adds the `Authorization: Bearer` header.
    pub fn bearer(self, token: &str) -> Self {
        self.header("authorization", &format!("Bearer {token}"))
    }

    /// Sets the body.
    pub fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        self
    }

    /// Sets a JSON body.
    pub fn json(self, body: &Value) -> Self {
        let text = body.to_string();
        self.body(text)
    }

    pub(crate) fn header_value(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    pub(crate) fn bearer_token(&self) -> Option<&str> {
        self.header_value("authorization")?.strip_prefix("Bearer ").map(str::trim)
    }

    /// The provider and the path below its prefix, or nothing where no vendor answers.
    pub fn target(&self) -> Option<(Provider, &str)> {
        let below = |prefix: &str| {
            let rest = self.path.strip_prefix(prefix)?;
            (rest.is_empty() || rest.starts_with('/')).then_some(rest)
        };
        if let Some(rest) = below(HETZNER_PREFIX) {
            return Some((Provider::Hetzner, rest));
        }
        below(CLOUDFLARE_PREFIX).map(|rest| (Provider::Cloudflare, rest))
    }
}

/// Decodes a query string, keeping repeated keys in order.
pub fn parse_query(query: &str) -> Vec<(String, String)> {
    url::form_urlencoded::parse(query.as_bytes()).into_owned().collect()
}

/// How a response reaches the caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Delivery {
    #[default]
    Now,
    /// The façade waits this long first; a simulation may count it as a time-out.
    AfterMs(u64),
    /// The caller never sees it: the façade drops the connection.
    Lost,
}

/// What the vendor answers.
#[derive(Debug, Clone, Default)]
pub struct Response {
    pub status: u16,
    pub headers: Vec<(&'static str, String)>,
    pub body: Vec<u8>,
    pub delivery: Delivery,
}

impl Response {
    /// The body as JSON; `Null` when it is empty or no JSON.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or(Value::Null)
    }

    /// One header's value.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    /// Whether the caller never sees this response.
    pub fn is_lost(&self) -> bool {
        self.delivery == Delivery::Lost
    }

    pub(crate) fn of(status: u16, body: &impl Serialize) -> Self {
        Self {
            status,
            // Our own views hold string keys and finite numbers only; an empty body would be noticed at once.
            body: serde_json::to_vec(body).unwrap_or_default(),
            ..Self::default()
        }
    }

    pub(crate) fn empty(status: u16) -> Self {
        Self { status, ..Self::default() }
    }
}

/// A request cut into what the handlers need.
pub(crate) struct Call<'a> {
    pub method: &'a str,
    /// Path below the provider's prefix.
    pub path: &'a str,
    pub query: &'a [(String, String)],
    pub body: &'a [u8],
    pub now_ms: i64,
}

/// Why a body could not be read.
pub(crate) enum BadBody {
    Syntax,
    Shape(String),
}

impl Call<'_> {
    pub fn one(&self, name: &str) -> Option<&str> {
        self.query.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// Every value of a repeatable parameter; comma-separated values are split.
    pub fn all(&self, name: &str) -> Vec<&str> {
        self.query
            .iter()
            .filter(|(key, _)| key == name)
            .flat_map(|(_, value)| value.split(','))
            .filter(|value| !value.is_empty())
            .collect()
    }

    /// Parses the body; an empty body reads as `{}`.
    pub fn parse<T: DeserializeOwned>(&self) -> Result<T, BadBody> {
        let bytes: &[u8] = if self.body.is_empty() { b"{}" } else { self.body };
        serde_json::from_slice(bytes).map_err(|error| match error.classify() {
            serde_json::error::Category::Data => BadBody::Shape(error.to_string()),
            _ => BadBody::Syntax,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_whole_url_and_a_bare_path_give_the_same_request() {
        let from_url = Request::new("get", "http://127.0.0.1:1/hetzner/v1/servers?a=1&a=x%3Dy");
        let from_path = Request::new("GET", "/hetzner/v1/servers?a=1&a=x%3Dy");
        assert_eq!(from_url.path, from_path.path);
        assert_eq!(from_url.query, from_path.query);
        assert_eq!(from_url.query[1], ("a".into(), "x=y".into()));
        assert_eq!(from_url.target(), Some((Provider::Hetzner, "/servers")));
    }

    #[test]
    fn a_path_that_only_starts_like_a_prefix_belongs_to_nobody() {
        assert_eq!(Request::new("GET", "/hetzner/v10/servers").target(), None);
        assert_eq!(Request::new("GET", "/").target(), None);
    }
}
