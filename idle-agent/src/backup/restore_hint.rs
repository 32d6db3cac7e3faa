//! After a restore that met a damaged object: which older snapshot stands without it.
//!
//! Read only, and only once something is lost already; whatever it cannot find out it leaves unsaid. Must never hide the
//! damage: it adds a clause to it.

use std::collections::HashSet;
use std::sync::Arc;

use rustic_core::repofile::{PackId, SnapshotFile};
use rustic_core::{IndexedFullStatus, Repository, TreeId};

use super::Access;
use super::events::Bars;
use super::repository;

/// Older snapshots that are looked through.
const LOOKED_AT: usize = 30;

/// Says what can be done about a damaged object, as a clause; `wanted` is the snapshot that cannot be restored.
pub fn advise(access: &Access, wanted: &str, object: &str) -> Option<String> {
    let backend = access.backend();
    let key = access.key().ok()?;
    let cache = tempfile::tempdir().ok()?;
    let repository = repository::open(&Arc::clone(&backend), &key, cache.path(), Bars::Hidden).ok()?;
    let mut snapshots: Vec<SnapshotFile> = repository.get_all_snapshots().ok()?;
    snapshots.sort_by(|one, other| other.time.cmp(&one.time));
    let chosen = match wanted {
        "latest" => snapshots.first().cloned(),
        _ => snapshots.iter().find(|snapshot| snapshot.id.to_hex().as_str().starts_with(wanted)).cloned(),
    };
    let older = |snapshot: &SnapshotFile| {
        chosen.as_ref().is_none_or(|chosen| snapshot.time < chosen.time && snapshot.id != chosen.id)
    };
    snapshots.retain(older);
    snapshots.truncate(LOOKED_AT);
    let named = |snapshot: &SnapshotFile| {
        format!("snapshot {} of {}", snapshot.id.to_hex().as_str(), snapshot.time.timestamp())
    };
    let Some(pack) = object.strip_prefix("data/").and_then(|name| name.parse::<PackId>().ok()) else {
        return snapshots.first().map(|next| format!("the next older one is {}", named(next)));
    };
    let repository = repository.to_indexed().ok()?;
    let mut looker = Looker { repository: &repository, pack, without: HashSet::new() };
    let found = snapshots.iter().find(|snapshot| looker.is_without(snapshot.tree));
    Some(found.map_or_else(
        || "no older snapshot stands without it".to_owned(),
        |found| format!("{} stands without it: wake that one", named(found)),
    ))
}

struct Looker<'a> {
    repository: &'a Repository<IndexedFullStatus>,
    pack: PackId,
    /// Trees that were found to need nothing of the pack.
    without: HashSet<TreeId>,
}

impl Looker<'_> {
    fn is_without(&mut self, tree: TreeId) -> bool {
        if self.without.contains(&tree) {
            return true;
        }
        if self.repository.get_index_entry(&tree).map_or(true, |entry| entry.pack == self.pack) {
            return false;
        }
        let Ok(found) = self.repository.get_tree(&tree) else { return false };
        for node in &found.nodes {
            let container_listeners =
                |blob| self.repository.get_index_entry(blob).is_ok_and(|at| at.pack != self.pack);
            if !node.content.iter().flatten().all(container_listeners)
                || node.subtree.is_some_and(|below| !self.is_without(below))
            {
                return false;
            }
        }
        self.without.insert(tree);
        true
    }
}
