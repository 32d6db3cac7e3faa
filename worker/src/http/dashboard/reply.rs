//! Answers that a browser reads: pages, redirects and static files, each with its headers.

use crate::error::{ApiError, ApiResult};
use ebbtide_dashboard::asset::{Asset, CACHE_CONTROL};
use ebbtide_dashboard::page::{CONTENT_SECURITY_POLICY, Template};
use worker::{Headers, Response, ResponseBuilder};

/// Headers of every page. Nothing of a page may be kept, framed, sniffed or told to another site.
const PAGE_HEADERS: &[(&str, &str)] = &[
    ("content-type", "text/html; charset=utf-8"),
    ("content-security-policy", CONTENT_SECURITY_POLICY),
    ("cache-control", "no-store"),
    ("x-content-type-options", "nosniff"),
    ("referrer-policy", "same-origin"),
    ("cross-origin-opener-policy", "same-origin"),
    ("permissions-policy", "camera=(), geolocation=(), microphone=()"),
];

/// A page.
///
/// # Errors
/// The template or the runtime failed.
pub fn page(status: u16, template: &impl Template) -> ApiResult<Response> {
    let html = template.render().map_err(ApiError::internal)?;
    let headers = headers(PAGE_HEADERS)?;
    Ok(ResponseBuilder::new().with_status(status).with_headers(headers).fixed(html.into_bytes()))
}

/// Sends the browser on with GET, and sets a cookie where one is given.
///
/// # Errors
/// The runtime failed.
pub fn see(location: &str, cookie: Option<&str>) -> ApiResult<Response> {
    let headers = headers(&[
        ("location", location),
        ("cache-control", "no-store"),
        ("referrer-policy", "no-referrer"),
    ])?;
    if let Some(cookie) = cookie {
        headers.append("set-cookie", cookie).map_err(ApiError::internal)?;
    }
    Ok(ResponseBuilder::new().with_status(303).with_headers(headers).empty())
}

/// A static file; nothing again where the browser has it.
///
/// # Errors
/// The runtime failed.
pub fn asset(asset: &Asset, if_none_match: Option<&str>) -> ApiResult<Response> {
    let etag = asset.etag();
    let headers = headers(&[
        ("content-type", asset.content_type),
        ("cache-control", CACHE_CONTROL),
        ("etag", &etag),
        ("x-content-type-options", "nosniff"),
        ("cross-origin-resource-policy", "same-origin"),
    ])?;
    let answer = ResponseBuilder::new().with_headers(headers);
    if if_none_match.is_some_and(|known| has_tag(known, &etag)) {
        return Ok(answer.with_status(304).empty());
    }
    Ok(answer.fixed(asset.text.as_bytes().to_vec()))
}

/// Whether an `If-None-Match` names a tag; caches on the way may have made it a weak one.
fn has_tag(header: &str, etag: &str) -> bool {
    header.split(',').map(|tag| tag.trim().trim_start_matches("W/")).any(|tag| tag == etag || tag == "*")
}

fn headers(pairs: &[(&str, &str)]) -> ApiResult<Headers> {
    let headers = Headers::new();
    for (name, value) in pairs {
        headers.set(name, value).map_err(ApiError::internal)?;
    }
    Ok(headers)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_known_tag_is_recognised_in_every_form_that_caches_send() {
        for header in ["\"abc\"", "W/\"abc\"", "\"x\", \"abc\"", "*"] {
            assert!(has_tag(header, "\"abc\""), "{header}");
        }
        for header in ["", "abc", "\"abcd\""] {
            assert!(!has_tag(header, "\"abc\""), "{header}");
        }
    }
}
