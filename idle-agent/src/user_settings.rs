//! What the workspace's user works with on this machine: variables, files, keys, and how git asks for a credential.
//!
//! Values are in memory-backed files that the user alone reads; below the home are only links to them, so that no backup
//! holds a value. Must never write through a directory of the user's as root: links are made as the user. A git
//! credential is in none of these files: `ebb git-credential` asks for it each time.

mod text;

use crate::config::Places;
use crate::control_plane::enrol;
use crate::control_plane::status::Status;
use crate::os::atomic_file::{self, Access};
use crate::os::command::{command_as, run};
use crate::os::mutex::lock;
use crate::os::users::{self, User};
use ebbtide_api::vm::{NamedSecret, SecretFile, SshDoor, UserSettings};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;
pub use text::shell_assignments;

/// How long making a directory or a link may take.
const LIMIT: Duration = Duration::from_secs(20);

/// Where git looks for its machine-wide configuration.
pub const GIT_CONFIG: &str = "GIT_CONFIG_SYSTEM";

/// The settings as they are known, and how they become files.
pub struct Settings {
    places: Places,
    status: Arc<Status>,
    known: Arc<Mutex<UserSettings>>,
    /// Held while files are written: a step of the boot and a renewal must not undo each other's.
    writing: Mutex<()>,
}

/// The environment as it is whenever it is looked at: who keeps this keeps no value that is gone.
#[derive(Debug, Clone, Default)]
pub struct Variables {
    known: Arc<Mutex<UserSettings>>,
    git_config: PathBuf,
}

impl Variables {
    /// What they are now.
    pub fn now(&self) -> Vec<NamedSecret> {
        with_git_config(&lock(&self.known).variables, &self.git_config)
    }
}

impl Settings {
    /// As the enrolment gave them. Nothing is written before [`Self::write`].
    pub fn new(places: Places, status: Arc<Status>, first: UserSettings) -> Self {
        keep_secret(&status, &first);
        Self { places, status, known: Arc::new(Mutex::new(first)), writing: Mutex::default() }
    }

    /// Which these are.
    pub fn revision(&self) -> u64 {
        lock(&self.known).revision
    }

    /// How people sign in over SSH, where they may.
    pub fn ssh(&self) -> Option<SshDoor> {
        lock(&self.known).ssh.clone()
    }

    /// The environment, with what leads every git to the way to credentials: one that the user brought, or that is not
    /// the distribution's, looks for its machine-wide configuration elsewhere.
    pub fn variables(&self) -> Variables {
        Variables { known: Arc::clone(&self.known), git_config: self.places.git_config() }
    }

    /// Takes others into use.
    ///
    /// # Errors
    /// What the file system says; the earlier ones stay the known ones then, so that these are fetched again.
    pub fn replace(&self, next: UserSettings, user: &User) -> io::Result<()> {
        keep_secret(&self.status, &next);
        let _writer = lock(&self.writing);
        self.write_all(&next, user)?;
        enrol::keep_settings(&self.places, &next)?;
        let before = std::mem::replace(&mut *lock(&self.known), next.clone());
        for gone in before.files.iter().filter(|file| !next.files.iter().any(|kept| kept.path == file.path)) {
            self.unlink(gone, user);
        }
        Ok(())
    }

    /// Writes them for the user. Repeatable.
    ///
    /// # Errors
    /// What the file system says.
    pub fn write(&self, user: &User) -> io::Result<()> {
        let _writer = lock(&self.writing);
        let settings = lock(&self.known).clone();
        self.write_all(&settings, user)
    }

    fn write_all(&self, settings: &UserSettings, user: &User) -> io::Result<()> {
        // Root's file that the user's group may read: the user cannot change what the next terminal gets.
        let environment = self.places.env();
        let variables = with_git_config(&settings.variables, &self.places.git_config());
        write_for(&environment, &shell_assignments(&variables), None, user.gid, 0o640)?;
        self.write_values(settings, user)?;
        let configured = [("git", self.write_git(settings)), ("ssh", self.write_ssh(settings))];
        for (program, result) in configured {
            if let Err(error) = result {
                self.status.log(&format!("the machine's configuration of {program}: {error}"));
            }
        }
        for file in &settings.files {
            if let Err(error) = self.link(file, user) {
                self.status.log(&format!("the secret {}: {error}", file.name));
            }
        }
        Ok(())
    }

    /// The values, each in a file of the user's alone; what is there besides goes.
    fn write_values(&self, settings: &UserSettings, user: &User) -> io::Result<()> {
        let directory = self.places.secrets();
        match std::fs::DirBuilder::new().mode(0o711).create(&directory) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            Ok(()) | Err(_) => std::fs::set_permissions(&directory, std::fs::Permissions::from_mode(0o711))?,
        }
        let files = settings.files.iter().map(|file| (&file.name, &file.value, file.mode.bits()));
        let keys = settings.ssh_keys.iter().map(|key| (&key.name, &key.value, 0o400));
        let wanted: Vec<(PathBuf, &String, u32)> =
            files.chain(keys).map(|(name, value, mode)| (self.place_of(name), value, mode)).collect();
        for entry in std::fs::read_dir(&directory)?.filter_map(Result::ok) {
            if !wanted.iter().any(|(path, ..)| *path == entry.path()) {
                std::fs::remove_file(entry.path())?;
            }
        }
        for (path, value, mode) in wanted {
            write_for(&path, value, Some(user.uid), user.gid, mode)?;
        }
        Ok(())
    }

    /// How git asks for a credential: machine-wide, behind what the user says.
    fn write_git(&self, settings: &UserSettings) -> io::Result<()> {
        let own = self.places.run.join("gitconfig");
        let program = std::env::current_exe()?;
        let config = text::git_config(&program, &self.places.run, settings.git_author.as_ref());
        atomic_file::write(&own, config.as_bytes(), 0o644)?;
        let system = self.places.git_config();
        let before = match std::fs::read_to_string(&system) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            text => text.unwrap_or_default(),
        };
        if let Some(text) = text::including(&before, &own) {
            atomic_file::write(&system, text.as_bytes(), 0o644)?;
        }
        Ok(())
    }

    /// Which keys ssh tries: machine-wide, behind what the user says.
    fn write_ssh(&self, settings: &UserSettings) -> io::Result<()> {
        let directory = self.places.etc.join("ssh/ssh_config.d");
        let ssh = directory.join("10-ebbtide.conf");
        match text::ssh_config(&settings.ssh_keys, |name| self.place_of(name)) {
            Some(text) => {
                std::fs::create_dir_all(&directory)?;
                atomic_file::write(&ssh, text.as_bytes(), 0o644)
            }
            None => match std::fs::remove_file(&ssh) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
                Ok(()) | Err(_) => Ok(()),
            },
        }
    }

    /// Puts a link below the home, as the user; what is there of the user's own stays.
    fn link(&self, file: &SecretFile, user: &User) -> Result<(), String> {
        let (target, link) = (self.place_of(&file.name), Path::new(&user.home).join(&file.path));
        if std::fs::read_link(&link).is_ok_and(|found| found == target) {
            return Ok(());
        }
        if link.symlink_metadata().is_ok_and(|found| !is_ours(&link, &found, &self.places)) {
            let (link, target) = (link.display(), target.display());
            return Err(format!("{link} is there already and stays; the value is in {target}"));
        }
        let parent = link.parent().unwrap_or(Path::new("/"));
        as_user(user, "mkdir", &[Path::new("-p"), Path::new("--"), parent])?;
        as_user(user, "ln", &[Path::new("-sfT"), Path::new("--"), &target, &link])
    }

    /// Takes a link away that leads to a secret which is gone.
    fn unlink(&self, file: &SecretFile, user: &User) {
        let link = Path::new(&user.home).join(&file.path);
        if std::fs::read_link(&link).is_ok_and(|found| found == self.place_of(&file.name))
            && let Err(error) = as_user(user, "rm", &[Path::new("-f"), Path::new("--"), &link])
        {
            self.status.log(&format!("the secret {}: {error}", file.name));
        }
    }

    fn place_of(&self, name: &str) -> PathBuf {
        self.places.secrets().join(name)
    }
}

/// Variables with the one that leads to git's machine-wide configuration, unless the user brought one.
fn with_git_config(variables: &[NamedSecret], git_config: &Path) -> Vec<NamedSecret> {
    let mut variables = variables.to_vec();
    if !variables.iter().any(|variable| variable.name == GIT_CONFIG) {
        let value = git_config.to_string_lossy().into_owned();
        variables.push(NamedSecret { name: GIT_CONFIG.to_owned(), value });
    }
    variables
}

/// Whether it is a link to another secret of ours.
fn is_ours(link: &Path, found: &std::fs::Metadata, places: &Places) -> bool {
    found.is_symlink() && std::fs::read_link(link).is_ok_and(|target| target.starts_with(places.secrets()))
}

fn as_user(user: &User, program: &str, arguments: &[&Path]) -> Result<(), String> {
    let mut command = command_as(program, Some(user));
    command.current_dir("/").args(arguments);
    let ended = run(command, LIMIT, &mut |_| {}).map_err(|error| error.to_string())?;
    match ended.tail.last() {
        _ if ended.status.success() => Ok(()),
        Some(said) => Err(said.clone()),
        None => Err(format!("{program} failed")),
    }
}

/// Replaces a file of somebody else's, where we may give files away.
fn write_for(path: &Path, content: &str, uid: Option<u32>, gid: u32, mode: u32) -> io::Result<()> {
    let (uid, gid) = if users::is_root() { (uid, Some(gid)) } else { (None, None) };
    atomic_file::write_for(path, content.as_bytes(), Access { mode, uid, gid })
}

fn keep_secret(status: &Status, settings: &UserSettings) {
    status.keep_secret(settings.variables.iter().map(|variable| variable.value.as_str()));
    status.keep_secret(settings.files.iter().map(|file| file.value.as_str()));
    status.keep_secret(settings.ssh_keys.iter().map(|key| key.value.as_str()));
    status.keep_secret(settings.ssh.iter().map(|door| door.host_key.as_str()));
}

#[cfg(test)]
mod tests;
