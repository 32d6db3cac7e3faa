//! How the installation and its parts are: the answer to `GET /health`.

use serde::{Deserialize, Serialize};

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
    /// Its name: `configuration`, `index`, `storage`, `objects`, `cron`, `project`, `idle_agent`, `keys`,
    /// `open_limit`.
    pub name: String,
    /// How it is.
    pub status: HealthStatus,
    /// `ok`, or what is wrong with it.
    pub code: String,
}
