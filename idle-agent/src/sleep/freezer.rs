//! Stops every process of the workspace's user for the last backup, and lets exactly those run again.
//!
//! Which were stopped is on disk before they are, so that a restarted agent can thaw them; processes that somebody had
//! stopped before stay stopped. Never freezes root's processes: among them are we.

use crate::os::atomic_file;
use crate::os::clock::{Moment, boot_id};
use crate::os::users::{self, User};
use rustix::process::{Pid, Signal, kill_process};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::io::Write as _;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Passes over all processes: each catches what was forked during the one before.
const PASSES: usize = 50;
/// How long a stopped process may take to stop; one that waits for a disk stops when that answers.
const STOP_WITHIN: Duration = Duration::from_secs(3);

/// What is frozen, as kept on disk.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Kept {
    boot: String,
    /// Process id and start time.
    stopped: BTreeSet<(i32, u64)>,
}

/// The freezer of one workspace.
#[derive(Debug)]
pub struct Freezer {
    file: PathBuf,
}

impl Freezer {
    /// A freezer that keeps its list in the state directory.
    pub fn new(state: &Path) -> Self {
        Self { file: state.join("frozen.json") }
    }

    /// Whether something is frozen.
    pub fn is_frozen(&self) -> bool {
        self.file.exists()
    }

    /// Stops all processes of the user. Repeatable; answers how many are stopped.
    ///
    /// # Errors
    /// The list cannot be stored: nothing is stopped then.
    pub fn freeze(&self, user: Option<&User>) -> std::io::Result<usize> {
        let mut kept = self.kept();
        atomic_file::write_json(&self.file, &kept, 0o600)?;
        let Some(user) = user.filter(|user| user.uid != 0 && users::is_root()) else {
            tracing::warn!("no processes are frozen: the workspace has no user of its own");
            return Ok(0);
        };
        for _ in 0..PASSES {
            let fresh: Vec<(i32, u64)> =
                running(user.uid).into_iter().filter(|one| !kept.stopped.contains(one)).collect();
            if fresh.is_empty() {
                break;
            }
            kept.stopped.extend(&fresh);
            atomic_file::write_json(&self.file, &kept, 0o600)?;
            for (pid, _) in fresh {
                signal(pid, Signal::STOP);
            }
        }
        let give_up = Moment::now().plus(STOP_WITHIN);
        while !running(user.uid).is_empty() && Moment::now() < give_up {
            std::thread::sleep(Duration::from_millis(10));
        }
        let left = running(user.uid).len();
        if left > 0 {
            tracing::warn!(left, "some processes have not stopped; they wait for a disk");
        }
        Ok(kept.stopped.len())
    }

    /// Lets what was stopped run again. Repeatable.
    pub fn thaw(&self) {
        let kept = self.kept();
        for (pid, started) in &kept.stopped {
            if Status::read(*pid).is_some_and(|status| status.started == *started) {
                signal(*pid, Signal::CONT);
            }
        }
        if let Err(error) = std::fs::remove_file(&self.file)
            && error.kind() != std::io::ErrorKind::NotFound
        {
            tracing::error!(%error, "cannot remove the list of frozen processes");
        }
    }

    /// What is kept; of another boot nothing is stopped any more.
    fn kept(&self) -> Kept {
        let boot = boot_id();
        let kept: Option<Kept> = atomic_file::read_json(&self.file);
        kept.filter(|kept| kept.boot == boot).unwrap_or(Kept { boot, ..Kept::default() })
    }
}

/// Processes of a user that run: neither stopped nor dead.
fn running(uid: u32) -> Vec<(i32, u64)> {
    let entries = std::fs::read_dir("/proc").into_iter().flatten().filter_map(Result::ok);
    entries
        .filter_map(|entry| {
            let pid: i32 = entry.file_name().to_str()?.parse().ok()?;
            let status = Status::read(pid)?;
            (status.uid == uid && !matches!(status.state, 'T' | 't' | 'Z' | 'X'))
                .then_some((pid, status.started))
        })
        .collect()
}

struct Status {
    uid: u32,
    state: char,
    started: u64,
}

impl Status {
    fn read(pid: i32) -> Option<Self> {
        // Not the owner of the directory: that is root for programs that hide their memory, such as ssh-agent.
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
        let value = |name: &str| status.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        let started = stat.rsplit_once(')')?.1.split_ascii_whitespace().nth(19)?.parse().ok()?;
        let uid = value("Uid:")?.split_ascii_whitespace().next()?.parse().ok()?;
        Some(Self { uid, state: value("State:")?.chars().next()?, started })
    }
}

fn signal(pid: i32, signal: Signal) {
    if let Some(pid) = Pid::from_raw(pid) {
        // It may have ended meanwhile.
        let _ = kill_process(pid, signal);
    }
}

/// Writes a line to every terminal of the user; one that does not take it at once is left out.
pub fn tell_terminals(user: Option<&User>, text: &str) {
    let Some(user) = user else { return };
    for entry in std::fs::read_dir("/dev/pts").into_iter().flatten().filter_map(Result::ok) {
        let is_theirs = entry.metadata().is_ok_and(|metadata| metadata.uid() == user.uid);
        if entry.file_name() == "ptmx" || !is_theirs {
            continue;
        }
        let flags = rustix::fs::OFlags::NONBLOCK | rustix::fs::OFlags::NOCTTY;
        let flags = i32::try_from(flags.bits()).unwrap_or(0);
        let opened = std::fs::OpenOptions::new().write(true).custom_flags(flags).open(entry.path());
        let written = opened.and_then(|mut terminal| write!(terminal, "\r\n[ebbtide] {text}\r\n"));
        if let Err(error) = written {
            tracing::debug!(%error, path = %entry.path().display(), "a terminal was not told");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::process::CommandExt as _;
    use std::process::Command;

    #[test]
    fn without_a_user_of_its_own_nothing_is_stopped_but_it_is_remembered() {
        let directory = tempfile::tempdir().unwrap();
        let freezer = Freezer::new(directory.path());
        let root = User { name: "root".into(), uid: 0, gid: 0, home: "/root".into(), shell: String::new() };
        assert_eq!(freezer.freeze(Some(&root)).unwrap(), 0);
        assert!(Freezer::new(directory.path()).is_frozen());
        freezer.thaw();
        assert!(!freezer.is_frozen());
    }

    #[test]
    fn what_was_stopped_runs_again_and_what_was_stopped_before_does_not() {
        if !users::is_root() {
            eprintln!("skipped: only root can act for another user");
            return;
        }
        let uid = 54_321;
        let user = User { name: "t".into(), uid, gid: uid, home: "/".into(), shell: String::new() };
        let sleeper = || Command::new("sleep").arg("600").uid(uid).gid(uid).spawn().unwrap();
        let (mut one, mut other) = (sleeper(), sleeper());
        let pid = |child: &std::process::Child| i32::try_from(child.id()).unwrap();
        let state = |child: &std::process::Child| Status::read(pid(child)).unwrap().state;
        let wait_for = |child: &std::process::Child, wanted: char| {
            let give_up = Moment::now().plus(Duration::from_secs(10));
            while (state(child) == 'T') != (wanted == 'T') && Moment::now() < give_up {
                std::thread::sleep(Duration::from_millis(5));
            }
            assert_eq!(state(child) == 'T', wanted == 'T');
        };
        signal(pid(&other), Signal::STOP);
        wait_for(&other, 'T');

        let directory = tempfile::tempdir().unwrap();
        let freezer = Freezer::new(directory.path());
        assert_eq!(freezer.freeze(Some(&user)).unwrap(), 1);
        assert_eq!(state(&one), 'T');
        assert_eq!(
            Freezer::new(directory.path()).freeze(Some(&user)).unwrap(),
            1,
            "a restarted agent knows it"
        );
        Freezer::new(directory.path()).thaw();
        wait_for(&one, 'S');
        assert_eq!(state(&other), 'T', "somebody else stopped it");
        for child in [&mut one, &mut other] {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }
}
