//! API keys and what they may do.
//!
//! Requests deny unknown fields; answers may grow. A key is in an answer once, when it is made, and never again.

use crate::{Timestamp, WorkspaceId};
use serde::{Deserialize, Serialize};

/// What a key may do; each scope includes those before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum Scope {
    /// Look.
    Read,
    /// Create, change and end workspaces.
    Write,
    /// Manage keys and the installation.
    Admin,
}

impl Scope {
    /// The stable text form.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::Admin => "admin",
        }
    }

    /// Reads [`Scope::as_str`] back.
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Read, Self::Write, Self::Admin].into_iter().find(|scope| scope.as_str() == text)
    }
}

/// The body of `POST /v1/keys`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct CreateApiKey {
    /// What it is for, at most 80 characters.
    #[serde(default)]
    #[cfg_attr(
        feature = "openapi",
        schema(max_length = 80, pattern = "^[^\\u0000-\\u001f\\u007f-\\u009f]*$")
    )]
    pub label: String,
    /// What it may do.
    #[cfg_attr(feature = "openapi", schema(min_items = 1))]
    pub scopes: Vec<Scope>,
}

/// An API key as lists show it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ApiKeyInfo {
    /// For `DELETE /v1/keys/{id}`.
    pub id: String,
    /// How the key begins.
    pub prefix: String,
    /// What it is for.
    pub label: String,
    /// What it may do.
    pub scopes: Vec<Scope>,
    /// When it was made.
    #[cfg_attr(feature = "openapi", schema(value_type = String, format = DateTime))]
    pub created_at: Timestamp,
    /// When it was last used, to the hour.
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>, format = DateTime))]
    pub last_used_at: Option<Timestamp>,
    /// The workspace whose backups it reads, for the key of a restore kit; such a key does nothing else.
    #[serde(default)]
    pub repository: Option<WorkspaceId>,
    /// When it ends by itself; only the key of a restore kit does.
    #[serde(default)]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>, format = DateTime))]
    pub expires_at: Option<Timestamp>,
}

/// A key just made. `key` is shown this once.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct CreatedApiKey {
    /// The whole key; only its SHA-256 is kept.
    pub key: String,
    /// The rest.
    pub info: ApiKeyInfo,
}

impl std::fmt::Debug for CreatedApiKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "CreatedApiKey({:?}, key redacted)", self.info)
    }
}

/// A tenant's keys.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ApiKeyList {
    /// Newest first.
    pub keys: Vec<ApiKeyInfo>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scopes_are_pinned_because_keys_are_stored_with_them() {
        for scope in [Scope::Read, Scope::Write, Scope::Admin] {
            assert_eq!(Scope::parse(scope.as_str()), Some(scope));
            assert_eq!(serde_json::to_string(&scope).unwrap(), format!("\"{}\"", scope.as_str()));
        }
        assert_eq!(Scope::parse("root"), None);
    }

    #[test]
    fn a_key_does_not_show_in_debug_output() {
        let at = Timestamp::UNIX_EPOCH;
        let info = ApiKeyInfo {
            id: "i".into(),
            prefix: "ebb_i".into(),
            label: String::new(),
            scopes: vec![],
            created_at: at,
            last_used_at: None,
            repository: None,
            expires_at: None,
        };
        let key = CreatedApiKey { key: "hunter2".into(), info };
        assert!(!format!("{key:?}").contains("hunter2"));
    }
}
