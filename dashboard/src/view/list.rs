//! The overview: every workspace in a line, and what it costs at worst.

use crate::text::{self, Sentence, Time};
use crate::view::workspace::{self, RepoView, repository};
use crate::view::{StateView, at_rest, sentence, state};
use ebbtide_api::Timestamp;
use ebbtide_api::usage::UsageCaps;
use ebbtide_api::workspace::{State, Workspace, WorkspaceSummary};

/// The overview, ready to show.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListView {
    /// `2 awake, 3 at rest`; empty where there are none.
    pub summary: String,
    /// How much of the caps is used, where that is known.
    pub spending: Option<String>,
    /// Newest first.
    pub rows: Vec<RowView>,
    /// Where the next page is.
    pub next: Option<String>,
    /// Where this page is, for its own refresh.
    pub here: String,
    /// How often it may be refreshed, in milliseconds; 0: when somebody looks at it again.
    pub refresh_ms: u32,
}

/// How often an overview is refreshed while something in it changes by itself. A refresh asks every workspace on the
/// page, so there is none while nothing moves.
const REFRESH_MS: u32 = 5000;

/// A workspace in a line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RowView {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// What is cloned.
    pub repo: Option<RepoView>,
    /// Its state.
    pub state: StateView,
    /// When it entered that state; `relative` is how long ago.
    pub since: Time,
    /// Why.
    pub because: Sentence,
    /// When the last backup was verified, where that is known.
    pub backup: Option<Time>,
    /// What its machine costs at worst, while it may have one.
    pub cost: Option<String>,
    /// Its size.
    pub size: String,
}

/// One workspace as the index knows it and, where its object answered, as that knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// From the index.
    pub summary: WorkspaceSummary,
    /// From the object.
    pub full: Option<Workspace>,
}

/// Shows the overview. What the object says wins over the index, which may be a moment older.
pub fn list(entries: &[Entry], here: String, next: Option<String>, now: Timestamp) -> ListView {
    let rows: Vec<_> = entries.iter().map(|entry| row(entry, now)).collect();
    let resting = entries.iter().filter(|entry| at_rest(current(entry))).count();
    let summary = match (entries.len() - resting, resting) {
        (0, 0) => String::new(),
        (0, resting) => format!("{resting} at rest, no machine runs"),
        (awake, 0) => format!("{awake} awake"),
        (awake, resting) => format!("{awake} awake, {resting} at rest"),
    };
    let moves = rows.iter().any(|row| matches!(row.state.tone, "moving" | "ending"));
    ListView { summary, spending: None, rows, next, here, refresh_ms: if moves { REFRESH_MS } else { 0 } }
}

impl ListView {
    /// Adds how much of the caps is used.
    #[must_use]
    pub fn with_caps(self, caps: Option<&UsageCaps>) -> Self {
        Self { spending: caps.map(spending), ..self }
    }
}

/// `2 of 8 machines. Today €0.41 (at most €0.61) of €10. This month €3.10 of €100.`
fn spending(caps: &UsageCaps) -> String {
    let currency = caps.currency.as_deref().unwrap_or_default();
    let money = |amount: &str| text::money(amount, currency);
    let of =
        |cap: Option<&str>| cap.map_or_else(String::new, |cap| format!(" of {}", text::bound(cap, currency)));
    let (day, month) = (&caps.day, &caps.month);
    // What is reserved is spent at worst.
    let at_most = text::sum(&day.spent, &day.reserved).filter(|most| money(most) != money(&day.spent));
    let at_most = at_most.map_or_else(String::new, |most| format!(" (at most {})", money(&most)));
    let machines = match caps.machines.cap {
        Some(cap) => format!("{} of {cap} machines", caps.machines.used),
        None => text::plural(caps.machines.used, "machine", "machines"),
    };
    format!(
        "{machines}. Today {}{at_most}{}. This month {}{}.",
        money(&day.spent),
        of(day.cap.as_deref()),
        money(&month.spent),
        of(month.cap.as_deref())
    )
}

fn current(entry: &Entry) -> State {
    entry.full.as_ref().map_or(entry.summary.state, |full| full.state)
}

/// Why it is as it is, as its own page says it.
fn because(entry: &Entry, now: Timestamp) -> Sentence {
    match &entry.full {
        Some(full) => workspace::because(full, now),
        None => text::pieces(&sentence(&entry.summary.line), now),
    }
}

fn row(entry: &Entry, now: Timestamp) -> RowView {
    let Entry { summary, full } = entry;
    let full = full.as_ref();
    RowView {
        id: summary.id.to_string(),
        name: summary.name.clone(),
        repo: summary
            .repo
            .as_deref()
            .map(|repo| repository(repo, full.and_then(|full| full.branch.as_deref()))),
        state: state(current(entry)),
        since: text::passed(full.map_or(summary.since, |full| full.since), now),
        because: because(entry, now),
        backup: full
            .and_then(|full| full.last_backup.as_ref())
            .map(|backup| text::time(backup.verified_at, now)),
        cost: full
            .filter(|full| !at_rest(full.state))
            .and_then(|full| full.worst_case.as_ref())
            .map(text::cost),
        size: full.map_or_else(|| summary.size.clone(), |full| full.size.clone()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ebbtide_api::usage::{UsageCount, UsageSpending};

    #[test]
    fn the_overview_says_how_much_of_the_caps_is_used() {
        let spent = |spent: &str, cap: Option<&str>| UsageSpending {
            spent: spent.into(),
            reserved: "0.20".into(),
            cap: cap.map(Into::into),
        };
        let mut caps = UsageCaps {
            workspaces: UsageCount { used: 3, cap: Some(20) },
            machines: UsageCount { used: 2, cap: Some(8) },
            day: spent("0.41", Some("10.00")),
            month: spent("3.10", Some("100.00")),
            currency: Some("EUR".into()),
        };
        assert_eq!(
            spending(&caps),
            "2 of 8 machines. Today €0.41 (at most €0.61) of €10. This month €3.10 of €100."
        );
        caps.machines = UsageCount { used: 1, cap: None };
        caps.month.cap = None;
        caps.currency = None;
        assert_eq!(spending(&caps), "1\u{a0}machine. Today 0.41 (at most 0.61) of 10. This month 3.10.");
    }
}
