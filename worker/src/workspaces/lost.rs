//! Workspaces that the index knows and whose object holds nothing: looked at, deleted, and their backups read.
//!
//! The object is the truth, so nothing here makes another: whoever has the backups goes on in a new workspace. Nothing is
//! taken for lost before its object has said that it holds nothing.

use super::audit::note;
use crate::actor::Actor;
use crate::app::App;
use crate::cron::lost::{self, Left};
use crate::error::{ApiError, ApiResult};
use crate::r2::bucket::{repository_path, workspace_key_path};
use ebbtide_api::workspace::Workspace;
use ebbtide_api::{ErrorCode, WorkspaceId};
use ebbtide_control::lifecycle::Command;
use ebbtide_control::record::plus;
use ebbtide_control::sweep::First;
use ebbtide_control::view;

/// Whether an object has answered that it holds nothing.
pub fn is_lost(error: &ApiError) -> bool {
    error.code() == ErrorCode::RecordLost
}

/// Shows what the index knows of it.
///
/// # Errors
/// There is no row of it, or the index does not answer.
pub async fn view(app: &App, actor: &Actor, id: &WorkspaceId) -> ApiResult<Workspace> {
    let shown = app.d1()?.row_shown(&actor.tenant, id).await?;
    let shown = shown.ok_or_else(|| ApiError::no_workspace(id.as_str()))?;
    Ok(view::lost::workspace(&shown, &app.config.policy, &app.config.zone))
}

/// Does with a lost workspace what can be done: it is deleted.
///
/// # Errors
/// `record_lost` for everything else; or the index does not answer.
pub async fn command(
    app: &App,
    actor: &Actor,
    id: &WorkspaceId,
    command: &Command,
    refusal: ApiError,
) -> ApiResult<Workspace> {
    let first = if *command == Command::Discard { First::Nothing } else { First::Image };
    if !matches!(command, Command::Delete | Command::Discard) {
        return Err(refusal);
    }
    let index = app.d1()?;
    index.delete_lost(id, plus(app.now(), app.config.policy.undo), app.now()).await?;
    note(app, actor, command.audit_action(), id.as_str()).await;
    let waiting_for = match lost::end(app, &actor.address, id, first).await {
        Left::Nothing => {
            index.end_lost_account(id, app.now()).await?;
            None
        }
        Left::Some(why) => Some(why),
    };
    Ok(Workspace { waiting_for, ..view(app, actor, id).await? })
}

/// Whether a snapshot of it is in storage, verified or not.
///
/// # Errors
/// One is, and the key that opens it is gone; or storage does not answer.
pub async fn is_backed_up(app: &App, actor: &Actor, id: &WorkspaceId) -> ApiResult<bool> {
    let storage = app.r2()?;
    let prefix = repository_path(&actor.tenant, id, "snapshots/");
    if storage.list_some(&prefix, None, 1).await?.objects().is_empty() {
        return Ok(false);
    }
    // Another key, made now, would open nothing.
    match storage.size(&workspace_key_path(&actor.tenant, id)).await? {
        Some(_) => Ok(true),
        None => Err(ApiError::new(
            ErrorCode::WrongState,
            "the key of its backups is gone: nobody can read them",
        )
        .hint("Whoever has a restore kit from before, or `key.json` of the bucket, can still open them.")),
    }
}
