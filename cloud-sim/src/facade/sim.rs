//! `/_sim`: what the vendors do not offer. Time steps, faults, journal, inventory.
//!
//! Open to whoever reaches the loopback; it shows no token. User-data is shown, because tests must see what a
//! machine was given.

use std::sync::Arc;

use axum::{
    Json, Router,
    extract::{Path, Query, State},
    http::StatusCode,
    response::{IntoResponse, Response},
    routing::{delete, get, post},
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{Facade, journal::Entry};
use crate::model::{ActiveRule, Inventory, MachineFault, Rule, Sale};

/// More steps than this in one call is a loop, not a test.
const MAX_STEPS: u64 = 10_000;

type Shared = State<Arc<Facade>>;

pub(super) fn router(facade: Arc<Facade>) -> Router {
    Router::new()
        .route("/_sim/health", get(|| async { "ok" }))
        .route("/_sim/step", post(step))
        .route("/_sim/faults", get(list_faults).post(add_fault).delete(clear_faults))
        .route("/_sim/faults/{id}", delete(remove_fault))
        .route("/_sim/journal", get(journal).delete(clear_journal))
        .route("/_sim/inventory", get(inventory))
        .route("/_sim/availability", post(availability))
        .route("/_sim/resolve", get(resolve))
        .route("/_sim/machines/{server_id}/fault", post(machine_fault))
        .route("/_sim/servers/{server_id}/user-data", get(user_data))
        .fallback(super::provider::answer)
        .with_state(facade)
}

#[derive(Deserialize)]
struct Step {
    /// Pieces of pending work to complete; all of it where not given.
    count: Option<u64>,
}

async fn step(State(facade): Shared, body: Option<Json<Step>>) -> Json<Value> {
    let wanted = body.and_then(|Json(step)| step.count).unwrap_or(MAX_STEPS);
    let mut done = 0;
    while done < wanted.min(MAX_STEPS) && facade.change(|cloud, now| cloud.step(now)) {
        done += 1;
    }
    let pending = facade.cloud().pending_count();
    Json(json!({"steps": done, "pending": pending}))
}

async fn list_faults(State(facade): Shared) -> Json<Vec<ActiveRule>> {
    Json(facade.cloud().faults().rules().to_vec())
}

async fn add_fault(State(facade): Shared, Json(rule): Json<Rule>) -> (StatusCode, Json<Value>) {
    let id = facade.change(|cloud, _| (cloud.faults_mut().add(rule), Vec::new()));
    (StatusCode::CREATED, Json(json!({"id": id})))
}

async fn clear_faults(State(facade): Shared) -> StatusCode {
    facade.change(|cloud, _| (cloud.faults_mut().clear(), Vec::new()));
    StatusCode::NO_CONTENT
}

async fn remove_fault(State(facade): Shared, Path(id): Path<u64>) -> StatusCode {
    if facade.change(|cloud, _| (cloud.faults_mut().remove(id), Vec::new())) {
        StatusCode::NO_CONTENT
    } else {
        StatusCode::NOT_FOUND
    }
}

#[derive(Deserialize)]
struct After {
    after: Option<u64>,
}

async fn journal(State(facade): Shared, Query(query): Query<After>) -> Json<Vec<Entry>> {
    Json(facade.journal().after(query.after.unwrap_or(0)))
}

async fn clear_journal(State(facade): Shared) -> StatusCode {
    facade.journal().clear();
    StatusCode::NO_CONTENT
}

#[derive(Serialize)]
struct Report {
    #[serde(flatten)]
    cloud: Inventory,
    /// Servers whose machine has a live process.
    machines: Vec<u64>,
}

async fn inventory(State(facade): Shared) -> Json<Report> {
    let cloud = facade.change(|cloud, now| {
        let effects = cloud.advance(now);
        (cloud.inventory(now), effects)
    });
    let machines = facade.machinery.machines().list().await;
    Json(Report { cloud, machines })
}

#[derive(Deserialize)]
struct Availability {
    server_type: String,
    location: String,
    sale: Sale,
}

async fn availability(State(facade): Shared, Json(body): Json<Availability>) -> StatusCode {
    facade.change(|cloud, _| {
        cloud.set_sale(&body.server_type, &body.location, body.sale);
        ((), Vec::new())
    });
    StatusCode::NO_CONTENT
}

#[derive(Deserialize)]
struct Host {
    host: String,
}

async fn resolve(State(facade): Shared, Query(query): Query<Host>) -> Json<Value> {
    let cloud = facade.cloud();
    let (addresses, server) = (cloud.resolve(&query.host), cloud.resolve_server(&query.host));
    Json(json!({"addresses": addresses, "server_id": server}))
}

#[derive(Deserialize)]
struct FaultBody {
    fault: MachineFault,
}

async fn machine_fault(
    State(facade): Shared,
    Path(id): Path<u64>,
    Json(body): Json<FaultBody>,
) -> StatusCode {
    if facade.change(|cloud, _| cloud.machine_fault(id, body.fault)) {
        StatusCode::NO_CONTENT
    } else {
        StatusCode::NOT_FOUND
    }
}

async fn user_data(State(facade): Shared, Path(id): Path<u64>) -> Response {
    let found = facade.cloud().server(id).map(|server| server.user_data.clone().unwrap_or_default());
    match found {
        Some(text) => text.into_response(),
        None => StatusCode::NOT_FOUND.into_response(),
    }
}
