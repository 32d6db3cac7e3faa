//! Leases: claims with an expiry that keep the workspace awake; taken here by `ebb hold`, or through the API. Pure.

use crate::os::clock::Moment;
use ebbtide_api::vm::VmHold;
use ebbtide_api::why::Lease;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Most leases taken on the machine at a time.
const LOCAL_LEASES: usize = 100;

/// One claim.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claim {
    /// Names it for release.
    pub id: String,
    /// `hold` and `keep-alive` (taken on the machine) or `api`.
    pub source: String,
    /// Why.
    pub reason: String,
    /// When it ends.
    pub ends: Moment,
    /// The process with whose end it ends too: id and start.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub process: Option<(u32, u64)>,
}

impl Claim {
    /// Whether it was taken on the machine.
    fn is_local(&self) -> bool {
        self.source != "api"
    }
}

/// All claims.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Leases {
    claims: Vec<Claim>,
    taken: u64,
}

/// There are too many leases already.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("there are {LOCAL_LEASES} holds already; release some first")]
pub struct TooMany;

impl Leases {
    /// Takes a lease on the machine and names it.
    ///
    /// # Errors
    /// [`TooMany`].
    pub fn take(&mut self, length: Duration, reason: &str, now: Moment) -> Result<String, TooMany> {
        self.add("hold", None, length, reason, now)
    }

    /// Takes a lease that ends with a process, and after that time at the latest.
    ///
    /// # Errors
    /// [`TooMany`].
    pub fn keep(
        &mut self,
        process: (u32, u64),
        length: Duration,
        reason: &str,
        now: Moment,
    ) -> Result<String, TooMany> {
        self.add("keep-alive", Some(process), length, reason, now)
    }

    fn add(
        &mut self,
        source: &str,
        process: Option<(u32, u64)>,
        length: Duration,
        reason: &str,
        now: Moment,
    ) -> Result<String, TooMany> {
        self.expire(now);
        if self.claims.iter().filter(|claim| claim.is_local()).count() >= LOCAL_LEASES {
            return Err(TooMany);
        }
        self.taken += 1;
        let id = format!("h{}", self.taken);
        self.claims.push(Claim {
            id: id.clone(),
            source: source.to_owned(),
            reason: reason.chars().filter(|c| !c.is_control()).take(200).collect(),
            ends: now.plus(length),
            process,
        });
        Ok(id)
    }

    /// Drops leases whose process has ended; says why one of them was taken.
    pub fn drop_ended(&mut self, is_there: impl Fn(u32, u64) -> bool) -> Option<String> {
        let has_ended = |claim: &Claim| claim.process.is_some_and(|(pid, started)| !is_there(pid, started));
        let reason = self.claims.iter().find(|claim| has_ended(claim)).map(|claim| claim.reason.clone());
        self.claims.retain(|claim| !has_ended(claim));
        reason
    }

    /// Gives back a lease taken on the machine, or all of them; says how many.
    pub fn release(&mut self, id: Option<&str>) -> usize {
        let before = self.claims.len();
        self.claims.retain(|claim| !claim.is_local() || id.is_some_and(|id| id != claim.id));
        before - self.claims.len()
    }

    /// Takes over the holds that the control plane names; those it names no more are over.
    pub fn set_holds(&mut self, holds: &[VmHold], now: Moment) {
        self.claims.retain(|claim| claim.source != "api");
        self.claims.extend(holds.iter().map(|hold| Claim {
            id: hold.id.clone(),
            source: "api".to_owned(),
            reason: hold.reason.clone(),
            ends: now.plus(Duration::from_secs(hold.expires_in_secs)),
            process: None,
        }));
    }

    /// The leases in force, the longest first.
    pub fn in_force(&mut self, now: Moment) -> Vec<Lease> {
        self.expire(now);
        self.claims.sort_by(|one, other| other.ends.cmp(&one.ends).then_with(|| one.id.cmp(&other.id)));
        self.claims
            .iter()
            .map(|claim| Lease {
                id: claim.id.clone(),
                source: claim.source.clone(),
                reason: claim.reason.clone(),
                // Rounded up: a lease in force has at least a second left.
                expires_in_secs: u64::try_from(claim.ends.since(now).as_millis().div_ceil(1000))
                    .unwrap_or(u64::MAX),
            })
            .collect()
    }

    /// Moves all ends from one boot's moments to another's: what was left then is left now. No process outlives a boot.
    pub fn rebase(&mut self, then: Moment, now: Moment) {
        self.claims.retain(|claim| claim.process.is_none());
        for claim in &mut self.claims {
            claim.ends = now.plus(claim.ends.since(then));
        }
    }

    fn expire(&mut self, now: Moment) {
        self.claims.retain(|claim| claim.ends > now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn leases_end_by_themselves_or_by_release_and_api_holds_only_through_the_api() {
        let mut leases = Leases::default();
        let first = leases.take(Duration::from_secs(60), "build\u{7}", Moment(0)).unwrap();
        leases.take(Duration::from_secs(30), "", Moment(0)).unwrap();
        let hold = VmHold { id: "a1".into(), reason: "demo".into(), expires_in_secs: 100 };
        leases.set_holds(std::slice::from_ref(&hold), Moment(0));
        let names = |leases: &mut Leases, now| {
            leases
                .in_force(Moment(now))
                .into_iter()
                .map(|lease| (lease.id, lease.expires_in_secs))
                .collect::<Vec<_>>()
        };
        assert_eq!(names(&mut leases, 0), [("a1".into(), 100), ("h1".into(), 60), ("h2".into(), 30)]);
        assert_eq!(leases.in_force(Moment(0))[1].reason, "build");
        assert_eq!(names(&mut leases, 59_999), [("a1".into(), 41), ("h1".into(), 1)]);
        assert_eq!(leases.release(Some(&first)), 1);
        assert_eq!(leases.release(None), 0);
        assert_eq!(names(&mut leases, 60_000), [("a1".into(), 40)]);
        leases.set_holds(&[], Moment(60_000));
        assert_eq!(names(&mut leases, 60_000), []);
    }

    #[test]
    fn a_process_that_is_kept_alive_holds_until_it_ends_or_its_time_is_over_and_over_no_boot() {
        let hour = Duration::from_secs(3600);
        let mut leases = Leases::default();
        leases.keep((40, 7), hour, "train (40) runs", Moment(0)).unwrap();
        assert_eq!(leases.drop_ended(|pid, started| (pid, started) == (40, 7)), None);
        assert_eq!(leases.in_force(Moment(0))[0].source, "keep-alive");
        let mut later = leases.clone();
        assert_eq!(later.in_force(Moment(3_600_000)), []);
        let mut rebooted = leases.clone();
        rebooted.rebase(Moment(0), Moment(0));
        assert_eq!(rebooted.in_force(Moment(0)), []);
        assert_eq!(
            leases.drop_ended(|_, started| started == 8),
            Some("train (40) runs".into()),
            "another has its id"
        );
        assert_eq!(leases.in_force(Moment(0)), []);
    }

    #[test]
    fn the_machine_takes_a_bounded_number() {
        let mut leases = Leases::default();
        for _ in 0..LOCAL_LEASES {
            leases.take(Duration::from_secs(60), "", Moment(0)).unwrap();
        }
        assert_eq!(leases.take(Duration::from_secs(60), "", Moment(0)), Err(TooMany));
        assert!(leases.take(Duration::from_secs(60), "", Moment(60_000)).is_ok());
    }
}
