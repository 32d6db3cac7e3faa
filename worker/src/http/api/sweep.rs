//! Handlers of the sweep: its report, a slice of it now, and its switch.

use crate::actor::Actor;
use crate::cron;
use crate::error::ApiResult;
use crate::http::request::Incoming;
use crate::http::response;
use ebbtide_api::sweep::{SetSweep, SweepMode};
use ebbtide_api::workspace::NoFields;
use worker::Response;

pub async fn report(incoming: &Incoming, _actor: &Actor) -> ApiResult<Response> {
    response::json(200, &cron::report(&incoming.app).await?)
}

/// The same slice that the cron runs. Where one is running already, the report says how far it was before.
pub async fn run(incoming: &Incoming, actor: &Actor) -> ApiResult<Response> {
    let app = &incoming.app;
    let NoFields {} = incoming.json().await?;
    crate::workspaces::audit::note(app, actor, "sweep.run", "sweep").await;
    cron::run(app, &actor.address).await;
    report(incoming, actor).await
}

pub async fn set(incoming: &Incoming, actor: &Actor) -> ApiResult<Response> {
    let app = &incoming.app;
    let SetSweep { mode } = incoming.json().await?;
    let action = format!("sweep.{}", mode.as_str());
    let index = app.d1()?;
    // What is stricter holds first where it is found without the index; what is looser holds there last, so that a change
    // that is lost half-way loosens nothing. Where the index is away, only what ends nothing is taken.
    let is_looser = match index.sweep().await {
        Ok(before) => mode < before.asked,
        Err(error) if mode == SweepMode::On => return Err(error),
        Err(error) => {
            error.log_left_out("the sweep's earlier switch is", &app.request_id);
            false
        }
    };
    if !is_looser {
        cron::keep_switch(app, mode).await?;
    }
    index.set_sweep(mode, &app.audit_note(actor, &action, "sweep")).await?;
    if is_looser {
        cron::keep_switch(app, mode).await?;
    }
    report(incoming, actor).await
}
