//! Writing small files so that a crash at any moment leaves the old content or the new one, never half of either.
//!
//! A disk or a table of inodes that is full keeps nobody from noting what happens: spare files, made while there was room,
//! take the new content then and change places with the old file, which is the next spare.
//!
//! Must never leave a secret readable by others, not even for an instant: files are created with their final mode.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

/// Spare files of a directory, below it, and how much each holds: more than anything that is noted.
const SPARES: &str = "spare";
const SPARE_COUNT: usize = 8;
const SPARE_BYTES: u64 = 64 << 10;

/// Who may do what with a file.
#[derive(Debug, Clone, Copy)]
pub struct Access {
    /// Permission bits.
    pub mode: u32,
    /// Its owner, where that is not whoever writes it.
    pub uid: Option<u32>,
    /// Its group, likewise.
    pub gid: Option<u32>,
}

impl Access {
    fn apply(self, file: &File) -> io::Result<()> {
        if self.uid.is_some() || self.gid.is_some() {
            fchown(file, self.uid, self.gid)?;
        }
        file.set_permissions(fs::Permissions::from_mode(self.mode))
    }
}

/// Replaces `path` by `content` with the given mode; on return it is on disk.
///
/// # Errors
/// What the file system says; the old content stays then.
pub fn write(path: &Path, content: &[u8], mode: u32) -> io::Result<()> {
    write_for(path, content, Access { mode, uid: None, gid: None })
}

/// The same for somebody else, who can read the old content or the new at any moment.
///
/// # Errors
/// What the file system says; the old content stays then.
pub fn write_for(path: &Path, content: &[u8], access: Access) -> io::Result<()> {
    let temporary = beside(path);
    let _ = fs::remove_file(&temporary);
    let grown = grow(&temporary, content, access);
    if grown.as_ref().is_err_and(is_full) {
        let _ = fs::remove_file(&temporary);
        write_into_spare(path, content, access).or(grown)?;
    } else {
        grown?;
        fs::rename(&temporary, path)?;
    }
    if let Some(directory) = path.parent() {
        File::open(directory)?.sync_all()?;
    }
    Ok(())
}

fn grow(temporary: &Path, content: &[u8], access: Access) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(temporary)?;
    access.apply(&file)?;
    file.write_all(content)?;
    file.sync_all()
}

/// Makes spare files for what is written directly into a directory, as many as there is room for.
///
/// # Errors
/// What the file system says where there is no room for all of them.
pub fn keep_spares(directory: &Path) -> io::Result<()> {
    let spares = directory.join(SPARES);
    match fs::create_dir(&spares) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        Ok(()) | Err(_) => {}
    }
    for number in 0..SPARE_COUNT {
        let path = spares.join(number.to_string());
        let file = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(path)?;
        rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), 0, SPARE_BYTES)?;
    }
    Ok(())
}

/// Writes into a file that is there already, and lets it change places with the old one.
fn write_into_spare(path: &Path, content: &[u8], access: Access) -> io::Result<()> {
    /// A spare is for one writer.
    static WRITER: Mutex<()> = Mutex::new(());
    let _writer = super::mutex::lock(&WRITER);
    let spares = path.parent().unwrap_or(Path::new("/")).join(SPARES);
    let fits = |entry: &fs::DirEntry| entry.metadata().is_ok_and(|found| found.len() >= content.len() as u64);
    let spare = fs::read_dir(spares)?.filter_map(Result::ok).find(fits);
    let spare = spare.ok_or(io::ErrorKind::StorageFull)?.path();
    let mut file = OpenOptions::new().write(true).open(&spare)?;
    access.apply(&file)?;
    file.write_all(content)?;
    file.set_len(content.len() as u64)?;
    file.sync_all()?;
    let here = rustix::fs::CWD;
    match rustix::fs::renameat_with(here, &spare, here, path, rustix::fs::RenameFlags::EXCHANGE) {
        // What was there is the next spare: small until there is room again.
        Ok(()) => drop(keep_spares(path.parent().unwrap_or(Path::new("/")))),
        Err(rustix::io::Errno::NOENT) => fs::rename(&spare, path)?,
        Err(error) => return Err(error.into()),
    }
    Ok(())
}

fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
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

/// The name under which the new content grows: hidden, so that nothing of ours is called so itself.
fn beside(path: &Path) -> PathBuf {
    let mut name = std::ffi::OsString::from(".");
    name.push(path.file_name().unwrap_or_default());
    name.push(".new");
    path.with_file_name(name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    /// Names a file system that this test may fill.
    const SMALL_DISK: &str = "EBB_TEST_SMALL_DISK";

    /// Takes all that there is, inodes and bytes.
    fn fill(directory: &Path) {
        let fails = |number: usize| {
            File::create(directory.join(format!("file{number}")))
                .and_then(|mut file| file.write_all(&[1; 4096]))
        };
        let error = (0..100_000).find_map(|number| fails(number).err()).unwrap();
        assert!(is_full(&error), "{error}");
        let mut last = OpenOptions::new().append(true).open(directory.join("file0")).unwrap();
        while last.write_all(&[1; 4096]).is_ok() {}
    }

    mod as_root {
        use super::*;

        #[test]
        fn what_happens_is_noted_on_a_disk_that_is_full() {
            if let Some(disk) = std::env::var_os(SMALL_DISK) {
                return notes_on_a_full_disk(Path::new(&disk));
            }
            let disk = tempfile::tempdir().unwrap();
            let mount = "mount -t tmpfs -o size=2m,nr_inodes=40 none \"$0\" && exec \"$@\"";
            let name = "os::atomic_file::tests::as_root::what_happens_is_noted_on_a_disk_that_is_full";
            let mut inside = Command::new("unshare");
            inside.args(["--user", "--map-root-user", "--mount", "sh", "-c"]);
            let can = inside.arg(mount).arg(disk.path());
            if !can.arg("true").status().is_ok_and(|ended| ended.success()) {
                return crate::skip::skip("no file system can be mounted here");
            }
            let mut inside = Command::new("unshare");
            inside.args(["--user", "--map-root-user", "--mount", "sh", "-c", mount]).arg(disk.path());
            inside.arg(std::env::current_exe().unwrap()).args(["--exact", name]);
            let output = inside.env(SMALL_DISK, disk.path()).output().unwrap();
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
        }

        fn notes_on_a_full_disk(disk: &Path) {
            let state = disk.join("state");
            fs::create_dir(&state).unwrap();
            let path = state.join("boot.json");
            write(&path, b"first", 0o600).unwrap();
            keep_spares(&state).unwrap();
            keep_spares(&state).unwrap();
            fill(disk);
            for size in (0..60_000).step_by(7_000).chain([3, 1]) {
                let content = vec![b'x'; size];
                write(&path, &content, 0o640).unwrap();
                assert_eq!(fs::read(&path).unwrap(), content);
                assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o640);
            }
            write(&state.join("parked.json"), b"new", 0o600).unwrap();
            assert_eq!(fs::read(state.join("parked.json")).unwrap(), b"new");
            assert!(is_full(&write(&disk.join("elsewhere"), b"", 0o600).unwrap_err()), "there are no spares");
        }
    }

    #[test]
    fn the_new_content_replaces_the_old_with_its_mode_and_a_left_over_does_not_matter() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("state.json");
        fs::write(directory.path().join(".state.json.new"), "half").unwrap();
        write(&path, b"one", 0o600).unwrap();
        write_json(&path, &2, 0o600).unwrap();
        assert_eq!(read_json::<u32>(&path), Some(2));
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
    }

    #[test]
    fn at_any_moment_there_is_the_old_content_or_the_new_with_its_final_access() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("key");
        write(&path, b"0", 0o440).unwrap();
        std::thread::scope(|scope| {
            let writer = scope.spawn(|| {
                for number in 1..100 {
                    write(&path, number.to_string().as_bytes(), 0o440).unwrap();
                }
            });
            while !writer.is_finished() {
                let file = File::open(&path).unwrap();
                assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o440);
                assert!(file.metadata().unwrap().len() > 0);
            }
        });
        assert_eq!(fs::read(&path).unwrap(), b"99");
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
