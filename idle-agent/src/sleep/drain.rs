//! The drain: from "go to sleep" to "the machine may go". Pure: wishes and results in, actions out.
//!
//! Notice → bulk backup while everything runs → freeze → last backup → receipt, delivered until it is verified. A wish
//! to run stops it at any time before that. Nothing here gives up: a failing freeze or backup is retried for ever, and the
//! control plane's own deadlines end it. After a restart a frozen machine waits for the wish and then thaws or goes on.
//! Must never back up for the last time, or deliver the last receipt, where it was not seen that nothing runs.

use crate::os::clock::Moment;
use ebbtide_api::vm::{DesiredMachineState, DrainPhase, Receipt, ReceiptStatus};
use std::time::Duration;

/// Waits between attempts of a backup or a delivery that fail: doubled from the first up to the second.
const FIRST_WAIT: Duration = Duration::from_secs(1);
const LONGEST_WAIT: Duration = Duration::from_secs(60);
/// The longest wait after receipts that were refused one after another: while the machine stands still, what keeps a
/// backup from being whole goes away by itself hardly ever, and each is a backup of everything.
const LONGEST_REFUSED: Duration = Duration::from_secs(300);
/// Wait before asking again about a receipt that is still being checked.
const CHECK_AGAIN: Duration = Duration::from_millis(700);

/// Something happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// What the control plane wants of the machine, each time it says so.
    Desired(DesiredMachineState),
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
    /// It was seen that nothing of the workspace runs: the answer to [`Action::Freeze`].
    Frozen,
    /// Something of it runs, or could not be looked at: the answer to [`Action::Freeze`], or to [`Action::Deliver`], which
    /// then has delivered nothing.
    NotFrozen,
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
    /// Let nobody in and stop the workspace's processes; whether they stand comes back as an event.
    Freeze,
    /// The reverse of both.
    Thaw,
    /// Look once more whether nothing runs, and then deliver the last receipt; the answer comes back as an event.
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
    /// The bulk is stored; what runs is to stand still. The second job is the backup to take then.
    Freezing(Job, Job, Refusals),
    /// Frozen in an earlier life of the agent; the wish is not known yet.
    FoundFrozen,
    /// Frozen; the last backup is being taken.
    Last(Job, Refusals),
    /// Frozen; the receipt is being delivered.
    Deliver(Box<Receipt>, Job, Refusals),
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
        Self::Waits { failures, until: now.plus(doubled(failures, LONGEST_WAIT)) }
    }

    /// Waits before another last backup.
    fn refused(now: Moment, Refusals(refusals): Refusals) -> Self {
        Self::Waits { failures: 0, until: now.plus(doubled(refusals, LONGEST_REFUSED)) }
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

/// How many receipts of this freeze were refused. Outlives the backups and deliveries in between.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Refusals(u32);

impl Refusals {
    const NONE: Self = Self(0);

    fn another(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

/// The wait after so many failures in a row.
fn doubled(failures: u32, longest: Duration) -> Duration {
    FIRST_WAIT.saturating_mul(1 << failures.saturating_sub(1).min(9)).min(longest)
}

/// The drain.
#[derive(Debug)]
pub struct Drain {
    stage: Stage,
    desired: DesiredMachineState,
}

impl Drain {
    /// No drain, or one that an earlier life of the agent left frozen.
    pub fn new(found_frozen: FoundFrozen) -> Self {
        let stage = match found_frozen {
            FoundFrozen::Yes => Stage::FoundFrozen,
            FoundFrozen::No => Stage::Off,
        };
        Self { stage, desired: DesiredMachineState::Run }
    }

    /// The phase that people and the control plane see.
    pub fn phase(&self) -> Option<DrainPhase> {
        match &self.stage {
            Stage::Off => None,
            Stage::Bulk(_) | Stage::Stirred | Stage::Freezing(..) => Some(DrainPhase::Snapshot),
            Stage::FoundFrozen | Stage::Last(..) | Stage::Deliver(..) => Some(DrainPhase::Frozen),
            Stage::Done => Some(DrainPhase::Done),
        }
    }

    /// Takes in an event; `idle` says whether the verdict of now is idle.
    pub fn step(&mut self, now: Moment, event: Event, idle: Stirring) -> Vec<Action> {
        if let Event::Desired(desired) = event {
            self.desired = desired;
        }
        let stage = std::mem::replace(&mut self.stage, Stage::Off);
        let (next, actions) = self.next(stage, now, event, idle);
        self.stage = next;
        actions
    }

    fn next(&self, stage: Stage, now: Moment, event: Event, idle: Stirring) -> (Stage, Vec<Action>) {
        let may_freeze = self.desired == DesiredMachineState::DrainNow || idle == Stirring::No;
        match (stage, event) {
            (Stage::Off, Event::Desired(DesiredMachineState::Drain | DesiredMachineState::DrainNow)) => {
                (Stage::Bulk(Job::FIRST), vec![Action::Notice, Action::Backup])
            }
            (Stage::Bulk(Job::Runs { .. }), Event::Desired(DesiredMachineState::Run)) => {
                (Stage::Off, vec![Action::StopBackup])
            }
            (Stage::Bulk(_) | Stage::Stirred, Event::Desired(DesiredMachineState::Run)) => {
                (Stage::Off, vec![])
            }
            (Stage::Bulk(_), Event::BackedUp(_)) | (Stage::Stirred, Event::Tick | Event::Desired(_)) => {
                if may_freeze {
                    (Stage::Freezing(Job::FIRST, Job::FIRST, Refusals::NONE), vec![Action::Freeze])
                } else {
                    (Stage::Stirred, vec![])
                }
            }
            (Stage::Bulk(job), Event::BackupFailed) => (Stage::Bulk(job.failed(now)), vec![]),
            (Stage::FoundFrozen, Event::Desired(desired)) => match desired {
                DesiredMachineState::Run => (Stage::Off, vec![Action::Thaw]),
                DesiredMachineState::Drain | DesiredMachineState::DrainNow => {
                    (Stage::Freezing(Job::FIRST, Job::FIRST, Refusals::NONE), vec![Action::Freeze])
                }
            },
            (Stage::Freezing(_, backup, refusals), Event::Frozen) => {
                (Stage::Last(backup, refusals), vec![Action::Backup])
            }
            // What stands already stays so: it would write again, and be stopped again, at each try.
            (Stage::Freezing(freeze, backup, refusals), Event::NotFrozen) => {
                (Stage::Freezing(freeze.failed(now), backup, refusals), vec![])
            }
            // What ran may have written: the backup is not the last one.
            (Stage::Deliver(_, _, refusals), Event::NotFrozen) => {
                (Stage::Freezing(Job::FIRST.failed(now), Job::FIRST, refusals), vec![])
            }
            // Not verified yet, so nothing is lost by going on; the control plane has decided so.
            (Stage::Last(Job::Runs { .. }, _), Event::Desired(DesiredMachineState::Run)) => {
                (Stage::Off, vec![Action::StopBackup, Action::Thaw])
            }
            (
                Stage::Freezing(..) | Stage::Last(..) | Stage::Deliver(..),
                Event::Desired(DesiredMachineState::Run),
            ) => (Stage::Off, vec![Action::Thaw]),
            (Stage::Last(_, refusals), Event::BackedUp(receipt)) => {
                (Stage::Deliver(receipt.clone(), Job::FIRST, refusals), vec![Action::Deliver(receipt)])
            }
            (Stage::Last(job, refusals), Event::BackupFailed) => {
                (Stage::Last(job.failed(now), refusals), vec![])
            }
            (Stage::Deliver(..), Event::Answered(ReceiptStatus::Verified)) => (Stage::Done, vec![]),
            (Stage::Deliver(receipt, _, refusals), Event::Answered(ReceiptStatus::Checking)) => {
                let again = Job::Waits { failures: 0, until: now.plus(CHECK_AGAIN) };
                (Stage::Deliver(receipt, again, refusals), vec![])
            }
            // What the control plane misses is sent by another backup, not by the same receipt.
            (Stage::Deliver(_, _, refusals), Event::Answered(ReceiptStatus::Refused)) => {
                let refusals = refusals.another();
                (Stage::Last(Job::refused(now, refusals), refusals), vec![])
            }
            (Stage::Deliver(receipt, job, refusals), Event::NotDelivered) => {
                (Stage::Deliver(receipt, job.failed(now), refusals), vec![])
            }
            (Stage::Bulk(mut job), Event::Tick) => {
                let actions = if job.retry(now) { vec![Action::Backup] } else { vec![] };
                (Stage::Bulk(job), actions)
            }
            (Stage::Freezing(mut freeze, backup, refusals), Event::Tick) => {
                let actions = if freeze.retry(now) { vec![Action::Freeze] } else { vec![] };
                (Stage::Freezing(freeze, backup, refusals), actions)
            }
            (Stage::Last(mut job, refusals), Event::Tick) => {
                if job.retry(now) {
                    (Stage::Freezing(Job::FIRST, job, refusals), vec![Action::Freeze])
                } else {
                    (Stage::Last(job, refusals), vec![])
                }
            }
            (Stage::Deliver(receipt, mut job, refusals), Event::Tick) => {
                let actions = if job.retry(now) { vec![Action::Deliver(receipt.clone())] } else { vec![] };
                (Stage::Deliver(receipt, job, refusals), actions)
            }
            // A wish that is repeated, or the end of something that is not waited for any more.
            (stage, _) => (stage, vec![]),
        }
    }
}

/// Whether the machine was found frozen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FoundFrozen {
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
