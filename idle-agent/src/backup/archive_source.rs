//! The files of a workspace as the backup library reads them: several directories of one machine in one tree.
//!
//! The library drops what it cannot read with a log line; here every such path is written down with its reason, because
//! a receipt must name what it lacks. The directories above and at each include carry their real owner and mode, so that
//! any restic restores them. Which entries there are is `scope.rs`, how each is read `consistent_read.rs`.

use std::collections::HashSet;
use std::io::ErrorKind as IoErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ignore::{DirEntry, WalkBuilder};
use rustic_core::repofile::{Node, NodeType};
use rustic_core::{LocalSourceSaveOptions, ReadSource, ReadSourceEntry, RusticResult, XattrOption};

use super::attributes;
use super::backend::Backend;
use super::consistent_read::{Opener, let_step_pass, mapped_for_writing};
use super::events::Events;
use super::include::{Include, join};
use super::restore_contents::{modified, seconds_and_nanos};
use super::scope::Scope;
use super::warnings::PathWarnings;
use crate::containers;

/// What is to be read.
pub struct Source {
    scope: Scope,
    backend: Arc<Backend>,
    events: Arc<Events>,
    path_warnings: Arc<PathWarnings>,
}

impl Source {
    /// Prepares to read everything in `scope`. Includes that do not exist are written down as skipped.
    pub fn new(scope: Scope, backend: Arc<Backend>, events: Arc<Events>) -> Self {
        let path_warnings = Arc::new(PathWarnings::default());
        for absent in scope.absent() {
            path_warnings.skip(absent, "absent");
        }
        for notice in scope.notices() {
            path_warnings.notice(notice.clone());
        }
        Self { scope, backend, events, path_warnings }
    }

    pub fn path_warnings(&self) -> Arc<PathWarnings> {
        Arc::clone(&self.path_warnings)
    }
}

impl ReadSource for Source {
    type Open = Opener;
    type Iter = Box<dyn Iterator<Item = RusticResult<ReadSourceEntry<Opener>>> + Send>;

    fn size(&self) -> RusticResult<Option<u64>> {
        let mut total = 0;
        for include in self.scope.includes() {
            for entry in self.scope.walk(include, None).flatten() {
                if self.backend.rest().fatal().is_some() {
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
        let root = self.scope.root();
        let above = |path: PathBuf| (path.clone(), Part::Above(join(root, &path), path));
        let mut parts: Vec<(PathBuf, Part)> = self.scope.ancestors().into_iter().map(above).collect();
        let told = self.scope.note_in(&self.path_warnings);
        for include in self.scope.includes() {
            let walk = self.scope.walk(include, Some(Arc::clone(&told)));
            parts.push((include.shown.clone(), Part::Below(Box::new(walk), include.clone())));
        }
        // An ancestor sorts before what it holds, and after everything of an earlier include.
        parts.sort_by(|(one, _), (other, _)| one.cmp(other));
        let reader = Reader {
            backend: Arc::clone(&self.backend),
            events: Arc::clone(&self.events),
            path_warnings: self.path_warnings(),
            mapped: Arc::new(mapped_for_writing()),
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
    backend: Arc<Backend>,
    events: Arc<Events>,
    path_warnings: Arc<PathWarnings>,
    mapped: Arc<HashSet<u64>>,
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
                    let backend = Arc::clone(&self.backend);
                    move |_| backend.rest().fatal().is_none()
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
                        self.path_warnings.fail(&self.events, &path, kind, &error.to_string());
                        None
                    }
                })
                .map(Ok),
            ),
        }
    }

    fn map(&self, entry: DirEntry, shown: &Path) -> Option<ReadSourceEntry<Opener>> {
        let real = entry.path().to_path_buf();
        let options = LocalSourceSaveOptions::default().set_xattrs(XattrOption::No);
        let mut mapped = match options.map_entry(entry) {
            Ok(mapped) => mapped,
            Err(error) => {
                let kind = match real.symlink_metadata() {
                    Err(gone) if gone.kind() == IoErrorKind::NotFound => IoErrorKind::NotFound,
                    _ => IoErrorKind::Other,
                };
                self.path_warnings.fail(&self.events, shown, kind, &error.to_string());
                return None;
            }
        };
        if containers::is_numbered(shown) {
            (mapped.node.meta.user, mapped.node.meta.group) = (None, None);
        }
        let attributes = attributes::read(&real);
        mapped.node.meta.extended_attributes = attributes.kept;
        if !attributes.lost.is_empty() {
            // The entry itself is kept: it is not lost, but not whole either.
            self.path_warnings.fail(&self.events, shown, IoErrorKind::Other, &attributes.lost.join("; "));
        }
        let node = Node::new_node(shown.file_name()?, mapped.node.node_type, mapped.node.meta);
        if !node.is_dir() {
            self.path_warnings.hand();
            self.events.files(1);
        }
        let open = (node.node_type == NodeType::File).then(|| {
            // What is written after this listing must show in the file's times, or the next run would take this
            // snapshot's content for that of then.
            if let Some(changed) = node.meta.ctime {
                let_step_pass(seconds_and_nanos(changed.as_second(), changed.subsec_nanosecond()));
            }
            Opener {
                real,
                shown: shown.to_path_buf(),
                listed: (node.meta.size, modified(&node)),
                events: Arc::clone(&self.events),
                path_warnings: Arc::clone(&self.path_warnings),
                mapped: Arc::clone(&self.mapped),
            }
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

#[cfg(test)]
mod tests {
    use super::super::excludes::Excludes;
    use super::super::failure::show_path;
    use super::super::mounts::Mounts;
    use super::super::rest::{Address, Rest, RetryBudget};
    use super::*;
    use std::time::Duration;

    fn source(root: &Path, includes: &[&str]) -> Source {
        let address = Address {
            base: url::Url::parse("http://127.0.0.1:9/").unwrap(),
            token_file: PathBuf::from("/nonexistent"),
            as_of: None,
        };
        let retry_budget = RetryBudget { stall: Duration::ZERO, renewal: Duration::ZERO };
        let backend = Backend::new(Rest::new(address, retry_budget));
        let includes: Vec<PathBuf> = includes.iter().map(PathBuf::from).collect();
        let excludes = Excludes::parse(None).unwrap();
        let scope = Scope::new(root, &includes, &[], excludes, Mounts::default()).unwrap();
        Source::new(scope, backend, Events::new())
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
    fn the_owners_of_what_containers_keep_are_numbers_whatever_those_are_called_here() {
        let root = tempfile::tempdir().unwrap();
        for dir in
            ["var/lib/docker/volumes/db/_data", "var/lib/docker/overlay2/l1/merged/etc", "workspaces/app"]
        {
            std::fs::create_dir_all(root.path().join(dir)).unwrap();
        }
        let source = source(root.path(), &["/var/lib/docker", "/workspaces"]);
        let entries: Vec<_> = source.entries().map(Result::unwrap).collect();
        let called = |path: &str| {
            let entry = entries.iter().find(|entry| entry.path == Path::new(path)).unwrap();
            (entry.node.meta.user.is_some(), entry.node.meta.uid)
        };
        let number = std::os::unix::fs::MetadataExt::uid(&root.path().metadata().unwrap());
        assert_eq!(called("/var/lib/docker/volumes/db/_data"), (false, Some(number)));
        assert_eq!(called("/workspaces/app"), (true, Some(number)));
        assert!(!entries.iter().any(|entry| entry.path.ends_with("merged")), "a view");
        assert_eq!(source.path_warnings().skipped().0, [], "not worth a word");
    }

    #[test]
    fn what_the_owner_leaves_out_is_counted_by_rule_and_weight() {
        let root = tempfile::tempdir().unwrap();
        for dir in ["home/ebb", "workspaces/app/.git", "workspaces/app/data/deep"] {
            std::fs::create_dir_all(root.path().join(dir)).unwrap();
        }
        let app = root.path().join("workspaces/app");
        std::fs::write(app.join(".ebbignore"), "data/\n.git\n").unwrap();
        std::fs::write(app.join("data/deep/one"), "1234").unwrap();
        std::fs::write(app.join("data/two"), "5").unwrap();
        let source = source(root.path(), &["/home/ebb", "/workspaces"]);
        let listed = listed(&source);
        assert!(listed.contains(&"/workspaces/app/.ebbignore".to_owned()), "{listed:?}");
        assert!(!listed.iter().any(|path| path.contains("data") || path.contains(".git")), "{listed:?}");
        let own = source.path_warnings().own();
        assert_eq!((own.paths, own.files, own.bytes, own.at_least), (2, 2, 5, false));
        assert_eq!(own.first[1].path, "/workspaces/app/data");
        assert_eq!(own.first[1].reason, "`data/` in /workspaces/app/.ebbignore");
        assert!(own.notices.len() == 1 && own.notices[0].contains("pushed nowhere"), "{:?}", own.notices);
        assert_eq!(source.path_warnings().skipped().0, []);
    }
}
