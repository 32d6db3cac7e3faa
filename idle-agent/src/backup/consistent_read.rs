//! Reading a file that may be written to meanwhile: the snapshot gets one state of it, or its name is told.
//!
//! A file that changed meanwhile is read a second time: equal bytes prove that it stood like that between the two
//! readings (a log that only grew). A small file is read whole before any of it is handed over, and several times if need
//! be; a large one goes through once, and where the second reading differs it counts as torn, which is worth another run
//! and in the end a partial receipt. Must never hand over a mixture of two states in silence, block on a FIFO, follow a
//! link, or follow a file that grows without end.

use std::collections::HashSet;
use std::fs::{File, Metadata, OpenOptions};
use std::io::{Cursor, ErrorKind as IoErrorKind, Read, Seek as _, SeekFrom};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use rustic_core::{ErrorKind, ReadSourceOpen, RusticError, RusticResult};
use rustix::fs::OFlags;
use rustix::io::Errno;
use sha2::{Digest as _, Sha256};

use super::events::Events;
use super::warnings::PathWarnings;

/// Files up to this size are read whole before any of it is handed over.
const SMALL: u64 = 1 << 20;
/// How often a small file is read at most.
const TRIES: u32 = 5;
/// File times move in steps of up to 10 ms: a time this old belongs to a step that is over, and a later write shows.
const STEP: Duration = Duration::from_millis(20);
/// How long a run waits for steps in all.
const STEPS_MILLIS: u64 = 5_000;
/// Large files written to within so long are the ones that may be written to now.
const RECENT: Duration = Duration::from_secs(3600);

/// What tells two states of a file apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamp {
    pub size: u64,
    pub mtime: (i64, i64),
    pub ctime: (i64, i64),
}

impl Stamp {
    fn of(found: &Metadata) -> Self {
        Self {
            size: found.len(),
            mtime: (found.mtime(), found.mtime_nsec()),
            ctime: (found.ctime(), found.ctime_nsec()),
        }
    }
}

/// Waits until the step of a change that was just made is over, so that another change cannot hide in it.
pub fn let_step_pass((seconds, nanos): (i64, i64)) {
    static SPENT: AtomicU64 = AtomicU64::new(0);
    let (Ok(seconds), Ok(nanos)) = (u64::try_from(seconds), u32::try_from(nanos)) else { return };
    let changed = SystemTime::UNIX_EPOCH.checked_add(Duration::new(seconds, nanos));
    let Some(age) = changed.and_then(|changed| SystemTime::now().duration_since(changed).ok()) else {
        return;
    };
    let left = STEP.saturating_sub(age);
    if left.is_zero() || SPENT.load(Ordering::Relaxed) >= STEPS_MILLIS {
        return;
    }
    SPENT.fetch_add(u64::try_from(left.as_millis()).unwrap_or(0).max(1), Ordering::Relaxed);
    std::thread::sleep(left);
}

/// Inodes of files that a program has mapped for writing, whatever the device. A write through a map moves the file's
/// times only where it is the first to its page since that page was written out.
pub fn mapped_for_writing() -> HashSet<u64> {
    let mut inodes = HashSet::new();
    for process in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
        // Bytes: a path may be anything. A process that ended meanwhile has nothing mapped.
        let maps = std::fs::read(process.path().join("maps")).unwrap_or_default();
        inodes.extend(maps.split(|byte| *byte == b'\n').filter_map(shared_and_writable));
    }
    inodes
}

/// The inode of a line such as `7f…-7f… rw-s 00000000 08:01 42 /w/db`.
fn shared_and_writable(line: &[u8]) -> Option<u64> {
    let mut words = line.split(|byte| *byte == b' ').filter(|word| !word.is_empty());
    let permissions = words.nth(1)?;
    if permissions.get(1) != Some(&b'w') || permissions.get(3) != Some(&b's') {
        return None;
    }
    std::str::from_utf8(words.nth(2)?).ok()?.parse().ok().filter(|inode| *inode != 0)
}

/// Opens one file when the library comes to it.
pub struct Opener {
    pub real: PathBuf,
    pub shown: PathBuf,
    /// Length and modification time as they were listed; the snapshot carries these.
    pub listed: (u64, Option<(i64, i64)>),
    pub events: Arc<Events>,
    pub path_warnings: Arc<PathWarnings>,
    /// See [`mapped_for_writing`].
    pub mapped: Arc<HashSet<u64>>,
}

impl ReadSourceOpen for Opener {
    type Reader = Watched;

    fn open(self) -> RusticResult<Watched> {
        let (mut last, mut before) = (Vec::new(), None);
        for tries in 0..TRIES {
            if tries > 0 {
                std::thread::sleep(STEP * tries);
            }
            let (mut file, stamp) = self.open_file()?;
            if stamp.size > SMALL {
                return Ok(Watched::Large(Box::new(Large::new(file, stamp, self))));
            }
            if tries > 0 {
                before = Some(std::mem::take(&mut last));
            }
            let read = (&mut file).take(stamp.size + 1).read_to_end(&mut last);
            read.map_err(|error| self.unreadable(error))?;
            let after = file.metadata().map_err(|error| self.unreadable(error))?;
            if Stamp::of(&after) == stamp && last.len() as u64 == stamp.size {
                self.note_if_unlisted(&stamp);
                return Ok(Watched::Small(Cursor::new(last)));
            }
            // What was read twice stood like that between the two readings: a log that only grew.
            if let Some(before) = before.take_if(|before| last.starts_with(before)) {
                self.path_warnings.unsteady_file(&self.shown);
                return Ok(Watched::Small(Cursor::new(before)));
            }
        }
        let reason = format!("it changed each of the {TRIES} times it was read; the last reading is kept");
        self.path_warnings.torn_file(&self.shown, &reason);
        Ok(Watched::Small(Cursor::new(last)))
    }
}

impl Opener {
    fn open_file(&self) -> RusticResult<(File, Stamp)> {
        // Between the listing and now a FIFO or a link may have taken the file's place.
        let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let opened = OpenOptions::new().read(true).custom_flags(flags.bits().cast_signed()).open(&self.real);
        let file = opened.map_err(|error| match Errno::from_io_error(&error) {
            Some(Errno::LOOP | Errno::NXIO) => self.replaced(),
            _ => self.unreadable(error),
        })?;
        let mut found = file.metadata().map_err(|error| self.unreadable(error))?;
        if !found.is_file() {
            return Err(self.replaced());
        }
        if self.mapped.contains(&found.ino()) {
            // Once it is written out, the next write through a map moves its times.
            if let Err(error) = rustix::fs::fdatasync(&file) {
                eprintln!("{}: cannot be written out: {error}", self.shown.display());
            }
            found = file.metadata().map_err(|error| self.unreadable(error))?;
        }
        let stamp = Stamp::of(&found);
        let_step_pass(stamp.ctime);
        Ok((file, stamp))
    }

    fn unreadable(&self, error: std::io::Error) -> Box<RusticError> {
        self.path_warnings.lose();
        self.path_warnings.fail(&self.events, &self.shown, error.kind(), &error.to_string());
        RusticError::with_source(ErrorKind::InputOutput, "the file cannot be read", error)
    }

    fn replaced(&self) -> Box<RusticError> {
        self.path_warnings.lose();
        let reason = "something that is no file took its place while the backup ran";
        self.path_warnings.torn_file(&self.shown, reason);
        RusticError::new(ErrorKind::InputOutput, reason)
    }

    /// The content is of one moment, but its length and time are not those that the snapshot carries.
    fn note_if_unlisted(&self, stamp: &Stamp) {
        let (size, mtime) = self.listed;
        if stamp.size != size || mtime.is_some_and(|mtime| mtime != stamp.mtime) {
            self.path_warnings.unsteady_file(&self.shown);
        }
    }
}

/// A file that is being read.
pub enum Watched {
    Small(Cursor<Vec<u8>>),
    Large(Box<Large>),
}

impl Read for Watched {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        match self {
            Self::Small(content) => content.read(buffer),
            Self::Large(file) => file.read(buffer),
        }
    }
}

/// A file too large to be held.
pub struct Large {
    file: File,
    stamp: Stamp,
    read: u64,
    ended: bool,
    failed: bool,
    digest: Option<Sha256>,
    opener: Opener,
}

impl Large {
    fn new(file: File, stamp: Stamp, opener: Opener) -> Self {
        let age = u64::try_from(stamp.mtime.0)
            .ok()
            .and_then(|seconds| SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(seconds)))
            .and_then(|written| SystemTime::now().duration_since(written).ok());
        let is_cold = age.is_some_and(|age| age > RECENT);
        let digest = (!is_cold).then(Sha256::new);
        Self { file, stamp, read: 0, ended: false, failed: false, digest, opener }
    }

    /// Whether the bytes that were handed over stood in the file at one moment.
    fn is_whole(&mut self, now: &Stamp) -> bool {
        let Some(digest) = self.digest.take() else {
            // Renamed, unlinked or given another mode: none of it touches the content.
            return now.size == self.stamp.size && now.mtime == self.stamp.mtime && self.read == now.size;
        };
        self.digest_again().is_ok_and(|again| again.finalize() == digest.finalize())
    }

    /// Reads as much of the file again as was handed over, or up to its end.
    fn digest_again(&mut self) -> std::io::Result<Sha256> {
        self.file.seek(SeekFrom::Start(0))?;
        let mut prefix = (&mut self.file).take(self.read);
        let mut digest = Sha256::new();
        let mut buffer = vec![0; 128 << 10];
        loop {
            let count = prefix.read(&mut buffer)?;
            match buffer.get(..count) {
                Some(read) if count > 0 => digest.update(read),
                _ => return Ok(digest),
            }
        }
    }
}

impl Read for Large {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        // No further than it reached at first: one that grows faster than it is read would never end.
        let left = usize::try_from(self.stamp.size - self.read).unwrap_or(usize::MAX);
        let end = buffer.len().min(left);
        let Some(room) = buffer.get_mut(..end).filter(|room| !room.is_empty()) else {
            self.ended |= left == 0;
            return Ok(0);
        };
        match self.file.read(room) {
            Ok(count) => {
                self.ended |= count == 0 || count == left;
                self.read += count as u64;
                if let (Some(digest), Some(read)) = (&mut self.digest, room.get(..count)) {
                    digest.update(read);
                }
                Ok(count)
            }
            Err(error) if error.kind() == IoErrorKind::Interrupted => Err(error),
            Err(error) => {
                if !self.failed {
                    self.failed = true;
                    // A file that is gone can still be read; a reading error never means "gone".
                    self.opener.path_warnings.lose();
                    let (events, shown) = (&self.opener.events, &self.opener.shown);
                    self.opener.path_warnings.fail(events, shown, IoErrorKind::Other, &error.to_string());
                }
                Err(error)
            }
        }
    }
}

impl Drop for Large {
    fn drop(&mut self) {
        if self.failed || !self.ended {
            return;
        }
        let now = self.file.metadata().map(|found| Stamp::of(&found));
        if now.as_ref().is_ok_and(|now| *now == self.stamp) && self.read == self.stamp.size {
            return self.opener.note_if_unlisted(&self.stamp);
        }
        if now.is_ok_and(|now| self.is_whole(&now)) {
            self.opener.path_warnings.unsteady_file(&self.opener.shown);
        } else {
            let reason = "it was changed while it was read; the snapshot may hold a mixture of two states";
            self.opener.path_warnings.torn_file(&self.opener.shown, reason);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::FileExt as _;
    use std::path::Path;

    struct Bench {
        dir: tempfile::TempDir,
        path_warnings: Arc<PathWarnings>,
    }

    impl Bench {
        fn new() -> Self {
            Self { dir: tempfile::tempdir().unwrap(), path_warnings: Arc::new(PathWarnings::default()) }
        }

        fn file(&self) -> PathBuf {
            self.dir.path().join("file")
        }

        /// Lists the file as it is now.
        fn listed(&self) -> Opener {
            let stamp = Stamp::of(&self.file().metadata().unwrap());
            Opener {
                real: self.file(),
                shown: PathBuf::from("/w/file"),
                listed: (stamp.size, Some(stamp.mtime)),
                events: Events::new(),
                path_warnings: Arc::clone(&self.path_warnings),
                mapped: Arc::default(),
            }
        }

        #[track_caller]
        fn check(&self, unsteady: &[&str], torn: Option<&str>) {
            assert_eq!(self.path_warnings.unsteady(), unsteady);
            assert_eq!(self.path_warnings.is_torn(), torn.is_some());
            self.path_warnings.admit_torn(&Events::new());
            let reasons: Vec<String> =
                self.path_warnings.unreadable().into_iter().map(|found| found.reason).collect();
            match torn {
                Some(torn) => assert!(reasons.len() == 1 && reasons[0].contains(torn), "{reasons:?}"),
                None => assert_eq!(reasons, [""; 0]),
            }
        }
    }

    /// Reads half a large file, does something to it, and reads the rest.
    fn disturbed(bench: &Bench, disturb: impl FnOnce(&Path)) -> usize {
        std::fs::write(bench.file(), vec![1; 3 << 20]).unwrap();
        let mut reader = bench.listed().open().unwrap();
        let mut half = vec![0; 1 << 20];
        reader.read_exact(&mut half).unwrap();
        disturb(&bench.file());
        let mut rest = Vec::new();
        reader.read_to_end(&mut rest).unwrap();
        half.len() + rest.len()
    }

    fn write_at(path: &Path, at: u64, content: &[u8]) {
        OpenOptions::new().write(true).open(path).unwrap().write_all_at(content, at).unwrap();
    }

    #[test]
    fn maps_that_can_change_a_file_are_told_from_the_rest() {
        for (line, inode) in [
            ("7f00-7f10 rw-s 00000000 08:01 42                  /w/my db", Some(42)),
            ("7f00-7f10 -w-s 00000000 08:01 43", Some(43)),
            ("7f00-7f10 r--s 00000000 08:01 44 /w/read", None),
            ("7f00-7f10 rw-p 00000000 08:01 45 /w/private", None),
            ("7f00-7f10 rw-s 00000000 00:00 0 ", None),
            ("", None),
        ] {
            assert_eq!(shared_and_writable(line.as_bytes()), inode, "{line}");
        }
    }

    #[test]
    fn a_file_that_is_mapped_is_written_out_and_read_all_the_same() {
        let bench = Bench::new();
        std::fs::write(bench.file(), "x").unwrap();
        let inode = bench.file().metadata().unwrap().ino();
        let opener = Opener { mapped: Arc::new(HashSet::from([inode])), ..bench.listed() };
        let mut text = String::new();
        opener.open().unwrap().read_to_string(&mut text).unwrap();
        assert_eq!(text, "x");
        bench.check(&[], None);
    }

    #[test]
    fn a_file_that_stands_still_raises_nothing() {
        for size in [0, 5, 3 << 20] {
            let bench = Bench::new();
            std::fs::write(bench.file(), vec![7; size]).unwrap();
            let mut content = Vec::new();
            bench.listed().open().unwrap().read_to_end(&mut content).unwrap();
            assert_eq!(content.len(), size);
            bench.check(&[], None);
        }
    }

    #[test]
    fn a_log_that_grows_is_kept_as_it_was_when_it_was_opened() {
        let bench = Bench::new();
        let read = disturbed(&bench, |path| write_at(path, 3 << 20, b"one more line\n"));
        assert_eq!(read, 3 << 20);
        bench.check(&["/w/file"], None);
    }

    #[test]
    fn a_file_that_is_replaced_is_kept_as_it_was() {
        let bench = Bench::new();
        let read = disturbed(&bench, |path| {
            std::fs::write(path.with_extension("new"), "new").unwrap();
            std::fs::rename(path.with_extension("new"), path).unwrap();
        });
        assert_eq!(read, 3 << 20);
        bench.check(&["/w/file"], None);
    }

    #[test]
    fn a_file_that_is_removed_while_it_is_read_is_kept_as_it_was() {
        let bench = Bench::new();
        assert_eq!(disturbed(&bench, |path| std::fs::remove_file(path).unwrap()), 3 << 20);
        bench.check(&["/w/file"], None);
    }

    #[test]
    fn a_file_that_is_written_into_behind_the_reader_is_torn() {
        let bench = Bench::new();
        disturbed(&bench, |path| write_at(path, 0, b"two"));
        bench.check(&[], Some("mixture"));
    }

    #[test]
    fn a_file_that_shrinks_under_the_reader_is_torn() {
        let bench = Bench::new();
        disturbed(&bench, |path| std::fs::write(path, "short").unwrap());
        bench.check(&[], Some("mixture"));
    }

    #[test]
    fn a_small_file_that_changed_since_it_was_listed_is_read_as_it_is_now_and_named() {
        let bench = Bench::new();
        std::fs::write(bench.file(), "one").unwrap();
        let opener = bench.listed();
        std::fs::write(bench.file(), "one two").unwrap();
        let mut text = String::new();
        opener.open().unwrap().read_to_string(&mut text).unwrap();
        assert_eq!(text, "one two");
        bench.check(&["/w/file"], None);
    }

    #[test]
    fn a_fifo_or_a_link_in_a_files_place_is_neither_followed_nor_waited_for() {
        for replace in [
            |path: &Path| std::os::unix::fs::symlink("/etc/hostname", path).unwrap(),
            |path: &Path| {
                let made = std::process::Command::new("mkfifo").arg(path).status().unwrap();
                assert!(made.success());
            },
        ] {
            let bench = Bench::new();
            std::fs::write(bench.file(), "x").unwrap();
            let opener = bench.listed();
            std::fs::remove_file(bench.file()).unwrap();
            replace(&bench.file());
            assert!(opener.open().is_err());
            bench.check(&[], Some("took its place"));
        }
    }

    #[test]
    fn a_file_that_goes_before_it_is_opened_has_vanished() {
        let bench = Bench::new();
        std::fs::write(bench.file(), "x").unwrap();
        let opener = bench.listed();
        std::fs::remove_file(bench.file()).unwrap();
        assert!(opener.open().is_err());
        assert_eq!(bench.path_warnings.vanished(), ["/w/file"]);
        bench.check(&[], None);
    }
}
