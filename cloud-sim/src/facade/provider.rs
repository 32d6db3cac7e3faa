//! The vendors' endpoints: a socket's request into the model's, the model's response back.

use std::{sync::Arc, time::Duration};

use axum::{
    body::{Body, to_bytes},
    extract::State,
    http::{self, StatusCode, header},
    response::{IntoResponse, Response},
};

use super::{Facade, now_ms};
use crate::model::{self, Delivery, wire::parse_query};

/// More than any call may send; user-data is at most 32 KiB.
const MAX_BODY: usize = 1 << 20;

/// Marks a response that nobody may see: its connection is dropped instead.
#[derive(Debug, Clone, Copy)]
pub(super) struct Dropped;

/// Answers a call to either vendor.
pub(super) async fn answer(State(facade): State<Arc<Facade>>, request: http::Request<Body>) -> Response {
    let (head, body) = request.into_parts();
    let Ok(body) = to_bytes(body, MAX_BODY).await else {
        return StatusCode::PAYLOAD_TOO_LARGE.into_response();
    };
    let request = read(&head, body.to_vec());
    let response = facade.change(|cloud, now| cloud.apply(&request, now));
    facade.journal().record(&request, &response, now_ms());
    match response.delivery {
        Delivery::Now => {}
        Delivery::AfterMs(ms) => tokio::time::sleep(Duration::from_millis(ms)).await,
        Delivery::Lost => {
            let mut dropped = StatusCode::BAD_GATEWAY.into_response();
            dropped.extensions_mut().insert(Dropped);
            return dropped;
        }
    }
    write(response)
}

fn read(head: &http::request::Parts, body: Vec<u8>) -> model::Request {
    let headers = head
        .headers
        .iter()
        .filter_map(|(name, value)| Some((name.as_str().to_owned(), value.to_str().ok()?.to_owned())))
        .collect();
    model::Request {
        method: head.method.as_str().to_owned(),
        path: head.uri.path().to_owned(),
        query: head.uri.query().map(parse_query).unwrap_or_default(),
        headers,
        body,
    }
}

fn write(response: model::Response) -> Response {
    let mut builder = http::Response::builder().status(response.status);
    if !response.body.is_empty() {
        builder = builder.header(header::CONTENT_TYPE, "application/json");
    }
    for (name, value) in response.headers {
        builder = builder.header(name, value);
    }
    builder
        .body(Body::from(response.body))
        .unwrap_or_else(|_| StatusCode::INTERNAL_SERVER_ERROR.into_response())
}
