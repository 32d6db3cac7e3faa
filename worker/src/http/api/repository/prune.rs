//! A machine's prune: before it restores anything it removes the snapshots that it was told to, and what nothing needs
//! then. As an owner's deletions, these can be taken back for some days.
//!
//! Who may, and for how long, is the object's to say, for each object anew. An index that loses an entry is *replaced*: the
//! new one takes the old one's place in every view, less what is gone.

use super::{Repository, missing};
use crate::durable_objects::rpc::{BackupCall, Call, Held, Pruned};
use crate::error::{ApiError, ApiResult};
use crate::http::request::Incoming;
use crate::http::response;
use crate::r2::restic_paths::{Name, Place};
use ebbtide_api::vm::{BeginPrune, PruneOrder, PruneReport};
use ebbtide_api::{ErrorCode, Generation};
use ebbtide_control::repository::Kind;
use ebbtide_control::tokens::VmClaims;
use worker::{Request, Response};

/// A machine begins.
pub async fn begin(incoming: &Incoming, claims: &VmClaims) -> ApiResult<Response> {
    let BeginPrune { generation } = incoming.json().await?;
    same(generation, claims.generation)?;
    let call = Call::Backups { ask: BackupCall::BeginPrune { generation } };
    let order: PruneOrder = incoming.app.workspace(&claims.tenant, &claims.workspace).ask(call).await?;
    response::json(200, &order)
}

/// A machine is done.
pub async fn end(incoming: &Incoming, claims: &VmClaims) -> ApiResult<Response> {
    let report: PruneReport = incoming.json().await?;
    same(report.generation, claims.generation)?;
    let call = Call::Backups { ask: BackupCall::EndPrune { report } };
    let held: Held = incoming.app.workspace(&claims.tenant, &claims.workspace).ask(call).await?;
    response::json(200, &held)
}

fn same(stated: Generation, claimed: Generation) -> ApiResult<()> {
    if stated == claimed {
        return Ok(());
    }
    Err(ApiError::new(ErrorCode::StaleGeneration, "the body names another generation than the token"))
}

impl Repository<'_> {
    pub(super) async fn delete_as_machine(
        &self,
        place: &Place,
        generation: Generation,
    ) -> ApiResult<Response> {
        let (kind, name) = match place {
            Place::Object(kind @ (Kind::Snapshots | Kind::Index | Kind::Data), name) => (*kind, name),
            Place::Object(Kind::Keys | Kind::Locks, _) | Place::Config | Place::Root | Place::List(_) => {
                return Err(ApiError::new(ErrorCode::DeletionRefused, "a machine does not delete this"));
            }
        };
        let what = match kind {
            Kind::Snapshots => Pruned::Snapshot { name: name.hex().to_owned() },
            Kind::Data | Kind::Keys | Kind::Index | Kind::Locks => Pruned::Object,
        };
        let _: Held = self.ask(BackupCall::Prune { generation, what }).await?;
        self.discard(kind, name).await?;
        Ok(response::nothing(200))
    }

    /// Stores an index in the place of another, which is deleted next.
    pub(super) async fn replace(
        &self,
        place: &Place,
        old: &str,
        generation: Generation,
        request: &Request,
    ) -> ApiResult<Response> {
        let (Place::Object(Kind::Index, _), Some(old)) = (place, Name::parse(old)) else {
            return Err(ApiError::field("replaces", "only an index is replaced, by another"));
        };
        let Some(new) = self.new_object(place, request).await? else { return Err(missing()) };
        let replaces = old.hex().to_owned();
        let what = Pruned::Index { replaces: replaces.clone(), bytes: new.length };
        let _: Held = self.ask(BackupCall::Prune { generation, what }).await?;
        self.store(new.replacing(replaces), request).await
    }
}
