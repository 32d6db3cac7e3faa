//! Writes a trace as things happen, when somebody asked for it: `ebb trace start`.
//!
//! Must never grow beyond its bound, and never keep the watch itself from going on: whatever goes wrong ends the
//! recording and nothing else.

use super::frame::Frame;
use super::{Entry, TraceContext, merge_patch};
use crate::idle::facts::Facts;
use crate::idle::read::hook::Hook;
use crate::os::clock::Moment;
use ebbtide_api::vm::{VmHold, VmPolicy};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

/// Longest recording: a day of looks every ten seconds with some forty processes at work.
const MAX_BYTES: u64 = 8 << 20;
/// Longest name of a mark.
const MARK_BYTES: usize = 40;

/// Why a recording does not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// Nothing is being recorded.
    #[error("nothing is being recorded; begin with: ebb trace start")]
    NotRecording,
    /// There is no recording.
    #[error("nothing has been recorded; begin with: ebb trace start")]
    Nothing,
    /// A mark is not in plain letters.
    #[error("a mark is up to {MARK_BYTES} letters, digits, - and _")]
    Mark,
    /// A file cannot be used.
    #[error("the recording cannot be kept: {0}")]
    Io(#[from] io::Error),
}

/// A recording that goes on.
#[derive(Debug)]
pub struct Recorder {
    place: Place,
    file: File,
    written: u64,
    frame: Value,
    sessions: BTreeMap<String, usize>,
    held: bool,
}

/// Where recordings are: one that goes on, and the last that ended.
#[derive(Debug, Clone)]
struct Place {
    running: PathBuf,
    ended: PathBuf,
}

impl Place {
    fn of(state: &Path) -> Self {
        Self { running: state.join("trace.running"), ended: state.join("trace.jsonl") }
    }
}

impl Recorder {
    /// Begins a recording; an earlier one is lost.
    ///
    /// # Errors
    /// What the system says about the file.
    pub fn start(state: &Path, policy: &VmPolicy, now: Moment) -> io::Result<Self> {
        let place = Place::of(state);
        for file in [&place.running, &place.ended] {
            match fs::remove_file(file) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                Ok(()) | Err(_) => {}
            }
        }
        let mut recorder = Self::open(place)?;
        recorder.write(now, &Entry::Began { agent: env!("CARGO_PKG_VERSION").to_owned() })?;
        recorder.write(now, &Entry::Policy(policy.clone()))?;
        Ok(recorder)
    }

    /// Goes on with a recording over a restart of the daemon, where there is one.
    ///
    /// # Errors
    /// What the system says about the file.
    pub fn resume(state: &Path, policy: &VmPolicy, now: Moment) -> io::Result<Option<Self>> {
        let place = Place::of(state);
        if !place.running.exists() {
            return Ok(None);
        }
        let mut recorder = Self::open(place)?;
        recorder.write(now, &Entry::Restarted)?;
        recorder.write(now, &Entry::Policy(policy.clone()))?;
        Ok(Some(recorder))
    }

    fn open(place: Place) -> io::Result<Self> {
        let file = OpenOptions::new().append(true).create(true).mode(0o600).open(&place.running)?;
        let written = file.metadata()?.len();
        let (frame, sessions) = (Value::Null, BTreeMap::new());
        Ok(Self { place, file, written, frame, sessions, held: false })
    }

    /// Ends it.
    ///
    /// # Errors
    /// What the system says about the file.
    pub fn stop(self) -> io::Result<()> {
        fs::rename(&self.place.running, &self.place.ended)
    }

    /// The recording that goes on or ended last.
    ///
    /// # Errors
    /// There is none, or it cannot be read.
    pub fn text(state: &Path) -> Result<String, RecordError> {
        let place = Place::of(state);
        for file in [place.running, place.ended] {
            match fs::read_to_string(file) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                text => return Ok(text?),
            }
        }
        Err(RecordError::Nothing)
    }

    /// How much has been written.
    pub fn bytes(&self) -> u64 {
        self.written
    }

    /// Writes an entry that is no look.
    ///
    /// # Errors
    /// What the system says about the file.
    pub fn write(&mut self, at: Moment, entry: &Entry) -> io::Result<()> {
        // Whatever else somebody typed released nothing, and is nobody's business.
        if matches!(entry, Entry::Release { id: Some(id) } if !is_lease(id)) {
            return Ok(());
        }
        self.line(&json!([at, entry]))
    }

    /// Writes a look: what has changed since the one before.
    ///
    /// # Errors
    /// What the system says about the file.
    pub fn look(&mut self, at: Moment, facts: &Facts, context: TraceContext) -> io::Result<()> {
        let frame = serde_json::to_value(Frame::new(facts, context))?;
        let change = merge_patch::between(&self.frame, &frame).unwrap_or_else(|| json!({}));
        self.frame = frame;
        self.line(&json!([at, { "look": change }]))
    }

    /// Writes an agent's report, of its session a number.
    ///
    /// # Errors
    /// What the system says about the file.
    pub fn hook(&mut self, hook: &Hook, process: (u32, u64), at: Moment) -> io::Result<()> {
        let next = self.sessions.len() + 1;
        let number = *self.sessions.entry(hook.session.clone()).or_insert(next);
        self.write(at, &Entry::Hook { process, session: format!("s{number}"), happened: hook.happened })
    }

    /// Writes the control plane's holds, where there are any or were.
    ///
    /// # Errors
    /// What the system says about the file.
    pub fn holds(&mut self, holds: &[VmHold], at: Moment) -> io::Result<()> {
        if std::mem::replace(&mut self.held, !holds.is_empty()) || self.held {
            let holds = holds.iter().map(|hold| (hold.id.clone(), hold.expires_in_secs)).collect();
            self.write(at, &Entry::Holds(holds))?;
        }
        Ok(())
    }

    /// Writes a mark.
    ///
    /// # Errors
    /// It is not in plain letters, or what the system says about the file.
    pub fn mark(&mut self, name: &str, at: Moment) -> Result<(), RecordError> {
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        if name.is_empty() || name.len() > MARK_BYTES || !name.bytes().all(is_plain) {
            return Err(RecordError::Mark);
        }
        Ok(self.write(at, &Entry::Mark(name.to_owned()))?)
    }

    fn line(&mut self, line: &Value) -> io::Result<()> {
        if self.written >= MAX_BYTES {
            return Ok(());
        }
        let mut text = line.to_string();
        let length = u64::try_from(text.len()).unwrap_or(u64::MAX).saturating_add(1);
        if self.written.saturating_add(length) > MAX_BYTES {
            self.written = MAX_BYTES;
            text = json!([line.get(0), Entry::Full]).to_string();
        } else {
            self.written += length;
        }
        text.push('\n');
        self.file.write_all(text.as_bytes())
    }
}

/// Whether it is the name of a lease that was taken on a machine: `h1`.
fn is_lease(id: &str) -> bool {
    id.strip_prefix('h').is_some_and(|number| number.parse::<u64>().is_ok())
}
