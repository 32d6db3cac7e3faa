//! The Worker: routes, the workspaces' Durable Object, D1, R2 and cron around `ebbtide_control`.
//!
//! The only crate that names `worker::`. It acts; what to do is decided in `control`. A panic here is a hang, hence
//! the lints. There is no development branch: everything that differs between a laptop and production is configuration.
//! From the doors to the ground, each folder uses those below it: `http` (requests) and `cron` (every five minutes);
//! `workspaces` (use cases); `app` (what an invocation works with); `durable_objects` (a workspace's truth, the provider
//! gate); `d1` and `r2` (storage); and the ground: `config`, `error`, `log`, `clock`, `random`, `subrequests`, `actor`.

#![cfg_attr(
    not(test),
    deny(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)
)]

mod actor;
mod app;
mod clock;
mod config;
mod cron;
mod d1;
mod durable_objects;
mod error;
mod fetch_http;
mod http;
mod log;
mod r2;
mod random;
mod subrequests;
mod workspaces;

pub use http::routes::openapi_text;
use worker::{Context, Env, Request, Response, Result, ScheduleContext, ScheduledEvent, event};

/// Answers a request. Never fails: what goes wrong is an answer too.
#[event(fetch)]
async fn fetch(request: Request, env: Env, _context: Context) -> Result<Response> {
    Ok(http::serve::serve(request, env).await)
}

/// Runs every five minutes.
#[event(scheduled)]
async fn scheduled(_event: ScheduledEvent, env: Env, _context: ScheduleContext) {
    cron::scheduled(&env).await;
}
