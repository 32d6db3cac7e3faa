//! Deliberate defects in `control`, each with the name of what must catch it: proof that the tests can fail.
//!
//! The defects are made in a copy, never in the tree that is worked on. A defect whose text is not found exactly once
//! is an error of this table, as is one that does not compile: neither counts as caught.

mod defects;
mod run;

pub use defects::DEFECTS;
pub use run::{Bench, Verdict};

/// What must notice a defect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Catcher {
    /// A unit test of `control`, by its whole name.
    Test(&'static str),
    /// The simulation, by the promise that it finds broken.
    Walks(&'static str),
}

impl Catcher {
    /// Its name.
    pub fn name(self) -> String {
        match self {
            Self::Test(name) => name.to_owned(),
            Self::Walks(promise) => format!("simulation: {promise}"),
        }
    }
}

/// One deliberate defect.
#[derive(Debug, Clone, Copy)]
pub struct Defect {
    /// What is wrong with it, in a few words.
    pub name: &'static str,
    /// Below `control/src`.
    pub file: &'static str,
    /// Text that occurs there exactly once.
    pub old: &'static str,
    /// What takes its place.
    pub new: &'static str,
    pub caught_by: Catcher,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Promise;
    use std::collections::BTreeSet;

    #[test]
    fn every_defect_can_be_made_in_the_tree_as_it_is() {
        let source = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../control/src");
        for defect in DEFECTS {
            let text = std::fs::read_to_string(source.join(defect.file)).unwrap();
            assert_eq!(text.matches(defect.old).count(), 1, "{}", defect.name);
            assert_ne!(defect.old, defect.new, "{}", defect.name);
        }
        let names: BTreeSet<&str> = DEFECTS.iter().map(|defect| defect.name).collect();
        assert_eq!(names.len(), DEFECTS.len());
        assert!(names.len() >= 20);
    }

    #[test]
    fn the_promises_that_walks_must_find_broken_exist() {
        for defect in DEFECTS {
            if let Catcher::Walks(promise) = defect.caught_by {
                assert!(Promise::ALL.iter().any(|known| known.as_str() == promise), "{promise}");
            }
        }
    }
}
