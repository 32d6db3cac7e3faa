//! The Worker: routes, the workspaces' Durable Object, D1, R2 and cron around `ebbtide_control`.
//!
//! The only crate that names `worker::`. It acts; what to do is decided in `control`. A panic here is a hang, hence
//! the lints. There is no development branch: everything that differs between a laptop and production is configuration.
//! A request goes `fetch` → [`routes`] (the table) → [`auth`] → [`handlers`] → an answer; pages are in [`pages`].

#![cfg_attr(
    not(test),
    deny(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)
)]

mod actor;
mod app;
mod auth;
mod body;
mod calls;
mod catalog;
mod chance;
mod config;
mod create;
mod error;
mod fetch_http;
mod gate;
mod handlers;
mod health;
mod index;
mod json;
mod keychain;
mod log;
mod metrics;
mod object;
mod pages;
mod path;
mod request;
mod reserve;
mod response;
mod restic_paths;
mod restic_view;
mod route;
mod routes;
mod serve;
mod storage;
mod sweep;
mod trash;
mod usage;
mod workspaces;

use worker::{Context, Env, Request, Response, Result, ScheduleContext, ScheduledEvent, event};

/// Answers a request. Never fails: what goes wrong is an answer too.
#[event(fetch)]
async fn fetch(request: Request, env: Env, _context: Context) -> Result<Response> {
    Ok(serve::serve(request, env).await)
}

/// Runs every five minutes.
#[event(scheduled)]
async fn scheduled(_event: ScheduledEvent, env: Env, _context: ScheduleContext) {
    sweep::scheduled(&env).await;
}
