//! The line to the control plane: one WebSocket, heartbeats out, instructions in; plain calls while it cannot be had.
//!
//! It decides nothing: instructions are handed on as they come. It never gives up; a 410 ends it for good.

mod heartbeat_throttle;
mod socket;

use crate::control_plane::api_client::{ApiClient, CallError};
use crate::control_plane::enrol::backoff;
use crate::control_plane::status::{Status, Urgency};
use crate::os::clock::Moment;
use ebbtide_api::vm::{Heartbeat, Instruction};
use heartbeat_throttle::HeartbeatThrottle;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use socket::Socket;
use std::io::Read as _;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::Duration;

/// What comes from the control plane for the rest of the agent.
pub trait Listener: Send {
    /// The control plane said something.
    fn instruction(&mut self, instruction: Instruction);
    /// A newer machine has taken over.
    fn fenced(&mut self);
}

/// Keeps the connection up until the machine is fenced.
pub fn run<L: Listener>(
    api_client: &Arc<ApiClient>,
    status: &Status,
    wakeup: UnixStream,
    heartbeat: Duration,
    mut listener: L,
) {
    let mut link =
        Link { api_client, status, wakeup, throttle: HeartbeatThrottle::new(heartbeat), last: None };
    let mut waits = backoff();
    loop {
        match link.over_socket(&mut listener) {
            Ended::Fenced => break listener.fenced(),
            Ended::AfterUse => waits = backoff(),
            Ended::NeverUsed => {}
        }
        let again = Moment::now().plus(waits.next().unwrap_or(Duration::from_secs(20)));
        if link.over_calls(again, &mut listener).is_err() {
            break listener.fenced();
        }
    }
}

/// How a connection ended.
enum Ended {
    Fenced,
    /// It carried at least one instruction.
    AfterUse,
    NeverUsed,
}

/// The connection is over.
struct Fenced;

struct Link<'a> {
    api_client: &'a Arc<ApiClient>,
    status: &'a Status,
    wakeup: UnixStream,
    throttle: HeartbeatThrottle,
    /// The heartbeat that was sent last without log, to tell whether an urgent one would say anything new.
    last: Option<Heartbeat>,
}

impl Link<'_> {
    /// Opens the WebSocket and uses it for as long as it works.
    fn over_socket<L: Listener>(&mut self, listener: &mut L) -> Ended {
        let token = self.api_client.token();
        let mut socket = match Socket::open(self.api_client.control_url(), &token) {
            Ok(socket) => socket,
            Err(CallError::Refused { status: 401, .. }) => {
                return match self.api_client.renew(&token) {
                    Ok(()) => Ended::NeverUsed,
                    Err(CallError::Fenced) => Ended::Fenced,
                    Err(error) => {
                        tracing::warn!(%error, "cannot renew the VM token");
                        Ended::NeverUsed
                    }
                };
            }
            Err(CallError::Fenced) => {
                self.api_client.fence();
                return Ended::Fenced;
            }
            Err(error) => {
                tracing::debug!(%error, "no WebSocket to the control plane");
                return Ended::NeverUsed;
            }
        };
        tracing::info!("connected to the control plane");
        self.throttle.due_now();
        self.last = None;
        let mut used = false;
        let mut mark = 0;
        loop {
            loop {
                match socket.receive() {
                    Ok(Some(instruction)) => {
                        used = true;
                        self.throttle.answered();
                        self.status.acknowledge(mark);
                        self.take(instruction, listener);
                    }
                    Ok(None) => break,
                    Err(CallError::Fenced) => {
                        self.api_client.fence();
                        return Ended::Fenced;
                    }
                    Err(error) => {
                        tracing::warn!(%error, "lost the connection to the control plane");
                        return if used { Ended::AfterUse } else { Ended::NeverUsed };
                    }
                }
            }
            let now = Moment::now();
            if self.throttle.is_silent(now) {
                tracing::warn!("the control plane has stopped answering; connecting again");
                return if used { Ended::AfterUse } else { Ended::NeverUsed };
            }
            if let Some((heartbeat, upto)) = self.due(now) {
                mark = upto;
                if let Err(error) = socket.send(&heartbeat) {
                    tracing::warn!(%error, "lost the connection to the control plane");
                    return if used { Ended::AfterUse } else { Ended::NeverUsed };
                }
            }
            let wait = self.throttle.next(self.status.urgency()).since(Moment::now());
            self.wait(Some(&socket), wait);
        }
    }

    /// Sends heartbeats as plain calls until it is time to try the WebSocket again.
    fn over_calls<L: Listener>(&mut self, until: Moment, listener: &mut L) -> Result<(), Fenced> {
        loop {
            let now = Moment::now();
            if self.api_client.is_fenced() {
                return Err(Fenced);
            }
            if let Some((heartbeat, mark)) = self.due(now) {
                match self.api_client.post::<_, Instruction>("/v1/vm/heartbeat", &heartbeat) {
                    Ok(instruction) => {
                        self.throttle.answered();
                        self.status.acknowledge(mark);
                        self.take(instruction, listener);
                    }
                    Err(CallError::Fenced) => return Err(Fenced),
                    Err(error) => {
                        self.throttle.failed(now);
                        tracing::warn!(%error, "no heartbeat");
                    }
                }
            }
            let now = Moment::now();
            if now >= until {
                return Ok(());
            }
            let next = self.throttle.next(self.status.urgency()).min(until);
            self.wait(None, next.since(now));
        }
    }

    /// The heartbeat to send now, if one is due. An urgent one that would say nothing new is left out.
    fn due(&mut self, now: Moment) -> Option<(Heartbeat, u64)> {
        let urgency = self.status.urgency();
        if now < self.throttle.next(urgency) {
            return None;
        }
        let regular = now >= self.throttle.next(Urgency::Whenever);
        let (heartbeat, mark) = self.status.heartbeat(self.api_client.generation());
        let mut gist = heartbeat.clone();
        gist.log.clear();
        gist.agent_rss_bytes = 0;
        if !regular && heartbeat.log.is_empty() && self.last.as_ref() == Some(&gist) {
            return None;
        }
        self.last = Some(gist);
        self.throttle.sent(now);
        Some((heartbeat, mark))
    }

    fn take<L: Listener>(&mut self, instruction: Instruction, listener: &mut L) {
        if let Some(token) = &instruction.vm_token {
            self.api_client.put_token(token);
        }
        if let Some(policy) = &instruction.policy {
            self.throttle.set_every(Duration::from_secs(policy.heartbeat_secs));
        }
        listener.instruction(instruction);
    }

    /// Waits for a wake-up, the socket, or the time.
    fn wait(&mut self, socket: Option<&Socket>, longest: Duration) {
        let longest = longest.clamp(Duration::from_millis(5), Duration::from_secs(60));
        let time = Timespec {
            tv_sec: i64::try_from(longest.as_secs()).unwrap_or(60),
            tv_nsec: longest.subsec_nanos().into(),
        };
        let mut descriptors = vec![PollFd::new(&self.wakeup, PollFlags::IN)];
        if let Some(socket) = socket {
            let write = if socket.has_unsent() { PollFlags::OUT } else { PollFlags::empty() };
            descriptors.push(PollFd::new(socket.stream(), PollFlags::IN | write));
        }
        if poll(&mut descriptors, Some(&time)).is_err() {
            // Interrupted by a signal: the loop looks again.
            return;
        }
        drop(descriptors);
        let mut rung = [0; 64];
        while (&self.wakeup).read(&mut rung).is_ok_and(|read| read == rung.len()) {}
    }
}
