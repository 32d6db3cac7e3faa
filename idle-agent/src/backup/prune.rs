//! `backup tidy`: removes the snapshots that the control plane named, and the packs that nothing needs then.
//!
//! The library's own prune is unfit here. It picks one of several copies of a blob and deletes the rest, on the word of
//! every index that it finds: an index planted by a machine that was taken over could make it keep rubbish. And it gathers
//! the entries of all machines in new indexes, which then show everybody what one of them claimed. So: a pack goes only
//! when *no* index says that it holds anything that a remaining snapshot needs; each tree is checked against its name
//! before it is believed; an index that loses packs is replaced by one that says the rest, in its own place; packs that no
//! index names, or that are needed in part, stay. Reads only what is verified. Everything is planned before anything goes, and
//! whatever is needed and cannot be read ends it with nothing removed (docs/decisions/0004); what is to go is not read.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::hash::{BuildHasher as _, RandomState};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use rustic_core::repofile::{
    BlobType, IndexFile, IndexId, IndexPack, MasterKey, PackId, SnapshotFile, SnapshotId, Tree,
};
use rustic_core::{
    BlobId, BytesList, Credentials, ErrorKind, FileType, Id, IndexedFullStatus, OpenStatus, ReadBackend,
    RepairIndexOptions, Repository, RepositoryBackends, RepositoryOptions, RusticError, RusticResult, TreeId,
    WriteBackend,
};
use serde::Serialize;
use sha2::{Digest as _, Sha256};

use super::Access;
use super::backend::Backend;
use super::events::{Bars, Events, Phase};
use super::failure::Failure;
use super::repository;
use crate::os::mutex::lock;

/// Objects that are read, or removed, at once: the time is short, and nearly all of it is spent waiting for the store.
const AT_ONCE: usize = 8;
/// Indexes that are worked on at once.
const INDEXES_AT_ONCE: usize = 4;

/// What is seen while tidying: what is verified, of all machines, and nothing else.
pub const SEEN_AS_OF: &str = "verified";

/// What to remove.
#[derive(Debug, Clone, clap::Args)]
pub struct Order {
    /// File with the ids of the snapshots, one a line.
    #[arg(long)]
    pub forget: PathBuf,
}

/// What came of it.
#[derive(Debug, Serialize)]
pub struct Outcome {
    pub snapshots: u64,
    pub packs: u64,
    pub bytes: u64,
    pub indexes: u64,
}

/// Tidies.
///
/// # Errors
/// Any [`Failure`]. Up to the first removal nothing has changed; after it, what is left is removed by a repetition, save packs
/// of the few indexes that were worked on, which then are named by none.
pub fn run(access: &Access, order: &Order, events: &Arc<Events>) -> Result<Outcome, Failure> {
    let forget = read_names(&order.forget)?;
    let backend = Access { as_of: Some(SEEN_AS_OF.to_owned()), ..access.clone() }.backend();
    let cache = access.cache()?;
    events.phase(Phase::Scan);
    let explain = |error: Box<RusticError>| backend.explain(&error);
    let repository = repository::open(&backend, &access.key()?, cache.path(), Bars::Hidden)?;
    let (gone, stays) = parted(backend.list(FileType::Snapshot)?.into_iter().map(|(id, _)| id), &forget)?;
    let trees = trees_of(&repository, &backend, &stays)?;
    let indexed = repository.to_indexed().map_err(explain)?;
    let needed = needed_blobs(&indexed, &backend, trees.into_iter(), events)?;
    let repository = indexed.drop_index();
    let plan = Plan::new(&repository, &needed).map_err(explain)?;
    drop(needed);
    let desk = Desk::new(repository.key(), backend.read(FileType::Config, &Id::default())?);
    drop(repository);

    at_once(AT_ONCE, &gone, |snapshot| {
        backend.remove_object(FileType::Snapshot, snapshot)?;
        events.files(1);
        Ok(())
    })?;
    let outcome = Mutex::new(Outcome { snapshots: gone.len() as u64, packs: 0, bytes: 0, indexes: 0 });
    let namings = Mutex::new(plan.namings);
    at_once(INDEXES_AT_ONCE, &plan.changes, |change| {
        let old = backend.read(FileType::Index, &change.index)?;
        if let Some((id, content)) = desk.without(*change.index, old, &change.keeps).map_err(explain)? {
            backend.replace_index(&change.index, &id, &content.into())?;
        }
        backend.remove_object(FileType::Index, &change.index)?;
        lock(&outcome).indexes += 1;
        for (pack, size) in &change.drops {
            let is_last = lock(&namings).get_mut(pack).is_some_and(|left| {
                *left = left.saturating_sub(1);
                *left == 0
            });
            if is_last {
                backend.remove_object(FileType::Pack, pack)?;
                let mut outcome = lock(&outcome);
                outcome.packs += 1;
                outcome.bytes += u64::from(*size);
                drop(outcome);
                events.files(1);
            }
        }
        Ok(())
    })?;
    Ok(outcome.into_inner().unwrap_or_else(PoisonError::into_inner))
}

/// Parts what goes from what stays, by names alone: a damaged snapshot that is to go holds nothing up.
fn parted(
    listed: impl Iterator<Item = Id>,
    forget: &BTreeSet<String>,
) -> Result<(Vec<Id>, Vec<Id>), Failure> {
    let (gone, stays): (Vec<Id>, Vec<Id>) = listed.partition(|id| forget.contains(id.to_hex().as_str()));
    if stays.is_empty() {
        let detail = "no snapshot would be left".to_owned();
        return Err(Failure::Incomplete { what: "the list of snapshots", detail });
    }
    Ok((gone, stays))
}

/// The trees of the snapshots that stay. Of one that cannot be read nobody knows what it needs, and while it is damaged
/// the older ones may be what its owner goes back to: then nothing goes.
fn trees_of(
    repository: &Repository<OpenStatus>,
    backend: &Backend,
    stays: &[Id],
) -> Result<BTreeSet<TreeId>, Failure> {
    let trees = Mutex::new(BTreeSet::new());
    at_once(AT_ONCE, stays, |id| {
        let snapshot: SnapshotFile = repository
            .get_file(&SnapshotId::from(*id))
            .map_err(|error| blame(backend, &error, || format!("snapshots/{}", id.to_hex().as_str())))?;
        lock(&trees).insert(snapshot.tree);
        Ok(())
    })?;
    Ok(trees.into_inner().unwrap_or_else(PoisonError::into_inner))
}

/// What the store says of an object; where it says nothing the object came whole and is not what it should be.
fn blame(backend: &Backend, error: &RusticError, object: impl FnOnce() -> String) -> Failure {
    match backend.explain(error) {
        Failure::Library { message } => Failure::Damaged { object: object(), detail: message },
        failure => failure,
    }
}

/// Does something with each of `all`, so many at once; after the first failure nothing new is begun.
fn at_once<T: Sync>(
    limit: usize,
    all: &[T],
    work: impl Fn(&T) -> Result<(), Failure> + Sync,
) -> Result<(), Failure> {
    let next = AtomicUsize::new(0);
    let failed: Mutex<Option<Failure>> = Mutex::new(None);
    std::thread::scope(|scope| {
        for _ in 0..limit.min(all.len()) {
            scope.spawn(|| {
                while lock(&failed).is_none()
                    && let Some(one) = all.get(next.fetch_add(1, Ordering::Relaxed))
                {
                    if let Err(failure) = work(one) {
                        lock(&failed).get_or_insert(failure);
                    }
                }
            });
        }
    });
    failed.into_inner().unwrap_or_else(PoisonError::into_inner).map_or(Ok(()), Err)
}

/// Blobs that are needed, as hashes: a quarter of the memory, and one that is taken for another only keeps a pack.
#[derive(Default)]
struct Needed {
    hasher: RandomState,
    hashes: HashSet<u64>,
}

impl Needed {
    fn insert(&mut self, blob: BlobId) {
        self.hashes.insert(self.hasher.hash_one(blob));
    }

    fn contains(&self, blob: &BlobId) -> bool {
        self.hashes.contains(&self.hasher.hash_one(blob))
    }
}

/// Every blob that these trees hold, the trees among them. A tree that is not what its name says ends it.
fn needed_blobs(
    repository: &Repository<IndexedFullStatus>,
    backend: &Backend,
    roots: impl Iterator<Item = TreeId>,
    events: &Events,
) -> Result<Needed, Failure> {
    // By their whole names: one that was passed over would lose what it holds.
    let mut read: HashSet<TreeId> = HashSet::new();
    let mut level: Vec<TreeId> = roots.filter(|tree| read.insert(*tree)).collect();
    let found = Mutex::new((Needed::default(), HashSet::<TreeId>::new()));
    while !level.is_empty() {
        at_once(AT_ONCE, &level, |tree| {
            let blob = BlobId::from(**tree);
            let content = repository.get_blob_cached(&blob, BlobType::Tree).map_err(|error| {
                blame(backend, &error, || {
                    let pack = repository.get_index_entry(tree).map(|entry| entry.pack);
                    pack.map_or_else(
                        |_| format!("tree {}", tree.to_hex().as_str()),
                        |pack| format!("data/{}", pack.to_hex().as_str()),
                    )
                })
            })?;
            let nodes = checked_tree(tree, &content)?.nodes;
            let mut found = lock(&found);
            found.0.insert(blob);
            for node in nodes {
                node.content.iter().flatten().for_each(|blob| found.0.insert(BlobId::from(**blob)));
                found.1.extend(node.subtree);
            }
            drop(found);
            events.files(1);
            Ok(())
        })?;
        let below = std::mem::take(&mut lock(&found).1);
        level = below.into_iter().filter(|tree| read.insert(*tree)).collect();
    }
    Ok(found.into_inner().unwrap_or_else(PoisonError::into_inner).0)
}

fn checked_tree(tree: &TreeId, content: &[u8]) -> Result<Tree, Failure> {
    let name = tree.to_hex();
    let damaged = |detail: String| Failure::Damaged { object: format!("tree {}", name.as_str()), detail };
    if hex::encode(Sha256::digest(content)) != name.as_str() {
        return Err(damaged("its content does not match its name".to_owned()));
    }
    serde_json::from_slice(content).map_err(|error| damaged(error.to_string()))
}

/// What goes, index by index.
struct Plan {
    changes: Vec<Change>,
    /// How many indexes name each pack that goes.
    namings: HashMap<PackId, u32>,
}

/// An index that names packs that go.
struct Change {
    index: IndexId,
    drops: Vec<(PackId, u32)>,
    keeps: Vec<(Id, u32)>,
}

impl Plan {
    fn new(repository: &Repository<OpenStatus>, needed: &Needed) -> RusticResult<Self> {
        let mut stays: HashSet<PackId> = HashSet::new();
        for file in repository.stream_files::<IndexFile>()? {
            let (_, index) = file?;
            let is_needed = |pack: &&IndexPack| {
                pack.blobs.is_empty() || pack.blobs.iter().any(|blob| needed.contains(&blob.id))
            };
            stays.extend(index.packs.iter().filter(is_needed).map(|pack| pack.id));
            // Marked by another program: its business.
            stays.extend(index.packs_to_delete.iter().map(|pack| pack.id));
        }
        let mut plan = Self { changes: Vec::new(), namings: HashMap::new() };
        for file in repository.stream_files::<IndexFile>()? {
            let (id, index) = file?;
            let mut change = Change { index: id, drops: Vec::new(), keeps: Vec::new() };
            for pack in index.packs.iter().chain(&index.packs_to_delete) {
                if stays.contains(&pack.id) {
                    change.keeps.push((*pack.id, pack.pack_size()));
                } else {
                    change.drops.push((pack.id, pack.pack_size()));
                }
            }
            if !change.drops.is_empty() {
                let distinct: BTreeSet<PackId> = change.drops.iter().map(|(pack, _)| *pack).collect();
                distinct.into_iter().for_each(|pack| *plan.namings.entry(pack).or_insert(0) += 1);
                change.drops.sort_unstable();
                change.drops.dedup_by_key(|(pack, _)| *pack);
                plan.changes.push(change);
            }
        }
        Ok(plan)
    }
}

/// A repository in memory that holds one index and claims to hold the packs that stay: on it the library writes the index
/// anew without the others, in restic's own form and under the repository's key.
struct Desk {
    key: MasterKey,
    config: Bytes,
}

impl Desk {
    fn new(key: MasterKey, config: Bytes) -> Self {
        Self { key, config }
    }

    /// The index without the packs that are not kept; `None` where nothing is left of it.
    fn without(&self, id: Id, index: Bytes, keeps: &[(Id, u32)]) -> RusticResult<Option<(Id, Bytes)>> {
        if keeps.is_empty() {
            return Ok(None);
        }
        let paper = Arc::new(Paper {
            config: self.config.clone(),
            index: Mutex::new(vec![(id, index)]),
            packs: keeps.to_vec(),
        });
        let backends = RepositoryBackends::new(Arc::<Paper>::clone(&paper), None);
        let credentials = Credentials::Masterkey(self.key.clone());
        Repository::new(&RepositoryOptions::default().no_cache(true), &backends)?
            .open(&credentials)?
            .repair_index(&RepairIndexOptions::default(), false)?;
        let left = lock(&paper.index);
        match left.as_slice() {
            [(new, content)] if *new != id => Ok(Some((*new, content.clone()))),
            _ => Err(RusticError::new(ErrorKind::Internal, "an index was not written anew")),
        }
    }
}

struct Paper {
    config: Bytes,
    index: Mutex<Vec<(Id, Bytes)>>,
    packs: Vec<(Id, u32)>,
}

impl ReadBackend for Paper {
    fn location(&self) -> String {
        "memory".to_owned()
    }

    fn list_with_size(&self, kind: FileType) -> RusticResult<Vec<(Id, u32)>> {
        let size = |content: &Bytes| u32::try_from(content.len()).unwrap_or(u32::MAX);
        Ok(match kind {
            FileType::Config => vec![(Id::default(), size(&self.config))],
            FileType::Index => lock(&self.index).iter().map(|(id, content)| (*id, size(content))).collect(),
            FileType::Pack => self.packs.clone(),
            FileType::Key | FileType::Snapshot => Vec::new(),
        })
    }

    fn read_full(&self, kind: FileType, id: &Id) -> RusticResult<Bytes> {
        let found = match kind {
            FileType::Config => Some(self.config.clone()),
            FileType::Index => {
                lock(&self.index).iter().find(|(known, _)| known == id).map(|(_, content)| content.clone())
            }
            FileType::Key | FileType::Snapshot | FileType::Pack => None,
        };
        found.ok_or_else(|| RusticError::new(ErrorKind::Backend, "there is no such object"))
    }

    fn read_partial(&self, _: FileType, _: &Id, _: bool, _: u32, _: u32) -> RusticResult<Bytes> {
        Err(RusticError::new(ErrorKind::Backend, "packs are not read here"))
    }

    fn warmup_path(&self, _: FileType, _: &Id) -> String {
        String::new()
    }
}

impl WriteBackend for Paper {
    fn write_bytes(&self, kind: FileType, id: &Id, _: bool, content: BytesList) -> RusticResult<()> {
        if kind == FileType::Index {
            let whole: Vec<u8> = content.slice().iter().flat_map(|part| part.iter().copied()).collect();
            lock(&self.index).push((*id, whole.into()));
        }
        Ok(())
    }

    fn remove(&self, kind: FileType, id: &Id, _: bool) -> RusticResult<()> {
        if kind == FileType::Index {
            lock(&self.index).retain(|(known, _)| known != id);
        }
        Ok(())
    }
}

fn read_names(path: &Path) -> Result<BTreeSet<String>, Failure> {
    let text = std::fs::read_to_string(path).map_err(|error| Failure::local("read", path, error))?;
    Ok(text.lines().map(|line| line.trim().to_owned()).filter(|line| !line.is_empty()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_is_done_a_few_at_once_and_nothing_is_begun_after_a_failure() {
        let all: Vec<usize> = (0..100).collect();
        let done = AtomicUsize::new(0);
        at_once(3, &all, |_| {
            done.fetch_add(1, Ordering::SeqCst);
            Ok(())
        })
        .unwrap();
        assert_eq!(done.load(Ordering::SeqCst), 100);
        let begun = AtomicUsize::new(0);
        let ended = at_once(1, &all, |one| {
            begun.fetch_add(1, Ordering::SeqCst);
            if *one == 4 { Err(Failure::NoRepository) } else { Ok(()) }
        });
        assert!(ended.is_err());
        assert_eq!(begun.load(Ordering::SeqCst), 5);
        assert!(at_once(3, &[] as &[usize], |_| Err(Failure::NoRepository)).is_ok());
    }

    #[test]
    fn what_goes_and_what_stays_is_told_by_names_and_something_always_stays() {
        let ids: Vec<Id> = ["11", "22", "33"].map(|byte| byte.repeat(32).parse().unwrap()).into();
        let forget = |numbers: &[&str]| numbers.iter().map(|byte| byte.repeat(32)).collect();
        let (gone, stays) = parted(ids.iter().copied(), &forget(&["22", "44"])).unwrap();
        assert_eq!((gone, stays), (vec![ids[1]], vec![ids[0], ids[2]]));
        let all = parted(ids.iter().copied(), &forget(&["11", "22", "33"]));
        assert!(matches!(all, Err(Failure::Incomplete { .. })), "{all:?}");
        let empty = parted(std::iter::empty(), &forget(&["11"]));
        assert!(matches!(empty, Err(Failure::Incomplete { .. })), "{empty:?}");
    }

    #[test]
    fn a_tree_that_is_not_what_its_name_says_is_not_believed() {
        let content = br#"{"nodes":[]}"#;
        let name: TreeId = hex::encode(Sha256::digest(content)).parse().unwrap();
        assert!(checked_tree(&name, content).is_ok());
        let other = checked_tree(&name, br#"{"nodes":[] }"#);
        assert!(matches!(other, Err(Failure::Damaged { .. })), "{other:?}");
    }
}
