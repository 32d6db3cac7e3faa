//! Handlers of `/v1/ssh-keys`, and of how a workspace is reached over SSH.

use crate::actor::Actor;
use crate::error::ApiResult;
use crate::http::request::Incoming;
use crate::http::response;
use crate::workspaces::{actions, ssh};
use ebbtide_api::ssh::SshAccess;
use worker::Response;

pub async fn list(incoming: &Incoming, actor: &Actor) -> ApiResult<Response> {
    response::json(200, &ssh::list(&incoming.app, actor).await?)
}

pub async fn show(incoming: &Incoming, actor: &Actor) -> ApiResult<Response> {
    response::json(200, &ssh::show(&incoming.app, actor, incoming.params.get("ssh_key")).await?)
}

pub async fn put(incoming: &Incoming, actor: &Actor) -> ApiResult<Response> {
    let (name, wanted) = (incoming.params.get("ssh_key"), incoming.json().await?);
    response::json(200, &ssh::put(&incoming.app, actor, name, wanted).await?)
}

pub async fn delete(incoming: &Incoming, actor: &Actor) -> ApiResult<Response> {
    response::json(200, &ssh::remove(&incoming.app, actor, incoming.params.get("ssh_key")).await?)
}

pub async fn access(incoming: &Incoming, actor: &Actor) -> ApiResult<Response> {
    response::json(200, &of_workspace(incoming, actor).await?)
}

/// The block for `~/.ssh/config` alone, to be put there by curl.
pub async fn config(incoming: &Incoming, actor: &Actor) -> ApiResult<Response> {
    response::text(200, of_workspace(incoming, actor).await?.config)
}

/// The line for `~/.ssh/known_hosts` alone.
pub async fn known_hosts(incoming: &Incoming, actor: &Actor) -> ApiResult<Response> {
    response::text(200, of_workspace(incoming, actor).await?.known_hosts)
}

async fn of_workspace(incoming: &Incoming, actor: &Actor) -> ApiResult<SshAccess> {
    let id = actions::own(&incoming.app, actor, incoming.params.get("id")).await?;
    let workspace = actions::view(&incoming.app, actor, &id).await?;
    ssh::access(&incoming.app, actor, &workspace).await
}
