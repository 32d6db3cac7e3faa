//! Keeps the machine's packet filter standing: the rules of `vm_init::firewall`, loaded again where somebody flushed them.
//!
//! Acts through `nft`, which Debian has and the boot plan brings. It must never keep a machine from working: rules that
//! cannot be loaded are said, and tried again; the provider's firewall stands meanwhile. Nor may it touch a network that is
//! not the machine's own (`os::service::has_machine`).

use crate::os::atomic_file;
use crate::os::clock::Moment;
use crate::os::command::{command_as, run};
use ebbtide_vm_init::firewall;
pub use ebbtide_vm_init::firewall::Ssh;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How often it is looked whether the rules stand.
const LOOK_EVERY: Duration = Duration::from_secs(60);
/// How long nft may take.
const LIMIT: Duration = Duration::from_secs(30);

/// The packet filter.
#[derive(Debug)]
pub struct Firewall {
    listen_port: u16,
    ssh: Ssh,
    file: PathBuf,
    /// How nft listed them right after they were loaded.
    standing: Option<String>,
    /// What was told last: the same is not told twice.
    trouble: Option<String>,
    look_at: Moment,
}

/// Why the rules do not stand.
#[derive(Debug, thiserror::Error)]
enum FirewallError {
    /// They cannot be put where a boot finds them.
    #[error("cannot write {path}: {source}")]
    Write { path: PathBuf, source: std::io::Error },
    /// No end of its own.
    #[error(transparent)]
    Run(#[from] crate::os::command::RunError),
    /// nft refused.
    #[error("nft says: {0}")]
    Refused(String),
}

impl Firewall {
    /// Nothing is loaded yet. Pages are served on this port; SSH is closed.
    pub fn new(listen_port: u16, etc: &Path) -> Self {
        Self {
            listen_port,
            ssh: Ssh::Closed,
            file: etc.join(firewall::FILE),
            standing: None,
            trouble: None,
            look_at: Moment::now(),
        }
    }

    /// Lets SSH in from the next time on that it is tended, or does not.
    pub fn let_ssh(&mut self, ssh: Ssh) {
        if self.ssh != ssh {
            (self.ssh, self.standing) = (ssh, None);
            self.look_soon();
        }
    }

    /// Looks the next time it is tended.
    pub fn look_soon(&mut self) {
        self.look_at = Moment::now();
    }

    /// Loads the rules unless they stand as they were loaded; to be called every few seconds. Says what is new.
    pub fn tend(&mut self) -> Option<String> {
        if Moment::now() < self.look_at {
            return None;
        }
        self.look_at = Moment::now().plus(LOOK_EVERY);
        if self.standing.is_some() && list().ok() == self.standing {
            return None;
        }
        let was_standing = self.standing.take().is_some();
        match self.load() {
            Ok(listed) => {
                let was_in_trouble = self.trouble.take().is_some();
                self.standing = Some(listed);
                let again = was_standing || was_in_trouble;
                again.then(|| "the packet filter was not as it should be, and stands again".to_owned())
            }
            Err(error) => {
                let trouble = format!("the packet filter does not stand: {error}; trying again");
                (self.trouble.as_ref() != Some(&trouble)).then(|| self.trouble.insert(trouble).clone())
            }
        }
    }

    /// Puts the rules where the next boot finds them, and loads them.
    fn load(&self) -> Result<String, FirewallError> {
        atomic_file::write(&self.file, firewall::rules([self.listen_port], self.ssh).as_bytes(), 0o644)
            .map_err(|source| FirewallError::Write { path: self.file.clone(), source })?;
        nft(&["--file", &self.file.to_string_lossy()])?;
        list()
    }
}

fn list() -> Result<String, FirewallError> {
    nft(&[&["--stateless", "list", "table"], &firewall::TABLE[..]].concat())
}

fn nft(arguments: &[&str]) -> Result<String, FirewallError> {
    let mut command = command_as("nft", None);
    command.args(arguments);
    let mut said = String::new();
    let ended = run(command, LIMIT, &mut |line| said.extend([line, "\n"]))?;
    if ended.status.success() { Ok(said) } else { Err(FirewallError::Refused(said.trim().to_owned())) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_looked_at_at_once_and_then_each_minute_as_the_security_page_says() {
        let directory = tempfile::tempdir().unwrap();
        // A file that cannot be written: nothing is loaded into the network of whoever runs this.
        let mut firewall = Firewall::new(8080, &directory.path().join("gone\0"));
        let before = Moment::now();
        assert!(firewall.tend().is_some_and(|news| news.contains("cannot write")));
        assert!(firewall.look_at >= before.plus(Duration::from_secs(60)));
        assert!(firewall.look_at <= Moment::now().plus(Duration::from_secs(60)));
        assert_eq!(firewall.tend(), None, "not again before its time");
    }
}
