//! What the backup process tells the daemon: JSON lines on standard output, progress at most twice a second.
//!
//! Also the bridge from the library's progress bars and log lines to these events. Must never write anything but whole
//! JSON lines to standard output; whatever is meant for people goes to standard error.

use std::collections::VecDeque;
use std::io::Write;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustic_core::{Progress, ProgressBars, ProgressType, RusticProgress};
use serde::Serialize;

/// At most two progress lines a second.
const PROGRESS_EVERY: Duration = Duration::from_millis(500);
/// Warnings kept for the result; the rest is counted.
const WARNINGS_KEPT: usize = 100;

/// What the process is doing now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Phase {
    Scan,
    Upload,
    Verify,
    Restore,
}

/// One line of standard output.
#[derive(Debug, Serialize)]
#[serde(tag = "event", rename_all = "lowercase")]
pub enum Event<'a, R: Serialize> {
    Progress { phase: Phase, bytes_done: u64, bytes_total: Option<u64>, files_done: u64, rate: u64 },
    Error { path: Option<&'a str>, message: &'a str },
    Done(R),
    Failed { code: &'a str, message: &'a str },
}

/// A line that carries no result.
pub type Line<'a> = Event<'a, ()>;

#[derive(Debug)]
struct Meter {
    phase: Phase,
    bytes_done: u64,
    bytes_total: Option<u64>,
    files_done: u64,
    window: VecDeque<(Instant, u64)>,
    told: Option<Instant>,
}

/// The one writer of standard output.
#[derive(Debug)]
pub struct Events {
    meter: Mutex<Meter>,
}

impl Events {
    pub fn new() -> Arc<Self> {
        Arc::new(Self {
            meter: Mutex::new(Meter {
                phase: Phase::Scan,
                bytes_done: 0,
                bytes_total: None,
                files_done: 0,
                window: VecDeque::new(),
                told: None,
            }),
        })
    }

    /// Starts a phase: its counters begin at nothing and one line is told at once.
    pub fn phase(&self, phase: Phase) {
        let mut meter = self.lock();
        *meter = Meter {
            phase,
            bytes_done: 0,
            bytes_total: None,
            files_done: 0,
            window: VecDeque::new(),
            told: None,
        };
        tell(&mut meter);
    }

    pub fn total(&self, bytes_total: u64) {
        let mut meter = self.lock();
        meter.bytes_total = Some(bytes_total);
        if meter.phase == Phase::Scan {
            meter.phase = Phase::Upload;
        }
        tell(&mut meter);
    }

    pub fn bytes(&self, more: u64) {
        let mut meter = self.lock();
        meter.bytes_done = meter.bytes_done.saturating_add(more);
        tell(&mut meter);
    }

    pub fn files(&self, more: u64) {
        let mut meter = self.lock();
        meter.files_done = meter.files_done.saturating_add(more);
        tell(&mut meter);
    }

    pub fn error(&self, path: Option<&str>, message: &str) {
        emit(&Line::Error { path, message });
    }

    fn lock(&self) -> MutexGuard<'_, Meter> {
        self.meter.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn tell(meter: &mut Meter) {
    let now = Instant::now();
    if meter.told.is_some_and(|told| now.duration_since(told) < PROGRESS_EVERY) {
        return;
    }
    meter.told = Some(now);
    meter.window.push_back((now, meter.bytes_done));
    while meter.window.len() > 10 {
        meter.window.pop_front();
    }
    let rate = meter.window.front().map_or(0, |(since, bytes)| {
        let millis = now.duration_since(*since).as_millis().max(1);
        u64::try_from(u128::from(meter.bytes_done.saturating_sub(*bytes)) * 1000 / millis).unwrap_or(u64::MAX)
    });
    emit(&Line::Progress {
        phase: meter.phase,
        bytes_done: meter.bytes_done,
        bytes_total: meter.bytes_total,
        files_done: meter.files_done,
        rate,
    });
}

/// Writes one event as one line. A daemon that is gone cannot be told anything: the work goes on.
pub fn emit<R: Serialize>(event: &Event<'_, R>) {
    match serde_json::to_string(event) {
        Ok(mut line) => {
            line.push('\n');
            let mut out = std::io::stdout().lock();
            let _ = out.write_all(line.as_bytes()).and_then(|()| out.flush());
        }
        Err(error) => eprintln!("an event could not be written: {error}"),
    }
}

/// Hands the library progress bars that end up in [`Events`], or nowhere.
#[derive(Debug, Clone)]
pub enum Bars {
    Shown(Arc<Events>),
    Hidden,
}

impl ProgressBars for Bars {
    fn progress(&self, kind: ProgressType, _prefix: &str) -> Progress {
        match (self, kind) {
            (Self::Shown(events), ProgressType::Bytes) => Progress::new(BytesBar(Arc::clone(events))),
            (_, ProgressType::Bytes | ProgressType::Spinner | ProgressType::Counter) => Progress::hidden(),
        }
    }
}

#[derive(Debug)]
struct BytesBar(Arc<Events>);

impl RusticProgress for BytesBar {
    fn is_hidden(&self) -> bool {
        false
    }
    fn set_length(&self, len: u64) {
        self.0.total(len);
    }
    fn set_title(&self, _title: &str) {}
    fn inc(&self, inc: u64) {
        self.0.bytes(inc);
    }
    fn finish(&self) {}
}

/// Collects the library's warnings, which it writes to the log and nowhere else.
pub struct LibraryWarnings;

static COLLECTED: Mutex<(Vec<String>, u64)> = Mutex::new((Vec::new(), 0));

impl LibraryWarnings {
    /// Listens from now on; harmless when another logger listens already.
    pub fn collect() {
        if log::set_logger(&LibraryWarnings).is_ok() {
            log::set_max_level(log::LevelFilter::Warn);
        }
    }

    /// Returns what was said so far, and how many more were not kept.
    pub fn take() -> (Vec<String>, u64) {
        std::mem::take(&mut *COLLECTED.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl log::Log for LibraryWarnings {
    fn enabled(&self, metadata: &log::Metadata<'_>) -> bool {
        metadata.level() <= log::Level::Warn && metadata.target().starts_with("rustic_core")
    }

    fn log(&self, record: &log::Record<'_>) {
        if !self.enabled(record.metadata()) {
            return;
        }
        let message = record.args().to_string();
        eprintln!("{}: {message}", record.level().as_str().to_lowercase());
        // Files that could not be read are counted, with their reason, where they are opened.
        if message.starts_with("ignoring error: ") {
            return;
        }
        let mut collected = COLLECTED.lock().unwrap_or_else(PoisonError::into_inner);
        if collected.0.len() < WARNINGS_KEPT {
            collected.0.push(message);
        } else {
            collected.1 += 1;
        }
    }

    fn flush(&self) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_keep_the_shape_the_daemon_parses() {
        let progress = Line::Progress {
            phase: Phase::Upload,
            bytes_done: 1,
            bytes_total: Some(2),
            files_done: 3,
            rate: 4,
        };
        assert_eq!(
            serde_json::to_string(&progress).unwrap(),
            r#"{"event":"progress","phase":"upload","bytes_done":1,"bytes_total":2,"files_done":3,"rate":4}"#
        );
        let failed = Line::Failed { code: "quota", message: "full" };
        assert_eq!(
            serde_json::to_string(&failed).unwrap(),
            r#"{"event":"failed","code":"quota","message":"full"}"#
        );
        let error = Line::Error { path: Some("/a"), message: "no" };
        assert_eq!(serde_json::to_string(&error).unwrap(), r#"{"event":"error","path":"/a","message":"no"}"#);
    }
}
