//! Programs that come as bundles: fetched in parts, each checked before it is used, and unpacked whole or not at all.
//!
//! Every program has a directory, its versions in directories of their names, and `current`, a link to one of them. A
//! version that is there is complete: it got its name after all of it was on the disk.

use ebbtide_api::programs::{Part, Program, is_version};
use sha2::{Digest as _, Sha256};
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

/// The link that launchers go by.
const CURRENT: &str = "current";
/// Where parts are kept until all of them are there.
const PARTS: &str = ".parts";

/// Where parts come from.
pub trait PartSource {
    /// Writes a part's content. A call that failed may be repeated, with a fresh target.
    ///
    /// # Errors
    /// Why it is not to be had, for people, and whether it may be later.
    fn fetch(&self, part: &Part, to: &mut dyn Write) -> Result<(), FetchError>;
}

/// A part that was not fetched.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// It may be had later.
    #[error("{0}")]
    Passing(String),
    /// It will not.
    #[error("{0}")]
    Lasting(String),
}

/// Why a program is not installed.
#[derive(Debug, thiserror::Error)]
pub enum BundleError {
    /// A part is not to be had.
    #[error("a part of {program} cannot be fetched: {source}")]
    Fetch {
        /// Of which program.
        program: String,
        /// Why.
        source: FetchError,
    },
    /// A part is something else than its name says.
    #[error("a part of {program} is not what its name says")]
    Damaged {
        /// Of which program.
        program: String,
    },
    /// The name or the version would leave the directory.
    #[error("{name:?} {version:?} is no program")]
    Name {
        /// Its name.
        name: String,
        /// Its version.
        version: String,
    },
    /// It cannot be unpacked or linked.
    #[error("{program} cannot be unpacked: {source}")]
    Unpack {
        /// Which program.
        program: String,
        /// What the file system, or the archive, says.
        source: io::Error,
    },
}

impl BundleError {
    /// Whether the same call may succeed in a moment.
    pub fn may_pass(&self) -> bool {
        match self {
            Self::Fetch { source: FetchError::Passing(_), .. } | Self::Damaged { .. } => true,
            Self::Fetch { source: FetchError::Lasting(_), .. } | Self::Name { .. } | Self::Unpack { .. } => {
                false
            }
        }
    }
}

/// The programs of a machine.
#[derive(Debug)]
pub struct Bundles<'a> {
    /// Holds a directory for each.
    pub directory: &'a Path,
}

impl Bundles<'_> {
    /// Whether that version of a program is there.
    pub fn has(&self, program: &Program) -> bool {
        self.home(program).join(&program.version).is_dir()
    }

    /// Installs a program, which is then the current version of it. What is there already is not fetched again, a part
    /// neither. `progressed` hears of bytes as they are fetched, and again as they are unpacked.
    ///
    /// # Errors
    /// [`BundleError`]; nothing of that version is there then.
    pub fn install(
        &self,
        program: &Program,
        source: &dyn PartSource,
        progressed: &dyn Fn(u64),
    ) -> Result<(), BundleError> {
        let is_plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        if program.name.is_empty() || !program.name.bytes().all(is_plain) || !is_version(&program.version) {
            return Err(BundleError::Name { name: program.name.clone(), version: program.version.clone() });
        }
        if !self.has(program) {
            for part in &program.parts {
                self.fetch(program, part, source, progressed)?;
            }
            self.unpack(program, progressed)
                .map_err(|source| BundleError::Unpack { program: program.name.clone(), source })?;
        }
        self.point_at(program).map_err(|source| BundleError::Unpack { program: program.name.clone(), source })
    }

    /// Removes parts that no installation took in.
    pub fn forget_parts(&self) {
        let _ = fs::remove_dir_all(self.directory.join(PARTS));
    }

    fn home(&self, program: &Program) -> PathBuf {
        self.directory.join(&program.name)
    }

    fn part(&self, part: &Part) -> PathBuf {
        self.directory.join(PARTS).join(&part.sha256)
    }

    fn fetch(
        &self,
        program: &Program,
        part: &Part,
        source: &dyn PartSource,
        progressed: &dyn Fn(u64),
    ) -> Result<(), BundleError> {
        let unpack = |source| BundleError::Unpack { program: program.name.clone(), source };
        let path = self.part(part);
        // One that was cut off by a crash has the right name and the wrong content.
        if hash_of(&path).is_ok_and(|hash| hash == part.sha256) {
            progressed(part.size_bytes);
            return Ok(());
        }
        fs::create_dir_all(self.directory.join(PARTS)).map_err(unpack)?;
        let mut hashing =
            Hashing { file: File::create(&path).map_err(unpack)?, hash: Sha256::new(), progressed };
        source
            .fetch(part, &mut hashing)
            .map_err(|source| BundleError::Fetch { program: program.name.clone(), source })?;
        if hex::encode(hashing.hash.finalize()) == part.sha256 {
            return Ok(());
        }
        let _ = fs::remove_file(&path);
        Err(BundleError::Damaged { program: program.name.clone() })
    }

    fn unpack(&self, program: &Program, progressed: &dyn Fn(u64)) -> io::Result<()> {
        let home = self.home(program);
        fs::create_dir_all(&home)?;
        let fresh = home.join(format!(".{}.new", program.version));
        let _ = fs::remove_dir_all(&fresh);
        let unpacked = self.unpack_into(&fresh, program, progressed).and_then(|()| {
            // Its name says that it is complete, also after a reset.
            rustix::fs::syncfs(File::open(&fresh)?)?;
            fs::rename(&fresh, home.join(&program.version))
        });
        if unpacked.is_err() {
            let _ = fs::remove_dir_all(&fresh);
        }
        for part in &program.parts {
            let _ = fs::remove_file(self.part(part));
        }
        unpacked
    }

    fn unpack_into(&self, fresh: &Path, program: &Program, progressed: &dyn Fn(u64)) -> io::Result<()> {
        let mut packed: Box<dyn Read> = Box::new(io::empty());
        for part in &program.parts {
            packed = Box::new(packed.chain(File::open(self.part(part))?));
        }
        let plain = zstd::Decoder::new(packed)?;
        let counted = Counted { of: plain.take(program.unpacked_bytes), progressed };
        let mut archive = tar::Archive::new(counted);
        archive.set_preserve_permissions(true);
        fs::create_dir(fresh)?;
        archive.unpack(fresh)
    }

    fn point_at(&self, program: &Program) -> io::Result<()> {
        let home = self.home(program);
        let (current, fresh) = (home.join(CURRENT), home.join(".current.new"));
        if fs::read_link(&current).is_ok_and(|to| to == Path::new(&program.version)) {
            return Ok(());
        }
        let _ = fs::remove_file(&fresh);
        symlink(&program.version, &fresh)?;
        fs::rename(&fresh, &current)
    }
}

fn hash_of(path: &Path) -> io::Result<String> {
    let mut hash = Sha256::new();
    let mut file = File::open(path)?;
    let mut buffer = vec![0; 1 << 16];
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(hex::encode(hash.finalize())),
            read => hash.update(buffer.get(..read).unwrap_or_default()),
        }
    }
}

/// Writes into a file, and hashes what it writes.
struct Hashing<'a> {
    file: File,
    hash: Sha256,
    progressed: &'a dyn Fn(u64),
}

impl Write for Hashing<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.file.write(bytes)?;
        self.hash.update(bytes.get(..written).unwrap_or_default());
        (self.progressed)(written as u64);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

/// Reads, and tells how much.
struct Counted<'a, R> {
    of: R,
    progressed: &'a dyn Fn(u64),
}

impl<R: Read> Read for Counted<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.of.read(buffer)?;
        (self.progressed)(read as u64);
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::{Cell, RefCell};
    use std::collections::BTreeMap;
    use std::os::unix::fs::PermissionsExt as _;

    /// Parts by their names, and how many more fetches break off in the middle.
    #[derive(Default)]
    struct Shelf {
        parts: BTreeMap<String, Vec<u8>>,
        breaks: Cell<u32>,
        fetched: RefCell<Vec<String>>,
    }

    impl PartSource for Shelf {
        fn fetch(&self, part: &Part, to: &mut dyn Write) -> Result<(), FetchError> {
            let content = self.parts.get(&part.sha256);
            let content = content.ok_or_else(|| FetchError::Lasting("there is no such part".into()))?;
            if let Some(left) = self.breaks.get().checked_sub(1) {
                self.breaks.set(left);
                to.write_all(&content[..content.len() / 2]).unwrap();
                return Err(FetchError::Passing("the line broke".into()));
            }
            self.fetched.borrow_mut().push(part.sha256.clone());
            to.write_all(content).unwrap();
            Ok(())
        }
    }

    /// A bundle of one program and a link to it, in parts of 100 bytes.
    fn bundle(version: &str, says: &str) -> (Program, Shelf) {
        let mut archive = tar::Builder::new(zstd::Encoder::new(Vec::new(), 1).unwrap());
        let mut header = tar::Header::new_ustar();
        header.set_size(says.len() as u64);
        header.set_mode(0o755);
        archive.append_data(&mut header, "bin/it", says.as_bytes()).unwrap();
        let mut link = tar::Header::new_ustar();
        link.set_entry_type(tar::EntryType::Symlink);
        link.set_size(0);
        archive.append_link(&mut link, "it", "bin/it").unwrap();
        let packed = archive.into_inner().unwrap().finish().unwrap();
        let mut shelf = Shelf::default();
        let parts = packed
            .chunks(100)
            .map(|part| {
                let sha256 = hex::encode(Sha256::digest(part));
                shelf.parts.insert(sha256.clone(), part.to_vec());
                Part { sha256, size_bytes: part.len() as u64 }
            })
            .collect();
        (Program { name: "it".into(), version: version.into(), parts, unpacked_bytes: 1 << 20 }, shelf)
    }

    fn says(directory: &Path) -> String {
        fs::read_to_string(directory.join("it/current/it")).unwrap_or_default()
    }

    fn names(directory: &Path) -> Vec<String> {
        let entries = fs::read_dir(directory.join("it")).unwrap();
        let mut names: Vec<String> =
            entries.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned()).collect();
        names.sort();
        names
    }

    #[test]
    fn a_program_is_unpacked_once_and_a_newer_version_takes_its_place() {
        let directory = tempfile::tempdir().unwrap();
        let bundles = Bundles { directory: directory.path() };
        let (first, shelf) = bundle("1.0", "one");
        let heard = Cell::new(0);
        bundles.install(&first, &shelf, &|bytes| heard.set(heard.get() + bytes)).unwrap();
        assert_eq!(says(directory.path()), "one");
        assert!(heard.get() > first.packed_bytes(), "fetched and unpacked");
        let mode = fs::metadata(directory.path().join("it/1.0/bin/it")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o755);
        let fetched = shelf.fetched.borrow().len();
        bundles.install(&first, &shelf, &|_| ()).unwrap();
        assert_eq!(shelf.fetched.borrow().len(), fetched, "it is there");
        let (second, shelf) = bundle("1.1", "two");
        bundles.install(&second, &shelf, &|_| ()).unwrap();
        assert_eq!(
            (says(directory.path()).as_str(), names(directory.path())),
            ("two", vec!["1.0".to_owned(), "1.1".into(), "current".into()])
        );
    }

    #[test]
    fn a_fetch_that_broke_off_goes_on_at_its_part() {
        let directory = tempfile::tempdir().unwrap();
        let bundles = Bundles { directory: directory.path() };
        let text: String = (0..2_000_u32).map(|n| format!("{}\n", n.wrapping_mul(2_654_435_761))).collect();
        let (program, shelf) = bundle("1", &text);
        let (first, last) = (&program.parts[0].sha256, program.parts.len() - 1);
        fs::create_dir(directory.path().join(PARTS)).unwrap();
        fs::write(directory.path().join(PARTS).join(first), &shelf.parts[first]).unwrap();
        // A crash left half of another.
        fs::write(directory.path().join(PARTS).join(&program.parts[1].sha256), b"torn").unwrap();
        shelf.breaks.set(1);
        let broken = bundles.install(&program, &shelf, &|_| ()).unwrap_err();
        assert!(broken.may_pass() && !bundles.has(&program), "{broken}");
        bundles.install(&program, &shelf, &|_| ()).unwrap();
        assert_eq!(says(directory.path()), text);
        assert_eq!(shelf.fetched.borrow().len(), last, "all but the first");
    }

    #[test]
    fn what_is_not_what_its_name_says_is_never_unpacked() {
        let directory = tempfile::tempdir().unwrap();
        let bundles = Bundles { directory: directory.path() };
        let (program, mut shelf) = bundle("1", "one");
        shelf.parts.insert(program.parts[0].sha256.clone(), b"something else".to_vec());
        let error = bundles.install(&program, &shelf, &|_| ()).unwrap_err();
        assert!(matches!(error, BundleError::Damaged { .. }), "{error}");
        assert!(!directory.path().join("it").exists());
        shelf.parts.clear();
        let error = bundles.install(&program, &shelf, &|_| ()).unwrap_err();
        assert!(!error.may_pass(), "{error}");
    }

    #[test]
    fn half_an_archive_leaves_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let bundles = Bundles { directory: directory.path() };
        let text: String = (0..2_000_u32).map(|n| format!("{}\n", n.wrapping_mul(2_654_435_761))).collect();
        let (mut program, shelf) = bundle("1", &text);
        program.parts.truncate(3);
        let error = bundles.install(&program, &shelf, &|_| ()).unwrap_err();
        assert!(matches!(error, BundleError::Unpack { .. }), "{error}");
        assert_eq!(names(directory.path()), [""; 0]);
    }

    #[test]
    fn a_name_that_leads_elsewhere_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let bundles = Bundles { directory: directory.path() };
        for (name, version) in [("../x", "1"), ("", "1"), ("it", ".."), ("it", "a/b")] {
            let (program, shelf) = bundle("1", "one");
            let program = Program { name: name.into(), version: version.into(), ..program };
            let error = bundles.install(&program, &shelf, &|_| ()).unwrap_err();
            assert!(matches!(error, BundleError::Name { .. }), "{name} {version}: {error}");
        }
    }
}
