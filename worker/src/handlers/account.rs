//! Handlers of what belongs to a tenant or the installation: health, the OpenAPI document, keys, the audit log.

use crate::answer;
use crate::auth::Context;
use crate::body;
use crate::chance::random;
use crate::config::ConfigProblems;
use crate::error::{ApiError, ApiResult};
use crate::index::KEYS_MAX;
use crate::invocation::Invocation;
use crate::workspaces::note;
use ebbtide_api::ErrorCode;
use ebbtide_api::health::{Health, HealthPart, HealthStatus};
use ebbtide_api::keys::{ApiKeyInfo, ApiKeyList, CreateApiKey, CreatedApiKey};
use ebbtide_control::tokens::ApiKey;
use worker::Response;

/// Longest label of a key, in characters.
const LABEL_MAX: usize = 80;

/// The answer of an installation that is configured.
pub async fn health(invocation: &Invocation) -> ApiResult<Response> {
    let health = crate::health::health(invocation).await;
    answer::json(if health.ok { 200 } else { 503 }, &health)
}

/// The answer of one that is not.
pub fn unhealthy(problems: ConfigProblems) -> ApiResult<Response> {
    let status = HealthStatus::Failing;
    let part = HealthPart { name: "configuration".to_owned(), status, code: "not_configured".to_owned() };
    let version = env!("CARGO_PKG_VERSION").to_owned();
    answer::json(503, &Health { ok: false, status, version, problems: problems.0, parts: vec![part] })
}

pub fn openapi() -> ApiResult<Response> {
    let document = ebbtide_api::openapi::document(env!("CARGO_PKG_VERSION"));
    answer::json_text(200, document.map_err(ApiError::internal)?)
}

pub async fn keys(invocation: &Invocation, context: &Context) -> ApiResult<Response> {
    let keys = invocation.index()?.keys(&context.tenant).await?;
    answer::json(200, &ApiKeyList { keys })
}

pub async fn create_key(
    invocation: &Invocation,
    context: &Context,
    request: &worker::Request,
) -> ApiResult<Response> {
    let CreateApiKey { label, mut scopes } = body::read_json(request).await?;
    if label.chars().count() > LABEL_MAX || label.chars().any(char::is_control) {
        return Err(ApiError::field("label", "it is too long or holds control characters")
            .hint("Give one line of at most 80 characters."));
    }
    scopes.sort();
    scopes.dedup();
    let Some(highest) = scopes.last().copied() else {
        return Err(ApiError::field("scopes", "there is none").hint("Choose from read, write and admin."));
    };
    if !context.may(highest) {
        return Err(ApiError::new(
            ErrorCode::Forbidden,
            "a key cannot make one that may do more than itself",
        ));
    }
    let index = invocation.index()?;
    if index.keys(&context.tenant).await?.len() >= KEYS_MAX {
        return Err(ApiError::new(ErrorCode::CapReached, format!("there are {KEYS_MAX} keys already"))
            .hint("Revoke one that is not used any more."));
    }
    let key = ApiKey::from_random(random()?, random()?);
    let info = ApiKeyInfo {
        id: key.id().to_owned(),
        prefix: format!("ebb_{}", key.id()),
        label,
        scopes,
        created_at: invocation.now(),
        last_used_at: None,
        repository: None,
        expires_at: None,
    };
    let audit = invocation.audit_note(context, "key.create", &info.id);
    index.put_key(&context.tenant, &info, &key.digest(), &audit).await?;
    answer::json(201, &CreatedApiKey { key: key.text().expose().clone(), info })
}

pub async fn revoke_key(invocation: &Invocation, context: &Context, id: &str) -> ApiResult<Response> {
    let is_id = id.len() <= 32 && id.bytes().all(|byte| byte.is_ascii_alphanumeric());
    if !is_id || !invocation.index()?.revoke_key(&context.tenant, id).await? {
        return Err(
            ApiError::new(ErrorCode::NotFound, "there is no such key").hint("GET /v1/keys lists them.")
        );
    }
    note(invocation, context, "key.revoke", id).await;
    Ok(answer::nothing(204))
}

/// Wraps a slice of the tenants' keys under the current master key.
pub async fn rotate_master_key(invocation: &Invocation, context: &Context) -> ApiResult<Response> {
    let rotation = invocation.keychain()?.rotate(invocation.query("cursor")).await?;
    let subject = format!("{}: {} wrapped anew", rotation.current, rotation.rewrapped);
    note(invocation, context, "master_key.rotate", &subject).await;
    answer::json(200, &rotation)
}

pub async fn audit(invocation: &Invocation, context: &Context) -> ApiResult<Response> {
    let before = invocation
        .query("cursor")
        .map(|text| text.parse().map_err(|_| ApiError::field("cursor", "this is no cursor of ours")));
    answer::json(200, &invocation.index()?.audit(&context.tenant, before.transpose()?).await?)
}
