//! Ports of a workspace: which ones answer, who may reach them, and links that can be passed on.
//!
//! Requests deny unknown fields; answers may grow. A link is a secret: it is answered once, and its `Debug` shows none.

use crate::{Duration, Timestamp};
use serde::{Deserialize, Serialize};

/// Ports that never answer at a name: SSH and Caddy's own.
pub const PORTS_RESERVED: &[u16] = &[22, 2019];

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

/// A listening port that answers at a name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Port {
    /// TCP port inside the workspace.
    pub port: u16,
    /// The process that listens.
    pub process: String,
    /// Whether it speaks HTTP, within TLS or without.
    pub http: bool,
    /// Whether it speaks HTTP within TLS alone. At its name it answers as the others do.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub https: bool,
    /// Where it answers.
    pub url: Option<String>,
}

/// Ports of a workspace.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct PortList {
    /// By number.
    pub ports: Vec<Port>,
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
    /// For `DELETE …/links/{link}`; absent where it is for its owner alone and ends with the machine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// To open in a browser.
    pub url: String,
    /// When it ends.
    #[cfg_attr(feature = "openapi", schema(value_type = String, format = DateTime))]
    pub expires_at: Timestamp,
}

/// A link in force, as the API lists it: without what opens the port.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct LinkSummary {
    /// For `DELETE …/links/{link}`.
    pub id: String,
    /// The port that it opens; 0 is the machine's terminal.
    pub port: u16,
    /// When it ends by itself.
    #[cfg_attr(feature = "openapi", schema(value_type = String, format = DateTime))]
    pub expires_at: Timestamp,
}

/// Links in force.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct LinkList {
    /// Oldest first.
    pub links: Vec<LinkSummary>,
}

impl std::fmt::Debug for PortLink {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "PortLink(until {}, redacted)", self.expires_at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_does_not_show_in_debug_output() {
        let link = PortLink {
            id: None,
            url: "https://h/?ebb_access=hunter2".into(),
            expires_at: Timestamp::UNIX_EPOCH,
        };
        assert!(!format!("{link:?}").contains("hunter2"));
    }
}
