//! Handler of `GET /v1/usage`.

use crate::actor::Actor;
use crate::error::ApiResult;
use crate::http::request::Incoming;
use crate::http::response;
use crate::workspaces::usage::{self, Days};
use worker::Response;

pub async fn get(incoming: &Incoming, actor: &Actor) -> ApiResult<Response> {
    let (from, to) = (incoming.query("from"), incoming.query("to"));
    let days = Days::parse(from.as_deref(), to.as_deref(), incoming.app.now())?;
    response::json(200, &usage::usage(&incoming.app, actor, days).await?)
}
