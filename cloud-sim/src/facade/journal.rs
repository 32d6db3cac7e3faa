//! Every vendor call with its answer, for people and for tests. Keeps no header, no user-data, no password.

use std::collections::VecDeque;

use serde::Serialize;
use serde_json::Value;

use crate::model::{Delivery, Provider, Request, Response};

/// Entries kept; older ones are forgotten.
const KEPT: usize = 5_000;

#[derive(Debug, Clone, Serialize)]
pub(super) struct Entry {
    pub seq: u64,
    pub at_ms: i64,
    pub provider: Option<Provider>,
    pub method: String,
    /// Below the provider's prefix.
    pub path: String,
    pub query: Vec<(String, String)>,
    pub request: Value,
    pub status: u16,
    pub response: Value,
    /// Whether the caller saw the answer.
    pub delivered: bool,
    pub delayed_ms: u64,
}

#[derive(Default)]
pub(super) struct Journal {
    entries: VecDeque<Entry>,
    last_seq: u64,
}

impl Journal {
    pub fn record(&mut self, request: &Request, response: &Response, at_ms: i64) {
        let (provider, path) = match request.target() {
            Some((provider, path)) => (Some(provider), path),
            None => (None, request.path.as_str()),
        };
        self.last_seq += 1;
        if self.entries.len() >= KEPT {
            self.entries.pop_front();
        }
        self.entries.push_back(Entry {
            seq: self.last_seq,
            at_ms,
            provider,
            method: request.method.clone(),
            path: path.to_owned(),
            query: request.query.clone(),
            request: redacted(serde_json::from_slice(&request.body).unwrap_or(Value::Null)),
            status: response.status,
            response: redacted(response.json()),
            delivered: response.delivery != Delivery::Lost,
            delayed_ms: match response.delivery {
                Delivery::AfterMs(ms) => ms,
                Delivery::Now | Delivery::Lost => 0,
            },
        });
    }

    /// Entries after a sequence number, oldest first.
    pub fn after(&self, seq: u64) -> Vec<Entry> {
        self.entries.iter().filter(|entry| entry.seq > seq).cloned().collect()
    }

    pub fn clear(&mut self) {
        self.entries.clear();
    }
}

fn redacted(mut value: Value) -> Value {
    for field in ["user_data", "root_password"] {
        if let Some(text) = value.get_mut(field).filter(|text| text.is_string()) {
            let length = text.as_str().map_or(0, str::len);
            *text = Value::String(format!("({length} bytes, not kept)"));
        }
    }
    value
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn user_data_passwords_and_headers_are_not_kept() {
        let mut journal = Journal::default();
        let request = Request::new("POST", "/hetzner/v1/servers")
            .bearer("very-secret")
            .body(r#"{"name":"one","user_data":"token-inside"}"#);
        let response =
            Response { status: 201, body: br#"{"root_password":"hunter2"}"#.to_vec(), ..Response::default() };
        journal.record(&request, &response, 1);
        let text = serde_json::to_string(&journal.after(0)).unwrap();
        for secret in ["very-secret", "token-inside", "hunter2"] {
            assert!(!text.contains(secret), "{secret} in {text}");
        }
        assert!(text.contains("12 bytes"));
    }

    #[test]
    fn only_the_newest_entries_are_kept() {
        let mut journal = Journal::default();
        for _ in 0..KEPT + 3 {
            journal.record(&Request::new("GET", "/hetzner/v1/servers"), &Response::default(), 1);
        }
        assert_eq!(journal.after(0).len(), KEPT);
        assert_eq!(journal.after(0)[0].seq, 4);
        assert_eq!(journal.after(KEPT as u64).len(), 3);
    }
}
