//! Handlers of `/v1/workspaces`: creation with its idempotency key, changes, lists.

use crate::answer;
use crate::auth::Context;
use crate::body;
use crate::create;
use crate::error::{ApiError, ApiResult};
use crate::invocation::Invocation;
use crate::json;
use crate::route::Params;
use crate::workspaces::{self as actions, Act};
use ebbtide_api::ports::{CreateLink, PortAccess, PortList, SetPort};
use ebbtide_api::workspace::{NoFields, WakeWorkspace};
use ebbtide_api::{ErrorCode, Hint};
use ebbtide_control::lifecycle;
use ebbtide_control::tokens::AccessLevel;
use worker::{Request, Response};

pub async fn list(invocation: &Invocation, context: &Context) -> ApiResult<Response> {
    let cursor = invocation.query("cursor");
    answer::json(200, &actions::list(invocation, context, cursor.as_deref()).await?)
}

pub async fn create(invocation: &Invocation, context: &Context, request: &Request) -> ApiResult<Response> {
    let key = request.headers().get("idempotency-key").ok().flatten();
    let body = body::read(request, json::BODY_MAX).await?;
    let created = create::once(invocation, context, key.as_deref(), &body).await?;
    let response = answer::json_text(created.status, created.body)?;
    let headers = response.headers();
    let location = format!("{}/v1/workspaces/{}", invocation.config.control_url, created.id);
    headers.set("location", &location).map_err(ApiError::internal)?;
    if created.replayed {
        headers.set("idempotent-replay", "true").map_err(ApiError::internal)?;
    }
    Ok(response)
}

pub async fn patch(
    invocation: &Invocation,
    context: &Context,
    params: &Params,
    request: &Request,
) -> ApiResult<Response> {
    let id = actions::own(invocation, context, params.get("id")).await?;
    let patch = body::read_json(request).await?;
    answer::json(200, &actions::patch(invocation, context, &id, patch).await?)
}

pub async fn delete(invocation: &Invocation, context: &Context, params: &Params) -> ApiResult<Response> {
    let act = match invocation.query("discard").as_deref() {
        None | Some("false") => Act::Delete,
        Some("true") => Act::Discard,
        Some(_) => return Err(ApiError::field("discard", "it is neither true nor false")),
    };
    let id = actions::own(invocation, context, params.get("id")).await?;
    answer::json(202, &actions::act(invocation, context, &id, act).await?)
}

pub async fn act(
    invocation: &Invocation,
    context: &Context,
    params: &Params,
    request: &Request,
    act: Act,
) -> ApiResult<Response> {
    let id = actions::own(invocation, context, params.get("id")).await?;
    let _no_fields: NoFields = body::read_json(request).await?;
    answer::json(202, &actions::act(invocation, context, &id, act).await?)
}

pub async fn wake(
    invocation: &Invocation,
    context: &Context,
    params: &Params,
    request: &Request,
) -> ApiResult<Response> {
    let id = actions::own(invocation, context, params.get("id")).await?;
    let WakeWorkspace { snapshot } = body::read_json(request).await?;
    answer::json(202, &actions::act(invocation, context, &id, Act::Wake(snapshot)).await?)
}

pub async fn take_hold(
    invocation: &Invocation,
    context: &Context,
    params: &Params,
    request: &Request,
) -> ApiResult<Response> {
    let id = actions::own(invocation, context, params.get("id")).await?;
    let hold = body::read_json(request).await?;
    answer::json(201, &actions::take_hold(invocation, context, &id, hold).await?)
}

pub async fn release_hold(
    invocation: &Invocation,
    context: &Context,
    params: &Params,
    request: &Request,
) -> ApiResult<Response> {
    let hold = params.get("hold");
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
    if hold.len() > 64 || !hold.bytes().all(plain) {
        return Err(ApiError::new(ErrorCode::NotFound, "there is no such hold").hint(Hint::SeeHolds));
    }
    act(invocation, context, params, request, Act::ReleaseHold(hold.to_owned())).await
}

pub async fn log(invocation: &Invocation, context: &Context, params: &Params) -> ApiResult<Response> {
    let id = actions::own(invocation, context, params.get("id")).await?;
    answer::json(200, &actions::machine_log(invocation, context, &id).await?)
}

pub async fn ports(invocation: &Invocation, context: &Context, params: &Params) -> ApiResult<Response> {
    let id = actions::own(invocation, context, params.get("id")).await?;
    let ports = actions::view(invocation, context, &id).await?.ports;
    answer::json(200, &PortList { ports })
}

pub async fn set_port(
    invocation: &Invocation,
    context: &Context,
    params: &Params,
    request: &Request,
) -> ApiResult<Response> {
    let id = actions::own(invocation, context, params.get("id")).await?;
    let port = port(params)?;
    let SetPort { access } = body::read_json(request).await?;
    let access = match access {
        PortAccess::Owner => lifecycle::PortAccess::Owner,
        PortAccess::Public => lifecycle::PortAccess::Public,
    };
    answer::json(200, &actions::act(invocation, context, &id, Act::SetPort(port, access)).await?)
}

pub async fn link_port(
    invocation: &Invocation,
    context: &Context,
    params: &Params,
    request: &Request,
) -> ApiResult<Response> {
    let id = actions::own(invocation, context, params.get("id")).await?;
    let port = port(params)?;
    let CreateLink { r#for } = body::read_json(request).await?;
    answer::json(201, &actions::link(invocation, context, &id, port, r#for, AccessLevel::Link).await?)
}

pub async fn snapshots(invocation: &Invocation, context: &Context, params: &Params) -> ApiResult<Response> {
    let id = actions::own(invocation, context, params.get("id")).await?;
    answer::json(200, &actions::snapshots(invocation, context, &id).await?)
}

fn port(params: &Params) -> ApiResult<u16> {
    params.get("port").parse().map_err(|_| ApiError::field("port", "it is no number from 1 to 65535"))
}
