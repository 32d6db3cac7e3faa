//! What people do with workspaces, as functions: the API's handlers and the dashboard's pages call the same ones.
//!
//! Each checks through the index that the workspace is the caller's tenant's (another's answers 404, the object checks
//! again), asks the object, and writes the audit line of what changed.

use crate::actor::Actor;
use crate::app::App;
use crate::d1::Cursor;
use crate::durable_objects::rpc::{Call, EventPage};
use crate::error::{ApiError, ApiResult};
use crate::r2::programs;
use crate::random::random;
use crate::workspaces::agents;
use crate::workspaces::audit::note;
use crate::workspaces::create::{check_durations, check_env, check_retention};
use crate::workspaces::lost;
use crate::workspaces::reservation::{self, Extension};
use crate::workspaces::secrets;
use crate::workspaces::ssh;
use crate::workspaces::wish::{self, WishChange};
use ebbtide_api::backups::SnapshotList;
use ebbtide_api::env::Env;
use ebbtide_api::history::{EventList, LogPage};
use ebbtide_api::ports::{LinkList, LinkSummary, PORTS_RESERVED, PortAccess, PortLink};
use ebbtide_api::vm::{CLOUDCLI_PORT, TERMINAL_PORT};
use ebbtide_api::workspace::{CreateHold, Hold, PatchWorkspace, WakeWorkspace, Workspace, WorkspaceList};
use ebbtide_api::{Duration, WorkspaceId};
use ebbtide_control::lifecycle::Command;
use ebbtide_control::names;
use ebbtide_control::record::{Wish, plus};
use ebbtide_control::reservation::ReservationRequest;
use ebbtide_control::tokens::{AccessClaims, AccessLevel};
use std::collections::BTreeMap;

/// Longest life of a link to a port.
const LINK_MAX: Duration = Duration::from_hours(7 * 24);
/// Longest reason of a hold, in characters.
const REASON_MAX: usize = 200;

/// Turns the id in a path into one of the caller's workspaces.
///
/// # Errors
/// `not_found`: no such workspace, or not the caller's.
pub async fn own(app: &App, actor: &Actor, id: &str) -> ApiResult<WorkspaceId> {
    let parsed: WorkspaceId = id.parse().map_err(|_| ApiError::no_workspace(id))?;
    if app.d1()?.belongs(&parsed, &actor.tenant).await? {
        Ok(parsed)
    } else {
        Err(ApiError::no_workspace(id))
    }
}

/// A page of the caller's workspaces, newest first.
///
/// # Errors
/// The cursor is none of ours, or the index does not answer.
pub async fn list(app: &App, actor: &Actor, cursor: Option<&str>) -> ApiResult<WorkspaceList> {
    let cursor = cursor.map(str::parse::<Cursor>).transpose()?;
    app.d1()?.list(&actor.tenant, cursor.as_ref()).await
}

/// A workspace as it stands. `id` is one of the caller's, see [`own`].
///
/// # Errors
/// The object does not answer.
pub async fn view(app: &App, actor: &Actor, id: &WorkspaceId) -> ApiResult<Workspace> {
    match app.workspace(&actor.tenant, id).ask(Call::View).await {
        Err(refusal) if lost::is_lost(&refusal) => lost::view(app, actor, id).await,
        answer => answer,
    }
}

/// Asks for something to be done with a workspace.
///
/// # Errors
/// What the object refuses.
pub async fn command(app: &App, actor: &Actor, id: &WorkspaceId, command: Command) -> ApiResult<Workspace> {
    if let Command::SetPublic { port, access } = command {
        usable_port(port)?;
        if port == CLOUDCLI_PORT && access == PortAccess::Public {
            return Err(ApiError::field("access", "CloudCLI is its owner's alone")
                .hint("Make a link to it for whoever else is to come in."));
        }
    }
    let action = command.audit_action();
    let asked = if command.starts_machine() {
        start(app, actor, id, command, &WishChange::default()).await
    } else {
        let commands = vec![command.clone()];
        match app.workspace(&actor.tenant, id).ask(Call::Ask { commands }).await {
            Err(refusal) if lost::is_lost(&refusal) => {
                return lost::command(app, actor, id, &command, refusal).await;
            }
            answer => answer,
        }
    };
    let workspace = asked?;
    note(app, actor, action, id.as_str()).await;
    Ok(workspace)
}

/// Starts a machine, once what it costs at worst is reserved. Its rates travel with the call, before the command.
async fn start(
    app: &App,
    actor: &Actor,
    id: &WorkspaceId,
    command: Command,
    change: &WishChange,
) -> ApiResult<Workspace> {
    let snapshot = if let Command::Wake { snapshot } = &command { snapshot.as_deref() } else { None };
    let (ticket, wish) = reservation::next_machine(app, actor, id, snapshot, change).await?;
    let made = ticket.made();
    // The wish last: where the command is refused, nothing is kept of it.
    let commands = [Command::Next(Box::new(ticket.next)), command]
        .into_iter()
        .chain(wish.map(Command::Prefer))
        .collect();
    let started = app.workspace(&actor.tenant, id).ask(Call::Ask { commands }).await;
    if started.as_ref().is_err_and(|error: &ApiError| error.status() < 500) {
        reservation::give_back(app, actor, id, made).await;
    }
    started
}

/// Starts a workspace that sleeps, or that has failed.
///
/// # Errors
/// A cap is reached, what is wished for cannot be had, or the object refuses.
pub async fn wake(app: &App, actor: &Actor, id: &WorkspaceId, wake: WakeWorkspace) -> ApiResult<Workspace> {
    let WakeWorkspace { snapshot, size, location } = wake;
    let change = WishChange { size, location };
    if change.is_empty() {
        return command(app, actor, id, Command::Wake { snapshot }).await;
    }
    let workspace = start(app, actor, id, Command::Wake { snapshot }, &change).await?;
    note(app, actor, "workspace.wake", id.as_str()).await;
    Ok(workspace)
}

/// Changes durations of a workspace, its machine running or not, and where its next machine goes.
///
/// # Errors
/// A duration is outside the bounds, the provider has no such size, or the object refuses.
pub async fn patch(
    app: &App,
    actor: &Actor,
    id: &WorkspaceId,
    patch: PatchWorkspace,
) -> ApiResult<Workspace> {
    let policy = &app.config.policy;
    if patch == PatchWorkspace::default() {
        return Err(ApiError::field("body", "nothing to change").hint(
            "Name `idle_timeout`, `lifetime`, `retention`, `secrets`, `ssh`, `size`, `location`, `agents` or `docker`.",
        ));
    }
    check_durations(patch.idle_timeout, patch.lifetime, policy)?;
    check_retention(patch.retention)?;
    if let Some(choice) = &patch.secrets {
        secrets::check_chosen(app, actor, choice).await?;
    }
    ssh::check_wish(app, actor, patch.ssh).await?;
    let agents = agents_of(app, patch.agents.as_deref()).await?;
    let wish = wish_of(app, actor, id, &patch).await?;
    let extension = match patch.lifetime {
        Some(lifetime) => reservation::lifetime(app, actor, id, lifetime).await?,
        None => Extension { worst_case: None, before: None },
    };
    let PatchWorkspace {
        idle_timeout,
        lifetime,
        retention,
        secrets,
        ssh,
        docker,
        size: _,
        location: _,
        agents: _,
    } = patch;
    let worst_case = extension.worst_case;
    let change = Command::Change { idle_timeout, lifetime, worst_case };
    let change = (idle_timeout.is_some() || lifetime.is_some()).then_some(change);
    let commands = change
        .into_iter()
        .chain(retention.map(Command::Retain))
        .chain(wish.map(Command::Prefer))
        .chain(secrets.map(Command::ChooseSecrets))
        .chain(ssh.map(|open| Command::SetSsh { open }))
        .chain(agents.map(|agents| Command::SetAgents { agents }))
        .chain(docker.map(|wanted| Command::SetDocker { wanted }))
        .collect();
    let changed = app.workspace(&actor.tenant, id).ask(Call::Ask { commands }).await;
    if changed.as_ref().is_err_and(|error: &ApiError| error.status() < 500) {
        reservation::take_back(app, actor, id, extension.before).await;
    }
    let workspace = changed?;
    note(app, actor, "workspace.change", id.as_str()).await;
    Ok(workspace)
}

/// Sets other variables, for new terminals of a machine that runs too; none at all ends them. The object is asked first, which refuses it for a
/// workspace that goes; where storage then fails, the same call ends what is half done.
///
/// # Errors
/// A variable is unusable, the object refuses, or storage does not answer.
pub async fn set_env(
    app: &App,
    actor: &Actor,
    id: &WorkspaceId,
    values: BTreeMap<String, String>,
) -> ApiResult<Env> {
    check_env(&values)?;
    let names: Vec<String> = values.keys().cloned().collect();
    let commands = vec![Command::SetEnv { names: names.clone() }];
    let workspace: Workspace = app.workspace(&actor.tenant, id).ask(Call::Ask { commands }).await?;
    app.keychain()?.replace_env(&actor.tenant, id, values).await?;
    secrets::tell(app, actor, id).await;
    note(app, actor, "workspace.env", id.as_str()).await;
    let applies = if workspace.state.may_have_machine() {
        "In new terminals of the machine that runs, within seconds; its programs keep what they have."
    } else {
        "From the next start on."
    };
    Ok(Env { names, applies: applies.to_owned() })
}

/// The coding agents from the next start on, where they change.
async fn agents_of(app: &App, wanted: Option<&[String]>) -> ApiResult<Option<Vec<String>>> {
    if wanted.is_none() || agents::is_none(wanted) {
        return Ok(wanted.map(<[String]>::to_vec));
    }
    let published = programs::published(&app.r2()?).await?;
    agents::chosen(wanted, &published).map(Some)
}

/// What is wished for from the next start on, where that changes.
async fn wish_of(
    app: &App,
    actor: &Actor,
    id: &WorkspaceId,
    patch: &PatchWorkspace,
) -> ApiResult<Option<Wish>> {
    let change = WishChange { size: patch.size.clone(), location: patch.location.clone() };
    if change.is_empty() {
        return Ok(None);
    }
    let terms: ReservationRequest =
        app.workspace(&actor.tenant, id).ask(Call::Terms { snapshot: None }).await?;
    let wish = change.over(&terms.wish);
    if let Some(wish) = &wish {
        wish::check(app, wish).await?;
    }
    Ok(wish)
}

/// Keeps a workspace awake for a while.
///
/// # Errors
/// The hold is unusable, or the object refuses.
pub async fn take_hold(app: &App, actor: &Actor, id: &WorkspaceId, hold: CreateHold) -> ApiResult<Hold> {
    let longest = app.config.policy.lifetime_ceiling;
    if hold.r#for > longest {
        return Err(ApiError::field("for", format!("{} is too long", hold.r#for))
            .hint(format!("It is at most {longest}.")));
    }
    if hold.reason.chars().count() > REASON_MAX || hold.reason.chars().any(char::is_control) {
        return Err(ApiError::field("reason", "it is too long or holds control characters")
            .hint("Give one line of at most 200 characters."));
    }
    let CreateHold { r#for, reason } = hold;
    let hold = Hold { id: short_id()?, reason, ends_at: plus(app.now(), r#for) };
    command(app, actor, id, Command::TakeHold(hold.clone())).await?;
    Ok(hold)
}

/// Draws the id of a new hold or link.
///
/// # Errors
/// There is no randomness.
pub fn short_id() -> ApiResult<String> {
    Ok(hex::encode(random::<6>()?))
}

/// History after event number `after`.
///
/// # Errors
/// The object does not answer.
pub async fn events(
    app: &App,
    actor: &Actor,
    id: &WorkspaceId,
    page: EventPage,
    limit: u16,
) -> ApiResult<EventList> {
    app.workspace(&actor.tenant, id).ask(Call::Events { page: page.exact(), limit }).await
}

/// The log of the current or last machine: its end, or what stands before a number of a page.
///
/// # Errors
/// The object does not answer.
pub async fn machine_log(
    app: &App,
    actor: &Actor,
    id: &WorkspaceId,
    before: Option<u64>,
) -> ApiResult<LogPage> {
    let call = before.map_or(Call::Log, |before| Call::LogBefore { before });
    app.workspace(&actor.tenant, id).ask(call).await
}

/// Verified snapshots.
///
/// # Errors
/// The object does not answer.
pub async fn snapshots(app: &App, actor: &Actor, id: &WorkspaceId) -> ApiResult<SnapshotList> {
    app.workspace(&actor.tenant, id).ask(Call::Snapshots).await
}

/// Whom a link is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LinkFor {
    /// Its owner's browser, now: it ends with the machine and is in no list.
    Owner,
    /// Whoever has it: listed, and ended by its owner or by time.
    Anybody,
}

/// Makes a link that opens a port.
///
/// # Errors
/// The port or the duration is unusable, there are too many links, or the object does not answer.
pub async fn link(
    app: &App,
    actor: &Actor,
    id: &WorkspaceId,
    port: u16,
    life: Duration,
    whom: LinkFor,
) -> ApiResult<PortLink> {
    usable_port(port)?;
    give_link(app, actor, id, port, life, whom).await
}

/// Makes a link that opens the machine's terminal.
///
/// # Errors
/// The duration is unusable, there are too many links, or the object does not answer.
pub async fn terminal_link(
    app: &App,
    actor: &Actor,
    id: &WorkspaceId,
    life: Duration,
    whom: LinkFor,
) -> ApiResult<PortLink> {
    give_link(app, actor, id, TERMINAL_PORT, life, whom).await
}

async fn give_link(
    app: &App,
    actor: &Actor,
    id: &WorkspaceId,
    port: u16,
    life: Duration,
    whom: LinkFor,
) -> ApiResult<PortLink> {
    if life > LINK_MAX {
        return Err(
            ApiError::field("for", format!("{life} is too long")).hint("A link works for at most 7 days.")
        );
    }
    let given = match whom {
        LinkFor::Owner => None,
        LinkFor::Anybody => Some(LinkSummary { id: short_id()?, port, expires_at: plus(app.now(), life) }),
    };
    let link = given.as_ref().map(|given| given.id.clone());
    let workspace: Workspace = match given {
        None => view(app, actor, id).await?,
        Some(given) => {
            let commands = vec![Command::GiveLink(given)];
            app.workspace(&actor.tenant, id).ask(Call::Ask { commands }).await?
        }
    };
    let (level, generation) = match whom {
        LinkFor::Owner => (AccessLevel::Owner, Some(workspace.generation)),
        LinkFor::Anybody => (AccessLevel::Link, None),
    };
    let claims = AccessClaims { workspace: id.clone(), port: Some(port), level, generation, link };
    let config = &app.config;
    let keys = config.token_keys().map_err(ApiError::not_configured)?;
    let issued = keys.issue_access(&claims, app.now(), life.into()).map_err(ApiError::internal)?;
    let host = names::port_host(port, &workspace.name, id, &config.zone);
    let base = config.port_url_template.replace("{host}", &host);
    let url = format!("{}/?ebb_access={}", base.trim_end_matches('/'), issued.token.expose());
    match port {
        TERMINAL_PORT => note(app, actor, "workspace.link_terminal", id.as_str()).await,
        port => note(app, actor, "workspace.link_port", &format!("{id}:{port}")).await,
    }
    Ok(PortLink { id: claims.link, url, expires_at: issued.expires })
}

/// Links in force, without what opens the ports.
///
/// # Errors
/// The object does not answer.
pub async fn links(app: &App, actor: &Actor, id: &WorkspaceId) -> ApiResult<LinkList> {
    Ok(LinkList { links: view(app, actor, id).await?.links })
}

fn usable_port(port: u16) -> ApiResult<()> {
    if port == 0 || PORTS_RESERVED.contains(&port) {
        return Err(ApiError::field("port", format!("port {port} is reserved"))
            .hint("Choose a port that your program listens on."));
    }
    Ok(())
}
