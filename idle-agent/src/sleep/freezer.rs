//! Lets everything stand still that could change what is kept, for the last backup, and lets exactly that go on again.
//!
//! Where systemd runs the machine, control groups stand still as a whole (`groups`), and the kernel says so: no process
//! notices, and none that they start runs. Whatever else is the user's, or writes where things are kept, is stopped by a
//! signal (`processes`). Frozen is only what was seen to be so. What is stopped is noted in memory-backed storage after it
//! is, so that a full disk keeps nothing running; what somebody else had stopped stays stopped.

mod groups;
mod processes;

use crate::os::atomic_file;
use crate::os::cgroups::{State, Tree};
use crate::os::clock::{Moment, boot_id};
use crate::os::users::{self, User};
use processes::{Named, Running, Status, Suspects, signal};
use rustix::process::Signal;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How long everything may take to stand still; a process that waits for a disk stops when that answers.
const STAND_WITHIN: Duration = Duration::from_secs(10);
/// How long groups may take before processes in them are stopped one by one, which their shells notice.
const GROUPS_WITHIN: Duration = Duration::from_secs(2);
/// How long those that read files of others may take, before the others are stopped.
const READERS_WITHIN: Duration = Duration::from_secs(3);
/// Between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(10);
/// How many of those that still run are named.
const NAMED: usize = 3;

/// What is frozen, as kept in the run directory.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Kept {
    boot: String,
    /// Processes that were stopped by a signal.
    stopped: BTreeSet<Named>,
    /// Groups that stand still.
    #[serde(default)]
    groups: BTreeSet<String>,
}

/// Why nothing is proved.
#[derive(Debug, thiserror::Error)]
pub enum NotFrozen {
    /// Nobody knows whose processes to stop.
    #[error("the workspace's user is not known")]
    NoUser,
    /// Something runs.
    #[error("still running: {0}")]
    Runs(String),
    /// It could not be looked at, or asked.
    #[error("the machine's processes cannot be stopped or looked at: {0}")]
    Unknown(#[from] std::io::Error),
}

/// Whether an agent has frozen the machine that keeps its list in this directory.
pub fn is_frozen(run: &Path) -> bool {
    file(run).exists()
}

fn file(run: &Path) -> PathBuf {
    run.join("frozen.json")
}

/// The freezer of one workspace.
#[derive(Debug)]
pub struct Freezer {
    file: PathBuf,
    include: Vec<PathBuf>,
    tree: Option<Tree>,
    kept: Kept,
    proc: PathBuf,
    within: Duration,
}

impl Freezer {
    /// A freezer for what could change these directories; what an earlier life of the agent froze is known to it.
    pub fn new(run: &Path, include: Vec<PathBuf>, tree: Option<Tree>) -> Self {
        let (file, boot) = (file(run), boot_id());
        let kept: Option<Kept> = atomic_file::read_json(&file);
        let kept = kept.filter(|kept| kept.boot == boot).unwrap_or(Kept { boot, ..Kept::default() });
        Self { file, include, tree, kept, proc: "/proc".into(), within: STAND_WITHIN }
    }

    /// Whether an earlier life of the agent froze the machine.
    pub fn found_frozen(&self) -> bool {
        self.file.exists()
    }

    /// Lets everything stand still. Repeatable; answers how many groups and processes do.
    ///
    /// # Errors
    /// [`NotFrozen`]: what stands by then goes on standing.
    pub fn freeze(&mut self, user: Option<&User>) -> Result<usize, NotFrozen> {
        let Some(uid) = whose(user)? else {
            self.note();
            return Ok(0);
        };
        let stands = self.stop_all(uid);
        self.note();
        stands.map(|()| self.kept.groups.len() + self.kept.stopped.len())
    }

    /// Looks once more whether everything stands still. Stops nothing.
    ///
    /// # Errors
    /// [`NotFrozen`].
    pub fn prove(&self, user: Option<&User>) -> Result<(), NotFrozen> {
        whose(user)?.map_or(Ok(()), |uid| self.stands(uid))
    }

    fn stands(&self, uid: u32) -> Result<(), NotFrozen> {
        let mut run = Vec::new();
        if let Some(tree) = &self.tree {
            for group in groups::of_work(tree)? {
                if tree.state(&group)? == State::Running {
                    run.push(group);
                }
            }
        }
        run.extend(self.running(uid)?.into_iter().map(|one| format!("{} ({})", one.comm, one.named.0)));
        if run.is_empty() { Ok(()) } else { Err(NotFrozen::Runs(first(&run))) }
    }

    /// Lets what was stopped go on. Repeatable.
    pub fn thaw(&mut self) {
        if let Some(tree) = &self.tree {
            for group in &self.kept.groups {
                if let Err(error) = tree.thaw(group) {
                    tracing::error!(%error, group, "cannot let a group of processes go on");
                }
            }
        }
        for (pid, started) in &self.kept.stopped {
            let status = Status::read(&self.proc, *pid);
            if status.is_ok_and(|status| status.is_some_and(|status| status.started == *started)) {
                signal(*pid, Signal::CONT);
            }
        }
        self.kept = Kept { boot: boot_id(), ..Kept::default() };
        if let Err(error) = std::fs::remove_file(&self.file)
            && error.kind() != std::io::ErrorKind::NotFound
        {
            tracing::error!(%error, "cannot remove the list of what was frozen");
        }
    }

    /// Stops what runs until nothing does, or time is up.
    fn stop_all(&mut self, uid: u32) -> Result<(), NotFrozen> {
        self.stop_readers(uid)?;
        let begun = Moment::now();
        let (signal_at, give_up) = (begun.plus(self.within.min(GROUPS_WITHIN)), begun.plus(self.within));
        loop {
            let groups_stand = self.stop_groups()?;
            if groups_stand || Moment::now() >= signal_at {
                for one in self.running(uid)? {
                    signal(one.named.0, Signal::STOP);
                    self.kept.stopped.insert(one.named);
                }
            }
            let stands = self.stands(uid);
            if stands.is_ok() || Moment::now() >= give_up {
                return stands;
            }
            std::thread::sleep(LOOK_EVERY);
        }
    }

    /// Where a program of the user's serves files (sshfs, rclone), stops those that may be reading them first: one that
    /// waits for a stopped server can be stopped by nothing any more.
    fn stop_readers(&mut self, uid: u32) -> Result<(), NotFrozen> {
        let give_up = Moment::now().plus(self.within.min(READERS_WITHIN));
        loop {
            let running = self.running(uid)?;
            let readers: Vec<&Running> = running.iter().filter(|one| !one.serves_files).collect();
            if readers.is_empty() || readers.len() == running.len() || Moment::now() >= give_up {
                return Ok(());
            }
            for one in readers {
                signal(one.named.0, Signal::STOP);
                self.kept.stopped.insert(one.named);
            }
            std::thread::sleep(LOOK_EVERY);
        }
    }

    /// Asks that all groups stand; answers whether they do.
    fn stop_groups(&mut self) -> Result<bool, NotFrozen> {
        let Some(tree) = &self.tree else { return Ok(true) };
        let all = groups::of_work(tree)?;
        let mut ours = Vec::new();
        for group in &all {
            // What stands by somebody else's will is not ours to let go on.
            if !tree.is_asked(group)? {
                ours.push(group);
            }
        }
        if !ours.is_empty() {
            self.kept.groups.extend(ours.iter().map(|group| (*group).clone()));
            // Before they stand: who dies in between must find them to be ours, or nobody lets them go on.
            self.note();
        }
        for group in ours {
            tree.freeze(group)?;
        }
        let mut stand = true;
        for group in &all {
            stand &= tree.state(group)? != State::Running;
        }
        Ok(stand)
    }

    /// What runs outside of groups that stand still.
    fn running(&self, uid: u32) -> std::io::Result<Vec<Running>> {
        let mut frozen = Vec::new();
        if let Some(tree) = &self.tree {
            for group in groups::of_work(tree)? {
                if tree.state(&group)? == State::Frozen {
                    frozen.push(group);
                }
            }
        }
        Suspects { proc: &self.proc, uid, include: &self.include, frozen: &frozen }.running()
    }

    /// Notes what is frozen: a restarted agent lets it go on. Where it cannot be noted it is frozen all the same.
    fn note(&self) {
        if let Err(error) = atomic_file::write_json(&self.file, &self.kept, 0o600) {
            tracing::error!(%error, "cannot note what is frozen; a restarted agent would not let it go on");
        }
    }
}

/// The user whose processes are stopped; `None` where there is nobody but us.
fn whose(user: Option<&User>) -> Result<Option<u32>, NotFrozen> {
    let user = user.ok_or(NotFrozen::NoUser)?;
    if user.uid == 0 || !users::is_root() {
        tracing::warn!("no processes are frozen: the workspace has no user of its own");
        return Ok(None);
    }
    Ok(Some(user.uid))
}

fn first(running: &[String]) -> String {
    let more = running.len().saturating_sub(NAMED);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    let named: Vec<&str> = running.iter().take(NAMED).map(String::as_str).collect();
    format!("{}{more}", named.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::process::CommandExt as _;
    use std::process::Command;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};

    /// A kernel's groups in a directory: a thread makes each stand that is asked to, but for those that have a file `stuck`.
    struct Groups {
        root: tempfile::TempDir,
        done: Arc<AtomicBool>,
    }

    impl Groups {
        fn new(names: &[&str]) -> Self {
            let groups = Self { root: tempfile::tempdir().unwrap(), done: Arc::default() };
            for name in names {
                groups.add(name);
            }
            let (root, done) = (groups.root.path().to_owned(), Arc::clone(&groups.done));
            std::thread::spawn(move || {
                while !done.load(Ordering::SeqCst) {
                    let _ = turn(&root);
                    std::thread::sleep(Duration::from_millis(1));
                }
            });
            groups
        }

        fn add(&self, name: &str) {
            let group = self.root.path().join("groups").join(name);
            std::fs::create_dir_all(&group).unwrap();
            std::fs::write(group.join("cgroup.freeze"), "0\n").unwrap();
            std::fs::write(group.join("cgroup.events"), "populated 1\nfrozen 0\n").unwrap();
        }

        fn stand(&self) -> Vec<String> {
            let mut standing = Vec::new();
            visit(&self.root.path().join("groups"), &mut |group| {
                if std::fs::read_to_string(group.join("cgroup.freeze"))
                    .is_ok_and(|asked| asked.starts_with('1'))
                {
                    let name = group.strip_prefix(self.root.path().join("groups")).unwrap();
                    standing.push(name.to_string_lossy().into_owned());
                }
            });
            standing.sort();
            standing
        }

        /// A freezer whose machine has these groups and no process that counts.
        fn freezer(&self) -> Freezer {
            let tree = Tree::new(self.root.path().join("groups"), "system.slice/ebbtide-agent.service");
            let (run, proc) = (self.root.path().join("run"), self.root.path().join("proc"));
            std::fs::create_dir_all(&run).unwrap();
            std::fs::create_dir_all(&proc).unwrap();
            Freezer { proc, ..Freezer::new(&run, Vec::new(), Some(tree)) }
        }
    }

    impl Drop for Groups {
        fn drop(&mut self) {
            self.done.store(true, Ordering::SeqCst);
        }
    }

    fn visit(directory: &Path, see: &mut dyn FnMut(&Path)) {
        for entry in std::fs::read_dir(directory).into_iter().flatten().flatten() {
            if entry.path().is_dir() {
                see(&entry.path());
                visit(&entry.path(), see);
            }
        }
    }

    fn turn(root: &Path) -> std::io::Result<()> {
        visit(&root.join("groups"), &mut |group| {
            let asked = std::fs::read_to_string(group.join("cgroup.freeze")).unwrap_or_default();
            let stands = u8::from(asked.starts_with('1') && !group.join("stuck").exists());
            let (text, next) = (format!("populated 1\nfrozen {stands}\n"), group.join("cgroup.next"));
            if group.join("cgroup.events").exists() && std::fs::write(&next, text).is_ok() {
                let _ = std::fs::rename(&next, group.join("cgroup.events"));
            }
        });
        Ok(())
    }

    const UID: u32 = 4_000_000;

    #[test]
    fn sessions_containers_and_what_starts_jobs_stand_and_only_they_go_on_again() {
        let groups = Groups::new(&[
            "init.scope",
            "user.slice",
            "ebbtide.slice/ebbtide-sshd.service",
            "ebbtide.slice/ebbtide-work.slice",
            "own.slice/own-deep.slice/docker-77.scope",
            "own.slice/other.scope",
            "system.slice/buildkit-5.scope",
            "system.slice/cron.service",
            "system.slice/docker.service",
            "system.slice/docker-0af1.scope",
            "system.slice/docker-paused.scope",
            "system.slice/docker.socket",
            "system.slice/ssh.service",
            "system.slice/ebbtide-agent.service",
        ]);
        std::fs::write(groups.root.path().join("groups/system.slice/docker-paused.scope/cgroup.freeze"), "1")
            .unwrap();
        let mut freezer = groups.freezer();
        freezer.stop_all(UID).unwrap();
        freezer.note();
        let all = [
            "ebbtide.slice/ebbtide-sshd.service",
            "ebbtide.slice/ebbtide-work.slice",
            "own.slice/own-deep.slice/docker-77.scope",
            "system.slice/buildkit-5.scope",
            "system.slice/cron.service",
            "system.slice/docker-0af1.scope",
            "system.slice/docker-paused.scope",
            "system.slice/docker.service",
            "user.slice",
        ];
        assert_eq!(groups.stand(), all);
        assert!(is_frozen(&groups.root.path().join("run")));
        groups.add("system.slice/libpod-9.scope");
        let late = freezer.stands(UID).unwrap_err().to_string();
        assert_eq!(late, "still running: system.slice/libpod-9.scope");
        // An agent that was started anew knows what it has stopped.
        groups.freezer().thaw();
        assert_eq!(groups.stand(), ["system.slice/docker-paused.scope"]);
        assert!(!is_frozen(&groups.root.path().join("run")));
    }

    #[test]
    fn a_group_that_does_not_stand_is_no_freeze() {
        let groups = Groups::new(&["user.slice"]);
        std::fs::write(groups.root.path().join("groups/user.slice/stuck"), "").unwrap();
        let mut freezer = Freezer { within: Duration::from_millis(50), ..groups.freezer() };
        assert_eq!(freezer.stop_all(UID).unwrap_err().to_string(), "still running: user.slice");
        std::fs::remove_file(groups.root.path().join("groups/user.slice/stuck")).unwrap();
        let mut freezer = groups.freezer();
        freezer.stop_all(UID).unwrap();
    }

    #[test]
    fn a_list_that_cannot_be_stored_keeps_nothing_running() {
        let groups = Groups::new(&["user.slice"]);
        let mut freezer = groups.freezer();
        std::fs::create_dir(groups.root.path().join("run/.frozen.json.new")).unwrap();
        freezer.stop_all(UID).unwrap();
        freezer.note();
        assert_eq!(groups.stand(), ["user.slice"]);
        freezer.thaw();
        assert_eq!(groups.stand(), [""; 0]);
    }

    #[test]
    fn without_a_user_of_its_own_nothing_is_stopped_but_it_is_remembered_and_without_any_it_is_no_freeze() {
        let directory = tempfile::tempdir().unwrap();
        let mut freezer = Freezer::new(directory.path(), Vec::new(), None);
        let root = User { name: "root".into(), uid: 0, gid: 0, home: "/root".into(), shell: String::new() };
        assert_eq!(freezer.freeze(Some(&root)).unwrap(), 0);
        freezer.prove(Some(&root)).unwrap();
        assert!(is_frozen(directory.path()));
        freezer.thaw();
        assert!(!is_frozen(directory.path()));
        assert!(matches!(freezer.freeze(None), Err(NotFrozen::NoUser)));
    }

    mod as_root {
        use super::*;

        #[test]
        fn what_was_stopped_runs_again_and_what_was_stopped_before_does_not() {
            if !users::is_root() {
                crate::skip::skip("only root can act for another user");
                return;
            }
            let uid = 54_321;
            let user = User { name: "t".into(), uid, gid: uid, home: "/".into(), shell: String::new() };
            let sleeper = || Command::new("sleep").arg("600").uid(uid).gid(uid).spawn().unwrap();
            let (mut one, mut other) = (sleeper(), sleeper());
            let pid = |child: &std::process::Child| i32::try_from(child.id()).unwrap();
            let state = |child: &std::process::Child| {
                let stat = std::fs::read_to_string(format!("/proc/{}/stat", child.id())).unwrap();
                stat.rsplit_once(") ").unwrap().1.chars().next().unwrap()
            };
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
            let freezer = || Freezer::new(directory.path(), Vec::new(), None);
            assert_eq!(freezer().freeze(Some(&user)).unwrap(), 1);
            assert_eq!(state(&one), 'T');
            freezer().prove(Some(&user)).unwrap();
            assert_eq!(freezer().freeze(Some(&user)).unwrap(), 1, "a restarted agent knows it");
            freezer().thaw();
            wait_for(&one, 'S');
            assert_eq!(state(&other), 'T', "somebody else stopped it");
            for child in [&mut one, &mut other] {
                child.kill().unwrap();
                child.wait().unwrap();
            }
        }
    }
}
