//! Control groups of the machine (version 2), as far as the machine is systemd's and this process one of its services:
//! which groups there are, and letting all processes of one stand still.
//!
//! Elsewhere, on a developer's computer above all, there is no [`Tree`], so that nothing of theirs is ever touched. Must
//! never stop a group that holds this process.

use std::io;
use std::path::{Path, PathBuf};

/// Where the kernel says which hierarchies are mounted, and where this process is in them.
const MOUNTS: &str = "/proc/self/mounts";
const OWN: &str = "/proc/self/cgroup";

/// The hierarchy of control groups.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tree {
    root: PathBuf,
    /// The group of this process, without the leading slash.
    own: String,
}

/// Whether the processes of a group run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// There is none, or no process in it.
    Empty,
    /// None of its processes runs; the kernel says so.
    Frozen,
    /// They may run.
    Running,
}

impl Tree {
    /// The hierarchy, where this process is the service `unit` of systemd.
    pub fn of_service(unit: &str) -> Option<Self> {
        let read = |path| std::fs::read_to_string(path).unwrap_or_default();
        Self::parse(&read(MOUNTS), &read(OWN), unit)
    }

    fn parse(mounts: &str, own: &str, unit: &str) -> Option<Self> {
        let own = own.lines().find_map(|line| line.strip_prefix("0::/"))?;
        if own.rsplit('/').next() != Some(unit) {
            return None;
        }
        let root = mounts.lines().find_map(|line| {
            let mut fields = line.split(' ').skip(1);
            let at = fields.next()?;
            (fields.next()? == "cgroup2").then(|| PathBuf::from(at))
        })?;
        Some(Self::new(root, own))
    }

    /// A hierarchy below a directory.
    pub fn new(root: PathBuf, own: &str) -> Self {
        Self { root, own: own.to_owned() }
    }

    /// Names of the groups right below a group (`""` is the root); none where there is no such group.
    ///
    /// # Errors
    /// It cannot be looked at.
    pub fn below(&self, group: &str) -> io::Result<Vec<String>> {
        let entries = match std::fs::read_dir(self.root.join(group)) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        let mut names = Vec::new();
        for entry in entries {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                names.extend(entry.file_name().to_str().map(str::to_owned));
            }
        }
        names.sort_unstable();
        Ok(names)
    }

    /// Whether this process is in a group or below it.
    pub fn holds_us(&self, group: &str) -> bool {
        is_in(&self.own, group)
    }

    /// Whether the processes of a group run.
    ///
    /// # Errors
    /// It cannot be looked at.
    pub fn state(&self, group: &str) -> io::Result<State> {
        let Some(text) = self.read(group, "cgroup.events")? else { return Ok(State::Empty) };
        let is = |name: &str, value: &str| {
            text.lines().any(|line| line.strip_prefix(name).is_some_and(|rest| rest.trim() == value))
        };
        Ok(match (is("populated", "0"), is("frozen", "1")) {
            (true, _) => State::Empty,
            (false, true) => State::Frozen,
            (false, false) => State::Running,
        })
    }

    /// Whether somebody has asked that a group stands still.
    ///
    /// # Errors
    /// It cannot be looked at.
    pub fn is_asked(&self, group: &str) -> io::Result<bool> {
        Ok(self.read(group, "cgroup.freeze")?.is_some_and(|text| text.trim() == "1"))
    }

    /// Asks that a group stands still; [`Self::state`] says when it does. One that has gone does.
    ///
    /// # Errors
    /// The kernel refuses, or it holds this process.
    pub fn freeze(&self, group: &str) -> io::Result<()> {
        if self.holds_us(group) {
            return Err(io::Error::other(format!("the group {group} holds the daemon itself")));
        }
        self.ask(group, "1")
    }

    /// Lets a group go on.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn thaw(&self, group: &str) -> io::Result<()> {
        self.ask(group, "0")
    }

    fn ask(&self, group: &str, value: &str) -> io::Result<()> {
        // Only what is there is written to: the group may have gone, and no file is to be made in its place.
        let file = std::fs::OpenOptions::new().write(true).open(self.root.join(group).join("cgroup.freeze"));
        match file.and_then(|mut file| io::Write::write_all(&mut file, value.as_bytes())) {
            Err(error) if is_gone(&error) => Ok(()),
            other => other,
        }
    }

    fn read(&self, group: &str, file: &str) -> io::Result<Option<String>> {
        match std::fs::read_to_string(self.root.join(group).join(file)) {
            Ok(text) => Ok(Some(text)),
            Err(error) if is_gone(&error) => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// The group of a process, without the leading slash.
pub fn group_of(proc: &Path, pid: u32) -> Option<String> {
    let text = std::fs::read_to_string(proc.join(pid.to_string()).join("cgroup")).ok()?;
    text.lines().find_map(|line| line.strip_prefix("0::/")).map(str::to_owned)
}

/// Whether a group is another, or below it.
pub fn is_in(group: &str, other: &str) -> bool {
    group.strip_prefix(other).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// A group that goes while it is looked at has no file, or one that cannot be read any more.
fn is_gone(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound
        || error.raw_os_error() == Some(rustix::io::Errno::NODEV.raw_os_error())
}

#[cfg(test)]
pub mod tests {
    use super::*;

    const UNIT: &str = "ebbtide-agent.service";

    #[test]
    fn only_the_service_of_that_name_has_a_tree_whichever_way_groups_are_mounted() {
        let unified = "cgroup2 /sys/fs/cgroup cgroup2 rw,nosuid 0 0\n";
        let hybrid =
            "cgroup /sys/fs/cgroup/pids cgroup rw,pids 0 0\ncgroup2 /sys/fs/cgroup/unified cgroup2 rw 0 0\n";
        let ours = "4:memory:/x\n0::/system.slice/ebbtide-agent.service\n";
        let tree = |mounts: &str, own: &str| Tree::parse(mounts, own, UNIT).map(|tree| tree.root);
        assert_eq!(tree(unified, ours), Some("/sys/fs/cgroup".into()));
        assert_eq!(tree(hybrid, ours), Some("/sys/fs/cgroup/unified".into()));
        assert_eq!(tree("tmpfs /sys/fs/cgroup tmpfs rw 0 0\n", ours), None);
        for own in ["0::/\n", "0::/user.slice/user-1000.slice/session-2.scope\n", "4:memory:/x\n", ""] {
            assert_eq!(tree(unified, own), None, "{own}");
        }
    }

    #[test]
    fn a_group_that_has_gone_stands_and_one_that_holds_us_is_never_stopped() {
        let root = tempfile::tempdir().unwrap();
        let tree = Tree::new(root.path().to_owned(), "system.slice/ebbtide-agent.service");
        assert_eq!(tree.state("user.slice").unwrap(), State::Empty);
        tree.freeze("user.slice").unwrap();
        assert_eq!(tree.below("").unwrap(), [""; 0], "nothing was made");
        for group in ["system.slice", "system.slice/ebbtide-agent.service"] {
            assert!(tree.freeze(group).is_err(), "{group}");
        }
        assert!(!is_in("user.slice-2", "user.slice") && is_in("user.slice/a", "user.slice"));
    }
}
