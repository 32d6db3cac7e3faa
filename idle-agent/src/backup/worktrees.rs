//! Git worktrees of kept repositories that lie in the directories for temporary files: agents put their helpers' work there.
//!
//! They are kept with the rest, and come back to the same paths, without what their programs rebuild. Their repository is
//! in what is kept already, so this is about what nobody has committed. They are found from their own end: whoever may
//! write only to home, workspaces and these two places has no others. Git is never run, since it would obey the repository.
//! Bounded, because what comes back into `/tmp` may come back into memory; what is not kept is named.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};

use ignore::WalkBuilder;

use super::ebbignore::bytes_of;
use super::failure::show_path;
use super::include::{Include, join};
use super::mounts::Mounts;

/// Where they are looked for, and what a restore may write besides the includes.
pub const PLACES: [&str; 2] = ["/tmp", "/var/tmp"];
/// What is said of what is left out of one.
pub const REBUILT: &str = "what is built anew, in a worktree that lies in a directory for temporary files";
/// Levels below a place: `vibe-kanban/worktrees/NAME/REPOSITORY`, and one more.
const DEEPEST: usize = 5;
/// Directories that are looked into at each place, those higher up first.
const LOOKED_INTO: usize = 10_000;
/// Worktrees that are kept.
const MOST: usize = 32;
/// Bytes that are kept, of all together: an eighth of the memory of the smallest size.
const BYTES: u64 = 512 << 20;
/// Files and directories that are kept, of all together.
const ENTRIES: u64 = 100_000;
/// Longer files are no pointers to a repository.
const LONGEST_POINTER: u64 = 8 << 10;

/// What was found.
#[derive(Debug, Default)]
pub struct Worktrees {
    /// Those that are kept.
    pub kept: Vec<Include>,
    /// What is said of those that are not.
    pub notices: Vec<String>,
}

/// Looks for worktrees of repositories in `includes` that are not themselves in one.
pub fn find(root: &Path, includes: &[Include], mounts: &Mounts) -> Worktrees {
    let mut found = Worktrees::default();
    let (mut bytes, mut entries) = (BYTES, ENTRIES);
    let (worktrees, cut) = search(root, includes, mounts);
    for worktree in worktrees {
        let size = size_of(&worktree.real, mounts, bytes, entries);
        match size.filter(|_| found.kept.len() < MOST) {
            Some(size) => {
                bytes -= size.bytes;
                entries -= size.entries;
                found.kept.push(worktree);
            }
            None => found.notices.push(format!(
                "{} is a worktree of a repository here, and too large, or one too many, to be kept there: what is not \
                 committed ends with the machine. Move it with `git worktree move` to below /workspaces",
                show_path(&worktree.shown)
            )),
        }
    }
    found.notices.extend(cut.iter().map(|place| {
        format!("not all of {place} was looked through for worktrees: it holds very many directories")
    }));
    found
}

/// Worktrees, and the places that hold too many directories to look into all.
fn search(root: &Path, includes: &[Include], mounts: &Mounts) -> (Vec<Include>, Vec<&'static str>) {
    let (mut found, mut cut) = (Vec::new(), Vec::new());
    for place in PLACES {
        let mut left = LOOKED_INTO;
        let mut waiting = VecDeque::from([(join(root, Path::new(place)), PathBuf::from(place), 0)]);
        while let Some((real, shown, depth)) = waiting.pop_front() {
            let is_kept = includes.iter().any(|include| real.starts_with(&include.real));
            if is_kept || mounts.foreign(&real).is_some() {
                continue;
            }
            if belongs_to(root, &real, includes) {
                found.push(Include { shown, real });
                continue;
            }
            if depth == DEEPEST {
                continue;
            }
            if left == 0 {
                cut.push(place);
                break;
            }
            left -= 1;
            waiting.extend(
                directories(&real).into_iter().map(|name| (real.join(&name), shown.join(&name), depth + 1)),
            );
        }
    }
    (found, cut)
}

fn directories(at: &Path) -> Vec<std::ffi::OsString> {
    let Ok(entries) = std::fs::read_dir(at) else { return Vec::new() };
    let is_dir = |entry: &std::fs::DirEntry| entry.file_type().is_ok_and(|kind| kind.is_dir());
    let mut names: Vec<_> = entries.flatten().filter(is_dir).map(|entry| entry.file_name()).collect();
    names.sort();
    names
}

/// Whether a directory is a worktree of a repository in one of the includes, which knows it.
fn belongs_to(root: &Path, directory: &Path, includes: &[Include]) -> bool {
    let Ok(Some(pointer)) = bytes_of(&directory.join(".git"), LONGEST_POINTER) else { return false };
    let Some(path) = pointer_path(&pointer) else { return false };
    let in_repository = if path.is_absolute() { join(root, &path) } else { directory.join(path) };
    let Ok(in_repository) = in_repository.canonicalize() else { return false };
    let is_entry = in_repository.parent().and_then(Path::file_name).is_some_and(|name| name == "worktrees");
    is_entry && includes.iter().any(|include| in_repository.starts_with(&include.real))
}

/// The path in a file `.git`: `gitdir: PATH`, and a line end.
fn pointer_path(pointer: &[u8]) -> Option<PathBuf> {
    use std::os::unix::ffi::OsStrExt as _;
    let path = pointer.strip_prefix(b"gitdir: ")?.trim_ascii_end();
    (!path.is_empty() && !path.contains(&0)).then(|| PathBuf::from(std::ffi::OsStr::from_bytes(path)))
}

/// Whether a directory is left out of a worktree: by its name, for what lies in it may be anybody's.
pub fn is_rebuilt(directory: &Path) -> bool {
    match directory.file_name().and_then(std::ffi::OsStr::to_str) {
        Some("node_modules" | ".venv") => true,
        // Cargo marks its own; another `target` may be somebody's work.
        Some("target") => directory.join("CACHEDIR.TAG").symlink_metadata().is_ok(),
        Some(_) | None => false,
    }
}

#[derive(Debug, Default)]
struct Size {
    bytes: u64,
    entries: u64,
}

/// The size of what would be kept, unless it is beyond the bounds.
fn size_of(real: &Path, mounts: &Mounts, most_bytes: u64, most_entries: u64) -> Option<Size> {
    let mut size = Size::default();
    let foreign: Vec<PathBuf> = mounts.below(real);
    let walk = WalkBuilder::new(real)
        .standard_filters(false)
        .follow_links(false)
        .filter_entry(move |entry| {
            let is_dir = entry.file_type().is_some_and(|kind| kind.is_dir());
            let is_left_out =
                is_dir && is_rebuilt(entry.path()) || foreign.iter().any(|at| at == entry.path());
            !is_left_out
        })
        .build();
    for entry in walk.flatten() {
        size.entries += 1;
        size.bytes += entry.metadata().map_or(0, |found| if found.is_file() { found.len() } else { 0 });
        if size.entries > most_entries || size.bytes > most_bytes {
            return None;
        }
    }
    Some(size)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn planted(files: &[(&str, &str)]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = root.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        root
    }

    fn found(root: &Path) -> (Vec<String>, Vec<String>) {
        let real = root.canonicalize().unwrap();
        let includes = [Include { shown: "/workspaces".into(), real: real.join("workspaces") }];
        let found = find(&real, &includes, &Mounts::default());
        (found.kept.iter().map(|include| show_path(&include.shown)).collect(), found.notices)
    }

    #[test]
    fn a_worktree_that_leads_into_what_is_kept_is_kept_and_others_are_not() {
        let root = planted(&[
            ("workspaces/app/.git/worktrees/phase4/gitdir", "/tmp/phase4/.git\n"),
            ("workspaces/app/.git/worktrees/deep/gitdir", "/var/tmp/vibe-kanban/worktrees/x/app/.git\n"),
            ("workspaces/app/.git/worktrees/relative/gitdir", ""),
            ("tmp/phase4/.git", "gitdir: /workspaces/app/.git/worktrees/phase4\n"),
            ("tmp/a/relative/.git", "gitdir: ../../../workspaces/app/.git/worktrees/relative"),
            ("var/tmp/vibe-kanban/worktrees/x/app/.git", "gitdir: /workspaces/app/.git/worktrees/deep\n"),
            ("tmp/foreign/.git", "gitdir: /srv/app/.git/worktrees/phase4\n"),
            ("tmp/gone/.git", "gitdir: /workspaces/app/.git/worktrees/gone\n"),
            ("tmp/submodule/.git", "gitdir: /workspaces/app/.git\n"),
            ("tmp/clone/.git/HEAD", ""),
            ("tmp/torn/.git", "gitdir"),
            ("tmp/empty/.git", "gitdir: \n"),
            ("tmp/long/.git", &"gitdir: x".repeat(2000)),
        ]);
        std::os::unix::fs::symlink("/workspaces", root.path().join("tmp/link")).unwrap();
        let (kept, notices) = found(root.path());
        assert_eq!(kept, ["/tmp/phase4", "/tmp/a/relative", "/var/tmp/vibe-kanban/worktrees/x/app"]);
        assert_eq!(notices, [""; 0]);
    }

    #[test]
    fn what_is_beyond_the_bounds_is_named() {
        let root = planted(&[
            ("workspaces/app/.git/worktrees/large/gitdir", ""),
            ("workspaces/app/.git/worktrees/built/gitdir", ""),
            ("tmp/built/.git", "gitdir: /workspaces/app/.git/worktrees/built\n"),
            ("tmp/built/target/CACHEDIR.TAG", ""),
            ("tmp/large/.git", "gitdir: /workspaces/app/.git/worktrees/large\n"),
        ]);
        for holder in ["tmp/built/target/heavy", "tmp/large/heavy"] {
            std::fs::File::create(root.path().join(holder)).unwrap().set_len(BYTES).unwrap();
        }
        let (kept, notices) = found(root.path());
        assert_eq!(kept, ["/tmp/built"]);
        assert!(notices.len() == 1 && notices[0].starts_with("/tmp/large is a worktree"), "{notices:?}");
    }

    #[test]
    fn of_many_worktrees_some_are_kept_and_each_other_is_named() {
        let files: Vec<_> = (0..MOST + 2)
            .flat_map(|n| {
                let entry = format!("workspaces/app/.git/worktrees/{n:02}/gitdir");
                let pointer = format!("gitdir: /workspaces/app/.git/worktrees/{n:02}\n");
                [(entry, String::new()), (format!("tmp/{n:02}/.git"), pointer)]
            })
            .collect();
        let files: Vec<_> = files.iter().map(|(path, text)| (path.as_str(), text.as_str())).collect();
        let (kept, notices) = found(planted(&files).path());
        assert_eq!((kept.len(), notices.len()), (MOST, 2));
    }
}

#[cfg(test)]
mod fuzz {
    use super::*;
    use ebbtide_fuzz_inputs::bytes_like;
    use proptest::prelude::*;

    const POINTERS: &[&str] =
        &["gitdir: /workspaces/app/.git/worktrees/a\n", "gitdir: ../../app/.git/worktrees/b"];

    proptest! {
        #[test]
        fn a_pointer_of_any_kind_is_a_path_or_nothing(pointer in bytes_like(POINTERS)) {
            let path = pointer_path(&pointer);
            prop_assert!(path.is_none_or(|path| !path.as_os_str().is_empty()));
        }
    }
}
