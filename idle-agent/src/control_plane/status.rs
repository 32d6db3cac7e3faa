//! The machine's status: everything the next heartbeat will say, written by the parts that know it and read by
//! `websocket`.
//!
//! Writing never waits for the network. What a person waits for wakes the sender, so that it is told at once.

use crate::os::mutex::lock;
use crate::os::secret::Redactor;
use ebbtide_api::Generation;
use ebbtide_api::backups::BackupProgress;
use ebbtide_api::ports::Port;
use ebbtide_api::vm::{DrainPhase, Heartbeat, OutOfMemory};
use ebbtide_api::why::Why;
use ebbtide_api::workspace::BootStep;
use std::collections::VecDeque;
use std::os::unix::net::UnixStream;
use std::sync::Mutex;

/// Most log lines that wait for the control plane; older ones are dropped, and counted.
const LOG_LINES: usize = 500;
/// Longest log line in bytes.
const LOG_LINE_BYTES: usize = 4096;
/// Most bytes of log in one heartbeat: written as JSON they are at most six times as many, and the control plane takes
/// messages of 256 KiB.
const LOG_BYTES_EACH: usize = 32 << 10;

/// How soon a change is to be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Urgency {
    /// With the next heartbeat.
    Whenever,
    /// Within a second: progress somebody watches.
    Soon,
    /// At once: a change somebody waits for.
    Now,
}

/// What the heartbeat is made of.
#[derive(Debug, Default)]
pub struct StatusFacts {
    /// Whether the boot plan is through.
    pub ready: bool,
    /// Rises with everything that counts as boot progress.
    pub boot_progress: u64,
    /// Bytes and files restored since the daemon began, together.
    pub restored: u64,
    /// The boot plan's steps.
    pub boot: Vec<BootStep>,
    /// Set when a boot step has failed for good.
    pub boot_failure: Option<String>,
    /// Ports that listen.
    pub ports: Vec<Port>,
    /// Why the machine is awake.
    pub why: Option<Why>,
    /// Where the drain is.
    pub drain: Option<DrainPhase>,
    /// The backup or restore that is running.
    pub backup: Option<BackupProgress>,
    /// Rises with everything that the running backup achieves.
    pub backup_progress: u64,
    /// What a failing backup waits for.
    pub backup_trouble: Option<String>,
    /// Programs that the kernel ended for lack of memory.
    pub out_of_memory: Option<OutOfMemory>,
    /// What the last backup had to remark; told in the log when it changes.
    pub backup_remarks: Vec<String>,
}

/// The status, shared by all threads.
#[derive(Debug)]
pub struct Status {
    state: Mutex<State>,
    wakeup: UnixStream,
}

#[derive(Debug, Default)]
struct State {
    facts: StatusFacts,
    urgency: Option<Urgency>,
    log: Log,
    redactor: Redactor,
}

impl Status {
    /// An empty status, and the socket that becomes readable when somebody waits for a change to be sent.
    ///
    /// # Errors
    /// What the system says about the pair of sockets.
    pub fn new() -> std::io::Result<(Self, UnixStream)> {
        let (wakeup, wakeups) = UnixStream::pair()?;
        wakeup.set_nonblocking(true)?;
        wakeups.set_nonblocking(true)?;
        Ok((Self { state: Mutex::default(), wakeup }, wakeups))
    }

    /// Changes facts.
    pub fn update(&self, urgency: Urgency, change: impl FnOnce(&mut StatusFacts)) {
        let mut state = lock(&self.state);
        change(&mut state.facts);
        state.urgency = state.urgency.max(Some(urgency));
        drop(state);
        if urgency > Urgency::Whenever {
            self.wake();
        }
    }

    /// Reads facts.
    pub fn read<T>(&self, look: impl FnOnce(&StatusFacts) -> T) -> T {
        look(&lock(&self.state).facts)
    }

    /// Adds a log line, without what must not leave the machine.
    pub fn log(&self, line: &str) {
        let mut state = lock(&self.state);
        let clean = state.redactor.clean(line);
        tracing::info!(target: "workspace", "{clean}");
        state.log.push(clean);
        state.urgency = state.urgency.max(Some(Urgency::Soon));
        drop(state);
        self.wake();
    }

    /// Takes these values out of everything that is logged from now on.
    pub fn keep_secret<'a>(&self, values: impl IntoIterator<Item = &'a str>) {
        lock(&self.state).redactor.learn(values);
    }

    /// A text without what must not leave the machine.
    pub fn clean(&self, text: &str) -> String {
        lock(&self.state).redactor.clean(text)
    }

    /// How urgent the changes since the last heartbeat are.
    pub fn urgency(&self) -> Urgency {
        lock(&self.state).urgency.unwrap_or(Urgency::Whenever)
    }

    /// Takes in that the kernel ended a program for lack of memory.
    pub fn killed_for_memory(&self, program: &str) {
        self.log(&format!("{program} was killed by the kernel, for lack of memory"));
        self.update(Urgency::Now, |facts| {
            let told = facts.out_of_memory.get_or_insert_default();
            told.kills = told.kills.saturating_add(1);
            told.program = program.chars().take(15).collect();
        });
    }

    /// The heartbeat of now, and the mark to acknowledge once it is answered.
    pub fn heartbeat(&self, generation: Generation) -> (Heartbeat, u64) {
        let mut state = lock(&self.state);
        let (log, mark, more) = state.log.unanswered();
        state.urgency = more.then_some(Urgency::Soon);
        let facts = &state.facts;
        let heartbeat = Heartbeat {
            generation: Some(generation),
            ready: facts.ready,
            boot_progress: facts.boot_progress,
            restored: facts.restored,
            boot: facts.boot.clone(),
            boot_failure: facts.boot_failure.clone(),
            log,
            ports: facts.ports.clone(),
            why: facts.why.clone(),
            drain: facts.drain,
            backup: facts.backup.clone(),
            backup_progress: facts.backup_progress,
            backup_trouble: facts.backup_trouble.clone(),
            out_of_memory: facts.out_of_memory.clone(),
            agent_rss_bytes: crate::os::processes::resident_bytes(),
        };
        (heartbeat, mark)
    }

    /// Forgets the log lines up to the mark.
    pub fn acknowledge(&self, mark: u64) {
        lock(&self.state).log.acknowledge(mark);
    }

    fn wake(&self) {
        use std::io::Write as _;
        // A full pipe has woken the sender already.
        let _ = (&self.wakeup).write(&[1]);
    }
}

/// Log lines that were not answered yet.
#[derive(Debug, Default)]
struct Log {
    lines: VecDeque<String>,
    /// Number of the first line in `lines`, counted from the agent's start.
    first: u64,
    dropped: u64,
}

impl Log {
    fn push(&mut self, mut line: String) {
        if line.len() > LOG_LINE_BYTES {
            let end = (0..=LOG_LINE_BYTES).rev().find(|end| line.is_char_boundary(*end)).unwrap_or(0);
            line.truncate(end);
            line.push('…');
        }
        if self.lines.len() == LOG_LINES {
            self.lines.pop_front();
            self.first += 1;
            self.dropped += 1;
        }
        self.lines.push_back(line);
    }

    /// Lines to send, the mark behind them, and whether more wait.
    fn unanswered(&mut self) -> (Vec<String>, u64, bool) {
        let mut lines = Vec::new();
        if self.dropped > 0 {
            lines.push(format!("[{} earlier lines were dropped]", std::mem::take(&mut self.dropped)));
        }
        let mut bytes = 0;
        let mut taken = 0;
        for line in &self.lines {
            bytes += line.len();
            if bytes > LOG_BYTES_EACH && taken > 0 {
                break;
            }
            lines.push(line.clone());
            taken += 1;
        }
        (lines, self.first + taken, usize::try_from(taken).is_ok_and(|taken| taken < self.lines.len()))
    }

    fn acknowledge(&mut self, mark: u64) {
        while self.first < mark && self.lines.pop_front().is_some() {
            self.first += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_sent_until_answered_and_a_flood_drops_the_oldest_and_says_so() {
        let (status, _wakeups) = Status::new().unwrap();
        status.log("one");
        status.log("two");
        let (first, mark) = status.heartbeat(Generation(1));
        assert_eq!(first.log, ["one", "two"]);
        assert_eq!(status.heartbeat(Generation(1)).0.log, ["one", "two"]);
        status.log("three");
        status.acknowledge(mark);
        let (second, mark) = status.heartbeat(Generation(1));
        assert_eq!(second.log, ["three"]);
        status.acknowledge(mark);
        for number in 0..LOG_LINES + 7 {
            status.log(&format!("line {number}"));
        }
        let flood = status.heartbeat(Generation(1)).0.log;
        assert_eq!(flood[0], "[7 earlier lines were dropped]");
        assert_eq!(flood[1], "line 7");
        assert_eq!(flood.len(), LOG_LINES + 1);
    }

    #[test]
    fn what_was_restored_is_said_once_there_is_some() {
        let (status, _wakeups) = Status::new().unwrap();
        let said = || serde_json::to_value(status.heartbeat(Generation(1)).0).unwrap();
        assert_eq!(said().get("restored"), None);
        status.update(Urgency::Soon, |facts| facts.restored += 7);
        assert_eq!(said()["restored"], 7);
    }

    #[test]
    fn long_lines_are_cut_between_characters_and_a_heartbeat_stays_small() {
        let (status, _wakeups) = Status::new().unwrap();
        for _ in 0..100 {
            status.log(&"é".repeat(10_000));
        }
        let (heartbeat, mark) = status.heartbeat(Generation(1));
        assert!(heartbeat.log.iter().map(String::len).sum::<usize>() <= LOG_BYTES_EACH);
        assert_eq!(status.urgency(), Urgency::Soon, "the rest waits");
        status.acknowledge(mark);
        assert!(!status.heartbeat(Generation(1)).0.log.is_empty());
    }

    #[test]
    fn the_wakeups_rings_for_changes_somebody_waits_for_and_secrets_are_taken_out() {
        use std::io::Read as _;
        let (status, mut wakeup) = Status::new().unwrap();
        status.update(Urgency::Whenever, |facts| facts.ready = true);
        assert!(wakeup.read(&mut [0; 8]).is_err());
        status.update(Urgency::Now, |facts| facts.backup_progress += 1);
        assert_eq!(wakeup.read(&mut [0; 8]).unwrap(), 1);
        status.keep_secret(["hunter2-long"]);
        status.log("password hunter2-long");
        assert_eq!(status.heartbeat(Generation(1)).0.log, ["password [redacted]"]);
    }
}
