//! The drain: from "go to sleep" to "the machine may go". Pure: wishes and results in, actions out.
//!
//! Notice → bulk backup while everything runs → freeze → last backup → receipt, delivered until it is verified. A wish
//! to run stops it at any time before that. Nothing here gives up: a failing backup is retried for ever, and the
//! control plane's own deadlines end it. After a restart a frozen machine waits for the wish and then thaws or goes on.

use crate::clock::Moment;
use ebbtide_api::vm::{DrainPhase, Receipt, ReceiptStatus, Wish};
use std::time::Duration;

/// Waits between attempts of a backup or a delivery that fail: doubled from the first up to the second.
const FIRST_WAIT: Duration = Duration::from_secs(1);
const LONGEST_WAIT: Duration = Duration::from_secs(60);
/// Wait before asking again about a receipt that is still being checked.
const CHECK_AGAIN: Duration = Duration::from_millis(700);

/// Something happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// The control plane's wish, each time it is heard.
    Wish(Wish),
    /// Time passed.
    Tick,
    /// The backup that was asked for is complete.
    BackedUp(Box<Receipt>),
    /// It failed.
    BackupFailed,
    /// The control plane answered the last receipt.
    Answered(ReceiptStatus),
    /// It could not be delivered.
    NotDelivered,
}

/// Something to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Tell people on the machine.
    Notice,
    /// Take a backup; its end comes back as an event.
    Backup,
    /// Stop the backup that runs; no event comes of it.
    StopBackup,
    /// Let nobody in and stop the workspace's processes.
    Freeze,
    /// The reverse of both.
    Thaw,
    /// Deliver the last receipt; the answer comes back as an event.
    Deliver(Box<Receipt>),
}

/// Where the drain is.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Stage {
    /// No drain.
    Off,
    /// The bulk is being backed up.
    Bulk(Job),
    /// The bulk is stored; something stirred meanwhile, and the control plane has not said that it does not matter.
    Stirred,
    /// Frozen in an earlier life of the agent; the wish is not known yet.
    FoundFrozen,
    /// Frozen; the last backup is being taken.
    Last(Job),
    /// Frozen; the receipt is being delivered.
    Deliver(Box<Receipt>, Job),
    /// The receipt is verified.
    Done,
}

/// Something that runs or waits to be tried again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Job {
    Runs { failures: u32 },
    Waits { failures: u32, until: Moment },
}

impl Job {
    const FIRST: Self = Self::Runs { failures: 0 };

    fn failed(self, now: Moment) -> Self {
        let failures = match self {
            Self::Runs { failures } | Self::Waits { failures, .. } => failures.saturating_add(1),
        };
        let wait = FIRST_WAIT.saturating_mul(1 << failures.saturating_sub(1).min(6)).min(LONGEST_WAIT);
        Self::Waits { failures, until: now.plus(wait) }
    }

    /// Runs again where its wait is over.
    fn retry(&mut self, now: Moment) -> bool {
        match *self {
            Self::Waits { failures, until } if now >= until => {
                *self = Self::Runs { failures };
                true
            }
            Self::Waits { .. } | Self::Runs { .. } => false,
        }
    }
}

/// The drain.
#[derive(Debug)]
pub struct Drain {
    stage: Stage,
    wish: Wish,
}

impl Drain {
    /// No drain, or one that an earlier life of the agent left frozen.
    pub fn new(found_frozen: Frozen) -> Self {
        let stage = match found_frozen {
            Frozen::Yes => Stage::FoundFrozen,
            Frozen::No => Stage::Off,
        };
        Self { stage, wish: Wish::Run }
    }

    /// The phase that people and the control plane see.
    pub fn phase(&self) -> Option<DrainPhase> {
        match &self.stage {
            Stage::Off => None,
            Stage::Bulk(_) | Stage::Stirred => Some(DrainPhase::Snapshot),
            Stage::FoundFrozen | Stage::Last(_) | Stage::Deliver(..) => Some(DrainPhase::Frozen),
            Stage::Done => Some(DrainPhase::Done),
        }
    }

    /// Takes in an event; `idle` says whether the verdict of now is idle.
    pub fn step(&mut self, now: Moment, event: Event, idle: Stirring) -> Vec<Action> {
        if let Event::Wish(wish) = event {
            self.wish = wish;
        }
        let stage = std::mem::replace(&mut self.stage, Stage::Off);
        let (next, actions) = self.next(stage, now, event, idle);
        self.stage = next;
        actions
    }

    fn next(&self, stage: Stage, now: Moment, event: Event, idle: Stirring) -> (Stage, Vec<Action>) {
        let may_freeze = self.wish == Wish::DrainNow || idle == Stirring::No;
        match (stage, event) {
            (Stage::Off, Event::Wish(Wish::Drain | Wish::DrainNow)) => {
                (Stage::Bulk(Job::FIRST), vec![Action::Notice, Action::Backup])
            }
            (Stage::Bulk(Job::Runs { .. }), Event::Wish(Wish::Run)) => (Stage::Off, vec![Action::StopBackup]),
            (Stage::Bulk(_) | Stage::Stirred, Event::Wish(Wish::Run)) => (Stage::Off, vec![]),
            (Stage::Bulk(_), Event::BackedUp(_)) | (Stage::Stirred, Event::Tick | Event::Wish(_)) => {
                if may_freeze {
                    (Stage::Last(Job::FIRST), vec![Action::Freeze, Action::Backup])
                } else {
                    (Stage::Stirred, vec![])
                }
            }
            (Stage::Bulk(job), Event::BackupFailed) => (Stage::Bulk(job.failed(now)), vec![]),
            (Stage::FoundFrozen, Event::Wish(wish)) => match wish {
                Wish::Run => (Stage::Off, vec![Action::Thaw]),
                Wish::Drain | Wish::DrainNow => {
                    (Stage::Last(Job::FIRST), vec![Action::Freeze, Action::Backup])
                }
            },
            // Not verified yet, so nothing is lost by going on; the control plane has decided so.
            (Stage::Last(Job::Runs { .. }), Event::Wish(Wish::Run)) => {
                (Stage::Off, vec![Action::StopBackup, Action::Thaw])
            }
            (Stage::Last(_) | Stage::Deliver(..), Event::Wish(Wish::Run)) => (Stage::Off, vec![Action::Thaw]),
            (Stage::Last(_), Event::BackedUp(receipt)) => {
                (Stage::Deliver(receipt.clone(), Job::FIRST), vec![Action::Deliver(receipt)])
            }
            (Stage::Last(job), Event::BackupFailed) => (Stage::Last(job.failed(now)), vec![]),
            (Stage::Deliver(_, _), Event::Answered(ReceiptStatus::Verified)) => (Stage::Done, vec![]),
            (Stage::Deliver(receipt, _), Event::Answered(ReceiptStatus::Checking)) => {
                (Stage::Deliver(receipt, Job::Waits { failures: 0, until: now.plus(CHECK_AGAIN) }), vec![])
            }
            // What the control plane misses is sent by another backup, not by the same receipt.
            (Stage::Deliver(_, job), Event::Answered(ReceiptStatus::Refused)) => {
                (Stage::Last(job.failed(now)), vec![])
            }
            (Stage::Deliver(receipt, job), Event::NotDelivered) => {
                (Stage::Deliver(receipt, job.failed(now)), vec![])
            }
            (Stage::Bulk(mut job), Event::Tick) => {
                let actions = if job.retry(now) { vec![Action::Backup] } else { vec![] };
                (Stage::Bulk(job), actions)
            }
            (Stage::Last(mut job), Event::Tick) => {
                let actions = if job.retry(now) { vec![Action::Freeze, Action::Backup] } else { vec![] };
                (Stage::Last(job), actions)
            }
            (Stage::Deliver(receipt, mut job), Event::Tick) => {
                let actions = if job.retry(now) { vec![Action::Deliver(receipt.clone())] } else { vec![] };
                (Stage::Deliver(receipt, job), actions)
            }
            // A wish that is repeated, or the end of something that is not waited for any more.
            (stage, _) => (stage, vec![]),
        }
    }
}

/// Whether the machine was found frozen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Frozen {
    /// It was.
    Yes,
    /// It was not.
    No,
}

/// Whether something stirs: the verdict is not idle.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stirring {
    /// It is not idle.
    Yes,
    /// It is.
    No,
}

#[cfg(test)]
mod tests;
