//! SSH: the page of the keys that sign in, and the one on which a workspace lets SSH in.

use super::reply;
use super::visit::Visit;
use crate::error::ApiResult;
use crate::workspaces::{actions, ssh};
use ebbtide_api::WorkspaceId;
use ebbtide_api::ssh::{PutSshKey, SshKeyChanged};
use ebbtide_api::workspace::{PatchWorkspace, State};
use ebbtide_dashboard::form::Refusal;
use ebbtide_dashboard::page::{SshKeysPage, SshPage};
use ebbtide_dashboard::view::ssh::{self as view, TypedKey};
use worker::Response;

/// Shows all keys, and an empty form.
///
/// # Errors
/// Storage does not answer.
pub async fn show(visit: &Visit<'_>) -> ApiResult<Response> {
    page(visit, 200, TypedKey::default(), &[], None).await
}

/// Adds a key, or shows the form again with what is wrong.
///
/// # Errors
/// `csrf_mismatch`, or the page cannot be made.
pub async fn put(visit: &Visit<'_>) -> ApiResult<Response> {
    let form = visit.form().await?;
    let typed = TypedKey::read(|name| form.get(name));
    let wanted = PutSshKey { public_key: typed.public_key.clone() };
    match ssh::put(visit.app(), &visit.actor, &typed.name, wanted).await {
        Ok(SshKeyChanged { key, applies }) => {
            let done = format!("{} is stored. {applies}", key.name);
            page(visit, 200, TypedKey::default(), &[], Some(done)).await
        }
        Err(error) => {
            let body = error.body(&visit.app().request_id);
            let refusal = Refusal { field: None, ..Refusal::from_api(body.code, &body.message, &body.hint) };
            page(visit, error.status(), typed, &[refusal], None).await
        }
    }
}

/// Deletes a key.
///
/// # Errors
/// `csrf_mismatch`, or what the API refuses.
pub async fn delete(visit: &Visit<'_>) -> ApiResult<Response> {
    let form = visit.form().await?;
    let SshKeyChanged { key, applies } = ssh::remove(visit.app(), &visit.actor, form.get("name")).await?;
    let done = format!("{} is deleted. {applies}", key.name);
    page(visit, 200, TypedKey::default(), &[], Some(done)).await
}

async fn page(
    visit: &Visit<'_>,
    status: u16,
    typed: TypedKey,
    refusals: &[Refusal],
    done: Option<String>,
) -> ApiResult<Response> {
    let list = ssh::list(visit.app(), &visit.actor).await?;
    let shown = view::keys(&list.keys, typed, refusals, done, visit.now());
    let shell = visit.shell("SSH keys");
    reply::page(status, &SshKeysPage { shell: &shell, s: &shown, csrf: visit.proof() })
}

/// Shows how a workspace is reached.
///
/// # Errors
/// There is no such workspace, or storage does not answer.
pub async fn access(visit: &Visit<'_>, id: &WorkspaceId) -> ApiResult<Response> {
    let id = actions::own(visit.app(), &visit.actor, id.as_str()).await?;
    let workspace = visit.workspace(&id).await?;
    let keys = ssh::list(visit.app(), &visit.actor).await?.keys;
    let access = match workspace.ssh && workspace.state != State::Deleted {
        true => Some(ssh::access(visit.app(), &visit.actor, &workspace).await?),
        false => None,
    };
    let shown = view::access(id.as_str(), &workspace.name, &keys, access);
    let shell = visit.shell(format!("SSH of {}", workspace.name));
    reply::page(200, &SshPage { shell: &shell, a: &shown, csrf: visit.proof() })
}

/// Lets SSH in or closes it, then shows how it is reached.
///
/// # Errors
/// `csrf_mismatch`, or what the API refuses.
pub async fn switch(visit: &Visit<'_>, id: &WorkspaceId) -> ApiResult<Response> {
    let form = visit.form().await?;
    let id = actions::own(visit.app(), &visit.actor, id.as_str()).await?;
    let patch = PatchWorkspace { ssh: Some(form.get("ssh") == "on"), ..PatchWorkspace::default() };
    actions::patch(visit.app(), &visit.actor, &id, patch).await?;
    reply::see(&format!("/w/{id}/ssh"), None)
}
