//! No two files of the Worker depend on one another in a circle: whoever reads one finds what it needs below it.

#[path = "../../control/tests/support/file_circles.rs"]
mod finder;

use std::path::Path;

#[test]
fn no_file_of_the_worker_depends_on_itself_by_way_of_others() {
    let found = finder::circles(&finder::arrows_of(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src")));
    assert!(found.is_empty(), "arrows that are part of a circle:\n{}", found.join("\n"));
}
