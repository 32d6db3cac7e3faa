//! The backup child: `ebb-agent backup …` as a process of its own, so that the daemon stays small.
//!
//! Reads its JSON lines. Secrets reach it as files, never as arguments. A child
//! that an earlier life of the agent left behind is ended before a new one starts.

use crate::backup::WORKTREE_PLACES;
use crate::config::Places;
use crate::containers::{DataRoot, RAN};
use crate::control_plane::api_client::ApiClient;
use crate::os::atomic_file;
use crate::os::mutex::lock;
use crate::sleep::backup_estimate::estimator::SurveyResult;
use ebbtide_api::backups::BackupProgress;
use ebbtide_api::vm::Repository;
use rustix::process::{Pid, Signal, kill_process_group};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use std::io::{BufRead as _, BufReader};
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};

/// Exit code by which the child says that a newer machine has taken over.
const EXIT_STALE: i32 = 41;
/// Milliseconds after which the backup process gives memory back that it does not use: packs come and go, and
/// the allocator's own 1 000 ms keep 50 to 90 MB more (docs/decisions/0003).
const GIVE_BACK_AFTER_MS: &str = "20";
/// Packs that a delivery names at most, whatever the policy says: 900 kB, where 1 MiB is taken.
const PACKS_MOST: usize = 10_000;
/// Objects that the library reads at once while old backups are tidied.
const TIDY_READERS: &str = "8";

/// Why a child ended without its result.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BackupProcessError {
    /// A newer machine has taken over.
    #[error("a newer machine has taken over")]
    Fenced,
    /// It said why.
    #[error("{message}")]
    Failed {
        /// Stable code of the failure.
        code: String,
        /// In words.
        message: String,
    },
    /// It ended without a word, or could not be started.
    #[error("the backup process ended without a result: {0}")]
    Vanished(String),
}

/// One line of the child's output.
#[derive(Debug, Deserialize)]
#[serde(tag = "event", rename_all = "lowercase")]
enum Line {
    Progress {
        phase: String,
        bytes_done: u64,
        bytes_total: Option<u64>,
        files_done: u64,
        rate: u64,
    },
    Error {
        path: Option<String>,
        message: String,
    },
    Done(serde_json::Value),
    Failed {
        code: String,
        message: String,
    },
    #[serde(other)]
    Unknown,
}

/// What the child may tell while it runs.
#[derive(Debug)]
pub enum News {
    /// How far it is.
    Progress(BackupProgress),
    /// Something it could not do, and goes on.
    Trouble(String),
}

/// What the child is to do.
#[derive(Debug, Clone)]
pub enum Order {
    /// Take a snapshot of these directories.
    Run {
        /// Absolute paths.
        include: Vec<PathBuf>,
    },
    /// Bring a snapshot back.
    Restore {
        /// Its id.
        snapshot: String,
    },
    /// Remove snapshots, and what nothing needs then.
    Tidy {
        /// Their ids.
        snapshots: Vec<String>,
    },
}

/// Starts children, one at a time.
#[derive(Debug)]
pub struct BackupProcesses {
    api_client: Arc<ApiClient>,
    repository: Repository,
    places: Places,
    /// Where restored files go; `/` but for tests.
    target: PathBuf,
    /// All that a restore may write, whatever a snapshot names: a machine that was taken over must not reach into the
    /// system of its successor.
    include: Vec<PathBuf>,
    /// Directories that are backed up, and restored, where they exist.
    optional: Vec<PathBuf>,
    /// Of which all or a part is backed up, and all is restored.
    docker: DataRoot,
    running: Mutex<Option<u32>>,
}

impl BackupProcesses {
    /// Prepares for children; ends one that an earlier life of the agent left behind.
    pub fn new(
        api_client: Arc<ApiClient>,
        repository: Repository,
        places: Places,
        target: PathBuf,
        include: Vec<PathBuf>,
        optional: Vec<PathBuf>,
        docker: DataRoot,
    ) -> Self {
        let running = Mutex::new(None);
        let backup_processes =
            Self { api_client, repository, places, target, include, optional, docker, running };
        backup_processes.end_left_over();
        backup_processes
    }

    /// The control plane, as this machine speaks to it.
    pub fn api_client(&self) -> &ApiClient {
        &self.api_client
    }

    /// How many packs one delivery of a receipt names at most.
    pub fn receipt_packs(&self) -> usize {
        usize::try_from(self.repository.receipt_packs).unwrap_or(usize::MAX).clamp(1, PACKS_MOST)
    }

    /// File that lists the packs of verified receipts, and of the snapshot that was restored.
    pub fn known_packs(&self) -> PathBuf {
        self.places.state.join("known-packs")
    }

    /// Runs a child to its end.
    ///
    /// # Errors
    /// [`BackupProcessError`].
    pub fn run(
        &self,
        order: &Order,
        news: &mut dyn FnMut(News),
    ) -> Result<serde_json::Value, BackupProcessError> {
        let vanished = |error: std::io::Error| BackupProcessError::Vanished(error.to_string());
        let mut command = self.command(order).map_err(vanished)?;
        let mut child =
            command.stdout(Stdio::piped()).stdin(Stdio::null()).process_group(0).spawn().map_err(vanished)?;
        *lock(&self.running) = Some(child.id());
        if let Err(error) = atomic_file::write(&self.pid_file(), child.id().to_string().as_bytes(), 0o600) {
            tracing::warn!(%error, "cannot note the backup process");
        }
        let mut result = None;
        if let Some(stdout) = child.stdout.take() {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                result = read_line(&line, news).or(result);
            }
        }
        let status = child.wait().map_err(vanished)?;
        *lock(&self.running) = None;
        let _ = std::fs::remove_file(self.pid_file());
        match (status.code(), result) {
            (Some(EXIT_STALE), _) => {
                self.api_client.fence();
                Err(BackupProcessError::Fenced)
            }
            (Some(0), Some(Ok(value))) => Ok(value),
            (_, Some(Err(failure))) => Err(failure),
            _ => Err(BackupProcessError::Vanished(status.to_string())),
        }
    }

    /// Ends the child that is running, if one is.
    pub fn stop(&self) {
        if let Some(pid) = *lock(&self.running) {
            kill_group(pid);
        }
    }

    /// Looks at what a backup of these directories would hold. It touches no store and may run beside a backup.
    ///
    /// # Errors
    /// [`BackupProcessError`].
    pub fn survey(
        &self,
        include: &[PathBuf],
        since: Option<i64>,
    ) -> Result<SurveyResult, BackupProcessError> {
        let vanished = |error: std::io::Error| BackupProcessError::Vanished(error.to_string());
        let mut command = Command::new(std::env::current_exe().map_err(vanished)?);
        command.env_clear().current_dir("/").args(["backup", "survey"]);
        for path in include {
            command.arg("--include").arg(path);
        }
        self.name_optional(&mut command);
        if let Some(since) = since {
            command.arg(format!("--since={since}"));
        }
        let output = command.stdin(Stdio::null()).stderr(Stdio::null()).output().map_err(vanished)?;
        let text = String::from_utf8_lossy(&output.stdout);
        let result = text.lines().filter_map(|line| read_line(line, &mut |_| ())).next_back();
        result
            .unwrap_or_else(|| Err(BackupProcessError::Vanished(output.status.to_string())))
            .and_then(result_of)
    }

    fn command(&self, order: &Order) -> std::io::Result<Command> {
        let mut command = Command::new(std::env::current_exe()?);
        command.env_clear().env("PATH", crate::os::command::path()).env("HOME", "/root").current_dir("/");
        command.env("MIMALLOC_PURGE_DELAY", GIVE_BACK_AFTER_MS);
        command.arg("backup").arg(match order {
            Order::Run { .. } => "run",
            Order::Restore { .. } => "restore",
            Order::Tidy { .. } => "tidy",
        });
        command
            .arg("--url")
            .arg(format!("{}{}", self.api_client.control_url(), self.repository.path))
            .arg("--token-file")
            .arg(self.places.vm_token())
            .arg("--password-file")
            .arg(self.places.repository_password())
            .arg("--cache-dir")
            .arg(self.places.state.join("backup-cache"));
        match order {
            Order::Run { include } => {
                let known = self.known_packs();
                if !known.exists() {
                    atomic_file::write(&known, b"", 0o600)?;
                }
                command.arg("--init").arg("--host").arg(&self.repository.host);
                command.arg("--tag").arg(format!("g{}", self.api_client.generation()));
                command.arg("--since-packs").arg(known);
                for path in include {
                    command.arg("--include").arg(path);
                }
                self.name_optional(&mut command);
            }
            Order::Restore { snapshot } => {
                command.arg("--snapshot").arg(snapshot).arg("--target").arg(&self.target);
                // What was planted after the receipt stops no wake.
                command.arg("--as-of").arg(snapshot);
                // Its receipt has proved these packs: the first receipt of this machine need not name them again.
                command.arg("--note-packs").arg(self.known_packs());
                // Nothing of root's lies in the places of worktrees: who could write there may find there what was written.
                let places = WORKTREE_PLACES.map(PathBuf::from);
                for path in self.include.iter().chain(&self.optional).chain(&places) {
                    command.arg("--include").arg(path);
                }
                command.arg("--include").arg(self.docker.path());
            }
            Order::Tidy { snapshots } => {
                let list = self.places.run.join("forget");
                atomic_file::write(&list, snapshots.join("\n").as_bytes(), 0o600)?;
                // Its time is spent waiting for the store, which the library does once for each processor.
                command.env("RAYON_NUM_THREADS", TIDY_READERS);
                command.arg("--forget").arg(list);
            }
        }
        Ok(command)
    }

    fn name_optional(&self, command: &mut Command) {
        for path in &self.optional {
            command.arg("--optional").arg(path);
        }
        // Whoever has Docker begin anew takes the mark away with all the rest.
        if self.places.state.join(RAN).exists()
            && let Err(error) = self.docker.claim()
        {
            tracing::warn!(%error, "Docker's data-root cannot be marked as kept");
        }
        command.arg("--optional").arg(self.docker.kept());
    }

    fn pid_file(&self) -> PathBuf {
        self.places.run.join("backup.pid")
    }

    fn end_left_over(&self) {
        let pid =
            std::fs::read_to_string(self.pid_file()).ok().and_then(|text| text.trim().parse::<u32>().ok());
        let Some(pid) = pid else { return };
        let cmdline = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        if cmdline.split(|byte| *byte == 0).nth(1) == Some(b"backup") {
            tracing::info!(pid, "ending a backup process of an earlier life");
            kill_group(pid);
        }
        let _ = std::fs::remove_file(self.pid_file());
    }
}

/// Reads what a child came to.
///
/// # Errors
/// [`BackupProcessError::Vanished`] where it has another shape.
pub fn result_of<R: DeserializeOwned>(result: serde_json::Value) -> Result<R, BackupProcessError> {
    serde_json::from_value(result)
        .map_err(|error| BackupProcessError::Vanished(format!("its result cannot be read: {error}")))
}

fn kill_group(pid: u32) {
    if let Some(group) = i32::try_from(pid).ok().and_then(Pid::from_raw) {
        let _ = kill_process_group(group, Signal::KILL);
    }
}

fn read_line(
    line: &str,
    news: &mut dyn FnMut(News),
) -> Option<Result<serde_json::Value, BackupProcessError>> {
    match serde_json::from_str(line) {
        Ok(Line::Progress { phase, bytes_done, bytes_total, files_done, rate }) => {
            news(News::Progress(BackupProgress { phase, bytes_done, bytes_total, files_done, rate }));
            None
        }
        Ok(Line::Error { path, message }) => {
            news(News::Trouble(path.map_or(message.clone(), |path| format!("{path}: {message}"))));
            None
        }
        Ok(Line::Done(value)) => Some(Ok(value)),
        Ok(Line::Failed { code, message }) => Some(Err(BackupProcessError::Failed { code, message })),
        Ok(Line::Unknown) => None,
        Err(error) => {
            tracing::warn!(%error, "ignoring a line of the backup process");
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_the_child_are_progress_trouble_or_the_end() {
        let mut news = Vec::new();
        let mut read = |line: &str| read_line(line, &mut |piece| news.push(piece));
        assert!(read(r#"{"event":"progress","phase":"upload","bytes_done":1,"bytes_total":2,"files_done":3,"rate":4}"#).is_none());
        assert!(read(r#"{"event":"error","path":"/a","message":"no"}"#).is_none());
        assert!(read(r#"{"event":"novel","x":1}"#).is_none());
        assert!(read(r#"{"event":"done","snapsho"#).is_none(), "a torn last line is no result");
        assert_eq!(
            read(r#"{"event":"failed","code":"quota","message":"full"}"#),
            Some(Err(BackupProcessError::Failed { code: "quota".into(), message: "full".into() }))
        );
        assert_eq!(news.len(), 2);
        assert!(matches!(&news[0], News::Progress(progress) if progress.bytes_total == Some(2)));
        assert!(matches!(&news[1], News::Trouble(text) if text == "/a: no"));
    }
}
