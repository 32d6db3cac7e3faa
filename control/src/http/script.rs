//! A scripted network for the provider clients' tests: hands out prepared answers in order and keeps the requests.
//! Never leaves a future pending, so that [`finish`] needs no runtime.

use super::{Http, HttpError, HttpRequest, HttpResponse};
use serde_json::Value;
use std::cell::RefCell;
use std::collections::VecDeque;
use std::future::Future;
use std::task::{Context, Poll, Waker};

/// Runs a future that never waits.
pub(crate) fn finish<F: Future>(future: F) -> F::Output {
    match Box::pin(future).as_mut().poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => output,
        Poll::Pending => panic!("the scripted network never waits"),
    }
}

/// Prepared answers, and the requests they answered.
#[derive(Default)]
pub(crate) struct Script {
    answers: RefCell<VecDeque<Result<HttpResponse, HttpError>>>,
    requests: RefCell<Vec<HttpRequest>>,
}

impl Script {
    pub(crate) fn new(answers: impl IntoIterator<Item = Result<HttpResponse, HttpError>>) -> Self {
        Self { answers: RefCell::new(answers.into_iter().collect()), requests: RefCell::default() }
    }

    /// Requests so far, as `METHOD path?query`.
    pub(crate) fn lines(&self) -> Vec<String> {
        self.requests
            .borrow()
            .iter()
            .map(|request| {
                let path = request.url.strip_prefix(BASE).unwrap_or(&request.url);
                format!("{} {path}", request.method.as_str())
            })
            .collect()
    }

    /// JSON body of the request with that number.
    pub(crate) fn body(&self, number: usize) -> Value {
        serde_json::from_slice(self.requests.borrow()[number].body.as_deref().unwrap_or(b"null")).unwrap()
    }

    /// A header of the request with that number.
    pub(crate) fn header(&self, number: usize, name: &str) -> Option<String> {
        self.requests.borrow()[number]
            .headers
            .iter()
            .find(|(key, _)| key == name)
            .map(|(_, value)| value.expose().to_owned())
    }
}

impl Http for Script {
    async fn send(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        self.requests.borrow_mut().push(request);
        self.answers.borrow_mut().pop_front().expect("an unexpected request")
    }
}

/// Base URL in tests.
pub(crate) const BASE: &str = "https://api.example/v1";

/// An answer with a JSON body.
pub(crate) fn json(status: u16, body: &str) -> Result<HttpResponse, HttpError> {
    Ok(HttpResponse { status, headers: Vec::new(), body: body.as_bytes().to_vec() })
}

/// An answer lost on its way.
pub(crate) fn lost() -> Result<HttpResponse, HttpError> {
    Err(HttpError::Unknown { reason: "timed out".into() })
}

/// A request that never left.
pub(crate) fn refused_connection() -> Result<HttpResponse, HttpError> {
    Err(HttpError::NotSent { reason: "connection refused".into() })
}
