//! `control`'s network seam over the Worker's `fetch`.
//!
//! Sends each request at most once, follows no redirect, keeps nothing, and gives up after 20 s at the latest: the
//! answer's body included. Only what was never handed to `fetch` counts as not sent; everything else may have had its effect.

use crate::durable_objects::rate_limit::Meter;
use crate::subrequests::{Binding, Calls};
use ebbtide_control::http::{Http, HttpError, HttpRequest, HttpResponse};
use wasm_bindgen::JsValue;
use worker::js_sys::Uint8Array;
use worker::{AbortSignal, Fetch, Headers, Method, Request, RequestInit, RequestRedirect, web_sys};

/// How long a provider may take. Their slowest call (create) answers in a few seconds.
const TIMEOUT_MS: u32 = 20_000;

/// Largest answer that is read, in bytes: a full page of servers has a tenth of it.
const ANSWER_MAX: usize = 4 * 1024 * 1024;

/// `fetch`, counted.
#[derive(Debug, Clone)]
pub struct FetchHttp {
    calls: Calls,
    meter: Option<Meter>,
    timeout_ms: u32,
}

impl FetchHttp {
    /// Sends on behalf of one invocation.
    pub fn new(calls: Calls) -> Self {
        Self { calls, meter: None, timeout_ms: TIMEOUT_MS }
    }

    /// Counts what is sent for the provider gate, too.
    #[must_use]
    pub fn metered(self, meter: Meter) -> Self {
        Self { meter: Some(meter), ..self }
    }

    /// Gives up earlier, where a person waits for an answer that is good to have rather than needed.
    #[must_use]
    pub fn within_ms(self, timeout_ms: u32) -> Self {
        Self { timeout_ms: timeout_ms.min(TIMEOUT_MS), ..self }
    }
}

impl Http for FetchHttp {
    async fn send(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let outgoing = encode(&request)
            .map_err(|error| HttpError::NotSent { reason: format!("the request cannot be made: {error}") })?;
        self.calls.count(Binding::Fetch);
        if let Some(meter) = &self.meter {
            meter.sent();
        }
        let signal = AbortSignal::from(web_sys::AbortSignal::timeout_with_u32(self.timeout_ms));
        let mut response =
            Fetch::Request(outgoing).send_with_signal(&signal).await.map_err(|error| failed(&error))?;
        let status = response.status_code();
        let headers = response.headers().entries().collect();
        let mut answer = HttpResponse { status, headers, body: Vec::new() };
        if let Some(meter) = &self.meter {
            meter.answered(&answer);
        }
        answer.body = match response.body() {
            worker::ResponseBody::Empty => Vec::new(),
            worker::ResponseBody::Body(_) | worker::ResponseBody::Stream(_) => read(&mut response).await?,
        };
        Ok(answer)
    }
}

fn encode(request: &HttpRequest) -> worker::Result<Request> {
    let headers = Headers::new();
    for (name, value) in &request.headers {
        headers.set(name, value.expose())?;
    }
    let mut init = RequestInit::new();
    init.with_method(Method::from(request.method.as_str().to_owned()))
        .with_headers(headers)
        .with_redirect(RequestRedirect::Manual);
    if let Some(body) = &request.body {
        init.with_body(Some(JsValue::from(Uint8Array::from(body.as_slice()))));
    }
    Request::new_with_init(&request.url, &init)
}

async fn read(response: &mut worker::Response) -> Result<Vec<u8>, HttpError> {
    use futures_util::StreamExt;
    let mut stream = response.stream().map_err(|error| failed(&error))?;
    let mut body = Vec::new();
    while let Some(chunk) = stream.next().await {
        let chunk = chunk.map_err(|error| failed(&error))?;
        if body.len().saturating_add(chunk.len()) > ANSWER_MAX {
            return Err(HttpError::Unknown { reason: "the answer is larger than we read".to_owned() });
        }
        body.extend(chunk);
    }
    Ok(body)
}

/// The runtime does not say whether a request that failed had left, so it counts as sent.
fn failed(error: &worker::Error) -> HttpError {
    let text = error.to_string();
    let reason =
        if text.to_ascii_lowercase().contains("timeout") || text.to_ascii_lowercase().contains("aborted") {
            "no answer in time".to_owned()
        } else {
            text.chars().take(200).collect()
        };
    HttpError::Unknown { reason }
}
