//! Handlers of what belongs to a tenant or the installation: health, the OpenAPI document, keys, the audit log.

use crate::actor::Actor;
use crate::config::{ConfigProblems, Reach};
use crate::d1::KEYS_MAX;
use crate::error::{ApiError, ApiResult};
use crate::http::request::Incoming;
use crate::http::response;
use crate::random::random;
use crate::workspaces::audit::note;
use ebbtide_api::ErrorCode;
use ebbtide_api::health::{Health, HealthPart, HealthStatus};
use ebbtide_api::keys::{ApiKeyInfo, ApiKeyList, CreateApiKey, CreatedApiKey};
use ebbtide_api::workspace::NoFields;
use ebbtide_control::tokens::ApiKey;
use worker::Response;

/// Longest label of a key, in characters.
const LABEL_MAX: usize = 80;

/// The answer of an installation that is configured.
pub async fn health(incoming: &Incoming) -> ApiResult<Response> {
    if let Err(problems) = incoming.app.config.ensure(Reach::Everything) {
        return unhealthy(problems);
    }
    let health = crate::http::health::health(&incoming.app).await;
    response::json(if health.ok { 200 } else { 503 }, &health)
}

/// The answer of one that is not.
pub fn unhealthy(problems: ConfigProblems) -> ApiResult<Response> {
    let status = HealthStatus::Failing;
    let part = HealthPart { name: "configuration".to_owned(), status, code: "not_configured".to_owned() };
    let version = env!("CARGO_PKG_VERSION").to_owned();
    response::json(503, &Health { ok: false, status, version, problems: problems.0, parts: vec![part] })
}

pub async fn catalog(incoming: &Incoming, _actor: &Actor) -> ApiResult<Response> {
    response::json(200, &crate::workspaces::catalog::catalog(&incoming.app).await?)
}

pub async fn keys(incoming: &Incoming, actor: &Actor) -> ApiResult<Response> {
    let keys = incoming.app.d1()?.keys(&actor.tenant).await?;
    response::json(200, &ApiKeyList { keys })
}

pub async fn create_key(incoming: &Incoming, actor: &Actor) -> ApiResult<Response> {
    let app = &incoming.app;
    let CreateApiKey { label, mut scopes } = incoming.json().await?;
    if label.chars().count() > LABEL_MAX || label.chars().any(char::is_control) {
        return Err(ApiError::field("label", "it is too long or holds control characters")
            .hint("Give one line of at most 80 characters."));
    }
    scopes.sort();
    scopes.dedup();
    let Some(highest) = scopes.last().copied() else {
        return Err(ApiError::field("scopes", "there is none").hint("Choose from read, write and admin."));
    };
    if !actor.may(highest) {
        return Err(ApiError::new(
            ErrorCode::Forbidden,
            "a key cannot make one that may do more than itself",
        ));
    }
    let index = app.d1()?;
    if index.keys(&actor.tenant).await?.len() >= KEYS_MAX {
        return Err(ApiError::new(ErrorCode::CapReached, format!("there are {KEYS_MAX} keys already"))
            .hint("Revoke one that is not used any more."));
    }
    let key = ApiKey::from_random(random()?, random()?);
    let info = ApiKeyInfo {
        id: key.id().to_owned(),
        prefix: format!("ebb_{}", key.id()),
        label,
        scopes,
        created_at: app.now(),
        last_used_at: None,
        repository: None,
        expires_at: None,
    };
    let audit = app.audit_note(actor, "key.create", &info.id);
    index.put_key(&actor.tenant, &info, &key.digest(), &audit).await?;
    response::json(201, &CreatedApiKey { key: key.text().expose().clone(), info })
}

pub async fn revoke_key(incoming: &Incoming, actor: &Actor) -> ApiResult<Response> {
    let (app, id) = (&incoming.app, incoming.params.get("key"));
    let is_id = id.len() <= 32 && id.bytes().all(|byte| byte.is_ascii_alphanumeric());
    if !is_id || !app.d1()?.revoke_key(&actor.tenant, id).await? {
        return Err(
            ApiError::new(ErrorCode::NotFound, "there is no such key").hint("GET /v1/keys lists them.")
        );
    }
    note(app, actor, "key.revoke", id).await;
    Ok(response::nothing(204))
}

/// Wraps a slice of the tenants' keys under the current master key.
pub async fn rotate_master_key(incoming: &Incoming, actor: &Actor) -> ApiResult<Response> {
    let app = &incoming.app;
    let NoFields {} = incoming.json().await?;
    let rotation = app.keychain()?.rotate(incoming.query("cursor")).await?;
    let subject = format!("{}: {} wrapped anew", rotation.current, rotation.rewrapped);
    note(app, actor, "master_key.rotate", &subject).await;
    response::json(200, &rotation)
}

pub async fn audit(incoming: &Incoming, actor: &Actor) -> ApiResult<Response> {
    let before = incoming
        .query("cursor")
        .map(|text| text.parse().map_err(|_| ApiError::field("cursor", "this is no cursor of ours")));
    response::json(200, &incoming.app.d1()?.audit(&actor.tenant, before.transpose()?).await?)
}
