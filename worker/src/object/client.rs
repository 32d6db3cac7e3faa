//! How handlers reach a workspace's object.

use super::{Call, Envelope, ObjectRefusal};
use crate::error::ApiError;
use ebbtide_api::{ErrorCode, TenantId, WorkspaceId};
use serde_json::Value;
use worker::{Env, Method, Request, RequestInit, Response, Result, Stub};

/// Name of the binding in `wrangler.toml`.
const BINDING: &str = "WORKSPACE";

fn stub(env: &Env, id: &WorkspaceId) -> Result<Stub> {
    env.durable_object(BINDING)?.get_by_name(id.as_str())
}

/// Asks a workspace's object.
///
/// # Errors
/// What the object refuses, with its code; `internal` where it cannot be reached.
pub async fn call(
    env: &Env,
    tenant: &TenantId,
    id: &WorkspaceId,
    call: Call,
) -> std::result::Result<Value, ApiError> {
    let internal =
        |error: worker::Error| ApiError::new(ErrorCode::Internal, format!("the workspace's object: {error}"));
    let envelope = Envelope { tenant: tenant.clone(), call };
    let body = serde_json::to_string(&envelope)
        .map_err(|error| ApiError::new(ErrorCode::Internal, error.to_string()))?;
    let mut init = RequestInit::new();
    init.with_method(Method::Post).with_body(Some(body.into()));
    let request = Request::new_with_init("https://object/call", &init).map_err(internal)?;
    let stub = stub(env, id).map_err(internal)?;
    let mut response = stub.fetch_with_request(request).await.map_err(internal)?;
    if response.status_code() == 200 {
        return response.json().await.map_err(internal);
    }
    let refusal: ObjectRefusal = response.json().await.map_err(internal)?;
    Err(ApiError::new(refusal.code, refusal.message))
}

/// Hands a machine's WebSocket upgrade to its object. The request carries `x-ebbtide-tenant` and
/// `x-ebbtide-generation`, set by the handler after it verified the token.
///
/// # Errors
/// What the runtime says.
pub async fn forward_socket(env: &Env, id: &WorkspaceId, request: Request) -> Result<Response> {
    stub(env, id)?.fetch_with_request(request).await
}
