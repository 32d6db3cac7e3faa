//! The codes of the history: none is listed that nothing tells.

use super::*;
use std::path::Path;

#[test]
fn every_code_that_is_listed_is_told_somewhere() {
    let rooms = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/lifecycle");
    let files = std::fs::read_dir(rooms).unwrap().map(|entry| entry.unwrap().path());
    let sources: String = files
        .filter(|path| path.is_file() && !path.ends_with("tests.rs"))
        .map(|path| std::fs::read_to_string(path).unwrap())
        .collect();
    for code in EventCode::ALL {
        // Failures are told by the names that they have.
        let is_failure = FailureCode::ALL.iter().any(|failure| failure.as_str() == code.as_str());
        let is_told = sources.contains(&format!("EventCode::{code:?},"));
        assert!(is_failure || is_told, "nothing tells {code}");
    }
}
