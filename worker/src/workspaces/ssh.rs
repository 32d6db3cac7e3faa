//! SSH, as use cases of API and pages: whose keys sign in, and how a workspace that lets SSH in is reached.

use crate::actor::Actor;
use crate::app::App;
use crate::error::{ApiError, ApiResult};
use crate::workspaces::audit::note;
use crate::workspaces::secrets;
use ebbtide_api::ErrorCode;
use ebbtide_api::ssh::{KEY_MAX, PutSshKey, SshAccess, SshKeyChanged, SshKeyInfo, SshKeyList};
use ebbtide_api::workspace::{State, Workspace};
use ebbtide_control::names;
use ebbtide_control::ssh::{self, LoginKey};
use ebbtide_control::stored_secrets::is_name;

/// All keys that sign in.
///
/// # Errors
/// Storage does not answer.
pub async fn list(app: &App, actor: &Actor) -> ApiResult<SshKeyList> {
    let keys = app.keychain()?.login_keys(&actor.tenant).await?;
    Ok(SshKeyList { keys: keys.iter().map(|(name, key)| key.info(name)).collect() })
}

/// One key.
///
/// # Errors
/// There is none of that name, or storage does not answer.
pub async fn show(app: &App, actor: &Actor, name: &str) -> ApiResult<SshKeyInfo> {
    let keys = app.keychain()?.login_keys(&actor.tenant).await?;
    keys.get(name).map(|key| key.info(name)).ok_or_else(none)
}

/// Writes a key.
///
/// # Errors
/// It may not sign in, there are too many, or storage does not answer.
pub async fn put(app: &App, actor: &Actor, name: &str, put: PutSshKey) -> ApiResult<SshKeyChanged> {
    if !is_name(name) {
        return Err(ApiError::field("name", "it is no name of a key")
            .hint("Use 1 to 64 lower-case letters, digits, dots, dashes and underscores."));
    }
    if put.public_key.len() > KEY_MAX {
        return Err(ApiError::field("public_key", format!("it has more than {KEY_MAX} bytes"))
            .hint("Give one line of a file that ends in .pub."));
    }
    let key = LoginKey::parse(&put.public_key, app.now())
        .map_err(|error| ApiError::field("public_key", &error).hint(error.hint()))?;
    app.keychain()?.put_login_key(&actor.tenant, name, key.clone()).await?;
    let info = key.info(name);
    note(app, actor, "ssh_key.put", &format!("{name}: {}", info.fingerprint)).await;
    let untold = secrets::tell_all(app, actor).await;
    let applies = "Machines that let SSH in let it in within seconds; others when they next wake.";
    Ok(SshKeyChanged { key: info, applies: with_untold(applies, untold) })
}

/// Removes a key.
///
/// # Errors
/// There is none of that name, or storage does not answer.
pub async fn remove(app: &App, actor: &Actor, name: &str) -> ApiResult<SshKeyChanged> {
    let Some(removed) = app.keychain()?.remove_login_key(&actor.tenant, name).await? else {
        // Whoever sends it again had machines that were not told.
        secrets::tell_all(app, actor).await?;
        return Err(none());
    };
    note(app, actor, "ssh_key.delete", name).await;
    let untold = secrets::tell_all(app, actor).await;
    let applies = "Machines that run let it in no more within seconds, and end every SSH session then.";
    Ok(SshKeyChanged { key: removed.info(name), applies: with_untold(applies, untold) })
}

/// Refuses to let SSH in where nobody could sign in.
///
/// # Errors
/// There is no key, or storage does not answer.
pub async fn check_wish(app: &App, actor: &Actor, wish: Option<bool>) -> ApiResult<()> {
    if wish == Some(true) && app.keychain()?.login_keys(&actor.tenant).await?.is_empty() {
        return Err(ApiError::field("ssh", "there is no key that could sign in")
            .hint("PUT /v1/ssh-keys/{name} with the public key of your computer first."));
    }
    Ok(())
}

/// How a workspace of the caller's is reached over SSH.
///
/// # Errors
/// `wrong_state` where SSH is closed; or its object or storage does not answer.
pub async fn access(app: &App, actor: &Actor, workspace: &Workspace) -> ApiResult<SshAccess> {
    let id = &workspace.id;
    // A key that was shredded with its workspace is not made anew.
    if !workspace.ssh || workspace.state == State::Deleted {
        return Err(ApiError::new(ErrorCode::WrongState, "SSH is closed for this workspace")
            .hint("PATCH /v1/workspaces/{id} with {\"ssh\":true} lets it in."));
    }
    let key = app.keychain()?.ssh_host_key(&actor.tenant, id).await?;
    let host = names::workspace_host(&workspace.name, id, &app.config.zone);
    Ok(ssh::access(&workspace.name, id, &host, &key))
}

/// What becomes of a change, and what to do about machines that do not know of it: the change itself is stored.
fn with_untold(applies: &str, untold: ApiResult<usize>) -> String {
    const AGAIN: &str = "Send this again, or close SSH there; else they hear of it when they next wake.";
    match untold {
        Ok(0) => applies.to_owned(),
        Ok(count) => format!("{applies} But {count} machines were not told. {AGAIN}"),
        Err(error) => format!("It is stored, but no machine was told ({}). {AGAIN}", error.message()),
    }
}

fn none() -> ApiError {
    ApiError::new(ErrorCode::NotFound, "there is no such key").hint("GET /v1/ssh-keys lists them.")
}
