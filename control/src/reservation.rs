//! What a request for a machine has to reserve, as the record stands. The caps decide in the index whether it may.

use crate::money::quote::PriceQuote;
use crate::placement::Placement;
use crate::record::{Phase, Record};
use ebbtide_api::money::Cost;
use ebbtide_api::{Duration, Generation, Timestamp};
use serde::{Deserialize, Serialize};

/// What came of asking for the money of a machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reserved {
    /// It is reserved, at these rates where they are known.
    Stands(Option<PriceQuote>),
    /// A cap does not allow it.
    Refused(ebbtide_api::failure::Failure),
}

/// What a request for a machine, or for more of one, has to reserve.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReservationRequest {
    /// Number of the machine that a wake or a retry would start; `None` where none would be.
    pub next: Option<Generation>,
    /// Number of the machine that there is, or will be without being asked for again.
    pub current: Option<Generation>,
    /// Where the next machine may go.
    pub placements: Vec<Placement>,
    /// Rates of the machine that there is: of its place, once it has one.
    pub quote: Option<PriceQuote>,
    /// What that one reserves.
    pub worst_case: Option<Cost>,
    /// Its lifetime.
    pub lifetime: Duration,
    /// Since when the lifetime counts.
    pub woke_at: Timestamp,
}

impl ReservationRequest {
    /// That of a workspace as it stands.
    pub fn of(record: &Record, now: Timestamp) -> Self {
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
            quote: money.quote.as_ref().map(placed),
            worst_case: record.worst_case.clone(),
            lifetime: spec.lifetime,
            woke_at: record.woke_at,
        }
    }
}
