//! What belongs to a tenant rather than to one workspace: API keys, the audit log, the catalog; and the small bodies
//! of ports, links and wakes.
//!
//! Requests deny unknown fields; answers may grow. A secret is in an answer once, when it is made, and never again.

use crate::workspace::Cost;
use crate::{Duration, Timestamp, WorkspaceId};
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
    pub label: String,
    /// What it may do.
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

/// One line of the audit log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct AuditEntry {
    /// When.
    #[cfg_attr(feature = "openapi", schema(value_type = String, format = DateTime))]
    pub at: Timestamp,
    /// Who: `owner`, `key:{id}`.
    pub actor: String,
    /// What: `workspace.create`, …
    pub action: String,
    /// To which thing.
    pub subject: String,
    /// From which address.
    pub from: String,
}

/// A page of the audit log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct AuditList {
    /// Newest first.
    pub entries: Vec<AuditEntry>,
    /// Pass as `?cursor=` for the next page; `null` on the last.
    pub next_cursor: Option<String>,
}

/// What can be had, where, and for how much: read from the provider.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Catalog {
    /// By price.
    pub sizes: Vec<CatalogSize>,
    /// By name.
    pub locations: Vec<CatalogLocation>,
    /// ISO 4217; absent where the provider did not say.
    pub currency: Option<String>,
    /// What is taken where a request names no size.
    pub default_size: String,
    /// What is taken where a request names no location.
    pub default_location: String,
    /// Lifetime that the worst cases are about.
    pub default_lifetime: Duration,
}

/// A server type.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct CatalogSize {
    /// For `size` in a create request.
    pub name: String,
    /// As the provider describes it.
    pub description: String,
    /// Processors.
    pub cores: u32,
    /// Memory in MiB.
    pub memory_mib: u64,
    /// Disk in GB.
    pub disk_gb: u64,
    /// `shared` or `dedicated` processors.
    pub cpu: String,
    /// Where it is offered.
    pub locations: Vec<CatalogOffer>,
}

/// A size at a location.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct CatalogOffer {
    /// For `location` in a create request.
    pub location: String,
    /// In stock now; `null` where the provider does not say.
    pub available: Option<bool>,
    /// Each started hour, tax included.
    pub hourly_gross: Option<String>,
    /// What a workspace of the default lifetime costs at worst.
    pub worst_case: Option<Cost>,
    /// From then on the provider makes no new machines of this size there.
    #[serde(default)]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>, format = DateTime))]
    pub unavailable_after: Option<Timestamp>,
}

/// A place where machines can be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct CatalogLocation {
    /// For `location` in a create request.
    pub name: String,
    /// City and country.
    pub description: String,
}

/// Who may reach a port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum PortAccess {
    /// Whoever holds an access token.
    Owner,
    /// Anybody.
    Public,
}

/// The body of `PUT /v1/workspaces/{id}/ports/{port}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct SetPort {
    /// Who may reach it.
    pub access: PortAccess,
}

/// The body of `POST /v1/workspaces/{id}/ports/{port}/link`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct CreateLink {
    /// How long the link works, at most 7 days.
    pub r#for: Duration,
}

/// A link to a port. Whoever has it may open the port until it ends.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct PortLink {
    /// To open in a browser.
    pub url: String,
    /// When it ends.
    #[cfg_attr(feature = "openapi", schema(value_type = String, format = DateTime))]
    pub expires_at: Timestamp,
}

impl std::fmt::Debug for PortLink {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "PortLink(until {}, redacted)", self.expires_at)
    }
}

/// The body of `POST /v1/workspaces/{id}/wake`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct WakeWorkspace {
    /// Which verified snapshot to restore; the newest where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub snapshot: Option<String>,
}

/// The body of requests that say nothing but what their path says.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct NoFields {}

/// The answer to `GET /health`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Health {
    /// Whether requests are served.
    pub ok: bool,
    /// The worst of all parts.
    pub status: HealthStatus,
    /// Version of the Worker.
    pub version: String,
    /// What is wrong: names and reasons, never values.
    pub problems: Vec<String>,
    /// Every part that was looked at.
    pub parts: Vec<HealthPart>,
}

/// How a part of the installation is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum HealthStatus {
    /// As it should be.
    Ok,
    /// Requests are served, but something does not happen by itself as it should.
    Degraded,
    /// Requests fail.
    Failing,
}

/// A part of the installation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct HealthPart {
    /// Its name: `configuration`, `index`, `storage`, `objects`, `cron`, `idle_agent`, `keys`.
    pub name: String,
    /// How it is.
    pub status: HealthStatus,
    /// `ok`, or what is wrong with it.
    pub code: String,
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
    fn keys_and_links_do_not_show_in_debug_output() {
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
        let link = PortLink { url: "https://h/?ebb_access=hunter2".into(), expires_at: at };
        assert!(!format!("{key:?}{link:?}").contains("hunter2"));
    }
}
