//! The history of a workspace and the log of its machine, a page at a time.

use crate::workspace::State;
use crate::{Generation, Timestamp};
use serde::{Deserialize, Serialize};

/// One line of a workspace's history.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Event {
    /// Rises by one with every event of the workspace.
    pub seq: u64,
    /// When.
    #[cfg_attr(feature = "openapi", schema(value_type = String, format = DateTime))]
    pub at: Timestamp,
    /// The state after it.
    pub state: State,
    /// The machine it is about.
    pub generation: Generation,
    /// What happened and why, a sentence.
    pub because: String,
}

/// A page of history, oldest first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct EventList {
    /// Oldest first.
    pub events: Vec<Event>,
    /// Whether there are more in the direction that was asked for: after the last of these, or before the first.
    #[serde(default)]
    pub more: bool,
}

/// A page of the boot and agent log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct LogPage {
    /// Oldest first, as the machine sent them.
    pub lines: Vec<String>,
}
