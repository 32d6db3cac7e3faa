//! Random walks through the lifecycle: the real decisions and the real provider clients against the local cloud's own
//! model, with faults, crashes and late alarms, in virtual time.
//!
//! Every walk is determined by its seed. The promises are asserted after every step (`invariants`), not at the end
//! alone; a broken one ends the walk, which is then shrunk to the disruptions that matter (`shrink`). Nothing here
//! knows how `decide` reaches a decision.

mod cloud;
mod faults;
mod invariants;
mod machine;
pub mod mutations;
mod object;
mod report;
mod setting;
mod shrink;
#[cfg(test)]
mod tests;
mod walk;

pub use faults::{Disruption, Kind};
pub use invariants::{Broken, Promise};
pub use report::Report;
pub use shrink::{replay_command, shrink};
pub use walk::{Outcome, Walker, latency_secs};

use ebbtide_api::Timestamp;

/// The virtual time at which walks begin, in milliseconds.
const EPOCH_MS: i64 = 1_800_000_000_000;
const MINUTE_MS: i64 = 60_000;

fn at(ms: i64) -> Timestamp {
    Timestamp::from_millisecond(EPOCH_MS + ms).expect("virtual time is in range")
}

/// How likely things go wrong, in thousandths.
#[derive(Debug, Clone, Copy)]
struct Odds {
    /// A crash at one of its places, per effect.
    crash: u32,
    /// An alarm that fires late, per alarm.
    late_alarm: u32,
    /// An alarm that never fires.
    lost_alarm: u32,
    /// Each of two spells of trouble, per walk.
    trouble: u32,
    /// A machine that dies, hangs or is cut off, per machine.
    bad_machine: u32,
}

const ODDS: Odds = Odds { crash: 30, late_alarm: 12, lost_alarm: 3, trouble: 350, bad_machine: 300 };
