//! Cloning: the repository, its submodules, and the files that Git LFS keeps elsewhere.
//!
//! What a clone reads was written by strangers. `.gitmodules` and `.lfsconfig` name hosts and protocols of their own: each
//! is held to the rules of the repository itself. What cannot be had of them is told and stops no boot.

use super::git::{CloneFailure, is_meter, percent};
use super::repository_host::{self, HostError, Reach};
use super::{Boot, Reporter, StepError, Success};
use crate::os::clock::Moment;
use crate::os::command::{Ended, RunError, output, run};
use crate::os::service::work_of;
use crate::os::users::User;
use crate::user_settings::GIT_CONFIG;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// Protocols that git may speak, whoever names them.
const PROTOCOLS: &str = "http:https:ssh";
/// What was left out is named so often in a step's own line; the log has all of it.
const NAMED: usize = 3;

/// Git as the workspace's user, without a terminal, and for a time.
pub(super) struct Git<'a> {
    pub user: &'a User,
    pub reach: Reach,
    /// The machine's configuration of git, which has the way to credentials.
    pub config: PathBuf,
    pub reporter: &'a Reporter<'a>,
    /// When the step's time is over.
    pub end: Moment,
}

/// What was fetched besides the repository, and what was not.
#[derive(Debug, Default)]
pub(super) struct Besides {
    pub submodules: usize,
    /// Those and the ones that were not to be had.
    pub tried: usize,
    pub lfs_files: usize,
    pub left_out: Vec<String>,
    /// Something may be missing because the step's time was over.
    pub is_cut_short: bool,
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
            config: self.places.git_config(),
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
        if besides.is_cut_short {
            besides.left_out.insert(0, "what else there is, for the step's time was over".to_owned());
        }
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
            .env(GIT_CONFIG, &self.config)
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
        run(command, self.end.since(Moment::now()), &mut |line| {
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
        let mut command = self.command(directory);
        command.args(arguments);
        self.printed(command)
    }

    /// The same of a command that is made already.
    pub fn printed(&self, command: Command) -> Option<Vec<u8>> {
        let left = self.end.since(Moment::now());
        if left.is_zero() {
            return None;
        }
        output(command, left).inspect_err(|error| tracing::debug!(%error, "git answers nothing")).ok()
    }

    /// Whether there is time for more; that there is none is noted.
    pub fn has_time(&self, besides: &mut Besides) -> bool {
        let is_over = Moment::now() >= self.end;
        besides.is_cut_short |= is_over;
        !is_over
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
                let text = reason.words(url, branch, &ended.tail);
                Err(if reason.may_pass() { StepError::passing(text) } else { StepError::lasting(text) })
            }
            Err(error) => Err(StepError::passing(error)),
        }
    }
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
    use crate::boot::Retry;

    #[test]
    fn a_step_says_what_came_besides_and_what_did_not() {
        assert_eq!(Besides::default().words(), None);
        let left_out = ["a", "b", "c", "d"].map(|name| format!("submodule {name}: gone")).into();
        let besides = Besides { submodules: 2, lfs_files: 1, left_out, ..Besides::default() };
        insta::assert_snapshot!(besides.words().unwrap(), @"with 2 submodules, with 1 file of Git LFS, not fetched: submodule a: gone; submodule b: gone; submodule c: gone; and 1 more, see the log");
    }

    #[test]
    fn a_clone_asks_where_its_host_leads_before_git_does_anything() {
        let home = tempfile::tempdir().unwrap();
        let boot = Boot::of_a_test(home.path(), "https://8.8.8.8");
        let workspaces = home.path().join("workspaces");
        let reporter = Reporter { status: &boot.status, place: 0, begun: Moment::now() };
        for (host, address) in [("localhost", "127.0.0.1"), ("127.0.0.1", "127.0.0.1"), ("[::1]", "::1")] {
            let cloned = boot.clone_repository(
                &format!("http://{host}:1/demo.git"),
                None,
                &workspaces.join("demo"),
                "ebb",
                Duration::from_secs(60),
                &reporter,
            );
            let Err(error) = cloned else { panic!("{host} was cloned from") };
            assert_eq!(error.retry, Retry::Useless);
            let leads = [format!("leads to {address},"), "leads to ::1,".to_owned()];
            assert!(leads.iter().any(|text| error.text.contains(text)), "{}", error.text);
        }
        assert!(!workspaces.exists(), "nothing was begun");
    }
}
