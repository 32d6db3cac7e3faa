//! The restic REST protocol, version 2, as a client: one request at a time, repeated until it succeeds or the retry budget is spent.
//!
//! That budget is bounded by progress, not by a count: as long as any object was transferred within the stall budget, every
//! other request may go on trying. A 401 means the token file is about to be renewed: it is read again before every
//! request. A 410 ends everything at once. Must never write the token anywhere but into the Authorization header, and
//! never send a body without its length (R2 refuses it).

use std::io::Read;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Condvar, Mutex, OnceLock};
use std::time::{Duration, Instant};

use backon::{BackoffBuilder, ExponentialBuilder};
use ebbtide_api::error::{ErrorBody, ErrorCode};
use rustic_core::BytesList;
use url::Url;

use super::failure::Failure;
use crate::os::mutex::lock;

/// How long the client puts up with a store that does not work.
#[derive(Debug, Clone, Copy)]
pub struct RetryBudget {
    /// Without a single transferred object for this long, the store counts as unreachable.
    pub stall: Duration,
    /// A refused token is given this long to be renewed.
    pub renewal: Duration,
}

/// Where the store is and who asks.
#[derive(Debug, Clone)]
pub struct Address {
    pub base: Url,
    pub token_file: PathBuf,
    /// Only objects that this receipt knew are read.
    pub as_of: Option<String>,
}

/// What one attempt came to.
pub enum Attempt<T> {
    Done(T),
    Again { reason: String, after: Option<Duration> },
    Unauthorized,
    Failed(Failure),
}

pub type Answer = ureq::http::Response<ureq::Body>;

/// The client; shared by all threads of one run.
pub struct Rest {
    agent: ureq::Agent,
    address: Address,
    retry_budget: RetryBudget,
    fatal: Mutex<Option<Failure>>,
    changed: Condvar,
    progressed: Mutex<Instant>,
    bytes_sent: AtomicU64,
}

impl Rest {
    pub fn new(mut address: Address, retry_budget: RetryBudget) -> Self {
        if !address.base.path().ends_with('/') {
            let path = format!("{}/", address.base.path());
            address.base.set_path(&path);
        }
        Self {
            agent: agent(),
            address,
            retry_budget,
            fatal: Mutex::new(None),
            changed: Condvar::new(),
            progressed: Mutex::new(Instant::now()),
            bytes_sent: AtomicU64::new(0),
        }
    }

    pub fn base(&self) -> &Url {
        &self.address.base
    }

    /// Whether what is read cannot change any more: what one whole snapshot's receipt knew.
    pub fn is_settled(&self) -> bool {
        self.address.as_of.as_ref().is_some_and(|as_of| as_of.parse::<rustic_core::Id>().is_ok())
    }

    /// The failure that ended this run, if one did.
    pub fn fatal(&self) -> Option<Failure> {
        lock(&self.fatal).clone()
    }

    pub fn bytes_sent(&self) -> u64 {
        self.bytes_sent.load(Ordering::Relaxed)
    }

    pub fn count_sent(&self, bytes: u64) {
        self.bytes_sent.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Ends the run: whoever waits stops waiting, whoever asks next is refused.
    pub fn give_up(&self, failure: Failure) -> Failure {
        let mut fatal = lock(&self.fatal);
        let first = fatal.get_or_insert(failure).clone();
        drop(fatal);
        self.changed.notify_all();
        first
    }

    /// Repeats `attempt` until it is done, fails for good, or the budget is spent. What fails for good here ends the whole run,
    /// save damage: that belongs to one object, and its reader decides.
    pub fn persist<T>(&self, what: &str, mut attempt: impl FnMut(&str) -> Attempt<T>) -> Result<T, Failure> {
        let begun = Instant::now();
        let mut delays = delays();
        let mut refused: Option<(Instant, String)> = None;
        loop {
            if let Some(failure) = self.fatal() {
                return Err(failure);
            }
            let token = match std::fs::read_to_string(&self.address.token_file) {
                Ok(text) => text.trim().to_owned(),
                // The daemon replaces the file; in between, and before the first token, it may be absent.
                Err(_) => String::new(),
            };
            if let Some((since, old)) = &refused
                && *old == token
            {
                if since.elapsed() >= self.retry_budget.renewal {
                    let waited_secs = since.elapsed().as_secs();
                    return Err(self.give_up(Failure::Unauthorized { waited_secs }));
                }
                self.rest(Duration::from_millis(200));
                continue;
            }
            match attempt(&token) {
                Attempt::Done(value) => {
                    *lock(&self.progressed) = Instant::now();
                    return Ok(value);
                }
                Attempt::Unauthorized => {
                    let since = refused.take().map_or_else(Instant::now, |(since, _)| since);
                    refused = Some((since, token));
                }
                Attempt::Failed(failure @ Failure::Damaged { .. }) => return Err(failure),
                Attempt::Failed(failure) => return Err(self.give_up(failure)),
                Attempt::Again { reason, after } => {
                    let stalled = (*lock(&self.progressed)).max(begun).elapsed();
                    if stalled >= self.retry_budget.stall {
                        let stalled_secs = stalled.as_secs();
                        return Err(self.give_up(Failure::Stalled {
                            stalled_secs,
                            what: what.to_owned(),
                            reason,
                        }));
                    }
                    refused = None;
                    eprintln!("{what}: {reason}; trying again");
                    let delay = after.or_else(|| delays.next()).unwrap_or(Duration::from_secs(20));
                    self.rest(delay.min(self.retry_budget.stall - stalled));
                }
            }
        }
    }

    /// Waits, but no longer than until the run ends.
    fn rest(&self, delay: Duration) {
        let fatal = lock(&self.fatal);
        let _ = self.changed.wait_timeout_while(fatal, delay, |fatal| fatal.is_none());
    }

    pub fn get(
        &self,
        token: &str,
        path: &str,
        accept: &str,
        range: Option<(u32, u32)>,
    ) -> Result<Answer, ureq::Error> {
        let mut request = self
            .agent
            .get(self.url(path, true))
            .header("accept", accept)
            .header("authorization", bearer(token));
        if let Some((offset, length)) = range {
            let last = u64::from(offset) + u64::from(length).saturating_sub(1);
            request = request.header("range", format!("bytes={offset}-{last}"));
        }
        request.call()
    }

    pub fn head(&self, token: &str, path: &str) -> Result<Answer, ureq::Error> {
        self.agent.head(self.url(path, true)).header("authorization", bearer(token)).call()
    }

    pub fn post(&self, token: &str, path: &str, content: &BytesList) -> Result<Answer, ureq::Error> {
        let mut reader = content.clone().reader();
        self.agent
            .post(self.url(path, false))
            .header("authorization", bearer(token))
            .header("content-type", "application/octet-stream")
            .header("content-length", content.size().to_string())
            .send(ureq::SendBody::from_reader(&mut reader))
    }

    pub fn delete(&self, token: &str, path: &str) -> Result<Answer, ureq::Error> {
        self.agent.delete(self.url(path, false)).header("authorization", bearer(token)).call()
    }

    fn url(&self, path: &str, reading: bool) -> String {
        let mut url = format!("{}{path}", self.address.base);
        if let (true, Some(receipt)) = (reading, &self.address.as_of) {
            let query: String = url::form_urlencoded::byte_serialize(receipt.as_bytes()).collect();
            url.push(if url.contains('?') { '&' } else { '?' });
            url.push_str("as-of=");
            url.push_str(&query);
        }
        url
    }
}

/// One set of connections for the whole process: its fresh reader opens no new ones.
fn agent() -> ureq::Agent {
    static AGENT: OnceLock<ureq::Agent> = OnceLock::new();
    let new = || {
        ureq::Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .proxy(None)
            .user_agent(concat!("ebb-agent/", env!("CARGO_PKG_VERSION")))
            .timeout_resolve(Some(Duration::from_secs(20)))
            .timeout_connect(Some(Duration::from_secs(20)))
            // A body may take as long as it moves; silence is what ends a transfer.
            .timeout_per_read(Some(Duration::from_secs(60)))
            .timeout_per_write(Some(Duration::from_secs(60)))
            .timeout_recv_response(Some(Duration::from_secs(120)))
            .max_idle_connections_per_host(8)
            .build()
            .new_agent()
    };
    AGENT.get_or_init(new).clone()
}

/// Most bytes of an answer that are looked through for the control plane's own words.
const ERROR_BYTES: u64 = 4096;

/// Judges a status that the request itself has no use for.
pub fn judge<T>(what: &str, answer: Answer) -> Attempt<T> {
    let status = answer.status().as_u16();
    match status {
        401 => Attempt::Unauthorized,
        410 => {
            let text = beginning(answer, ERROR_BYTES);
            let said: Option<ErrorBody> = serde_json::from_str(&text).ok();
            if said.is_some_and(|said| said.code == ErrorCode::StaleGeneration) {
                return Attempt::Failed(Failure::StaleGeneration);
            }
            // Not the control plane's words: somebody on the way, who may be gone later.
            let text: String = text.chars().take(300).collect();
            Attempt::Again { reason: format!("status {status}: {text}"), after: None }
        }
        413 | 507 => Attempt::Failed(Failure::Quota { status, detail: detail(answer) }),
        408 | 425 | 429 | 500..=599 => {
            let after = answer
                .headers()
                .get("retry-after")
                .and_then(|value| value.to_str().ok()?.trim().parse().ok())
                .map(|seconds: u64| Duration::from_secs(seconds.min(60)));
            Attempt::Again { reason: format!("status {status}: {}", detail(answer)), after }
        }
        _ => Attempt::Failed(Failure::Refused { what: what.to_owned(), status, detail: detail(answer) }),
    }
}

/// A request that got no answer at all.
pub fn unanswered<T>(error: &ureq::Error) -> Attempt<T> {
    Attempt::Again { reason: error.to_string(), after: None }
}

/// The first words of an error's body.
fn detail(answer: Answer) -> String {
    beginning(answer, 300)
}

fn beginning(answer: Answer, bytes: u64) -> String {
    let mut text = Vec::new();
    let _ = answer.into_body().into_reader().take(bytes).read_to_end(&mut text);
    String::from_utf8_lossy(&text).trim().to_owned()
}

fn bearer(token: &str) -> String {
    format!("Bearer {token}")
}

fn delays() -> impl Iterator<Item = Duration> {
    ExponentialBuilder::default()
        .with_jitter()
        .with_min_delay(Duration::from_millis(250))
        .with_max_delay(Duration::from_secs(20))
        .without_max_times()
        .build()
}
