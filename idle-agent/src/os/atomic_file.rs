//! Writing small files so that a crash at any moment leaves the old content or the new one, never half of either.
//!
//! Must never leave a secret readable by others, not even for an instant: files are created with their final mode.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// Replaces `path` by `content` with the given mode; on return it is on disk.
///
/// # Errors
/// What the file system says; the old content stays then.
pub fn write(path: &Path, content: &[u8], mode: u32) -> io::Result<()> {
    let temporary = beside(path);
    let _ = fs::remove_file(&temporary);
    let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(&temporary)?;
    file.write_all(content)?;
    file.sync_all()?;
    fs::rename(&temporary, path)?;
    if let Some(directory) = path.parent() {
        File::open(directory)?.sync_all()?;
    }
    Ok(())
}

/// Replaces `path` by `value` as JSON; see [`write`].
///
/// # Errors
/// What the file system says.
pub fn write_json<T: serde::Serialize>(path: &Path, value: &T, mode: u32) -> io::Result<()> {
    write(path, &serde_json::to_vec(value).map_err(io::Error::other)?, mode)
}

/// Reads a JSON file; `None` where it does not exist or holds something else (an older agent's shape).
pub fn read_json<T: serde::de::DeserializeOwned>(path: &Path) -> Option<T> {
    read_json_or_error(path).unwrap_or_else(|error| {
        tracing::warn!(path = %path.display(), %error, "ignoring a file that cannot be understood");
        None
    })
}

/// Reads a JSON file whose absence means something else than its loss.
///
/// # Errors
/// It is there and cannot be read, or holds something else.
pub fn read_json_or_error<T: serde::de::DeserializeOwned>(path: &Path) -> io::Result<Option<T>> {
    match fs::read(path) {
        Ok(text) => serde_json::from_slice(&text).map(Some).map_err(io::Error::other),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// The name under which the new content grows.
fn beside(path: &Path) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_os_string();
    name.push(".new");
    path.with_file_name(name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn the_new_content_replaces_the_old_with_its_mode_and_a_left_over_does_not_matter() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("state.json");
        fs::write(directory.path().join("state.json.new"), "half").unwrap();
        write(&path, b"one", 0o600).unwrap();
        write_json(&path, &2, 0o600).unwrap();
        assert_eq!(read_json::<u32>(&path), Some(2));
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_torn_or_missing_file_is_no_value() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("state.json");
        assert_eq!(read_json::<u32>(&path), None);
        assert_eq!(read_json_or_error::<u32>(&path).unwrap(), None);
        fs::write(&path, "{\"half").unwrap();
        assert_eq!(read_json::<u32>(&path), None);
        assert!(read_json_or_error::<u32>(&path).is_err());
    }
}
