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
    counted: Option<Counted>,
    snapshot: Option<Counted>,
}

#[derive(Debug)]
struct Counted {
    secs: f64,
    /// Requests of the machine.
    requests: usize,
    /// Statements that they sent to the index.
    statements: u32,
    crons: usize,
    /// Commits of the object's own database.
    saves: u32,
    /// Times that an alarm was set or fired.
    alarms: u32,
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
            counted: None,
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
        Ok(())
    }

    /// Ends the count.
    pub fn end(&mut self, bench: &Bench) {
        self.counted = Some(self.count(bench, self.begun, (0, 0)));
    }

    /// Counts what one snapshot of a small change asks of the Worker.
    ///
    /// # Errors
    /// Where it is not taken.
    pub fn count_snapshot(&mut self, bench: &Bench, id: &str) -> Result<()> {
        let before = bench.stack.api.get(id)?.last_backup.map(|backup| backup.snapshot);
        self.object.look();
        let (asked, commits) = (now_ms(), self.object.count);
        let answer =
            bench.stack.api.call("POST", &format!("/v1/workspaces/{id}/snapshots"), Some(&json!({})))?;
        anyhow::ensure!(answer.status < 300, "a snapshot was refused: {}", answer.text());
        bench.stack.api.wait(id, "snapshotted", super::lives::LIMIT, |workspace| {
            workspace.last_backup.as_ref().map(|backup| &backup.snapshot) != before.as_ref()
        })?;
        self.snapshot = Some(self.count(bench, asked, commits));
        Ok(())
    }

    fn count(&mut self, bench: &Bench, since: f64, before: (u32, u32)) -> Counted {
        self.object.look();
        let lines = bench.log.since(since);
        let machine = || lines.iter().filter(|line| line.is_about("/v1/vm/"));
        Counted {
            secs: (now_ms() - since) / 1000.0,
            requests: machine().count(),
            statements: machine().filter_map(|line| Some(line.invocation()?.1.d1)).sum(),
            crons: lines.iter().filter(|line| line.fields["message"] == "the cron has run").count(),
            saves: self.object.count.0 - before.0,
            alarms: self.object.count.1 - before.1,
        }
    }

    /// The table. An object that was asleep starts up before it acts, which took `start_ms`.
    ///
    /// # Errors
    /// Where the count was not ended.
    pub fn section(&self, heartbeat: Duration, start_ms: f64) -> Result<Section> {
        let Counted { secs, requests, statements, crons, saves, alarms } =
            *self.counted.as_ref().context("the count was not ended")?;
        let day = |count: f64| count * DAY_SECS / secs;
        let (messages, sets) = (day(f64::from(self.heartbeats)), day(f64::from(alarms)));
        let (calls, rows) = (day(requests as f64), day(f64::from(saves)) + sets);
        let answer_ms = percentile(&self.answers, 95);
        let gb_secs = (messages + sets + calls) * (start_ms + answer_ms) / 1000.0 * OBJECT_GB;
        let mut section = Section::new(
            "What an awake workspace costs a day",
            &format!(
                "Counted over {secs:.0} s of one quiet workspace at the production rhythm (a heartbeat every {} s), scaled to a day; \
                 {WORKSPACES} always awake, against the Free plan's day.",
                heartbeat.as_secs()
            ),
            &["what", "counted", "a day", "8 of them", "of the plan"],
        );
        let mut line = |what: &str, counted: String, a_day: f64, budget: f64| {
            let eight = a_day * WORKSPACES;
            let share = format!("{:.1} % of {budget}", eight / budget * 100.0);
            section.row([what.into(), counted, format!("{a_day:.0}"), format!("{eight:.0}"), share]);
        };
        line("requests to the Worker", requests.to_string(), calls, BUDGET[0]);
        let counted = format!("{} messages, {alarms} alarms set", self.heartbeats);
        let billed = messages / MESSAGES_A_REQUEST + sets + calls;
        line("requests to the object, messages 20:1", counted, billed, BUDGET[0]);
        line("rows written in the object", format!("{saves} saved, {alarms} alarms set"), rows, BUDGET[1]);
        line("statements to the index", statements.to_string(), day(f64::from(statements)), BUDGET[1]);
        line("object GB-s (derived)", format!("{:.1} ms a time", start_ms + answer_ms), gb_secs, BUDGET[2]);
        section.remark(format!(
            "Once for all workspaces: the cron, {crons} in this time, 288 a day. The object writes to the index only when the \
             workspace's state changes, which it did not."
        ));
        section.remark(format!(
            "Rows are commits in the object's database and in the local runtime's database of alarms; each writes one row here. GB-s \
             are derived, because local `workerd` does not report them: each message, alarm and call counts with a start-up after \
             hibernation ({start_ms:.1} ms) and the 95th percentile of a whole `GET` of the workspace ({answer_ms:.1} ms), at \
             128 MB. An object that could not hibernate would cost {:.0} GB-s a day, {:.0} % of the plan for one.",
            DAY_SECS * OBJECT_GB,
            DAY_SECS * OBJECT_GB / BUDGET[2] * 100.0,
        ));
        if let Some(snapshot) = &self.snapshot {
            let requests = snapshot.requests as f64 * SNAPSHOTS;
            let rows = f64::from(snapshot.saves + snapshot.alarms) * SNAPSHOTS;
            section.remark(format!(
                "A workspace in which something changes all day adds a snapshot every 15 minutes. One of a small change made {} \
                 requests, {} commits and {} settings of the alarm: {requests:.0} requests and {rows:.0} rows a day, {:.1} % and {:.1} % of \
                 the plan for one workspace, {:.0} % and {:.0} % for eight.",
                snapshot.requests,
                snapshot.saves,
                snapshot.alarms,
                requests / BUDGET[0] * 100.0,
                rows / BUDGET[1] * 100.0,
                requests * WORKSPACES / BUDGET[0] * 100.0,
                rows * WORKSPACES / BUDGET[1] * 100.0,
            ));
        }
        Ok(section)
    }
}

/// Commits in the objects' databases, read from their write-ahead logs: of their own, and of the alarms, which the local
/// runtime keeps in a database beside them.
#[derive(Debug)]
struct Commits {
    directory: PathBuf,
    seen: BTreeMap<PathBuf, (u64, u32)>,
    count: (u32, u32),
}

impl Commits {
    fn of(directory: &Path) -> Self {
        let mut commits = Self { directory: directory.to_owned(), seen: BTreeMap::new(), count: (0, 0) };
        commits.look();
        commits.count = (0, 0);
        commits
    }

    fn look(&mut self) {
        for file in logs_below(&self.directory) {
            let read = std::fs::read(&file).ok();
            let Some((salt, commits)) = read.as_deref().and_then(commits_in) else { continue };
            let of_alarms = file.to_string_lossy().ends_with("/metadata.sqlite-wal");
            // Another salt: the log was begun anew.
            let new = match self.seen.insert(file, (salt, commits)) {
                Some((known, before)) if known == salt => commits.saturating_sub(before),
                Some(_) | None => commits,
            };
            *(if of_alarms { &mut self.count.1 } else { &mut self.count.0 }) += new;
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
