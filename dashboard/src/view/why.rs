//! Why a workspace is awake: the machine's own `Why` in words.

use crate::text::{self, Sentence};
use crate::view::sentence;
use ebbtide_api::Timestamp;
use ebbtide_api::backups::Persistence;
use ebbtide_api::why::{Budget, Keeping, Signal, SignalState, Verdict, Why};

/// The panel that says why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WhyView {
    /// "Why it is awake", until it is not any more.
    pub title: &'static str,
    /// `Active`, `Quiet`, …
    pub verdict: &'static str,
    /// Colours it: `awake`, `moving`, `asleep` or `trouble`.
    pub tone: &'static str,
    /// For how long the verdict has stood.
    pub since: String,
    /// Reasons, most important first.
    pub because: Vec<Sentence>,
    /// When it sleeps if nothing changes.
    pub sleeps: String,
    /// Every signal.
    pub signals: Vec<SignalView>,
    /// Bounds and their use.
    pub budgets: Vec<BudgetView>,
    /// What else keeps it awake: claims that the machine counts and the page does not list under its holds.
    pub leases: Vec<LeaseView>,
    /// How much is in no backup yet.
    pub keeping: Option<String>,
}

/// One signal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignalView {
    /// What is looked at.
    pub name: String,
    /// `active`, `quiet`, `unreadable` or `absent`.
    pub tone: &'static str,
    /// The state in words.
    pub word: String,
    /// What it saw.
    pub detail: String,
}

/// One bound.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BudgetView {
    /// What it bounds.
    pub name: String,
    /// `4m of 30m`.
    pub detail: String,
    /// 0 to 100.
    pub percent: u8,
}

/// One claim.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeaseView {
    /// Who took it.
    pub source: String,
    /// Why.
    pub reason: String,
    /// When it ends by itself.
    pub ends: String,
}

/// Shows why a workspace is awake.
pub fn why(why: &Why, now: Timestamp) -> WhyView {
    let (verdict, tone) = match why.verdict {
        Verdict::Active => ("Active", "awake"),
        Verdict::Quiet => ("Quiet", "asleep"),
        Verdict::WaitingForHuman => ("Waiting for you", "moving"),
        Verdict::Held => ("Held", "awake"),
        Verdict::Unknown => ("Unknown", "trouble"),
        Verdict::Idle => ("Idle", "ending"),
    };
    WhyView {
        title: if why.verdict == Verdict::Idle { "Why it goes to sleep" } else { "Why it is awake" },
        verdict,
        tone,
        since: format!("for {}", text::seconds(why.since_secs)),
        because: why.because.iter().map(|reason| text::pieces(&sentence(reason), now)).collect(),
        sleeps: sleeps(why),
        signals: why.signals.iter().map(signal).collect(),
        budgets: why.budgets.iter().filter(|budget| budget.total_secs > 0).map(budget).collect(),
        leases: why
            .leases
            .iter()
            .map(|lease| LeaseView {
                source: lease.source.clone(),
                reason: lease.reason.clone(),
                ends: format!("ends in {}", text::seconds(lease.expires_in_secs)),
            })
            .collect(),
        keeping: why.keeping.as_ref().and_then(keeping),
    }
}

fn keeping(keeping: &Keeping) -> Option<String> {
    let estimate = keeping.estimate.filter(|_| keeping.persistence == Persistence::Backup);
    let backup = estimate.map(|estimate| {
        format!(
            "Not yet backed up: {}{} of {}.",
            if estimate.at_least { "at least " } else { "" },
            text::bytes(estimate.new_bytes),
            text::bytes(estimate.bytes)
        )
    });
    let disk = keeping.disk.map(|disk| format!("Make room: {}.", disk.words()));
    let said: Vec<String> = backup.into_iter().chain(disk).collect();
    (!said.is_empty()).then(|| said.join(" "))
}

/// When it sleeps, a sentence.
fn sleeps(why: &Why) -> String {
    match (why.verdict, why.sleeps_in_secs) {
        (Verdict::Idle, _) | (_, Some(0)) => "Goes to sleep now.".to_owned(),
        (_, Some(secs)) => format!("Sleeps in {} if nothing changes.", text::seconds(secs)),
        (_, None) => "Stays awake while this goes on.".to_owned(),
    }
}

fn signal(signal: &Signal) -> SignalView {
    let (tone, word) = match (signal.state, signal.quiet_for_secs) {
        (SignalState::Active, _) => ("active", "active".to_owned()),
        (SignalState::Quiet, Some(secs)) => ("quiet", format!("quiet for {}", text::seconds(secs))),
        (SignalState::Quiet, None) => ("quiet", "quiet".to_owned()),
        (SignalState::Unreadable, _) => ("unreadable", "unknown".to_owned()),
        (SignalState::Absent, _) => ("absent", "none".to_owned()),
    };
    SignalView { name: words(&signal.name), tone, word, detail: sentence(&signal.detail) }
}

fn budget(budget: &Budget) -> BudgetView {
    let used = budget.used_secs.min(budget.total_secs);
    let percent = (u128::from(used) * 100).checked_div(u128::from(budget.total_secs)).unwrap_or(100);
    BudgetView {
        name: words(&budget.name),
        detail: format!("{} of {}", text::seconds(used), text::seconds(budget.total_secs)),
        percent: u8::try_from(percent).unwrap_or(100),
    }
}

/// `waiting_for_human` as people write it.
fn words(name: &str) -> String {
    let spaced = name.replace(['_', '-'], " ");
    let mut chars = spaced.chars();
    chars.next().map_or_else(String::new, |first| format!("{}{}", first.to_uppercase(), chars.as_str()))
}
