//! What a backup would hold if it were taken now, by a walk that reads no file: the preview for people and the estimate
//! for the daemon.
//!
//! It walks exactly as the backup does. Must never touch the store, and never be heavy: the daemon runs it at the lowest
//! priority and it ends after a bounded time, saying that it saw only a part.

use std::collections::{BTreeMap, HashSet};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde::Serialize;

use super::excludes::Excludes;
use super::failure::{Failure, show_path};
use super::mounts::{self, Mounts};
use super::scope::{LeftOut, Scope, missed, weigh};
use crate::os::mutex::lock;

/// Directories and left-out paths shown by name.
const SHOWN: usize = 15;
/// Directories are summed up so many levels below an include.
const LEVELS: usize = 2;
/// Files counted below left-out directories.
const WEIGHED: u64 = 500_000;

/// What to look at.
#[derive(Debug, Clone, clap::Args)]
pub struct Order {
    /// Where the includes are found.
    #[arg(long, default_value = "/")]
    pub root: PathBuf,
    /// A directory to look at, as an absolute path.
    #[arg(long, required = true)]
    pub include: Vec<PathBuf>,
    /// A directory to look at where it exists.
    #[arg(long)]
    pub optional: Vec<PathBuf>,
    /// Counts files as new that changed after this time, in seconds since 1970; all of them where absent.
    #[arg(long)]
    pub since: Option<i64>,
    /// Ends after so many seconds.
    #[arg(long, default_value_t = 120)]
    pub within_secs: u64,
}

/// What was found.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize)]
pub struct Survey {
    pub files: u64,
    pub bytes: u64,
    /// Bytes of the files that changed after the given time.
    pub new_bytes: u64,
    /// Directories that could not be looked into by who asked.
    pub unreadable: Vec<String>,
    /// The largest directories, each with everything below it.
    pub largest: Vec<Heap>,
    /// What the owner's rules leave out, the largest first.
    pub excluded: Vec<Heap>,
    pub excluded_files: u64,
    pub excluded_bytes: u64,
    /// What the published list leaves out, the largest first.
    pub published: Vec<Heap>,
    pub notices: Vec<String>,
    /// Set where time ran out: there is more.
    pub at_least: bool,
}

/// A path and what is below it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Heap {
    pub path: String,
    pub files: u64,
    pub bytes: u64,
    /// The rule that leaves it out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rule: Option<String>,
}

/// Paths that are left out: the owner's, then the published list's.
#[derive(Default)]
struct Left {
    own: Vec<Heap>,
    published: Vec<Heap>,
    notices: Vec<String>,
    at_least: bool,
}

/// Looks.
///
/// # Errors
/// `Local` when none of the includes exists.
pub fn run(order: &Order) -> Result<Survey, Failure> {
    let mounts = Mounts::read(Path::new(mounts::LIST));
    let scope = Scope::new(&order.root, &order.include, &order.optional, Excludes::parse(None)?, mounts)?;
    let ends = Instant::now() + Duration::from_secs(order.within_secs);
    let mut survey = Survey { notices: scope.notices().cloned().collect(), ..Survey::default() };
    let mut heaps: BTreeMap<PathBuf, (u64, u64)> = BTreeMap::new();
    let mut linked: HashSet<(u64, u64)> = HashSet::new();
    let left: Arc<Mutex<Left>> = Arc::default();
    for include in scope.includes() {
        for entry in scope.walk(include, Some(listener(&left, scope.mounts()))) {
            if Instant::now() >= ends {
                survey.at_least = true;
                break;
            }
            let entry = match entry {
                Ok(entry) => entry,
                Err(error) => {
                    survey.unreadable.push(error.to_string());
                    continue;
                }
            };
            let Ok(found) = entry.metadata() else { continue };
            if found.is_dir() || (found.nlink() > 1 && !linked.insert((found.dev(), found.ino()))) {
                continue;
            }
            let bytes = if found.is_file() { found.len() } else { 0 };
            survey.files += 1;
            survey.bytes += bytes;
            if order.since.is_none_or(|since| found.ctime() >= since) {
                survey.new_bytes += bytes;
            }
            let shown = include.show(entry.path());
            let levels = include.shown.components().count() + LEVELS;
            for above in shown.ancestors().skip(1).filter(|above| above.starts_with(&include.shown)) {
                if above.components().count() <= levels {
                    let heap = heaps.entry(above.to_path_buf()).or_default();
                    *heap = (heap.0 + 1, heap.1 + bytes);
                }
            }
        }
    }
    survey.largest = largest(
        heaps
            .into_iter()
            .map(|(path, (files, bytes))| Heap { path: show_path(&path), files, bytes, rule: None })
            .collect(),
    );
    let left = std::mem::take(&mut *lock(&left));
    survey.excluded_files = left.own.iter().map(|heap| heap.files).sum();
    survey.excluded_bytes = left.own.iter().map(|heap| heap.bytes).sum();
    survey.excluded = largest(left.own);
    survey.published = largest(left.published);
    survey.notices.extend(left.notices);
    survey.at_least |= left.at_least;
    Ok(survey)
}

fn listener(left: &Arc<Mutex<Left>>, mounts: &Arc<Mounts>) -> super::scope::Told {
    let (left, mounts) = (Arc::clone(left), Arc::clone(mounts));
    let budget = AtomicU64::new(WEIGHED);
    Arc::new(move |real: &Path, shown: &Path, is_dir, left_out: &LeftOut| {
        let (rule, is_own) = match left_out {
            LeftOut::Own(rule) => (rule, true),
            LeftOut::Published(rule) => (rule, false),
            LeftOut::Mount(kind) => {
                let reason = LeftOut::mount_reason(kind);
                return lock(&left).notices.push(format!("{} is left out: {reason}", show_path(shown)));
            }
        };
        let weight = weigh(real, &budget, &mounts);
        let heap = Heap {
            path: show_path(shown),
            files: weight.files,
            bytes: weight.bytes,
            rule: Some(rule.clone()),
        };
        let mut left = lock(&left);
        left.at_least |= weight.at_least;
        if is_own {
            left.notices.extend(missed(shown, is_dir, rule, weight));
            left.own.push(heap);
        } else {
            left.published.push(heap);
        }
    })
}

fn largest(mut heaps: Vec<Heap>) -> Vec<Heap> {
    heaps.sort_by(|one, other| other.bytes.cmp(&one.bytes).then_with(|| one.path.cmp(&other.path)));
    heaps.truncate(SHOWN);
    heaps
}

impl Survey {
    /// The survey for people.
    pub fn shown(&self) -> String {
        let at_least = if self.at_least { "at least " } else { "" };
        let mut text =
            format!("A backup now would hold {at_least}{} files, {}.\n", self.files, size(self.bytes));
        list(&mut text, "The largest directories, each with all below it:", &self.largest);
        if self.excluded.is_empty() {
            text += "Your rules (.ebbignore) leave nothing out.\n";
        } else {
            let title = format!(
                "Your rules (.ebbignore) leave out {at_least}{} files, {}:",
                self.excluded_files,
                size(self.excluded_bytes)
            );
            list(&mut text, &title, &self.excluded);
        }
        list(
            &mut text,
            "The published list leaves out what programs fetch again by themselves:",
            &self.published,
        );
        for notice in &self.notices {
            text += &format!("Note: {notice}\n");
        }
        if !self.unreadable.is_empty() {
            text += &format!(
                "{} directories could not be looked into by you; the backup reads them as root:\n",
                self.unreadable.len()
            );
            for path in self.unreadable.iter().take(SHOWN) {
                text += &format!("            {path}\n");
            }
        }
        text
    }
}

fn list(text: &mut String, title: &str, heaps: &[Heap]) {
    if heaps.is_empty() {
        return;
    }
    *text += &format!("{title}\n");
    for heap in heaps {
        let rule = heap.rule.as_ref().map_or(String::new(), |rule| format!("  ({rule})"));
        *text += &format!("  {:>9}  {}{rule}\n", size(heap.bytes), heap.path);
    }
}

/// A size for people, in decimal units.
pub fn size(bytes: u64) -> String {
    let mut unit = 1;
    for (name, next) in [("B", 1000), ("kB", 1000), ("MB", 1000), ("GB", 1000)] {
        if bytes / unit < next {
            let tenths = if unit == 1 { String::new() } else { format!(".{}", bytes % unit * 10 / unit) };
            return format!("{}{tenths} {name}", bytes / unit);
        }
        unit *= next;
    }
    format!("{}.{} TB", bytes / unit, bytes % unit * 10 / unit)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn planted() -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        let write = |path: &str, length: usize| {
            let path = root.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, vec![0; length]).unwrap();
        };
        write("home/ebb/.cache/pip/x", 70);
        write("home/ebb/notes", 3000);
        write("workspaces/app/target/debug/out", 2_500_000);
        write("workspaces/app/src/main.rs", 40);
        write("workspaces/app/data/set/1", 900_000);
        write("workspaces/old/file", 5);
        write("workspaces/.ebbignore", 0);
        std::fs::write(root.path().join("workspaces/.ebbignore"), "old/\n[z-a]\n").unwrap();
        std::fs::write(root.path().join("workspaces/app/.ebbignore"), "data\n").unwrap();
        let link = root.path().join("workspaces/app/target/debug/same");
        std::fs::hard_link(root.path().join("workspaces/app/target/debug/out"), link).unwrap();
        root
    }

    fn survey(root: &Path, since: Option<i64>) -> Survey {
        let include = vec![PathBuf::from("/home/ebb"), PathBuf::from("/workspaces")];
        run(&Order { root: root.to_path_buf(), include, optional: vec![], since, within_secs: 60 }).unwrap()
    }

    #[test]
    fn a_preview_reads_like_this() {
        let root = planted();
        insta::assert_snapshot!(survey(root.path(), None).shown(), @r"
        A backup now would hold 5 files, 2.5 MB.
        The largest directories, each with all below it:
             2.5 MB  /workspaces
             2.5 MB  /workspaces/app
             2.5 MB  /workspaces/app/target
             3.0 kB  /home/ebb
               40 B  /workspaces/app/src
        Your rules (.ebbignore) leave out 2 files, 900.0 kB:
           900.0 kB  /workspaces/app/data  (`data` in /workspaces/app/.ebbignore)
                5 B  /workspaces/old  (`old/` in /workspaces/.ebbignore)
        The published list leaves out what programs fetch again by themselves:
               70 B  /home/ebb/.cache/pip  (/home/*/.cache/pip/)
        Note: line 2 of /workspaces/.ebbignore leaves nothing out: error parsing glob '[z-a]': invalid range; 'z' > 'a'
        Note: `old/` in /workspaces/.ebbignore leaves out the whole of /workspaces/old
        ");
    }

    #[test]
    fn only_what_changed_since_is_new() {
        let root = planted();
        let all = survey(root.path(), None);
        assert_eq!(all.new_bytes, all.bytes);
        assert_eq!(survey(root.path(), Some(i64::MAX)).new_bytes, 0);
    }

    #[test]
    fn sizes_read_like_this() {
        let shown = [0, 999, 1000, 1_550_000, 200_000_000_000, 3_100_000_000_000].map(size);
        assert_eq!(shown, ["0 B", "999 B", "1.0 kB", "1.5 MB", "200.0 GB", "3.1 TB"]);
    }
}
