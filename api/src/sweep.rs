//! What the sweep reports: what it has compared, what it found, and what it did about it.
//!
//! The mode is stored in the index and given as a variable, so its texts are pinned below. Answers may grow.

use crate::{Generation, Timestamp, WorkspaceId};
use serde::{Deserialize, Serialize};

/// What the sweep may do. The strictest of what is configured and what was asked for holds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum SweepMode {
    /// Compare, and end what nobody answers for.
    #[default]
    On,
    /// Compare and report what would be done.
    DryRun,
    /// Compare nothing.
    Off,
}

impl SweepMode {
    /// The stable text form.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::On => "on",
            Self::DryRun => "dry-run",
            Self::Off => "off",
        }
    }

    /// Reads [`SweepMode::as_str`] back.
    pub fn parse(text: &str) -> Option<Self> {
        [Self::On, Self::DryRun, Self::Off].into_iter().find(|mode| mode.as_str() == text)
    }
}

/// The body of `PUT /v1/sweep`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct SetSweep {
    /// What it may do from now on.
    pub mode: SweepMode,
}

/// One of the comparisons that the sweep makes, each on its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum SweepPart {
    /// Workspaces whose deadline passed without a word.
    Overdue,
    /// Servers without a workspace that wants them.
    Servers,
    /// Workspaces whose server is not there.
    Machines,
    /// Names that lead to machines that are gone.
    Names,
    /// Images past their end, or of purged workspaces.
    Images,
    /// Addresses that nothing uses.
    Addresses,
    /// Stored objects of purged or unknown workspaces.
    Objects,
    /// Backup objects that were deleted longer ago than that can be undone.
    Trash,
    /// Answers of requests long done.
    Keys,
}

impl SweepPart {
    /// All, in the order of reports.
    pub const ALL: [Self; 9] = [
        Self::Overdue,
        Self::Servers,
        Self::Machines,
        Self::Names,
        Self::Images,
        Self::Addresses,
        Self::Objects,
        Self::Trash,
        Self::Keys,
    ];

    /// The stable text form.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Overdue => "overdue",
            Self::Servers => "servers",
            Self::Machines => "machines",
            Self::Names => "names",
            Self::Images => "images",
            Self::Addresses => "addresses",
            Self::Objects => "objects",
            Self::Trash => "trash",
            Self::Keys => "keys",
        }
    }
}

/// What is to become of something that was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum SweepVerdict {
    /// Nothing.
    Leave,
    /// Its workspace has to say first.
    Ask,
    /// Its workspace is told to look for itself.
    #[serde(rename = "poke")]
    Nudge,
    /// It goes; what may hold work is imaged first.
    End,
}

/// Something worth a look. What is as it should be is counted and not listed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct SweepFinding {
    /// When it was found.
    #[cfg_attr(feature = "openapi", schema(value_type = String, format = DateTime))]
    pub at: Timestamp,
    /// The provider's id, the name, or the key's prefix.
    pub id: String,
    /// Whose it says it is.
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>))]
    pub workspace: Option<WorkspaceId>,
    /// Of which machine.
    #[cfg_attr(feature = "openapi", schema(value_type = Option<u32>))]
    pub generation: Option<Generation>,
    /// What is to become of it.
    pub verdict: SweepVerdict,
    /// Why, a sentence.
    pub because: String,
    /// What was done about it.
    pub done: String,
}

/// How one part stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct SweepPartReport {
    /// Which.
    pub part: SweepPart,
    /// When it had its last turn.
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>, format = DateTime))]
    pub last_run_at: Option<Timestamp>,
    /// When it last came to the end of everything.
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>, format = DateTime))]
    pub last_round_at: Option<Timestamp>,
    /// How often it has come to the end of everything.
    pub rounds: u64,
    /// Where the next turn goes on; absent at the beginning of a round.
    pub position: Option<String>,
    /// What it has looked at in this round.
    pub seen: u64,
    /// What it has ended since the beginning.
    pub ended: u64,
    /// What stopped its last turn, where something did.
    pub error: Option<String>,
    /// What it found lately, newest last.
    pub findings: Vec<SweepFinding>,
}

/// The answer to `GET /v1/sweep` and `POST /v1/sweep`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct SweepReport {
    /// What it may do: the stricter of the next two.
    pub mode: SweepMode,
    /// What the variable `SWEEP` says.
    pub configured: SweepMode,
    /// What `PUT /v1/sweep` said last.
    pub asked: SweepMode,
    /// When it last ran.
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>, format = DateTime))]
    pub last_run_at: Option<Timestamp>,
    /// Calls that run made.
    pub calls: u32,
    /// How many things a run may end.
    pub limit: u32,
    /// How many of those the last run left.
    pub limit_left: u32,
    /// Its parts.
    pub parts: Vec<SweepPartReport>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_keep_their_texts_because_they_are_stored_and_configured() {
        for (mode, text) in [(SweepMode::On, "on"), (SweepMode::DryRun, "dry-run"), (SweepMode::Off, "off")] {
            assert_eq!(mode.as_str(), text);
            assert_eq!(SweepMode::parse(text), Some(mode));
            assert_eq!(serde_json::to_string(&mode).unwrap(), format!("\"{text}\""));
        }
        assert_eq!(SweepMode::parse("ON"), None);
    }

    #[test]
    fn the_stricter_mode_is_the_greater() {
        assert_eq!(SweepMode::On.max(SweepMode::DryRun), SweepMode::DryRun);
        assert_eq!(SweepMode::Off.max(SweepMode::DryRun), SweepMode::Off);
    }

    #[test]
    fn parts_keep_their_texts_because_their_state_is_stored_by_them() {
        let texts: Vec<&str> = SweepPart::ALL.iter().map(|part| part.as_str()).collect();
        let all =
            ["overdue", "servers", "machines", "names", "images", "addresses", "objects", "trash", "keys"];
        assert_eq!(texts, all);
        for part in SweepPart::ALL {
            assert_eq!(serde_json::to_string(&part).unwrap(), format!("\"{}\"", part.as_str()));
        }
    }
}
