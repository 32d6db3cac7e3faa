//! A tenant's secrets: written once, never shown again, and given to the machines of the workspaces that chose them.
//!
//! Requests deny unknown fields; answers may grow, and hold no value. What a secret may be is said here once, for the
//! checks, the document and whoever asks.

use crate::{Timestamp, WorkspaceId};
use serde::{Deserialize, Serialize};

/// Most secrets of a tenant.
pub const MOST: usize = 64;
/// Longest name, in bytes.
pub const NAME_MAX: usize = 64;
/// Longest value, in bytes.
pub const VALUE_MAX: usize = 16 * 1024;
/// Longest path of a file below the home, in bytes.
pub const PATH_MAX: usize = 200;
/// Longest host with its port, in bytes.
pub const HOST_MAX: usize = 260;
/// Longest user name, in bytes.
pub const USERNAME_MAX: usize = 100;

/// What every name of a secret matches.
#[cfg(feature = "openapi")]
pub const NAME_PATTERN: &str = "^[a-z0-9][a-z0-9._-]{0,63}$";

/// What a secret is for, and where it goes on a machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum SecretUse {
    /// A variable of new terminals and of CloudCLI.
    Environment {
        /// Its name; one of the workspace's own `env` goes first.
        #[cfg_attr(feature = "openapi", schema(schema_with = variable))]
        variable: String,
    },
    /// A file in memory, with a link to it below the home.
    File {
        /// The link's path below the home, such as `.npmrc` or `.aws/credentials`.
        #[cfg_attr(
            feature = "openapi",
            schema(
                max_length = 200,
                pattern = r"^(?!\.{1,2}(/|$))[A-Za-z0-9._@+-]+(/(?!\.{1,2}(/|$))[A-Za-z0-9._@+-]+)*$"
            )
        )]
        path: String,
        /// Who may do what with it; never anybody but the workspace's user.
        #[serde(default)]
        mode: FileMode,
    },
    /// What git signs in with at a host, over https.
    GitCredential {
        /// Lower-case, with its port where that is another than https': `github.com`, `git.example.org:8443`. With
        /// `http://` in front for a server without TLS, whose passwords whoever is on the way reads.
        #[cfg_attr(
            feature = "openapi",
            schema(
                max_length = 260,
                pattern = r"^(http://)?[a-z0-9]([a-z0-9.-]{0,200}[a-z0-9])?(:[1-9][0-9]{0,4})?$"
            )
        )]
        host: String,
        /// As whom; what GitHub and GitLab take for a token where absent.
        #[serde(default = "token_user")]
        #[cfg_attr(feature = "openapi", schema(pattern = r"^[!-9;-~]{1,100}$"))]
        username: String,
    },
    /// A private key for ssh, as `ssh-keygen` writes it without a passphrase.
    SshKey {
        /// The one host that it is tried at; every host where absent.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        #[cfg_attr(
            feature = "openapi",
            schema(max_length = 253, pattern = r"^[a-z0-9]([a-z0-9.-]{0,200}[a-z0-9])?$")
        )]
        host: Option<String>,
    },
    /// Who commits, unless the workspace's own configuration of git says so: the value is `Name <address>`.
    GitAuthor {},
}

impl SecretUse {
    /// Its kind, as in JSON.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Environment { .. } => "environment",
            Self::File { .. } => "file",
            Self::GitCredential { .. } => "git_credential",
            Self::SshKey { .. } => "ssh_key",
            Self::GitAuthor {} => "git_author",
        }
    }
}

/// GitHub, GitLab and most others take a token with any name.
fn token_user() -> String {
    "x-access-token".to_owned()
}

/// What the workspace's user may do with a file. Others may nothing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum FileMode {
    /// Read it.
    #[serde(rename = "0400")]
    Read,
    /// Read and write it; what is written is not kept.
    #[default]
    #[serde(rename = "0600")]
    ReadWrite,
    /// Read and run it.
    #[serde(rename = "0500")]
    Run,
}

impl FileMode {
    /// As the file system takes it.
    pub const fn bits(self) -> u32 {
        match self {
            Self::Read => 0o400,
            Self::ReadWrite => 0o600,
            Self::Run => 0o500,
        }
    }
}

/// The body of `PUT /v1/secrets/{secret}`.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct PutSecret {
    /// What it is for.
    pub r#use: SecretUse,
    /// The value; no answer ever holds it.
    #[cfg_attr(feature = "openapi", schema(min_length = 1, max_length = 16384, pattern = "^[^\\u0000]+$"))]
    pub value: String,
    /// Whether every workspace gets it that names no secrets of its own.
    #[serde(default)]
    pub everywhere: bool,
}

impl std::fmt::Debug for PutSecret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "PutSecret({:?}, value redacted)", self.r#use)
    }
}

/// A secret without its value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct SecretInfo {
    /// Its name.
    pub name: String,
    /// What it is for.
    pub r#use: SecretUse,
    /// Whether every workspace gets it that names no secrets of its own.
    pub everywhere: bool,
    /// Rises with each value that is written.
    pub version: u32,
    /// When the value was written.
    #[cfg_attr(feature = "openapi", schema(value_type = String, format = DateTime))]
    pub written_at: Timestamp,
    /// Workspaces that get it, at most 50, those that sleep too.
    pub workspaces: Vec<SecretUser>,
}

/// A workspace that gets a secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct SecretUser {
    /// Its id.
    pub id: WorkspaceId,
    /// Its readable name.
    pub name: String,
}

/// A tenant's secrets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct SecretList {
    /// By name.
    pub secrets: Vec<SecretInfo>,
}

/// The answer to what changed a secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct SecretChanged {
    /// The secret, as it is or was.
    pub secret: SecretInfo,
    /// What becomes of workspaces that get it or had it, a sentence.
    pub applies: String,
}

/// Which secrets a workspace gets.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SecretChoice {
    /// Those that are marked `everywhere`, whichever these are at the time.
    #[default]
    Everywhere,
    /// These, and no others.
    #[serde(untagged)]
    Named(Vec<String>),
}

impl SecretChoice {
    /// Whether a secret is among them.
    pub fn includes(&self, name: &str, everywhere: bool) -> bool {
        match self {
            Self::Everywhere => everywhere,
            Self::Named(names) => names.iter().any(|chosen| chosen == name),
        }
    }

    /// The names, where it names any.
    pub fn names(&self) -> &[String] {
        match self {
            Self::Everywhere => &[],
            Self::Named(names) => names,
        }
    }
}

#[cfg(feature = "openapi")]
fn variable() -> utoipa::openapi::schema::Object {
    use utoipa::openapi::schema::{ObjectBuilder, Type};
    ObjectBuilder::new().schema_type(Type::String).pattern(Some(crate::env::name_pattern())).build()
}

#[cfg(feature = "openapi")]
impl utoipa::PartialSchema for SecretChoice {
    fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::schema::Schema> {
        use utoipa::openapi::schema::{ArrayBuilder, ObjectBuilder, OneOfBuilder, Type};
        let name = ObjectBuilder::new().schema_type(Type::String).pattern(Some(NAME_PATTERN));
        let everywhere = ObjectBuilder::new().schema_type(Type::String).enum_values(Some(["everywhere"]));
        OneOfBuilder::new()
            .item(everywhere)
            .item(ArrayBuilder::new().items(name).max_items(Some(MOST)))
            .description(Some("`everywhere`: the secrets that are marked so. A list: these and no others."))
            .into()
    }
}

#[cfg(feature = "openapi")]
impl utoipa::ToSchema for SecretChoice {}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(body: &str) -> Result<PutSecret, String> {
        serde_json::from_str(body).map_err(|error| error.to_string())
    }

    #[test]
    fn what_a_secret_is_for_is_pinned_because_it_is_stored() {
        let table = [
            (r#"{"kind":"environment","variable":"A"}"#, SecretUse::Environment { variable: "A".into() }),
            (
                r#"{"kind":"file","path":".npmrc","mode":"0600"}"#,
                SecretUse::File { path: ".npmrc".into(), mode: FileMode::ReadWrite },
            ),
            (
                r#"{"kind":"git_credential","host":"h","username":"u"}"#,
                SecretUse::GitCredential { host: "h".into(), username: "u".into() },
            ),
            (r#"{"kind":"ssh_key"}"#, SecretUse::SshKey { host: None }),
            (r#"{"kind":"git_author"}"#, SecretUse::GitAuthor {}),
        ];
        for (text, usage) in table {
            assert_eq!(serde_json::to_string(&usage).unwrap(), text);
            assert_eq!(serde_json::from_str::<SecretUse>(text).unwrap(), usage);
            assert!(text.contains(&format!("\"{}\"", usage.kind())));
        }
        let short: SecretUse = serde_json::from_str(r#"{"kind":"git_credential","host":"h"}"#).unwrap();
        assert_eq!(short, SecretUse::GitCredential { host: "h".into(), username: "x-access-token".into() });
    }

    #[test]
    fn a_misspelt_field_is_refused_at_every_depth() {
        assert!(put(r#"{"use":{"kind":"ssh_key","hots":"h"},"value":"x"}"#).unwrap_err().contains("hots"));
        assert!(
            put(r#"{"use":{"kind":"ssh_key"},"value":"x","everywere":true}"#)
                .unwrap_err()
                .contains("everywere")
        );
        assert!(put(r#"{"use":{"kind":"password"},"value":"x"}"#).unwrap_err().contains("password"));
        assert!(put(r#"{"use":{"kind":"file","path":"a","mode":"0644"},"value":"x"}"#).is_err());
    }

    #[test]
    fn a_value_does_not_show_in_debug_output() {
        let put = put(r#"{"use":{"kind":"ssh_key"},"value":"hunter2"}"#).unwrap();
        assert!(!format!("{put:?}").contains("hunter2"));
    }

    #[test]
    fn a_choice_is_a_word_or_names() {
        let read = |text: &str| serde_json::from_str::<SecretChoice>(text);
        assert_eq!(read("\"everywhere\"").unwrap(), SecretChoice::Everywhere);
        assert_eq!(read("[]").unwrap(), SecretChoice::Named(vec![]));
        assert_eq!(serde_json::to_string(&SecretChoice::Everywhere).unwrap(), "\"everywhere\"");
        assert_eq!(serde_json::to_string(&read("[\"a\"]").unwrap()).unwrap(), "[\"a\"]");
        assert!(read("\"nowhere\"").is_err() && read("{}").is_err() && read("null").is_err());
        let named = SecretChoice::Named(vec!["a".into()]);
        assert!(named.includes("a", false) && !named.includes("b", true));
        assert!(
            SecretChoice::Everywhere.includes("b", true) && !SecretChoice::Everywhere.includes("a", false)
        );
    }
}
