//! Answers: JSON bodies, refusals, and the headers that every answer carries.

use crate::error::{ApiError, ApiResult};
use crate::subrequests::Calls;
use serde::Serialize;
use worker::{Headers, Response, ResponseBuilder};

/// Headers that every answer has unless it brings its own.
const HEADERS: &[(&str, &str)] = &[
    ("x-content-type-options", "nosniff"),
    ("referrer-policy", "no-referrer"),
    ("x-frame-options", "DENY"),
    ("cache-control", "no-store"),
    ("content-security-policy", "default-src 'none'; frame-ancestors 'none'"),
    ("cross-origin-resource-policy", "same-origin"),
];

/// A JSON answer.
///
/// # Errors
/// The value cannot be written as JSON.
pub fn json(status: u16, value: &impl Serialize) -> ApiResult<Response> {
    let body = serde_json::to_string(value).map_err(ApiError::internal)?;
    json_text(status, body)
}

/// An answer that is JSON already.
///
/// # Errors
/// None in practice.
pub fn json_text(status: u16, body: String) -> ApiResult<Response> {
    let builder = ResponseBuilder::new().with_status(status);
    let builder = builder.with_header("content-type", "application/json").map_err(ApiError::internal)?;
    Ok(builder.fixed(body.into_bytes()))
}

/// A plain text.
///
/// # Errors
/// The runtime takes no such header, which it does.
pub fn text(status: u16, body: String) -> ApiResult<Response> {
    let builder = ResponseBuilder::new().with_status(status);
    let builder =
        builder.with_header("content-type", "text/plain; charset=utf-8").map_err(ApiError::internal)?;
    Ok(builder.fixed(body.into_bytes()))
}

/// An answer without a body.
pub fn nothing(status: u16) -> Response {
    ResponseBuilder::new().with_status(status).empty()
}

/// A refusal as an answer.
pub fn refusal(error: &ApiError, request_id: &str) -> Response {
    let body = serde_json::to_string(&error.body(request_id)).unwrap_or_default();
    let headers = Headers::new();
    for (name, value) in
        error.headers().iter().map(|(n, v)| (*n, v.as_str())).chain([("content-type", "application/json")])
    {
        set(&headers, name, value);
    }
    ResponseBuilder::new().with_status(error.status()).with_headers(headers).fixed(body.into_bytes())
}

/// Adds the headers of a refusal to the page that shows it.
pub fn with_headers(page: Response, error: &ApiError) -> Response {
    for (name, value) in error.headers() {
        set(page.headers(), name, value);
    }
    page
}

/// Adds what every answer carries. A WebSocket's answer is left as the runtime made it.
pub fn finish(response: Response, request_id: &str, calls: &Calls, is_https: bool) -> Response {
    if response.status_code() == 101 {
        return response;
    }
    let headers = response.headers();
    for (name, value) in HEADERS {
        if !headers.has(name).unwrap_or(false) {
            set(headers, name, value);
        }
    }
    if is_https {
        set(headers, "strict-transport-security", "max-age=31536000; includeSubDomains");
    }
    set(headers, "x-request-id", request_id);
    set(headers, "x-ebbtide-calls", &calls.to_string());
    response
}

/// Sets a header; one that cannot be set is not worth a lost answer.
fn set(headers: &Headers, name: &str, value: &str) {
    if let Err(error) = headers.set(name, value) {
        let fields = [("header", name), ("error", &error.to_string())];
        crate::log::write(crate::log::Level::Warn, "a header was left out", &fields);
    }
}
