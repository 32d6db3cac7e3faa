//! Handlers of the sweep: its report, a slice of it now, and its switch.

use crate::answer;
use crate::auth::Context;
use crate::body;
use crate::error::ApiResult;
use crate::invocation::Invocation;
use crate::sweep;
use ebbtide_api::sweep::{SetSweep, SweepMode};
use worker::Response;

pub async fn report(invocation: &Invocation) -> ApiResult<Response> {
    answer::json(200, &sweep::report(invocation).await?)
}

/// The same slice that the cron runs. Where one is running already, the report says how far it was before.
pub async fn run(invocation: &Invocation, context: &Context) -> ApiResult<Response> {
    crate::workspaces::note(invocation, context, "sweep.run", "sweep").await;
    sweep::run(invocation).await;
    report(invocation).await
}

pub async fn set(
    invocation: &Invocation,
    context: &Context,
    request: &worker::Request,
) -> ApiResult<Response> {
    let SetSweep { mode } = body::read_json(request).await?;
    let action = format!("sweep.{}", mode.as_str());
    let index = invocation.index()?;
    // What is stricter holds first where it is found without the index; what is looser holds there last, so that a change
    // that is lost half-way loosens nothing. Where the index is away, only what ends nothing is taken.
    let is_looser = match index.sweep().await {
        Ok(before) => mode < before.asked,
        Err(error) if mode == SweepMode::On => return Err(error),
        Err(_) => false,
    };
    if !is_looser {
        sweep::keep_switch(invocation, mode).await?;
    }
    index.set_sweep(mode, &invocation.audit_note(context, &action, "sweep")).await?;
    if is_looser {
        sweep::keep_switch(invocation, mode).await?;
    }
    report(invocation).await
}
