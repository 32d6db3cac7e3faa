//! The receipt: proof, by a reader that trusts nothing of the writer, that a snapshot is whole in the store.
//!
//! The reader opens the repository anew with an empty cache, reads snapshot and trees through the control plane, looks up
//! every blob in the index and every pack in a listing of the store, and compares sizes. It reads no file content: that
//! each object is what its name says was checked by the store when it arrived.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use rustic_core::repofile::{IndexFile, IndexId, Node, PackId, SnapshotFile, SnapshotId};
use rustic_core::{FileType, Id, IndexedFullStatus, Repository, TreeId};

use super::backend::Backend;
use super::events::{Bars, Events, Phase};
use super::failure::Failure;
use super::repository;

/// What a fresh reader found of one snapshot: what the receipt says is worked out from it.
#[derive(Debug)]
pub struct Proof {
    pub snapshot: SnapshotFile,
    /// Every pack that the snapshot needs, with the size that the store reports.
    pub packs: BTreeMap<String, u64>,
    /// Every index that names one of them: what it was read through.
    pub indexes: BTreeSet<String>,
    pub counts: Counts,
}

/// Entries below a tree; a file of several names counts once for each.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Counts {
    pub files: u64,
    pub others: u64,
    pub dirs: u64,
    /// Logical bytes of the files.
    pub bytes: u64,
}

impl Counts {
    fn add(&mut self, other: Self) {
        self.files += other.files;
        self.others += other.others;
        self.dirs += other.dirs;
        self.bytes += other.bytes;
    }
}

/// Reads the snapshot back, from nothing.
///
/// # Errors
/// `Incomplete` when a blob or a pack is missing; `Damaged` when an object is not what its name says, or has another size
/// than the index says; what the store says.
pub fn read(
    backend: &Arc<Backend>,
    key: &str,
    snapshot: SnapshotId,
    events: &Arc<Events>,
) -> Result<Proof, Failure> {
    events.phase(Phase::Verify);
    let cache =
        tempfile::tempdir().map_err(|error| Failure::local("write to", &std::env::temp_dir(), error))?;
    let repository = repository::open(backend, key, cache.path(), Bars::Hidden)?;
    let explain = |error: Box<rustic_core::RusticError>| backend.explain(&error);
    let snapshot: SnapshotFile = {
        let mut file: SnapshotFile = repository.get_file(&snapshot).map_err(explain)?;
        file.id = snapshot;
        file
    };
    let indexed = indexed_packs(&repository).map_err(explain)?;
    let repository = repository.to_indexed().map_err(explain)?;
    let mut reader =
        Reader { repository: &repository, backend, events, packs: HashSet::new(), seen: HashMap::new() };
    let counts = reader.tree(snapshot.tree)?;
    let stored: BTreeMap<Id, u64> = backend.list(FileType::Pack)?.into_iter().collect();
    let (mut packs, mut indexes) = (BTreeMap::new(), BTreeSet::new());
    for pack in reader.packs {
        let name = hex_of(&pack);
        let known = indexed.get(&pack);
        indexes.extend(known.into_iter().flat_map(|known| &known.named_by).map(|index| hex_of(index)));
        match (stored.get(&*pack), known.map(|known| known.size)) {
            (None, _) => {
                return Err(Failure::Incomplete {
                    what: "the receipt",
                    detail: format!("data/{name} is not in the store"),
                });
            }
            (Some(found), Some(expected)) if *found != expected => {
                let detail = format!("the store has {found} bytes of it, the index says {expected}");
                return Err(Failure::Damaged { object: format!("data/{name}"), detail });
            }
            (Some(found), _) => packs.insert(name, *found),
        };
    }
    Ok(Proof { snapshot, packs, indexes, counts })
}

/// What the indexes say of a pack.
#[derive(Default)]
struct IndexedPack {
    /// Its size, worked out from what is in it.
    size: u64,
    named_by: Vec<IndexId>,
}

fn indexed_packs(
    repository: &Repository<rustic_core::OpenStatus>,
) -> rustic_core::RusticResult<HashMap<PackId, IndexedPack>> {
    let mut packs: HashMap<PackId, IndexedPack> = HashMap::new();
    for file in repository.stream_files::<IndexFile>()? {
        let (id, index) = file?;
        for pack in index.packs {
            let known = packs.entry(pack.id).or_default();
            known.size = u64::from(pack.pack_size());
            known.named_by.push(id);
        }
    }
    Ok(packs)
}

struct Reader<'a> {
    repository: &'a Repository<IndexedFullStatus>,
    backend: &'a Backend,
    events: &'a Events,
    packs: HashSet<PackId>,
    seen: HashMap<TreeId, Counts>,
}

impl Reader<'_> {
    /// Counts what is below a tree. Equal trees are read once and counted as often as they occur.
    fn tree(&mut self, id: TreeId) -> Result<Counts, Failure> {
        if let Some(counts) = self.seen.get(&id) {
            return Ok(*counts);
        }
        let entry =
            self.repository.get_index_entry(&id).map_err(|_| missing(&format!("tree {}", hex_of(&id))))?;
        self.packs.insert(entry.pack);
        let tree = self.repository.get_tree(&id).map_err(|error| self.backend.explain(&error))?;
        let mut counts = Counts::default();
        for node in &tree.nodes {
            counts.add(self.node(node)?);
        }
        self.seen.insert(id, counts);
        Ok(counts)
    }

    fn node(&mut self, node: &Node) -> Result<Counts, Failure> {
        let mut counts = Counts::default();
        if node.is_dir() {
            counts.dirs = 1;
            let subtree =
                node.subtree.ok_or_else(|| missing(&format!("the tree of the directory {}", node.name)))?;
            counts.add(self.tree(subtree)?);
            return Ok(counts);
        }
        if !node.is_file() {
            counts.others = 1;
            return Ok(counts);
        }
        counts.files = 1;
        for blob in node.content.iter().flatten() {
            let entry = self
                .repository
                .get_index_entry(blob)
                .map_err(|_| missing(&format!("blob {} of the file {}", hex_of(blob), node.name)))?;
            self.packs.insert(entry.pack);
            counts.bytes += u64::from(entry.data_length());
        }
        self.events.files(1);
        self.events.bytes(counts.bytes);
        Ok(counts)
    }
}

fn missing(what: &str) -> Failure {
    Failure::Incomplete { what: "the receipt", detail: format!("{what} is not in the index") }
}

fn hex_of(id: &Id) -> String {
    id.to_hex().as_str().to_owned()
}
