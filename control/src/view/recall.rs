//! What a machine said last, as it stands now, from what outlives an object's memory: a row that is written where a person
//! would see a difference, and the few bytes that its socket carries.
//!
//! An object forgets ten seconds after the last call, and a heartbeat comes every fifteen. Times in a heartbeat are durations
//! of the moment in which it was sent, so they are told on from there.

use ebbtide_api::Timestamp;
use ebbtide_api::backups::BackupProgress;
use ebbtide_api::vm::Heartbeat;
use ebbtide_api::why::{Verdict, Why};
use serde::{Deserialize, Serialize};

/// Most bytes of reasons in a gist: a socket carries 2 kB in all, in which each unit of UTF-16 may take two, and what
/// holds a reason a few.
const REASONS_BYTES: usize = 1_200;
/// Bytes of what holds a reason.
const REASON_HOLDS_BYTES: usize = 8;
/// Progress of a backup is shown for so long after it was said, in seconds.
const PROGRESS_SECS: u64 = 60;

/// A heartbeat, and when it came. Its JSON is stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SaidHeartbeat {
    /// When. Absent in rows of earlier versions.
    #[serde(default, rename = "heard_at", skip_serializing_if = "Option::is_none")]
    pub at: Option<Timestamp>,
    /// What was said, without its log.
    #[serde(flatten)]
    pub heartbeat: Heartbeat,
}

/// What changes from one heartbeat to the next, as small as a socket can carry it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gist {
    verdict: Verdict,
    because: Vec<String>,
    since_secs: u64,
    sleeps_in_secs: Option<u64>,
    backup: Option<BackupProgress>,
}

impl Gist {
    /// Of a heartbeat that says why its machine is awake.
    pub fn of(heartbeat: &Heartbeat) -> Option<Self> {
        let why = heartbeat.why.as_ref()?;
        let mut left = REASONS_BYTES;
        let fitting = why.because.iter().take_while(|reason| {
            let bytes = 2 * reason.encode_utf16().count() + REASON_HOLDS_BYTES;
            let fits = bytes <= left;
            left = left.saturating_sub(bytes);
            fits
        });
        Some(Self {
            verdict: why.verdict,
            because: fitting.cloned().collect(),
            since_secs: why.since_secs,
            sleeps_in_secs: why.sleeps_in_secs,
            backup: heartbeat.backup.clone().filter(|backup| backup.phase.len() <= 40),
        })
    }
}

/// What was said, told on to now; `latest` is what the socket has carried since.
pub fn recall(said: SaidHeartbeat, latest: Option<(Timestamp, Gist)>, now: Timestamp) -> Heartbeat {
    let SaidHeartbeat { at, mut heartbeat } = said;
    let age_secs = at.map_or(0, |at| secs(at, now));
    heartbeat.why = heartbeat.why.map(|why| later(why, age_secs));
    heartbeat.backup = heartbeat.backup.filter(|_| age_secs <= PROGRESS_SECS);
    let newer = latest.filter(|(latest, _)| at.is_none_or(|at| *latest > at));
    if let Some((said_at, gist)) = newer {
        let age_secs = secs(said_at, now);
        if let Some(why) = &mut heartbeat.why {
            why.verdict = gist.verdict;
            // A machine always has a reason: where none was short enough to be carried, the last that is known stays.
            if !gist.because.is_empty() {
                why.because = gist.because;
            }
            why.since_secs = gist.since_secs.saturating_add(age_secs);
            why.sleeps_in_secs = gist.sleeps_in_secs.map(|secs| secs.saturating_sub(age_secs));
        }
        heartbeat.backup = gist.backup.filter(|_| age_secs <= PROGRESS_SECS);
    }
    heartbeat
}

/// The same after so many seconds in which nothing new was heard.
fn later(mut why: Why, secs: u64) -> Why {
    why.since_secs = why.since_secs.saturating_add(secs);
    why.sleeps_in_secs = why.sleeps_in_secs.map(|left| left.saturating_sub(secs));
    for signal in &mut why.signals {
        signal.quiet_for_secs = signal.quiet_for_secs.map(|quiet| quiet.saturating_add(secs));
    }
    why.leases.retain_mut(|lease| {
        lease.expires_in_secs = lease.expires_in_secs.saturating_sub(secs);
        lease.expires_in_secs > 0 || secs == 0
    });
    for budget in &mut why.budgets {
        budget.used_secs = budget.used_secs.saturating_add(secs).min(budget.total_secs);
    }
    why
}

fn secs(from: Timestamp, to: Timestamp) -> u64 {
    u64::try_from(to.duration_since(from).as_secs()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(secs: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + secs).unwrap()
    }

    fn heartbeat(because: &str, sleeps_in_secs: u64) -> Heartbeat {
        let json = format!(
            r#"{{"why":{{"verdict":"quiet","because":["{because}"],"since_secs":60,"sleeps_in_secs":{sleeps_in_secs},
            "signals":[{{"name":"http","state":"quiet","quiet_for_secs":60,"detail":"d"}}],
            "leases":[{{"id":"a","source":"hold","reason":"r","expires_in_secs":100}}],
            "budgets":[{{"name":"idle_timeout","total_secs":1800,"used_secs":60}}]}},
            "backup":{{"phase":"upload","bytes_done":1,"bytes_total":2,"files_done":1,"rate":1}}}}"#
        );
        serde_json::from_str(&json).unwrap()
    }

    fn said(secs: i64) -> SaidHeartbeat {
        SaidHeartbeat { at: Some(at(secs)), heartbeat: heartbeat("nothing happens", 1_740) }
    }

    #[test]
    fn countdowns_go_on_while_nothing_is_heard() {
        let why = recall(said(0), None, at(600)).why.unwrap();
        assert_eq!((why.since_secs, why.sleeps_in_secs), (660, Some(1_140)));
        assert_eq!(why.signals[0].quiet_for_secs, Some(660));
        assert_eq!(why.leases, [], "it has ended");
        assert_eq!(why.budgets[0].used_secs, 660);
        let long_after = recall(said(0), None, at(9_000)).why.unwrap();
        assert_eq!((long_after.sleeps_in_secs, long_after.budgets[0].used_secs), (Some(0), 1_800));
    }

    #[test]
    fn what_the_socket_carried_is_newer_than_the_row() {
        let gist = Gist::of(&heartbeat("a key was pressed", 1_790)).unwrap();
        let heartbeat = recall(said(0), Some((at(900), gist.clone())), at(910));
        let why = heartbeat.why.unwrap();
        assert_eq!((why.because, why.sleeps_in_secs), (vec!["a key was pressed".to_owned()], Some(1_780)));
        assert!(heartbeat.backup.is_some(), "its progress is of ten seconds ago");
        assert_eq!(recall(said(0), None, at(61)).backup, None, "and this one is old");
        let older = recall(said(0), Some((at(-5), gist)), at(10)).why.unwrap();
        assert_eq!(older.because, ["nothing happens"]);
    }

    #[test]
    fn a_gist_fits_into_what_a_socket_carries() {
        let said = heartbeat("x", 1);
        let fitting = |because: Vec<String>| {
            let mut said = said.clone();
            said.why.as_mut().unwrap().because = because;
            Gist::of(&said).unwrap()
        };
        let gist = fitting(vec!["r".repeat(500), "s".repeat(500), "t".to_owned()]);
        assert_eq!(gist.because, ["r".repeat(500)]);
        assert_eq!(fitting(vec!["→".repeat(601)]).because, [""; 0], "a reason of two bytes a letter");
        assert_eq!(fitting(vec![String::new(); 10_000]).because.len(), 150);
        assert!(serde_json::to_string(&gist).unwrap().encode_utf16().count() < 1_000);
        assert_eq!(Gist::of(&Heartbeat::default()), None);
    }

    #[test]
    fn the_row_is_pinned_and_one_of_an_earlier_version_is_read() {
        let text = serde_json::to_string(&SaidHeartbeat { at: Some(at(0)), heartbeat: Heartbeat::default() })
            .unwrap();
        assert!(
            text.starts_with(r#"{"heard_at":"2027-01-15T08:00:00Z","generation":null,"ready":false,"#),
            "{text}"
        );
        let earlier = serde_json::to_string(&heartbeat("before", 1)).unwrap();
        let read: SaidHeartbeat = serde_json::from_str(&earlier).unwrap();
        assert_eq!(read, SaidHeartbeat { at: None, heartbeat: heartbeat("before", 1) });
    }
}
