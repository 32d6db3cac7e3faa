//! Which paths a backup leaves out: the published list, then the rules of the workspace.
//!
//! Rules have `.gitignore`'s syntax; the last one that matches wins, so a workspace can bring a path back with `!`.

use std::path::Path;

use ignore::Match;
use ignore::gitignore::{Gitignore, GitignoreBuilder};

use super::failure::Failure;

/// The published list.
pub const PUBLISHED: &str = include_str!("excludes.txt");

/// Compiled rules.
#[derive(Debug, Clone)]
pub struct Excludes(Gitignore);

impl Excludes {
    /// Reads the published list and, after it, more rules from `extra`.
    ///
    /// # Errors
    /// `Local` when a rule cannot be understood: a backup that ignores a rule in silence would keep or lose the wrong files.
    pub fn parse(extra: Option<(&Path, &str)>) -> Result<Self, Failure> {
        let mut builder = GitignoreBuilder::new("/");
        let published = (Path::new("excludes.txt"), PUBLISHED);
        for (origin, text) in std::iter::once(published).chain(extra) {
            for line in text.lines() {
                builder
                    .add_line(Some(origin.to_path_buf()), line)
                    .map_err(|error| Failure::local("read the exclude rule in", origin, error))?;
            }
        }
        builder
            .build()
            .map(Self)
            .map_err(|error| Failure::local("read the exclude rules in", Path::new("excludes.txt"), error))
    }

    /// Returns the rule that leaves out `path`, which is absolute, as it stands on the machine.
    pub fn rule_for(&self, path: &Path, is_dir: bool) -> Option<&str> {
        match self.0.matched(path, is_dir) {
            Match::Ignore(glob) => Some(glob.original()),
            Match::None | Match::Whitelist(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(extra: &str, path: &str, is_dir: bool, expect: Option<&str>) {
        let excludes = Excludes::parse(Some((Path::new("extra"), extra))).unwrap();
        assert_eq!(excludes.rule_for(Path::new(path), is_dir), expect, "{path}");
    }

    #[test]
    fn caches_of_any_home_are_left_out() {
        check("", "/home/ebb/.cache/pip", true, Some("/home/*/.cache/pip/"));
        check("", "/home/ebb/.cache/pypoetry/artifacts", true, Some("/home/*/.cache/pypoetry/artifacts/"));
        check("", "/home/ebb/.cargo/registry/src", true, Some("/home/*/.cargo/registry/src/"));
    }

    #[test]
    fn what_nobody_fills_again_stays_in_a_cache() {
        for path in [
            "/home/ebb/.cache",
            "/home/ebb/.cache/pypoetry/virtualenvs",
            "/home/ebb/.cache/ms-playwright/mcp-chrome-profile",
            "/home/ebb/.cache/chrome-devtools-mcp/chrome-profile",
            "/home/ebb/.cache/Cypress",
            "/home/ebb/.cache/JetBrains",
            "/home/ebb/.cache/huggingface",
        ] {
            check("", path, true, None);
        }
    }

    #[test]
    fn the_same_name_elsewhere_or_as_a_file_is_kept() {
        check("", "/workspaces/app/.cache/pip", true, None);
        check("", "/home/ebb/app/.cache/pip", true, None);
        check("", "/home/ebb/.cache/pip", false, None);
    }

    #[test]
    fn work_is_never_left_out() {
        for path in [
            "/workspaces/app/node_modules",
            "/workspaces/app/.git",
            "/workspaces/app/target",
            "/home/ebb/.m2",
        ] {
            check("", path, true, None);
        }
        check("", "/workspaces/app/.env", false, None);
    }

    #[test]
    fn a_workspace_adds_rules_and_takes_them_back() {
        check("/workspaces/app/tmp/\n", "/workspaces/app/tmp", true, Some("/workspaces/app/tmp/"));
        check("!/home/*/.cache/pip/\n", "/home/ebb/.cache/pip", true, None);
    }

    #[test]
    fn a_rule_that_cannot_be_understood_is_an_error() {
        let error = Excludes::parse(Some((Path::new("extra"), "/a/[z-a]\n"))).unwrap_err();
        assert_eq!(error.code(), "local");
    }
}
