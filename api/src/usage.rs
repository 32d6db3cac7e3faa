//! What machines have cost, by workspace and day, and how a tenant stands to its caps: `GET /v1/usage`.
//!
//! Amounts are decimal texts in the provider's currency, exact to the millionth; hours are started hours, as billed.

use crate::{Timestamp, WorkspaceId};
use serde::{Deserialize, Serialize};

/// The answer to `GET /v1/usage`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Usage {
    /// First day, in UTC: `2026-11-01`.
    pub from: String,
    /// The day after the last.
    pub to: String,
    /// As known then: machines that still run are billed on.
    #[cfg_attr(feature = "openapi", schema(value_type = String, format = DateTime))]
    pub at: Timestamp,
    /// Sums, one for each currency; providers bill a project in one.
    pub totals: Vec<UsageTotal>,
    /// Sums by workspace, dearest first.
    pub workspaces: Vec<UsageWorkspace>,
    /// By day and workspace, oldest first; what cost nothing is left out.
    pub days: Vec<UsageDay>,
    /// How much of what may be had and spent is used now.
    pub caps: UsageCaps,
}

/// An amount, as it is billed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct UsageTotal {
    /// ISO 4217.
    pub currency: String,
    /// Started hours.
    pub hours: u64,
    /// Tax included.
    pub gross: String,
    /// Before tax.
    pub net: String,
}

/// What a workspace cost in the whole period.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct UsageWorkspace {
    /// Which.
    pub workspace: WorkspaceId,
    /// Its name, while it is on record.
    pub name: Option<String>,
    /// Machines that were billed.
    pub machines: u64,
    /// What they came to.
    pub total: UsageTotal,
}

/// What a workspace cost on a day.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct UsageDay {
    /// In UTC: an hour belongs to the day in which it starts.
    pub day: String,
    /// Which.
    pub workspace: WorkspaceId,
    /// What it came to.
    pub total: UsageTotal,
}

/// How a tenant stands to its caps, now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct UsageCaps {
    /// `max_workspaces`: on record, asleep ones included.
    pub workspaces: UsageCount,
    /// `max_machines`: that exist or are asked for.
    pub machines: UsageCount,
    /// `spend_per_day`.
    pub day: UsageSpending,
    /// `spend_per_month`.
    pub month: UsageSpending,
    /// ISO 4217; absent before the first machine.
    pub currency: Option<String>,
}

/// A count and its cap.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct UsageCount {
    /// How many there are.
    pub used: u64,
    /// How many there may be; `null` where there is no cap.
    pub cap: Option<u64>,
}

/// Spending in the current period and its cap.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct UsageSpending {
    /// Hours that have started in the period.
    pub spent: String,
    /// What machines that exist or are asked for may still cost at worst.
    pub reserved: String,
    /// Bound on both together; `null` where there is no cap.
    pub cap: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shape_is_pinned_because_scripts_read_bills() {
        let total =
            UsageTotal { currency: "EUR".into(), hours: 1, gross: "0.0072".into(), net: "0.006".into() };
        let workspace = WorkspaceId::from_random(1);
        let usage = Usage {
            from: "2026-11-01".into(),
            to: "2026-12-01".into(),
            at: Timestamp::UNIX_EPOCH,
            totals: vec![total.clone()],
            workspaces: vec![UsageWorkspace {
                workspace: workspace.clone(),
                name: None,
                machines: 1,
                total: total.clone(),
            }],
            days: vec![UsageDay { day: "2026-11-21".into(), workspace, total }],
            caps: UsageCaps {
                workspaces: UsageCount { used: 1, cap: Some(20) },
                machines: UsageCount { used: 0, cap: None },
                day: UsageSpending {
                    spent: "0.00".into(),
                    reserved: "0.00".into(),
                    cap: Some("10.00".into()),
                },
                month: UsageSpending { spent: "0.00".into(), reserved: "0.00".into(), cap: None },
                currency: None,
            },
        };
        insta::assert_json_snapshot!(usage);
    }
}
