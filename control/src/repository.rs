//! What the control plane knows of a workspace's restic repository without looking into storage: how much it holds, what
//! a machine may still add to it, and ([`view`]) what a reader is shown. Pure.
//!
//! Bytes and objects are counted before an upload, so that uploads at the same time cannot pass a bound together. A machine
//! that was taken over may add what it likes within these bounds; it must never be able to add what ends the reading.

pub mod view;

use crate::policy::Policy;
use ebbtide_api::{Generation, Timestamp};
use serde::{Deserialize, Serialize};

/// The directories of a repository.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Packs: what was backed up.
    Data,
    /// Keys, wrapped by the password.
    Keys,
    /// Which blob is in which pack.
    Index,
    /// What was backed up when.
    Snapshots,
    /// Who works on the repository.
    Locks,
}

impl Kind {
    /// As it is in paths.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Data => "data",
            Self::Keys => "keys",
            Self::Index => "index",
            Self::Snapshots => "snapshots",
            Self::Locks => "locks",
        }
    }

    /// Reads it.
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Data, Self::Keys, Self::Index, Self::Snapshots, Self::Locks]
            .into_iter()
            .find(|kind| kind.as_str() == text)
    }
}

/// Most snapshots that one machine adds, where its lifetime asks for no more.
const SNAPSHOTS_LEAST: u64 = 2_000;
/// For each `snapshot_every` of the longest lifetime: one on the timer, one that a person asks for, one that is repeated.
const SNAPSHOTS_EACH: u64 = 3;
/// A backup writes one index, and another every five minutes while it uploads.
const INDEXES_PER_SNAPSHOT: u64 = 2;
/// Besides full packs a backup leaves the last one of files and the last one of trees, for each of its passes.
const SMALL_PACKS_PER_SNAPSHOT: u64 = 6;
/// What a full pack of the idle-agent's holds.
const PACK_BYTES: u64 = 8 << 20;
/// Packs are written down ahead of their arrival, so that a row is written for so many of them and not for each.
pub const PACKS_AHEAD: u64 = 32;
/// restic tries so many keys at most before it gives up.
const KEYS_MOST: u64 = 20;

/// How many objects of a kind one machine may add. `None`: it adds none.
pub fn most_added(kind: Kind, policy: &Policy) -> Option<u64> {
    let every = policy.snapshot_every.as_secs().max(1);
    let timed = policy.lifetime_ceiling.as_secs().div_ceil(every).saturating_mul(SNAPSHOTS_EACH);
    let snapshots = timed.max(SNAPSHOTS_LEAST);
    match kind {
        Kind::Snapshots => Some(snapshots),
        Kind::Index => Some(snapshots.saturating_mul(INDEXES_PER_SNAPSHOT)),
        Kind::Data => {
            let full = policy.repository_quota_bytes / PACK_BYTES;
            Some(full.saturating_add(snapshots.saturating_mul(SMALL_PACKS_PER_SNAPSHOT)))
        }
        Kind::Keys => Some(KEYS_MOST),
        // The control plane holds the repository's lock for it.
        Kind::Locks => None,
    }
}

/// How full a repository is, and what its newest machine has added. Its JSON is stored.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Stock {
    /// Bytes in it, uploads under way included.
    pub bytes: u64,
    /// When they were last counted in storage.
    pub counted_at: Option<Timestamp>,
    /// Whether what was there before the object kept a ledger has been entered ([`view::adopt`]).
    pub adopted: bool,
    /// Of which machine the counts below are.
    pub generation: Generation,
    /// Packs that it has added.
    pub data: u64,
    /// Index objects.
    pub indexes: u64,
    /// Snapshots.
    pub snapshots: u64,
    /// Keys.
    pub keys: u64,
}

/// Whether a machine may add an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Admission {
    /// It may; the object is counted.
    Fits,
    /// There is no room for its bytes.
    NoRoom,
    /// This machine has added as many of the kind as one may.
    TooMany {
        /// As many.
        most: u64,
    },
    /// Machines add none of this kind.
    NotForMachines,
}

impl Stock {
    /// Of a workspace that begins: there is nothing to adopt.
    pub fn of_new() -> Self {
        Self { adopted: true, ..Self::default() }
    }

    /// Counts an object that a machine is about to add, where it may. `limit` is in bytes.
    pub fn admit(
        &mut self,
        generation: Generation,
        kind: Kind,
        bytes: u64,
        limit: u64,
        policy: &Policy,
    ) -> Admission {
        let Some(most) = most_added(kind, policy) else { return Admission::NotForMachines };
        if generation != self.generation {
            *self = Self { generation, data: 0, indexes: 0, snapshots: 0, keys: 0, ..self.clone() };
        }
        let total = self.bytes.saturating_add(bytes);
        if total > limit {
            return Admission::NoRoom;
        }
        let Some(added) = self.added(kind).filter(|added| **added < most) else {
            return Admission::TooMany { most };
        };
        *added = added.saturating_add(1);
        self.bytes = total;
        Admission::Fits
    }

    /// An object that was admitted is not there.
    pub fn give_back(&mut self, generation: Generation, kind: Kind, bytes: u64) {
        self.bytes = self.bytes.saturating_sub(bytes);
        if generation == self.generation
            && let Some(added) = self.added(kind)
        {
            *added = added.saturating_sub(1);
        }
    }

    /// What is written down of it: more than there is. An object that is evicted forgets what it has not written, and then
    /// takes too much for stored rather than too little; the next count corrects it.
    #[must_use]
    pub fn ahead(&self) -> Self {
        Self {
            bytes: self.bytes.saturating_add(PACKS_AHEAD * PACK_BYTES),
            data: self.data.saturating_add(PACKS_AHEAD),
            ..self.clone()
        }
    }

    /// Whether what is written down says as much already.
    pub fn is_covered_by(&self, written: &Self) -> bool {
        let alike = Self { bytes: self.bytes, data: self.data, ..written.clone() };
        *self == alike && self.bytes <= written.bytes && self.data <= written.data
    }

    fn added(&mut self, kind: Kind) -> Option<&mut u64> {
        match kind {
            Kind::Data => Some(&mut self.data),
            Kind::Index => Some(&mut self.indexes),
            Kind::Snapshots => Some(&mut self.snapshots),
            Kind::Keys => Some(&mut self.keys),
            Kind::Locks => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ebbtide_api::Duration;

    const FIRST: Generation = Generation(1);

    fn admit(stock: &mut Stock, generation: Generation, kind: Kind, bytes: u64) -> Admission {
        stock.admit(generation, kind, bytes, 1_000, &Policy::default())
    }

    #[test]
    fn a_machine_of_a_week_fits_thrice_over_and_a_full_quota_of_packs_beside_it() {
        let policy = Policy::default();
        let most = |kind| most_added(kind, &policy);
        let kinds = [Kind::Snapshots, Kind::Index, Kind::Data, Kind::Keys, Kind::Locks];
        assert_eq!(kinds.map(most), [Some(2_016), Some(4_032), Some(35_937), Some(20), None]);
        let often = Policy { snapshot_every: Duration::from_mins(1), ..Policy::default() };
        assert_eq!(most_added(Kind::Snapshots, &often), Some(3 * 7 * 24 * 60));
        let seldom = Policy { snapshot_every: Duration::from_hours(24), ..Policy::default() };
        assert_eq!(most_added(Kind::Snapshots, &seldom), Some(SNAPSHOTS_LEAST));
    }

    #[test]
    fn objects_are_counted_by_kind_and_machine_however_small_they_are() {
        let mut stock = Stock::of_new();
        for _ in 0..KEYS_MOST {
            assert_eq!(admit(&mut stock, FIRST, Kind::Keys, 2), Admission::Fits);
        }
        assert_eq!(admit(&mut stock, FIRST, Kind::Keys, 2), Admission::TooMany { most: KEYS_MOST });
        assert_eq!(admit(&mut stock, FIRST, Kind::Index, 2), Admission::Fits, "another kind");
        assert_eq!(stock.bytes, 2 * (KEYS_MOST + 1), "what was refused counts for nothing");
        stock.give_back(FIRST, Kind::Keys, 2);
        assert_eq!(admit(&mut stock, FIRST, Kind::Keys, 2), Admission::Fits);
        assert_eq!(admit(&mut stock, Generation(2), Kind::Keys, 2), Admission::Fits, "the next machine");
        assert_eq!((stock.keys, stock.indexes, stock.adopted), (1, 0, true));
        // What an older machine gets back are bytes alone.
        stock.give_back(FIRST, Kind::Keys, 2);
        assert_eq!((stock.keys, stock.bytes), (1, 2 * (KEYS_MOST + 1)));
    }

    #[test]
    fn bytes_are_bounded_for_all_machines_together_and_a_machine_writes_no_lock() {
        let mut stock = Stock::of_new();
        assert_eq!(admit(&mut stock, FIRST, Kind::Data, 600), Admission::Fits);
        assert_eq!(admit(&mut stock, Generation(2), Kind::Data, 401), Admission::NoRoom);
        assert_eq!(admit(&mut stock, Generation(2), Kind::Data, 400), Admission::Fits);
        assert_eq!(admit(&mut stock, Generation(2), Kind::Locks, 0), Admission::NotForMachines);
    }

    #[test]
    fn a_row_is_written_for_many_packs_and_one_for_each_object_of_another_kind() {
        let mut stock = Stock::of_new();
        let mut written = stock.clone();
        let mut rows = 0;
        let mut keep = |stock: &Stock| {
            if !stock.is_covered_by(&written) {
                (written, rows) = (stock.ahead(), rows + 1);
            }
            assert!(stock.bytes <= written.bytes && stock.data <= written.data);
            rows
        };
        for _ in 0..320 {
            let admission = stock.admit(FIRST, Kind::Data, PACK_BYTES, u64::MAX, &Policy::default());
            assert_eq!(admission, Admission::Fits);
            keep(&stock);
        }
        assert_eq!(keep(&stock), 10);
        stock.give_back(FIRST, Kind::Data, PACK_BYTES);
        assert_eq!(keep(&stock), 10);
        stock.admit(FIRST, Kind::Index, 2, u64::MAX, &Policy::default());
        assert_eq!(keep(&stock), 11);
    }

    #[test]
    fn what_is_stored_is_pinned_and_what_an_older_version_stored_is_read() {
        let text = r#"{"bytes":7,"counted_at":null,"adopted":true,"generation":0,"data":0,"indexes":0,"snapshots":0,"keys":0}"#;
        assert_eq!(serde_json::to_string(&Stock { bytes: 7, ..Stock::of_new() }).unwrap(), text);
        assert_eq!(serde_json::from_str::<Stock>("{}").unwrap(), Stock::default());
    }
}
