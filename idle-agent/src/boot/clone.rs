//! Cloning: the repository, its submodules, and the files that Git LFS keeps elsewhere.
//!
//! What a clone reads was written by strangers. `.gitmodules` and `.lfsconfig` name hosts and protocols of their own: each
//! is held to the rules of the repository itself. What cannot be had of them is told and stops no boot.

use super::git::{CloneFailure, is_meter, percent};
use super::repository_host::{self, HostError, Reach};
use super::{Boot, Reporter, StepError, Success};
use crate::os::clock::Moment;
use crate::os::command::{Ended, RunError, run};
use crate::os::service::work_of;
use crate::os::users::User;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// Protocols that git may speak, whoever names them.
const PROTOCOLS: &str = "http:https:ssh";
/// Submodules within submodules that are fetched, and how many in all.
const DEPTH: usize = 8;
const SUBMODULES: usize = 200;
/// What was left out is named so often in a step's own line; the log has all of it.
const NAMED: usize = 3;

/// Git as the workspace's user, without a terminal, and for a time.
pub(super) struct Git<'a> {
    pub user: &'a User,
    pub reach: Reach,
    pub reporter: &'a Reporter<'a>,
    /// When the step's time is over.
    pub end: Moment,
}

/// What was fetched besides the repository, and what was not.
#[derive(Debug, Default)]
pub(super) struct Besides {
    submodules: usize,
    pub lfs_files: usize,
    pub left_out: Vec<String>,
}

impl Boot {
    pub(super) fn clone_repository(
        &self,
        url: &str,
        branch: Option<&str>,
        directory: &Path,
        user: &str,
        limit: Duration,
        reporter: &Reporter<'_>,
    ) -> Result<Success, StepError> {
        let user = self.user(user)?;
        if directory.join(".git").exists() {
            return Ok(Success::NothingToDo("the clone is there already".to_owned()));
        }
        if std::fs::read_dir(directory).is_ok_and(|mut entries| entries.next().is_some()) {
            return Err(StepError::lasting(format!(
                "{} holds other files; nothing is cloned over them",
                directory.display()
            )));
        }
        let git = Git {
            user: &user,
            reach: Reach::beside(&self.control_url),
            reporter,
            end: Moment::now().plus(limit),
        };
        let pinned = repository_host::pin(url, git.reach).map_err(|error| match &error {
            HostError::Private { .. } => StepError::lasting(error),
            HostError::Unknown { .. } => StepError::passing(error),
            HostError::Protocol => StepError::lasting(error),
        })?;
        // Cloned beside its place and moved there when it is whole: what has the right name is complete.
        let growing = prepare_beside(directory).map_err(StepError::passing)?;
        let cloned = git.clone_into(&growing, url, branch, pinned).and_then(|()| {
            let besides = self.fetch_besides(&git, &growing);
            std::fs::rename(&growing, directory).map_err(StepError::passing)?;
            Ok(Success::Done(besides.words()))
        });
        if cloned.is_err() {
            let _ = std::fs::remove_dir_all(&growing);
        }
        cloned
    }

    fn fetch_besides(&self, git: &Git<'_>, root: &Path) -> Besides {
        let mut besides = Besides::default();
        let mut repositories = git.submodules(root, &mut besides);
        repositories.insert(0, root.to_path_buf());
        self.fetch_lfs(git, &repositories, &mut besides);
        for text in &besides.left_out {
            git.reporter.said(text);
        }
        besides
    }
}

impl Git<'_> {
    /// A git command that may talk to allowed hosts alone, and fetches no file of LFS by the way.
    pub fn command(&self, directory: &Path) -> Command {
        let mut command = work_of("git", self.user);
        command
            .env("GIT_TERMINAL_PROMPT", "0")
            .env("GIT_ALLOW_PROTOCOL", PROTOCOLS)
            .env("GIT_LFS_SKIP_SMUDGE", "1")
            .env("GIT_LITERAL_PATHSPECS", "1")
            .env(
                "GIT_SSH_COMMAND",
                "ssh -oBatchMode=yes -oStrictHostKeyChecking=accept-new -oConnectTimeout=20",
            )
            .current_dir(directory);
        command
    }

    /// Runs it, and tells how far it is.
    pub fn run(&self, command: Command) -> Result<Ended, RunError> {
        run(command, self.end.since(Moment::now()).max(Duration::from_secs(1)), &mut |line| {
            if let Some(percent) = percent(line) {
                self.reporter.percent(percent);
            }
            if !is_meter(line) {
                self.reporter.said(line);
            }
        })
    }

    /// What it prints, where it succeeds.
    pub fn ask(&self, directory: &Path, arguments: &[&str]) -> Option<Vec<u8>> {
        let output = self.command(directory).args(arguments).output().ok()?;
        output.status.success().then_some(output.stdout)
    }

    fn clone_into(
        &self,
        growing: &Path,
        url: &str,
        branch: Option<&str>,
        pinned: Vec<String>,
    ) -> Result<(), StepError> {
        let mut command = self.command(Path::new("/"));
        command.args(pinned).args(["clone", "--progress"]);
        if let Some(branch) = branch {
            command.arg(format!("--branch={branch}"));
        }
        command.arg("--").arg(url).arg(growing);
        match self.run(command) {
            Ok(ended) if ended.status.success() => Ok(()),
            Ok(ended) => {
                let reason = CloneFailure::read(&ended.tail);
                let text = reason.words(branch, &ended.tail);
                Err(if reason.may_pass() { StepError::passing(text) } else { StepError::lasting(text) })
            }
            Err(error) => Err(StepError::passing(error)),
        }
    }

    /// Fetches submodules, theirs too; answers with where they are.
    fn submodules(&self, root: &Path, besides: &mut Besides) -> Vec<PathBuf> {
        let (mut fetched, mut level) = (Vec::new(), vec![root.to_path_buf()]);
        for _ in 0..DEPTH {
            let mut next = Vec::new();
            for parent in &level {
                for (path, url) in self.named_submodules(parent) {
                    let at = parent.join(&path);
                    let shown = at.strip_prefix(root).unwrap_or(&at).display().to_string();
                    let done = if besides.submodules == SUBMODULES {
                        Err(format!("there are more than {SUBMODULES}"))
                    } else {
                        self.submodule(parent, &path, &url)
                    };
                    match done {
                        Ok(()) => {
                            besides.submodules += 1;
                            next.push(at);
                        }
                        Err(why) => besides.left_out.push(format!("submodule {shown}: {why}")),
                    }
                }
            }
            fetched.extend(next.iter().cloned());
            level = next;
        }
        fetched
    }

    /// The submodules of one repository: where they belong, and the URL that git made of what is written there.
    fn named_submodules(&self, parent: &Path) -> Vec<(String, String)> {
        if !parent.join(".gitmodules").is_file() {
            return Vec::new();
        }
        let regexp = |key: &str| format!(r"^submodule\..*\.{key}$");
        let paths = self.ask(parent, &["config", "-z", "-f", ".gitmodules", "--get-regexp", &regexp("path")]);
        let mut paths = settings(&paths.unwrap_or_default(), "path");
        // One more than are fetched, so that it is told that there are more.
        paths.truncate(SUBMODULES + 1);
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
            Ok(ended) => Err(CloneFailure::read(&ended.tail).words(None, &ended.tail)),
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

impl Besides {
    /// The step's own line; `None` where there is nothing besides the repository.
    fn words(&self) -> Option<String> {
        let counted = |count: usize, one: &str, many: &str| match count {
            0 => None,
            1 => Some(format!("with 1 {one}")),
            count => Some(format!("with {count} {many}")),
        };
        let more = self.left_out.len().saturating_sub(NAMED);
        let mut named = self.left_out.iter().take(NAMED).cloned().collect::<Vec<_>>().join("; ");
        if more > 0 {
            named.push_str(&format!("; and {more} more, see the log"));
        }
        let parts = [
            counted(self.submodules, "submodule", "submodules"),
            counted(self.lfs_files, "file of Git LFS", "files of Git LFS"),
            (!named.is_empty()).then(|| format!("not fetched: {named}")),
        ];
        let parts: Vec<String> = parts.into_iter().flatten().collect();
        (!parts.is_empty()).then(|| parts.join(", "))
    }
}

/// Removes what interrupted attempts left beside a directory and names the place for the next one.
fn prepare_beside(directory: &Path) -> std::io::Result<PathBuf> {
    let name = directory.file_name().unwrap_or_default().to_string_lossy();
    let prefix = format!(".{name}.cloning-");
    let parent = directory.parent().unwrap_or(Path::new("/"));
    for entry in std::fs::read_dir(parent)?.filter_map(Result::ok) {
        if entry.file_name().to_string_lossy().starts_with(&prefix) {
            std::fs::remove_dir_all(entry.path())?;
        }
    }
    Ok(parent.join(format!("{prefix}{}", Moment::now().0)))
}

#[cfg(test)]
mod tests {
    use super::*;

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
        sh("git init -q; git remote add origin https://140.82.121.4/a/b.git; git commit -q --allow-empty -m x \
            --author 't <t@t>'; for at in m0 m1 m2 m3 m4 m5 m6 m7; do git update-index --add --cacheinfo \
            160000,$(git rev-parse HEAD),$at; done".replace("git commit", "git -c user.name=t -c user.email=t@t commit").as_str(), directory.path());
        std::fs::write(directory.path().join(".gitmodules"), modules).unwrap();

        let (status, _wakeups) = crate::control_plane::status::Status::new().unwrap();
        let reporter = Reporter { status: &status, place: 0, begun: Moment::now() };
        let (uid, gid) = (rustix::process::getuid().as_raw(), rustix::process::getgid().as_raw());
        let home = directory.path().display().to_string();
        let user = User { name: "t".into(), uid, gid, home, shell: "/bin/sh".into() };
        let end = Moment::now().plus(Duration::from_secs(60));
        let git = Git { user: &user, reach: Reach::Internet, reporter: &reporter, end };
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
    }

    #[test]
    fn a_step_says_what_came_besides_and_what_did_not() {
        assert_eq!(Besides::default().words(), None);
        let left_out = ["a", "b", "c", "d"].map(|name| format!("submodule {name}: gone")).into();
        let besides = Besides { submodules: 2, lfs_files: 1, left_out };
        insta::assert_snapshot!(besides.words().unwrap(), @"with 2 submodules, with 1 file of Git LFS, not fetched: submodule a: gone; submodule b: gone; submodule c: gone; and 1 more, see the log");
    }
}
