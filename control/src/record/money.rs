//! What the record of a workspace knows about the money of its current machine. The rest is in the index.

use crate::money::caps::Period;
use crate::money::quote::{PriceQuote, Rate};
use crate::placement::Placement;
use ebbtide_api::Timestamp;
use serde::{Deserialize, Serialize};

/// What the record of a workspace knows about the money of its current machine. The rest is in the index.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct MachineMoney {
    /// At what rates it was asked for.
    pub quote: Option<PriceQuote>,
    /// Rates for the machine after this one, as the request for it was reserved.
    pub next: Option<PriceQuote>,
    /// Since when the next machine waits for its reservation.
    pub reserving_since: Option<Timestamp>,
    /// Where it is, once that is known; stays when the server is gone.
    pub placement: Option<Placement>,
    /// Since when the provider bills for it.
    pub started_at: Option<Timestamp>,
    /// Until when: the last deletion that the provider accepted.
    pub ended_at: Option<Timestamp>,
    /// Kept although idle, because the hour is paid.
    pub warm: Option<Warm>,
    /// When its owner's spending was last looked at.
    pub checked_at: Option<Timestamp>,
    /// Periods whose spending its owner was warned of.
    pub warned: Vec<Period>,
    /// Whether it is drained because a cap is exceeded.
    pub over_cap: bool,
    /// When the machine before this one ended, where it did.
    pub last_ended_at: Option<Timestamp>,
    /// How long the last drain took, of this machine or the one before.
    pub last_drain_secs: Option<u64>,
}

/// An idle machine that is kept within its paid hour.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Warm {
    /// Since when it is idle.
    pub since: Timestamp,
    /// Until when it is kept.
    pub until: Timestamp,
    /// Why it counts as idle.
    pub because: String,
}

impl MachineMoney {
    /// What a gigabyte of a rescue image costs a month, for a person: `0.01309 EUR`.
    pub fn image_price(&self) -> Option<String> {
        let quote = self.quote.as_ref()?;
        Some(format!("{} {}", quote.image_gb_month?, quote.currency))
    }

    /// The rate that its machine is billed at.
    pub fn rate(&self) -> Option<&Rate> {
        self.quote.as_ref()?.rate(self.placement.as_ref()?)
    }
}
