//! Files that a repository keeps by Git LFS: in a clone they are pointers of 130 bytes until `git lfs pull` has fetched them.
//!
//! The program is installed where a repository wants it, at a clone and at every wake: without it git takes changed files for
//! ordinary ones. `.lfsconfig` names the server: it is refused by the rules of repositories. Where its name leads once git-lfs
//! connects, and where that server sends us for a file, is its own affair, as a redirect is.

use super::clone::{Besides, Git};
use super::repository_host::{self, Reach};
use super::steps::MachineTools;
use super::{Boot, Reporter, packages};
use crate::os::clock::Moment;
use crate::os::command::is_installed;
use crate::os::users;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How a pointer begins.
const POINTER: &[u8] = b"version https://git-lfs.github.com/spec/";
/// How much of `.gitattributes` is looked at.
const ATTRIBUTES_BYTES: u64 = 64 << 10;

impl Boot {
    /// Fetches what these repositories keep by LFS.
    pub(super) fn fetch_lfs(&self, git: &Git<'_>, repositories: &[PathBuf], besides: &mut Besides) {
        let wanting: Vec<(&PathBuf, Vec<PathBuf>)> = repositories
            .iter()
            .take_while(|_| git.has_time(besides))
            .map(|repository| (repository, pointers(git, repository)))
            .filter(|(_, pointers)| !pointers.is_empty())
            .collect();
        if wanting.is_empty() {
            return;
        }
        self.install_lfs(git.end.since(Moment::now()), git.reporter);
        for (repository, before) in wanting {
            if !git.has_time(besides) {
                return;
            }
            let why = pull(git, repository).err();
            let left = before.iter().filter(|path| is_pointer(path)).count();
            besides.lfs_files += before.len() - left;
            if left > 0 {
                let why = why.unwrap_or_else(|| "the server does not have them".to_owned());
                let left = if left == 1 { "1 file".to_owned() } else { format!("{left} files") };
                besides.left_out.push(format!("{left} of Git LFS, pointers now: {why}"));
            }
        }
    }

    /// Sees that git-lfs is there where a repository of the workspace wants it. Its failure stops nothing.
    pub(super) fn ensure_lfs(&self, limit: Duration, reporter: &Reporter<'_>) {
        let workspaces = super::workspace_of(&self.plan).map(|(_, _, workspaces)| workspaces);
        let entries = workspaces.and_then(|workspaces| std::fs::read_dir(workspaces).ok());
        let mut entries = entries.into_iter().flatten().filter_map(Result::ok);
        if entries.any(|entry| wants_lfs(&entry.path())) {
            self.install_lfs(limit, reporter);
        }
    }

    fn install_lfs(&self, limit: Duration, reporter: &Reporter<'_>) {
        if is_installed("git-lfs") || !users::is_root() {
            return;
        }
        reporter.detail("installing git-lfs, which the repository wants");
        let mut tools = MachineTools { status: &self.status, reporter, end: Moment::now().plus(limit) };
        if let Err(error) = packages::install(&["git-lfs"], &mut tools) {
            reporter.said(&format!("git-lfs is not installed: {error}"));
        }
    }
}

/// Whether the attributes at a repository's root name LFS, as `git lfs track` writes them.
fn wants_lfs(repository: &Path) -> bool {
    let attributes = repository.join(".gitattributes");
    // Of somebody else's making: a pipe of that name would be waited for without end.
    if !repository.join(".git").exists() || !is_file(&attributes) {
        return false;
    }
    let mut text = Vec::new();
    let read =
        std::fs::File::open(attributes).and_then(|file| file.take(ATTRIBUTES_BYTES).read_to_end(&mut text));
    read.is_ok() && String::from_utf8_lossy(&text).contains("filter=lfs")
}

/// The files of a checkout that are pointers.
fn pointers(git: &Git<'_>, repository: &Path) -> Vec<PathBuf> {
    let mut command = git.command(repository);
    command.env_remove("GIT_LITERAL_PATHSPECS").args(["ls-files", "-z", "--", ":(attr:filter=lfs)"]);
    let listed = git.printed(command).unwrap_or_default();
    let paths = listed.split(|byte| *byte == 0).filter(|path| !path.is_empty());
    paths
        .map(|path| repository.join(<std::ffi::OsStr as std::os::unix::ffi::OsStrExt>::from_bytes(path)))
        .filter(|path| is_pointer(path))
        .collect()
}

fn is_file(path: &Path) -> bool {
    path.symlink_metadata().is_ok_and(|found| found.is_file())
}

fn is_pointer(path: &Path) -> bool {
    let mut start = [0; POINTER.len()];
    is_file(path)
        && std::fs::File::open(path).and_then(|mut file| file.read_exact(&mut start)).is_ok()
        && start == *POINTER
}

fn pull(git: &Git<'_>, repository: &Path) -> Result<(), String> {
    if !is_installed("git-lfs") {
        return Err("git-lfs is missing; install it, then `git lfs pull`".to_owned());
    }
    let configured = settings(git, repository).ok_or("its .lfsconfig is no file that can be read")?;
    refuse_servers(&String::from_utf8_lossy(&configured), git.reach)?;
    let mut command = git.command(repository);
    command.env_remove("GIT_LFS_SKIP_SMUDGE");
    // The filters are the machine's, not the user's: where a package did not set them, this repository gets them.
    command.args(["lfs", "install", "--local"]);
    git.run(command).map_err(|error| error.to_string())?;
    let mut command = git.command(repository);
    command.env_remove("GIT_LFS_SKIP_SMUDGE").args(["lfs", "pull"]);
    let ended = git.run(command).map_err(|error| error.to_string())?;
    match ended.tail.last() {
        _ if ended.status.success() => Ok(()),
        Some(said) => Err(said.chars().take(300).collect()),
        None => Err("git lfs pull said nothing".to_owned()),
    }
}

/// What `.lfsconfig` says; `None` where that is not what git-lfs will go by. In place of a file that it cannot open, such as
/// a link that leads nowhere, git-lfs reads what is committed under that name.
fn settings(git: &Git<'_>, repository: &Path) -> Option<Vec<u8>> {
    if is_file(&repository.join(".lfsconfig")) {
        return git.ask(repository, &["config", "-z", "-f", ".lfsconfig", "--list"]);
    }
    git.ask(repository, &["ls-files", "-z", "--", ".lfsconfig"]).filter(Vec::is_empty)
}

/// Refuses a server that the repository names and that no repository could be cloned from.
fn refuse_servers(configured: &str, reach: Reach) -> Result<(), String> {
    let settings = configured.split('\0').filter_map(|entry| entry.split_once('\n'));
    for (_, url) in settings.filter(|(key, _)| key.to_ascii_lowercase().ends_with("url")) {
        repository_host::pin_named(url, reach).map_err(|error| format!("its .lfsconfig: {error}"))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_of_lfs_is_held_to_the_rules_of_repositories() {
        for configured in ["", "lfs.url\nhttps://140.82.121.4/lfs\0", "lfs.fetchexclude\nfile:///etc\0"] {
            assert_eq!(refuse_servers(configured, Reach::Internet), Ok(()), "{configured}");
        }
        for url in ["file:///etc", "ext::sh -c id", "/etc", "http://127.0.0.1/lfs", "http://169.254.169.254/"]
        {
            for key in ["lfs.url", "remote.origin.lfsurl", "lfs.pushURL"] {
                let refused = refuse_servers(&format!("a.b\nc\0{key}\n{url}\0"), Reach::Internet);
                assert!(refused.is_err(), "{key} = {url}");
            }
        }
    }

    #[test]
    fn a_repository_wants_lfs_by_its_attributes_and_a_pipe_is_not_waited_for() {
        let directory = tempfile::tempdir().unwrap();
        let attributes = directory.path().join(".gitattributes");
        std::fs::write(&attributes, b"\xff\n*.bin filter=lfs diff=lfs merge=lfs -text\n").unwrap();
        assert!(!wants_lfs(directory.path()), "no repository");
        std::fs::create_dir(directory.path().join(".git")).unwrap();
        assert!(wants_lfs(directory.path()));
        std::fs::write(&attributes, "*.txt text\n").unwrap();
        assert!(!wants_lfs(directory.path()));
        std::fs::remove_file(&attributes).unwrap();
        rustix::fs::mkfifoat(rustix::fs::CWD, &attributes, rustix::fs::Mode::from(0o600)).unwrap();
        assert!(!wants_lfs(directory.path()));
    }

    #[test]
    fn a_pointer_is_told_from_the_file_that_it_stands_for() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("a");
        let check = |content: &[u8], expect: bool| {
            std::fs::write(&file, content).unwrap();
            assert_eq!(is_pointer(&file), expect);
        };
        check(b"version https://git-lfs.github.com/spec/v1\noid sha256:ab\nsize 3\n", true);
        check(b"version https://git-lfs", false);
        check(b"\x89PNG", false);
        assert!(!is_pointer(&directory.path().join("gone")));
    }
}
