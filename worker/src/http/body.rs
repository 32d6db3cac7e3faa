//! Reads request bodies with a limit, checked on the declared length and again while reading.
//!
//! Bodies that go to storage are never read here: they stay streams of the runtime (see `storage`).

use crate::error::{ApiError, ApiResult};
use crate::http::json::{self, BODY_MAX};
use ebbtide_api::ErrorCode;
use futures_util::StreamExt;
use serde::de::DeserializeOwned;
use worker::{ByteStream, Request};

/// Reads a body of at most `limit` bytes.
///
/// # Errors
/// `body_too_large`, before anything is read where the length is declared; `bad_json` where the sender breaks off.
pub async fn read(request: &Request, limit: usize) -> ApiResult<Vec<u8>> {
    if declared_length(request).is_some_and(|length| length > u64::try_from(limit).unwrap_or(u64::MAX)) {
        return Err(too_large(limit));
    }
    let Some(stream) = request.inner().body() else { return Ok(Vec::new()) };
    let mut stream = ByteStream::from(stream);
    let mut body = Vec::new();
    while let Some(chunk) = stream.next().await {
        let chunk =
            chunk.map_err(|error| ApiError::new(ErrorCode::BadJson, "the body broke off").cause(error))?;
        if body.len().saturating_add(chunk.len()) > limit {
            return Err(too_large(limit));
        }
        body.extend(chunk);
    }
    Ok(body)
}

/// Refuses a body where none is taken: whoever sends one means something by it, which would not happen.
///
/// # Errors
/// `unexpected_body`.
pub async fn refuse_any(request: &Request) -> ApiResult<()> {
    let refusal = |_| ApiError::new(ErrorCode::UnexpectedBody, "this path takes no body with this method");
    read(request, 0).await.map(|_| ()).map_err(refusal)
}

/// Reads a JSON body of the usual limit.
///
/// # Errors
/// As [`read`] and [`json::parse`].
pub async fn read_json<T: DeserializeOwned>(request: &Request) -> ApiResult<T> {
    json::parse(&read(request, BODY_MAX).await?)
}

/// The length that the request declares.
pub fn declared_length(request: &Request) -> Option<u64> {
    request.headers().get("content-length").ok().flatten()?.trim().parse().ok()
}

/// Refuses a body that is larger than `limit` bytes.
pub fn too_large(limit: usize) -> ApiError {
    ApiError::new(ErrorCode::BodyTooLarge, format!("the body has more than {limit} bytes"))
}
