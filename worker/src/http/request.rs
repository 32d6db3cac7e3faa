//! One request: what it works with, where it comes from, what it asks for.
//!
//! Handlers get it whole and read from it what they need; a body that goes to storage stays a stream (see `body`).

use crate::app::App;
use crate::error::ApiResult;
use crate::http::body;
use crate::http::path::Params;
use crate::random::random;
use serde::de::DeserializeOwned;
use url::Url;
use worker::Request;

/// A request that has come in.
pub struct Incoming {
    /// What it works with.
    pub app: App,
    /// Where it comes from.
    pub address: String,
    /// What was asked for.
    pub url: Url,
    /// The variable parts of its path.
    pub params: Params,
    /// As it came.
    pub request: Request,
}

impl Incoming {
    /// A parameter of the query.
    pub fn query(&self, name: &str) -> Option<String> {
        self.url.query_pairs().find(|(key, _)| key == name).map(|(_, value)| value.into_owned())
    }

    /// A header's value.
    pub fn header(&self, name: &str) -> Option<String> {
        self.request.headers().get(name).ok().flatten()
    }

    /// Its body, JSON of the usual size.
    ///
    /// # Errors
    /// As [`body::read_json`].
    pub async fn json<T: DeserializeOwned>(&self) -> ApiResult<T> {
        body::read_json(&self.request).await
    }
}

/// The name of a request: Cloudflare's own where there is one.
pub fn request_id(request: &Request) -> String {
    let ray = request.headers().get("cf-ray").ok().flatten().filter(|ray| is_plain(ray));
    ray.or_else(|| random::<8>().ok().map(hex::encode)).unwrap_or_else(|| "unnamed".to_owned())
}

/// Where a request comes from; Cloudflare overwrites the header, so a client cannot choose it.
pub fn address(request: &Request) -> String {
    let header = request.headers().get("cf-connecting-ip").ok().flatten();
    header.filter(|address| is_plain(address)).unwrap_or_else(|| "unknown".to_owned())
}

fn is_plain(text: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b':');
    !text.is_empty() && text.len() <= 64 && text.bytes().all(plain)
}
