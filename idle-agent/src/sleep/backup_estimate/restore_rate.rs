//! How fast the last restore went, kept on disk: by it a machine says how long the next one would take.

use crate::os::atomic_file;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// Restores of fewer bytes say nothing about the rate.
const TELLING: u64 = 4_000_000;

/// A restore that was measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct RestoreRate {
    bytes_total: u64,
    duration_ms: u64,
}

impl RestoreRate {
    /// Writes down how long a restore took, as its process told it.
    pub fn note(outcome: &serde_json::Value, state: &Path) {
        let Ok(rate) = Self::deserialize(outcome) else { return };
        if let Err(error) = atomic_file::write_json(&file(state), &rate, 0o600) {
            tracing::warn!(%error, "cannot note how long the restore took; what is said of the next is a guess");
        }
    }

    /// The bytes a second of the restore that this machine began with, where it says anything.
    pub fn read(state: &Path) -> Option<u64> {
        let rate: Self = atomic_file::read_json(&file(state))?;
        let telling = rate.bytes_total >= TELLING;
        telling.then(|| (rate.bytes_total.saturating_mul(1000) / rate.duration_ms.max(1)).max(1))
    }
}

fn file(state: &Path) -> PathBuf {
    state.join("restored.json")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_restore_says_how_fast_it_was_unless_it_was_tiny() {
        let state = tempfile::tempdir().unwrap();
        assert_eq!(RestoreRate::read(state.path()), None);
        let check = |bytes: u64, millis: u64, expect: Option<u64>| {
            let outcome =
                serde_json::json!({ "snapshot": "ab", "bytes_total": bytes, "duration_ms": millis });
            RestoreRate::note(&outcome, state.path());
            assert_eq!(RestoreRate::read(state.path()), expect);
        };
        check(3_999_999, 10, None);
        check(40_000_000, 2_000, Some(20_000_000));
        check(u64::MAX, 0, Some(u64::MAX));
        check(4_000_000, u64::MAX, Some(1));
    }
}
