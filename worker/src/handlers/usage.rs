//! Handler of `GET /v1/usage`.

use crate::answer;
use crate::auth::Context;
use crate::error::ApiResult;
use crate::invocation::Invocation;
use crate::usage::{self, Days};
use worker::Response;

pub async fn get(invocation: &Invocation, context: &Context) -> ApiResult<Response> {
    let (from, to) = (invocation.query("from"), invocation.query("to"));
    let days = Days::parse(from.as_deref(), to.as_deref(), invocation.now())?;
    answer::json(200, &usage::usage(invocation, context, days).await?)
}
