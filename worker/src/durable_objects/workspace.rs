//! The Durable Object of one workspace, addressed by the workspace's id: the truth about it, and its alarm.
//!
//! It answers [`Call`]s (POST, JSON) and one WebSocket per machine (GET). Each is an input to `ebbtide_control::driver`,
//! which decides, saves, sets the alarm and performs: here is what it does that over (`host`, `effects`). Heartbeats write
//! nothing unless something changed.

mod backends;
mod backups;
mod effects;
mod handle;
mod heartbeat;
mod host;
mod log;
mod log_lines;
mod row_budget;
mod storage;
mod websocket;

use crate::config::Config;
use crate::durable_objects::rpc::{Envelope, ObjectRefusal};
use crate::log::Level;
use crate::r2::kept_policy;
use crate::subrequests::Calls;
use ebbtide_api::{ErrorCode, Timestamp};
use ebbtide_control::driver::{Begun, Driver, Settled};
use ebbtide_control::lifecycle::Input;
use ebbtide_control::row_budget::RowBudget;
use effects::Effects;
use heartbeat::LastHeartbeat;
use log_lines::LogLines;
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use storage::{Store, Stored};
use worker::{
    DurableObject, Env, Error, Method, Request, Response, Result, State, WebSocket, WebSocketIncomingMessage,
    durable_object,
};

/// The object. `Rc`, because work goes on after a call is answered.
#[durable_object]
pub struct WorkspaceObject {
    inner: Rc<Inner>,
}

/// What calls, sockets and alarms share.
struct Inner {
    state: State,
    env: Env,
    store: Result<Store>,
    last_heartbeat: RefCell<Option<LastHeartbeat>>,
    /// The machine's messages.
    spoken: ThisMinute,
    /// Its questions about secrets: a loop of git leaves heartbeats alone.
    asked: ThisMinute,
    /// What the machine has spent of its rows; read once it is asked for.
    row_budget: RefCell<Option<RowBudget>>,
    log_lines: RefCell<LogLines>,
    /// When something was last decided for a machine that has spent its rows, in seconds since 1970.
    decided_in_debt_at: Cell<i64>,
    /// Whether something is under way that writes down what memory alone holds.
    settling: Cell<bool>,
}

/// A minute since 1970 and how much there was in it, as far as memory reaches.
#[derive(Debug, Default)]
struct ThisMinute(Cell<(i64, u32)>);

impl ThisMinute {
    /// Counts one more; so many there are by now.
    fn count(&self, now: Timestamp) -> u32 {
        let minute = now.as_second() / 60;
        let (counted, before) = self.0.get();
        let count = if counted == minute { before.saturating_add(1) } else { 1 };
        self.0.set((minute, count));
        count
    }
}

impl DurableObject for WorkspaceObject {
    fn new(state: State, env: Env) -> Self {
        let store = Store::open(state.storage().sql());
        Self {
            inner: Rc::new(Inner {
                state,
                env,
                store,
                last_heartbeat: RefCell::new(None),
                spoken: ThisMinute::default(),
                asked: ThisMinute::default(),
                row_budget: RefCell::new(None),
                log_lines: RefCell::default(),
                decided_in_debt_at: Cell::new(0),
                settling: Cell::new(false),
            }),
        }
    }

    async fn fetch(&self, mut request: Request) -> Result<Response> {
        self.inner.prepare().await;
        if request.method() == Method::Get {
            return websocket::accept(&self.inner, &request).await;
        }
        // Not `json()`: it makes an object of the runtime of each pack in a receipt, and reads those.
        let body = request.bytes().await?;
        let envelope: Envelope = match serde_json::from_slice(&body) {
            Ok(envelope) => envelope,
            Err(error) => return refuse(ErrorCode::Internal, &format!("the object was called with {error}")),
        };
        handle::answer(&self.inner, envelope).await
    }

    async fn alarm(&self) -> Result<Response> {
        self.inner.prepare().await;
        // The alarm is gone once it fires. Whatever happens below, somebody wakes us again: an error is retried by
        // the runtime, and the sweep nudges an object that overslept.
        let settled = self.inner.wake().await?;
        self.inner.drive(settled.effect).await?;
        Response::ok("")
    }

    async fn websocket_message(&self, socket: WebSocket, message: WebSocketIncomingMessage) -> Result<()> {
        self.inner.prepare().await;
        websocket::message(&self.inner, &socket, message).await
    }

    async fn websocket_close(
        &self,
        socket: WebSocket,
        code: usize,
        reason: String,
        _clean: bool,
    ) -> Result<()> {
        let _already_closed =
            socket.close(u16::try_from(code).ok().filter(|code| *code != 1006), Some(reason));
        Ok(())
    }

    async fn websocket_error(&self, _socket: WebSocket, _error: Error) -> Result<()> {
        Ok(())
    }
}

impl Inner {
    fn store(&self) -> Result<&Store> {
        self.store.as_ref().map_err(|error| Error::RustError(format!("object storage: {error}")))
    }

    fn load(&self) -> Result<Option<Stored>> {
        self.store()?.load()
    }

    /// Once for an isolate; costs nothing where the configuration is whole.
    async fn prepare(&self) {
        kept_policy::prepare(&self.env, &Calls::default()).await;
    }

    fn config(&self) -> Result<Rc<Config>> {
        Config::from_env(&self.env).map_err(|error| Error::RustError(error.to_string()))
    }

    /// Takes an input: decides on it, saves what follows and sets the alarm. The effect is left to the caller.
    ///
    /// # Errors
    /// Where the object holds no record, or storage fails: then nothing was decided.
    async fn decide(&self, input: Input) -> Result<Settled> {
        let config = self.config()?;
        Driver { host: self, policy: &config.policy }.take(input).await
    }

    /// Looks again, where the alarm has fired or the sweep noticed that it should have.
    ///
    /// # Errors
    /// As [`Inner::decide`].
    async fn wake(&self) -> Result<Settled> {
        let config = self.config()?;
        Driver { host: self, policy: &config.policy }.wake().await
    }

    /// Performs an effect and those that follow from it.
    ///
    /// # Errors
    /// Where the record cannot be loaded or saved; the alarm repeats what was cut off.
    async fn drive(&self, effect: Option<Begun>) -> Result<()> {
        let Some(effect) = effect else { return Ok(()) };
        let config = self.config()?;
        let driver = Driver { host: self, policy: &config.policy };
        driver.drive(effect, &Effects::new(&self.env)).await
    }

    /// Lets an effect run on after the answer.
    fn run_on(self: &Rc<Self>, effect: Option<Begun>) {
        if effect.is_some() {
            let inner = Rc::clone(self);
            self.state.wait_until(async move {
                if let Err(error) = inner.drive(effect).await {
                    let message = "an effect was cut off and is repeated by the alarm";
                    crate::log::write(Level::Error, message, &[("error", &error.to_string())]);
                }
            });
        }
    }
}

/// The control plane's clock.
fn now() -> Timestamp {
    i64::try_from(worker::Date::now().as_millis())
        .ok()
        .and_then(|millis| Timestamp::from_millisecond(millis).ok())
        .unwrap_or(Timestamp::UNIX_EPOCH)
}

fn refuse(code: ErrorCode, message: &str) -> Result<Response> {
    refuse_for(code, message, None)
}

/// Refuses for so many seconds, where that is known.
fn refuse_for(code: ErrorCode, message: &str, retry_after_secs: Option<u64>) -> Result<Response> {
    let refusal = ObjectRefusal { code, message: message.to_owned(), retry_after_secs };
    Ok(Response::from_json(&refusal)?.with_status(code.status()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_minute_is_counted_for_itself() {
        let counted = ThisMinute::default();
        let at = |second: i64| Timestamp::from_second(second).unwrap();
        assert_eq!([60, 61, 119, 120, 180].map(|second| counted.count(at(second))), [1, 2, 3, 1, 1]);
    }
}
