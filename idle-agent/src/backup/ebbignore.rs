//! The owner's own excludes: `.ebbignore` files, in `.gitignore`'s syntax.
//!
//! One may lie in the home directory, in the workspaces directory, and in each directory right below these; the innermost
//! that says something about a path decides, and `!` brings back what the published list leaves out. The file itself is
//! always kept. It is read as root out of a user's hands: never through a link, never without a bound. A line that cannot be
//! understood leaves nothing out, and is said. So does a file that came with a repository: whoever wrote that must not
//! decide what of the owner's work is kept.

use std::fs::OpenOptions;
use std::io::{ErrorKind, Read as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use ignore::Match;
use ignore::gitignore::{Gitignore, GitignoreBuilder};
use rustix::fs::OFlags;

use super::failure::show_path;
use super::include::Include;
use super::mounts::Mounts;

/// The file's name.
pub const NAME: &str = ".ebbignore";
/// Longer files are no lists of rules.
const LONGEST: u64 = 64 << 10;
/// Longer indexes of git are not searched.
const LONGEST_INDEX: u64 = 64 << 20;
/// Patterns that say nothing but "everything".
const EVERYTHING: [&str; 7] = ["*", "/*", "**", "/**", "**/*", "*/", "**/"];

/// All rules of the owner.
#[derive(Debug, Default)]
pub struct OwnRules {
    /// Innermost directories first.
    places: Vec<Place>,
    notices: Vec<String>,
}

#[derive(Debug)]
struct Place {
    at: PathBuf,
    rules: Gitignore,
}

/// What the owner's rules say of a path.
#[derive(Debug, PartialEq, Eq)]
pub enum Said {
    Nothing,
    Keep,
    /// The rule and its file, for people.
    Leave(String),
}

impl OwnRules {
    /// Reads the files as they are now.
    pub fn read(includes: &[Include], mounts: &Mounts) -> Self {
        let mut rules = Self::default();
        for include in includes {
            rules.read_at(&include.shown, &include.real);
            let Ok(below) = std::fs::read_dir(&include.real) else { continue };
            let mut names: Vec<_> = below
                .flatten()
                .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
                .map(|entry| entry.file_name())
                .collect();
            names.sort();
            for name in names {
                let real = include.real.join(&name);
                if mounts.foreign(&real).is_some() {
                    continue;
                }
                if real.join(NAME).symlink_metadata().is_ok() && may_be_cloned(&real) {
                    rules.notices.push(format!(
                        "{} leaves nothing out: it may have come with the repository. Rules in {} count, as do those \
                         of a file that git does not track",
                        show_path(&include.shown.join(&name).join(NAME)),
                        show_path(&include.shown.join(NAME)),
                    ));
                    continue;
                }
                rules.read_at(&include.shown.join(&name), &real);
            }
        }
        rules.places.sort_by_key(|place| std::cmp::Reverse(place.at.components().count()));
        rules
    }

    /// What was wrong with the files.
    pub fn notices(&self) -> &[String] {
        &self.notices
    }

    /// Judges an absolute path, as it stands on the machine.
    pub fn judge(&self, path: &Path, is_dir: bool) -> Said {
        for place in &self.places {
            let Ok(below) = path.strip_prefix(&place.at) else { continue };
            if below == Path::new(NAME) {
                return Said::Keep;
            }
            if below.as_os_str().is_empty() {
                continue;
            }
            match place.rules.matched(path, is_dir) {
                Match::Ignore(glob) => {
                    return Said::Leave(format!("`{}` in {}/{NAME}", glob.original(), show_path(&place.at)));
                }
                Match::Whitelist(_) => return Said::Keep,
                Match::None => {}
            }
        }
        Said::Nothing
    }

    fn read_at(&mut self, at: &Path, real: &Path) {
        let file = show_path(&at.join(NAME));
        let text = match text_of(&real.join(NAME)) {
            Ok(Some(text)) => text,
            Ok(None) => return,
            Err(reason) => return self.notices.push(format!("{file} leaves nothing out: {reason}")),
        };
        let mut builder = GitignoreBuilder::new(at);
        for (number, line) in text.split(|byte| *byte == b'\n').enumerate() {
            let number = number + 1;
            let Ok(line) = std::str::from_utf8(line) else {
                self.notices.push(format!("line {number} of {file} leaves nothing out: it is not UTF-8"));
                continue;
            };
            if let Err(error) = builder.add_line(None, line.trim_end_matches('\r')) {
                self.notices.push(format!("line {number} of {file} leaves nothing out: {error}"));
            } else if EVERYTHING.contains(&line.trim()) {
                let line = line.trim();
                self.notices.push(format!(
                    "line {number} of {file}, `{line}`, leaves out everything there that no later line brings back"
                ));
            }
        }
        match builder.build() {
            Ok(rules) => self.places.push(Place { at: at.to_path_buf(), rules }),
            Err(error) => self.notices.push(format!("{file} leaves nothing out: {error}")),
        }
    }
}

/// Whether git tracks the rules of this directory, or may do so: seen in git's index, without running git, which would
/// obey the repository.
fn may_be_cloned(directory: &Path) -> bool {
    let git = directory.join(".git");
    match git.symlink_metadata() {
        Err(error) => return error.kind() != ErrorKind::NotFound,
        // A link or a file: the index is elsewhere.
        Ok(found) if !found.is_dir() => return true,
        Ok(_) => {}
    }
    // Entries may be kept apart from the index.
    let is_shared =
        |entry: std::fs::DirEntry| entry.file_name().as_encoded_bytes().starts_with(b"sharedindex.");
    if std::fs::read_dir(&git).map_or(true, |entries| entries.flatten().any(is_shared)) {
        return true;
    }
    match bytes_of(&git.join("index"), LONGEST_INDEX) {
        Ok(None) => false,
        Ok(Some(index)) => is_tracked(&index),
        Err(_) => true,
    }
}

/// Looks through an index of version 2 or 3, where names are whole; of another nothing is known.
fn is_tracked(index: &[u8]) -> bool {
    if !matches!(index.get(..8), Some([b'D', b'I', b'R', b'C', 0, 0, 0, 2 | 3])) {
        return true;
    }
    let name = [NAME.as_bytes(), &[0]].concat();
    // Behind a slash it is the name of one that lies deeper.
    index.windows(name.len() + 1).any(|at| at.first() != Some(&b'/') && at.get(1..) == Some(name.as_slice()))
}

/// Why a file is not read.
#[derive(Debug, thiserror::Error)]
pub enum Unread {
    #[error("it is a link")]
    Link,
    #[error("it is no file")]
    NoFile,
    #[error("it is longer than {0} bytes")]
    TooLong(u64),
    #[error(transparent)]
    Io(#[from] std::io::Error),
}

fn text_of(path: &Path) -> Result<Option<Vec<u8>>, Unread> {
    let text = bytes_of(path, LONGEST)?;
    // A mark of the byte order is none of the first pattern's.
    Ok(text.map(|text| text.strip_prefix(b"\xef\xbb\xbf").map(<[u8]>::to_vec).unwrap_or(text)))
}

/// Reads a file out of a user's hands: never through a link, and no more than so many bytes. `None` where there is none.
///
/// # Errors
/// [`Unread`].
pub fn bytes_of(path: &Path, longest: u64) -> Result<Option<Vec<u8>>, Unread> {
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = match OpenOptions::new().read(true).custom_flags(flags.bits().cast_signed()).open(path) {
        Ok(file) => file,
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
            return Ok(None);
        }
        Err(error) if error.raw_os_error() == Some(rustix::io::Errno::LOOP.raw_os_error()) => {
            return Err(Unread::Link);
        }
        Err(error) => return Err(error.into()),
    };
    if !file.metadata().is_ok_and(|found| found.is_file()) {
        return Err(Unread::NoFile);
    }
    let mut text = Vec::new();
    file.take(longest + 1).read_to_end(&mut text)?;
    if text.len() as u64 > longest {
        return Err(Unread::TooLong(longest));
    }
    Ok(Some(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(files: &[(&str, &str)]) -> (tempfile::TempDir, OwnRules) {
        let root = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = root.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        let rules = read(root.path());
        (root, rules)
    }

    fn read(root: &Path) -> OwnRules {
        let include = |shown: &str| Include { shown: shown.into(), real: root.join(&shown[1..]) };
        OwnRules::read(&[include("/home/ebb"), include("/workspaces")], &Mounts::default())
    }

    #[track_caller]
    fn check(rules: &OwnRules, path: &str, is_dir: bool, expect: &str) {
        let said = match rules.judge(Path::new(path), is_dir) {
            Said::Nothing => "nothing".to_owned(),
            Said::Keep => "keep".to_owned(),
            Said::Leave(rule) => rule,
        };
        assert_eq!(said, expect, "{path}");
    }

    #[test]
    fn the_innermost_file_that_says_something_decides() {
        let (_root, rules) = rules(&[
            ("home/ebb/.ebbignore", "Downloads/\n!.cache/\n"),
            ("workspaces/.ebbignore", "*.iso\n"),
            ("workspaces/app/.ebbignore", "/data/\n# a note\n!keep.iso\n.ebbignore\n"),
            ("workspaces/app/deep/.ebbignore", "src/\n"),
        ]);
        check(&rules, "/home/ebb/Downloads", true, "`Downloads/` in /home/ebb/.ebbignore");
        check(&rules, "/home/ebb/Downloads", false, "nothing");
        check(&rules, "/home/ebb/.cache", true, "keep");
        check(&rules, "/workspaces/app/x.iso", false, "`*.iso` in /workspaces/.ebbignore");
        check(&rules, "/workspaces/app/keep.iso", false, "keep");
        check(&rules, "/workspaces/app/data", true, "`/data/` in /workspaces/app/.ebbignore");
        check(&rules, "/workspaces/app/src/data", true, "nothing");
        check(&rules, "/workspaces/other/data", true, "nothing");
        // The file itself is kept, and one that lies deeper is an ordinary file.
        check(&rules, "/workspaces/app/.ebbignore", false, "keep");
        check(&rules, "/workspaces/app/deep/src", true, "nothing");
    }

    #[test]
    fn a_file_that_came_with_a_repository_leaves_nothing_out_and_is_said() {
        let git = |at: &Path, arguments: &[&str]| {
            let mut git = std::process::Command::new("git");
            let ended = git.arg("-C").arg(at).args(arguments).output().unwrap();
            assert!(ended.status.success(), "{}", String::from_utf8_lossy(&ended.stderr));
        };
        let files = [
            ("workspaces/.ebbignore", "/app/scratch/\n"),
            ("workspaces/app/.ebbignore", "/src/\n"),
            ("workspaces/app/deep/.ebbignore", "x\n"),
            ("workspaces/app/scratch/x", ""),
        ];
        let (root, own) = rules(&files);
        let app = root.path().join("workspaces/app");
        check(&own, "/workspaces/app/src", true, "`/src/` in /workspaces/app/.ebbignore");
        git(&app, &["init", "-q"]);
        git(&app, &["add", "deep"]);
        // The repository's own, and git does not know it.
        check(&read(root.path()), "/workspaces/app/src", true, "`/src/` in /workspaces/app/.ebbignore");
        for version in ["2", "3", "4"] {
            git(&app, &["add", ".ebbignore"]);
            git(&app, &["update-index", "--index-version", version]);
            let rules = read(root.path());
            check(&rules, "/workspaces/app/src", true, "nothing");
            check(&rules, "/workspaces/app/scratch", true, "`/app/scratch/` in /workspaces/.ebbignore");
            let notices = rules.notices().join("\n");
            assert!(notices.contains("/workspaces/app/.ebbignore leaves nothing out"), "{notices}");
        }
        std::fs::remove_dir_all(app.join(".git")).unwrap();
        std::fs::write(app.join(".git"), "gitdir: /elsewhere\n").unwrap();
        check(&read(root.path()), "/workspaces/app/src", true, "nothing");
    }

    #[test]
    fn marks_line_ends_and_bytes_of_other_systems_are_understood_or_said() {
        let (root, _) = rules(&[("workspaces/app/.ebbignore", "\u{feff}tmp/\r\n*.iso\r\n")]);
        std::fs::write(root.path().join("workspaces/.ebbignore"), b"caf\xe9\nlog\n*\n").unwrap();
        let rules = read(root.path());
        check(&rules, "/workspaces/app/tmp", true, "`tmp/` in /workspaces/app/.ebbignore");
        check(&rules, "/workspaces/app/x.iso", false, "`*.iso` in /workspaces/app/.ebbignore");
        let notices = rules.notices().join("\n");
        assert!(
            notices.contains("line 1 of /workspaces/.ebbignore leaves nothing out: it is not UTF-8"),
            "{notices}"
        );
        assert!(
            notices.contains("line 3 of /workspaces/.ebbignore, `*`, leaves out everything"),
            "{notices}"
        );
    }

    #[test]
    fn what_cannot_be_used_leaves_nothing_out_and_is_said() {
        let (root, _) = rules(&[
            ("workspaces/app/.ebbignore", "[z-a]\ntmp/\n"),
            ("workspaces/long/.ebbignore", &"x\n".repeat(40_000)),
            ("workspaces/dir/.ebbignore/inside", ""),
        ]);
        std::fs::create_dir_all(root.path().join("workspaces/link")).unwrap();
        std::os::unix::fs::symlink("/etc/shadow", root.path().join("workspaces/link/.ebbignore")).unwrap();
        let rules = read(root.path());
        let notices = rules.notices().join("\n");
        for expected in [
            "line 1 of /workspaces/app/.ebbignore leaves nothing out",
            "/workspaces/long/.ebbignore leaves nothing out: it is longer",
            "/workspaces/dir/.ebbignore leaves nothing out: it is no file",
            "/workspaces/link/.ebbignore leaves nothing out: it is a link",
        ] {
            assert!(notices.contains(expected), "{expected} is not in {notices}");
        }
        check(&rules, "/workspaces/app/tmp", true, "`tmp/` in /workspaces/app/.ebbignore");
        check(&rules, "/workspaces/long/x", false, "nothing");
    }
}

#[cfg(test)]
mod fuzz {
    use super::*;
    use ebbtide_fuzz_inputs::bytes_like;
    use proptest::prelude::*;

    const RULES: &[&str] = &[
        "# a note\n/target/\n*.iso\n!keep.iso\n",
        "*\n!src/\n.ebbignore\n",
        "[a-z]\\ \n**/x/**\r\n",
        "data/{a,b}\n!\n\\\n",
    ];
    const INDEXES: &[&str] =
        &["DIRC\0\0\0\x02\0\0\0\x01.ebbignore\0", "DIRC\0\0\0\x03\0\0\0\x01x/.ebbignore\0"];

    proptest! {
        #[test]
        fn rules_of_any_kind_leave_out_no_rules(rules in bytes_like(RULES)) {
            let root = tempfile::tempdir().unwrap();
            let real = root.path().join("workspaces");
            std::fs::create_dir_all(real.join("app")).unwrap();
            std::fs::write(real.join("app").join(NAME), rules).unwrap();
            let include = Include { shown: "/workspaces".into(), real };
            let own = OwnRules::read(&[include], &Mounts::default());
            for path in ["/", "/workspaces", "/workspaces/app", "/workspaces/other/src"] {
                prop_assert_eq!(own.judge(Path::new(path), true), Said::Nothing);
            }
            own.judge(Path::new("/workspaces/app/src/a.iso"), false);
            let itself = own.judge(Path::new("/workspaces/app/.ebbignore"), false);
            prop_assert!(!matches!(itself, Said::Leave(_)));
        }

        #[test]
        fn an_index_of_git_is_searched_whatever_it_holds(index in bytes_like(INDEXES)) {
            is_tracked(&index);
        }
    }
}
