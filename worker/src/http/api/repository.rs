//! restic's REST protocol over the bucket, for machines and for owners.
//!
//! Every write is create-only and streams from the request into the bucket, which checks its SHA-256; nothing is
//! buffered. `config` and `keys/` close once the repository is made. An owner changes and deletes under the repository's lock, while no
//! machine exists; a machine deletes nothing, but what it was told to before it is ready (`prune`). Objects of one workspace
//! are all that a path can name.
//! `read` shows what the object says is verified, `write` adds, `delete` moves to where it can be taken back.

mod delete;
mod prune;
mod read;
mod write;

pub use prune::{begin as begin_prune, end as end_prune};

use crate::actor::Actor;
use crate::app::App;
use crate::durable_objects::rpc::{BackupCall, Call};
use crate::error::{ApiError, ApiResult};
use crate::http::request::Incoming;
use crate::r2::bucket::{Storage, repository_path};
use crate::r2::restic_paths::{self, Place, split_as_of};
use crate::workspaces::actions::own;
use ebbtide_api::keys::Scope;
use ebbtide_api::{ErrorCode, Generation, TenantId, WorkspaceId};
use ebbtide_control::repository::view::Reader;
use ebbtide_control::tokens::VmClaims;
use serde::de::DeserializeOwned;
use worker::{Method, Response};

/// How a repository is looked at.
#[derive(Debug, Clone)]
struct Seen {
    reader: Reader,
    /// The machine that looks, if one does.
    machine: Option<Generation>,
}

/// A workspace's repository in the bucket.
struct Repository<'a> {
    app: &'a App,
    storage: Storage,
    tenant: &'a TenantId,
    workspace: &'a WorkspaceId,
}

/// Serves a machine: its own workspace's repository.
pub async fn machine(incoming: &Incoming, claims: &VmClaims) -> ApiResult<Response> {
    let (app, request) = (&incoming.app, &incoming.request);
    let repository =
        Repository { app, storage: app.r2()?, tenant: &claims.tenant, workspace: &claims.workspace };
    let (as_of, place) = place(incoming)?;
    match request.method() {
        Method::Get | Method::Head => {
            let reader = as_of.unwrap_or(Reader::Machine);
            let seen = Seen { reader, machine: Some(claims.generation) };
            repository.read(&place, Some(&seen), request).await
        }
        Method::Post | Method::Put => match incoming.query("replaces") {
            Some(old) => repository.replace(&place, &old, claims.generation, request).await,
            None => repository.write_as_machine(&place, claims.generation, request).await,
        },
        _ => repository.delete_as_machine(&place, claims.generation).await,
    }
}

/// Serves an owner.
pub async fn owner(incoming: &Incoming, actor: &Actor) -> ApiResult<Response> {
    let (app, request) = (&incoming.app, &incoming.request);
    let id = incoming.params.get("id");
    if actor.repository.as_ref().is_some_and(|only| only.as_str() != id) {
        return Err(ApiError::no_workspace(id));
    }
    let workspace = own(app, actor, id).await?;
    let repository = Repository { app, storage: app.r2()?, tenant: &actor.tenant, workspace: &workspace };
    let (as_of, place) = place(incoming)?;
    let reads = matches!(request.method(), Method::Get | Method::Head);
    if !reads && !actor.may(Scope::Write) {
        return Err(ApiError::new(
            ErrorCode::Forbidden,
            "this credential reads these backups and changes nothing",
        )
        .hint("Run restic with --no-lock, or use a key with the scope `write`."));
    }
    match request.method() {
        Method::Get | Method::Head => {
            let seen = as_of.map(|reader| Seen { reader, machine: None });
            repository.read(&place, seen.as_ref(), request).await
        }
        Method::Post | Method::Put => repository.write_as_owner(&place, actor, request).await,
        Method::Delete => repository.delete(&place, actor).await,
        _ => Err(ApiError::new(ErrorCode::MethodNotAllowed, "restic's protocol has no such method")),
    }
}

/// What a path names, and as of which receipt: before the path, as stock restic can say it, or in the query.
fn place(incoming: &Incoming) -> ApiResult<(Option<Reader>, Place)> {
    let refuse = || {
        ApiError::new(ErrorCode::NotFound, "this is no path of a restic repository")
            .hint("Paths are config, and {data,index,keys,locks,snapshots}/ with a SHA-256.")
    };
    let (as_of, path) = split_as_of(incoming.params.get("path")).ok_or_else(refuse)?;
    let as_of = match incoming.query("as-of") {
        Some(text) => Some(restic_paths::as_of(&text).ok_or_else(|| {
            ApiError::field("as-of", "it is `latest`, `verified` or the whole id of a snapshot")
        })?),
        None => as_of,
    };
    Ok((as_of, Place::parse(path).ok_or_else(refuse)?))
}

impl Repository<'_> {
    fn key(&self, path: &str) -> String {
        repository_path(self.tenant, self.workspace, path)
    }

    async fn ask<T: DeserializeOwned>(&self, ask: BackupCall) -> ApiResult<T> {
        self.app.workspace(self.tenant, self.workspace).ask(Call::Backups { ask }).await
    }
}

fn missing() -> ApiError {
    ApiError::new(ErrorCode::NotFound, "there is no such object").hint("Lists say which objects exist.")
}
