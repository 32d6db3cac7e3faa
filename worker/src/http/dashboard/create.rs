//! The create form: shown with prices, worked out while somebody chooses, and sent through the API's own handler.

use super::reply;
use super::visit::Visit;
use crate::error::{ApiError, ApiResult};
use crate::r2::programs;
use crate::random::random;
use crate::workspaces::{agents, catalog, create, idempotent, secrets, ssh};
use ebbtide_api::workspace::CreateWorkspace;
use ebbtide_api::{Agent, ErrorCode};
use ebbtide_dashboard::form::{Field, Refusal, Typed};
use ebbtide_dashboard::page::{CostFragment, CreatePage};
use ebbtide_dashboard::view::create::{Quote, cost as show_cost};
use ebbtide_dashboard::view::{self, Defaults};
use worker::Response;

/// Shows the form, with what the query says as if it had been typed.
///
/// # Errors
/// The page cannot be made.
pub async fn form(visit: &Visit<'_>) -> ApiResult<Response> {
    let typed = typed(visit);
    // What was asked for by "Work out the cost" may be unusable already: said now rather than after the next button.
    let refusals = typed.request().err().unwrap_or_default();
    show(visit, 200, &typed, &refusals, &new_key()?).await
}

/// Answers with the cost line alone.
///
/// # Errors
/// The fragment cannot be made.
pub async fn cost(visit: &Visit<'_>) -> ApiResult<Response> {
    let quote = quote(visit, &typed(visit)).await;
    reply::page(200, &CostFragment { cost: &show_cost(quote.as_ref()) })
}

/// Creates a workspace, or shows the form again with what is wrong beside its field.
///
/// # Errors
/// `csrf_mismatch`, or the page cannot be made.
pub async fn send(visit: &Visit<'_>) -> ApiResult<Response> {
    let form = visit.form().await?;
    let typed = Typed::from_pairs(form.pairs());
    let wanted = match typed.request() {
        Ok(wanted) => wanted,
        Err(refusals) => return show(visit, 422, &typed, &refusals, form.get("key")).await,
    };
    match begin(visit, &wanted, form.get("key")).await {
        Ok(location) => reply::see(&location, None),
        Err(error) => {
            let body = error.body(&visit.app().request_id);
            let refusal = Refusal::from_api(body.code, &body.message, &body.hint);
            // Sent again, the same request goes on where it broke off; a changed one needs a key of its own.
            let key = match body.code {
                ErrorCode::IdempotencyMismatch => new_key()?,
                _ => form.get("key").to_owned(),
            };
            show(visit, error.status(), &typed, &[refusal], &key).await
        }
    }
}

/// Creates it as `POST /v1/workspaces` does, key and all, and says where its page is.
async fn begin(visit: &Visit<'_>, wanted: &CreateWorkspace, key: &str) -> ApiResult<String> {
    let body = serde_json::to_vec(wanted).map_err(ApiError::internal)?;
    let created = idempotent::once(visit.app(), &visit.actor, Some(key), &body).await?;
    Ok(format!("/w/{}", created.id))
}

async fn show(
    visit: &Visit<'_>,
    status: u16,
    typed: &Typed,
    refusals: &[Refusal],
    key: &str,
) -> ApiResult<Response> {
    let catalog = catalog::catalog(visit.app()).await;
    let catalog =
        catalog.inspect_err(|error| error.log_left_out("the catalog is", &visit.app().request_id)).ok();
    let published = programs::published(&visit.app().r2()?).await.inspect_err(|error| {
        error.log_left_out("the list of programs is", &visit.app().request_id);
    });
    let published = published.unwrap_or_default();
    let quote = quote(visit, typed).await;
    let config = &visit.app().config;
    let defaults = Defaults {
        size: config.default_size.clone(),
        location: config.default_location.clone(),
        idle_timeout: config.policy.idle_timeout,
        lifetime: config.policy.lifetime,
        agents: agents::chosen(None, &published)?,
    };
    let secrets = secrets::list(visit.app(), &visit.actor).await;
    let secrets =
        secrets.inspect_err(|error| error.log_left_out("secrets are", &visit.app().request_id)).ok();
    let secrets = secrets.map(|list| list.secrets).unwrap_or_default();
    let keys = ssh::list(visit.app(), &visit.actor).await;
    let keys = keys.inspect_err(|error| error.log_left_out("SSH keys are", &visit.app().request_id)).ok();
    let keys = keys.map(|list| list.keys).unwrap_or_default();
    let published: Vec<Agent> = published.agents().collect();
    let form = view::create(typed, refusals, &defaults, catalog.as_ref(), &published, quote.as_ref(), key)
        .with_secrets(&secrets, typed)
        .with_ssh(&keys);
    let shell = visit.shell("New workspace");
    reply::page(status, &CreatePage { shell: &shell, form: &form, csrf: visit.proof() })
}

fn new_key() -> ApiResult<String> {
    Ok(hex::encode(random::<16>()?))
}

/// What the query says, as if it had been typed.
fn typed(visit: &Visit<'_>) -> Typed {
    Typed::from_pairs(visit.incoming.url.query_pairs())
}

/// What the choice costs at worst, by the same rules as creating it; `None` where it cannot be created so.
async fn quote(visit: &Visit<'_>, typed: &Typed) -> Option<Quote> {
    let about_cost = [Field::Size, Field::Location, Field::Lifetime];
    let chosen = about_cost.into_iter().map(|field| (field.name(), typed.value(field)));
    let wanted: CreateWorkspace = Typed::from_pairs(chosen).request().ok()?;
    let checked = create::check(visit.app(), &visit.actor, wanted).await.ok()?;
    Some(Quote {
        size: checked.spec.placement.size,
        location: checked.spec.placement.location,
        fallbacks: checked.spec.fallbacks.len(),
        worst: checked.worst_case?,
    })
}
