//! Why a machine is awake and when it will sleep: one structure for agent, API, dashboard and command line.
//!
//! The idle-agent makes it, everybody else shows it. `because` holds sentences ready for a person; the fields beside
//! it are for scripts. Times in it are durations measured by the machine, never its wall clock.

use crate::backups::Persistence;
use crate::text::seconds;
use serde::{Deserialize, Serialize};

/// What the idle-agent concludes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum Verdict {
    /// Somebody or something works.
    Active,
    /// Nothing has happened lately, but not for long enough yet.
    Quiet,
    /// An agent waits for a person, within its own budget.
    WaitingForHuman,
    /// A lease keeps the machine awake.
    Held,
    /// A signal cannot be read; held for a bounded grace.
    Unknown,
    /// Nothing goes on any more: back up and sleep.
    Idle,
}

impl Verdict {
    /// As people say it.
    pub const fn words(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Quiet => "quiet",
            Self::WaitingForHuman => "waiting for a person",
            Self::Held => "held",
            Self::Unknown => "unknown",
            Self::Idle => "idle",
        }
    }
}

/// How one kind of evidence stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum SignalState {
    /// It shows activity now.
    Active,
    /// It can be read and shows none.
    Quiet,
    /// It cannot be read.
    Unreadable,
    /// There is nothing of its kind here.
    Absent,
}

/// One signal and what it says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Signal {
    /// `agent_progress`, `presence`, `http`, `leases`, …
    pub name: String,
    /// How it stands.
    pub state: SignalState,
    /// Seconds since it last showed activity, where it ever did.
    pub quiet_for_secs: Option<u64>,
    /// What it saw, for a person.
    pub detail: String,
}

/// A claim with an expiry that keeps the workspace awake.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Lease {
    /// Names it for release.
    pub id: String,
    /// Who took it: `hold`, `keep-alive`, `hook`, `api`.
    pub source: String,
    /// Why, in the taker's words.
    pub reason: String,
    /// Seconds until it ends by itself.
    pub expires_in_secs: u64,
}

/// A bound that the verdict respects and how much of it is used.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Budget {
    /// `idle_timeout`, `waiting_for_human`, `unknown_grace`, `lifetime`.
    pub name: String,
    /// Its whole length in seconds.
    pub total_secs: u64,
    /// How much of it has passed, in seconds.
    pub used_secs: u64,
}

/// What a backup taken now would be like: an estimate, made by looking at names and sizes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct BackupEstimate {
    /// Bytes of all files in it.
    pub bytes: u64,
    /// Bytes of the files that changed since the last backup; what is sent is compressed and so mostly less.
    pub new_bytes: u64,
    /// How long it would take, in seconds, at the rate of earlier ones.
    pub secs: u64,
    /// Set where not everything could be looked at in time: there is more.
    #[serde(default)]
    pub at_least: bool,
    /// How long a wake would take to bring all files back, in seconds, at the rate of the last one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restore_secs: Option<u64>,
}

/// What becomes of the files when the machine goes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Keeping {
    /// `none`: they go with the machine, as was chosen when the workspace was created.
    pub persistence: Persistence,
    /// What a backup taken now would be like, once the machine has looked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub estimate: Option<BackupEstimate>,
    /// How full the disk is; said from [`NEARLY_FULL_PERCENT`] on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disk: Option<DiskUse>,
}

/// From here on it is said how full the disk is.
pub const NEARLY_FULL_PERCENT: u8 = 90;

/// How much of the disk is used up for everybody but root.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct DiskUse {
    /// Of its bytes, in percent.
    pub space_percent: u8,
    /// Of its inodes, in percent: so many files there can be, whatever their size.
    pub files_percent: u8,
}

impl DiskUse {
    /// What is nearly used up, as a clause for a person.
    pub fn words(self) -> String {
        let Self { space_percent, files_percent } = self;
        if files_percent > space_percent {
            format!("the disk holds {files_percent}% of all files that it can hold")
        } else {
            format!("the disk is {space_percent}% full")
        }
    }
}

/// Why the workspace is awake, and when it will sleep.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Why {
    /// The conclusion.
    pub verdict: Verdict,
    /// The reasons, most important first, each a sentence.
    pub because: Vec<String>,
    /// Seconds for which the verdict has stood.
    pub since_secs: u64,
    /// Seconds until the machine sleeps if nothing changes; `null` while something is active.
    pub sleeps_in_secs: Option<u64>,
    /// What every signal says.
    pub signals: Vec<Signal>,
    /// Claims in force.
    pub leases: Vec<Lease>,
    /// Bounds and their use.
    pub budgets: Vec<Budget>,
    /// What becomes of the files; absent from machines that do not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keeping: Option<Keeping>,
}

impl Why {
    /// All of it in one line, which everybody who shows a `Why` shows first: the verdict, its reasons, and what comes.
    pub fn line(&self) -> String {
        let sleeps = match self.sleeps_in_secs {
            Some(0) => "sleeps now".to_owned(),
            Some(secs) => format!("sleeps in {} if nothing changes", seconds(secs)),
            None => "stays awake while this lasts".to_owned(),
        };
        let (verdict, since) = (self.verdict.words(), seconds(self.since_secs));
        let because = self.because.join("; ");
        // Nobody's words break the line in two.
        let words = because.split_whitespace().collect::<Vec<_>>().join(" ");
        let disk = self.keeping.as_ref().and_then(|keeping| keeping.disk);
        let disk = disk.map_or(String::new(), |disk| format!("; {}", disk.words()));
        format!("{verdict} for {since}: {words}; {sleeps}{disk}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_says_why_it_is_awake_and_when_it_sleeps() {
        let why = |verdict, because: &str, sleeps_in_secs| Why {
            verdict,
            because: vec![because.into(), "claude (20) parked".into()],
            since_secs: 240,
            sleeps_in_secs,
            signals: vec![],
            leases: vec![],
            budgets: vec![],
            keeping: None,
        };
        let table = [
            (
                why(Verdict::Active, "cargo works", None),
                "active for 4m: cargo works; claude (20) parked; stays awake while this lasts",
            ),
            (
                why(Verdict::Held, "held for another 1h: a\nb", Some(3600)),
                "held for 4m: held for another 1h: a b; claude (20) parked; sleeps in 1h if nothing changes",
            ),
            (
                why(Verdict::Idle, "nothing has happened for 30m", Some(0)),
                "idle for 4m: nothing has happened for 30m; claude (20) parked; sleeps now",
            ),
        ];
        for (why, line) in table {
            assert_eq!(why.line(), line);
        }
    }

    #[test]
    fn a_disk_that_is_nearly_full_is_in_the_line() {
        let words = |space_percent, files_percent| DiskUse { space_percent, files_percent }.words();
        assert_eq!(words(93, 40), "the disk is 93% full");
        assert_eq!(words(93, 97), "the disk holds 97% of all files that it can hold");
        let keeping = r#"{"persistence":"backup","disk":{"space_percent":93,"files_percent":40}}"#;
        let why = format!(
            r#"{{"verdict":"active","because":["a"],"since_secs":5,"sleeps_in_secs":null,"signals":[],"leases":[],"budgets":[],"keeping":{keeping}}}"#
        );
        let why: Why = serde_json::from_str(&why).unwrap();
        assert_eq!(why.line(), "active for 5s: a; stays awake while this lasts; the disk is 93% full");
        assert_eq!(serde_json::to_string(&why.keeping).unwrap(), keeping);
    }

    #[test]
    fn the_shape_is_pinned_because_agents_of_older_workspaces_send_it() {
        let why = Why {
            verdict: Verdict::WaitingForHuman,
            because: vec!["claude asks a question".into()],
            since_secs: 5,
            sleeps_in_secs: Some(60),
            signals: vec![Signal {
                name: "presence".into(),
                state: SignalState::Quiet,
                quiet_for_secs: Some(5),
                detail: "no input".into(),
            }],
            leases: vec![],
            budgets: vec![],
            keeping: None,
        };
        assert_eq!(
            serde_json::to_string(&why).unwrap(),
            r#"{"verdict":"waiting_for_human","because":["claude asks a question"],"since_secs":5,"sleeps_in_secs":60,"signals":[{"name":"presence","state":"quiet","quiet_for_secs":5,"detail":"no input"}],"leases":[],"budgets":[]}"#
        );
    }
}
