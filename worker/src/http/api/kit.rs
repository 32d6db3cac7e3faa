//! `POST /v1/workspaces/{id}/restore-kit`: what stock restic needs to bring a workspace back, and nothing more.
//!
//! The kit's credential reads the backups of this workspace alone, as of the newest verified receipt, until it
//! ends or is revoked. The kit is answered once; only the credential's digest is kept.

use crate::actor::Actor;
use crate::app::App;
use crate::d1::KEYS_MAX;
use crate::error::{ApiError, ApiResult};
use crate::http::request::Incoming;
use crate::http::response;
use crate::random::random;
use crate::workspaces::actions::{own, snapshots, view};
use crate::workspaces::lost;
use ebbtide_api::backups::{CreateRestoreKit, RestoreKit};
use ebbtide_api::keys::ApiKeyInfo;
use ebbtide_api::workspace::{State, Workspace};
use ebbtide_api::{Duration, ErrorCode, PRODUCT, WorkspaceId};
use ebbtide_control::record::plus;
use ebbtide_control::tokens::ApiKey;
use worker::{Response, ResponseBuilder};

/// How long a kit is good where nobody says.
const KIT_FOR: Duration = Duration::from_hours(90 * 24);
/// How long one is good at most.
const KIT_FOR_MAX: Duration = Duration::from_hours(366 * 24);
/// Most kits of a workspace that are good at a time.
const KITS_MAX: usize = 20;

/// Makes a kit.
pub async fn create(incoming: &Incoming, actor: &Actor) -> ApiResult<Response> {
    let app = &incoming.app;
    let asked: CreateRestoreKit = incoming.json().await?;
    let good_for = asked.r#for.unwrap_or(KIT_FOR);
    if good_for > KIT_FOR_MAX {
        return Err(ApiError::field("for", format!("{good_for} is too long"))
            .hint("A kit is good for a year at most; make another before it ends."));
    }
    let workspace = own(app, actor, incoming.params.get("id")).await?;
    let Workspace { name, state, .. } = view(app, actor, &workspace).await?;
    let key = app.keychain()?.kept_workspace_key(&actor.tenant, &workspace).await?;
    if key.is_none() && state == State::Deleted {
        return Err(shredded());
    }
    let shown = shown(app, actor, &workspace).await?;
    let password = key.ok_or_else(shredded)?.repository_password().expose().clone();
    let index = app.d1()?;
    index.drop_expired_keys(&actor.tenant, app.now()).await?;
    let keys = index.keys(&actor.tenant).await?;
    let kits = keys.iter().filter(|key| key.repository.as_ref() == Some(&workspace)).count();
    if kits >= KITS_MAX {
        let message = format!("there are {KITS_MAX} restore kits of this workspace already");
        return Err(ApiError::new(ErrorCode::CapReached, message)
            .hint("GET /v1/keys lists them; DELETE /v1/keys/{id} ends one."));
    }
    if keys.len() >= KEYS_MAX {
        return Err(ApiError::new(ErrorCode::CapReached, format!("there are {KEYS_MAX} keys already"))
            .hint("Revoke one that is not used any more; a kit carries a key of its own."));
    }
    let key = ApiKey::from_random(random()?, random()?);
    let info = ApiKeyInfo {
        id: key.id().to_owned(),
        prefix: format!("ebb_{}", key.id()),
        label: format!("restore kit of {name}"),
        scopes: Vec::new(),
        created_at: app.now(),
        last_used_at: None,
        repository: Some(workspace.clone()),
        expires_at: Some(plus(app.now(), good_for)),
    };
    let subject = format!("{workspace}:{}", info.id);
    let audit = app.audit_note(actor, "workspace.restore_kit", &subject);
    index.put_key(&actor.tenant, &info, &key.digest(), &audit).await?;
    let repository = repository_url(&app.config.control_url, key.text().expose(), &workspace, &shown);
    let instructions = instructions(&name, &shown, &repository, &password, &info);
    let kit = RestoreKit {
        workspace,
        name,
        made_at: info.created_at,
        snapshot: shown.snapshot().to_owned(),
        repository,
        password,
        key: info,
        instructions,
    };
    let accept = incoming.header("accept");
    if accept.is_some_and(|accept| accept.starts_with("text/plain")) {
        let builder = ResponseBuilder::new()
            .with_status(201)
            .with_header("content-type", "text/plain; charset=utf-8")
            .and_then(|builder| builder.with_header("cache-control", "no-store"));
        return Ok(builder.map_err(ApiError::internal)?.fixed(kit.instructions.into_bytes()));
    }
    response::json(201, &kit)
}

/// Refuses a kit that could read nothing.
fn shredded() -> ApiError {
    ApiError::new(
        ErrorCode::KeysShredded,
        "the key of this workspace is deleted, and nothing reads its backups without it",
    )
}

/// What a kit shows of a repository.
enum Shown {
    /// As of the newest verified receipt, which is this snapshot's.
    Verified(String),
    /// All that is stored: which receipts there were was in the record, and that is lost.
    Stored,
}

impl Shown {
    /// As restic names the newest.
    fn snapshot(&self) -> &str {
        match self {
            Self::Verified(snapshot) => snapshot,
            Self::Stored => "latest",
        }
    }
}

/// What can be shown.
///
/// # Errors
/// Nothing is backed up, or the object or storage does not answer.
async fn shown(app: &App, actor: &Actor, workspace: &WorkspaceId) -> ApiResult<Shown> {
    let newest = match snapshots(app, actor, workspace).await {
        Ok(list) => list.snapshots.into_iter().next().map(|newest| Shown::Verified(newest.snapshot)),
        Err(refusal) if lost::is_lost(&refusal) => {
            lost::is_backed_up(app, actor, workspace).await?.then_some(Shown::Stored)
        }
        Err(refusal) => return Err(refusal),
    };
    newest.ok_or_else(|| {
        ApiError::new(ErrorCode::WrongState, "nothing of this workspace is backed up yet")
            .hint("Wait for its first verified snapshot: GET …/snapshots lists them.")
    })
}

/// The repository as restic names it.
fn repository_url(control_url: &str, key: &str, workspace: &WorkspaceId, shown: &Shown) -> String {
    let (scheme, rest) = control_url.split_once("://").unwrap_or(("https", control_url));
    let rest = rest.trim_end_matches('/');
    let as_of = match shown {
        Shown::Verified(_) => "as-of/latest/",
        Shown::Stored => "",
    };
    format!("rest:{scheme}://kit:{key}@{rest}/v1/workspaces/{workspace}/restic/{as_of}")
}

/// What a person does with the kit. It runs as a shell script, too: comments say the rest.
fn instructions(name: &str, shown: &Shown, repository: &str, password: &str, key: &ApiKeyInfo) -> String {
    let until = key.expires_at.map_or_else(|| "it is revoked".to_owned(), |at| at.to_string());
    let key = &key.id;
    let product = PRODUCT.name;
    let shows = match shown {
        Shown::Verified(snapshot) => format!(
            "# The newest verified snapshot was {snapshot} when this kit was made;\n\
             # name any other id of the list in the place of `latest`.\n\
             # The repository is shown as of its newest verified backup. To see every object that is stored, verified or not,\n\
             # take `as-of/latest/` off the end of RESTIC_REPOSITORY.\n"
        ),
        Shown::Stored => "# The record of this workspace is lost, and with it which snapshots were verified: every object that is\n\
             # stored is shown. Should the newest snapshot not restore whole, name an older id of the list in the place of\n\
             # `latest`.\n"
            .to_owned(),
    };
    format!(
        "# Restore kit of the {product} workspace {name}. Keep it as you keep a password: it reads all of its backups.\n\
         # Needs restic 0.14 or later and nothing else (https://restic.net). In an empty directory, paste these lines\n\
         # into a shell, or run this file with: sh -e FILE\n\
         \n\
         export RESTIC_REPOSITORY='{repository}'\n\
         export RESTIC_PASSWORD='{password}'\n\
         restic --no-lock snapshots\n\
         restic --no-lock restore latest --target restored\n\
         \n\
         {shows}\
         # One file to standard output:  restic --no-lock dump SNAPSHOT /path/of/the/file\n\
         # Everything read and checked:  restic --no-lock check --read-data\n\
         # Its credential is good until {until}; the password has no end.\n\
         # To end it sooner:             DELETE /v1/keys/{key}\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_repository_is_named_as_restic_takes_it() {
        let id = "k3v7q2mzab".parse().unwrap();
        for (control, wanted) in [
            (
                "https://ebb.example",
                "rest:https://kit:KEY@ebb.example/v1/workspaces/k3v7q2mzab/restic/as-of/latest/",
            ),
            (
                "http://127.0.0.1:8787/",
                "rest:http://kit:KEY@127.0.0.1:8787/v1/workspaces/k3v7q2mzab/restic/as-of/latest/",
            ),
        ] {
            let shown = Shown::Verified("abcd".into());
            assert_eq!(repository_url(control, "KEY", &id, &shown), wanted);
            let whole = wanted.trim_end_matches("as-of/latest/");
            assert_eq!(repository_url(control, "KEY", &id, &Shown::Stored), whole);
        }
    }

    #[test]
    fn the_instructions_are_a_shell_script_of_restic_alone() {
        let key: ApiKeyInfo = serde_json::from_str(
            r#"{"id":"0011223344","prefix":"ebb_","label":"","scopes":[],"created_at":"2026-11-21T05:00:00Z",
            "last_used_at":null,"expires_at":"2027-02-19T05:00:00Z"}"#,
        )
        .unwrap();
        let verified = Shown::Verified("abcd".into());
        let text = instructions("demo", &verified, "rest:https://kit:KEY@host/", "PASSWORD", &key);
        let lines: Vec<&str> =
            text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')).collect();
        assert_eq!(
            lines,
            [
                "export RESTIC_REPOSITORY='rest:https://kit:KEY@host/'",
                "export RESTIC_PASSWORD='PASSWORD'",
                "restic --no-lock snapshots",
                "restic --no-lock restore latest --target restored",
            ]
        );
        assert!(text.contains("DELETE /v1/keys/0011223344"), "{text}");
        assert!(text.contains("until 2027-02-19T05:00:00Z"), "{text}");
        let text = instructions("demo", &Shown::Stored, "rest:https://kit:KEY@host/", "PASSWORD", &key);
        assert!(text.contains("record of this workspace is lost"), "{text}");
    }
}
