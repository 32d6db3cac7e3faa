//! Whether a restore gets on: by bytes and files that came back, and by nothing that it says. Pure.
//!
//! A restore has no limit of its own, so a boot that restores goes on for as long as this says that it moves.

use ebbtide_api::backups::BackupProgress;

/// How far one attempt has come.
#[derive(Debug, Default)]
pub struct Furthest {
    phase: String,
    bytes: u64,
    files: u64,
}

impl Furthest {
    /// Whether this is further than all before it. A phase begins once it has done something.
    pub fn moved(&mut self, progress: &BackupProgress) -> bool {
        if self.phase != progress.phase {
            *self = Self { phase: progress.phase.clone(), ..Self::default() };
        }
        let moved = progress.bytes_done > self.bytes || progress.files_done > self.files;
        self.bytes = self.bytes.max(progress.bytes_done);
        self.files = self.files.max(progress.files_done);
        moved
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_bytes_and_files_that_came_back_are_progress() {
        let table = [
            ("scan", 0, 0, false),
            ("restore", 0, 0, false),
            ("restore", 0, 0, false),
            ("restore", 1, 0, true),
            ("restore", 1, 0, false),
            ("restore", 0, 0, false),
            ("restore", 1, 0, false),
            ("restore", 2, 0, true),
            ("verify", 0, 0, false),
            ("verify", 0, 1, true),
            ("verify", 0, 1, false),
            ("verify", 9, 1, true),
        ];
        let mut furthest = Furthest::default();
        for (phase, bytes_done, files_done, expect) in table {
            let phase = phase.to_owned();
            let progress = BackupProgress { phase, bytes_done, bytes_total: Some(9), files_done, rate: 1 };
            assert_eq!(furthest.moved(&progress), expect, "{progress:?}");
        }
    }
}
