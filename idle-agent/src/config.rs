//! What user-data left on the machine: where the control plane is, who we are, and the enrolment token.
//!
//! The token is removed from the file once the machine is enrolled; the rest stays.

use crate::os::atomic_file;
use crate::os::secret::Secret;
use ebbtide_api::{Generation, WorkspaceId};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// The configuration file's content.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Config {
    /// Base URL of the control plane.
    pub control_url: String,
    /// Which workspace this machine belongs to.
    pub workspace: WorkspaceId,
    /// Which of its machines it is.
    pub generation: Generation,
    /// Proof for the first enrolment; empty once enrolled.
    #[serde(default)]
    pub enrolment_token: Secret,
}

/// A configuration file that is of no use.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// Not there, or not readable.
    #[error("cannot read {path}")]
    Read {
        /// Which file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// Not the JSON object we need.
    #[error("{path} is not usable")]
    Parse {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        source: serde_json::Error,
    },
    /// Neither http nor https.
    #[error("control_url {0:?} is no http or https URL")]
    Url(String),
}

impl Config {
    /// Reads the file.
    ///
    /// # Errors
    /// [`ConfigError`].
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        let text = std::fs::read(path).map_err(|source| ConfigError::Read { path: path.into(), source })?;
        let mut config: Self = serde_json::from_slice(&text)
            .map_err(|source| ConfigError::Parse { path: path.into(), source })?;
        let parsed = url::Url::parse(&config.control_url);
        if !parsed.is_ok_and(|url| matches!(url.scheme(), "http" | "https")) {
            return Err(ConfigError::Url(config.control_url));
        }
        config.control_url.truncate(config.control_url.trim_end_matches('/').len());
        Ok(config)
    }

    /// Removes the enrolment token from the file.
    ///
    /// # Errors
    /// What the file system says.
    pub fn forget_enrolment_token(&mut self, path: &Path) -> std::io::Result<()> {
        if self.enrolment_token.expose().is_empty() {
            return Ok(());
        }
        self.enrolment_token = Secret::default();
        atomic_file::write_json(path, self, 0o600)
    }
}

/// Where the agent keeps things; all of it can be put elsewhere for tests.
#[derive(Debug, Clone)]
pub struct Places {
    /// The configuration file.
    pub config: PathBuf,
    /// Survives a reboot.
    pub state: PathBuf,
    /// Does not; holds secrets and sockets.
    pub run: PathBuf,
    /// Where `passwd` is.
    pub etc: PathBuf,
}

impl Places {
    /// Makes the directories: state for root alone, run passable so that users reach the socket in it.
    ///
    /// # Errors
    /// What the file system says.
    pub fn create(&self) -> std::io::Result<()> {
        use std::os::unix::fs::PermissionsExt;
        for (directory, mode) in [(&self.state, 0o700), (&self.run, 0o755)] {
            std::fs::create_dir_all(directory)?;
            std::fs::set_permissions(directory, std::fs::Permissions::from_mode(mode))?;
        }
        Ok(())
    }

    /// The VM token, renewed in place; the backup child reads it again when it is refused.
    pub fn vm_token(&self) -> PathBuf {
        self.run.join("vm-token")
    }

    /// The repository's password.
    pub fn repository_password(&self) -> PathBuf {
        self.run.join("repository-password")
    }

    /// The workspace's environment as shell assignments, for terminals.
    pub fn env(&self) -> PathBuf {
        self.run.join("env")
    }

    /// Files that hold one secret each, of the workspace's user.
    pub fn secrets(&self) -> PathBuf {
        self.run.join("secrets")
    }

    /// The machine's configuration of git.
    pub fn git_config(&self) -> PathBuf {
        self.etc.join("gitconfig")
    }

    /// The local command line's socket.
    pub fn socket(&self) -> PathBuf {
        self.run.join("agent.sock")
    }

    /// The socket on which Caddy asks who may come in.
    pub fn access_socket(&self) -> PathBuf {
        self.run.join("access.sock")
    }

    /// The socket on which the terminal in the browser answers Caddy.
    pub fn terminal_socket(&self) -> PathBuf {
        self.run.join("terminal.sock")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Config, ConfigError> {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("agent.json");
        std::fs::write(&path, text).unwrap();
        Config::read(&path)
    }

    #[test]
    fn a_usable_file_is_read_and_unusable_ones_are_refused_with_the_reason() {
        let good =
            r#"{"control_url":"http://h:1/","workspace":"k3v7q2mzab","generation":2,"enrolment_token":"t"}"#;
        let config = read(good).unwrap();
        assert_eq!(config.control_url, "http://h:1");
        assert_eq!(config.generation, Generation(2));
        assert!(!format!("{config:?}").contains("\"t\""), "{config:?}");
        for (bad, reason) in [
            ("{", "not usable"),
            (r#"{"control_url":"ftp://h","workspace":"k3v7q2mzab","generation":2}"#, "no http"),
            (r#"{"control_url":"http://h","workspace":"../../etc","generation":2}"#, "not usable"),
        ] {
            let refusal = read(bad).unwrap_err().to_string();
            assert!(refusal.contains(reason), "{refusal}");
        }
    }

    #[test]
    fn the_enrolment_token_is_gone_from_disk_once_forgotten() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("agent.json");
        std::fs::write(
            &path,
            r#"{"control_url":"http://h","workspace":"k3v7q2mzab","generation":1,"enrolment_token":"sesame"}"#,
        )
        .unwrap();
        Config::read(&path).unwrap().forget_enrolment_token(&path).unwrap();
        assert!(!std::fs::read_to_string(&path).unwrap().contains("sesame"));
        assert_eq!(Config::read(&path).unwrap().workspace.as_str(), "k3v7q2mzab");
    }
}
