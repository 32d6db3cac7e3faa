//! One directory that a backup includes: where its files are, and as what the snapshot shows them.

use std::path::{Path, PathBuf};

/// One include: its place in the snapshot and where its files are read.
#[derive(Debug, Clone)]
pub struct Include {
    /// Its path in the snapshot.
    pub shown: PathBuf,
    /// Where it is read.
    pub real: PathBuf,
}

impl Include {
    /// As what the snapshot shows a path below it.
    pub fn show(&self, real: &Path) -> PathBuf {
        match real.strip_prefix(&self.real) {
            Ok(rest) if rest.as_os_str().is_empty() => self.shown.clone(),
            Ok(rest) => self.shown.join(rest),
            Err(_) => real.to_path_buf(),
        }
    }
}

/// Places an absolute path below `root`.
pub fn join(root: &Path, absolute: &Path) -> PathBuf {
    absolute.strip_prefix("/").map_or_else(|_| root.join(absolute), |relative| root.join(relative))
}
