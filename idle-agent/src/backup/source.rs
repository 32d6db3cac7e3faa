//! The files of a workspace as the backup library reads them: several directories of one machine in one tree.
//!
//! The library drops what it cannot read with a log line; here every such path is written down with its reason, because
//! a receipt must name what it lacks. The directories above and at each include carry their real owner and mode, so that
//! any restic restores them. Must never follow a symbolic link below an include, nor block on a FIFO.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{File, OpenOptions};
use std::io::{ErrorKind as IoErrorKind, Read};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Component, Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use ignore::{DirEntry, WalkBuilder};
use rustic_core::repofile::{Node, NodeType};
use rustic_core::{
    ErrorKind, LocalSourceSaveOptions, ReadSource, ReadSourceEntry, ReadSourceOpen, RusticError, RusticResult,
};
use rustix::fs::OFlags;
use serde::Serialize;

use super::events::Events;
use super::excludes::Excludes;
use super::failure::{Failure, show_path};
use super::rest::lock;
use super::store::Store;

/// Paths listed by name in a result; more are only counted.
const LISTED: usize = 1000;

/// A path and why it is where it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Reasoned {
    pub path: String,
    pub reason: String,
}

/// What happened to the paths that are not in the snapshot as they stood.
#[derive(Debug, Default)]
pub struct Findings {
    unreadable: Mutex<BTreeMap<String, String>>,
    vanished: Mutex<BTreeSet<String>>,
    unsteady: Mutex<BTreeSet<String>>,
    skipped: Mutex<(Vec<Reasoned>, u64)>,
    /// Entries that are no directories, handed to the library.
    handed: AtomicU64,
    /// Of these, the ones that could then not be read.
    lost: AtomicU64,
}

impl Findings {
    pub fn unreadable(&self) -> Vec<Reasoned> {
        lock(&self.unreadable)
            .iter()
            .map(|(path, reason)| Reasoned { path: path.clone(), reason: reason.clone() })
            .collect()
    }

    pub fn vanished(&self) -> Vec<String> {
        lock(&self.vanished).iter().cloned().collect()
    }

    /// Files whose length changed while they were read: the snapshot holds what was read.
    pub fn unsteady(&self) -> Vec<String> {
        lock(&self.unsteady).iter().cloned().collect()
    }

    pub fn skipped(&self) -> (Vec<Reasoned>, u64) {
        lock(&self.skipped).clone()
    }

    /// How many entries other than directories the snapshot must hold.
    pub fn expected(&self) -> u64 {
        self.handed.load(Ordering::SeqCst).saturating_sub(self.lost.load(Ordering::SeqCst))
    }

    fn skip(&self, path: &Path, reason: &str) {
        let mut skipped = lock(&self.skipped);
        if skipped.0.len() < LISTED {
            skipped.0.push(Reasoned { path: show_path(path), reason: reason.to_owned() });
        } else {
            skipped.1 += 1;
        }
    }

    fn fail(&self, events: &Events, path: &Path, kind: IoErrorKind, reason: &str) {
        let shown = show_path(path);
        if kind == IoErrorKind::NotFound {
            lock(&self.vanished).insert(shown);
        } else {
            events.error(Some(&shown), reason);
            lock(&self.unreadable).insert(shown, reason.to_owned());
        }
    }
}

/// One include: its place in the snapshot and where its files are read.
#[derive(Debug, Clone)]
struct Include {
    shown: PathBuf,
    real: PathBuf,
}

/// What is to be read.
pub struct Source {
    root: PathBuf,
    includes: Vec<Include>,
    excludes: Arc<Excludes>,
    store: Arc<Store>,
    events: Arc<Events>,
    findings: Arc<Findings>,
}

impl Source {
    /// Prepares to read `includes`, absolute paths below `root`. Includes that do not exist are written down as skipped.
    ///
    /// # Errors
    /// `Local` when an include is not an absolute plain path, or when none of them exists: an empty snapshot is no backup.
    pub fn new(
        root: &Path,
        wanted: &[PathBuf],
        excludes: Excludes,
        store: Arc<Store>,
        events: Arc<Events>,
    ) -> Result<Self, Failure> {
        let findings = Arc::new(Findings::default());
        let mut includes: Vec<Include> = Vec::new();
        for shown in plain_includes(wanted)? {
            let real = join(root, &shown);
            match real.canonicalize() {
                Ok(real) => includes.push(Include { shown, real }),
                Err(error) if error.kind() == IoErrorKind::NotFound => findings.skip(&shown, "absent"),
                Err(error) => return Err(Failure::local("read", &real, error)),
            }
        }
        if includes.is_empty() {
            return Err(Failure::local("read", root, "none of the directories to back up exists"));
        }
        Ok(Self { root: root.to_path_buf(), includes, excludes: Arc::new(excludes), store, events, findings })
    }

    pub fn findings(&self) -> Arc<Findings> {
        Arc::clone(&self.findings)
    }

    fn walk(&self, include: &Include, findings: Option<Arc<Findings>>) -> ignore::Walk {
        let excludes = Arc::clone(&self.excludes);
        let at = include.clone();
        WalkBuilder::new(&include.real)
            .standard_filters(false)
            .follow_links(false)
            .sort_by_file_path(Path::cmp)
            .filter_entry(move |entry| {
                let shown = at.show(entry.path());
                let is_dir = entry.file_type().is_some_and(|kind| kind.is_dir());
                let rule = excludes.rule_for(&shown, is_dir);
                if let (Some(rule), Some(findings)) = (rule, &findings) {
                    findings.skip(&shown, rule);
                }
                rule.is_none()
            })
            .build()
    }

    /// Directories above the includes, outermost first, each once.
    fn ancestors(&self) -> BTreeSet<PathBuf> {
        self.includes
            .iter()
            .flat_map(|include| include.shown.ancestors().skip(1))
            .filter(|path| path.file_name().is_some())
            .map(Path::to_path_buf)
            .collect()
    }
}

/// Normalises the includes: sorted, none inside another, none with `..`.
fn plain_includes(wanted: &[PathBuf]) -> Result<Vec<PathBuf>, Failure> {
    let mut plain: Vec<PathBuf> = Vec::new();
    for path in wanted {
        let ok = path.is_absolute()
            && path.components().all(|part| matches!(part, Component::RootDir | Component::Normal(_)));
        if !ok {
            return Err(Failure::local("back up", path, "the path must be absolute, without `..`"));
        }
        plain.push(path.components().collect());
    }
    plain.sort();
    let mut kept: Vec<PathBuf> = Vec::new();
    for path in plain {
        if !kept.iter().any(|outer| path.starts_with(outer)) {
            kept.push(path);
        }
    }
    Ok(kept)
}

/// Places an absolute path below `root`.
pub fn join(root: &Path, absolute: &Path) -> PathBuf {
    absolute.strip_prefix("/").map_or_else(|_| root.join(absolute), |relative| root.join(relative))
}

impl Include {
    fn show(&self, real: &Path) -> PathBuf {
        match real.strip_prefix(&self.real) {
            Ok(rest) if rest.as_os_str().is_empty() => self.shown.clone(),
            Ok(rest) => self.shown.join(rest),
            Err(_) => real.to_path_buf(),
        }
    }
}

impl ReadSource for Source {
    type Open = Opener;
    type Iter = Box<dyn Iterator<Item = RusticResult<ReadSourceEntry<Opener>>> + Send>;

    fn size(&self) -> RusticResult<Option<u64>> {
        let mut total = 0;
        for include in &self.includes {
            for entry in self.walk(include, None).flatten() {
                if self.store.rest().fatal().is_some() {
                    return Ok(None);
                }
                if entry.file_type().is_some_and(|kind| kind.is_file()) {
                    total += entry.metadata().map_or(0, |found| found.len());
                }
            }
        }
        Ok(Some(total))
    }

    fn entries(&self) -> Self::Iter {
        let mut parts: Vec<(PathBuf, Part)> = self
            .ancestors()
            .into_iter()
            .map(|path| (path.clone(), Part::Above(join(&self.root, &path), path)))
            .collect();
        for include in &self.includes {
            let walk = self.walk(include, Some(self.findings()));
            parts.push((include.shown.clone(), Part::Below(Box::new(walk), include.clone())));
        }
        // An ancestor sorts before what it holds, and after everything of an earlier include.
        parts.sort_by(|(one, _), (other, _)| one.cmp(other));
        let reader = Reader {
            store: Arc::clone(&self.store),
            events: Arc::clone(&self.events),
            findings: self.findings(),
        };
        Box::new(parts.into_iter().flat_map(move |(_, part)| reader.clone().read(part)))
    }
}

enum Part {
    Above(PathBuf, PathBuf),
    Below(Box<ignore::Walk>, Include),
}

#[derive(Clone)]
struct Reader {
    store: Arc<Store>,
    events: Arc<Events>,
    findings: Arc<Findings>,
}

type Entries = Box<dyn Iterator<Item = RusticResult<ReadSourceEntry<Opener>>> + Send>;

impl Reader {
    fn read(self, part: Part) -> Entries {
        match part {
            Part::Above(real, shown) => {
                let entry = WalkBuilder::new(real).standard_filters(false).max_depth(Some(0)).build().next();
                let entry = entry
                    .and_then(Result::ok)
                    .filter(|entry| entry.file_type().is_some_and(|kind| kind.is_dir()));
                Box::new(entry.and_then(|entry| self.map(entry, &shown)).into_iter().map(Ok))
            }
            Part::Below(walk, include) => Box::new(
                walk.take_while({
                    let store = Arc::clone(&self.store);
                    move |_| store.rest().fatal().is_none()
                })
                .filter_map(move |entry| match entry {
                    Ok(entry) => {
                        let shown = include.show(entry.path());
                        shown.file_name()?;
                        self.map(entry, &shown)
                    }
                    Err(error) => {
                        let kind = error.io_error().map_or(IoErrorKind::Other, std::io::Error::kind);
                        let path =
                            path_of(&error).map_or_else(|| include.shown.clone(), |path| include.show(path));
                        self.findings.fail(&self.events, &path, kind, &error.to_string());
                        None
                    }
                })
                .map(Ok),
            ),
        }
    }

    fn map(&self, entry: DirEntry, shown: &Path) -> Option<ReadSourceEntry<Opener>> {
        let real = entry.path().to_path_buf();
        let mapped = match LocalSourceSaveOptions::default().map_entry(entry) {
            Ok(mapped) => mapped,
            Err(error) => {
                let kind = match real.symlink_metadata() {
                    Err(gone) if gone.kind() == IoErrorKind::NotFound => IoErrorKind::NotFound,
                    _ => IoErrorKind::Other,
                };
                self.findings.fail(&self.events, shown, kind, &error.to_string());
                return None;
            }
        };
        let node = Node::new_node(shown.file_name()?, mapped.node.node_type, mapped.node.meta);
        if !node.is_dir() {
            self.findings.handed.fetch_add(1, Ordering::SeqCst);
            self.events.files(1);
        }
        let open = (node.node_type == NodeType::File).then(|| Opener {
            real,
            shown: shown.to_path_buf(),
            size: node.meta.size,
            events: Arc::clone(&self.events),
            findings: Arc::clone(&self.findings),
        });
        Some(ReadSourceEntry { path: shown.to_path_buf(), node, open })
    }
}

/// The path that an error of the walk is about.
fn path_of(error: &ignore::Error) -> Option<&Path> {
    match error {
        ignore::Error::WithPath { path, .. } => Some(path),
        ignore::Error::WithDepth { err, .. } | ignore::Error::WithLineNumber { err, .. } => path_of(err),
        ignore::Error::Loop { child, .. } => Some(child),
        _ => None,
    }
}

/// Opens one file when the library comes to it.
pub struct Opener {
    real: PathBuf,
    shown: PathBuf,
    size: u64,
    events: Arc<Events>,
    findings: Arc<Findings>,
}

impl ReadSourceOpen for Opener {
    type Reader = Watched;

    fn open(self) -> RusticResult<Watched> {
        // Between the listing and now a FIFO or a link may have taken the file's place.
        let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        match OpenOptions::new().read(true).custom_flags(flags.bits().cast_signed()).open(&self.real) {
            Ok(file) => Ok(Watched { file, read: 0, failed: false, opener: self }),
            Err(error) => {
                self.findings.lost.fetch_add(1, Ordering::SeqCst);
                self.findings.fail(&self.events, &self.shown, error.kind(), &error.to_string());
                Err(RusticError::with_source(ErrorKind::InputOutput, "the file cannot be opened", error))
            }
        }
    }
}

/// A file that is being read.
pub struct Watched {
    file: File,
    read: u64,
    failed: bool,
    opener: Opener,
}

impl Read for Watched {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        match self.file.read(buffer) {
            Ok(count) => {
                self.read += count as u64;
                Ok(count)
            }
            Err(error) if error.kind() == IoErrorKind::Interrupted => Err(error),
            Err(error) => {
                if !self.failed {
                    self.failed = true;
                    self.opener.findings.lost.fetch_add(1, Ordering::SeqCst);
                    // A file that is gone can still be read; a reading error never means "gone".
                    self.opener.findings.fail(
                        &self.opener.events,
                        &self.opener.shown,
                        IoErrorKind::Other,
                        &error.to_string(),
                    );
                }
                Err(error)
            }
        }
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        if !self.failed && self.read != self.opener.size {
            lock(&self.opener.findings.unsteady).insert(show_path(&self.opener.shown));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::rest::{Address, Patience, Rest};
    use super::*;
    use std::time::Duration;

    fn source(root: &Path, includes: &[&str]) -> Source {
        let address = Address {
            base: url::Url::parse("http://127.0.0.1:9/").unwrap(),
            token_file: PathBuf::from("/nonexistent"),
            as_of: None,
        };
        let patience = Patience { stall: Duration::ZERO, renewal: Duration::ZERO };
        let store = Store::new(Rest::new(address, patience));
        let includes: Vec<PathBuf> = includes.iter().map(PathBuf::from).collect();
        Source::new(root, &includes, Excludes::parse(None).unwrap(), store, Events::new()).unwrap()
    }

    fn listed(source: &Source) -> Vec<String> {
        source.entries().map(|entry| show_path(&entry.unwrap().path)).collect()
    }

    #[test]
    fn includes_and_what_is_above_them_come_in_order_each_once() {
        let root = tempfile::tempdir().unwrap();
        for dir in ["home/ebb/a", "home/ann", "work/x", "work/y", "other"] {
            std::fs::create_dir_all(root.path().join(dir)).unwrap();
        }
        let source = source(root.path(), &["/work", "/home/ebb", "/work/x", "/home/ann/"]);
        assert_eq!(
            listed(&source),
            ["/home", "/home/ann", "/home/ebb", "/home/ebb/a", "/work", "/work/x", "/work/y"]
        );
    }

    #[test]
    fn a_file_that_goes_before_it_is_opened_has_vanished() {
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir(root.path().join("w")).unwrap();
        std::fs::write(root.path().join("w/gone"), "x").unwrap();
        let source = source(root.path(), &["/w"]);
        let entries: Vec<_> = source.entries().map(Result::unwrap).collect();
        std::fs::remove_file(root.path().join("w/gone")).unwrap();
        for opener in entries.into_iter().filter_map(|entry| entry.open) {
            assert!(opener.open().is_err());
        }
        let findings = source.findings();
        assert_eq!(findings.vanished(), ["/w/gone"]);
        assert_eq!(findings.unreadable(), []);
        assert_eq!(findings.expected(), 0);
    }

    #[test]
    fn a_link_that_takes_a_files_place_is_not_followed() {
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir(root.path().join("w")).unwrap();
        std::fs::write(root.path().join("w/file"), "x").unwrap();
        let source = source(root.path(), &["/w"]);
        let entries: Vec<_> = source.entries().map(Result::unwrap).collect();
        std::fs::remove_file(root.path().join("w/file")).unwrap();
        std::os::unix::fs::symlink("/etc/hostname", root.path().join("w/file")).unwrap();
        for opener in entries.into_iter().filter_map(|entry| entry.open) {
            assert!(opener.open().is_err());
        }
        assert_eq!(source.findings().unreadable().len(), 1);
    }

    #[test]
    fn a_file_that_grows_while_it_is_read_is_named() {
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir(root.path().join("w")).unwrap();
        std::fs::write(root.path().join("w/log"), "one").unwrap();
        let source = source(root.path(), &["/w"]);
        let entries: Vec<_> = source.entries().map(Result::unwrap).collect();
        std::fs::write(root.path().join("w/log"), "one two").unwrap();
        for opener in entries.into_iter().filter_map(|entry| entry.open) {
            let mut text = String::new();
            opener.open().unwrap().read_to_string(&mut text).unwrap();
        }
        assert_eq!(source.findings().unsteady(), ["/w/log"]);
    }

    #[test]
    fn relative_and_climbing_includes_are_refused() {
        for path in ["home", "/home/../etc"] {
            assert_eq!(plain_includes(&[PathBuf::from(path)]).unwrap_err().code(), "local", "{path}");
        }
    }
}
