//! The machine's WebSocket: heartbeats in, instructions out. It hibernates between messages.

use super::backends::site;
use super::heartbeat::{Attachment, Came};
use super::log;
use super::{Inner, now, refuse};
use crate::log::Level;
use ebbtide_api::vm::{Heartbeat, Instruction};
use ebbtide_api::{ErrorCode, Generation};
use ebbtide_control::lifecycle::{Context, HeartbeatSummary, Input};
use ebbtide_control::record::Record;
use ebbtide_control::view::machine;
use ebbtide_control::view::recall::Gist;
use std::rc::Rc;
use worker::{Error, Request, Response, Result, WebSocket, WebSocketIncomingMessage, WebSocketPair};

/// Close code for a machine whose generation is over: the WebSocket form of 410.
const CLOSE_STALE: u16 = 4410;
/// Close code for a message that is no heartbeat.
const CLOSE_UNREADABLE: u16 = 4400;
/// Close code for a machine that says too much.
const CLOSE_TOO_FAST: u16 = 4429;
/// Messages that a machine may send a minute: an honest one sends a few a second at most while it boots or backs up.
/// One that is hijacked must not spend the account's rows, on which everybody's alarms depend.
const MESSAGES_A_MINUTE: u32 = 300;
/// What a machine says that has spent its rows is acted on so often, in seconds: a dozen rows each time.
const DECIDES_IN_DEBT_EVERY_SECS: u64 = 600;
/// Largest message that is parsed, in bytes.
const MESSAGE_MAX: usize = 256 * 1024;

/// Accepts the socket of the live generation.
pub(super) async fn accept(inner: &Rc<Inner>, request: &Request) -> Result<Response> {
    let header = |name: &str| request.headers().get(name).ok().flatten();
    let Some(stored) = inner.load()? else {
        return refuse(ErrorCode::NotFound, "there is no such workspace");
    };
    let generation = header("x-ebbtide-generation").and_then(|text| text.parse().ok()).map(Generation);
    if header("x-ebbtide-tenant").as_deref() != Some(stored.record.tenant.as_str()) {
        return refuse(ErrorCode::NotFound, "there is no such workspace");
    }
    let Some(generation) = generation.filter(|generation| is_live(&stored.record, *generation)) else {
        return refuse(ErrorCode::StaleGeneration, "this machine's time is over");
    };
    let pair = WebSocketPair::new()?;
    // One socket a machine: a second one is its own after a cut that only one side noticed.
    for old in inner.state.get_websockets() {
        let _already_closed = old.close(Some(1000_u16), Some("replaced by a newer connection"));
    }
    inner.state.accept_web_socket(&pair.server);
    pair.server.serialize_attachment(Attachment::now(generation, None))?;
    inner.touch(generation);
    if let Ok(instruction) = inner.instruction(&stored.record) {
        pair.server.send(&instruction)?;
    }
    Response::from_websocket(pair.client)
}

/// Whether a machine of that generation may still do anything.
pub(super) fn is_live(record: &Record, generation: Generation) -> bool {
    use ebbtide_control::record::Phase;
    record.generation == generation
        && matches!(
            record.phase,
            Phase::Provisioning { .. }
                | Phase::Booting { .. }
                | Phase::Running
                | Phase::Silent { .. }
                | Phase::Draining { .. }
        )
}

/// Takes a heartbeat and answers with what is wanted.
pub(super) async fn message(
    inner: &Rc<Inner>,
    socket: &WebSocket,
    message: WebSocketIncomingMessage,
) -> Result<()> {
    if !inner.may_speak() {
        return socket.close(Some(CLOSE_TOO_FAST), Some("too many messages"));
    }
    let text = match message {
        WebSocketIncomingMessage::String(text) if text.len() <= MESSAGE_MAX => text,
        _ => return socket.close(Some(CLOSE_UNREADABLE), Some("a heartbeat is a JSON text")),
    };
    let Ok(heartbeat) = serde_json::from_str::<Heartbeat>(&text) else {
        return socket.close(Some(CLOSE_UNREADABLE), Some("this is no heartbeat"));
    };
    let attachment: Option<Attachment> = socket.deserialize_attachment()?;
    let Some(generation) = attachment.map(|attachment| Generation(attachment.generation)) else {
        return socket.close(Some(CLOSE_STALE), Some("reconnect"));
    };
    let gist = Gist::of(&heartbeat);
    match inner.heartbeat(generation, heartbeat, Came::OverSocket).await? {
        Some(instruction) => {
            socket.serialize_attachment(Attachment::now(generation, gist))?;
            socket.send(&instruction)
        }
        None => socket.close(Some(CLOSE_STALE), Some("this machine's time is over")),
    }
}

impl Inner {
    /// Counts a message of the machine, as far as memory reaches.
    pub(super) fn may_speak(&self) -> bool {
        self.spoken.count(now()) <= MESSAGES_A_MINUTE
    }

    /// Counts a question about secrets.
    pub(super) fn may_ask(&self) -> bool {
        self.asked.count(now()) <= MESSAGES_A_MINUTE
    }

    /// Whether a machine that has spent its rows is acted on all the same: an idle one has to go to sleep.
    fn may_decide_in_debt(&self) -> bool {
        let now = now().as_second();
        let is_due = now.abs_diff(self.decided_in_debt_at.get()) >= DECIDES_IN_DEBT_EVERY_SECS;
        if is_due {
            self.decided_in_debt_at.set(now);
        }
        is_due
    }

    /// Takes a heartbeat; `None` for a machine whose time is over, which then changes nothing. One that has spent its rows is
    /// heard and told what is wanted; what it says is acted on once in [`DECIDES_IN_DEBT_EVERY_SECS`].
    pub(super) async fn heartbeat(
        self: &Rc<Self>,
        generation: Generation,
        heartbeat: Heartbeat,
        came: Came,
    ) -> Result<Option<Instruction>> {
        let Some(stored) = self.load()? else { return Ok(None) };
        if !is_live(&stored.record, generation)
            || heartbeat.generation.is_some_and(|stated| stated != generation)
        {
            return Ok(None);
        }
        let is_in_debt = self.row_wait_secs(&stored.record)?.is_some();
        if is_in_debt && !self.may_decide_in_debt() {
            self.remember(&stored.record, heartbeat, came)?;
            return self.instruction(&stored.record).map(Some);
        }
        let mut summary = HeartbeatSummary::from(&heartbeat);
        if summary.estimate.is_some() {
            summary.stored_bytes = Some(self.store()?.stock()?.bytes);
        }
        self.remember(&stored.record, heartbeat, came)?;
        let settled = self.decide(Input::Heartbeat(summary)).await?;
        self.run_on(settled.effect);
        if is_in_debt {
            self.write_log()?;
        }
        self.settle_later();
        self.instruction(&settled.record).map(Some)
    }

    /// What the machine is told now. The token is renewed with every instruction: it lives for minutes.
    ///
    /// # Errors
    /// The installation is not configured: never taken for the end of the machine's time.
    pub(super) fn instruction(&self, record: &Record) -> Result<Instruction> {
        let config = self.config()?;
        let context = Context { now: now(), policy: &config.policy, last_seen_at: None };
        let site = site(&config).map_err(|error| Error::RustError(error.message().to_owned()))?;
        let mut instruction = machine::instruction(record, &context, site.tokens.public_keys());
        instruction.vm_token =
            machine::vm_token(record, &site, context.now).ok().map(|token| token.expose().clone());
        Ok(instruction)
    }

    /// Tells a connected machine at once what has changed.
    pub(super) fn push_instruction(&self, record: &Record) {
        let sockets = self.state.get_websockets();
        for socket in sockets {
            let current = socket
                .deserialize_attachment::<Attachment>()
                .ok()
                .flatten()
                .is_some_and(|attachment| is_live(record, Generation(attachment.generation)));
            let sent = if current {
                self.instruction(record).and_then(|instruction| socket.send(&instruction))
            } else {
                socket.close(Some(CLOSE_STALE), Some("this machine's time is over"))
            };
            if let Err(error) = sent {
                // It asks again with its next heartbeat, or is found silent.
                log::trouble(Level::Debug, record, "an instruction was not delivered", &error);
            }
        }
    }
}
