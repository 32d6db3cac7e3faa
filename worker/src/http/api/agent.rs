//! The idle-agent's binary: published by an admin, fetched by machines. Its SHA-256 is its name and its authority.

use crate::actor::Actor;
use crate::error::{ApiError, ApiResult};
use crate::http::body::declared_length;
use crate::http::request::Incoming;
use crate::http::response;
use crate::r2::bucket::{AGENT_CURRENT, Put, agent_key};
use crate::r2::restic_paths::Name;
use crate::workspaces::audit::note;
use ebbtide_api::ErrorCode;
use serde_json::json;
use worker::{Response, ResponseBuilder};

/// Largest binary: what the platform takes as a body on the smaller plans, 100 MB.
const AGENT_MAX: u64 = 100_000_000;

/// Stores a binary and makes it the one that new machines start. Repeatable.
pub async fn publish(incoming: &Incoming, actor: &Actor) -> ApiResult<Response> {
    let (app, request) = (&incoming.app, &incoming.request);
    let name = Name::parse(incoming.params.get("sha256")).ok_or_else(|| {
        ApiError::field("sha256", "the path does not end in a SHA-256").hint("Use 64 lower-case hex digits.")
    })?;
    let length = declared_length(request)
        .ok_or_else(|| ApiError::new(ErrorCode::LengthRequired, "the binary comes without its length"))?;
    if length > AGENT_MAX {
        return Err(ApiError::new(ErrorCode::BodyTooLarge, "the binary has more than 100 MB"));
    }
    let stream = request.inner().body().filter(|_| length > 0);
    let stream = stream.ok_or_else(|| ApiError::new(ErrorCode::InvalidField, "the body is empty"))?;
    let storage = app.r2()?;
    let status = match storage.create(&agent_key(name.hex()), stream, Some(name.bytes())).await? {
        Put::Stored => 201,
        Put::Exists => 200,
        Put::WrongHash => {
            return Err(ApiError::new(
                ErrorCode::InvalidField,
                "the body does not have the SHA-256 that the path names",
            ));
        }
    };
    storage.replace(AGENT_CURRENT, name.hex().to_owned()).await?;
    note(app, actor, "agent.publish", name.hex()).await;
    response::json(status, &json!({ "sha256": name.hex() }))
}

/// Hands a binary out. Open: whoever knows the hash knows the content.
pub async fn fetch(incoming: &Incoming) -> ApiResult<Response> {
    let missing = || {
        ApiError::new(ErrorCode::NotFound, "there is no such binary")
            .hint("PUT it first; scripts/dev and deploy do.")
    };
    let name = Name::parse(incoming.params.get("sha256")).ok_or_else(missing)?;
    let object = incoming.app.r2()?.get(&agent_key(name.hex()), None).await?.ok_or_else(missing)?;
    let body = object.body().ok_or_else(missing)?.response_body().map_err(ApiError::storage)?;
    let builder = ResponseBuilder::new()
        .with_header("content-type", "application/octet-stream")
        .and_then(|builder| builder.with_header("cache-control", "public, max-age=31536000, immutable"))
        .map_err(ApiError::internal)?;
    Ok(builder.body(body))
}
