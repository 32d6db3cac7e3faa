//! Handlers of `/v1/workspaces`: creation with its idempotency key, changes, lists.

use crate::actor::Actor;
use crate::error::{ApiError, ApiResult};
use crate::http::api::events;
use crate::http::body;
use crate::http::json;
use crate::http::request::Incoming;
use crate::http::response;
use crate::workspaces::actions;
use crate::workspaces::actions::LinkFor;
use crate::workspaces::idempotent;
use ebbtide_api::env::SetEnv;
use ebbtide_api::ports::{CreateLink, PortList, SetPort};
use ebbtide_api::workspace::{NoFields, WakeWorkspace};
use ebbtide_api::{ErrorCode, Hint};
use ebbtide_control::lifecycle::Command;
use worker::Response;

pub async fn list(incoming: &Incoming, actor: &Actor) -> ApiResult<Response> {
    let cursor = incoming.query("cursor");
    response::json(200, &actions::list(&incoming.app, actor, cursor.as_deref()).await?)
}

pub async fn create(incoming: &Incoming, actor: &Actor) -> ApiResult<Response> {
    let key = incoming.header("idempotency-key");
    let body = body::read(&incoming.request, json::BODY_MAX).await?;
    let created = idempotent::once(&incoming.app, actor, key.as_deref(), &body).await?;
    let response = response::json_text(created.status, created.body)?;
    let headers = response.headers();
    let location = format!("{}/v1/workspaces/{}", incoming.app.config.control_url, created.id);
    headers.set("location", &location).map_err(ApiError::internal)?;
    if created.replayed {
        headers.set("idempotent-replay", "true").map_err(ApiError::internal)?;
    }
    Ok(response)
}

pub async fn patch(incoming: &Incoming, actor: &Actor) -> ApiResult<Response> {
    let id = actions::own(&incoming.app, actor, incoming.params.get("id")).await?;
    let patch = incoming.json().await?;
    response::json(200, &actions::patch(&incoming.app, actor, &id, patch).await?)
}

pub async fn delete(incoming: &Incoming, actor: &Actor) -> ApiResult<Response> {
    let command = match incoming.query("discard").as_deref() {
        None | Some("false") => Command::Delete,
        Some("true") => Command::Discard,
        Some(_) => return Err(ApiError::field("discard", "it is neither true nor false")),
    };
    let id = actions::own(&incoming.app, actor, incoming.params.get("id")).await?;
    response::json(202, &actions::command(&incoming.app, actor, &id, command).await?)
}

/// Asks for what needs nothing but the workspace.
pub async fn command(incoming: &Incoming, actor: &Actor, command: Command) -> ApiResult<Response> {
    let id = actions::own(&incoming.app, actor, incoming.params.get("id")).await?;
    let NoFields {} = incoming.json().await?;
    response::json(202, &actions::command(&incoming.app, actor, &id, command).await?)
}

pub async fn wake(incoming: &Incoming, actor: &Actor) -> ApiResult<Response> {
    let id = actions::own(&incoming.app, actor, incoming.params.get("id")).await?;
    let wake: WakeWorkspace = incoming.json().await?;
    response::json(202, &actions::wake(&incoming.app, actor, &id, wake).await?)
}

pub async fn set_env(incoming: &Incoming, actor: &Actor) -> ApiResult<Response> {
    let id = actions::own(&incoming.app, actor, incoming.params.get("id")).await?;
    let SetEnv { env } = incoming.json().await?;
    response::json(200, &actions::set_env(&incoming.app, actor, &id, env.unwrap_or_default()).await?)
}

pub async fn take_hold(incoming: &Incoming, actor: &Actor) -> ApiResult<Response> {
    let id = actions::own(&incoming.app, actor, incoming.params.get("id")).await?;
    let hold = incoming.json().await?;
    response::json(201, &actions::take_hold(&incoming.app, actor, &id, hold).await?)
}

pub async fn release_hold(incoming: &Incoming, actor: &Actor) -> ApiResult<Response> {
    let id = short_id(incoming.params.get("hold"))
        .ok_or_else(|| ApiError::new(ErrorCode::NotFound, "there is no such hold").hint(Hint::SeeHolds))?;
    command(incoming, actor, Command::ReleaseHold { id }).await
}

/// An id of ours in a path, as far as it may be one.
fn short_id(text: &str) -> Option<String> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
    (text.len() <= 64 && text.bytes().all(plain)).then(|| text.to_owned())
}

pub async fn log(incoming: &Incoming, actor: &Actor) -> ApiResult<Response> {
    let before = events::number("before", incoming.query("before"))?;
    let id = actions::own(&incoming.app, actor, incoming.params.get("id")).await?;
    response::json(200, &actions::machine_log(&incoming.app, actor, &id, before).await?)
}

pub async fn ports(incoming: &Incoming, actor: &Actor) -> ApiResult<Response> {
    let id = actions::own(&incoming.app, actor, incoming.params.get("id")).await?;
    let ports = actions::view(&incoming.app, actor, &id).await?.ports;
    response::json(200, &PortList { ports })
}

pub async fn set_port(incoming: &Incoming, actor: &Actor) -> ApiResult<Response> {
    let id = actions::own(&incoming.app, actor, incoming.params.get("id")).await?;
    let port = port(incoming)?;
    let SetPort { access } = incoming.json().await?;
    let command = Command::SetPublic { port, access };
    response::json(200, &actions::command(&incoming.app, actor, &id, command).await?)
}

pub async fn link_port(incoming: &Incoming, actor: &Actor) -> ApiResult<Response> {
    let id = actions::own(&incoming.app, actor, incoming.params.get("id")).await?;
    let port = port(incoming)?;
    let CreateLink { r#for } = incoming.json().await?;
    response::json(201, &actions::link(&incoming.app, actor, &id, port, r#for, LinkFor::Anybody).await?)
}

pub async fn link_terminal(incoming: &Incoming, actor: &Actor) -> ApiResult<Response> {
    let id = actions::own(&incoming.app, actor, incoming.params.get("id")).await?;
    let CreateLink { r#for } = incoming.json().await?;
    let link = actions::terminal_link(&incoming.app, actor, &id, r#for, LinkFor::Anybody).await?;
    response::json(201, &link)
}

pub async fn links(incoming: &Incoming, actor: &Actor) -> ApiResult<Response> {
    let id = actions::own(&incoming.app, actor, incoming.params.get("id")).await?;
    response::json(200, &actions::links(&incoming.app, actor, &id).await?)
}

pub async fn end_link(incoming: &Incoming, actor: &Actor) -> ApiResult<Response> {
    let id = short_id(incoming.params.get("link"))
        .ok_or_else(|| ApiError::new(ErrorCode::NotFound, "there is no such link").hint(Hint::SeeLinks))?;
    command(incoming, actor, Command::EndLink { id }).await
}

pub async fn snapshots(incoming: &Incoming, actor: &Actor) -> ApiResult<Response> {
    let id = actions::own(&incoming.app, actor, incoming.params.get("id")).await?;
    response::json(200, &actions::snapshots(&incoming.app, actor, &id).await?)
}

fn port(incoming: &Incoming) -> ApiResult<u16> {
    incoming
        .params
        .get("port")
        .parse()
        .map_err(|_| ApiError::field("port", "it is no number from 1 to 65535"))
}
