//! Who asks: the owner token, an API key, a session, or a machine's token.
//!
//! Comparisons take the same time whatever they find, and no refusal says which part was wrong. Handlers get a
//! [`Actor`] and act for its tenant alone. Nothing is written per request: a key's last use is noted once an hour.

use crate::actor::Actor;
use crate::app::App;
use crate::d1::KeyRow;
use crate::error::{ApiError, ApiResult};
use crate::http::limits;
use crate::log::Level;
use base64::Engine;
use ebbtide_api::keys::Scope;
use ebbtide_api::{Duration, ErrorCode, TenantId, Timestamp};
use ebbtide_control::tokens::{ApiKey, TokenError, TokenKeys, VmClaims, same_secret};
use sha2::{Digest, Sha256};
use std::cell::RefCell;
use std::collections::BTreeMap;

/// How often a key's last use is written down: a row a key and hour.
const TOUCH_EVERY: Duration = Duration::from_hours(1);

/// What an address is told that has guessed too often.
const GUESSED: &str = "too many failed sign-ins from this address";
/// Failed sign-ins of one address before it has to wait.
const FAILURES_MAX: u32 = 30;
/// In so long; also how long it waits.
const FAILURES_WINDOW_SECS: i64 = 60;
/// Addresses that are remembered, the oldest forgotten first.
const ADDRESSES_MAX: usize = 1_000;

/// Who may come in as a person.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Needs {
    /// Whoever has the scope.
    Scope(Scope),
    /// Whoever has the scope `read`, or a restore kit's key. The handler compares the workspace.
    Backups,
}

/// What commands to workspaces need.
pub const COMMANDS: Needs = Needs::Scope(Scope::Write);

/// Lets a person or a program of a tenant through, or refuses it.
///
/// # Errors
/// `unauthorized`, `token_expired`, `forbidden`, `rate_limited`.
pub async fn person(app: &App, header: Option<&str>, address: &str, needs: Needs) -> ApiResult<Actor> {
    let credential = credential(header).ok_or_else(missing)?;
    let actor = sign_in(app, &credential, address).await?;
    let (scope, is_let_in) = match needs {
        Needs::Scope(scope) => (scope, actor.may(scope)),
        Needs::Backups => (Scope::Read, actor.may(Scope::Read) || actor.repository.is_some()),
    };
    if is_let_in {
        Ok(actor)
    } else {
        let message = format!("this key lacks the scope `{}`", scope.as_str());
        Err(ApiError::new(ErrorCode::Forbidden, message))
    }
}

/// Lets a machine through by its token, or refuses it. Whether its generation lives is the object's to say.
///
/// # Errors
/// `unauthorized`, `token_expired`, `stale_generation`.
pub fn machine(app: &App, header: Option<&str>) -> ApiResult<VmClaims> {
    let token = credential(header).ok_or_else(missing)?;
    token_keys(app)?.verify_vm(&token, app.now()).map_err(refuse_token)
}

/// What signs tokens and proves them.
///
/// # Errors
/// `not_configured`.
pub fn token_keys(app: &App) -> ApiResult<&TokenKeys> {
    app.config.token_keys().map_err(ApiError::not_configured)
}

/// Turns a credential that a person holds (the owner token or an API key) into an actor; the sign-in form uses it too.
///
/// # Errors
/// `unauthorized`, or `rate_limited` after many failures from one address.
pub async fn sign_in(app: &App, credential: &str, address: &str) -> ApiResult<Actor> {
    let now = app.now();
    if same_secret(&app.config.owner_token, credential) {
        return Ok(Actor::unlimited(TenantId::owner(), "owner".to_owned(), address));
    }
    // A lookup costs a database call: whoever guesses is stopped before it.
    if FAILURES.with_borrow(|failures| failures.is_blocked(address, now)) {
        return Err(limits::refusal(GUESSED));
    }
    if let Ok(key) = ApiKey::parse(credential) {
        let index = app.d1()?;
        if let Some(row) = index.key(key.id()).await?.filter(|row| key.matches(&row.digest)) {
            if row.expires_at.is_some_and(|at| at <= now) {
                return Err(ApiError::new(ErrorCode::TokenExpired, "this restore kit has ended")
                    .hint("POST …/restore-kit makes another; `for` says how long it is good.")
                    .header("www-authenticate", BEARER));
            }
            let idle = row.last_used_at.map(|at| now.duration_since(at));
            if idle.is_none_or(|idle| idle >= TOUCH_EVERY.into()) {
                // A plan that has no rows left must not lock out whoever wants to put things to sleep.
                if let Err(error) = index.touch_key(key.id(), now).await {
                    error.log(Level::Warn, "a key's last use was not noted", &[]);
                }
            }
            let name = format!("key:{}", key.id());
            let KeyRow { tenant, scopes, repository, .. } = row;
            return Ok(Actor { tenant, name, scopes, repository, address: address.to_owned() });
        }
    }
    FAILURES.with_borrow_mut(|failures| failures.count(address, now));
    limits::admit(app, "credential", address).await?;
    Err(ApiError::new(ErrorCode::Unauthorized, "the credential is not one of ours")
        .header("www-authenticate", BEARER))
}

/// Turns the token of a dashboard session into an actor.
///
/// # Errors
/// `unauthorized` or `token_expired`.
pub fn session(app: &App, token: &str, address: &str) -> ApiResult<Actor> {
    let claims = token_keys(app)?.verify_session(token, app.now()).map_err(refuse_token)?;
    if claims.signed_in_with != signed_in_with(app) {
        return Err(ApiError::new(ErrorCode::Unauthorized, "the owner token is another one by now"));
    }
    Ok(Actor::unlimited(claims.tenant, claims.actor, address))
}

/// What a session says of the owner token that began it. The token cannot be found from it: it has too many characters to
/// be guessed.
pub fn signed_in_with(app: &App) -> String {
    let token = app.config.owner_token.expose().as_bytes();
    hex::encode(Sha256::new().chain_update(b"ebbtide-owner-v1\n").chain_update(token).finalize())
}

/// How a token of ours is refused.
pub fn refuse_token(error: TokenError) -> ApiError {
    let code = match error {
        TokenError::Expired => ErrorCode::TokenExpired,
        TokenError::WrongGeneration { .. } => ErrorCode::StaleGeneration,
        TokenError::NotYetValid
        | TokenError::WrongAudience
        | TokenError::WrongInstall
        | TokenError::OtherWorkspace
        | TokenError::UnknownKey
        | TokenError::WrongAlgorithm
        | TokenError::BadSignature
        | TokenError::Malformed
        | TokenError::NotSigned => ErrorCode::Unauthorized,
    };
    ApiError::new(code, error.to_string())
}

const BEARER: &str = "Bearer realm=\"ebbtide\"";

fn missing() -> ApiError {
    ApiError::new(ErrorCode::Unauthorized, "the request carries no credential")
        .header("www-authenticate", BEARER)
}

/// The credential of an `Authorization` header: what follows `Bearer`, or the password of `Basic`, whose user may be
/// anything (restic sends one).
fn credential(header: Option<&str>) -> Option<String> {
    let (scheme, rest) = header?.trim().split_once(' ')?;
    let rest = rest.trim();
    if scheme.eq_ignore_ascii_case("bearer") {
        return Some(rest.to_owned()).filter(|token| !token.is_empty());
    }
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let decoded = base64::prelude::BASE64_STANDARD.decode(rest).ok()?;
    let text = String::from_utf8(decoded).ok()?;
    text.split_once(':').map(|(_, password)| password.to_owned()).filter(|password| !password.is_empty())
}

thread_local! {
    /// Kept by each isolate for itself: a brake, not an account.
    static FAILURES: RefCell<Failures> = RefCell::new(Failures::default());
}

/// Failed sign-ins by address.
#[derive(Debug, Default)]
struct Failures(BTreeMap<String, (i64, u32)>);

impl Failures {
    fn is_blocked(&self, address: &str, now: Timestamp) -> bool {
        self.0.get(address).is_some_and(|(since, count)| {
            now.as_second().saturating_sub(*since) < FAILURES_WINDOW_SECS && *count >= FAILURES_MAX
        })
    }

    fn count(&mut self, address: &str, now: Timestamp) {
        let now = now.as_second();
        self.0.retain(|_, (since, _)| now.saturating_sub(*since) < FAILURES_WINDOW_SECS);
        if self.0.len() >= ADDRESSES_MAX {
            let oldest =
                self.0.iter().min_by_key(|(_, (since, _))| *since).map(|(address, _)| address.clone());
            oldest.and_then(|oldest| self.0.remove(&oldest));
        }
        let entry = self.0.entry(address.to_owned()).or_insert((now, 0));
        entry.1 = entry.1.saturating_add(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_credential_is_read_from_bearer_and_from_basic() {
        let table = [
            (Some("Bearer abc"), Some("abc")),
            (Some("bearer  abc "), Some("abc")),
            (Some("Basic dXNlcjpwYXNzOndvcmQ="), Some("pass:word")),
            (Some("Basic OnB3"), Some("pw")),
            (Some("Basic !!!"), None),
            (Some("Basic dXNlcg=="), None),
            (Some("Basic dXNlcjo="), None),
            (Some("Bearer "), None),
            (Some("Bearer"), None),
            (Some("Digest x"), None),
            (Some(""), None),
            (None, None),
        ];
        for (header, wanted) in table {
            assert_eq!(credential(header).as_deref(), wanted, "{header:?}");
        }
    }

    #[test]
    fn an_address_that_guesses_is_stopped_for_a_minute_and_others_are_not() {
        let at = |second| Timestamp::from_second(second).unwrap();
        let mut failures = Failures::default();
        for _ in 0..FAILURES_MAX {
            assert!(!failures.is_blocked("a", at(100)));
            failures.count("a", at(100));
        }
        assert!(failures.is_blocked("a", at(159)));
        assert!(!failures.is_blocked("a", at(160)));
        assert!(!failures.is_blocked("b", at(100)));
    }

    #[test]
    fn memory_of_failures_is_bounded() {
        let mut failures = Failures::default();
        for number in 0..2 * ADDRESSES_MAX {
            failures.count(&number.to_string(), Timestamp::from_second(1_000).unwrap());
        }
        assert_eq!(failures.0.len(), ADDRESSES_MAX);
    }
}
