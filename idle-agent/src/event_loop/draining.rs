//! Carrying out what the drain wants, and telling it what became of that.

use super::{EventLoop, Purpose};
use crate::control_plane::status::Urgency;
use crate::os::clock::Moment;
use crate::os::mutex::write;
use crate::sleep::drain::{self, Stirring};
use crate::sleep::freezer::NotFrozen;
use crate::sleep::terminals::tell_terminals;
use crate::terminal::End;
use ebbtide_api::vm::DrainPhase;
use ebbtide_api::why::Verdict;

impl EventLoop {
    fn stirring(&self) -> Stirring {
        let verdict = self.status.read(|facts| facts.why.as_ref().map(|why| why.verdict));
        if verdict == Some(Verdict::Idle) { Stirring::No } else { Stirring::Yes }
    }

    pub(super) fn drain_step(&mut self, event: drain::Event) {
        let was_draining = self.drain.phase().is_some();
        let actions = self.drain.step(Moment::now(), event, self.stirring());
        for action in actions {
            self.act(action);
        }
        if was_draining && self.drain.phase().is_none() {
            self.idle.forget_sleep(Moment::now());
        }
        self.tell_phase();
    }

    fn act(&mut self, action: drain::Action) {
        match action {
            drain::Action::Notice => {
                self.status.log("going to sleep: backing up");
                let text =
                    "This workspace goes to sleep and is being backed up. To stay: ebb hold 30m \"why\"";
                tell_terminals(self.user.as_ref(), text);
            }
            drain::Action::Backup => match &mut self.running {
                // A snapshot that runs already is the bulk.
                Some(running) => running.purpose = Purpose::Drain,
                None => self.back_up(Purpose::Drain),
            },
            drain::Action::StopBackup => {
                self.running = None;
                self.jobs.stop();
                self.status.log("staying awake");
            }
            drain::Action::Freeze => {
                write(&self.access.door).closed = true;
                self.end_terminals(End::Sleep);
                let frozen = self.freezer.freeze(self.user.as_ref());
                self.frozen(frozen.map(|count| {
                    self.status
                        .log(&format!("{count} processes or groups of them stand still for the last backup"));
                    drain::Event::Frozen
                }));
            }
            drain::Action::Thaw => {
                self.freezer.thaw();
                write(&self.access.door).closed = false;
                self.status.log("thawed; staying awake");
            }
            drain::Action::Deliver(receipt) => match self.freezer.prove(self.user.as_ref()) {
                Ok(()) => self.jobs.deliver_last(receipt),
                Err(error) => self.frozen(Err(error)),
            },
        }
    }

    /// Goes on with what became of a freeze.
    fn frozen(&mut self, result: Result<drain::Event, NotFrozen>) {
        let event = result.unwrap_or_else(|error| {
            self.trouble(&format!("the workspace does not stand still, so its last backup waits: {error}"));
            drain::Event::NotFrozen
        });
        self.drain_step(event);
    }

    pub(super) fn tell_phase(&self) {
        let phase = self.drain.phase();
        if self.status.read(|facts| facts.drain != phase) {
            tracing::info!(?phase, "drain");
            self.status.update(Urgency::Now, |facts| {
                facts.drain = phase;
                if phase.is_none() || phase == Some(DrainPhase::Done) {
                    facts.backup_trouble = None;
                }
            });
        }
    }
}
