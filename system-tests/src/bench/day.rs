//! What an awake workspace costs a day: counted over a while at the production rhythm, then scaled to a day.
//!
//! Local `workerd` bills nothing, so counts come from where they leave a trace: the Worker's log, the time since the
//! machine was last heard, and commits in the write-ahead logs of the databases.

use super::Bench;
use super::clock::now_ms;
use super::report::{Section, percentile};
use anyhow::{Context, Result};
use serde_json::json;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

const DAY_SECS: f64 = 86_400.0;
/// The Free plan's day: requests (Workers; objects have as many of their own), rows written, object GB-s
/// (<https://developers.cloudflare.com/durable-objects/platform/pricing>).
const BUDGET: [f64; 3] = [100_000.0, 100_000.0, 13_000.0];
/// What an object is billed as, in GB.
const OBJECT_GB: f64 = 0.128;
/// Messages over a WebSocket that are billed as one request.
const MESSAGES_A_REQUEST: f64 = 20.0;
/// Rows that one commit of an object at rest writes at most: the record and its alarm.
const ROWS_A_COMMIT: f64 = 2.0;
/// Workspaces that are to fit on the Free plan, always awake.
const WORKSPACES: f64 = 8.0;
/// Snapshots of a workspace in which something changes all day (every 15 min).
const SNAPSHOTS: f64 = 96.0;

/// Counts while somebody looks once a second.
#[derive(Debug)]
pub struct Day {
    begun: f64,
    last_heard: Option<u64>,
    heartbeats: u32,
    answers: Vec<f64>,
    object: Commits,
    index: Commits,
    spans: Option<Counted>,
    snapshot: Option<(usize, u32, u32)>,
}

#[derive(Debug)]
struct Counted {
    secs: f64,
    requests: usize,
    crons: usize,
    object: u32,
    index: u32,
}

impl Day {
    /// Begins to count.
    pub fn begin(bench: &Bench) -> Self {
        let state = bench.stack.directory().join("worker-state/v3");
        Self {
            begun: now_ms(),
            last_heard: None,
            heartbeats: 0,
            answers: Vec::new(),
            object: Commits::of(&state.join("do")),
            index: Commits::of(&state.join("d1")),
            spans: None,
            snapshot: None,
        }
    }

    /// Looks at the workspace.
    ///
    /// # Errors
    /// Where it is not answered.
    pub fn look(&mut self, bench: &Bench, id: &str) -> Result<()> {
        let asked = now_ms();
        let heard = bench.stack.api.get(id)?.heard_secs_ago;
        self.answers.push(now_ms() - asked);
        // Younger than a second ago: a heartbeat came between.
        if heard.zip(self.last_heard).is_some_and(|(heard, before)| heard < before) {
            self.heartbeats += 1;
        }
        self.last_heard = heard;
        self.object.look();
        self.index.look();
        Ok(())
    }

    /// Ends the count.
    pub fn end(&mut self, bench: &Bench) {
        let lines = bench.log.since(self.begun);
        self.spans = Some(Counted {
            secs: (now_ms() - self.begun) / 1000.0,
            requests: lines.iter().filter(|line| line.is_about("/v1/vm/")).count(),
            crons: lines.iter().filter(|line| line.fields["message"] == "the cron has run").count(),
            object: self.object.count,
            index: self.index.count,
        });
    }

    /// Counts what one snapshot of a small change asks of the Worker.
    ///
    /// # Errors
    /// Where it is not taken.
    pub fn count_snapshot(&mut self, bench: &Bench, id: &str) -> Result<()> {
        let before = bench.stack.api.get(id)?.last_backup.map(|backup| backup.snapshot);
        let (asked, commits) = (now_ms(), (self.object.fresh(), self.index.fresh()));
        let answer =
            bench.stack.api.call("POST", &format!("/v1/workspaces/{id}/snapshots"), Some(&json!({})))?;
        anyhow::ensure!(answer.status < 300, "a snapshot was refused: {}", answer.text());
        bench.stack.api.wait(id, "snapshotted", super::lives::LIMIT, |workspace| {
            workspace.last_backup.as_ref().map(|backup| &backup.snapshot) != before.as_ref()
        })?;
        let requests = bench.log.since(asked).iter().filter(|line| line.is_about("/v1/vm/")).count();
        self.snapshot = Some((requests, self.object.fresh() - commits.0, self.index.fresh() - commits.1));
        Ok(())
    }

    /// The table. An object that was asleep starts up before it acts, which took `start_ms`.
    ///
    /// # Errors
    /// Where the count was not ended.
    pub fn section(&self, heartbeat: Duration, start_ms: f64) -> Result<Section> {
        let counted = self.spans.as_ref().context("the count was not ended")?;
        let scale = DAY_SECS / counted.secs;
        let day = |count: f64| count * scale;
        let heartbeats = day(f64::from(self.heartbeats));
        let (alarm_commits, index) = (day(f64::from(counted.object)), day(f64::from(counted.index)));
        let requests = day(counted.requests as f64);
        let awake_ms = start_ms + percentile(&self.answers, 95);
        let wakes = heartbeats + alarm_commits + requests;
        let gb_secs = wakes * awake_ms / 1000.0 * OBJECT_GB;
        let object_requests = heartbeats / MESSAGES_A_REQUEST + alarm_commits + requests;
        let rows = alarm_commits * ROWS_A_COMMIT;
        let mut section = Section::new(
            "What an awake workspace costs a day",
            &format!(
                "Counted over {:.0} s of one quiet workspace with a heartbeat every {} s, times {scale:.0}; {WORKSPACES} of them \
                 against the Free plan's day.",
                counted.secs,
                heartbeat.as_secs()
            ),
            &["what", "counted", "a day", "8 workspaces", "of the plan"],
        );
        let mut line = |what: &str, counted: String, a_day: f64, budget: f64| {
            let eight = a_day * WORKSPACES;
            let share = format!("{:.1} % of {budget}", eight / budget * 100.0);
            section.row([what.into(), counted, format!("{a_day:.0}"), format!("{eight:.0}"), share]);
        };
        line("requests to the Worker by the machine", counted.requests.to_string(), requests, BUDGET[0]);
        line(
            "requests to the object (messages 20:1, alarms, calls)",
            format!("{} messages, {} alarms or commits", self.heartbeats, counted.object),
            object_requests,
            BUDGET[0],
        );
        line(
            "rows written in the object (≤ 2 a commit)",
            format!("{} commits", counted.object),
            rows,
            BUDGET[1],
        );
        line(
            "rows written in the index (≥ 1 a commit)",
            format!("{} commits", counted.index),
            index,
            BUDGET[1],
        );
        line("object GB-s (derived)", format!("{awake_ms:.1} ms a wake"), gb_secs, BUDGET[2]);
        section.remark(format!(
            "Once for all workspaces together: the cron, {} in this time, 288 a day at every five minutes.",
            counted.crons
        ));
        section.remark(format!(
            "GB-s are derived, not measured: local `workerd` does not report them. Each message, alarm and call counts with its \
             start-up ({start_ms:.1} ms, below) and the 95th percentile of a whole `GET` of the workspace ({:.1} ms), at 128 MB. \
             An object that could not hibernate would cost {:.0} GB-s a day, one alone {:.0} % of the plan.",
            percentile(&self.answers, 95),
            DAY_SECS * OBJECT_GB,
            DAY_SECS * OBJECT_GB / BUDGET[2] * 100.0,
        ));
        if let Some((requests, object, index)) = self.snapshot {
            section.remark(format!(
                "A workspace in which something changes all day adds a snapshot every 15 minutes. One of a small change made {requests} \
                 requests to the Worker, {object} commits in the object and {index} in the index: {:.0} requests and {:.0} commits a \
                 day, {:.1} % and {:.1} % of the plan for one workspace.",
                requests as f64 * SNAPSHOTS,
                f64::from(object) * SNAPSHOTS,
                requests as f64 * SNAPSHOTS / BUDGET[0] * 100.0,
                f64::from(object) * SNAPSHOTS * ROWS_A_COMMIT / BUDGET[1] * 100.0,
            ));
        }
        Ok(section)
    }
}

/// Commits in all SQLite databases of a directory, read from their write-ahead logs.
#[derive(Debug)]
struct Commits {
    directory: PathBuf,
    seen: BTreeMap<PathBuf, (u64, u32)>,
    count: u32,
}

impl Commits {
    fn of(directory: &Path) -> Self {
        let mut commits = Self { directory: directory.to_owned(), seen: BTreeMap::new(), count: 0 };
        commits.look();
        commits.count = 0;
        commits
    }

    /// Looks, and says all commits so far.
    fn fresh(&mut self) -> u32 {
        self.look();
        self.count
    }

    fn look(&mut self) {
        for file in logs_below(&self.directory) {
            let Some((salt, commits)) = std::fs::read(&file).ok().as_deref().and_then(commits_in) else {
                continue;
            };
            let before = self.seen.insert(file, (salt, commits));
            // Another salt: the log was begun anew.
            self.count += match before {
                Some((known, before)) if known == salt => commits.saturating_sub(before),
                Some(_) | None => commits,
            };
        }
    }
}

fn logs_below(directory: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten().map(|entry| entry.path());
    entries
        .flat_map(|path| if path.is_dir() { logs_below(&path) } else { vec![path] })
        .filter(|path| path.to_string_lossy().ends_with("-wal"))
        .collect()
}

/// The salt of a write-ahead log and how many commits it holds (<https://sqlite.org/fileformat2.html#the_write_ahead_log>).
fn commits_in(log: &[u8]) -> Option<(u64, u32)> {
    let number = |at: usize| Some(u32::from_be_bytes(log.get(at..at + 4)?.try_into().ok()?));
    let page = usize::try_from(number(8)?).ok()?;
    let salt = log.get(16..24)?;
    let frames = (32..).step_by(24 + page).map_while(|at| log.get(at..at + 24 + page));
    let own = frames.take_while(|frame| frame.get(8..16) == Some(salt));
    let commits = own.filter(|frame| frame.get(4..8) != Some(&[0; 4])).count();
    Some((u64::from_be_bytes(salt.try_into().ok()?), u32::try_from(commits).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commits_are_frames_with_the_logs_salt_that_say_a_size() {
        let mut log = vec![0; 32];
        log[8..12].copy_from_slice(&512_u32.to_be_bytes());
        log[16..24].copy_from_slice(b"saltsalt");
        for (size, salt) in [(0_u32, b"saltsalt"), (2, b"saltsalt"), (3, b"saltsalt"), (9, b"oldsalt!")] {
            let mut frame = vec![0; 24 + 512];
            frame[4..8].copy_from_slice(&size.to_be_bytes());
            frame[8..16].copy_from_slice(salt);
            log.extend(frame);
        }
        assert_eq!(commits_in(&log).map(|(_, commits)| commits), Some(2));
        assert_eq!(commits_in(&[]), None);
    }
}
