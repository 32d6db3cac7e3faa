//! What a backup covers: the directories, and which of their entries a rule leaves out.
//!
//! The same walk serves the backup, the estimate and the preview, so that what people are shown before is what is done
//! then. Must never follow a symbolic link below an include.

use std::collections::BTreeSet;
use std::io::ErrorKind as IoErrorKind;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use ignore::WalkBuilder;

use super::ebbignore::{OwnRules, Said};
use super::excludes::Excludes;
use super::failure::{Failure, show_path};
use super::include::{Include, join};
use super::mounts::Mounts;
use super::warnings::{PathWarnings, Weight};
use super::worktrees::{self, Worktrees};
use crate::containers;

/// Entries that a run counts below directories that the owner's rules leave out; then it is "at least".
const WEIGHED: u64 = 50_000;

/// Who left a path out, and by which rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LeftOut {
    Published(String),
    Own(String),
    /// It is a mount of this kind, whose files are not on this machine: nothing may look at it.
    Mount(String),
}

impl LeftOut {
    /// What a receipt says of a mount.
    pub fn mount_reason(kind: &str) -> String {
        format!("a mount ({kind}) whose files are not on this machine")
    }
}

/// What is told about a path that is left out: where it lies, how it is shown, whether it is a directory, and the rule.
pub type Told = Arc<dyn Fn(&Path, &Path, bool, &LeftOut) + Send + Sync>;

/// Directories and rules.
#[derive(Debug, Clone)]
pub struct Scope {
    root: PathBuf,
    includes: Vec<Include>,
    /// Those of the includes that nobody named: worktrees that lie elsewhere.
    worktrees: Arc<Worktrees>,
    absent: Vec<PathBuf>,
    excludes: Arc<Excludes>,
    own: Arc<OwnRules>,
    mounts: Arc<Mounts>,
}

impl Scope {
    /// Looks at `wanted`, absolute paths below `root`, and at `optional`, whose absence is nothing to speak of; reads the
    /// owner's rules.
    ///
    /// # Errors
    /// `Local` when an include is not an absolute plain path, or when none of them exists: an empty snapshot is no backup.
    pub fn new(
        root: &Path,
        wanted: &[PathBuf],
        optional: &[PathBuf],
        excludes: Excludes,
        mounts: Mounts,
    ) -> Result<Self, Failure> {
        let mut includes: Vec<Include> = Vec::new();
        let mut absent = Vec::new();
        for shown in plain_includes(&[wanted, optional].concat())? {
            let real = join(root, &shown);
            match real.canonicalize() {
                Ok(real) => includes.push(Include { shown, real }),
                Err(error) if error.kind() == IoErrorKind::NotFound => {
                    if wanted.contains(&shown) {
                        absent.push(shown);
                    }
                }
                Err(error) => return Err(Failure::local("read", &real, error)),
            }
        }
        if includes.is_empty() {
            return Err(Failure::local("read", root, "none of the directories to back up exists"));
        }
        let own = Arc::new(OwnRules::read(&includes, &mounts));
        let worktrees = Arc::new(worktrees::find(root, &includes, &mounts));
        includes.extend(worktrees.kept.iter().cloned());
        let (excludes, mounts) = (Arc::new(excludes), Arc::new(mounts));
        Ok(Self { root: root.to_path_buf(), includes, worktrees, absent, excludes, own, mounts })
    }

    pub fn root(&self) -> &Path {
        &self.root
    }

    pub fn includes(&self) -> &[Include] {
        &self.includes
    }

    /// Includes that do not exist.
    pub fn absent(&self) -> &[PathBuf] {
        &self.absent
    }

    /// What is mounted.
    pub fn mounts(&self) -> &Arc<Mounts> {
        &self.mounts
    }

    /// What was wrong with the owner's rules, and which work is not kept.
    pub fn notices(&self) -> impl Iterator<Item = &String> {
        self.own.notices().iter().chain(&self.worktrees.notices)
    }

    /// Walks an include in the order of its paths; what is left out is told.
    pub fn walk(&self, include: &Include, told: Option<Told>) -> ignore::Walk {
        let (scope, at) = (self.clone(), include.clone());
        WalkBuilder::new(&include.real)
            .standard_filters(false)
            .follow_links(false)
            .sort_by_file_path(Path::cmp)
            .filter_entry(move |entry| {
                let shown = at.show(entry.path());
                if shown == at.shown {
                    return true;
                }
                // Nothing of its own, in every backup of a container that runs: not worth a word.
                if containers::is_view(&shown) {
                    return false;
                }
                let is_dir = entry.file_type().is_some_and(|kind| kind.is_dir());
                let left_out = scope.left_out(entry.path(), &shown, is_dir);
                if let (Some(left_out), Some(told)) = (&left_out, &told) {
                    told(entry.path(), &shown, is_dir, left_out);
                }
                left_out.is_none()
            })
            .build()
    }

    fn left_out(&self, real: &Path, shown: &Path, is_dir: bool) -> Option<LeftOut> {
        // Before anything looks at it, and whatever the owner's rules say: it cannot be kept.
        if let Some(kind) = self.mounts.foreign(real) {
            return Some(LeftOut::Mount(kind.to_owned()));
        }
        let in_worktree = self.worktrees.kept.iter().any(|at| real.starts_with(&at.real));
        if in_worktree && is_dir && worktrees::is_rebuilt(real) {
            return Some(LeftOut::Published(worktrees::REBUILT.to_owned()));
        }
        match self.own.judge(shown, is_dir) {
            Said::Keep => None,
            Said::Leave(rule) => Some(LeftOut::Own(rule)),
            Said::Nothing => {
                let rule = self.excludes.rule_for(shown, is_dir).filter(|_| !self.is_brought_back(shown));
                rule.map(|rule| LeftOut::Published(rule.to_owned()))
            }
        }
    }

    /// Whether the owner's rules bring back a directory that a path lies in: `!.cache/` means all of it.
    fn is_brought_back(&self, shown: &Path) -> bool {
        shown.ancestors().skip(1).any(|above| self.own.judge(above, true) == Said::Keep)
    }

    /// A listener that writes down what is left out, with its weight where the owner's rules did it.
    pub fn note_in(&self, path_warnings: &Arc<PathWarnings>) -> Told {
        let path_warnings = Arc::clone(path_warnings);
        let left = AtomicU64::new(WEIGHED);
        let mounts = Arc::clone(&self.mounts);
        Arc::new(move |real, shown, is_dir, left_out| match left_out {
            LeftOut::Published(rule) => path_warnings.skip(shown, rule),
            LeftOut::Mount(kind) => path_warnings.skip(shown, &LeftOut::mount_reason(kind)),
            LeftOut::Own(rule) => {
                let weight = weigh(real, &left, &mounts);
                path_warnings.exclude(shown, rule, weight);
                if let Some(text) = missed(shown, is_dir, rule, weight) {
                    path_warnings.notice(text);
                }
            }
        })
    }

    /// Directories above the includes, outermost first, each once.
    pub fn ancestors(&self) -> BTreeSet<PathBuf> {
        self.includes
            .iter()
            .flat_map(|include| include.shown.ancestors().skip(1))
            .filter(|path| path.file_name().is_some())
            .map(Path::to_path_buf)
            .collect()
    }
}

/// What people tend to miss later: said, and honoured all the same.
pub fn missed(shown: &Path, is_dir: bool, rule: &str, weight: Weight) -> Option<String> {
    let name = shown.file_name()?;
    let path = show_path(shown);
    if name == ".git" {
        return Some(format!(
            "{rule} leaves out {path}: commits that are pushed nowhere end with the machine"
        ));
    }
    let in_workspaces = shown.parent().and_then(Path::file_name).is_some_and(|above| above == "workspaces");
    if weight.history {
        return Some(format!(
            "{rule} leaves out the whole of {path}, a repository with it: commits that are pushed nowhere end with the \
             machine"
        ));
    }
    (is_dir && in_workspaces).then(|| format!("{rule} leaves out the whole of {path}"))
}

/// Counts the files at and below a path, as long as the budget lasts; what is mounted there from elsewhere is left alone.
pub fn weigh(real: &Path, budget: &AtomicU64, mounts: &Arc<Mounts>) -> Weight {
    let mut weight = Weight::default();
    let mounts = Arc::clone(mounts);
    let walk = WalkBuilder::new(real)
        .standard_filters(false)
        .follow_links(false)
        .filter_entry(move |entry| mounts.foreign(entry.path()).is_none())
        .build();
    for entry in walk.flatten() {
        let spent =
            budget.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_err();
        if spent {
            weight.at_least = true;
            break;
        }
        weight.history |= entry.depth() > 0 && entry.file_name() == ".git";
        if entry.file_type().is_some_and(|kind| !kind.is_dir()) {
            weight.files += 1;
            weight.bytes += entry.metadata().map_or(0, |found| found.len());
        }
    }
    weight
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn relative_and_climbing_includes_are_refused() {
        for path in ["home", "/home/../etc"] {
            assert_eq!(plain_includes(&[PathBuf::from(path)]).unwrap_err().code(), "local", "{path}");
        }
    }

    #[test]
    fn a_whole_workspace_or_its_history_is_left_out_but_said() {
        let weight = |history| Weight { history, ..Weight::default() };
        let said = |path: &str| missed(Path::new(path), true, "`x` in /workspaces/.ebbignore", weight(false));
        let holds =
            missed(Path::new("/home/ebb/src"), true, "`s*` in /home/ebb/.ebbignore", weight(true)).unwrap();
        assert!(holds.contains("the whole of /home/ebb/src, a repository with it"), "{holds}");
        assert_eq!(
            said("/workspaces/app").unwrap(),
            "`x` in /workspaces/.ebbignore leaves out the whole of /workspaces/app"
        );
        assert!(said("/workspaces/app/.git").unwrap().contains("pushed nowhere"));
        assert_eq!(said("/workspaces/app/target"), None);
        assert_eq!(said("/home/ebb/Downloads"), None);
    }

    #[test]
    fn weighing_stops_at_its_budget_and_says_so() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["a", "b", "c"] {
            std::fs::write(dir.path().join(name), "four").unwrap();
        }
        let weigh = |budget| weigh(dir.path(), &AtomicU64::new(budget), &Arc::default());
        let whole = weigh(100);
        assert_eq!(whole, Weight { files: 3, bytes: 12, at_least: false, history: false });
        std::fs::create_dir(dir.path().join(".git")).unwrap();
        assert!(weigh(100).history);
        assert!(weigh(2).at_least);
    }
}
