//! Calls to the control plane: who we are, the VM token and its renewal, and what an answer means.
//!
//! The token lives here and in one file under the run directory (for the backup child), nowhere else. That a newer machine
//! has taken over is remembered on disk, and every later call is refused locally. Only the control plane's own words mean
//! that: whatever else is on the way (a firewall, a proxy) may answer with any status, and is waited out.

use crate::config::{Config, Places};
use crate::control_plane::machine_key::MachineKey;
use crate::os::atomic_file;
use crate::os::mutex::lock;
use crate::os::secret::Secret;
use ebbtide_api::Generation;
use ebbtide_api::error::{ErrorBody, ErrorCode};
use ebbtide_api::vm::{Enrol, Enrolled};
use std::io::Write;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Longest time that one call may take.
const CALL_TIMEOUT: Duration = Duration::from_secs(30);
/// Longest time to reach the control plane.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Longest time that one part of a program may take: 64 MiB at 1 Mbit/s.
const DOWNLOAD_TIMEOUT: Duration = Duration::from_mins(4);
/// Largest answer that is read; a boot plan with its secrets is a few kB.
const LARGEST_ANSWER: u64 = 4 << 20;

/// A call that did not succeed.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// The control plane says that a newer machine has taken over: this one must stop.
    #[error("a newer machine has taken over")]
    Fenced,
    /// Any other 4xx: the same request will be refused again.
    #[error("the control plane refused with {status}: {message}")]
    Refused {
        /// HTTP status.
        status: u16,
        /// The stable code, where the answer carried one.
        code: Option<ErrorCode>,
        /// In words.
        message: String,
    },
    /// 429, 5xx, or an answer that is not the control plane's: again later.
    #[error("the control plane is in trouble: {0}")]
    Troubled(String),
    /// No answer.
    #[error("the control plane cannot be reached: {0}")]
    Unreachable(String),
    /// Nothing was sent: again later.
    #[error("the control plane was not asked: {0}")]
    NotMade(String),
}

impl CallError {
    /// Whether the same call may succeed later.
    pub fn may_pass(&self) -> bool {
        matches!(self, Self::Troubled(_) | Self::Unreachable(_) | Self::NotMade(_))
    }
}

/// Our standing with the control plane.
#[derive(Debug)]
pub struct ApiClient {
    control_url: String,
    config: Config,
    key: MachineKey,
    places: Places,
    http: ureq::Agent,
    token: Mutex<Secret>,
    fenced: AtomicBool,
}

/// Left on disk by a fenced or refused machine, so that a restart does not begin again.
#[derive(serde::Serialize, serde::Deserialize)]
struct Parked {
    generation: Generation,
    reason: String,
}

impl ApiClient {
    /// Makes a client that has no token yet.
    pub fn new(config: Config, key: MachineKey, places: Places) -> Self {
        let http = ureq::Agent::new_with_config(
            ureq::Agent::config_builder()
                .http_status_as_error(false)
                .timeout_global(Some(CALL_TIMEOUT))
                .timeout_connect(Some(CONNECT_TIMEOUT))
                .max_idle_connections(1)
                .user_agent(concat!("ebb-agent/", env!("CARGO_PKG_VERSION")))
                .build(),
        );
        let token = std::fs::read_to_string(places.vm_token()).unwrap_or_default();
        Self {
            control_url: config.control_url.clone(),
            config,
            key,
            places,
            http,
            token: Mutex::new(Secret::new(token)),
            fenced: AtomicBool::new(false),
        }
    }

    /// Base URL of the control plane.
    pub fn control_url(&self) -> &str {
        &self.control_url
    }

    /// The fencing token.
    pub fn generation(&self) -> Generation {
        self.config.generation
    }

    /// The workspace this machine belongs to.
    pub fn workspace(&self) -> &ebbtide_api::WorkspaceId {
        &self.config.workspace
    }

    /// The VM token of the moment.
    pub fn token(&self) -> Secret {
        lock(&self.token).clone()
    }

    /// Takes a fresh VM token into use.
    pub fn put_token(&self, token: &str) {
        *lock(&self.token) = Secret::new(token);
        if let Err(error) = atomic_file::write(&self.places.vm_token(), token.as_bytes(), 0o600) {
            tracing::error!(%error, "cannot store the VM token; a running backup may stop at its expiry");
        }
    }

    /// Whether a newer machine has taken over.
    pub fn is_fenced(&self) -> bool {
        self.fenced.load(Ordering::Acquire)
    }

    /// Why this generation is parked, where it is: fenced or refused in an earlier life of the agent.
    pub fn parked(&self) -> Option<String> {
        atomic_file::read_json::<Parked>(&self.parked_file())
            .filter(|parked| parked.generation == self.config.generation)
            .map(|parked| parked.reason)
    }

    /// Remembers that this generation is over.
    pub fn park(&self, reason: &str) {
        let parked = Parked { generation: self.config.generation, reason: reason.to_owned() };
        if let Err(error) = atomic_file::write_json(&self.parked_file(), &parked, 0o600) {
            tracing::error!(%error, "cannot store that this machine is parked");
        }
    }

    /// Forgets that this generation was over: the control plane has said that it is not.
    ///
    /// # Errors
    /// What the file system says.
    pub fn unpark(&self) -> std::io::Result<()> {
        match std::fs::remove_file(self.parked_file()) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    /// Enrols, or enrols again with the same key.
    ///
    /// # Errors
    /// [`CallError`].
    pub fn enrol(&self) -> Result<Enrolled, CallError> {
        self.enrol_at("/v1/vm/enroll")
    }

    /// Sends a body with the VM token and reads the answer; renews the token once where it is refused as expired.
    ///
    /// # Errors
    /// [`CallError`].
    pub fn post<B: serde::Serialize, A: serde::de::DeserializeOwned>(
        &self,
        path: &str,
        body: &B,
    ) -> Result<A, CallError> {
        let used = self.token();
        match self.send(path, Some(&used), body) {
            Err(CallError::Refused { status: 401, .. }) => {
                self.renew(&used)?;
                self.send(path, Some(&self.token()), body)
            }
            other => other,
        }
    }

    /// Fetches a fresh token, unless somebody else has done so since `refused` was used.
    ///
    /// # Errors
    /// [`CallError`].
    pub fn renew(&self, refused: &Secret) -> Result<(), CallError> {
        if self.token().expose() != refused.expose() {
            return Ok(());
        }
        let enrolled = self.enrol_at("/v1/vm/token")?;
        self.put_token(&enrolled.vm_token);
        tracing::info!("renewed the VM token");
        Ok(())
    }

    /// Notes a 410 that was met elsewhere.
    pub fn fence(&self) {
        if !self.fenced.swap(true, Ordering::AcqRel) {
            tracing::error!(
                generation = self.config.generation.0,
                "a newer machine has taken over; stopping"
            );
            self.park("a newer machine has taken over");
        }
    }

    fn parked_file(&self) -> std::path::PathBuf {
        self.places.state.join("parked.json")
    }

    /// Asks for an enrolment although this machine was told to stop: whether that still holds.
    ///
    /// # Errors
    /// [`CallError`].
    pub fn ask_again(&self) -> Result<Enrolled, CallError> {
        self.call("/v1/vm/enroll", None, &self.proof())
    }

    fn enrol_at(&self, path: &str) -> Result<Enrolled, CallError> {
        self.send(path, None, &self.proof())
    }

    /// Who we are, signed.
    fn proof(&self) -> Enrol {
        let token = self.config.enrolment_token.expose();
        self.key.enrol(&self.config.workspace, self.config.generation, token)
    }

    /// Writes what the control plane answers at a path, of that many bytes; renews the token once where it is refused.
    ///
    /// # Errors
    /// [`CallError`]. Part of it may be written then.
    pub fn download(&self, path: &str, size_bytes: u64, to: &mut dyn Write) -> Result<(), CallError> {
        let used = self.token();
        match self.download_with(path, &used, size_bytes, to) {
            Err(CallError::Refused { status: 401, .. }) => {
                self.renew(&used)?;
                self.download_with(path, &self.token(), size_bytes, to)
            }
            other => other,
        }
    }

    fn download_with(
        &self,
        path: &str,
        token: &Secret,
        size_bytes: u64,
        to: &mut dyn Write,
    ) -> Result<(), CallError> {
        if self.is_fenced() {
            return Err(CallError::Fenced);
        }
        let unreachable = |error: &dyn std::fmt::Display| CallError::Unreachable(error.to_string());
        let request = self.http.get(format!("{}{path}", self.control_url));
        let request = request.header("authorization", format!("Bearer {}", token.expose()));
        let request = request.config().timeout_global(None).timeout_recv_response(Some(CALL_TIMEOUT));
        let request = request.timeout_recv_body(Some(DOWNLOAD_TIMEOUT)).build();
        let mut answer = request.call().map_err(|error| unreachable(&error))?;
        let status = answer.status().as_u16();
        let body = answer.body_mut();
        if !(200..300).contains(&status) {
            let text = body.with_config().limit(LARGEST_ANSWER).read_to_vec();
            return Err(failure(status, &text.map_err(|error| unreachable(&error))?));
        }
        let mut content = body.with_config().limit(size_bytes.saturating_add(1)).reader();
        std::io::copy(&mut content, to).map(drop).map_err(|error| unreachable(&error))
    }

    fn send<B: serde::Serialize, A: serde::de::DeserializeOwned>(
        &self,
        path: &str,
        token: Option<&Secret>,
        body: &B,
    ) -> Result<A, CallError> {
        if self.is_fenced() {
            return Err(CallError::Fenced);
        }
        let answer = self.call(path, token, body);
        if matches!(answer, Err(CallError::Fenced)) {
            self.fence();
        }
        answer
    }

    fn call<B: serde::Serialize, A: serde::de::DeserializeOwned>(
        &self,
        path: &str,
        token: Option<&Secret>,
        body: &B,
    ) -> Result<A, CallError> {
        let bytes = serde_json::to_vec(body).map_err(|error| CallError::Troubled(error.to_string()))?;
        let url = format!("{}{path}", self.control_url);
        let mut request = self.http.post(&url).header("content-type", "application/json");
        if let Some(token) = token {
            request = request.header("authorization", format!("Bearer {}", token.expose()));
        }
        let mut answer =
            request.send(&bytes[..]).map_err(|error| CallError::Unreachable(error.to_string()))?;
        let status = answer.status().as_u16();
        let text = answer
            .body_mut()
            .with_config()
            .limit(LARGEST_ANSWER)
            .read_to_vec()
            .map_err(|error| CallError::Unreachable(error.to_string()))?;
        if (200..300).contains(&status) {
            return serde_json::from_slice(&text)
                .map_err(|error| CallError::Troubled(format!("an answer that cannot be read: {error}")));
        }
        Err(failure(status, &text))
    }
}

/// What a status that is no success means.
pub fn failure(status: u16, body: &[u8]) -> CallError {
    let error: Option<ErrorBody> = serde_json::from_slice(body).ok();
    let message = error.as_ref().map_or_else(
        || String::from_utf8_lossy(body).chars().take(200).collect(),
        |error| format!("{} {}", error.message, error.hint),
    );
    let code = error.map(|error| error.code);
    match (status, code) {
        (410, Some(ErrorCode::StaleGeneration)) => CallError::Fenced,
        (410 | 429 | 500.., _) => CallError::Troubled(format!("status {status}: {message}")),
        (_, code) => CallError::Refused { status, code, message },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_mean_stop_refused_or_later() {
        let refused = br#"{"code":"enrolment_refused","message":"m.","hint":"h.","request_id":"r"}"#;
        let stale = br#"{"code":"stale_generation","message":"m.","hint":"h.","request_id":"r"}"#;
        assert!(matches!(failure(410, stale), CallError::Fenced));
        for other in [&b""[..], b"<html>gone</html>", refused] {
            assert!(failure(410, other).may_pass(), "somebody on the way says so");
        }
        assert!(matches!(
            failure(403, refused),
            CallError::Refused { status: 403, code: Some(ErrorCode::EnrolmentRefused), .. }
        ));
        for (status, may_pass) in
            [(400, false), (404, false), (429, true), (500, true), (503, true), (410, true)]
        {
            assert_eq!(failure(status, b"text").may_pass(), may_pass, "{status}");
        }
    }
}
