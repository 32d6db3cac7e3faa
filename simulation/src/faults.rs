//! Chance that can be taken back: every disruption of a walk has a name (`crash-after:12`), and whether and how it
//! strikes depends on the walk's seed and that name alone.
//!
//! So one can be left out without changing the others, which is what makes a broken walk shrinkable, and a shrunk one
//! replayable by its seed and the names that are left.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

/// What can go wrong, and what people do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Something unusual about the workspace itself.
    Setting,
    /// The owner asks for something.
    Owner,
    /// A spell in which a provider or storage misbehaves.
    Trouble,
    /// The control plane answers nobody for a while.
    Outage,
    /// An alarm that fires late.
    LateAlarm,
    /// An alarm that the runtime gives up: the sweep has to notice.
    LostAlarm,
    /// The object is evicted before it has saved what it decided.
    CrashUnsaved,
    /// Evicted after saving, before the effect.
    CrashBefore,
    /// Evicted after the effect, before its outcome is saved.
    CrashAfter,
    /// An effect runs twice.
    Twice,
    /// The outcome of an effect is known late, perhaps after it was given up.
    SlowOutcome,
    /// A machine that misbehaves.
    Machine,
    /// A boot plan that fails.
    BootFails,
    /// A machine that reboots by itself.
    Reboots,
    /// Its server is deleted by somebody else.
    Vanishes,
    /// Another key tries to enrol in its place.
    Impostor,
    /// Files that cannot be read.
    Unreadable,
    /// A snapshot that names what is not in storage.
    FalseReceipt,
    /// A receipt called the last one while work goes on.
    EarlyLast,
    /// The owner takes a frozen machine back whose last backup was refused, and may put it to sleep at once.
    Mends,
    /// The answer to an effect does not come in time.
    NoAnswer,
    /// An invocation has hardly any calls left.
    FewCalls,
}

impl Kind {
    /// All of them, in the order of the table.
    pub const ALL: [Self; 22] = [
        Self::Setting,
        Self::Owner,
        Self::Trouble,
        Self::Outage,
        Self::LateAlarm,
        Self::LostAlarm,
        Self::CrashUnsaved,
        Self::CrashBefore,
        Self::CrashAfter,
        Self::Twice,
        Self::SlowOutcome,
        Self::Machine,
        Self::BootFails,
        Self::Reboots,
        Self::Vanishes,
        Self::Impostor,
        Self::Unreadable,
        Self::FalseReceipt,
        Self::EarlyLast,
        Self::Mends,
        Self::NoAnswer,
        Self::FewCalls,
    ];

    /// As it is written on the command line and in the table.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Setting => "setting",
            Self::Owner => "owner",
            Self::Trouble => "trouble",
            Self::Outage => "outage",
            Self::LateAlarm => "late-alarm",
            Self::LostAlarm => "lost-alarm",
            Self::CrashUnsaved => "crash-unsaved",
            Self::CrashBefore => "crash-before",
            Self::CrashAfter => "crash-after",
            Self::Twice => "twice",
            Self::SlowOutcome => "slow-outcome",
            Self::Machine => "machine",
            Self::BootFails => "boot-fails",
            Self::Reboots => "reboots",
            Self::Vanishes => "vanishes",
            Self::Impostor => "impostor",
            Self::Unreadable => "unreadable",
            Self::FalseReceipt => "false-receipt",
            Self::EarlyLast => "early-last",
            Self::Mends => "mends",
            Self::NoAnswer => "no-answer",
            Self::FewCalls => "few-calls",
        }
    }
}

/// The n-th occasion for a kind of disruption.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Disruption {
    pub kind: Kind,
    pub occasion: u64,
}

impl fmt::Display for Disruption {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.kind.as_str(), self.occasion)
    }
}

impl FromStr for Disruption {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let unusable = || format!("{text:?} names no disruption, as crash-after:12 does");
        let (kind, occasion) = text.split_once(':').ok_or_else(unusable)?;
        let kind = Kind::ALL.into_iter().find(|known| known.as_str() == kind).ok_or_else(unusable)?;
        Ok(Self { kind, occasion: occasion.parse().map_err(|_| unusable())? })
    }
}

/// The dice of one walk.
pub struct Dice {
    seed: u64,
    /// The only disruptions that may strike, where the walk is a shrunk one.
    only: Option<BTreeSet<Disruption>>,
    occasions: [u64; Kind::ALL.len()],
    /// What has struck, in order.
    pub struck: Vec<Disruption>,
}

impl Dice {
    pub fn new(seed: u64, only: Option<BTreeSet<Disruption>>) -> Self {
        Self { seed, only, occasions: [0; Kind::ALL.len()], struck: Vec::new() }
    }

    /// Whether the next occasion of a kind is taken, so many times in a thousand; with dice for its details.
    pub fn strike(&mut self, kind: Kind, per_mille: u32) -> Option<fastrand::Rng> {
        let slot = self.occasions.get_mut(kind as usize)?;
        let occasion = *slot;
        *slot += 1;
        let mut rng = fastrand::Rng::with_seed(mix(mix(self.seed) ^ mix(kind as u64) ^ occasion));
        if rng.u32(..1000) >= per_mille {
            return None;
        }
        let disruption = Disruption { kind, occasion };
        if self.only.as_ref().is_some_and(|only| !only.contains(&disruption)) {
            return None;
        }
        self.struck.push(disruption);
        Some(rng)
    }

    /// Dice for what is no disruption: the pace of a machine, the time between commands.
    pub fn plain(&self, stream: u64) -> fastrand::Rng {
        fastrand::Rng::with_seed(mix(mix(self.seed) ^ mix(1000 + stream)))
    }
}

/// Spreads a number over all 64 bits (the finaliser of SplitMix64).
fn mix(n: u64) -> u64 {
    let n = n.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let n = (n ^ (n >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let n = (n ^ (n >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    n ^ (n >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn leaving_one_disruption_out_changes_no_other() {
        let strikes = |only: Option<BTreeSet<Disruption>>| {
            let mut dice = Dice::new(7, only);
            for _ in 0..400 {
                dice.strike(Kind::CrashAfter, 50);
            }
            dice.struck
        };
        let all = strikes(None);
        assert!(all.len() > 5, "{all:?}");
        let without: BTreeSet<Disruption> = all.iter().copied().skip(1).collect();
        assert_eq!(strikes(Some(without.clone())), without.into_iter().collect::<Vec<_>>());
    }

    #[test]
    fn a_disruption_is_read_as_it_is_written() {
        for kind in Kind::ALL {
            let disruption = Disruption { kind, occasion: 12 };
            assert_eq!(disruption.to_string().parse(), Ok(disruption));
        }
        assert!("crash-sideways:1".parse::<Disruption>().is_err());
    }
}
