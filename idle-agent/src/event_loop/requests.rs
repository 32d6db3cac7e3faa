//! What the loop answers to the machine's own command line.

use super::EventLoop;
use crate::control_socket::{Reply, Request, TraceCommand};
use crate::idle::read::hook::Happened;
use crate::os::clock::Moment;
use ebbtide_api::backups::Persistence;

impl EventLoop {
    fn trace(&mut self, command: TraceCommand, now: Moment) -> Reply {
        let done = match command {
            TraceCommand::Start => self.idle.start_trace(now).map(|()| Reply::Recording { at: now }),
            TraceCommand::Mark(name) => {
                self.idle.mark_trace(&name, now).map(|()| Reply::Recording { at: now })
            }
            TraceCommand::Stop => self.idle.stop_trace().map(|bytes| Reply::Recorded { bytes }),
            TraceCommand::Save => self.idle.trace().map(Reply::Trace),
        };
        done.unwrap_or_else(|error| Reply::Error(error.to_string()))
    }

    pub(super) fn answer(&mut self, request: Request, now: Moment) -> Reply {
        match request {
            Request::Why => match self.status.read(|facts| facts.why.clone()) {
                Some(why) => Reply::Why(Box::new(why)),
                None => Reply::Error("nothing is known yet".to_owned()),
            },
            Request::Ports => Reply::Ports(self.status.read(|facts| facts.ports.clone())),
            Request::Hold { length, reason } => match self.idle.hold(length.into(), &reason, now) {
                Ok(id) => {
                    self.look(now);
                    Reply::Held { id, length }
                }
                Err(error) => Reply::Error(error.to_string()),
            },
            Request::KeepAlive { pid, length } => match self.idle.keep_alive(pid, length.into(), now) {
                Ok(id) => {
                    self.look(now);
                    Reply::Held { id, length }
                }
                Err(error) => Reply::Error(error.to_string()),
            },
            Request::Hook { hook, process: Some(process) } => {
                self.idle.hear(&hook, process, now);
                if hook.happened == Happened::Prompted {
                    // A sleep that has begun is taken back at once.
                    self.look(now);
                }
                Reply::Heard
            }
            Request::Hook { process: None, .. } => Reply::Error("no agent is above this process".to_owned()),
            Request::Release { id } => {
                let released = self.idle.release(id.as_deref(), now);
                self.look(now);
                Reply::Released { released }
            }
            Request::Trace(command) => self.trace(command, now),
            // Answered by a thread of its own, which asks the control plane.
            Request::GitCredential { .. } => Reply::GitCredential(None),
            Request::Snapshot if self.backup_estimator.persistence == Persistence::None => Reply::Error(
                "this workspace is never backed up, as was chosen when it was created".to_owned(),
            ),
            Request::Snapshot => {
                self.schedule.ask();
                Reply::Snapshotting
            }
            Request::Sleep => {
                self.idle.ask_to_sleep(now);
                self.look(now);
                Reply::Sleeping
            }
        }
    }
}
