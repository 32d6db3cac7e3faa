//! What a request for a machine has to reserve, as the record stands. The caps decide in the index whether it may.

use crate::money::quote::PriceQuote;
use crate::placement::{Placement, Shape, Start, Wish};
use crate::record::{Phase, Record};
use ebbtide_api::money::Cost;
use ebbtide_api::{Duration, Generation, Timestamp};
use serde::{Deserialize, Serialize};

/// A machine whose money is reserved. Nothing of it is known where the provider did not answer and no cap asks for a
/// price: then it starts as the last one did.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NextMachine {
    /// How it starts.
    pub start: Option<Start>,
    /// At what rates, wherever it goes.
    pub quote: Option<PriceQuote>,
}

impl NextMachine {
    /// Keeps what is known until the machine begins.
    pub(crate) fn keep(self, record: &mut Record) {
        if self.start.is_some() {
            record.next_start = self.start;
        }
        if self.quote.is_some() {
            record.money.next = self.quote;
        }
    }
}

/// What came of asking for the money of a machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reserved {
    /// It is reserved.
    Stands(NextMachine),
    /// A cap does not allow it, or nothing that would do is in stock.
    Refused(ebbtide_api::failure::Failure),
}

/// What a request for a machine, or for more of one, has to reserve.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReservationRequest {
    /// Number of the machine that a wake or a retry would start; `None` where none would be.
    pub next: Option<Generation>,
    /// Number of the machine that there is, or will be without being asked for again.
    pub current: Option<Generation>,
    /// Where the last machine was to go.
    pub placements: Vec<Placement>,
    /// What the owner wishes for.
    pub wish: Wish,
    /// What the next machine has to have room for.
    pub room: Room,
    /// Rates of the machine that there is: of its place, once it has one.
    pub quote: Option<PriceQuote>,
    /// What that one reserves.
    pub worst_case: Option<Cost>,
    /// Its lifetime.
    pub lifetime: Duration,
    /// Since when the lifetime counts.
    pub woke_at: Timestamp,
}

/// What a machine has to have room for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Room {
    /// The size of the last one, where that is known.
    pub shape: Option<Shape>,
    /// Disk for what the backup holds, in GB; 0 before the first backup.
    pub disk_gb: u64,
    /// The last one held that.
    pub was_held: bool,
    /// It is made from a rescue image, which fits no smaller disk than it was taken from.
    pub salvages: bool,
}

impl Room {
    /// What the next machine of a workspace has to have room for, where this snapshot is to be restored.
    fn of(record: &Record, chosen: Option<&str>) -> Self {
        let chosen = chosen.or(record.restore_snapshot_chosen.as_deref());
        let restored = match chosen {
            Some(chosen) => record.snapshots.iter().find(|known| known.snapshot == chosen),
            None => record.snapshots.first(),
        };
        let disk_gb = restored.map_or(0, |snapshot| disk_for(snapshot.bytes));
        let salvages = record.rescue_image.is_some() && chosen.is_none();
        let was_held = salvages || restored.is_some_and(|snapshot| snapshot.generation == record.generation);
        Self { shape: record.spec.shape, disk_gb, was_held, salvages }
    }
}

/// The disk that a backup asks for, in GB: beside its files a tenth of them, and what the system needs.
fn disk_for(bytes: u64) -> u64 {
    const SYSTEM_GB: u64 = 5;
    bytes.saturating_add(bytes / 10).div_ceil(1_000_000_000).saturating_add(SYSTEM_GB)
}

impl ReservationRequest {
    /// That of a workspace as it stands.
    pub fn of(record: &Record, now: Timestamp) -> Self {
        Self::restoring(record, None, now)
    }

    /// The same for a wake that names the snapshot.
    pub fn restoring(record: &Record, chosen: Option<&str>, now: Timestamp) -> Self {
        let spec = &record.spec;
        let money = &record.money;
        let exists = record.phase.may_have_machine() || record.phase == Phase::Requested;
        // A drain that can be taken back starts no machine, unless a cap is why it drains.
        let ends = match &record.phase {
            Phase::Asleep | Phase::Failed { .. } | Phase::Destroying { .. } => true,
            Phase::Draining { frozen, .. } => (*frozen && !record.may_thaw(now)) || money.over_cap,
            Phase::Silent { draining, .. } => draining.is_some() && money.over_cap,
            Phase::Requested
            | Phase::Provisioning { .. }
            | Phase::Booting { .. }
            | Phase::Running
            | Phase::Rescuing { .. }
            | Phase::Deleted { .. } => false,
        };
        let placed = |quote: &PriceQuote| match money.rate() {
            Some(rate) => PriceQuote { rates: vec![rate.clone()], ..quote.clone() },
            None => quote.clone(),
        };
        Self {
            next: ends.then(|| record.generation.next()),
            current: exists.then_some(record.generation),
            placements: std::iter::once(&spec.placement).chain(&spec.fallbacks).cloned().collect(),
            wish: spec.wish(),
            room: Room::of(record, chosen),
            quote: money.quote.as_ref().map(placed),
            worst_case: record.worst_case.clone(),
            lifetime: spec.lifetime,
            woke_at: record.woke_at,
        }
    }
}
