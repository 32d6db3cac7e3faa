//! Which processes could still change what is backed up: those of the workspace's user, and whoever has a file open for
//! writing in the directories that are kept. Reads `/proc`; what cannot be read is an error, never "none".

use crate::os::cgroups::{group_of, is_in};
use rustix::process::{Pid, Signal, kill_process};
use std::io;
use std::path::{Path, PathBuf};

/// The device by which a program serves a file system of its own.
const SERVES_FILES: &str = "/dev/fuse";
/// The bits of an open file's flags that say how it is accessed, in octal: read only is 0.
const ACCESS: u32 = 0o3;

/// A process, by its id and the moment it started at: so it is named for ever.
pub type Named = (i32, u64);

/// Whose processes count.
#[derive(Debug)]
pub struct Suspects<'a> {
    /// Where processes are shown.
    pub proc: &'a Path,
    /// The workspace's user.
    pub uid: u32,
    /// Directories that are kept.
    pub include: &'a [PathBuf],
    /// Groups that stand still: what is in them does not run, although it says "sleeping".
    pub frozen: &'a [String],
}

/// One that runs.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Running {
    /// Whether others wait for it when they read files: it is stopped last, or they could not be stopped any more.
    pub serves_files: bool,
    /// Which.
    pub named: Named,
    /// What the kernel calls it.
    pub comm: String,
}

impl Suspects<'_> {
    /// Those that run: neither stopped nor dead. Those that serve files come last.
    ///
    /// # Errors
    /// `/proc` or a process in it cannot be looked at.
    pub fn running(&self) -> io::Result<Vec<Running>> {
        let mut found = Vec::new();
        for entry in std::fs::read_dir(self.proc)? {
            let name = entry?.file_name();
            let Some(pid) = name.to_str().and_then(|name| name.parse::<i32>().ok()) else { continue };
            found.extend(self.suspect(pid)?);
        }
        found.sort_unstable();
        Ok(found)
    }

    fn suspect(&self, pid: i32) -> io::Result<Option<Running>> {
        let id = u32::try_from(pid).unwrap_or(0);
        // PID 1 starts everything again, ourselves included.
        if id == std::process::id() || pid == 1 {
            return Ok(None);
        }
        let Some(status) = Status::read(self.proc, pid)? else { return Ok(None) };
        let is_users = status.uid == self.uid;
        // The backup is a child of ours, and reads what is kept.
        if !is_users && status.parent == std::process::id() {
            return Ok(None);
        }
        let files = match self.files(pid) {
            // Not even root may look into it: then it is no service that writes here, and of a user's it is known anyway.
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Files::default(),
            files => files?,
        };
        if !(is_users || files.writes_kept) || !self.runs(pid)? {
            return Ok(None);
        }
        let stands = || {
            let group = group_of(self.proc, id);
            group.is_some_and(|group| self.frozen.iter().any(|frozen| is_in(&group, frozen)))
        };
        Ok((!stands()).then_some(Running {
            serves_files: files.serves,
            named: (pid, status.started),
            comm: status.comm,
        }))
    }

    /// Whether a thread of it runs: one that has ended, or stands, may have others that do not.
    fn runs(&self, pid: i32) -> io::Result<bool> {
        let tasks = self.proc.join(pid.to_string()).join("task");
        let Some(tasks) = unless_gone(std::fs::read_dir(tasks))? else { return Ok(false) };
        for task in tasks {
            let Some(task) = unless_gone(task)? else { return Ok(false) };
            let Some(stat) = unless_gone(std::fs::read(task.path().join("stat")))? else { continue };
            let stat = String::from_utf8_lossy(&stat);
            let state = stat.rsplit_once(')').and_then(|(_, rest)| rest.trim_start().chars().next());
            if !matches!(state, Some('T' | 't' | 'Z' | 'X' | 'x')) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn files(&self, pid: i32) -> io::Result<Files> {
        let directory = self.proc.join(pid.to_string());
        let mut files = Files::default();
        let Some(descriptors) = unless_gone(std::fs::read_dir(directory.join("fd")))? else {
            return Ok(files);
        };
        for descriptor in descriptors {
            let Some(descriptor) = unless_gone(descriptor)? else { break };
            let Some(target) = unless_gone(std::fs::read_link(descriptor.path()))? else { continue };
            files.serves |= target == Path::new(SERVES_FILES);
            if self.include.iter().any(|include| target.starts_with(include)) {
                let information = directory.join("fdinfo").join(descriptor.file_name());
                let text = unless_gone(std::fs::read_to_string(information))?.unwrap_or_default();
                files.writes_kept |= opened_for_writing(&text);
            }
        }
        Ok(files)
    }
}

/// What a process has open.
#[derive(Debug, Default)]
struct Files {
    serves: bool,
    writes_kept: bool,
}

/// Reads `/proc/{pid}/fdinfo/{fd}`.
fn opened_for_writing(text: &str) -> bool {
    let flags = text.lines().find_map(|line| line.strip_prefix("flags:"));
    flags.and_then(|flags| u32::from_str_radix(flags.trim(), 8).ok()).is_some_and(|flags| flags & ACCESS != 0)
}

/// A process as its status shows it.
#[derive(Debug)]
pub struct Status {
    /// Whose it is.
    pub uid: u32,
    /// When it started, in ticks.
    pub started: u64,
    parent: u32,
    comm: String,
}

impl Status {
    /// Reads it; `None` where the process is gone.
    ///
    /// # Errors
    /// It is there and cannot be read.
    pub fn read(proc: &Path, pid: i32) -> io::Result<Option<Self>> {
        let directory = proc.join(pid.to_string());
        // Not the owner of the directory: that is root for programs that hide their memory, such as ssh-agent.
        let Some(status) = unless_gone(std::fs::read(directory.join("status")))? else { return Ok(None) };
        let Some(stat) = unless_gone(std::fs::read(directory.join("stat")))? else { return Ok(None) };
        let (status, stat) = (String::from_utf8_lossy(&status), String::from_utf8_lossy(&stat));
        Self::parse(&status, &stat).map(Some).ok_or_else(|| {
            io::Error::new(
                io::ErrorKind::InvalidData,
                format!("the status of process {pid} cannot be understood"),
            )
        })
    }

    fn parse(status: &str, stat: &str) -> Option<Self> {
        let value = |name: &str| status.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
        let started = stat.rsplit_once(')')?.1.split_ascii_whitespace().nth(19)?.parse().ok()?;
        Some(Self {
            uid: value("Uid:")?.split_ascii_whitespace().next()?.parse().ok()?,
            started,
            parent: value("PPid:")?.parse().ok()?,
            comm: value("Name:").unwrap_or_default().to_owned(),
        })
    }
}

/// Sends a signal; the process may have ended meanwhile.
pub fn signal(pid: i32, signal: Signal) {
    if let Some(pid) = Pid::from_raw(pid) {
        let _ = kill_process(pid, signal);
    }
}

/// A process that ends while it is looked at is none; anything else that goes wrong may hide one.
fn unless_gone<T>(read: io::Result<T>) -> io::Result<Option<T>> {
    match read {
        Ok(found) => Ok(Some(found)),
        Err(error)
            if error.kind() == io::ErrorKind::NotFound
                || error.raw_os_error() == Some(rustix::io::Errno::SRCH.raw_os_error()) =>
        {
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn how_a_file_is_opened_is_read_from_its_flags() {
        for (flags, writes) in [("0100000", false), ("0100001", true), ("02100002", true), ("x", false)] {
            assert_eq!(
                opened_for_writing(&format!("pos:\t0\nflags:\t{flags}\nmnt_id:\t30\n")),
                writes,
                "{flags}"
            );
        }
    }

    /// Puts a process into a `/proc`: whose it is, the states of its threads, and what it has open with which flags.
    fn plant(proc: &Path, pid: i32, uid: u32, states: &str, open: &[(&str, &str)]) {
        let directory = proc.join(pid.to_string());
        for name in ["fd", "fdinfo", "task"] {
            std::fs::create_dir_all(directory.join(name)).unwrap();
        }
        let status =
            format!("Name:\tp{pid}\nState:\tS (sleeping)\nPPid:\t1\nUid:\t{uid}\t{uid}\t{uid}\t{uid}\n");
        std::fs::write(directory.join("status"), status).unwrap();
        std::fs::write(directory.join("cgroup"), "0::/user.slice/a.scope\n").unwrap();
        let stat = |state: char| format!("{pid} (p) {state} 1 1 1 0 -1 0 0 0 0 0 0 0 0 0 20 0 1 0 777 0 0");
        std::fs::write(directory.join("stat"), stat('S')).unwrap();
        for (thread, state) in states.chars().enumerate() {
            let task = directory.join("task").join(thread.to_string());
            std::fs::create_dir(&task).unwrap();
            std::fs::write(task.join("stat"), stat(state)).unwrap();
        }
        for (number, (target, flags)) in open.iter().enumerate() {
            std::os::unix::fs::symlink(target, directory.join("fd").join(number.to_string())).unwrap();
            let information = directory.join("fdinfo").join(number.to_string());
            std::fs::write(information, format!("pos:\t0\nflags:\t{flags}\n")).unwrap();
        }
    }

    #[test]
    fn the_users_and_whoever_writes_what_is_kept_count_and_who_serves_files_comes_last() {
        let proc = tempfile::tempdir().unwrap();
        let proc = proc.path();
        plant(proc, 10, 7, "S", &[("/dev/fuse", "02")]);
        plant(proc, 11, 7, "T", &[]);
        plant(proc, 12, 7, "ZS", &[]);
        plant(proc, 13, 7, "TD", &[]);
        plant(proc, 14, 7, "Z", &[]);
        plant(proc, 20, 0, "S", &[("/workspaces/db", "0100002")]);
        plant(proc, 21, 0, "S", &[("/workspaces/db", "0100000"), ("/workspaces-2/db", "01")]);
        plant(proc, 22, 5, "T", &[("/workspaces/db", "01")]);
        let include = ["/workspaces".into()];
        let found = |frozen: &[String]| {
            let running = Suspects { proc, uid: 7, include: &include, frozen }.running().unwrap();
            running.into_iter().map(|one| one.named.0).collect::<Vec<_>>()
        };
        assert_eq!(found(&[]), [12, 13, 20, 10]);
        assert_eq!(found(&["user.slice".to_owned()]), [0; 0]);
        assert_eq!(found(&["user.slice/b".to_owned()]), [12, 13, 20, 10]);
    }

    #[test]
    fn what_cannot_be_looked_at_is_no_proof() {
        let proc = tempfile::tempdir().unwrap();
        let suspects = |proc| Suspects { proc, uid: 7, include: &[], frozen: &[] };
        let none = proc.path().join("none");
        assert!(suspects(&none).running().is_err());
        std::fs::create_dir(proc.path().join("42")).unwrap();
        assert_eq!(suspects(proc.path()).running().unwrap(), [], "it has gone");
        for file in ["status", "stat"] {
            std::fs::write(proc.path().join("42").join(file), "torn").unwrap();
        }
        assert!(suspects(proc.path()).running().is_err());
    }
}
