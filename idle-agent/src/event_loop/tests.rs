//! What the loop keeps on disk.

use super::*;

#[test]
fn an_older_delivery_that_is_answered_last_takes_nothing_back() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("snapshots.json");
    for asked in [1, 3, 2] {
        note_taken(&file, asked).unwrap();
    }
    assert_eq!(atomic_file::read_json::<u64>(&file), Some(3));
}
