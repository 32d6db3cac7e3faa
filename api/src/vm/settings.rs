//! What the workspace's user works with on a machine: variables, files, keys. It may change while the machine runs.

use super::NamedSecret;
use crate::secrets::FileMode;
use serde::{Deserialize, Serialize};

/// The answer to `POST /v1/vm/settings`. All of it stays in memory.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct UserSettings {
    /// As [`super::Instruction::settings_revision`] names it: another one there is fetched.
    pub revision: u64,
    /// Environment of terminals and agents.
    pub variables: Vec<NamedSecret>,
    /// Files, each with a link to it below the home.
    pub files: Vec<SecretFile>,
    /// Private keys for ssh.
    pub ssh_keys: Vec<SshKey>,
    /// Who commits.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub git_author: Option<GitAuthor>,
    /// How people sign in over SSH; absent where nobody may.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ssh: Option<SshDoor>,
}

/// How people sign in over SSH.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SshDoor {
    /// The private key by which clients know the workspace, as `ssh-keygen` writes it.
    pub host_key: String,
    /// Whose keys let in, a line each, without options.
    pub authorized_keys: Vec<String>,
}

impl std::fmt::Debug for SshDoor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SshDoor(for {:?}, host key redacted)", self.authorized_keys)
    }
}

/// Who commits, unless the user's own configuration of git says so.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GitAuthor {
    /// As in a commit.
    pub name: String,
    /// The mail address in a commit.
    pub email: String,
}

impl GitAuthor {
    /// Reads `Name <address>`, as git shows it.
    pub fn parse(text: &str) -> Option<Self> {
        let (name, rest) = text.trim().split_once('<')?;
        let (name, email) = (name.trim(), rest.strip_suffix('>')?.trim());
        let is_plain = |text: &str| {
            !text.is_empty() && !text.contains(['<', '>']) && !text.chars().any(char::is_control)
        };
        (is_plain(name) && is_plain(email) && !email.contains(' '))
            .then(|| Self { name: name.to_owned(), email: email.to_owned() })
    }
}

/// A file that is kept in memory.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SecretFile {
    /// The secret's name.
    pub name: String,
    /// The link's path below the home.
    pub path: String,
    /// What its owner may do with it.
    pub mode: FileMode,
    /// Its content.
    pub value: String,
}

impl std::fmt::Debug for SecretFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SecretFile({} at {}, redacted)", self.name, self.path)
    }
}

/// A private key for ssh.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SshKey {
    /// The secret's name.
    pub name: String,
    /// The one host that it is tried at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// As `ssh-keygen` writes it.
    pub value: String,
}

impl std::fmt::Debug for SshKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SshKey({}, redacted)", self.name)
    }
}

/// The body of `POST /v1/vm/git-credential`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AskGitCredential {
    /// `https` or `http`, as git names it.
    pub protocol: String,
    /// The host, with its port where git names one.
    pub host: String,
}

/// The answer: what git signs in with. Kept nowhere.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GitCredential {
    /// As whom.
    pub username: String,
    /// Password or token.
    pub password: String,
}

impl std::fmt::Debug for GitCredential {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("GitCredential(redacted)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_author_is_read_as_git_shows_one() {
        let read =
            |text: &str| GitAuthor::parse(text).map(|author| format!("{}|{}", author.name, author.email));
        assert_eq!(
            read(" Ada Lovelace <ada@example.org>\n").as_deref(),
            Some("Ada Lovelace|ada@example.org")
        );
        for text in ["", "Ada", "<a@b>", "Ada <>", "Ada <a b>", "Ada <a@b", "A<b> <c@d>", "Ada\n[core] <a@b>"]
        {
            assert_eq!(read(text), None, "{text}");
        }
    }
}
