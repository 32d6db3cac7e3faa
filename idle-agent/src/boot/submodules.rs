//! Submodules of a clone, and theirs: the first so many, while the step has time.

use super::clone::{Besides, Git};
use super::git::CloneFailure;
use super::repository_host;
use std::path::{Path, PathBuf};

/// Submodules within submodules that are fetched, and how many are tried in all.
const DEPTH: usize = 8;
const SUBMODULES: usize = 200;

impl Git<'_> {
    /// Fetches submodules, theirs too; answers with where they are.
    pub(super) fn submodules(&self, root: &Path, besides: &mut Besides) -> Vec<PathBuf> {
        let (mut fetched, mut level) = (Vec::new(), vec![root.to_path_buf()]);
        for _ in 0..DEPTH {
            let mut next = Vec::new();
            for parent in &level {
                let goes_on = self.submodules_of(parent, root, &mut next, besides);
                if !goes_on {
                    fetched.extend(next);
                    return fetched;
                }
            }
            fetched.extend(next.iter().cloned());
            level = next;
        }
        fetched
    }

    /// Fetches those of one repository; false where neither these nor others are to be tried any more.
    fn submodules_of(
        &self,
        parent: &Path,
        root: &Path,
        fetched: &mut Vec<PathBuf>,
        besides: &mut Besides,
    ) -> bool {
        // One more than are tried, so that it is told that there are more.
        for (path, url) in self.named_submodules(parent, SUBMODULES - besides.tried + 1) {
            if !self.has_time(besides) {
                return false;
            }
            if besides.tried == SUBMODULES {
                besides.left_out.push(format!("other submodules, for no more than {SUBMODULES} are tried"));
                return false;
            }
            besides.tried += 1;
            let at = parent.join(&path);
            match self.submodule(parent, &path, &url) {
                Ok(()) => {
                    besides.submodules += 1;
                    fetched.push(at);
                }
                Err(why) => {
                    let shown = at.strip_prefix(root).unwrap_or(&at).display();
                    besides.left_out.push(format!("submodule {shown}: {why}"));
                }
            }
        }
        self.has_time(besides)
    }

    /// The submodules of one repository, so many at most: where they belong, and the URL that git made of what is written
    /// there.
    fn named_submodules(&self, parent: &Path, most: usize) -> Vec<(String, String)> {
        if !parent.join(".gitmodules").is_file() {
            return Vec::new();
        }
        let regexp = |key: &str| format!(r"^submodule\..*\.{key}$");
        let paths = self.ask(parent, &["config", "-z", "-f", ".gitmodules", "--get-regexp", &regexp("path")]);
        let mut paths = settings(&paths.unwrap_or_default(), "path");
        paths.truncate(most);
        for (_, path) in &paths {
            // No network: git writes down what a relative URL leads to. One by one, for a bad one ends the call.
            let _ = self.ask(parent, &["submodule", "--quiet", "init", "--", path]);
        }
        let urls = self.ask(parent, &["config", "-z", "--local", "--get-regexp", &regexp("url")]);
        let urls = settings(&urls.unwrap_or_default(), "url");
        paths
            .into_iter()
            .map(|(name, path)| {
                let url = urls.iter().find(|(known, _)| *known == name);
                (path, url.map_or(String::new(), |(_, url)| url.clone()))
            })
            .collect()
    }

    fn submodule(&self, parent: &Path, path: &str, url: &str) -> Result<(), String> {
        if url.is_empty() {
            return Err("git refuses what .gitmodules says of it".to_owned());
        }
        let pinned = repository_host::pin_named(url, self.reach).map_err(|error| error.to_string())?;
        let mut command = self.command(parent);
        command.args(pinned).args(["submodule", "update", "--progress", "--", path]);
        match self.run(command) {
            Ok(ended) if ended.status.success() => Ok(()),
            Ok(ended) => Err(CloneFailure::read(&ended.tail).words(url, None, &ended.tail)),
            Err(error) => Err(error.to_string()),
        }
    }
}

/// Reads `submodule.NAME.KEY\nVALUE\0…`.
fn settings(text: &[u8], key: &str) -> Vec<(String, String)> {
    let text = String::from_utf8_lossy(text);
    let found = text.split('\0').filter_map(|entry| {
        let (name, value) = entry.split_once('\n')?;
        let name = name.strip_prefix("submodule.")?.strip_suffix(key)?.strip_suffix('.')?;
        Some((name.to_owned(), value.to_owned()))
    });
    found.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::boot::Reporter;
    use crate::boot::repository_host::Reach;
    use crate::os::clock::Moment;
    use crate::os::users::User;
    use std::process::Command;
    use std::time::Duration;

    #[test]
    fn settings_of_submodules_are_read_whatever_their_names_hold() {
        let text = b"submodule.a.path\nlibs/a\0submodule.x.path.y.path\nb c\0submodule.no\0core.path\nz\0";
        let expected = [("a".to_owned(), "libs/a".to_owned()), ("x.path.y".to_owned(), "b c".to_owned())];
        assert_eq!(settings(text, "path"), expected);
        assert_eq!(settings(b"", "path"), []);
    }

    fn sh(script: &str, directory: &Path) {
        let done = Command::new("sh").args(["-ec", script]).current_dir(directory).output().unwrap();
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    }

    /// What asks for these: a repository without a commit of its own that names eight submodules.
    fn naming_eight(directory: &Path, modules: &str) {
        sh(
            "git init -q; git remote add origin https://140.82.121.4/a/b.git
             git -c user.name=t -c user.email=t@t commit -q --allow-empty -m x
             for at in m0 m1 m2 m3 m4 m5 m6 m7; do
               git update-index --add --cacheinfo 160000,$(git rev-parse HEAD),$at
             done",
            directory,
        );
        std::fs::write(directory.join(".gitmodules"), modules).unwrap();
    }

    /// Runs what is to be seen with a git of this user that has so long.
    fn with_git(directory: &Path, time: Duration, look: impl FnOnce(&Git<'_>)) {
        let (status, _wakeups) = crate::control_plane::status::Status::new().unwrap();
        let reporter = Reporter { status: &status, place: 0, begun: Moment::now() };
        let (uid, gid) = (rustix::process::getuid().as_raw(), rustix::process::getgid().as_raw());
        let home = directory.display().to_string();
        let user = User { name: "t".into(), uid, gid, home, shell: "/bin/sh".into() };
        let end = Moment::now().plus(time);
        let config = directory.join("gitconfig");
        look(&Git { user: &user, reach: Reach::Internet, config, reporter: &reporter, end });
    }

    fn eight_of(url: &str) -> String {
        (0..8)
            .map(|number| format!("[submodule \"m{number}\"]\n\tpath = m{number}\n\turl = {url}\n"))
            .collect()
    }

    #[test]
    fn nothing_is_fetched_after_the_end_of_the_step() {
        let directory = tempfile::tempdir().unwrap();
        naming_eight(directory.path(), &eight_of("https://140.82.121.4/a/c.git"));
        with_git(directory.path(), Duration::ZERO, |git| {
            let mut besides = Besides::default();
            assert_eq!(git.submodules(directory.path(), &mut besides), Vec::<PathBuf>::new());
            assert_eq!(besides.left_out, Vec::<String>::new(), "one line is said of all");
            assert!(besides.is_cut_short);
        });
    }

    #[test]
    fn no_more_submodules_are_tried_than_there_is_room_for() {
        let directory = tempfile::tempdir().unwrap();
        naming_eight(directory.path(), &eight_of("file:///etc"));
        with_git(directory.path(), Duration::from_secs(600), |git| {
            let mut besides = Besides { tried: SUBMODULES - 2, ..Besides::default() };
            assert_eq!(git.submodules(directory.path(), &mut besides), Vec::<PathBuf>::new());
            let told: Vec<&str> =
                besides.left_out.iter().filter_map(|told| told.split_once(':').map(|at| at.0)).collect();
            assert_eq!(told, ["submodule m0", "submodule m1"]);
            assert_eq!(besides.left_out.last().unwrap(), "other submodules, for no more than 200 are tried");
            assert!(!besides.is_cut_short);
        });
    }

    #[test]
    fn a_submodule_that_a_stranger_named_is_held_to_the_rules_of_repositories() {
        let directory = tempfile::tempdir().unwrap();
        let planted = directory.path().join("planted");
        let table = [
            ("http://127.0.0.1/x.git", "no address on the internet"),
            ("http://169.254.169.254/hetzner/v1/metadata", "no address on the internet"),
            ("ssh://git@localhost/x.git", "no address on the internet"),
            ("git@10.0.0.1:x.git", "no address on the internet"),
            ("file:///etc", "only http, https and ssh"),
            ("/etc", "only http, https and ssh"),
            (&format!("ext::touch {}", planted.display()), "only http, https and ssh"),
            ("--upload-pack=id", ""),
        ];
        let mut modules = String::new();
        for (number, (url, _)) in table.iter().enumerate() {
            modules += &format!("[submodule \"m{number}\"]\n\tpath = m{number}\n\turl = {url}\n");
        }
        naming_eight(directory.path(), &modules);
        with_git(directory.path(), Duration::from_secs(600), |git| {
            let mut besides = Besides::default();
            assert_eq!(git.submodules(directory.path(), &mut besides), Vec::<PathBuf>::new());
            for (number, (url, reason)) in table.iter().enumerate() {
                let told =
                    besides.left_out.iter().find(|told| told.starts_with(&format!("submodule m{number}:")));
                assert!(told.is_some_and(|told| told.contains(reason)), "{url}: {told:?}");
            }
            assert!(!planted.exists(), "{:?}", besides.left_out);

            let command = format!(
                "[submodule \"new\"]\n\tpath = m1\n\turl = ./x.git\n\tupdate = !touch {}\n",
                planted.display()
            );
            std::fs::write(directory.path().join(".gitmodules"), command).unwrap();
            let mut besides = Besides::default();
            assert_eq!(git.submodules(directory.path(), &mut besides), Vec::<PathBuf>::new());
            assert_eq!(besides.left_out, ["submodule m1: git refuses what .gitmodules says of it"]);
            assert!(!planted.exists());
        });
    }
}
