//! The owner's own excludes: `.ebbignore` files, in `.gitignore`'s syntax.
//!
//! One may lie in the home directory, in the workspaces directory, and in each directory right below these; the innermost
//! that says something about a path decides, and `!` brings back what the published list leaves out. The file itself is
//! always kept. It is read as root out of a user's hands: never through a link, never without a bound. A line that cannot be
//! understood leaves nothing out, and is said.

use std::fs::OpenOptions;
use std::io::{ErrorKind, Read as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use ignore::Match;
use ignore::gitignore::{Gitignore, GitignoreBuilder};
use rustix::fs::OFlags;

use super::failure::show_path;
use super::scope::Include;

/// The file's name.
pub const NAME: &str = ".ebbignore";
/// Longer files are no lists of rules.
const LONGEST: u64 = 64 << 10;

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
    pub fn read(includes: &[Include]) -> Self {
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
                rules.read_at(&include.shown.join(&name), &include.real.join(&name));
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
        for (number, line) in text.lines().enumerate() {
            if let Err(error) = builder.add_line(None, line) {
                self.notices.push(format!("line {} of {file} leaves nothing out: {error}", number + 1));
            }
        }
        match builder.build() {
            Ok(rules) => self.places.push(Place { at: at.to_path_buf(), rules }),
            Err(error) => self.notices.push(format!("{file} leaves nothing out: {error}")),
        }
    }
}

fn text_of(path: &Path) -> Result<Option<String>, String> {
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = match OpenOptions::new().read(true).custom_flags(flags.bits().cast_signed()).open(path) {
        Ok(file) => file,
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
            return Ok(None);
        }
        Err(error) if error.raw_os_error() == Some(rustix::io::Errno::LOOP.raw_os_error()) => {
            return Err("it is a link".to_owned());
        }
        Err(error) => return Err(error.to_string()),
    };
    if !file.metadata().is_ok_and(|found| found.is_file()) {
        return Err("it is no file".to_owned());
    }
    let mut text = Vec::new();
    file.take(LONGEST + 1).read_to_end(&mut text).map_err(|error| error.to_string())?;
    if text.len() as u64 > LONGEST {
        return Err(format!("it is longer than {LONGEST} bytes"));
    }
    Ok(Some(String::from_utf8_lossy(&text).into_owned()))
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
        OwnRules::read(&[include("/home/ebb"), include("/workspaces")])
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
