//! What a reader of a repository is shown: sets that were written down when snapshots were verified. Pure.
//!
//! The object enters every index and snapshot that arrives in a *ledger*. A verified snapshot has a *set*: the indexes that
//! its receipt named, and those of the set that it stands on. A *view* is a union of such sets, so that no listing of
//! storage and no clock can change it, and what nobody verified is in none of them, however much there is of it. Packs are
//! shown to everybody: nothing reads one but through an index. See docs/decisions/0008.
//!
//! Sets hold *places*, not objects: an index that replaces another takes its place in all of them at once. What the owner
//! wrote is *shared*, in every view. An owner's prune may keep one branch's index as the only one that names another's
//! blob; so before an index goes by the owner's hand all that are in a set become shared.

use super::Kind;
use crate::record::Record;
use ebbtide_api::Generation;
use ebbtide_api::vm::Receipt;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// How long rows are kept that nothing needs but a deletion that may be undone, in milliseconds: 60 days.
const KEPT_MS: i64 = 60 * 24 * 3_600_000;

/// An index, a snapshot or an owner's lock that is to be entered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewEntry {
    /// What it is.
    pub kind: Kind,
    /// SHA-256 of its content, hex; its name in storage.
    pub name: String,
    /// Its size in bytes.
    pub size: u64,
    /// The machine that wrote it; `None` for the owner.
    pub by: Option<Generation>,
}

/// A machine that never was.
const NOBODY: Generation = Generation(u32::MAX);

impl NewEntry {
    /// An object that its owner brought back. Where the ledger has forgotten it nobody knows whose it was, and what nobody
    /// verified is shown to nobody: only the owner's full view has it.
    pub fn brought_back(kind: Kind, name: String, size: u64) -> Self {
        Self { kind, name, size, by: Some(NOBODY) }
    }

    /// Whether it is in every view from the start: an index that the owner wrote.
    pub fn is_shared(&self) -> bool {
        self.by.is_none() && self.kind == Kind::Index
    }
}

/// An object in the ledger.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its number: later ones are higher.
    pub id: u32,
    /// What was entered.
    pub object: NewEntry,
    /// The place that it takes in sets: its own number, or the place of the index that it replaced.
    pub place: u32,
    /// When it was entered, in milliseconds since 1970 by the control plane's clock.
    pub at_ms: i64,
    /// Whether it is in every view.
    pub shared: bool,
    /// When it was deleted, where it was; it can come back.
    pub gone_ms: Option<i64>,
}

/// All entries, in the order of their numbers, and the sets of snapshots: places in ascending order.
#[derive(Debug, Default)]
pub struct Ledger {
    /// The entries.
    pub entries: Vec<Entry>,
    /// Sets by the snapshot's name; one that is in no list of the record counts for nothing.
    pub sets: BTreeMap<String, Vec<u32>>,
}

/// Who looks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reader {
    /// The living machine, at all that it may build on.
    Machine,
    /// As of the newest verified snapshot.
    Latest,
    /// At all verified snapshots together.
    Verified,
    /// As of that snapshot.
    Snapshot(String),
}

/// What a reader is shown.
#[derive(Debug)]
pub struct View<'a> {
    ledger: &'a Ledger,
    places: BTreeSet<u32>,
    snapshots: BTreeSet<&'a str>,
}

impl View<'_> {
    /// The objects of a kind. Of locks the owner's alone: a machine's stops nobody.
    pub fn list(&self, kind: Kind) -> Vec<&NewEntry> {
        let shows = |entry: &&Entry| match kind {
            Kind::Index => entry.shared || self.places.contains(&entry.place),
            Kind::Snapshots => self.snapshots.contains(entry.object.name.as_str()),
            Kind::Locks => entry.object.by.is_none(),
            Kind::Data | Kind::Keys => false,
        };
        self.ledger.live(kind).filter(shows).map(|entry| &entry.object).collect()
    }
}

impl Ledger {
    /// What is shown; `None` where there is no such snapshot for that reader. A machine that asks may look as of a
    /// snapshot of its own before it is verified: that is how it is proved.
    pub fn view<'a>(
        &'a self,
        record: &'a Record,
        reader: &'a Reader,
        machine: Option<Generation>,
    ) -> Option<View<'a>> {
        match reader {
            Reader::Machine => Some(self.of_machine(record)),
            Reader::Verified => Some(self.of_all(record)),
            Reader::Latest => {
                let mut newest = record.snapshots.iter().map(|known| known.snapshot.as_str());
                newest.find_map(|name| self.as_of(record, name))
            }
            Reader::Snapshot(name) if is_verified(record, name) => self.as_of(record, name),
            Reader::Snapshot(name) => {
                let is_own = machine == Some(record.generation) && self.is_own(record, name);
                // What an owner writes stands on all that is proved.
                let is_owners = || self.snapshot(name).is_some_and(|found| found.object.by.is_none());
                if is_own { Some(self.of_machine(record)) } else { is_owners().then(|| self.of_all(record)) }
            }
        }
    }

    /// What its snapshot stands on, and what it has written itself, proved or not.
    fn of_machine<'a>(&'a self, record: &'a Record) -> View<'a> {
        let own = |kind| self.live(kind).filter(|entry| entry.object.by == Some(record.generation));
        let places = self.set(base(record)).chain(own(Kind::Index).map(|entry| entry.place)).collect();
        let mut view = self.seen(record, places);
        view.snapshots.extend(own(Kind::Snapshots).map(|entry| entry.object.name.as_str()));
        view
    }

    fn as_of<'a>(&'a self, record: &'a Record, name: &'a str) -> Option<View<'a>> {
        self.snapshot(name)?;
        let mut view = self.seen(record, self.sets.get(name)?.iter().copied().collect());
        view.snapshots.insert(name);
        Some(view)
    }

    /// With what the owner wrote, and what a machine was told to remove: whoever removes must see all that is needed.
    fn of_all<'a>(&'a self, record: &'a Record) -> View<'a> {
        let places = proved(record).flat_map(|name| self.set(Some(name))).collect();
        let mut view = self.seen(record, places);
        let owners = self.live(Kind::Snapshots).filter(|entry| entry.object.by.is_none());
        view.snapshots.extend(owners.map(|entry| entry.object.name.as_str()));
        view.snapshots.extend(verified(record));
        view.snapshots.extend(record.prune.iter().flat_map(|prune| &prune.orphans).map(String::as_str));
        view
    }

    /// With every verified snapshot that can be read through these places.
    fn seen<'a>(&'a self, record: &'a Record, places: BTreeSet<u32>) -> View<'a> {
        let unshared: BTreeSet<u32> =
            self.live(Kind::Index).filter(|entry| !entry.shared).map(|entry| entry.place).collect();
        let is_whole = |name: &&str| {
            let mut needed = self.set(Some(name)).filter(|place| unshared.contains(place));
            self.sets.contains_key(*name) && needed.all(|place| places.contains(&place))
        };
        let snapshots = verified(record).filter(is_whole).collect();
        View { ledger: self, places, snapshots }
    }

    /// The set of a receipt's snapshot: what the receipt names, with the set that it stands on. A machine that names
    /// nothing is an older one, or has too much to name: then all that it wrote before the snapshot counts.
    ///
    /// # Errors
    /// What the receipt names and its machine is not shown, in a sentence.
    pub fn prove(&self, record: &Record, receipt: &Receipt) -> Result<Vec<u32>, String> {
        let name = receipt.snapshot.as_str();
        if let Some(set) = self.sets.get(name).filter(|_| is_verified(record, name)) {
            return Ok(set.clone());
        }
        let snapshot = self.snapshot(name).filter(|_| self.is_own(record, name));
        let snapshot = snapshot.ok_or_else(|| format!("snapshots/{name} is not in storage"))?;
        let base = stands_on(record).find(|name| self.sets.contains_key(*name));
        let mut set: BTreeSet<u32> = self.set(base).collect();
        match &receipt.indexes {
            Some(names) => {
                let view = self.of_machine(record);
                let shown =
                    self.live(Kind::Index).filter(|one| one.shared || view.places.contains(&one.place));
                let shown: BTreeMap<&str, u32> =
                    shown.map(|entry| (entry.object.name.as_str(), entry.place)).collect();
                for index in names {
                    let place = shown.get(index.as_str());
                    set.insert(*place.ok_or_else(|| format!("index/{index} is not in storage"))?);
                }
            }
            None => {
                let own =
                    |entry: &&Entry| entry.object.by == Some(record.generation) && entry.id < snapshot.id;
                set.extend(self.live(Kind::Index).filter(own).map(|entry| entry.place));
            }
        }
        Ok(set.into_iter().collect())
    }

    /// Entries that become shared before an index goes by the owner's hand: all that are in a set.
    pub fn to_share(&self, record: &Record) -> Vec<u32> {
        let places: BTreeSet<u32> = proved(record).flat_map(|name| self.set(Some(name))).collect();
        let joins = |entry: &&Entry| !entry.shared && places.contains(&entry.place);
        let indexes = self.entries.iter().filter(|entry| entry.object.kind == Kind::Index);
        indexes.filter(joins).map(|entry| entry.id).collect()
    }

    /// Entries that can go when a new machine begins: indexes of older ones that are in no set, and what was deleted, or
    /// was never verified, long ago.
    pub fn leftovers(&self, record: &Record, now_ms: i64) -> Vec<u32> {
        let places: BTreeSet<u32> = proved(record).flat_map(|name| self.set(Some(name))).collect();
        let names: BTreeSet<&str> = proved(record).collect();
        let is_old = |at_ms: i64| at_ms < now_ms.saturating_sub(KEPT_MS);
        let is_left = |entry: &&Entry| {
            let NewEntry { kind, name, by, .. } = &entry.object;
            let of_older = by.is_some_and(|by| by != record.generation);
            let in_no_set = match kind {
                Kind::Index => of_older && !entry.shared && !places.contains(&entry.place),
                Kind::Snapshots => of_older && is_old(entry.at_ms) && !names.contains(name.as_str()),
                Kind::Data | Kind::Keys | Kind::Locks => false,
            };
            in_no_set || entry.gone_ms.is_some_and(is_old)
        };
        self.entries.iter().filter(is_left).map(|entry| entry.id).collect()
    }

    /// Snapshots that machines wrote and that are there, in the order in which they arrived.
    pub fn of_machines(&self) -> impl Iterator<Item = (&str, Generation, i64)> {
        self.live(Kind::Snapshots)
            .filter_map(|entry| Some((entry.object.name.as_str(), entry.object.by?, entry.at_ms)))
    }

    fn live(&self, kind: Kind) -> impl Iterator<Item = &Entry> {
        self.entries.iter().filter(move |entry| entry.object.kind == kind && entry.gone_ms.is_none())
    }

    fn snapshot(&self, name: &str) -> Option<&Entry> {
        self.live(Kind::Snapshots).find(|entry| entry.object.name == name)
    }

    fn is_own(&self, record: &Record, name: &str) -> bool {
        self.snapshot(name).is_some_and(|entry| entry.object.by == Some(record.generation))
    }

    fn set<'a>(&'a self, name: Option<&str>) -> impl Iterator<Item = u32> + use<'a> {
        name.and_then(|name| self.sets.get(name)).into_iter().flatten().copied()
    }
}

/// The snapshot that the living machine stands on: the one that it restored. One that restored nothing although there are
/// verified ones (it salvages an image) stands on the newest.
fn base(record: &Record) -> Option<&str> {
    let newest = || record.snapshots.iter().find(|known| known.generation < record.generation);
    record.restore.as_deref().or_else(|| newest().map(|known| known.snapshot.as_str()))
}

/// What the machine's next snapshot stands on, the first of these that has a set: its newest verified one, or its base.
fn stands_on(record: &Record) -> impl Iterator<Item = &str> {
    let all = record.snapshots.iter().chain(record.expired.iter().rev());
    let own = all.filter(|known| known.generation == record.generation);
    own.map(|known| known.snapshot.as_str()).chain(base(record))
}

/// Snapshots that are verified and there.
fn verified(record: &Record) -> impl Iterator<Item = &str> {
    record.snapshots.iter().chain(&record.expired).map(|known| known.snapshot.as_str())
}

fn is_verified(record: &Record, name: &str) -> bool {
    verified(record).any(|known| known == name)
}

/// Snapshots that were ever verified, as far as the record lists them: what one proved stays proved when it goes.
pub fn proved(record: &Record) -> impl Iterator<Item = &str> {
    verified(record).chain(record.forgotten.iter().map(|known| known.snapshot.as_str()))
}

/// Snapshots whose sets are kept when another is delivered: what was ever verified, and the one whose packs are being
/// looked for. The other may be refused, and then that one is verified.
pub fn kept(record: &Record) -> impl Iterator<Item = &str> {
    proved(record).chain(record.pending.iter().map(|pending| pending.receipt.snapshot.as_str()))
}

/// An object that was in storage before the object kept a ledger.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// What it is, and whose by its mark.
    pub object: NewEntry,
    /// When storage received it, in milliseconds since 1970.
    pub at_ms: i64,
}

/// Whether it is in the one set that all verified snapshots of that time share: what the owner wrote, and what arrived
/// before its machine's last receipt. The others are of a machine that lives, or nobody's.
///
/// Until every repository that is older than the ledger (November 2026) has been read once; then this goes, with the
/// marks in storage's metadata.
pub fn adopts(record: &Record, found: &Found) -> bool {
    found.object.by.is_none_or(|by| precedes_a_receipt(record, by, found.at_ms))
}

/// Whether a machine has proved something since then: what it wrote before, and nobody lists, is no only copy.
pub fn precedes_a_receipt(record: &Record, by: Generation, at_ms: i64) -> bool {
    let lists = record.snapshots.iter().chain(&record.expired).chain(&record.forgotten);
    let mut receipts = lists.filter(|known| known.generation == by);
    receipts.any(|known| at_ms <= known.verified_at.as_millisecond())
}

#[cfg(test)]
mod tests;
