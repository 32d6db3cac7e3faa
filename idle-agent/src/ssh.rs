//! An `sshd` of the workspace's own: with its host key, for its owner's keys alone, and only where its owner wants it.
//!
//! The image's is masked by the bootstrap. This one is a transient unit beside the daemon, so that sessions outlive it; the
//! freezer stops the unit and all sessions as groups. Keys that let in are a file of root's in memory: no script that runs
//! as the user adds one unnoticed, and none comes back from a backup. Must never touch the network of a machine that is
//! not ours (`os::service::has_machine`).

mod sessions;
mod text;

use crate::config::Places;
use crate::os::atomic_file;
use crate::os::clock::Moment;
use crate::os::command::{RunError, command_as, run};
use crate::os::service::OWN_SLICE;
use crate::os::users::User;
use ebbtide_api::vm::SshDoor;
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The program, and the package that brings it.
pub const PROGRAM: [&str; 2] = ["sshd", "openssh-server"];
/// The unit that it is.
const UNIT: &str = "ebbtide-sshd.service";
/// Where it is; it starts itself anew for each connection, by this path.
const SSHD: &str = "/usr/sbin/sshd";
/// What it wants to be there, empty.
const EMPTY: &str = "/run/sshd";
/// How often it is looked whether it stands.
const LOOK_EVERY: Duration = Duration::from_secs(60);
/// How long one command may take: a unit that does not stop is killed by systemd after 90 s.
const LIMIT: Duration = Duration::from_secs(120);

/// The machine's `sshd`.
#[derive(Debug)]
pub struct SshServer {
    directory: PathBuf,
    profile: PathBuf,
    environment: PathBuf,
    standing: Standing,
    /// What was told last: the same is not told twice.
    trouble: Option<String>,
    look_at: Moment,
}

/// How it stands.
#[derive(Debug, PartialEq, Eq)]
enum Standing {
    /// An earlier life of the daemon may have left one.
    Unknown,
    Closed,
    Open(SshDoor),
}

/// Why it does not stand.
#[derive(Debug, thiserror::Error)]
enum SshError {
    #[error("cannot write {path}: {source}")]
    Write { path: PathBuf, source: io::Error },
    #[error(transparent)]
    Run(#[from] RunError),
    #[error("{program} says: {said}")]
    Refused { program: &'static str, said: String },
}

impl SshServer {
    /// Nothing is started or stopped yet.
    pub fn new(places: &Places) -> Self {
        Self {
            directory: places.run.join("ssh"),
            profile: places.etc.join("profile.d/ebbtide.sh"),
            environment: places.env(),
            standing: Standing::Unknown,
            trouble: None,
            look_at: Moment::now(),
        }
    }

    /// Whether it may be reached. What an earlier life of the daemon opened stays so until more is known.
    pub fn is_open(&self) -> bool {
        match self.standing {
            Standing::Open(_) => true,
            Standing::Closed => false,
            Standing::Unknown => self.host_key().exists(),
        }
    }

    /// Starts, changes or ends it, as is wanted; to be called every few seconds. Says what is new.
    pub fn tend(&mut self, wanted: Option<&SshDoor>, user: &User) -> Option<String> {
        let is_so = match (&self.standing, wanted) {
            (Standing::Open(door), Some(wanted)) => door == wanted,
            (Standing::Closed, None) => return None,
            (Standing::Unknown | Standing::Open(_) | Standing::Closed, _) => false,
        };
        if (is_so || self.trouble.is_some()) && Moment::now() < self.look_at {
            return None;
        }
        self.look_at = Moment::now().plus(LOOK_EVERY);
        let done = match wanted {
            Some(door) => self.open(door, user),
            None => self.close(),
        };
        match done {
            Ok(()) => {
                self.trouble = None;
                let next = wanted.map_or(Standing::Closed, |door| Standing::Open(door.clone()));
                let before = std::mem::replace(&mut self.standing, next);
                news(&before, &self.standing)
            }
            Err(error) => {
                let trouble = format!("SSH is not as it should be: {error}; trying again");
                (self.trouble.as_ref() != Some(&trouble)).then(|| self.trouble.insert(trouble).clone())
            }
        }
    }

    /// Shuts it, whatever is wanted: of a machine whose time is over.
    pub fn shut(&self) {
        if let Err(error) = self.close() {
            tracing::warn!(%error, "SSH may still be let in");
        }
    }

    fn open(&self, door: &SshDoor, user: &User) -> Result<(), SshError> {
        // A key that is gone ends what it let in, and with it all: which session came by which key is not kept.
        if self.lets_in_less(door) {
            self.end_all()?;
        }
        self.write(door, user)?;
        if called("systemctl", &["is-active", "--quiet", UNIT])?.is_ok() {
            return Ok(());
        }
        let config = self.config();
        refused("sshd", called(SSHD, &["-t", "-f", &config.to_string_lossy()])?)?;
        // One that could not listen may be about to try again, and has the name.
        let _ = called("systemctl", &["stop", UNIT])?;
        let words = text::unit(UNIT, OWN_SLICE, SSHD, &config);
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        refused("systemd-run", called("systemd-run", &words)?)
    }

    fn close(&self) -> Result<(), SshError> {
        self.end_all()?;
        match std::fs::remove_dir_all(&self.directory) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => {
                Err(SshError::Write { path: self.directory.clone(), source })
            }
            Ok(()) | Err(_) => Ok(()),
        }
    }

    /// Ends it and every session. A unit that is not there is ended.
    fn end_all(&self) -> Result<(), SshError> {
        let stopped = called("systemctl", &["stop", UNIT])?;
        if called("systemctl", &["is-active", "--quiet", UNIT])?.is_ok() {
            refused("systemctl", stopped)?;
        }
        sessions::end(Path::new("/proc"));
        Ok(())
    }

    fn write(&self, door: &SshDoor, user: &User) -> Result<(), SshError> {
        let at = |path: &Path| {
            let path = path.to_owned();
            move |source| SshError::Write { path, source }
        };
        for (directory, mode) in [(self.directory.as_path(), 0o755), (Path::new(EMPTY), 0o755)] {
            let made = std::fs::DirBuilder::new().recursive(true).mode(mode).create(directory);
            made.map_err(at(directory))?;
        }
        let (config, profile) = (text::sshd_config(&self.directory, &user.name), self.profile_text(user));
        for (path, content, mode) in [
            (self.host_key(), door.host_key.as_str(), 0o600),
            (self.authorized_keys(), &text::authorized_keys(&door.authorized_keys), 0o644),
            (self.config(), &config, 0o644),
            (self.profile.clone(), &profile, 0o644),
        ] {
            atomic_file::write(&path, content.as_bytes(), mode).map_err(at(&path))?;
        }
        Ok(())
    }

    /// Whether somebody is let in now who is not to be: what is on disk counts, for this daemon may have been restarted.
    fn lets_in_less(&self, door: &SshDoor) -> bool {
        let before = std::fs::read_to_string(self.authorized_keys()).unwrap_or_default();
        let wanted = text::authorized_keys(&door.authorized_keys);
        before.lines().any(|line| !wanted.lines().any(|kept| kept == line))
    }

    fn profile_text(&self, user: &User) -> String {
        text::profile(&self.environment, user.uid)
    }

    fn config(&self) -> PathBuf {
        self.directory.join("sshd_config")
    }

    fn host_key(&self) -> PathBuf {
        self.directory.join("host_key")
    }

    fn authorized_keys(&self) -> PathBuf {
        self.directory.join("authorized_keys")
    }
}

fn news(before: &Standing, now: &Standing) -> Option<String> {
    match (before, now) {
        (Standing::Open(before), Standing::Open(now)) if before == now => None,
        (Standing::Closed | Standing::Unknown, Standing::Closed | Standing::Unknown) => None,
        (_, Standing::Open(door)) => {
            let keys = match door.authorized_keys.len() {
                1 => "1 key".to_owned(),
                count => format!("{count} keys"),
            };
            Some(format!("SSH is let in, for {keys}"))
        }
        (Standing::Open(_), Standing::Closed | Standing::Unknown) => {
            Some("SSH is closed, and its sessions have ended".to_owned())
        }
    }
}

/// Runs a program to its end: what it said last, as an error where it failed.
fn called(program: &str, arguments: &[&str]) -> Result<Result<(), String>, RunError> {
    let mut command = command_as(program, None);
    command.args(arguments);
    let ended = run(command, LIMIT, &mut |_| {})?;
    Ok(if ended.status.success() { Ok(()) } else { Err(ended.tail.join("; ")) })
}

fn refused(program: &'static str, ended: Result<(), String>) -> Result<(), SshError> {
    ended.map_err(|said| SshError::Refused { program, said })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn door(keys: &[&str]) -> SshDoor {
        SshDoor { host_key: "k".into(), authorized_keys: keys.iter().map(|key| (*key).to_owned()).collect() }
    }

    #[test]
    fn what_changes_is_told_and_nothing_twice() {
        let open = |keys| Standing::Open(door(keys));
        assert_eq!(news(&Standing::Unknown, &Standing::Closed), None);
        assert_eq!(news(&Standing::Closed, &open(&["a"])).as_deref(), Some("SSH is let in, for 1 key"));
        assert_eq!(news(&open(&["a"]), &open(&["a"])), None);
        assert_eq!(news(&open(&["a"]), &open(&["a", "b"])).as_deref(), Some("SSH is let in, for 2 keys"));
        assert!(news(&open(&["a"]), &Standing::Closed).unwrap().contains("closed"));
    }

    #[test]
    fn a_key_that_is_gone_is_noticed_also_by_a_daemon_that_was_restarted() {
        let directory = tempfile::tempdir().unwrap();
        let [config, state, run, etc] =
            ["config", "state", "run", "etc"].map(|name| directory.path().join(name));
        let server = SshServer::new(&Places { config, state, run: run.clone(), etc });
        assert!(!server.lets_in_less(&door(&["a"])), "nobody was let in before");
        std::fs::create_dir_all(run.join("ssh")).unwrap();
        std::fs::write(
            run.join("ssh/authorized_keys"),
            text::authorized_keys(&door(&["a", "b"]).authorized_keys),
        )
        .unwrap();
        assert!(!server.lets_in_less(&door(&["c", "b", "a"])));
        assert!(server.lets_in_less(&door(&["a"])));
    }
}
