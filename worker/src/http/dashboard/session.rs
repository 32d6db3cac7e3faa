//! The dashboard's session: a signed token in a cookie, and what proves that a form comes from it. Pure.
//!
//! The cookie is `__Host-`: Secure, this host alone, path `/`. Browsers take such a cookie over plain http from a
//! loopback address too, so a laptop needs no other name. The proof (CSRF token) is derived from the session token,
//! so nothing is stored: who can make one holds the session already.

use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

/// The cookie's name.
pub const COOKIE: &str = "__Host-ebbtide";

/// How long a session lasts, in seconds: 12 hours, a working day.
pub const LIFE_SECS: i64 = 12 * 3600;

/// A session as its browser shows it; not verified yet.
#[derive(Clone, PartialEq, Eq)]
pub struct Session(String);

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Session(redacted)")
    }
}

impl Session {
    /// Takes a token just issued.
    pub fn new(token: impl Into<String>) -> Self {
        Self(token.into())
    }

    /// Finds the session among a request's cookies.
    pub fn from_cookies(header: &str) -> Option<Self> {
        let values = header.split(';').filter_map(|pair| pair.split_once('='));
        values
            .filter(|(name, _)| name.trim() == COOKIE)
            .map(|(_, value)| value.trim())
            .find(|value| !value.is_empty())
            .map(Self::new)
    }

    /// The token, for verification.
    pub fn token(&self) -> &str {
        &self.0
    }

    /// Proves that a form comes from this session.
    pub fn proof(&self) -> String {
        hex::encode(
            Sha256::new().chain_update(b"ebbtide-csrf-v1\n").chain_update(self.0.as_bytes()).finalize(),
        )
    }

    /// Whether a form's proof is this session's; takes as long for a wrong one as for a right one.
    pub fn proves(&self, shown: &str) -> bool {
        self.proof().as_bytes().ct_eq(shown.as_bytes()).into()
    }

    /// Names it where it is noted as ended; nobody can make the session from that.
    pub fn digest(&self) -> String {
        hex::encode(
            Sha256::new().chain_update(b"ebbtide-session-v1\n").chain_update(self.0.as_bytes()).finalize(),
        )
    }

    /// The `Set-Cookie` that begins it.
    pub fn begin(&self) -> String {
        format!("{COOKIE}={}; Path=/; Max-Age={LIFE_SECS}; HttpOnly; Secure; SameSite=Lax", self.0)
    }

    /// The `Set-Cookie` that ends whatever session there is.
    pub fn end() -> String {
        format!("{COOKIE}=; Path=/; Max-Age=0; HttpOnly; Secure; SameSite=Lax")
    }
}

/// Whether a form was sent by a page of our own, as far as the browser says so. A browser that says nothing sends no
/// form from elsewhere past `SameSite=Lax`.
pub fn from_ourselves(origin: Option<&str>, fetch_site: Option<&str>, own_origins: &[&str]) -> bool {
    let site_allows = fetch_site.is_none_or(|site| matches!(site, "same-origin" | "none"));
    let origin_allows = origin.is_none_or(|origin| own_origins.contains(&origin));
    site_allows && origin_allows
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_session_is_found_among_other_cookies() {
        let found = |header| Session::from_cookies(header).map(|session| session.token().to_owned());
        assert_eq!(found("a=b; __Host-ebbtide=e.y.J; c=d").as_deref(), Some("e.y.J"));
        assert_eq!(found("__Host-ebbtide=e.y.J").as_deref(), Some("e.y.J"));
        for header in ["", "__Host-ebbtide=", "ebbtide=x", "x__Host-ebbtide=x", "__Host-ebbtide"] {
            assert_eq!(found(header), None, "{header}");
        }
    }

    #[test]
    fn a_proof_is_good_for_its_own_session_alone() {
        let (mine, other) = (Session::new("a"), Session::new("b"));
        assert!(mine.proves(&mine.proof()));
        for wrong in [
            other.proof(),
            String::new(),
            "a".into(),
            mine.proof().to_uppercase(),
            format!("{}0", mine.proof()),
        ] {
            assert!(!mine.proves(&wrong), "{wrong}");
        }
    }

    #[test]
    fn the_cookie_is_kept_from_scripts_other_hosts_and_other_sites() {
        let cookie = Session::new("t").begin();
        assert_eq!(cookie, "__Host-ebbtide=t; Path=/; Max-Age=43200; HttpOnly; Secure; SameSite=Lax");
        assert!(Session::end().contains("Max-Age=0"));
        assert_eq!(format!("{:?}", Session::new("secret")), "Session(redacted)");
        assert_ne!(
            Session::new("t").digest(),
            Session::new("t").proof(),
            "a page shows the one, the index the other"
        );
    }

    #[test]
    fn forms_of_other_sites_are_refused_and_silent_clients_are_not() {
        let own = ["http://127.0.0.1:8787"];
        let table = [
            (None, None, true),
            (Some("http://127.0.0.1:8787"), Some("same-origin"), true),
            (Some("http://127.0.0.1:8787"), None, true),
            (Some("https://evil.example"), None, false),
            (Some("null"), None, false),
            (None, Some("cross-site"), false),
            (None, Some("same-site"), false),
            (Some("http://127.0.0.1:8787"), Some("cross-site"), false),
        ];
        for (origin, site, expected) in table {
            assert_eq!(from_ourselves(origin, site, &own), expected, "{origin:?} {site:?}");
        }
    }
}
