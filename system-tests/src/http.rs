//! Plain HTTP/1.1 from outside, as `curl` would send it: any host header, any status is an answer.

use anyhow::{Context, Result, anyhow};
use serde_json::Value;
use std::io::Read;
use std::time::Duration;
use ureq::Agent;
use ureq::http::Request;

/// Longest time for one request and its answer.
const TIMEOUT: Duration = Duration::from_secs(60);
/// Most bytes that are read of an answer.
const MOST: u64 = 512 * 1024 * 1024;

/// An answer, read to its end.
#[derive(Debug, Clone)]
pub struct Answer {
    /// HTTP status.
    pub status: u16,
    /// Headers, names in lower case.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
}

impl Answer {
    /// A header's value.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON; `null` where it is none.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or(Value::Null)
    }

    /// The answer itself, where it has that status.
    ///
    /// # Errors
    /// Status and body of any other.
    pub fn expect(self, status: u16) -> Result<Self> {
        if self.status == status {
            return Ok(self);
        }
        let text = self.text();
        let shown: String = text.chars().take(2000).collect();
        Err(anyhow!("answered {} instead of {status}: {shown}", self.status))
    }
}

/// Something that sends requests. Cheap to clone; keeps connections open.
#[derive(Debug, Clone)]
pub struct Http {
    agent: Agent,
}

impl Default for Http {
    fn default() -> Self {
        Self::with_timeout(TIMEOUT)
    }
}

impl Http {
    /// With another limit for one request.
    pub fn with_timeout(limit: Duration) -> Self {
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .timeout_global(Some(limit))
            .proxy(None)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .allow_non_standard_methods(true);
        Self { agent: Agent::new_with_config(config.build()) }
    }

    /// Sends a request and reads the answer. A body is sent with its length.
    ///
    /// # Errors
    /// Where no answer came.
    pub fn send(
        &self,
        method: &str,
        url: &str,
        headers: &[(&str, &str)],
        body: Option<&[u8]>,
    ) -> Result<Answer> {
        let mut request = Request::builder().method(method).uri(url);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let what = || format!("{method} {url}");
        let response = match body {
            Some(body) => self.agent.run(request.body(body).with_context(what)?),
            None => self.agent.run(request.body(()).with_context(what)?),
        };
        let (parts, body) = response.with_context(what)?.into_parts();
        let mut bytes = Vec::new();
        body.into_reader().take(MOST).read_to_end(&mut bytes).with_context(what)?;
        let headers = parts
            .headers
            .iter()
            .map(|(name, value)| {
                (name.as_str().to_owned(), String::from_utf8_lossy(value.as_bytes()).into_owned())
            })
            .collect();
        Ok(Answer { status: parts.status.as_u16(), headers, body: bytes })
    }
}
