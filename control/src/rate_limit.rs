//! The provider gate: how many calls the providers' rate limits still allow, and whose turn it is.
//!
//! Pure: one [`RateLimiter`] is held by one object for a whole provider project, which passes in the time. Whatever is about
//! to call a provider asks once for all the calls that it may make ([`RateLimiter::ask`]) and reports afterwards what it sent
//! and what the answers' headers said ([`Report`]). Headers only ever lower what the gate believes. What ends a
//! machine goes first: a share is kept that nothing else may use, so that no listing and no create delays a delete.

mod bucket;
mod meter;

pub use bucket::Level;
pub use meter::{Report, Seen};

use crate::record::Effect;
use bucket::Bucket;
use ebbtide_api::Timestamp;
use serde::{Deserialize, Serialize};

/// Whose limit a call counts against.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Provider {
    /// Machines: 3 600 calls an hour and project, refilled one a second.
    Machines,
    /// Names: 1 200 calls in five minutes and token.
    Names,
}

/// How much a call matters when calls are few.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Urgency {
    /// It ends a machine, or saves what is on one that ends: it may use everything.
    End,
    /// It starts or keeps one.
    Begin,
    /// It only looks: questions about silent machines, listings of the sweep.
    Look,
}

/// What somebody is about to call, at most.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct CallCost {
    /// Calls to the provider of machines.
    pub machines: u32,
    /// Calls to the provider of names.
    pub names: u32,
    /// How much they matter.
    pub urgency: Urgency,
}

impl CallCost {
    /// What an effect may call; `None` where it calls no provider.
    pub fn of(effect: Effect) -> Option<Self> {
        let need = |machines, names, urgency| Some(Self { machines, names, urgency });
        match effect {
            // A look, the firewall, the one for SSH, the create, a look again where the name is taken, and the label of the
            // address. The very first one looks for firewalls and SSH key and makes them: it counts what it calls, whatever
            // was asked for.
            Effect::EnsureServer => need(6, 0, Urgency::Begin),
            // Two names, each looked for and written; and the server, where its address is not known yet.
            Effect::EnsureDns => need(0, 4, Urgency::Begin),
            // Where something is not found, the firewall tells whether that is believed.
            Effect::Reboot => need(2, 0, Urgency::Begin),
            // Where SSH is let in, the firewall, the one for SSH, and making that.
            Effect::UpdateLabels => need(4, 0, Urgency::Begin),
            Effect::FindServer | Effect::AskServer => need(3, 0, Urgency::Look),
            // A rescue that does not hear that its image is written gives up the work in it.
            Effect::PowerOff | Effect::AwaitImage => need(2, 0, Urgency::End),
            Effect::TakeImage => need(3, 0, Urgency::End),
            Effect::DeleteServer => need(3, 0, Urgency::End),
            Effect::DeleteDns => need(0, 3, Urgency::End),
            Effect::DeleteImage { .. } => need(2, 0, Urgency::End),
            Effect::Reserve
            | Effect::CheckReceipt
            | Effect::CheckSpending
            | Effect::Purge
            | Effect::CheckPeers => None,
        }
    }

    /// A slice of looks: pages of listings and single resources read again.
    pub fn looks(machines: u32, names: u32) -> Self {
        Self { machines, names, urgency: Urgency::Look }
    }
}

/// Whether calls may be made now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "verdict", rename_all = "snake_case")]
pub enum Verdict {
    /// All that were asked for; they are counted from now on.
    Granted,
    /// None of them.
    Wait {
        /// Worth asking again then.
        until: Timestamp,
        /// What is waited for, for a person.
        waiting_for: String,
    },
}

/// What is left of each limit.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Levels {
    /// At the provider of machines.
    pub machines: Level,
    /// At the provider of names.
    pub names: Level,
}

/// What one provider project may still call.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RateLimiter {
    machines: Bucket,
    names: Bucket,
}

impl RateLimiter {
    /// Full, with the limits that the providers document.
    pub fn new(now: Timestamp) -> Self {
        Self { machines: Bucket::machines(now), names: Bucket::names(now) }
    }

    /// Grants all of the calls, or none.
    pub fn ask(&mut self, need: CallCost, now: Timestamp) -> Verdict {
        let machines = self.machines.fits(need.machines, need.urgency, now);
        let names = self.names.fits(need.names, need.urgency, now);
        match (machines, names) {
            (None, None) => {
                self.machines.take(need.machines);
                self.names.take(need.names);
                Verdict::Granted
            }
            (Some(until), names) if names.is_none_or(|other| other <= until) => {
                let until = self.machines.promise(until, need.machines, need.urgency, now);
                Verdict::Wait { until, waiting_for: self.machines.words("server", until, now) }
            }
            (_, Some(until)) | (Some(until), None) => {
                let until = self.names.promise(until, need.names, need.urgency, now);
                Verdict::Wait { until, waiting_for: self.names.words("DNS", until, now) }
            }
        }
    }

    /// Learns from what was sent and answered.
    pub fn report(&mut self, report: &Report, now: Timestamp) {
        self.machines.report(&report.machines, now);
        self.names.report(&report.names, now);
    }

    /// What is left.
    pub fn levels(&self, now: Timestamp) -> Levels {
        Levels { machines: self.machines.level(now), names: self.names.level(now) }
    }

    /// Whether it would be wrong to start afresh from the documented limits, should the memory of this be lost.
    pub fn is_worth_keeping(&self, now: Timestamp) -> bool {
        self.machines.is_worth_keeping(now) || self.names.is_worth_keeping(now)
    }
}

#[cfg(test)]
mod tests;
