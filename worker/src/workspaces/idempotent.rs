//! A creation that a caller may send again: one workspace comes of it, and the same answer.

use super::create::{check, create, new_id};
use crate::actor::Actor;
use crate::app::App;
use crate::d1::{Claim, Claimed, Index};
use crate::error::{ApiError, ApiResult};
use crate::http::json;
use ebbtide_api::{ErrorCode, WorkspaceId};
use ebbtide_control::tokens::sha256;

/// Longest Idempotency-Key, in bytes.
const KEY_MAX: usize = 200;

/// A workspace that was created, now or when the request first came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Created {
    /// Its id.
    pub id: String,
    /// HTTP status of the answer.
    pub status: u16,
    /// The answer, JSON.
    pub body: String,
    /// Whether this is the answer of an earlier request.
    pub replayed: bool,
}

/// Creates a workspace from the body of a request, once for each key. Without a key, once for each call.
///
/// # Errors
/// `idempotency_mismatch` and `idempotency_in_progress`; or as [`check`] and [`create`].
pub async fn once(app: &App, actor: &Actor, key: Option<&str>, body: &[u8]) -> ApiResult<Created> {
    let id = new_id()?;
    let Some(key) = key else { return run(app, actor, id, body).await };
    usable(key)?;
    let digest = sha256([b"POST /v1/workspaces\n", body].concat().as_slice());
    let claim = Claim { tenant: &actor.tenant, key, digest: &digest, subject: id.as_str(), now: app.now() };
    let index = app.d1()?;
    match index.claim(&claim).await? {
        Claimed::Replay(stored) => {
            Ok(Created { id: stored.subject, status: stored.status, body: stored.body, replayed: true })
        }
        Claimed::OtherRequest => Err(ApiError::new(
            ErrorCode::IdempotencyMismatch,
            "this Idempotency-Key belongs to another request",
        )),
        Claimed::InProgress => Err(ApiError::new(
            ErrorCode::IdempotencyInProgress,
            "the first request with this Idempotency-Key is still running",
        )
        .header("retry-after", "1")),
        Claimed::Run { subject } => {
            let id: WorkspaceId = subject.parse().map_err(ApiError::internal)?;
            let created = run(app, actor, id, body).await;
            settle(&index, &claim, &created).await?;
            created
        }
    }
}

async fn run(app: &App, actor: &Actor, id: WorkspaceId, body: &[u8]) -> ApiResult<Created> {
    let checked = check(app, actor, json::parse(body)?).await?;
    let workspace = create(app, actor, &id, checked).await?;
    let body = serde_json::to_string(&workspace).map_err(ApiError::internal)?;
    Ok(Created { id: id.to_string(), status: 202, body, replayed: false })
}

/// Leaves the answer for the next request. After a refusal nothing was made, and the key is free again; where the end
/// is unclear, the next request goes on with the same id.
async fn settle(index: &Index, claim: &Claim<'_>, created: &ApiResult<Created>) -> ApiResult<()> {
    match created {
        Ok(created) => index.answered(claim, created.status, &created.body).await,
        Err(error) if error.status() < 500 => index.release(claim).await,
        Err(_) => index.abandon(claim).await,
    }
}

fn usable(key: &str) -> ApiResult<()> {
    let printable = key.bytes().all(|byte| (0x20..0x7f).contains(&byte));
    if key.is_empty() || key.len() > KEY_MAX || !printable {
        return Err(ApiError::field("Idempotency-Key", "it is empty, too long or not plain ASCII")
            .hint("Send a random text such as a UUID, at most 200 characters."));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_short_plain_texts() {
        for key in ["8e03978e-40d5-43e8-bc93-6894a57f9324", "x", &"k".repeat(200)] {
            assert!(usable(key).is_ok(), "{key}");
        }
        for key in ["", "tab\there", "ä", &"k".repeat(201)] {
            assert!(usable(key).is_err(), "{key}");
        }
    }
}
