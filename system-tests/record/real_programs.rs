//! Scenes of real programs in machines, each a script that knows when its work goes on and when it is over: what it says
//! to the recorder are the labels by which the idle verdict is measured (`ebb-record`, `ebb-idle-report`).
//!
//! Durations are scaled, and a scene counts its spans in idle timeouts, so that it means the same at every scale (`pace`).
//! Those at full length last as long as on a machine of a user's. A label must follow from the script alone; the
//! engine's own opinion is never asked.

mod claude;
mod full_length;
mod jobs;
mod others;
mod pace;
mod people;
mod programs;
mod record;
mod stage;

pub use pace::Pace;
pub use record::{Wishes, record};
use stage::Stage;

use anyhow::Result;

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

/// All scenes of a pace.
fn all(pace: Pace) -> impl Iterator<Item = Scene> {
    let lists: &[&[Scene]] = match pace {
        Pace::Scaled { .. } => &[claude::SCENES, others::SCENES, jobs::SCENES, people::SCENES],
        Pace::FullLength { .. } => &[full_length::SCENES],
    };
    lists.iter().copied().flatten().copied()
}

#[cfg(test)]
mod tests {
    use super::{Pace, all};
    use ebbtide_idle_report as idle_report;
    use std::collections::BTreeMap;

    #[test]
    fn every_recording_says_of_itself_what_its_scene_does() {
        let recorded = idle_report::case::read_all(&idle_report::recorded()).unwrap();
        assert!(!recorded.is_empty());
        let scenes: BTreeMap<&str, &str> = [Pace::scaled(60), Pace::full_length(40 * 60)]
            .into_iter()
            .flat_map(all)
            .map(|scene| (scene.name, scene.argument))
            .collect();
        for case in recorded {
            assert_eq!(scenes.get(&*case.name), Some(&&*case.argument), "{}", case.name);
        }
    }
}
