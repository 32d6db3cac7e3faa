//! Which secrets are taken. No refusal repeats a value.

use super::Secret;
use ebbtide_api::env;
use ebbtide_api::secrets::{
    HOST_MAX, NAME_MAX, PATH_MAX, PutSecret, SecretChoice, SecretUse, USERNAME_MAX, VALUE_MAX,
};
use ebbtide_api::vm::GitAuthor;
use std::collections::BTreeSet;

/// Why a secret is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SecretError {
    /// The name holds something that none may hold.
    #[error("the name is none of a secret")]
    Name,
    /// The name of a variable cannot be one.
    #[error("the variable's name holds something other than letters, digits and _, or is too long")]
    Variable,
    /// A variable that decides how programs start.
    #[error("the machine sets the variable {0} itself")]
    Reserved(String),
    /// A path that leads out of the home, or holds odd characters.
    #[error("the path is none below the home")]
    Path,
    /// No host.
    #[error("this is no host")]
    Host,
    /// No user name.
    #[error("this is no user name")]
    Username,
    /// Nothing, or too much.
    #[error("the value is empty or has more than {VALUE_MAX} bytes")]
    Length,
    /// A zero byte, or a line break where none may be.
    #[error("the value holds a zero byte, or a line break where none can be")]
    Characters,
    /// Not what `ssh-keygen` writes.
    #[error("the value is no private key")]
    PrivateKey,
    /// Not a name and an address.
    #[error("the value is no author of commits")]
    Author,
    /// The same name twice.
    #[error("the secret {0:?} is named twice")]
    Twice(String),
    /// There are no such secrets.
    #[error("there is no secret {0}")]
    Unknown(String),
}

impl SecretError {
    /// The field that is wrong.
    pub fn field(&self) -> &'static str {
        match self {
            Self::Name => "name",
            Self::Variable | Self::Reserved(_) => "use.variable",
            Self::Path => "use.path",
            Self::Host => "use.host",
            Self::Username => "use.username",
            Self::Length | Self::Characters | Self::PrivateKey | Self::Author => "value",
            Self::Twice(_) | Self::Unknown(_) => "secrets",
        }
    }

    /// What to do about it.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Name => "Use a-z, 0-9, dots, dashes and _, at most 64 characters, such as github-token.",
            Self::Variable => "Use a name such as DATABASE_URL, at most 128 characters.",
            Self::Reserved(_) => "Set it in the workspace's shell profile instead.",
            Self::Path => {
                "Give a path below the home such as .npmrc or .aws/credentials, of letters, digits and ._@+- alone."
            }
            Self::Host => {
                "Give the host alone, in lower case, such as github.com or git.example.org:8443; with http:// in front \
                 for a server without TLS."
            }
            Self::Username => {
                "Leave it out where the value is a token; else give printable characters without a colon."
            }
            Self::Length => "A value has 1 byte to 16 KiB.",
            Self::Characters => "Give the value alone, without a zero byte; a token or password is one line.",
            Self::PrivateKey => {
                "Give all of the file that ssh-keygen -t ed25519 -N '' wrote, with its first and last line."
            }
            Self::Author => "Give a name and a mail address, such as Ada Lovelace <ada@example.org>.",
            Self::Twice(_) => "Name each secret once.",
            Self::Unknown(_) => "GET /v1/secrets lists those that exist; PUT /v1/secrets/{name} writes one.",
        }
    }
}

/// Checks a secret, and takes from its value what only a clipboard put there.
///
/// # Errors
/// The first thing that is wrong.
pub fn check(name: &str, put: PutSecret) -> Result<Secret, SecretError> {
    let PutSecret { r#use: usage, value, everywhere } = put;
    if !is_name(name) {
        return Err(SecretError::Name);
    }
    if value.is_empty() || value.len() > VALUE_MAX {
        return Err(SecretError::Length);
    }
    if value.contains('\0') {
        return Err(SecretError::Characters);
    }
    let value = match &usage {
        SecretUse::Environment { variable } => {
            check_variable(variable)?;
            value
        }
        SecretUse::File { path, .. } => {
            if !is_path(path) {
                return Err(SecretError::Path);
            }
            value
        }
        SecretUse::GitCredential { host, username } => {
            check_git(host, username)?;
            one_line(&value)?
        }
        SecretUse::SshKey { host } => {
            if host.as_deref().is_some_and(|host| !is_host_name(host)) {
                return Err(SecretError::Host);
            }
            private_key(&value)?
        }
        SecretUse::GitAuthor {} => match GitAuthor::parse(&value) {
            Some(_) => value,
            None => return Err(SecretError::Author),
        },
    };
    Ok(Secret { usage, everywhere, value: value.into() })
}

/// Checks a choice against the names that there are.
///
/// # Errors
/// A name twice, or names of secrets that do not exist.
pub fn check_choice<'a>(
    choice: &SecretChoice,
    known: impl IntoIterator<Item = &'a str>,
) -> Result<(), SecretError> {
    let known: BTreeSet<&str> = known.into_iter().collect();
    let mut seen = BTreeSet::new();
    for name in choice.names() {
        if !seen.insert(name.as_str()) {
            return Err(SecretError::Twice(name.clone()));
        }
        // What is no name at all is not repeated: it may be a value in the wrong place.
        if !is_name(name) {
            return Err(SecretError::Name);
        }
    }
    let unknown: Vec<&str> = seen.difference(&known).copied().collect();
    if unknown.is_empty() { Ok(()) } else { Err(SecretError::Unknown(unknown.join(", "))) }
}

/// Whether a text can be a secret's name, or a login key's.
pub fn is_name(name: &str) -> bool {
    let usual = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    name.len() <= NAME_MAX
        && name.bytes().next().is_some_and(usual)
        && name.bytes().all(|byte| usual(byte) || b"._-".contains(&byte))
}

fn check_variable(name: &str) -> Result<(), SecretError> {
    let usual = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    if name.is_empty()
        || name.len() > env::NAME_MAX
        || !name.bytes().all(usual)
        || name.starts_with(|c: char| c.is_ascii_digit())
    {
        return Err(SecretError::Variable);
    }
    if env::RESERVED.contains(&name) { Err(SecretError::Reserved(name.to_owned())) } else { Ok(()) }
}

fn is_path(path: &str) -> bool {
    let usual = |byte: u8| byte.is_ascii_alphanumeric() || b"._@+-".contains(&byte);
    path.len() <= PATH_MAX
        && path.split('/').all(|part| !matches!(part, "" | "." | "..") && part.bytes().all(usual))
}

fn check_git(host: &str, username: &str) -> Result<(), SecretError> {
    let bare = host.strip_prefix("http://").unwrap_or(host);
    let (name, port) = match bare.split_once(':') {
        Some((name, port)) => (name, Some(port)),
        None => (bare, None),
    };
    let is_port = |port: &str| {
        (1..=5).contains(&port.len())
            && port.bytes().all(|byte| byte.is_ascii_digit())
            && port.parse::<u16>().is_ok_and(|port| port > 0)
    };
    if host.len() > HOST_MAX || !is_host_name(name) || !port.is_none_or(is_port) {
        return Err(SecretError::Host);
    }
    let usual = |byte: u8| byte.is_ascii_graphic() && byte != b':';
    if username.is_empty() || username.len() > USERNAME_MAX || !username.bytes().all(usual) {
        return Err(SecretError::Username);
    }
    Ok(())
}

fn is_host_name(name: &str) -> bool {
    let usual = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    name.len() <= 202
        && name.bytes().next().is_some_and(usual)
        && name.bytes().last().is_some_and(usual)
        && name.bytes().all(|byte| usual(byte) || b".-".contains(&byte))
}

/// A token without the line break that came with it.
fn one_line(value: &str) -> Result<String, SecretError> {
    let value = value.trim_end_matches(['\r', '\n']);
    match value {
        "" => Err(SecretError::Length),
        value if value.chars().any(char::is_control) => Err(SecretError::Characters),
        value => Ok(value.to_owned()),
    }
}

/// A private key with the line break at its end that ssh wants, and none of a browser's own.
fn private_key(value: &str) -> Result<String, SecretError> {
    let text = value.replace("\r\n", "\n");
    let text = text.trim();
    let is_key = text.starts_with("-----BEGIN ")
        && text.lines().next().is_some_and(|first| first.ends_with(" PRIVATE KEY-----"))
        && text.lines().last().is_some_and(|last| last.starts_with("-----END "))
        && text.lines().count() > 2;
    if is_key { Ok(format!("{text}\n")) } else { Err(SecretError::PrivateKey) }
}
