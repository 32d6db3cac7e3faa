//! The Durable Object of one workspace, addressed by the workspace's id: the truth about it, and its alarm.
//!
//! It answers [`Call`]s (POST, JSON) and one WebSocket per machine (GET). Load → decide → save is synchronous, so calls
//! cannot interleave inside it; effects run after the save, one at a time, and their end is an input like any other.
//! A crash between any two lines is recovered by the alarm, which is set before every effect. Heartbeats write
//! nothing unless something changed. Decisions are in `ebbtide_control::lifecycle`, effects in `ebbtide_control::executor`.

mod answer;
mod backups;
mod call;
mod client;
mod link;
mod run;
mod shore;
mod store;
mod story;

pub use backups::{Admitted, Ancestors, BackupCall, Held};
pub use call::{Call, EnrolProof, Envelope, EventPage, ObjectRefusal, ReceiptEnds};
pub use client::{call, forward_socket};

use crate::log::Level;
use ebbtide_api::{ErrorCode, Timestamp};
use ebbtide_control::lifecycle::{Context, Decision, Input, Note, decide};
use ebbtide_control::record::Record;
use run::Heard;
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use store::{Store, Stored};
use worker::{
    DurableObject, Env, Error, Method, Request, Response, Result, State, WebSocket, WebSocketIncomingMessage,
    durable_object,
};

/// An alarm this late is not coming: the runtime gives up after six retries, a few minutes in all.
const LOST_ALARM_SECS: i64 = 600;

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
    heard: RefCell<Option<Heard>>,
    /// A minute, and how many messages the machine has sent in it.
    spoken: Cell<(i64, u32)>,
}

impl DurableObject for WorkspaceObject {
    fn new(state: State, env: Env) -> Self {
        let store = Store::open(state.storage().sql());
        Self {
            inner: Rc::new(Inner { state, env, store, heard: RefCell::new(None), spoken: Cell::new((0, 0)) }),
        }
    }

    async fn fetch(&self, mut request: Request) -> Result<Response> {
        if request.method() == Method::Get {
            return link::accept(&self.inner, &request).await;
        }
        let envelope: Envelope = match request.json().await {
            Ok(envelope) => envelope,
            Err(error) => return refuse(ErrorCode::Internal, &format!("the object was called with {error}")),
        };
        answer::answer(&self.inner, envelope).await
    }

    async fn alarm(&self) -> Result<Response> {
        // The alarm is gone once it fires. Whatever happens below, somebody wakes us again: an error is retried by
        // the runtime, and the sweep pokes an object that overslept.
        let inner = &self.inner;
        let due_at = inner.load()?.and_then(|stored| stored.alarm_at);
        if let Some(effect) = inner.decide(Input::Tick { due_at }, Alarm::Spent).await?.effect {
            run::drive(inner, effect).await?;
        }
        Response::ok("")
    }

    async fn websocket_message(&self, socket: WebSocket, message: WebSocketIncomingMessage) -> Result<()> {
        link::message(&self.inner, &socket, message).await
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

/// Whether the alarm that the store knows still stands.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Alarm {
    /// It may.
    Stands,
    /// It has just fired.
    Spent,
}

/// What is left to do after a decision was saved.
struct Settled {
    record: Record,
    effect: Option<(u64, ebbtide_control::lifecycle::Effect)>,
    refusal: Option<ebbtide_control::lifecycle::Refusal>,
}

impl Inner {
    fn store(&self) -> Result<&Store> {
        self.store.as_ref().map_err(|error| Error::RustError(format!("object storage: {error}")))
    }

    fn load(&self) -> Result<Option<Stored>> {
        self.store()?.load()
    }

    /// Decides on an input, saves what follows and sets the alarm. The effect is left to the caller.
    ///
    /// # Errors
    /// Where the object holds no record, or storage fails: then nothing was decided.
    async fn decide(&self, input: Input, alarm: Alarm) -> Result<Settled> {
        let now = now();
        let config = crate::config::Config::from_env(&self.env)
            .map_err(|error| Error::RustError(error.to_string()))?;
        let Some(stored) = self.load()? else { return Err(Error::RustError("no record".to_owned())) };
        let context = Context { now, policy: &config.policy, heard_at: self.heard_at(&stored.record) };
        let before = stored.record;
        let Decision { next, effect, wake_at, notes, refusal } = decide(&before, input, &context);
        // An alarm that should have fired long ago was lost: whoever comes by sets it again.
        let lost = |at: &Timestamp| now.duration_since(*at).as_secs() > LOST_ALARM_SECS;
        let standing = stored.alarm_at.filter(|at| alarm == Alarm::Stands && !lost(at));
        // A later time is left to the standing alarm, which finds nothing due and re-arms: heartbeats write nothing.
        let alarm_at = match (standing, wake_at) {
            (Some(standing), Some(wake_at)) => Some(standing.min(wake_at)),
            (None, wake_at) => wake_at,
            (Some(_), None) => None,
        };
        if next != before || alarm_at != stored.alarm_at {
            self.store()?.save(&next, alarm_at)?;
        }
        // Right after the save, and whenever an alarm was spent, even for the same time: the one in the store has fired.
        if alarm_at != standing {
            self.set_alarm(alarm_at, now).await?;
        }
        // History is worth less than what it is about.
        if let Err(error) = self.tell(&before, &next, notes, now) {
            story::trouble(Level::Error, &next, "history was not written", &error);
        }
        if next.phase != before.phase || next.wanted != before.wanted {
            self.push_instruction(&next);
        }
        let ends_at = next.phase_ends_at(&config.policy);
        if next.state() != before.state()
            || next.server != before.server
            || ends_at != before.phase_ends_at(&config.policy)
            || next.snapshots.first() != before.snapshots.first()
            || next.rescue_image != before.rescue_image
            || (alarm == Alarm::Spent && is_last_in_its_hour(now, alarm_at))
        {
            // Not awaited: the index may be slow, and what follows must not wait for it. The row with the later `since`
            // wins, and the sweep mends one that was never written.
            let (env, record) = (self.env.clone(), next.clone());
            self.state.wait_until(async move { crate::index::record_changed(&env, &record, ends_at).await });
        }
        Ok(Settled { record: next, effect, refusal })
    }

    fn tell(&self, before: &Record, next: &Record, notes: Vec<Note>, now: Timestamp) -> Result<()> {
        for note in notes {
            story::changed(next, &note);
            self.store()?.add_event(note, next.generation, now)?;
        }
        if next.generation != before.generation { self.forget_machine() } else { Ok(()) }
    }

    async fn set_alarm(&self, at: Option<Timestamp>, now: Timestamp) -> Result<()> {
        match at {
            Some(at) => {
                let millis = at.as_millisecond().saturating_sub(now.as_millisecond()).max(0);
                self.state.storage().set_alarm(millis).await
            }
            None => self.state.storage().delete_alarm().await,
        }
    }

    /// Lets an effect run on after the answer.
    fn run_on(self: &Rc<Self>, effect: Option<(u64, ebbtide_control::lifecycle::Effect)>) {
        if let Some(effect) = effect {
            let inner = Rc::clone(self);
            self.state.wait_until(async move {
                if let Err(error) = run::drive(&inner, effect).await {
                    let message = "an effect was cut off and is repeated by the alarm";
                    crate::log::write(Level::Error, message, &[("error", &error.to_string())]);
                }
            });
        }
    }
}

/// Whether this alarm is the last of its hour: then the row is compared, so that one that the index has lost comes back
/// although nothing changes. A row that is right is not written.
fn is_last_in_its_hour(now: Timestamp, next: Option<Timestamp>) -> bool {
    let hour = |at: Timestamp| at.as_second().div_euclid(3600);
    next.is_none_or(|next| hour(next) > hour(now))
}

/// The control plane's clock.
fn now() -> Timestamp {
    i64::try_from(worker::Date::now().as_millis())
        .ok()
        .and_then(|millis| Timestamp::from_millisecond(millis).ok())
        .unwrap_or(Timestamp::UNIX_EPOCH)
}

fn refuse(code: ErrorCode, message: &str) -> Result<Response> {
    let refusal = ObjectRefusal { code, message: message.to_owned() };
    Ok(Response::from_json(&refusal)?.with_status(code.status()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_row_is_compared_once_an_hour_however_often_the_alarm_fires() {
        let at = |secs| Timestamp::from_second(1_800_000_000 + secs).ok();
        let fired: Vec<i64> = (0..6 * 3600).step_by(120).collect();
        let compared = fired
            .iter()
            .filter(|secs| at(**secs).is_some_and(|now| is_last_in_its_hour(now, at(**secs + 120))));
        assert_eq!(compared.count(), 6);
        assert!(at(0).is_some_and(|now| is_last_in_its_hour(now, None)));
    }
}
