//! The states that people see, and the texts that records and scripts hold them by.

use serde::{Deserialize, Serialize};

/// Where a workspace is in its life; see `docs/reference/states.md`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum State {
    /// Recorded; nothing exists at the provider.
    Requested,
    /// A server is being created.
    Provisioning,
    /// The server exists and works through its boot plan.
    Booting,
    /// Ready, and heard of.
    Running,
    /// Not heard of for a while; a question, not a verdict.
    Silent,
    /// Backing up before the machine goes.
    Draining,
    /// The machine is gone from us with work on it: an image is taken.
    Rescuing,
    /// Server and DNS records are being deleted.
    Destroying,
    /// No machine; the work is in storage.
    Asleep,
    /// No machine, and something to say about why.
    Failed,
    /// Gone, after the days in which it can be undone.
    Deleted,
}

impl State {
    /// All states, for tables and tests.
    pub const ALL: &[Self] = &[
        Self::Requested,
        Self::Provisioning,
        Self::Booting,
        Self::Running,
        Self::Silent,
        Self::Draining,
        Self::Rescuing,
        Self::Destroying,
        Self::Asleep,
        Self::Failed,
        Self::Deleted,
    ];

    /// Whether the provider may bill for a machine in this state.
    pub const fn may_have_machine(self) -> bool {
        match self {
            Self::Requested | Self::Asleep | Self::Failed | Self::Deleted => false,
            Self::Provisioning
            | Self::Booting
            | Self::Running
            | Self::Silent
            | Self::Draining
            | Self::Rescuing
            | Self::Destroying => true,
        }
    }

    /// The stable text form.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Requested => "requested",
            Self::Provisioning => "provisioning",
            Self::Booting => "booting",
            Self::Running => "running",
            Self::Silent => "silent",
            Self::Draining => "draining",
            Self::Rescuing => "rescuing",
            Self::Destroying => "destroying",
            Self::Asleep => "asleep",
            Self::Failed => "failed",
            Self::Deleted => "deleted",
        }
    }
}

impl std::fmt::Display for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_state_has_the_text_that_records_in_storage_hold() {
        for state in State::ALL {
            assert_eq!(serde_json::to_string(state).unwrap(), format!("\"{state}\""));
        }
        assert_eq!(State::ALL.len(), 11);
    }
}
