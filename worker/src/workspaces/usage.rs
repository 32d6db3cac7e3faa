//! What machines have cost: the ledger's rows, billed by `control::money::bill` and added up by workspace and day.
//!
//! Reads; writes nothing. The answer is bounded by its period and by the machines in it.

use crate::actor::Actor;
use crate::app::App;
use crate::d1::Billed;
use crate::error::{ApiError, ApiResult};
use ebbtide_api::usage::{Usage, UsageCaps, UsageCount, UsageDay, UsageSpending, UsageTotal, UsageWorkspace};
use ebbtide_api::{Timestamp, WorkspaceId};
use ebbtide_control::money::Amount;
use ebbtide_control::money::bill::{Charge, Day};
use ebbtide_control::money::caps::{CapUsage, Caps, Spent};
use std::collections::BTreeMap;

/// Longest period, in days: a quarter.
const DAYS_MAX: i64 = 92;
/// Most machines in an answer: adding up more takes longer than an invocation on the Free plan may.
const MACHINES_MAX: usize = 3_000;

/// A period of days in UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Days {
    from: Day,
    to: Day,
}

impl Days {
    /// Reads a period; the current month to date where nothing is said.
    ///
    /// # Errors
    /// A day cannot be read, or the period is empty or too long.
    pub fn parse(from: Option<&str>, to: Option<&str>, now: Timestamp) -> ApiResult<Self> {
        let day = |name: &str, text: Option<&str>, otherwise: Day| match text {
            None => Ok(otherwise),
            Some(text) => Day::parse(text).ok_or_else(|| {
                ApiError::field(name, "this is no day").hint("Write a day in UTC such as 2026-11-01.")
            }),
        };
        let today = Day::of(now);
        let from = day("from", from, today.month_start())?;
        let to = day("to", to, today.plus(1).max(from.plus(1)))?;
        match to.0.saturating_sub(from.0) {
            1..=DAYS_MAX => Ok(Self { from, to }),
            ..=0 => Err(ApiError::field("to", "the period ends before it begins")
                .hint("`to` is the day after the last.")),
            _ => Err(ApiError::field("from", format!("the period has more than {DAYS_MAX} days"))
                .hint("Ask for a shorter one, several times.")),
        }
    }
}

/// What a tenant's machines have cost in a period, and how the tenant stands to its caps now.
///
/// # Errors
/// The index does not answer, or the period holds too many machines.
pub async fn usage(app: &App, actor: &Actor, days: Days) -> ApiResult<Usage> {
    let index = app.d1()?;
    let now = app.now();
    let limit = u64::try_from(MACHINES_MAX).unwrap_or(u64::MAX).saturating_add(1);
    let machines = index.billed(&actor.tenant, days.from.start(), days.to.start(), limit).await?;
    if machines.len() > MACHINES_MAX {
        return Err(ApiError::field("from", format!("the period holds more than {MACHINES_MAX} machines"))
            .hint("Ask for fewer days at a time."));
    }
    let names: BTreeMap<String, String> = index.names(&actor.tenant).await?.into_iter().collect();
    let usage = index.usage(&actor.tenant, now).await?;
    let caps = stands(&usage, &Caps::of(&app.config.policy));
    Ok(add_up(&machines, &names, days, now, caps))
}

/// How a tenant stands to its caps now.
///
/// # Errors
/// The index does not answer.
pub async fn caps(app: &App, actor: &Actor) -> ApiResult<UsageCaps> {
    let usage = app.d1()?.usage(&actor.tenant, app.now()).await?;
    Ok(stands(&usage, &Caps::of(&app.config.policy)))
}

fn stands(usage: &CapUsage, caps: &Caps) -> UsageCaps {
    let spending = |spent: Spent, cap: Option<Amount>| UsageSpending {
        spent: spent.spent.to_string(),
        reserved: spent.reserved.to_string(),
        cap: cap.map(|cap| cap.to_string()),
    };
    UsageCaps {
        workspaces: UsageCount { used: usage.workspaces, cap: caps.workspaces },
        machines: UsageCount { used: usage.machines, cap: caps.machines },
        day: spending(usage.day, caps.day),
        month: spending(usage.month, caps.month),
        currency: Some(usage.currency.clone()).filter(|currency| !currency.is_empty()),
    }
}

fn add_up(
    machines: &[Billed],
    names: &BTreeMap<String, String>,
    days: Days,
    now: Timestamp,
    caps: UsageCaps,
) -> Usage {
    let mut totals = BTreeMap::<&str, Charge>::new();
    let mut by_day = BTreeMap::<(Day, &WorkspaceId, &str), Charge>::new();
    let mut by_workspace = BTreeMap::<(&WorkspaceId, &str), (u64, Charge)>::new();
    for Billed { workspace, currency, machine } in machines {
        let mut sum = Charge::default();
        for (day, charge) in machine.by_day(days.from, days.to, now) {
            let of_day = by_day.entry((day, workspace, currency)).or_default();
            *of_day = of_day.plus(charge);
            sum = sum.plus(charge);
        }
        if sum.hours > 0 {
            let total = totals.entry(currency).or_default();
            *total = total.plus(sum);
            let (count, of_workspace) = by_workspace.entry((workspace, currency)).or_default();
            *count = count.saturating_add(1);
            *of_workspace = of_workspace.plus(sum);
        }
    }
    let mut workspaces: Vec<(Amount, UsageWorkspace)> = by_workspace
        .into_iter()
        .map(|((id, currency), (machines, charge))| {
            let name = names.get(id.as_str()).cloned();
            let total = total(currency, charge);
            (charge.gross, UsageWorkspace { workspace: id.clone(), name, machines, total })
        })
        .collect();
    workspaces.sort_by_key(|(gross, _)| std::cmp::Reverse(*gross));
    Usage {
        from: days.from.to_string(),
        to: days.to.to_string(),
        at: now,
        totals: totals.into_iter().map(|(currency, charge)| total(currency, charge)).collect(),
        workspaces: workspaces.into_iter().map(|(_, row)| row).collect(),
        days: by_day
            .into_iter()
            .map(|((day, id, currency), charge)| UsageDay {
                day: day.to_string(),
                workspace: id.clone(),
                total: total(currency, charge),
            })
            .collect(),
        caps,
    }
}

fn total(currency: &str, charge: Charge) -> UsageTotal {
    UsageTotal {
        currency: currency.to_owned(),
        hours: charge.hours,
        gross: charge.gross.to_string(),
        net: charge.net.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ebbtide_control::money::bill::{Machine, Tariff};

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn check(from: Option<&str>, to: Option<&str>, wanted: &str) {
        let found = match Days::parse(from, to, at("2026-11-21T10:00:00Z")) {
            Ok(days) => format!("{} {}", days.from, days.to),
            Err(error) => error.to_string(),
        };
        assert_eq!(found, wanted, "{from:?} {to:?}");
    }

    #[test]
    fn a_period_is_this_month_or_what_is_asked_for_within_bounds() {
        check(None, None, "2026-11-01 2026-11-22");
        check(Some("2026-11-21"), None, "2026-11-21 2026-11-22");
        check(Some("2026-09-01"), Some("2026-12-01"), "2026-09-01 2026-12-01");
        check(Some("2026-11-21"), Some("2026-11-21"), "invalid_field: to: the period ends before it begins");
        check(Some("2026-01-01"), None, "invalid_field: from: the period has more than 92 days");
        check(Some("yesterday"), None, "invalid_field: from: this is no day");
        check(None, Some("2026-13-01"), "invalid_field: to: this is no day");
    }

    #[test]
    fn machines_are_added_up_by_workspace_and_day() {
        let tariff = |hourly| Tariff { hourly: Amount(hourly), monthly: None };
        let billed = |id, started: &str, ended: Option<&str>| Billed {
            workspace: WorkspaceId::from_random(id),
            currency: "EUR".into(),
            machine: Machine {
                started_at: at(started),
                ended_at: ended.map(at),
                gross: tariff(7_000),
                net: tariff(6_000),
            },
        };
        let machines = [
            billed(1, "2026-11-20T23:30:00Z", Some("2026-11-21T00:40:00Z")),
            billed(1, "2026-11-21T09:30:00Z", None),
            billed(2, "2026-11-21T09:00:00Z", Some("2026-11-21T09:00:01Z")),
            billed(2, "2026-10-01T09:00:00Z", Some("2026-10-01T09:00:01Z")),
        ];
        let names = BTreeMap::from([(WorkspaceId::from_random(1).to_string(), "app".to_owned())]);
        let now = at("2026-11-21T10:00:00Z");
        let days = Days::parse(None, None, now).unwrap();
        let caps = stands(&CapUsage::default(), &Caps::default());
        let usage = add_up(&machines, &names, days, now, caps);
        let text = |total: &UsageTotal| format!("{}h {}", total.hours, total.gross);
        let by_day: Vec<String> =
            usage.days.iter().map(|day| format!("{} {}", day.day, text(&day.total))).collect();
        assert_eq!(by_day, ["2026-11-20 1h 0.007", "2026-11-21 2h 0.014", "2026-11-21 1h 0.007"]);
        let by_workspace: Vec<String> = usage
            .workspaces
            .iter()
            .map(|row| format!("{:?} {} {}", row.name.as_deref(), row.machines, text(&row.total)))
            .collect();
        assert_eq!(by_workspace, ["Some(\"app\") 2 3h 0.021", "None 1 1h 0.007"]);
        assert_eq!(usage.totals.iter().map(text).collect::<Vec<_>>(), ["4h 0.028"]);
    }
}
