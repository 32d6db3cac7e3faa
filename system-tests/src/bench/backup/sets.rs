//! The three kinds of files that backups are measured on, made anew for each run, the same each time.
//!
//! Sources and packages are real files of this build (the crates that Cargo unpacked, the packages that npm installed), as
//! far as they reach; beyond that come further copies, each file changed so that nothing is stored twice. Must never
//! change the originals.

use anyhow::{Context, Result, ensure};
use std::io::Write as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::{env, fs};

/// A file larger than this is a program or a picture, and in no source tree.
const SOURCE_MOST: u64 = 1 << 20;
/// Of packages: what is larger is a prebuilt program, of which two would be the whole tree.
const PACKAGE_MOST: u64 = 4 << 20;
/// What sources are called.
const SOURCES: [&str; 9] = ["rs", "c", "h", "S", "md", "toml", "txt", "json", "yml"];

/// Which kind of files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Kind {
    /// Many small texts.
    Source,
    /// Installed npm packages.
    Packages,
    /// One file of random bytes.
    Large,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Source, Self::Packages, Self::Large];

    /// For people.
    pub fn title(self) -> &'static str {
        match self {
            Self::Source => "source tree",
            Self::Packages => "node_modules",
            Self::Large => "one large file",
        }
    }
}

/// Files on disk.
#[derive(Debug)]
pub struct Set {
    /// Their directory.
    pub directory: PathBuf,
    /// Files, links not counted.
    pub files: Vec<PathBuf>,
    /// Their bytes.
    pub bytes: u64,
}

impl Set {
    /// Makes a set of about that many bytes below `directory`, which must not exist.
    ///
    /// # Errors
    /// Where the originals are not there or the copies cannot be written.
    pub fn make(kind: Kind, directory: &Path, bytes: u64) -> Result<Self> {
        fs::create_dir_all(directory).with_context(|| format!("creating {}", directory.display()))?;
        let mut set = Self { directory: directory.to_owned(), files: Vec::new(), bytes: 0 };
        match kind {
            Kind::Source => {
                let fits = |path: &Path, size: u64| {
                    let suffix = path.extension().and_then(|suffix| suffix.to_str()).unwrap_or_default();
                    size <= SOURCE_MOST && SOURCES.contains(&suffix)
                };
                set.copy(&crates()?, bytes, &fits)?;
            }
            Kind::Packages => {
                set.copy(&crate::paths::root().join("node_modules"), bytes, &|_, size| size <= PACKAGE_MOST)?;
            }
            Kind::Large => set.random(bytes)?,
        }
        Ok(set)
    }

    fn copy(&mut self, from: &Path, bytes: u64, fits: &dyn Fn(&Path, u64) -> bool) -> Result<()> {
        let mut originals = Vec::new();
        list(from, &mut originals)?;
        originals.sort();
        for round in 0.. {
            let before = self.bytes;
            for original in &originals {
                if self.bytes >= bytes {
                    return Ok(());
                }
                let data = fs::symlink_metadata(original)?;
                let below = original.strip_prefix(from)?;
                let to = self.directory.join(format!("copy-{round}")).join(below);
                if data.is_symlink() {
                    fs::create_dir_all(to.parent().unwrap_or(&to))?;
                    std::os::unix::fs::symlink(fs::read_link(original)?, &to)?;
                } else if data.is_file() && fits(original, data.len()) {
                    fs::create_dir_all(to.parent().unwrap_or(&to))?;
                    let mut content = fs::read(original)?;
                    if round > 0 {
                        content.extend_from_slice(format!("\n// copy {round}\n").as_bytes());
                    }
                    fs::write(&to, &content)?;
                    self.bytes += content.len() as u64;
                    self.files.push(to);
                }
            }
            ensure!(self.bytes > before, "{} holds nothing to copy", from.display());
        }
        Ok(())
    }

    fn random(&mut self, bytes: u64) -> Result<()> {
        let path = self.directory.join("large");
        let mut file = std::io::BufWriter::new(fs::File::create(&path)?);
        let mut random = fastrand::Rng::with_seed(7);
        let mut block = vec![0; 1 << 20];
        while self.bytes < bytes {
            random.fill(&mut block);
            file.write_all(&block)?;
            self.bytes += block.len() as u64;
        }
        file.flush()?;
        self.files.push(path);
        Ok(())
    }

    /// Changes one percent: of many files every hundredth, of one file every hundredth part of its megabytes.
    ///
    /// # Errors
    /// Where a file cannot be written.
    pub fn change(&self, seed: u64) -> Result<()> {
        use std::os::unix::fs::FileExt as _;
        let mut random = fastrand::Rng::with_seed(seed);
        let mut fresh =
            |bytes: usize| -> Vec<u8> { std::iter::repeat_with(|| random.u8(..)).take(bytes).collect() };
        if let [only] = self.files.as_slice() {
            let file = fs::OpenOptions::new().write(true).open(only)?;
            let (part, step) = (1_u64 << 20, 100_u64 << 20);
            for at in (0..self.bytes).step_by(usize::try_from(step)?) {
                let length = part.min(self.bytes - at);
                file.write_all_at(&fresh(usize::try_from(length)?), at)?;
            }
            return Ok(());
        }
        for path in self.files.iter().skip(usize::try_from(seed % 100)?).step_by(100) {
            let mut file = fs::OpenOptions::new().append(true).open(path)?;
            writeln!(file, "// {}", hex::encode(fresh(16)))?;
        }
        Ok(())
    }
}

/// Files and bytes below a directory, links not counted.
///
/// # Errors
/// Where it cannot be read.
pub fn count(directory: &Path) -> Result<(usize, u64)> {
    let mut paths = Vec::new();
    list(directory, &mut paths)?;
    let mut found = (0, 0);
    for path in paths {
        let data = fs::symlink_metadata(&path)?;
        if data.is_file() {
            found = (found.0 + 1, found.1 + data.len());
        }
    }
    Ok(found)
}

/// How exactly a tool keeps times.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Times {
    /// To the nanosecond.
    Exact,
    /// To the second, as `tar` does unless it is asked for more.
    Seconds,
}

/// Holds two trees against each other: names, kinds, contents, links, and modes and times of change of files and directories.
///
/// # Errors
/// Names the first difference.
pub fn same(wanted: &Path, found: &Path, times: Times) -> Result<()> {
    let below = |top: &Path| -> Result<Vec<PathBuf>> {
        let mut paths = Vec::new();
        list(top, &mut paths)?;
        let mut paths: Vec<PathBuf> =
            paths.iter().map(|path| Ok(path.strip_prefix(top)?.to_owned())).collect::<Result<_>>()?;
        paths.sort();
        Ok(paths)
    };
    let (names, others) = (below(wanted)?, below(found)?);
    let odd = names.iter().find(|name| others.binary_search(name).is_err());
    let odd = odd.or_else(|| others.iter().find(|name| names.binary_search(name).is_err()));
    ensure!(odd.is_none(), "{odd:?} is in one tree alone, of {} and {} paths", names.len(), others.len());
    for name in names {
        let (one, other) = (wanted.join(&name), found.join(&name));
        let facts = |path: &Path| -> Result<_> {
            let data = fs::symlink_metadata(path)?;
            let link = data.is_symlink().then(|| fs::read_link(path)).transpose()?;
            let part = if times == Times::Exact { data.mtime_nsec() } else { 0 };
            // The times of links are their own matter: an archive may not keep them.
            let modified = (!data.is_symlink()).then(|| (data.mtime(), part, data.mode()));
            // What a directory's size means is its file system's matter.
            let size = data.is_file().then_some(data.len());
            Ok((data.file_type(), size, link, modified))
        };
        let (wanted, found) = (facts(&one)?, facts(&other)?);
        ensure!(wanted == found, "{}: wanted {wanted:?}, found {found:?}", name.display());
        let is_file = wanted.1.is_some();
        ensure!(!is_file || fs::read(&one)? == fs::read(&other)?, "{}: other bytes", name.display());
    }
    Ok(())
}

/// Everything below a directory, directories too.
fn list(directory: &Path, into: &mut Vec<PathBuf>) -> Result<()> {
    for entry in fs::read_dir(directory).with_context(|| format!("reading {}", directory.display()))? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            list(&entry.path(), into)?;
        }
        into.push(entry.path());
    }
    Ok(())
}

/// Where Cargo has unpacked the crates of this build.
fn crates() -> Result<PathBuf> {
    let home = env::var_os("CARGO_HOME").map(PathBuf::from);
    let home =
        home.or_else(|| Some(PathBuf::from(env::var_os("HOME")?).join(".cargo"))).context("no home")?;
    Ok(home.join("registry/src"))
}
