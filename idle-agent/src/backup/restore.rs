//! `backup restore`: a snapshot's files back on a machine, with owner, mode, times, links and extended attributes.
//!
//! Contents are written by `restore_contents.rs`; the library sets the rest. It logs what it cannot set, stops at a hard link that
//! exists, and takes what it finds under a link's name for its own. So the way is cleared before, and the result is compared
//! with the snapshot after. Safe to repeat after any interruption. Must never touch a path that the snapshot does not name,
//! and never follow a name that leaves the target.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::fs::Metadata;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use rustic_core::repofile::{Node, NodeType, PackId, SnapshotFile};
use rustic_core::{IndexedFullStatus, LocalDestination, LsOptions, Repository, RestoreOptions, RusticResult};
use serde::Serialize;

use super::Access;
use super::backend::Backend;
use super::events::{Bars, Events, LibraryWarnings, Phase};
use super::failure::{Failure, show_path};
use super::repository;
use super::restore_contents::{Contents, PORTION, is_first_name, modified};
use super::restore_hint::advise;
use super::warnings::Reasoned;
use super::worktrees::PLACES;

/// What to restore.
#[derive(Debug, Clone, clap::Args)]
pub struct Order {
    /// Id of the snapshot, or `latest`.
    #[arg(long, default_value = "latest")]
    pub snapshot: String,
    /// Directory that stands for `/`.
    #[arg(long)]
    pub target: PathBuf,
    /// Restores only what lies at or below this absolute path; may be given several times.
    #[arg(long)]
    pub include: Vec<PathBuf>,
    /// File that gets the names of the packs, one a line, that hold what was restored.
    #[arg(long)]
    pub note_packs: Option<PathBuf>,
    /// Pieces and files that are written in one go.
    #[arg(long, hide = true, default_value_t = PORTION)]
    pub portion: usize,
}

/// The result.
#[derive(Debug, Serialize)]
pub struct Outcome {
    pub snapshot: String,
    pub tree: String,
    pub files: u64,
    pub dirs: u64,
    pub bytes_total: u64,
    /// Paths that are there with the right content, but not with all of their metadata.
    pub differs: Vec<Reasoned>,
    pub warnings: Vec<String>,
    pub duration_ms: u64,
}

/// Restores.
///
/// # Errors
/// Any [`Failure`]: `Damaged` names the object; `Incomplete` the first path that is not as it should be.
pub fn run(access: &Access, order: &Order, events: &Arc<Events>) -> Result<Outcome, Failure> {
    restore(access, order, events).map_err(|failure| match failure {
        Failure::Damaged { object, detail } => {
            let advice = advise(access, &order.snapshot, &object);
            let detail = advice.map_or(detail.clone(), |advice| format!("{detail}; {advice}"));
            Failure::Damaged { object, detail }
        }
        failure => failure,
    })
}

fn restore(access: &Access, order: &Order, events: &Arc<Events>) -> Result<Outcome, Failure> {
    let begun = Instant::now();
    let backend = access.backend();
    let cache = access.cache()?;
    events.phase(Phase::Scan);
    let repository = repository::open(&backend, &access.key()?, cache.path(), Bars::Hidden)?;
    let snapshot = repository.get_snapshot_from_str(&order.snapshot, |_| true).map_err(|error| {
        match (backend.rest().fatal(), backend.damage()) {
            (None, None) => Failure::NoSnapshot { wanted: order.snapshot.clone() },
            _ => backend.explain(&error),
        }
    })?;
    let repository = repository.to_indexed().map_err(|error| backend.explain(&error))?;
    let root =
        repository.node_from_snapshot_and_path(&snapshot, "").map_err(|error| backend.explain(&error))?;
    let run = Run { repository, backend, order, snapshot, root, listing: LsOptions::default() };

    std::fs::create_dir_all(&order.target).map_err(|error| Failure::local("create", &order.target, error))?;
    let bytes = run.clear_the_way()?;
    events.phase(Phase::Restore);
    events.total(bytes);
    run.write(events)?;
    events.phase(Phase::Verify);
    let mut outcome = run.compare(events)?;
    run.note_packs(&mut outcome);
    outcome.duration_ms = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
    Ok(outcome)
}

struct Run<'a> {
    repository: Repository<IndexedFullStatus>,
    backend: Arc<Backend>,
    order: &'a Order,
    snapshot: SnapshotFile,
    root: Node,
    listing: LsOptions,
}

impl Run<'_> {
    fn explain(&self, error: &rustic_core::RusticError) -> Failure {
        self.backend.explain(error)
    }

    /// All entries to restore, parents first, as paths below the target.
    fn entries(&self) -> Result<impl Iterator<Item = RusticResult<(PathBuf, Node)>> + Clone + '_, Failure> {
        let listed = self.repository.ls(&self.root, &self.listing).map_err(|error| self.explain(&error))?;
        let wanted: Vec<PathBuf> = self
            .order
            .include
            .iter()
            .map(|path| path.strip_prefix("/").unwrap_or(path).to_path_buf())
            .collect();
        Ok(listed.filter(move |entry| match entry {
            Ok((path, _)) => {
                let path = path.strip_prefix("/").unwrap_or(path);
                wanted.is_empty()
                    || wanted.iter().any(|wanted| path.starts_with(wanted) || wanted.starts_with(path))
            }
            Err(_) => true,
        }))
    }

    /// Refuses names that leave the target, and removes what stands where the snapshot has something of another kind.
    /// Returns how many bytes are to be written.
    fn clear_the_way(&self) -> Result<u64, Failure> {
        let mut bytes = 0;
        let mut linked = HashSet::new();
        // What lies above the includes belongs to the machine: there, a link to a directory is as good as a directory.
        let roots: Vec<PathBuf> =
            super::strings(&self.snapshot.paths).into_iter().map(PathBuf::from).collect();
        for entry in self.entries()? {
            let (path, node) = entry.map_err(|error| self.explain(&error))?;
            let relative = path.strip_prefix("/").unwrap_or(&path);
            if !relative.components().all(|part| matches!(part, Component::Normal(_))) {
                let detail = "it holds a name that leads out of its directory".to_owned();
                return Err(Failure::Damaged {
                    object: format!("the snapshot at {}", show_path(&path)),
                    detail,
                });
            }
            let at = self.order.target.join(relative);
            let size = if node.is_file() && is_first_name(&node, &mut linked) { node.meta.size } else { 0 };
            let Ok(found) = at.symlink_metadata() else {
                bytes += size;
                continue;
            };
            let absolute = Path::new("/").join(relative);
            let is_work = |root: &PathBuf| absolute.starts_with(root);
            let in_place = |place: &&str| absolute.starts_with(place) && absolute != Path::new(place);
            let above = !roots.iter().any(is_work) && !PLACES.iter().any(in_place);
            if above && at.is_dir() || !in_the_way(&node, &found) {
                continue;
            }
            let removed =
                if found.is_dir() { std::fs::remove_dir_all(&at) } else { std::fs::remove_file(&at) };
            removed.map_err(|error| Failure::local("remove what stands at", &at, error))?;
            bytes += size;
        }
        Ok(bytes)
    }

    /// Writes the contents, then lets the library set what else belongs to the files.
    fn write(&self, events: &Events) -> Result<(), Failure> {
        let mut contents = Contents::default();
        for entry in self.entries()? {
            let (path, node) = entry.map_err(|error| self.explain(&error))?;
            let at = self.order.target.join(path.strip_prefix("/").unwrap_or(&path));
            contents.plan(&self.repository, &at, &node)?;
            if contents.planned() >= self.order.portion {
                contents.write(&self.repository, &self.backend, events)?;
            }
        }
        contents.write(&self.repository, &self.backend, events)?;

        let options = RestoreOptions::default();
        let explain = |error: Box<rustic_core::RusticError>| self.explain(&error);
        let target = self.order.target.to_str().ok_or_else(|| {
            Failure::local("restore to", &self.order.target, "the name of the target is not UTF-8")
        })?;
        let target = format!("{}/", target.trim_end_matches('/'));
        let destination = LocalDestination::new(&target, true, false).map_err(explain)?;
        let entries = self.entries()?;
        let plan = self
            .repository
            .prepare_restore(&options, entries.clone(), &destination, false)
            .map_err(explain)?;
        self.repository.restore(plan, &options, entries, &destination).map_err(explain)
    }

    /// Compares the files with the snapshot.
    fn compare(&self, events: &Events) -> Result<Outcome, Failure> {
        let mut outcome = Outcome {
            snapshot: self.snapshot.id.to_hex().as_str().to_owned(),
            tree: self.snapshot.tree.to_hex().as_str().to_owned(),
            files: 0,
            dirs: 0,
            bytes_total: 0,
            differs: Vec::new(),
            warnings: Vec::new(),
            duration_ms: 0,
        };
        let mut links: BTreeMap<(u64, u64), u64> = BTreeMap::new();
        for entry in self.entries()? {
            let (path, node) = entry.map_err(|error| self.explain(&error))?;
            let at = self.order.target.join(path.strip_prefix("/").unwrap_or(&path));
            let wrong = |detail: String| Failure::Incomplete {
                what: "the restore",
                detail: format!("{}: {detail}", show_path(&at)),
            };
            let found = at.symlink_metadata().map_err(|error| wrong(error.to_string()))?;
            let linked_dir = node.is_dir() && at.is_dir();
            if !linked_dir && !same_kind(&node, &found) {
                return Err(wrong("something of another kind stands there".to_owned()));
            }
            if node.is_dir() {
                outcome.dirs += 1;
            } else if node.is_file() {
                let size = self.length(&node)?;
                if found.len() != size {
                    return Err(wrong(format!("it has {} bytes, the snapshot {size}", found.len())));
                }
                outcome.files += 1;
                outcome.bytes_total += size;
                events.files(1);
                events.bytes(size);
                if node.meta.links > 1 && node.meta.inode != 0 {
                    let inode =
                        *links.entry((node.meta.device_id, node.meta.inode)).or_insert_with(|| found.ino());
                    if inode != found.ino() {
                        return Err(wrong("it is no longer a hard link to its other names".to_owned()));
                    }
                }
            } else if node.is_symlink()
                && std::fs::read_link(&at).ok().as_deref() != Some(node.node_type.to_link())
            {
                return Err(wrong("it points elsewhere".to_owned()));
            }
            if let Some(reason) = metadata_differs(&node, &found) {
                outcome.differs.push(Reasoned { path: show_path(&Path::new("/").join(&path)), reason });
            }
        }
        outcome.warnings = LibraryWarnings::take().0;
        Ok(outcome)
    }

    /// Writes down which packs were needed. Who reads it looks at fewer packs again: without it nothing is lost but time.
    fn note_packs(&self, outcome: &mut Outcome) {
        let Some(file) = &self.order.note_packs else { return };
        let noted = self.packs().and_then(|packs| {
            let names: String = packs.iter().map(|pack| format!("{}\n", pack.to_hex().as_str())).collect();
            crate::os::atomic_file::write(file, names.as_bytes(), 0o600)
                .map_err(|error| Failure::local("write", file, error))
        });
        if let Err(failure) = noted {
            outcome.warnings.push(format!("the packs of this snapshot are not noted: {failure}"));
        }
    }

    fn packs(&self) -> Result<BTreeSet<PackId>, Failure> {
        let explain = |error: Box<rustic_core::RusticError>| self.explain(&error);
        let mut packs: BTreeSet<PackId> = BTreeSet::new();
        packs.insert(self.repository.get_index_entry(&self.snapshot.tree).map_err(explain)?.pack);
        for entry in self.entries()? {
            let (_, node) = entry.map_err(explain)?;
            for blob in node.content.iter().flatten() {
                packs.insert(self.repository.get_index_entry(blob).map_err(explain)?.pack);
            }
            if let Some(tree) = &node.subtree {
                packs.insert(self.repository.get_index_entry(tree).map_err(explain)?.pack);
            }
        }
        Ok(packs)
    }

    /// The length of a file, as the sum of its parts.
    fn length(&self, node: &Node) -> Result<u64, Failure> {
        let mut length = 0;
        for blob in node.content.iter().flatten() {
            let entry = self.repository.get_index_entry(blob).map_err(|error| self.explain(&error))?;
            length += u64::from(entry.data_length());
        }
        Ok(length)
    }
}

/// Whether something must go before `node` can be written. A regular file stays only where it will be taken as it is, by
/// length and time: contents are written into new files, with holes where the snapshot has zeros.
fn in_the_way(node: &Node, found: &Metadata) -> bool {
    match node.node_type {
        NodeType::Dir => !found.is_dir(),
        NodeType::File => {
            let same_time = modified(node) == Some((found.mtime(), found.mtime_nsec()));
            !found.is_file()
                || found.nlink() > 1
                || node.meta.links > 1
                || found.len() != node.meta.size
                || !same_time
        }
        NodeType::Symlink { .. }
        | NodeType::Dev { .. }
        | NodeType::Chardev { .. }
        | NodeType::Fifo
        | NodeType::Socket => true,
    }
}

fn same_kind(node: &Node, found: &Metadata) -> bool {
    use std::os::unix::fs::FileTypeExt as _;
    let kind = found.file_type();
    match node.node_type {
        NodeType::Dir => kind.is_dir(),
        NodeType::File => kind.is_file(),
        NodeType::Symlink { .. } => kind.is_symlink(),
        NodeType::Dev { .. } => kind.is_block_device(),
        NodeType::Chardev { .. } => kind.is_char_device(),
        NodeType::Fifo => kind.is_fifo(),
        NodeType::Socket => kind.is_socket(),
    }
}

/// Names the first piece of metadata that is not as the snapshot says. Owners are compared by number only where no name
/// was saved: by name, a user may well have another number here.
fn metadata_differs(node: &Node, found: &Metadata) -> Option<String> {
    let meta = &node.meta;
    if let Some(mode) = meta.mode.filter(|_| !node.is_symlink()) {
        let mode = mode & 0o777;
        if found.mode() & 0o777 != mode {
            return Some(format!("mode {:o} instead of {mode:o}", found.mode() & 0o777));
        }
    }
    for (name, number, found) in [(&meta.user, meta.uid, found.uid()), (&meta.group, meta.gid, found.gid())] {
        if let (None, Some(number)) = (name, number)
            && number != found
        {
            return Some(format!("owner or group {found} instead of {number}"));
        }
    }
    if modified(node).is_some_and(|time| time != (found.mtime(), found.mtime_nsec())) {
        return Some("modification time".to_owned());
    }
    None
}
