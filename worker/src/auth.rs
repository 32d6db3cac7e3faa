//! Who asks: the owner token, an API key, a session, or a machine's token.
//!
//! Comparisons take the same time whatever they find, and no refusal says which part was wrong. Handlers get a
//! [`Context`] and act for its tenant alone. Nothing is written per request: a key's last use is noted once an hour.

use crate::config::Config;
use crate::error::{ApiError, ApiResult};
use crate::index::KeyRow;
use crate::invocation::Invocation;
use crate::log::{self, Level};
use crate::route::Access;
use base64::Engine;
use ebbtide_api::keys::Scope;
use ebbtide_api::{Duration, ErrorCode, TenantId, Timestamp, WorkspaceId};
use ebbtide_control::tokens::{ApiKey, TokenError, VmClaims, same_secret};
use std::cell::RefCell;
use std::collections::BTreeMap;

/// How often a key's last use is written down: a row a key and hour.
const TOUCH_EVERY: Duration = Duration::from_hours(1);

/// Failed sign-ins of one address before it has to wait.
const FAILURES_MAX: u32 = 30;
/// In so long; also how long it waits.
const FAILURES_WINDOW_SECS: i64 = 60;
/// Addresses that are remembered, the oldest forgotten first.
const ADDRESSES_MAX: usize = 1_000;

/// For whom a handler acts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Context {
    /// Whose things may be touched.
    pub tenant: TenantId,
    /// Who acts, for the audit log: `owner`, `key:{id}`, `session:…`.
    pub actor: String,
    /// What may be done.
    pub scopes: Vec<Scope>,
    /// The one workspace whose backups may be read: set for a restore kit's key, which has no scope.
    pub repository: Option<WorkspaceId>,
    /// Names the request in the logs.
    pub request_id: String,
}

impl Context {
    /// Whether a scope is covered: `admin` covers `write`, and `write` covers `read`.
    pub fn may(&self, scope: Scope) -> bool {
        self.scopes.iter().any(|own| *own >= scope)
    }
}

/// Who is behind a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Caller {
    /// Nobody in particular, where the route is open.
    Anybody,
    /// A person or a program of a tenant.
    Person(Context),
    /// A machine.
    Machine(VmClaims),
}

impl Caller {
    /// The person, where the route asks for one.
    ///
    /// # Errors
    /// The table and the dispatcher disagree.
    pub fn person(self) -> ApiResult<Context> {
        match self {
            Self::Person(context) => Ok(context),
            Self::Anybody | Self::Machine(_) => {
                Err(ApiError::internal("a route for people was reached without one"))
            }
        }
    }

    /// The machine, where the route asks for one.
    ///
    /// # Errors
    /// The table and the dispatcher disagree.
    pub fn machine(self) -> ApiResult<VmClaims> {
        match self {
            Self::Machine(claims) => Ok(claims),
            Self::Anybody | Self::Person(_) => {
                Err(ApiError::internal("a route for machines was reached without one"))
            }
        }
    }
}

/// Lets a request through, or refuses it.
///
/// # Errors
/// `unauthorized`, `token_expired`, `forbidden`, `rate_limited`.
pub async fn authenticate(
    invocation: &Invocation,
    header: Option<&str>,
    access: Access,
) -> ApiResult<Caller> {
    let scope = match access {
        Access::Open => return Ok(Caller::Anybody),
        Access::Machine => {
            let token = credential(header).ok_or_else(missing)?;
            return machine(&invocation.config, &token, invocation.now()).map(Caller::Machine);
        }
        Access::Read | Access::Restic => Scope::Read,
        Access::Write => Scope::Write,
        Access::Admin => Scope::Admin,
    };
    let credential = credential(header).ok_or_else(missing)?;
    let context = sign_in(invocation, &credential).await?;
    // The handler compares the workspace.
    let kit = access == Access::Restic && context.repository.is_some();
    if kit || context.may(scope) {
        Ok(Caller::Person(context))
    } else {
        let message = format!("this key lacks the scope `{}`", scope.as_str());
        Err(ApiError::new(ErrorCode::Forbidden, message))
    }
}

/// Turns a credential that a person holds (the owner token or an API key) into a context; the sign-in form uses it too.
///
/// # Errors
/// `unauthorized`, or `rate_limited` after many failures from one address.
pub async fn sign_in(invocation: &Invocation, credential: &str) -> ApiResult<Context> {
    let now = invocation.now();
    let request_id = invocation.request_id.clone();
    if same_secret(&invocation.config.owner_token, credential) {
        let scopes = vec![Scope::Read, Scope::Write, Scope::Admin];
        return Ok(Context {
            tenant: TenantId::owner(),
            actor: "owner".to_owned(),
            scopes,
            repository: None,
            request_id,
        });
    }
    // A lookup costs a database call: whoever guesses is stopped before it.
    if FAILURES.with_borrow(|failures| failures.is_blocked(&invocation.address, now)) {
        let wait = FAILURES_WINDOW_SECS.to_string();
        return Err(ApiError::new(ErrorCode::RateLimited, "too many failed sign-ins from this address")
            .header("retry-after", wait));
    }
    if let Ok(key) = ApiKey::parse(credential) {
        let index = invocation.index()?;
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
                    log::write(Level::Warn, &format!("a key's last use was not noted: {error}"), &[]);
                }
            }
            let actor = format!("key:{}", key.id());
            let KeyRow { tenant, scopes, repository, .. } = row;
            return Ok(Context { tenant, actor, scopes, repository, request_id });
        }
    }
    FAILURES.with_borrow_mut(|failures| failures.count(&invocation.address, now));
    Err(ApiError::new(ErrorCode::Unauthorized, "the credential is not one of ours")
        .header("www-authenticate", BEARER))
}

/// Turns the token of a dashboard session into a context.
///
/// # Errors
/// `unauthorized` or `token_expired`.
pub fn session(config: &Config, token: &str, now: Timestamp, request_id: &str) -> ApiResult<Context> {
    let claims = config.token_keys.verify_session(token, now).map_err(refuse_token)?;
    let scopes = vec![Scope::Read, Scope::Write, Scope::Admin];
    Ok(Context {
        tenant: claims.tenant,
        actor: claims.actor,
        scopes,
        repository: None,
        request_id: request_id.to_owned(),
    })
}

/// Reads a machine's token. Whether its generation lives is the object's to say.
fn machine(config: &Config, token: &str, now: Timestamp) -> ApiResult<VmClaims> {
    config.token_keys.verify_vm(token, now).map_err(refuse_token)
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
    fn scopes_cover_those_below_them() {
        let context = |scopes: &[Scope]| Context {
            tenant: TenantId::owner(),
            actor: String::new(),
            scopes: scopes.to_vec(),
            repository: None,
            request_id: String::new(),
        };
        assert!(context(&[Scope::Write]).may(Scope::Read));
        assert!(!context(&[Scope::Write]).may(Scope::Admin));
        assert!(context(&[Scope::Admin]).may(Scope::Write));
        assert!(!context(&[]).may(Scope::Read));
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
