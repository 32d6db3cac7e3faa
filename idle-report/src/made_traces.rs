//! The traces that scripts make, because they take hours or need what a small machine does not have.
//!
//! A scene says in its argument why its labels are right; the true end of work is where the script ends it.

mod agents;
mod beyond;
mod doubtful;
mod machines;
mod people;
mod programs;
mod watchers;

use super::case::Case;
use super::scene::Scene;

/// A scene: its name, why its labels are right, and what happens.
type Script = (&'static str, &'static str, fn(&mut Scene));

/// All of them.
pub fn all() -> Vec<Case> {
    let groups = [
        agents::SCENES,
        programs::SCENES,
        doubtful::SCENES,
        watchers::SCENES,
        machines::SCENES,
        people::SCENES,
        beyond::SCENES,
    ];
    groups
        .into_iter()
        .flatten()
        .map(|(name, argument, play)| {
            let mut scene = Scene::new(name, argument);
            play(&mut scene);
            scene.cut()
        })
        .collect()
}
