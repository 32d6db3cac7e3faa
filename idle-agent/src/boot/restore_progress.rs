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
    /// By how many bytes and files this is further than all before it. A phase begins once it has done something.
    pub fn gained(&mut self, progress: &BackupProgress) -> u64 {
        if self.phase != progress.phase {
            *self = Self { phase: progress.phase.clone(), ..Self::default() };
        }
        let bytes = progress.bytes_done.saturating_sub(self.bytes);
        let files = progress.files_done.saturating_sub(self.files);
        self.bytes = self.bytes.max(progress.bytes_done);
        self.files = self.files.max(progress.files_done);
        bytes.saturating_add(files)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_bytes_and_files_that_came_back_are_progress() {
        let table = [
            ("scan", 0, 0, 0),
            ("restore", 0, 0, 0),
            ("restore", 0, 0, 0),
            ("restore", 1, 0, 1),
            ("restore", 1, 0, 0),
            ("restore", 0, 0, 0),
            ("restore", 1, 0, 0),
            ("restore", 5, 2, 6),
            ("verify", 0, 0, 0),
            ("verify", 0, 1, 1),
            ("verify", 0, 1, 0),
            ("verify", 9, 1, 9),
        ];
        let mut furthest = Furthest::default();
        for (phase, bytes_done, files_done, expect) in table {
            let phase = phase.to_owned();
            let progress = BackupProgress { phase, bytes_done, bytes_total: Some(9), files_done, rate: 1 };
            assert_eq!(furthest.gained(&progress), expect, "{progress:?}");
        }
    }
}
