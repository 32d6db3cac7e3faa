//! What people do with workspaces, as functions: the API's handlers and the dashboard's pages call the same ones.
//!
//! Each checks through the index that the workspace is the caller's tenant's (another's answers 404, the object checks
//! again), asks the object, and writes the audit line of what changed.

use crate::auth::Context;
use crate::create::{check_durations, check_retention};
use crate::error::{ApiError, ApiResult};
use crate::index::Cursor;
use crate::invocation::Invocation;
use crate::log;
use crate::object::{Call, EventPage};
use crate::reserve::{self, Extension};
use ebbtide_api::backups::SnapshotList;
use ebbtide_api::history::{EventList, LogPage};
use ebbtide_api::ports::PortLink;
use ebbtide_api::vm::CLOUDCLI_PORT;
use ebbtide_api::workspace::{CreateHold, Hold, PatchWorkspace, Workspace, WorkspaceList};
use ebbtide_api::{Duration, WorkspaceId};
use ebbtide_control::lifecycle::PortAccess;
use ebbtide_control::money::Quote;
use ebbtide_control::names;
use ebbtide_control::tokens::{AccessClaims, AccessLevel};

/// Longest life of a link to a port.
const LINK_MAX: Duration = Duration::from_hours(7 * 24);
/// Longest reason of a hold, in characters.
const REASON_MAX: usize = 200;
/// Ports that never answer at a name: SSH and Caddy's own.
const PORTS_RESERVED: &[u16] = &[22, 2019];

/// What may be asked of a workspace and is answered with the workspace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Act {
    /// Back up and end the machine.
    Sleep,
    /// Start a machine again, from a snapshot or from the newest.
    Wake(Option<String>),
    /// Try again after a failure.
    Retry,
    /// Delete, backed up first.
    Delete,
    /// Delete without a backup.
    Discard,
    /// Take a deletion back.
    Undelete,
    /// Take a snapshot now.
    Snapshot,
    /// Let go of a hold.
    ReleaseHold(String),
    /// Open a port to anybody, or close it.
    SetPort(u16, PortAccess),
}

impl Act {
    fn audited_as(&self) -> &'static str {
        match self {
            Self::Sleep => "workspace.sleep",
            Self::Wake(_) => "workspace.wake",
            Self::Retry => "workspace.retry",
            Self::Delete => "workspace.delete",
            Self::Discard => "workspace.discard",
            Self::Undelete => "workspace.undelete",
            Self::Snapshot => "workspace.snapshot",
            Self::ReleaseHold(_) => "workspace.release_hold",
            Self::SetPort(_, PortAccess::Public) => "workspace.open_port",
            Self::SetPort(_, PortAccess::Owner) => "workspace.close_port",
        }
    }

    fn call(self, quote: Option<Quote>) -> Call {
        match self {
            Self::Sleep => Call::Sleep,
            Self::Wake(snapshot) => Call::Wake { snapshot, quote },
            Self::Retry => Call::Retry { quote },
            Self::Delete => Call::Delete,
            Self::Discard => Call::Discard,
            Self::Undelete => Call::Undelete,
            Self::Snapshot => Call::Snapshot,
            Self::ReleaseHold(id) => Call::ReleaseHold { id },
            Self::SetPort(port, access) => Call::SetPort { port, access },
        }
    }
}

/// Turns the id in a path into one of the caller's workspaces.
///
/// # Errors
/// `not_found`: no such workspace, or not the caller's.
pub async fn own(invocation: &Invocation, context: &Context, id: &str) -> ApiResult<WorkspaceId> {
    let parsed: WorkspaceId = id.parse().map_err(|_| ApiError::no_workspace(id))?;
    if invocation.index()?.belongs(&parsed, &context.tenant).await? {
        Ok(parsed)
    } else {
        Err(ApiError::no_workspace(id))
    }
}

/// A page of the caller's workspaces, newest first.
///
/// # Errors
/// The cursor is none of ours, or the index does not answer.
pub async fn list(
    invocation: &Invocation,
    context: &Context,
    cursor: Option<&str>,
) -> ApiResult<WorkspaceList> {
    let cursor = cursor.map(str::parse::<Cursor>).transpose()?;
    invocation.index()?.list(&context.tenant, cursor.as_ref()).await
}

/// A workspace as it stands. `id` is one of the caller's, see [`own`].
///
/// # Errors
/// The object does not answer.
pub async fn view(invocation: &Invocation, context: &Context, id: &WorkspaceId) -> ApiResult<Workspace> {
    invocation.ask(&context.tenant, id, Call::View).await
}

/// Does something with a workspace.
///
/// # Errors
/// What the object refuses.
pub async fn act(
    invocation: &Invocation,
    context: &Context,
    id: &WorkspaceId,
    act: Act,
) -> ApiResult<Workspace> {
    if let Act::SetPort(port, access) = act {
        usable_port(port)?;
        if port == CLOUDCLI_PORT && access == PortAccess::Public {
            return Err(ApiError::field("access", "CloudCLI is its owner's alone")
                .hint("Make a link to it for whoever else is to come in."));
        }
    }
    let action = act.audited_as();
    let workspace = match act {
        Act::Wake(_) | Act::Retry => start(invocation, context, id, act).await?,
        _ => invocation.ask(&context.tenant, id, act.call(None)).await?,
    };
    note(invocation, context, action, id.as_str()).await;
    Ok(workspace)
}

/// Starts a machine, once what it costs at worst is reserved.
async fn start(
    invocation: &Invocation,
    context: &Context,
    id: &WorkspaceId,
    act: Act,
) -> ApiResult<Workspace> {
    let ticket = reserve::next_machine(invocation, context, id).await?;
    let made = ticket.made();
    let started = invocation.ask(&context.tenant, id, act.call(ticket.quote)).await;
    if started.as_ref().is_err_and(|error: &ApiError| error.status() < 500) {
        reserve::give_back(invocation, context, id, made).await;
    }
    started
}

/// Changes durations of a workspace, its machine running or not.
///
/// # Errors
/// A duration is outside the bounds, or the object refuses.
pub async fn patch(
    invocation: &Invocation,
    context: &Context,
    id: &WorkspaceId,
    patch: PatchWorkspace,
) -> ApiResult<Workspace> {
    let policy = &invocation.config.policy;
    if patch == PatchWorkspace::default() {
        return Err(ApiError::field("body", "nothing to change")
            .hint("Name `idle_timeout`, `lifetime` or `retention`."));
    }
    check_durations(patch.idle_timeout, patch.lifetime, policy)?;
    check_retention(patch.retention)?;
    let extension = match patch.lifetime {
        Some(lifetime) => reserve::lifetime(invocation, context, id, lifetime).await?,
        None => Extension { worst_case: None, before: None },
    };
    let call = Call::Patch { patch, worst_case: extension.worst_case };
    let changed = invocation.ask(&context.tenant, id, call).await;
    if changed.as_ref().is_err_and(|error: &ApiError| error.status() < 500) {
        reserve::take_back(invocation, context, id, extension.before).await;
    }
    let workspace = changed?;
    note(invocation, context, "workspace.change", id.as_str()).await;
    Ok(workspace)
}

/// Keeps a workspace awake for a while.
///
/// # Errors
/// The hold is unusable, or the object refuses.
pub async fn take_hold(
    invocation: &Invocation,
    context: &Context,
    id: &WorkspaceId,
    hold: CreateHold,
) -> ApiResult<Hold> {
    let longest = invocation.config.policy.lifetime_ceiling;
    if hold.r#for > longest {
        return Err(ApiError::field("for", format!("{} is too long", hold.r#for))
            .hint(format!("It is at most {longest}.")));
    }
    if hold.reason.chars().count() > REASON_MAX || hold.reason.chars().any(char::is_control) {
        return Err(ApiError::field("reason", "it is too long or holds control characters")
            .hint("Give one line of at most 200 characters."));
    }
    let hold = invocation.ask(&context.tenant, id, Call::TakeHold { hold }).await?;
    note(invocation, context, "workspace.hold", id.as_str()).await;
    Ok(hold)
}

/// History after event number `after`.
///
/// # Errors
/// The object does not answer.
pub async fn events(
    invocation: &Invocation,
    context: &Context,
    id: &WorkspaceId,
    page: EventPage,
    limit: u16,
) -> ApiResult<EventList> {
    invocation.ask(&context.tenant, id, Call::Events { page: page.exact(), limit }).await
}

/// The log of the current or last machine.
///
/// # Errors
/// The object does not answer.
pub async fn machine_log(invocation: &Invocation, context: &Context, id: &WorkspaceId) -> ApiResult<LogPage> {
    invocation.ask(&context.tenant, id, Call::Log).await
}

/// Verified snapshots.
///
/// # Errors
/// The object does not answer.
pub async fn snapshots(
    invocation: &Invocation,
    context: &Context,
    id: &WorkspaceId,
) -> ApiResult<SnapshotList> {
    invocation.ask(&context.tenant, id, Call::Snapshots).await
}

/// Makes a link that opens a port for whoever has it.
///
/// # Errors
/// The port or the duration is unusable, or the object does not answer.
pub async fn link(
    invocation: &Invocation,
    context: &Context,
    id: &WorkspaceId,
    port: u16,
    life: Duration,
    level: AccessLevel,
) -> ApiResult<PortLink> {
    usable_port(port)?;
    if life > LINK_MAX {
        return Err(
            ApiError::field("for", format!("{life} is too long")).hint("A link works for at most 7 days.")
        );
    }
    let workspace = view(invocation, context, id).await?;
    let config = &invocation.config;
    let claims = AccessClaims { workspace: id.clone(), port: Some(port), level };
    let issued =
        config.token_keys.issue_access(&claims, invocation.now(), life.into()).map_err(ApiError::internal)?;
    let host = names::port_host(port, &workspace.name, id, &config.zone);
    let base = config.port_url_template.replace("{host}", &host);
    let url = format!("{}/?ebb_access={}", base.trim_end_matches('/'), issued.token.expose());
    note(invocation, context, "workspace.link_port", &format!("{id}:{port}")).await;
    Ok(PortLink { url, expires_at: issued.expires })
}

fn usable_port(port: u16) -> ApiResult<()> {
    if port == 0 || PORTS_RESERVED.contains(&port) {
        return Err(ApiError::field("port", format!("port {port} is reserved"))
            .hint("Choose a port that your program listens on."));
    }
    Ok(())
}

/// Writes the audit line of what was done. What was done stands even where the line cannot be written: then the log
/// has it.
pub async fn note(invocation: &Invocation, context: &Context, action: &str, subject: &str) {
    if let Err(error) = invocation.audit(context, action, subject).await {
        let fields = [
            ("request.id", invocation.request_id.as_str()),
            ("actor", &context.actor),
            ("action", action),
            ("subject", subject),
            ("from", &invocation.address),
            ("error", error.logged_cause().unwrap_or(error.message())),
        ];
        log::write(log::Level::Error, "an audit line could not be written", &fields);
    }
}
