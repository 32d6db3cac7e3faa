//! Random walks through the lifecycle: the real decisions and the real provider clients against the local cloud's own
//! model, with faults, crashes and late alarms, in virtual time.
//!
//! Every walk is determined by its seed. Promises 1 and 2 are asserted after every step (`check`), not at the end
//! alone; a broken one ends the walk with its trace. Nothing here knows how `decide` reaches a decision.

mod cloud;
mod machine;
mod object;
mod promises;
mod walk;

pub use walk::{Report, Violation, walk};

use ebbtide_api::Timestamp;

/// The virtual time at which walks begin, in milliseconds.
const EPOCH_MS: i64 = 1_800_000_000_000;

fn at(ms: i64) -> Timestamp {
    Timestamp::from_millisecond(EPOCH_MS + ms).expect("virtual time is in range")
}

/// How likely things go wrong, in thousandths.
#[derive(Debug, Clone, Copy)]
pub struct Odds {
    /// A crash before or after an effect, per effect.
    pub crash: u32,
    /// An alarm that fires late, per alarm.
    pub late_alarm: u32,
    /// A spell of provider trouble, per walk.
    pub trouble: u32,
    /// A machine that dies, hangs or is cut off, per machine.
    pub bad_machine: u32,
}

impl Default for Odds {
    fn default() -> Self {
        Self { crash: 40, late_alarm: 20, trouble: 500, bad_machine: 300 }
    }
}
