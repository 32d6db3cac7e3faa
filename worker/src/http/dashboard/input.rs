//! What a browser sends: forms, headers and queries, each with a limit.

use super::session::from_ourselves;
use crate::error::{ApiError, ApiResult};
use crate::http::body;
use crate::http::request::Incoming;
use ebbtide_api::ErrorCode;
use url::form_urlencoded;
use worker::Request;

/// Largest form, in bytes: seven fields of 2 048 characters, encoded three times as long.
const FORM_MAX: usize = 48 * 1024;

/// A form's pairs, decoded.
#[derive(Debug, Default)]
pub struct Form(Vec<(String, String)>);

impl Form {
    /// Reads an encoded form.
    pub fn parse(text: &[u8]) -> Self {
        Self(form_urlencoded::parse(text).into_owned().collect())
    }

    /// The first value of a name; empty where there is none.
    pub fn get(&self, name: &str) -> &str {
        self.0.iter().find(|(key, _)| key == name).map_or("", |(_, value)| value)
    }

    /// All pairs.
    pub fn pairs(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }
}

/// Reads a form.
///
/// # Errors
/// It is too large or breaks off.
pub async fn form(request: &Request) -> ApiResult<Form> {
    Ok(Form::parse(&body::read(request, FORM_MAX).await?))
}

/// Writes a query.
pub fn encode(pairs: &[(&str, &str)]) -> String {
    form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish()
}

/// Refuses a form that a page of another site sent.
///
/// # Errors
/// `csrf_mismatch`.
pub fn refuse_other_sites(incoming: &Incoming) -> ApiResult<()> {
    let (origin, site) = (incoming.header("origin"), incoming.header("sec-fetch-site"));
    // The address in the bar and the configured one are the same host; a laptop may call it localhost.
    let own = [incoming.url.origin().ascii_serialization(), origin_of(&incoming.app.config.control_url)];
    let own: Vec<&str> = own.iter().map(String::as_str).collect();
    if from_ourselves(origin.as_deref(), site.as_deref(), &own) {
        return Ok(());
    }
    Err(ApiError::new(ErrorCode::CsrfMismatch, "the form was sent by a page of another site"))
}

fn origin_of(url: &str) -> String {
    url::Url::parse(url).map_or_else(|_| url.to_owned(), |url| url.origin().ascii_serialization())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms_are_decoded() {
        let form = Form::parse(b"repo=https%3A%2F%2Fh%2Fr+x&branch=%24(id)&repo=second&lone");
        assert_eq!(form.get("repo"), "https://h/r x");
        assert_eq!(form.get("branch"), "$(id)");
        assert_eq!(form.get("lone"), "");
        assert_eq!(form.get("absent"), "");
        assert_eq!(form.pairs().count(), 4);
    }

    #[test]
    fn queries_are_encoded() {
        assert_eq!(encode(&[("cursor", "a&b=c")]), "cursor=a%26b%3Dc");
        assert_eq!(origin_of("http://127.0.0.1:8787"), "http://127.0.0.1:8787");
    }
}
