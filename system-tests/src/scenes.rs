//! Scenes of real programs in machines, each a script that knows when its work goes on and when it is over: what it says
//! to the recorder are the labels by which the idle verdict is measured (`ebb-record`, `ebb-idle-report`).
//!
//! Durations are scaled: a minute here stands for half an hour. A label must follow from the script alone; the engine's
//! own opinion is never asked.

mod claude;
mod jobs;
mod others;
mod people;
mod programs;
mod record;
mod stage;

pub use record::{Wishes, record};
use stage::Stage;

use anyhow::Result;
use serde_json::{Value, json};

/// One scene.
#[derive(Debug, Clone, Copy)]
struct Scene {
    /// Names the trace.
    name: &'static str,
    /// Why the labels are what they are.
    argument: &'static str,
    /// Whose versions matter.
    programs: &'static [&'static str],
    /// What happens.
    play: fn(&Stage<'_>) -> Result<()>,
}

/// Durations of the scaled world. An idle machine stays: the scene decides when it ends.
fn policy() -> Value {
    json!({
        "heartbeat": "3s", "poll": "1s", "retry_base": "1s", "retry_cap": "2s", "gone_after_create": "3s",
        "idle_timeout": "20s", "unknown_grace": "20s", "agent_silence": "60s", "background": "2m",
        "waiting_for_human": "60s", "snapshot_every": "1h", "use_paid_hour": true,
    })
}

fn all() -> impl Iterator<Item = Scene> {
    [claude::SCENES, others::SCENES, jobs::SCENES, people::SCENES].into_iter().flatten().copied()
}

#[cfg(test)]
mod tests {
    use super::all;
    use crate::{idle_report, place};
    use std::collections::BTreeMap;

    #[test]
    fn every_recording_says_of_itself_what_its_scene_does() {
        let recorded =
            idle_report::case::read_all(&place::root().join("system-tests/traces/recorded")).unwrap();
        assert!(!recorded.is_empty());
        let scenes: BTreeMap<&str, &str> = all().map(|scene| (scene.name, scene.argument)).collect();
        for case in recorded {
            assert_eq!(scenes.get(&*case.name), Some(&&*case.argument), "{}", case.name);
        }
    }
}
