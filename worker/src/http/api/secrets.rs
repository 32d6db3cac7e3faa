//! Handlers of `/v1/secrets`, and what machines are given of them.

use crate::actor::Actor;
use crate::durable_objects::rpc::{Call, Chosen};
use crate::error::{ApiError, ApiResult};
use crate::http::body;
use crate::http::json;
use crate::http::request::Incoming;
use crate::http::response;
use crate::workspaces::secrets;
use ebbtide_api::ErrorCode;
use ebbtide_api::secrets::PutSecret;
use ebbtide_api::vm::AskGitCredential;
use ebbtide_control::stored_secrets::git_credential;
use ebbtide_control::tokens::VmClaims;
use serde::de::IgnoredAny;
use worker::Response;

/// Largest body: a value of 16 KiB, of which JSON may make six times as much.
const BODY_MAX: usize = 112 * 1024;

pub async fn list(incoming: &Incoming, actor: &Actor) -> ApiResult<Response> {
    response::json(200, &secrets::list(&incoming.app, actor).await?)
}

pub async fn show(incoming: &Incoming, actor: &Actor) -> ApiResult<Response> {
    response::json(200, &secrets::show(&incoming.app, actor, incoming.params.get("secret")).await?)
}

pub async fn put(incoming: &Incoming, actor: &Actor) -> ApiResult<Response> {
    let wanted: PutSecret = json::parse(&body::read(&incoming.request, BODY_MAX).await?)?;
    let name = incoming.params.get("secret");
    response::json(200, &secrets::put(&incoming.app, actor, name, wanted).await?)
}

pub async fn delete(incoming: &Incoming, actor: &Actor) -> ApiResult<Response> {
    response::json(200, &secrets::remove(&incoming.app, actor, incoming.params.get("secret")).await?)
}

/// Gives a machine what its user works with.
pub async fn settings(incoming: &Incoming, claims: &VmClaims) -> ApiResult<Response> {
    // Whatever a later daemon says of itself.
    let _said: IgnoredAny = incoming.json().await?;
    let (app, chosen) = (&incoming.app, chosen(incoming, claims).await?);
    let keychain = app.keychain()?;
    let settings = keychain.user_settings(&claims.tenant, &claims.workspace, &chosen).await?;
    response::json(200, &settings)
}

/// Gives git on a machine what it signs in with at a host, where its workspace chose something for it.
pub async fn git(incoming: &Incoming, claims: &VmClaims) -> ApiResult<Response> {
    let AskGitCredential { protocol, host } =
        json::parse(&body::read(&incoming.request, json::BODY_MAX).await?)?;
    let Chosen { choice, .. } = chosen(incoming, claims).await?;
    let secrets = incoming.app.keychain()?.secrets(&claims.tenant).await?;
    let found = git_credential(&protocol, &host, &secrets, &choice).ok_or_else(|| {
        ApiError::new(ErrorCode::NotFound, "this workspace has no git credential for that host")
            .hint("PUT /v1/secrets/{name} writes one; PATCH the workspace with `secrets` to choose it.")
    })?;
    response::json(200, &found)
}

/// What a live machine's workspace chose.
async fn chosen(incoming: &Incoming, claims: &VmClaims) -> ApiResult<Chosen> {
    let call = Call::Chosen { generation: claims.generation };
    incoming.app.workspace(&claims.tenant, &claims.workspace).ask(call).await
}
