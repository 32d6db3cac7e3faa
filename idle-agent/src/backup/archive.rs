//! `backup run`: one snapshot of all includes, then its receipt.
//!
//! Nothing is called done before the fresh reader has found every entry that was handed to the library: the library drops
//! files with a log line, and this is where that would show.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use ebbtide_api::vm::Pack;
use rustic_core::repofile::{SnapshotFile, SnapshotId};
use rustic_core::{BackupOptions, FileType, Id, ParentOptions, SnapshotOptions};

use super::Access;
use super::archive_source::Source;
use super::backend::Backend;
use super::events::{Bars, Events, LibraryWarnings, Phase};
use super::excludes::Excludes;
use super::failure::Failure;
use super::mounts::{self, Mounts};
use super::outcome::Outcome;
use super::receipt::{self, Proof};
use super::repository;
use super::scope::Scope;
use super::warnings::PathWarnings;

/// How often everything is looked through at most, as long as files are written to while they are read.
const PASSES: u32 = 3;

/// What to back up.
#[derive(Debug, Clone, clap::Args)]
pub struct Order {
    /// Tag of the snapshot, such as the generation `g3`.
    #[arg(long)]
    pub tag: Vec<String>,
    /// Host name of the snapshot; together with the includes it says which snapshot is the parent.
    #[arg(long)]
    pub host: String,
    /// Where the includes are found; the snapshot names them as if it were `/`.
    #[arg(long, default_value = "/")]
    pub root: PathBuf,
    /// A directory to back up, as an absolute path.
    #[arg(long, required = true)]
    pub include: Vec<PathBuf>,
    /// A directory to back up where it exists.
    #[arg(long)]
    pub optional: Vec<PathBuf>,
    /// The kernel's list of mounts: what is mounted from elsewhere is left out.
    #[arg(long, default_value = mounts::LIST)]
    pub mounts: PathBuf,
    /// More exclude rules, read after the published ones.
    #[arg(long)]
    pub exclude_file: Option<PathBuf>,
    /// Creates the repository when there is none.
    #[arg(long)]
    pub init: bool,
    /// Names of packs (one a line) that are known already; `packs_new` then holds all that the snapshot needs beyond them.
    #[arg(long)]
    pub since_packs: Option<PathBuf>,
}

/// Runs the backup.
///
/// # Errors
/// Any [`Failure`]; a file that cannot be read is none, it is named in the result.
pub fn run(access: &Access, order: &Order, events: &Arc<Events>) -> Result<Outcome, Failure> {
    let begun = Instant::now();
    let known = order.since_packs.as_deref().map(read_names).transpose()?;
    let extra = order.exclude_file.as_deref().map(|path| Ok((path, read(path)?))).transpose()?;
    let excludes = Excludes::parse(extra.as_ref().map(|(path, text)| (*path, text.as_str())))?;
    let key = access.key()?;
    let backend = access.backend();

    events.phase(Phase::Scan);
    let created = order.init && repository::ensure(&backend, &key)?;
    let cache = access.cache()?;
    let scope =
        Scope::new(&order.root, &order.include, &order.optional, excludes, Mounts::read(&order.mounts))?;
    let writer = Writer { backend: &backend, key: &key, cache: cache.path(), order, events };
    let mut changed = false;
    let mut passes = 0;
    let (id, tree, path_warnings) = loop {
        passes += 1;
        let source = Source::new(scope.clone(), Arc::clone(&backend), Arc::clone(events));
        let snapshot = writer.pass(&source)?;
        let is_new = *snapshot.id != Id::default();
        changed |= is_new;
        let id: SnapshotId = if is_new { snapshot.id } else { snapshot.parent.unwrap_or(snapshot.id) };
        let path_warnings = source.path_warnings();
        // Another pass reads what has changed since, above all what was torn.
        if passes == PASSES || !path_warnings.is_torn() {
            path_warnings.admit_torn(events);
            break (id, snapshot.tree, path_warnings);
        }
    };
    // Of a pass that was repeated packs and indexes are left, and its name as this snapshot's parent, which nothing looks
    // up. A snapshot would stay for ever: no list would name it.
    backend.publish(*id)?;

    // A store of its own: nothing the writer remembers can stand in for what is stored. It reads as of this snapshot, so
    // that it proves exactly what a wake will be shown.
    let fresh = Access { as_of: Some(id.to_hex().as_str().to_owned()), ..access.clone() }.backend();
    if created && fresh.list(FileType::Key)?.is_empty() {
        return Err(Failure::Incomplete { what: "the repository", detail: "it has no key file".to_owned() });
    }
    let proof = receipt::read(&fresh, &key, id, events)?;
    compare(&proof, &path_warnings, tree)?;

    let packs_new = match known {
        Some(known) => proof.packs.iter().filter(|(name, _)| !known.contains(*name)).map(pack).collect(),
        None => backend.written_packs().iter().map(pack).collect(),
    };
    let (skipped, skipped_more) = path_warnings.skipped();
    let unreadable = path_warnings.unreadable();
    let (unreadable_more, vanished_more, unsteady_more) = path_warnings.more();
    let (mut warnings, more) = LibraryWarnings::take();
    if more > 0 {
        warnings.push(format!("and {more} more"));
    }
    Ok(Outcome {
        snapshot: id.to_hex().as_str().to_owned(),
        tree: proof.snapshot.tree.to_hex().as_str().to_owned(),
        changed,
        partial: !unreadable.is_empty(),
        packs_new,
        indexes: proof.indexes.iter().cloned().collect(),
        packs_total: proof.packs.len() as u64,
        bytes_total: proof.counts.bytes,
        files: proof.counts.files,
        dirs: proof.counts.dirs,
        skipped,
        skipped_more,
        excluded: path_warnings.own(),
        unreadable,
        unreadable_more,
        vanished: path_warnings.vanished(),
        vanished_more,
        unsteady: path_warnings.unsteady(),
        unsteady_more,
        warnings,
        bytes_sent: backend.rest().bytes_sent(),
        duration_ms: u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX),
    })
}

/// Takes snapshots.
struct Writer<'a> {
    backend: &'a Arc<Backend>,
    key: &'a str,
    cache: &'a Path,
    order: &'a Order,
    events: &'a Arc<Events>,
}

impl Writer<'_> {
    /// Reads everything once. The newest snapshot of the same host and includes is the parent: files that stand as it has
    /// them are not read.
    fn pass(&self, source: &Source) -> Result<SnapshotFile, Failure> {
        let explain = |error: Box<rustic_core::RusticError>| self.backend.explain(&error);
        let bars = Bars::Shown(Arc::clone(self.events));
        let repository =
            repository::open(self.backend, self.key, self.cache, bars)?.to_indexed_ids().map_err(explain)?;
        let mut options = SnapshotOptions::default()
            .host(self.order.host.clone())
            .command("ebb-agent backup run".to_owned());
        for tag in &self.order.tag {
            options = options.add_tags(tag).map_err(explain)?;
        }
        let snapshot = options.to_snapshot().map_err(explain)?;
        let parent = ParentOptions::default().skip_if_unchanged(true);
        let options = BackupOptions::default().parent_opts(parent);
        // Named whether they exist or not: with other paths the parent would not be found.
        let paths = [self.order.include.as_slice(), &self.order.optional].concat();
        let snapshot = repository.archive(&options, source, snapshot, &paths).map_err(explain)?;
        // The library goes on after errors of single files, and a store that fails looks like one to it.
        self.backend.rest().fatal().map_or(Ok(snapshot), Err)
    }
}

/// Checks what the fresh reader found against what the writer wrote.
fn compare(proof: &Proof, path_warnings: &PathWarnings, tree: rustic_core::TreeId) -> Result<(), Failure> {
    if proof.snapshot.tree != tree {
        let detail = "the snapshot in the store has another tree than the one written".to_owned();
        return Err(Failure::Incomplete { what: "the receipt", detail });
    }
    let found = proof.counts.files + proof.counts.others;
    let expected = path_warnings.expected();
    if found != expected {
        let detail = format!("the snapshot holds {found} entries, {expected} were read");
        return Err(Failure::Incomplete { what: "the snapshot", detail });
    }
    Ok(())
}

fn pack((name, size): (&String, &u64)) -> Pack {
    Pack { name: name.clone(), size: *size }
}

fn read(path: &Path) -> Result<String, Failure> {
    std::fs::read_to_string(path).map_err(|error| Failure::local("read", path, error))
}

fn read_names(path: &Path) -> Result<BTreeSet<String>, Failure> {
    Ok(read(path)?.lines().map(|line| line.trim().to_owned()).filter(|line| !line.is_empty()).collect())
}
