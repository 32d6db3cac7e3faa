//! A thin client for Cloudflare's DNS API: the records that lead people to machines.
//!
//! Tolerant of record types and fields that it does not know; it changes and deletes only records that the caller
//! names or whose comment says that they are the caller's. Nothing retries in here.
//! Where to read next: [`Failure`] (what every call can answer), then `dns.rs`.

mod dns;
mod failure;

pub use dns::{
    Batch, BatchDone, CreateRecord, DeleteRecord, DnsRecord, EnsureRecord, RecordFilter, RecordId,
    RecordKind, RecordSpec, RecordsPage,
};
pub use failure::{ApiError, Failure};

use crate::http::{Http, HttpError, HttpRequest, Method};
use crate::secret::SecretText;
use failure::judge;
use serde::Deserialize;
use serde::de::DeserializeOwned;

/// Cloudflare's API behind an [`Http`] seam.
pub struct Cloudflare<H> {
    http: H,
    base: String,
    token: SecretText,
}

#[derive(Deserialize)]
struct Envelope<W> {
    result: W,
    result_info: Option<ResultInfo>,
}

#[derive(Deserialize)]
struct ResultInfo {
    total_pages: Option<u32>,
    total_count: Option<u64>,
}

impl<H: Http> Cloudflare<H> {
    /// A client for the API at `base` (`https://api.cloudflare.com/client/v4`), without a trailing slash.
    pub fn new(http: H, base: impl Into<String>, token: SecretText) -> Self {
        let base = base.into().trim_end_matches('/').to_owned();
        Self { http, base, token }
    }

    fn request(&self, method: Method, path: &str) -> HttpRequest {
        HttpRequest::new(method, format!("{}{path}", self.base)).bearer(&self.token)
    }

    async fn call<W: DeserializeOwned>(
        &self,
        request: Result<HttpRequest, HttpError>,
    ) -> Result<Envelope<W>, Failure> {
        let body = judge(self.http.send(request?).await?)?;
        serde_json::from_slice(&body)
            .map_err(|error| Failure::Unknown { reason: format!("the answer is not understood: {error}") })
    }
}

#[cfg(test)]
mod tests;
