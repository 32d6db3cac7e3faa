//! How the Worker reaches a workspace's object.

use super::rpc::{Call, Envelope, ObjectRefusal};
use crate::error::{ApiError, ApiResult};
use crate::subrequests::{Binding, Calls};
use ebbtide_api::{Generation, TenantId, WorkspaceId};
use serde::de::DeserializeOwned;
use worker::{Env, Headers, Method, Request, RequestInit, Response, Stub};

/// Name of the binding in `wrangler.toml`.
const BINDING: &str = "WORKSPACE";

/// A workspace's object, asked for a tenant; the object compares it with its record.
pub struct WorkspaceClient {
    env: Env,
    calls: Calls,
    tenant: TenantId,
    id: WorkspaceId,
}

impl WorkspaceClient {
    /// Reaches the object of that id; what is asked of it is counted.
    pub fn new(env: Env, calls: Calls, tenant: TenantId, id: WorkspaceId) -> Self {
        Self { env, calls, tenant, id }
    }

    fn stub(&self) -> ApiResult<Stub> {
        self.calls.count(Binding::Object);
        let stub = self.env.durable_object(BINDING).and_then(|objects| objects.get_by_name(self.id.as_str()));
        stub.map_err(ApiError::internal)
    }

    /// Asks it.
    ///
    /// # Errors
    /// What the object refuses, with its code; `internal` where it cannot be reached.
    pub async fn ask<T: DeserializeOwned>(&self, call: Call) -> ApiResult<T> {
        self.answer(call).await?.json().await.map_err(ApiError::internal)
    }

    /// Asks it, and leaves its answer unread.
    ///
    /// # Errors
    /// As [`WorkspaceClient::ask`].
    pub async fn answer(&self, call: Call) -> ApiResult<Response> {
        let envelope = Envelope { tenant: self.tenant.clone(), call };
        let body = serde_json::to_string(&envelope).map_err(ApiError::internal)?;
        let mut init = RequestInit::new();
        init.with_method(Method::Post).with_body(Some(body.into()));
        let request = Request::new_with_init("https://object/call", &init).map_err(ApiError::internal)?;
        let mut response = self.stub()?.fetch_with_request(request).await.map_err(ApiError::internal)?;
        if response.status_code() == 200 {
            return Ok(response);
        }
        let refusal: ObjectRefusal = response.json().await.map_err(ApiError::internal)?;
        let error = ApiError::new(refusal.code, refusal.message);
        Err(match refusal.retry_after_secs {
            Some(secs) => error.header("retry-after", secs.to_string()),
            None => error,
        })
    }

    /// Hands it the WebSocket of a machine whose token was verified.
    ///
    /// # Errors
    /// It cannot be reached.
    pub async fn connect(&self, generation: Generation) -> ApiResult<Response> {
        let headers = Headers::new();
        let generation = generation.to_string();
        for (name, value) in [
            ("upgrade", "websocket"),
            ("x-ebbtide-tenant", self.tenant.as_str()),
            ("x-ebbtide-generation", &generation),
        ] {
            headers.set(name, value).map_err(ApiError::internal)?;
        }
        let mut init = RequestInit::new();
        init.with_headers(headers);
        let request = Request::new_with_init("https://object/connect", &init).map_err(ApiError::internal)?;
        self.stub()?.fetch_with_request(request).await.map_err(ApiError::internal)
    }
}
