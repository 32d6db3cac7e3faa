//! The API's handlers: from a request to an answer, one arm for each endpoint of the table in `route`.
//!
//! Thin on purpose: they read the request, call a function that the dashboard may call too, and write the answer.

mod account;
mod agent;
mod events;
mod kit;
mod machine;
mod repository;
mod sweep;
mod trash;
mod usage;
mod wait;
mod workspaces;

pub use account::unhealthy;
pub use trash::purge as purge_trash;

use crate::answer;
use crate::auth::Caller;
use crate::error::ApiResult;
use crate::invocation::Invocation;
use crate::route::{Endpoint, Params};
use crate::workspaces::Act;
use worker::{Request, Response};

/// Answers a request that was let through.
///
/// # Errors
/// What the handler refuses.
pub async fn dispatch(
    endpoint: Endpoint,
    invocation: &Invocation,
    caller: Caller,
    params: &Params,
    request: Request,
) -> ApiResult<Response> {
    match endpoint {
        Endpoint::Health => account::health(invocation).await,
        Endpoint::Metrics => crate::metrics::get(invocation, &caller.person()?).await,
        Endpoint::OpenApi => account::openapi(),
        Endpoint::Catalog => answer::json(200, &crate::catalog::catalog(invocation).await?),
        Endpoint::Usage => usage::get(invocation, &caller.person()?).await,
        Endpoint::ListWorkspaces => workspaces::list(invocation, &caller.person()?).await,
        Endpoint::CreateWorkspace => workspaces::create(invocation, &caller.person()?, &request).await,
        Endpoint::GetWorkspace => wait::get(invocation, &caller.person()?, params.get("id")).await,
        Endpoint::PatchWorkspace => workspaces::patch(invocation, &caller.person()?, params, &request).await,
        Endpoint::DeleteWorkspace => workspaces::delete(invocation, &caller.person()?, params).await,
        Endpoint::Sleep => workspaces::act(invocation, &caller.person()?, params, &request, Act::Sleep).await,
        Endpoint::Wake => workspaces::wake(invocation, &caller.person()?, params, &request).await,
        Endpoint::Retry => workspaces::act(invocation, &caller.person()?, params, &request, Act::Retry).await,
        Endpoint::Undelete => {
            workspaces::act(invocation, &caller.person()?, params, &request, Act::Undelete).await
        }
        Endpoint::TakeHold => workspaces::take_hold(invocation, &caller.person()?, params, &request).await,
        Endpoint::ReleaseHold => {
            workspaces::release_hold(invocation, &caller.person()?, params, &request).await
        }
        Endpoint::Events => events::get(invocation, &caller.person()?, params, &request).await,
        Endpoint::Log => workspaces::log(invocation, &caller.person()?, params).await,
        Endpoint::ListPorts => workspaces::ports(invocation, &caller.person()?, params).await,
        Endpoint::SetPort => workspaces::set_port(invocation, &caller.person()?, params, &request).await,
        Endpoint::LinkPort => workspaces::link_port(invocation, &caller.person()?, params, &request).await,
        Endpoint::ListSnapshots => workspaces::snapshots(invocation, &caller.person()?, params).await,
        Endpoint::TakeSnapshot => {
            workspaces::act(invocation, &caller.person()?, params, &request, Act::Snapshot).await
        }
        Endpoint::CreateRestoreKit => kit::create(invocation, &caller.person()?, params, &request).await,
        Endpoint::UndeleteBackups => trash::undelete(invocation, &caller.person()?, params).await,
        Endpoint::RotateMasterKey => account::rotate_master_key(invocation, &caller.person()?).await,
        Endpoint::OwnerRepository => repository::owner(invocation, &caller.person()?, params, &request).await,
        Endpoint::ListKeys => account::keys(invocation, &caller.person()?).await,
        Endpoint::CreateKey => account::create_key(invocation, &caller.person()?, &request).await,
        Endpoint::RevokeKey => account::revoke_key(invocation, &caller.person()?, params.get("key")).await,
        Endpoint::Audit => account::audit(invocation, &caller.person()?).await,
        Endpoint::Sweep => sweep::report(invocation).await,
        Endpoint::RunSweep => sweep::run(invocation, &caller.person()?).await,
        Endpoint::SetSweep => sweep::set(invocation, &caller.person()?, &request).await,
        Endpoint::PublishAgent => {
            agent::publish(invocation, &caller.person()?, params.get("sha256"), &request).await
        }
        Endpoint::FetchAgent => agent::fetch(invocation, params.get("sha256")).await,
        Endpoint::Enrol | Endpoint::RenewToken => machine::enrol(invocation, &request).await,
        Endpoint::Connect => machine::connect(invocation, &caller.machine()?, &request).await,
        Endpoint::Heartbeat => machine::heartbeat(invocation, caller.machine()?, &request).await,
        Endpoint::Receipt => machine::receipt(invocation, caller.machine()?, &request).await,
        Endpoint::Drained => machine::drained(invocation, caller.machine()?, &request).await,
        Endpoint::BeginTidy => repository::begin_tidying(invocation, &caller.machine()?, &request).await,
        Endpoint::EndTidy => repository::end_tidying(invocation, &caller.machine()?, &request).await,
        Endpoint::MachineRepository => {
            repository::machine(invocation, &caller.machine()?, params, &request).await
        }
    }
}
