//! A tenant's secrets, as use cases of API and pages: written, listed without values, removed, and chosen.
//!
//! Machines that run are told to fetch what concerns them; a git credential is asked for each time, so nobody has to be.

use crate::actor::Actor;
use crate::app::App;
use crate::d1::Chooser;
use crate::durable_objects::rpc::Call;
use crate::error::{ApiError, ApiResult};
use crate::log::Level;
use crate::workspaces::audit::note;
use ebbtide_api::secrets::{PutSecret, SecretChanged, SecretChoice, SecretInfo, SecretList, SecretUse};
use ebbtide_api::workspace::Workspace;
use ebbtide_api::{ErrorCode, WorkspaceId};
use ebbtide_control::lifecycle::Command;
use ebbtide_control::stored_secrets::{OpenedSecret, SecretError, check, check_choice};
use futures_util::future::join_all;

/// Workspaces that are named beside a secret.
const NAMED: usize = 50;
/// Machines that are told of a change at once; others hear of it when they next wake. A request makes 40 calls at most.
const TOLD: usize = 25;

/// All secrets, without their values.
///
/// # Errors
/// Storage or the index does not answer.
pub async fn list(app: &App, actor: &Actor) -> ApiResult<SecretList> {
    let secrets = app.keychain()?.secrets(&actor.tenant).await?;
    let choosers = app.d1()?.choosers(&actor.tenant).await?;
    Ok(SecretList { secrets: secrets.iter().map(|secret| info(secret, &choosers)).collect() })
}

/// One secret, without its value.
///
/// # Errors
/// There is none of that name, or storage or the index does not answer.
pub async fn show(app: &App, actor: &Actor, name: &str) -> ApiResult<SecretInfo> {
    let all = list(app, actor).await?.secrets;
    all.into_iter().find(|secret| secret.name == name).ok_or_else(none)
}

/// Writes a secret.
///
/// # Errors
/// It is unusable, there are too many, or storage does not answer.
pub async fn put(app: &App, actor: &Actor, name: &str, put: PutSecret) -> ApiResult<SecretChanged> {
    let secret = check(name, put).map_err(refuse)?;
    let (written, before) = app.keychain()?.put_secret(&actor.tenant, name, secret, app.now()).await?;
    note(app, actor, "secret.put", &format!("{name}: {}", written.secret.usage.kind())).await;
    changed(app, actor, &written, before.as_ref(), Change::Written).await
}

/// Removes a secret; says who had it.
///
/// # Errors
/// There is none of that name, or storage does not answer.
pub async fn remove(app: &App, actor: &Actor, name: &str) -> ApiResult<SecretChanged> {
    let removed = app.keychain()?.remove_secret(&actor.tenant, name).await?.ok_or_else(none)?;
    note(app, actor, "secret.delete", name).await;
    changed(app, actor, &removed, None, Change::Removed).await
}

/// Checks which secrets a workspace is to get.
///
/// # Errors
/// A name is unusable, or there is no such secret.
pub async fn check_chosen(app: &App, actor: &Actor, choice: &SecretChoice) -> ApiResult<()> {
    if choice.names().is_empty() {
        return Ok(());
    }
    let secrets = app.keychain()?.secrets(&actor.tenant).await?;
    check_choice(choice, secrets.iter().map(|secret| secret.name.as_str())).map_err(refuse)
}

/// Tells a workspace's machine that what it was given has changed; false where it was not told. It fetches it with its next
/// start otherwise.
pub async fn tell(app: &App, actor: &Actor, id: &WorkspaceId) -> bool {
    let commands = vec![Command::SettingsChanged];
    let told = app.workspace(&actor.tenant, id).ask::<Workspace>(Call::Ask { commands }).await;
    if let Err(error) = &told {
        let fields = [("workspace.id", id.as_str()), ("request.id", app.request_id.as_str())];
        error.log(Level::Warn, "a machine was not told of a changed secret", &fields);
    }
    told.is_ok()
}

/// Tells every machine that runs; answers how many were not told, because they are too many or did not answer.
///
/// # Errors
/// The index does not answer.
pub async fn tell_all(app: &App, actor: &Actor) -> ApiResult<usize> {
    let choosers = app.d1()?.choosers(&actor.tenant).await?;
    let running: Vec<&Chooser> = choosers.iter().filter(|chooser| chooser.has_machine).collect();
    let told = join_all(running.iter().take(TOLD).map(|chooser| tell(app, actor, &chooser.user.id))).await;
    Ok(running.len() - told.into_iter().filter(|told| *told).count())
}

#[derive(Clone, Copy)]
enum Change {
    Written,
    Removed,
}

async fn changed(
    app: &App,
    actor: &Actor,
    secret: &OpenedSecret,
    before: Option<&OpenedSecret>,
    change: Change,
) -> ApiResult<SecretChanged> {
    let choosers = app.d1()?.choosers(&actor.tenant).await?;
    let is_kept_on_machines = [Some(secret), before]
        .into_iter()
        .flatten()
        .any(|secret| !matches!(secret.secret.usage, SecretUse::GitCredential { .. }));
    let concerned = |chooser: &&Chooser| {
        let gets = |secret: &OpenedSecret| secret.is_for(&chooser.choice);
        chooser.has_machine && (gets(secret) || before.is_some_and(gets))
    };
    let running: Vec<&Chooser> = choosers.iter().filter(concerned).collect();
    if is_kept_on_machines {
        join_all(running.iter().take(TOLD).map(|chooser| tell(app, actor, &chooser.user.id))).await;
    }
    let applies = applies(change, is_kept_on_machines, running.len());
    Ok(SecretChanged { secret: info(secret, &choosers), applies })
}

fn applies(change: Change, is_kept_on_machines: bool, running: usize) -> String {
    let untold = running.saturating_sub(TOLD);
    let rest = if untold > 0 {
        format!(" {untold} other machines have it from their next start on.")
    } else {
        String::new()
    };
    match (change, is_kept_on_machines) {
        (Change::Written, false) => "Git asks for it each time, so it is in force now.".to_owned(),
        (Change::Removed, false) => {
            "Git is given it no more from now on. End it where it was issued, too.".to_owned()
        }
        (Change::Written, true) => format!(
            "Machines that run have it within seconds, variables in new terminals; others when they next wake.{rest}"
        ),
        (Change::Removed, true) => format!(
            "It goes from machines that run within seconds; programs that have read it still know it. End it where it \
             was issued, too.{rest}"
        ),
    }
}

fn info(secret: &OpenedSecret, choosers: &[Chooser]) -> SecretInfo {
    let users = choosers.iter().filter(|chooser| secret.is_for(&chooser.choice));
    secret.info(users.take(NAMED).map(|chooser| chooser.user.clone()).collect())
}

fn none() -> ApiError {
    ApiError::new(ErrorCode::NotFound, "there is no such secret").hint("GET /v1/secrets lists them.")
}

fn refuse(error: SecretError) -> ApiError {
    let (field, hint) = (error.field(), error.hint());
    ApiError::field(field, error).hint(hint)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_becomes_of_a_change_is_said() {
        assert!(applies(Change::Written, false, 3).contains("each time"));
        assert!(applies(Change::Removed, true, 3).contains("within seconds"));
        assert!(
            applies(Change::Written, true, 27)
                .ends_with("2 other machines have it from their next start on.")
        );
        assert!(!applies(Change::Written, true, 25).contains("other machines have"));
    }
}
