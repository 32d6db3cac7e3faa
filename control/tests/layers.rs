//! Who may use whom within `control`: no circle of files, what is stored knows nothing of what decides, and one file alone
//! changes the phase.

#[path = "support/file_circles.rs"]
mod finder;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

fn sources() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

/// The code of every file below a folder of the sources, without comments and tests.
fn code_of(folders: &[&str]) -> BTreeMap<String, String> {
    let mut files = BTreeMap::new();
    finder::modules(&sources(), &[], &mut files);
    let within =
        |module: &finder::Module| module.first().is_some_and(|first| folders.contains(&first.as_str()));
    let files = files.into_iter().filter(|(module, _)| within(module));
    files.map(|(module, text)| (module.join("::"), finder::code(&text))).collect()
}

#[test]
fn no_file_depends_on_itself_by_way_of_others() {
    let found = finder::circles(&finder::arrows_of(&sources()));
    assert!(found.is_empty(), "arrows that are part of a circle:\n{}", found.join("\n"));
}

#[test]
fn what_is_stored_knows_nothing_of_what_decides_or_acts() {
    let above = ["lifecycle", "driver", "executor", "view", "sweep"];
    for (from, to) in finder::arrows_of(&sources()) {
        let is_record = from.first().is_some_and(|first| first == "record");
        let up = to.iter().find(|to| to.first().is_some_and(|first| above.contains(&first.as_str())));
        assert!(!is_record || up.is_none(), "{from:?} uses {up:?}");
    }
}

#[test]
fn the_phase_is_changed_in_one_file() {
    let files = code_of(&["lifecycle", "driver", "executor", "record", "sweep", "view"]);
    let writers = files.iter().filter(|(_, code)| code.contains("record.phase = "));
    let writers: Vec<&String> = writers.map(|(module, _)| module).collect();
    assert_eq!(writers, ["lifecycle::transitions"]);
}

/// The lint `wildcard_enum_match_arm` sees enums, but not pairs of them.
#[test]
fn no_arm_of_the_lifecycle_and_the_record_catches_all() {
    for (module, code) in code_of(&["lifecycle", "record"]) {
        assert!(
            !code.contains(" _ => ") && !code.contains(" _ if "),
            "{module} has an arm for whatever else"
        );
    }
}
