//! Secrets: the page that lists, writes and deletes them, and the one on which a workspace chooses.

use super::reply;
use super::visit::Visit;
use crate::error::ApiResult;
use crate::workspaces::{actions, secrets};
use ebbtide_api::WorkspaceId;
use ebbtide_api::secrets::SecretChanged;
use ebbtide_api::workspace::PatchWorkspace;
use ebbtide_dashboard::form::Refusal;
use ebbtide_dashboard::page::{ChoicePage, SecretsPage};
use ebbtide_dashboard::view::secrets::{self as view, TypedSecret};
use worker::Response;

/// Shows all secrets, and an empty form.
///
/// # Errors
/// Storage or the index does not answer.
pub async fn show(visit: &Visit<'_>) -> ApiResult<Response> {
    page(visit, 200, TypedSecret::new(), &[], None).await
}

/// Writes a secret, or shows the form again with what is wrong, and without the value.
///
/// # Errors
/// `csrf_mismatch`, or the page cannot be made.
pub async fn put(visit: &Visit<'_>) -> ApiResult<Response> {
    let form = visit.form().await?;
    let typed = TypedSecret::read(|name| form.get(name));
    let wanted = match typed.request() {
        Ok(wanted) => wanted,
        Err(refusal) => return page(visit, 422, typed, &[refusal], None).await,
    };
    match secrets::put(visit.app(), &visit.actor, &typed.name, wanted).await {
        Ok(SecretChanged { secret, applies }) => {
            let done = format!("{} is stored. {applies}", secret.name);
            page(visit, 200, TypedSecret::new(), &[], Some(done)).await
        }
        Err(error) => {
            let body = error.body(&visit.app().request_id);
            let refusal = Refusal { field: None, ..Refusal::from_api(body.code, &body.message, &body.hint) };
            page(visit, error.status(), typed, &[refusal], None).await
        }
    }
}

/// Deletes a secret, and says who had it.
///
/// # Errors
/// `csrf_mismatch`, or what the API refuses.
pub async fn delete(visit: &Visit<'_>) -> ApiResult<Response> {
    let form = visit.form().await?;
    let SecretChanged { secret, applies } =
        secrets::remove(visit.app(), &visit.actor, form.get("name")).await?;
    let users: Vec<&str> = secret.workspaces.iter().map(|user| user.name.as_str()).collect();
    let who = if users.is_empty() { String::new() } else { format!(" These had it: {}.", users.join(", ")) };
    page(visit, 200, TypedSecret::new(), &[], Some(format!("{} is deleted.{who} {applies}", secret.name)))
        .await
}

async fn page(
    visit: &Visit<'_>,
    status: u16,
    typed: TypedSecret,
    refusals: &[Refusal],
    done: Option<String>,
) -> ApiResult<Response> {
    let list = secrets::list(visit.app(), &visit.actor).await?;
    let shown = view::secrets(&list.secrets, typed, refusals, done, visit.now());
    let shell = visit.shell("Secrets");
    reply::page(status, &SecretsPage { shell: &shell, s: &shown, csrf: visit.proof() })
}

/// Shows which secrets a workspace gets.
///
/// # Errors
/// There is no such workspace, or storage does not answer.
pub async fn choice(visit: &Visit<'_>, id: &WorkspaceId) -> ApiResult<Response> {
    let id = actions::own(visit.app(), &visit.actor, id.as_str()).await?;
    let workspace = visit.workspace(&id).await?;
    let list = secrets::list(visit.app(), &visit.actor).await?;
    let shown = view::choice(id.as_str(), &workspace.name, &list.secrets, &workspace.secrets);
    let shell = visit.shell(format!("Secrets of {}", workspace.name));
    reply::page(200, &ChoicePage { shell: &shell, c: &shown, csrf: visit.proof() })
}

/// Chooses them, then shows the workspace.
///
/// # Errors
/// `csrf_mismatch`, or what the API refuses.
pub async fn choose(visit: &Visit<'_>, id: &WorkspaceId) -> ApiResult<Response> {
    let form = visit.form().await?;
    let id = actions::own(visit.app(), &visit.actor, id.as_str()).await?;
    let patch = PatchWorkspace { secrets: view::chosen(form.pairs()), ..PatchWorkspace::default() };
    actions::patch(visit.app(), &visit.actor, &id, patch).await?;
    reply::see(&format!("/w/{id}"), None)
}
