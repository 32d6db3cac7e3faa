//! From a request to its answer: configuration, route, caller, handler, headers, log.

use crate::app::App;
use crate::clock;
use crate::config::{Config, Reach};
use crate::durable_objects::rate_limit;
use crate::error::{ApiError, ApiResult};
use crate::http::api::{account, workspaces};
use crate::http::auth;
use crate::http::body;
use crate::http::dashboard;
use crate::http::limits;
use crate::http::path::Params;
use crate::http::request::{Incoming, address, request_id};
use crate::http::response;
use crate::http::route::{Found, Handler, Route, find};
use crate::http::routes::ROUTES;
use crate::log::{self, Level};
use crate::r2::kept_policy;
use crate::subrequests::Calls;
use ebbtide_api::{ErrorCode, Timestamp};
use worker::{Env, Request, Response};

/// Answers a request.
pub async fn serve(request: Request, env: Env) -> Response {
    let began = clock::now();
    let request_id = request_id(&request);
    let calls = Calls::default();
    // As it came: `Request::method` takes one that it does not know for GET.
    let (method, path) = (request.inner().method(), request.path());
    kept_policy::prepare(&env, &calls).await;
    let (response, is_https) = match Config::from_env(&env) {
        Ok(config) => {
            let is_https = config.control_url.starts_with("https:");
            let app = App { env, config, calls: calls.clone(), request_id: request_id.clone() };
            let response = configured(app, request, &method, &path).await;
            log_request(&response, &request_id, &method, &path, &calls, began);
            (response, is_https)
        }
        Err(problems) if path == "/health" => {
            let health = account::unhealthy(problems);
            (health.unwrap_or_else(|error| response::refusal(&error, &request_id)), false)
        }
        Err(problems) => {
            log::write(Level::Error, &problems.to_string(), &[("request.id", &request_id)]);
            let error = ApiError::not_configured(problems);
            let response = if is_api(&path) {
                response::refusal(&error, &request_id)
            } else {
                dashboard::refuse(&error, &request_id)
            };
            (response, false)
        }
    };
    response::finish(response, &request_id, &calls, is_https)
}

async fn configured(app: App, request: Request, method: &str, path: &str) -> Response {
    let url = match request.url() {
        Ok(url) => url,
        Err(error) => return refused(&ApiError::internal(error), &app.request_id, method, path),
    };
    let address = address(&request);
    let mut incoming = Incoming { app, address, url, params: Params::default(), request };
    let response = if !is_api(path)
        && let Err(problems) = incoming.app.config.ensure(Reach::People)
    {
        dashboard::refuse(&ApiError::not_configured(problems), &incoming.app.request_id)
    } else if is_api(path) {
        match dispatched(&mut incoming, method, path).await {
            Ok(response) => response,
            Err(error) => refused(&error, &incoming.app.request_id, method, path),
        }
    } else {
        dashboard::handle(&incoming).await
    };
    if incoming.app.calls.has_fetched() {
        rate_limit::tell(&incoming.app.env, &incoming.app.calls).await;
    }
    response
}

/// Whether a path belongs to the API; everything else is the dashboard's.
fn is_api(path: &str) -> bool {
    path == "/v1" || path.starts_with("/v1/") || matches!(path, "/health" | "/openapi.json" | "/metrics")
}

async fn dispatched(incoming: &mut Incoming, method: &str, path: &str) -> ApiResult<Response> {
    let route = match find(ROUTES, method, path) {
        Found::Route(route, params) => {
            incoming.params = params;
            route
        }
        Found::OtherMethods(methods) => {
            let message = format!("{method} is no method of this path");
            return Err(
                ApiError::new(ErrorCode::MethodNotAllowed, message).header("allow", methods.join(", "))
            );
        }
        Found::Nothing => {
            return Err(ApiError::new(ErrorCode::NotFound, "there is no such path")
                .hint("/openapi.json lists the paths that exist."));
        }
    };
    let response = answered(incoming, route).await?;
    // The answer to HEAD is that to GET without its body.
    let has_body = matches!(response.body(), worker::ResponseBody::Body(_) | worker::ResponseBody::Stream(_));
    if method == "HEAD" && has_body {
        let (builder, _) = response.into_parts();
        return Ok(builder.empty());
    }
    Ok(response)
}

/// Lets whoever may come in, and hands the request over.
async fn answered(incoming: &Incoming, route: &Route) -> ApiResult<Response> {
    let credential = incoming.header("authorization");
    let person =
        async |needs| auth::person(&incoming.app, credential.as_deref(), &incoming.address, needs).await;
    let reach = match route.handler {
        Handler::Open(_) => Reach::Ending,
        Handler::Machine(_) => Reach::Machines,
        Handler::Person(..) | Handler::Command(_) => Reach::People,
    };
    incoming.app.config.ensure(reach).map_err(ApiError::not_configured)?;
    let body = async || match route.operation.request {
        Some(_) => Ok(()),
        None => body::refuse_any(&incoming.request).await,
    };
    match route.handler {
        Handler::Open(handler) => {
            limits::admit(&incoming.app, route.operation.id, &incoming.address).await?;
            body().await?;
            handler(incoming).await
        }
        Handler::Person(needs, handler) => {
            let actor = person(needs).await?;
            body().await?;
            handler(incoming, &actor).await
        }
        Handler::Machine(handler) => {
            let claims = auth::machine(&incoming.app, credential.as_deref())?;
            body().await?;
            handler(incoming, &claims).await
        }
        Handler::Command(command) => {
            let actor = person(auth::COMMANDS).await?;
            workspaces::command(incoming, &actor, command()).await
        }
    }
}

fn refused(error: &ApiError, request_id: &str, method: &str, path: &str) -> Response {
    if error.status() >= 500 {
        let fields = [("request.id", request_id), ("method", method), ("path", path)];
        error.log(Level::Error, error.message(), &fields);
    }
    response::refusal(error, request_id)
}

fn log_request(
    response: &Response,
    request_id: &str,
    method: &str,
    path: &str,
    calls: &Calls,
    began: Timestamp,
) {
    let (status, calls) = (response.status_code().to_string(), calls.to_string());
    let duration = clock::now().as_millisecond().saturating_sub(began.as_millisecond()).to_string();
    let fields = [
        ("request.id", request_id),
        ("workspace.id", workspace_in(path)),
        ("method", method),
        ("path", path),
        ("status", &status),
        ("duration_ms", &duration),
        ("calls", &calls),
    ];
    log::write(Level::Debug, "answered", &fields);
}

/// The workspace that a path is about; empty where it is about none.
fn workspace_in(path: &str) -> &str {
    let id = path.strip_prefix("/v1/workspaces/").or_else(|| path.strip_prefix("/w/"));
    id.and_then(|rest| rest.split('/').next()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_dashboard_gets_every_path_that_is_not_the_apis() {
        for path in ["/v1", "/v1/workspaces", "/v1/nothing", "/health", "/openapi.json"] {
            assert!(is_api(path), "{path}");
        }
        for path in ["/", "/signin", "/v10", "/w/k3v7q2mzab", "/static/app.css", "/healthy"] {
            assert!(!is_api(path), "{path}");
        }
    }
}
