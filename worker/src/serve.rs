//! From a request to its answer: configuration, route, caller, handler, headers, log.

use crate::answer;
use crate::auth;
use crate::calls::Calls;
use crate::chance;
use crate::config::Config;
use crate::error::{ApiError, ApiResult};
use crate::gate;
use crate::handlers;
use crate::invocation::{Invocation, address, request_id};
use crate::log::{self, Level};
use crate::pages;
use crate::route::{Found, find};
use crate::sweep;
use ebbtide_api::{ErrorCode, Timestamp};
use std::rc::Rc;
use url::Url;
use worker::{Env, Request, Response};

/// Answers a request.
pub async fn serve(request: Request, env: Env) -> Response {
    let began = chance::now();
    let request_id = request_id(&request);
    let calls = Calls::default();
    let method = request.method().to_string();
    let path = request.path();
    let is_api = is_api(&path);
    let (response, is_https) = match Config::from_env(&env) {
        Ok(config) => {
            let is_https = config.control_url.starts_with("https:");
            let response = match request.url() {
                Ok(url) => {
                    let invocation = Invocation {
                        env,
                        config,
                        calls: calls.clone(),
                        request_id: request_id.clone(),
                        address: address(&request),
                        url,
                    };
                    let response = if is_api {
                        answered(&invocation, request).await
                    } else {
                        pages::handle(&invocation, &request).await
                    };
                    if calls.has_fetched() {
                        gate::tell(&invocation.env, &calls).await;
                    }
                    response
                }
                Err(error) => refused(&ApiError::internal(error), &request_id, &method, &path),
            };
            log_request(&response, &request_id, &method, &path, &calls, began);
            (response, is_https)
        }
        Err(problems) if path == "/health" => {
            let health = handlers::unhealthy(problems);
            (health.unwrap_or_else(|error| answer::refusal(&error, &request_id)), false)
        }
        Err(problems) => {
            log::write(Level::Error, &problems.to_string(), &[("request.id", &request_id)]);
            let error = ApiError::new(ErrorCode::NotConfigured, "the installation is not configured");
            let response = if is_api {
                answer::refusal(&error, &request_id)
            } else {
                pages::refuse(&error, &request_id)
            };
            (response, false)
        }
    };
    answer::finish(response, &request_id, &calls, is_https)
}

/// Runs what the cron looks after.
pub async fn scheduled(env: Env) {
    let calls = Calls::default();
    let (config, url) = match (Config::from_env(&env), Url::parse("https://cron/")) {
        (Ok(config), Ok(url)) => (config, url),
        (Err(problems), _) => return log::write(Level::Error, &problems.to_string(), &[]),
        (_, Err(error)) => return log::write(Level::Error, &error.to_string(), &[]),
    };
    let request_id = chance::random::<8>()
        .map_or_else(|_| "cron".to_owned(), |bytes| format!("cron-{}", hex::encode(bytes)));
    let invocation = Invocation {
        env,
        config: Rc::clone(&config),
        calls: calls.clone(),
        request_id,
        address: "cron".to_owned(),
        url,
    };
    if let Err(error) = note_cron(&invocation).await {
        let cause = error.logged_cause().unwrap_or_default();
        log::write(
            Level::Error,
            "the cron's run was not noted",
            &[("error", error.message()), ("cause", cause)],
        );
    }
    sweep::run(&invocation).await;
    gate::tell(&invocation.env, &calls).await;
    let fields = [("request.id", invocation.request_id.as_str()), ("calls", &calls.to_string())];
    log::write(Level::Debug, "the cron has run", &fields);
}

async fn note_cron(invocation: &Invocation) -> ApiResult<()> {
    invocation.index()?.note_cron(invocation.now()).await
}

/// Whether a path belongs to the API; everything else is the dashboard's.
fn is_api(path: &str) -> bool {
    path == "/v1" || path.starts_with("/v1/") || matches!(path, "/health" | "/openapi.json" | "/metrics")
}

async fn answered(invocation: &Invocation, request: Request) -> Response {
    let (method, path) = (request.method().to_string(), request.path());
    match dispatched(invocation, &method, &path, request).await {
        Ok(response) => response,
        Err(error) => refused(&error, &invocation.request_id, &method, &path),
    }
}

async fn dispatched(
    invocation: &Invocation,
    method: &str,
    path: &str,
    request: Request,
) -> ApiResult<Response> {
    let (route, params) = match find(method, path) {
        Found::Route(route, params) => (route, params),
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
    let header = request.headers().get("authorization").ok().flatten();
    let caller = auth::authenticate(invocation, header.as_deref(), route.access).await?;
    let response = handlers::dispatch(route.endpoint, invocation, caller, &params, request).await?;
    // The answer to HEAD is that to GET without its body.
    let has_body = matches!(response.body(), worker::ResponseBody::Body(_) | worker::ResponseBody::Stream(_));
    if method == "HEAD" && has_body {
        let (builder, _) = response.into_parts();
        return Ok(builder.empty());
    }
    Ok(response)
}

fn refused(error: &ApiError, request_id: &str, method: &str, path: &str) -> Response {
    if error.status() >= 500 {
        let fields = [
            ("request.id", request_id),
            ("method", method),
            ("path", path),
            ("code", error.code().as_str()),
            ("cause", error.logged_cause().unwrap_or_default()),
        ];
        log::write(Level::Error, error.message(), &fields);
    }
    answer::refusal(error, request_id)
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
    let duration = chance::now().as_millisecond().saturating_sub(began.as_millisecond()).to_string();
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
