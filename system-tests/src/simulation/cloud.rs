//! The provider as the control plane meets it: the local cloud's model behind the clients' [`Http`] seam, and the
//! storage that receipts are checked against.

use super::{EPOCH_MS, machine::Packs};
use ebbtide_cloud_sim::model::{Cloud, Request, wire::Delivery};
use ebbtide_control::http::{Http, HttpError, HttpRequest, HttpResponse};
use ebbtide_control::perform::Vault;
use ebbtide_control::record::Record;
use ebbtide_control::secret::SecretText;
use std::cell::{Cell, RefCell};

/// Longest answer that the control plane waits for, as in the Worker.
const TIMEOUT_MS: u64 = 20_000;

/// The world outside: shared by the clients of one walk.
pub struct Outside {
    pub cloud: RefCell<Cloud>,
    pub now_ms: Cell<i64>,
    pub packs: RefCell<Packs>,
    /// Storage refuses until this time.
    pub storage_down_until: Cell<i64>,
    pub shredded: Cell<bool>,
}

impl Http for &Outside {
    async fn send(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let mut call = Request::new(request.method.as_str(), &request.url);
        for (name, value) in &request.headers {
            call = call.header(name, value.expose());
        }
        if let Some(body) = request.body {
            call = call.body(body);
        }
        let (response, _machines) = self.cloud.borrow_mut().apply(&call, EPOCH_MS + self.now_ms.get());
        match response.delivery {
            Delivery::Lost => Err(HttpError::Unknown { reason: "the connection was cut".to_owned() }),
            Delivery::AfterMs(ms) if ms > TIMEOUT_MS => {
                Err(HttpError::Unknown { reason: "timed out".to_owned() })
            }
            Delivery::AfterMs(_) | Delivery::Now => Ok(HttpResponse {
                status: response.status,
                headers: response.headers.into_iter().map(|(name, value)| (name.to_owned(), value)).collect(),
                body: response.body,
            }),
        }
    }
}

impl Vault for &Outside {
    async fn object_size(&self, _record: &Record, path: &str) -> Result<Option<u64>, String> {
        if self.now_ms.get() < self.storage_down_until.get() {
            return Err("R2 answers 503".to_owned());
        }
        Ok(self.packs.borrow().objects.get(path).copied())
    }

    async fn shred(&self, _record: &Record) -> Result<(), String> {
        self.shredded.set(true);
        Ok(())
    }

    async fn user_data(&self, _record: &Record) -> Result<SecretText, String> {
        Ok("I2Nsb3VkLWNvbmZpZwo=".to_owned().into())
    }
}
