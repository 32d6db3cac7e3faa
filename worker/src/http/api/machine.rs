//! Handlers of `/v1/vm/`: a machine enrols, reports, and delivers its receipts.
//!
//! Its token says which workspace, generation and tenant it acts for; the object alone knows whether that generation
//! lives. Bodies are bounded, and what a machine says is never believed about anybody but itself.

use crate::app::App;
use crate::durable_objects::rpc::{Call, EnrolProof, ReceiptEnds};
use crate::error::{ApiError, ApiResult};
use crate::http::auth::{self, refuse_token};
use crate::http::body;
use crate::http::json;
use crate::http::request::Incoming;
use crate::http::response;
use ebbtide_api::vm::{Enrol, Heartbeat};
use ebbtide_api::{ErrorCode, Generation, TenantId};
use ebbtide_control::tokens::{EnrolmentClaims, Expiry, MachineKey, TokenError, VmClaims};
use serde::Deserialize;
use serde_json::Value;
use worker::Response;

/// Largest heartbeat: a batch of log lines and a long list of ports.
const HEARTBEAT_MAX: usize = 256 * 1024;
/// Largest receipt: about 10 000 packs (160 GB) or as many unreadable paths.
const RECEIPT_MAX: usize = 1024 * 1024;

/// Enrols a machine, again or for the first time, and renews its token.
pub async fn enrol(incoming: &Incoming) -> ApiResult<Response> {
    let app = &incoming.app;
    let enrol: Enrol = incoming.json().await?;
    let claims = enrolment(app, &enrol)?;
    let refused = |error| {
        ApiError::new(ErrorCode::EnrolmentRefused, format!("{error}"))
            .hint("The machine signs what it sends with the key that it sends.")
    };
    let key = MachineKey::parse(&enrol.machine_key).map_err(refused)?;
    key.verify_enrolment(&enrol.workspace, enrol.generation, &enrol.enrolment_token, &enrol.signature)
        .map_err(refused)?;
    // One spelling of the key: the object compares texts.
    let enrol = Enrol { machine_key: key.to_base64(), ..enrol };
    let answer = match claims {
        Some((claims, proof)) => ask(app, &claims.tenant, enrol, proof).await?,
        None => by_key_alone(app, enrol).await?,
    };
    response::json(200, &answer)
}

async fn ask(app: &App, tenant: &TenantId, enrol: Enrol, proof: EnrolProof) -> ApiResult<Value> {
    let workspace = enrol.workspace.clone();
    app.workspace(tenant, &workspace).ask(Call::Enrol { enrol, proof }).await
}

/// Enrols whoever shows no token of ours. Anybody can make a key: unless it is enrolled, or was, no answer tells whether
/// there is such a workspace, or which generation of it lives.
async fn by_key_alone(app: &App, enrol: Enrol) -> ApiResult<Value> {
    let Some(tenant) = app.d1()?.tenant_of(&enrol.workspace).await? else { return Err(unknown_key()) };
    let answer = ask(app, &tenant, enrol, EnrolProof::KeyOnly).await;
    answer.map_err(|refusal| match refusal.code() {
        // Said to the holder of a key that is or was enrolled, who has to know that its time is over.
        ErrorCode::StaleGeneration => refusal,
        _ if refusal.status() < 500 => unknown_key(),
        _ => refusal,
    })
}

/// How every key is refused that nobody has enrolled.
fn unknown_key() -> ApiError {
    ApiError::new(ErrorCode::EnrolmentRefused, "no machine of that workspace and generation has this key")
        .hint("Wake the workspace: a new machine brings a token to enrol with.")
}

/// What the enrolment token says; `None` for a machine that sends none, because it has enrolled and forgotten it.
fn enrolment(app: &App, enrol: &Enrol) -> ApiResult<Option<(EnrolmentClaims, EnrolProof)>> {
    if enrol.enrolment_token.is_empty() {
        return Ok(None);
    }
    let keys = auth::token_keys(app)?;
    let verify = |expiry| keys.verify_enrolment(&enrol.enrolment_token, app.now(), expiry);
    let (claims, proof) = match verify(Expiry::Enforced) {
        Ok(claims) => (claims, EnrolProof::Token),
        // Whoever holds the enrolled key may still renew: an absent control plane locks no machine out.
        Err(TokenError::Expired) => (verify(Expiry::Ignored).map_err(refuse_token)?, EnrolProof::KeyOnly),
        Err(error) => return Err(refuse_token(error)),
    };
    claims.check(&enrol.workspace, enrol.generation).map_err(|error| match error {
        TokenError::OtherWorkspace => unknown_key(),
        other => refuse_token(other),
    })?;
    Ok(Some((claims, proof)))
}

/// Hands a machine's WebSocket to its object.
pub async fn connect(incoming: &Incoming, claims: &VmClaims) -> ApiResult<Response> {
    let upgrade = incoming.header("upgrade");
    if !upgrade.is_some_and(|upgrade| upgrade.eq_ignore_ascii_case("websocket")) {
        return Err(ApiError::new(ErrorCode::InvalidField, "this is no WebSocket upgrade")
            .with_status(426)
            .header("upgrade", "websocket")
            .hint("Connect with a WebSocket, or POST /v1/vm/heartbeat."));
    }
    // The token stays here, and no header of the machine's reaches the object.
    incoming.app.workspace(&claims.tenant, &claims.workspace).connect(claims.generation).await
}

/// Takes a heartbeat of a machine without a WebSocket.
pub async fn heartbeat(incoming: &Incoming, claims: &VmClaims) -> ApiResult<Response> {
    let heartbeat: Heartbeat = json::parse(&body::read(&incoming.request, HEARTBEAT_MAX).await?)?;
    let call = Call::Heartbeat { generation: claims.generation, heartbeat: Box::new(heartbeat) };
    let answer: Value = incoming.app.workspace(&claims.tenant, &claims.workspace).ask(call).await?;
    response::json(200, &answer)
}

/// Takes a receipt while work goes on.
pub async fn receipt(incoming: &Incoming, claims: &VmClaims) -> ApiResult<Response> {
    deliver(incoming, claims, ReceiptEnds::Nothing).await
}

/// Takes the last receipt of a machine.
pub async fn drained(incoming: &Incoming, claims: &VmClaims) -> ApiResult<Response> {
    deliver(incoming, claims, ReceiptEnds::Machine).await
}

/// Of a delivery, what is looked at before the object reads it.
#[derive(Deserialize)]
struct Claimed {
    generation: Generation,
}

async fn deliver(incoming: &Incoming, claims: &VmClaims, ends: ReceiptEnds) -> ApiResult<Response> {
    let body = body::read(&incoming.request, RECEIPT_MAX).await?;
    let claimed: Claimed = json::parse(&body)?;
    if claimed.generation != claims.generation {
        return Err(ApiError::new(
            ErrorCode::StaleGeneration,
            "the receipt is of another generation than the token",
        ));
    }
    // What was skipped was not looked at for that.
    let deliver = String::from_utf8(body)
        .map_err(|_| ApiError::new(ErrorCode::BadJson, "the receipt is not UTF-8 text"))?;
    let call = Call::Receipt { deliver, ends };
    let answer: Value = incoming.app.workspace(&claims.tenant, &claims.workspace).ask(call).await?;
    response::json(200, &answer)
}
