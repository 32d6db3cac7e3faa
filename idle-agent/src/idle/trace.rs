//! Traces: what the watch over activity saw, written down so that it can be judged again, in milliseconds.
//!
//! A trace is text, a JSON value a line. The first may be a [`Header`], put there by whoever labels the trace; then
//! `[at, entry]`, where `at` is a moment in milliseconds since the kernel booted and the entry is one of [`Entry`]:
//! `{"look":{…}}` is an RFC 7396 merge patch upon the look before (upon `{}` after `"began"` or `"restarted"`), in the
//! shape of `frame::Frame`; the others are written as they are. A recording of three minutes is some 30 kB, and a few
//! of them compressed.
//!
//! Must never hold an argument, a path, a prompt, the text of a hold or anything else that people wrote: of programs
//! their names where these are known everywhere (`redacted_names`), of agents' sessions a number.

mod frame;
mod merge_patch;
mod recorder;
mod redacted_names;
pub mod replay;
pub mod trace_context;

use super::facts::Facts;
use super::read::hook::Happened;
use crate::os::clock::Moment;
use ebbtide_api::vm::VmPolicy;
use frame::Frame;
pub use recorder::{RecordError, Recorder};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;

/// What the first line of a labelled trace says.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Header {
    /// Of the format; 1.
    pub format: u32,
    /// What happens, in one or two words; names the trace.
    pub name: String,
    /// Why the labels are what they are, in one line.
    pub argument: String,
    /// Where it comes from.
    pub source: Source,
    /// Programs and their versions.
    #[serde(default)]
    pub programs: BTreeMap<String, String>,
    /// Whether nobody looked at it while the engine was made.
    pub held_out: bool,
}

/// Where a trace comes from.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    /// Real programs on a machine.
    #[default]
    Recorded,
    /// A script.
    Made,
}

/// One thing that the watch over activity took in.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Entry {
    /// A recording begins; by which version.
    Began {
        /// Of the idle-agent.
        agent: String,
    },
    /// The idle-agent began again, on the same boot.
    Restarted,
    /// Durations from now on.
    Policy(VmPolicy),
    /// A look at the machine.
    #[serde(skip)]
    Look(Box<Look>),
    /// An agent reported.
    Hook {
        /// Whose process: id and start.
        process: (u32, u64),
        /// Numbers the session.
        session: String,
        /// What.
        happened: Happened,
    },
    /// Somebody on the machine held it.
    Hold {
        /// How long.
        secs: u64,
    },
    /// Somebody on the machine held it while a process lives.
    KeepAlive {
        /// Which: id and start.
        process: (u32, u64),
        /// How long at most.
        secs: u64,
    },
    /// A hold was given back, or all.
    Release {
        /// Which.
        id: Option<String>,
    },
    /// All holds that the control plane names: name and seconds left.
    Holds(Vec<(String, u64)>),
    /// Somebody on the machine asked it to sleep.
    SleepAsked,
    /// That wish is over.
    SleepForgotten,
    /// Whoever drives a scene says where it is. `must_stay` and `must_sleep` begin a labelled segment, `unlabelled`
    /// ends one.
    Mark(String),
    /// The recording reached its longest.
    Full,
}

/// One look at the machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Look {
    /// What the verdict rests on.
    pub facts: Facts,
    /// What else there was to see.
    pub context: TraceContext,
}

/// What the verdict does not rest on, but other ways to judge would.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct TraceContext {
    /// When a file of the workspaces was last changed: that moment in seconds since the kernel booted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub newest_file_secs: Option<u64>,
    /// Established connections to ports that listen here.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub inbound: BTreeMap<u16, u32>,
    /// Processes whose arguments name an agent somewhere, as a search through command lines finds them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub mention_agents: Vec<u32>,
}

/// A whole trace.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Trace {
    /// Absent while nobody has labelled it.
    pub header: Option<Header>,
    /// What was taken in, in order.
    pub entries: Vec<(Moment, Entry)>,
}

/// A trace that cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("line {line} is no part of a trace: {source}")]
pub struct TraceError {
    /// Which, from 1.
    pub line: usize,
    /// What is wrong with it.
    pub source: serde_json::Error,
}

/// Held out until the engine was changed for what they showed; the first of what they showed stands in `docs/evidence/idle.md`.
const USED_UP: [&str; 1] = ["codex-parked-full-length"];

/// Whether a trace of that name is kept back until the engine is made: a third of all, by the name alone, but for those
/// that were used.
pub fn is_held_out(name: &str) -> bool {
    use sha2::Digest as _;
    !USED_UP.contains(&name)
        && sha2::Sha256::digest(name.as_bytes()).first().is_some_and(|byte| byte % 3 == 0)
}

impl Trace {
    /// Reads a trace.
    ///
    /// # Errors
    /// [`TraceError`].
    pub fn parse(text: &str) -> Result<Self, TraceError> {
        let mut trace = Self::default();
        let mut frame = Value::Null;
        for (at, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
            let bad = |source| TraceError { line: at + 1, source };
            if line.starts_with('{') {
                trace.header = Some(serde_json::from_str(line).map_err(bad)?);
                continue;
            }
            let (moment, mut value): (Moment, Value) = serde_json::from_str(line).map_err(bad)?;
            let entry = match value.get_mut("look").map(Value::take) {
                Some(change) => {
                    merge_patch::apply(&mut frame, change);
                    let frame = Frame::deserialize(&frame).map_err(bad)?;
                    Entry::Look(Box::new(frame.look()))
                }
                None => serde_json::from_value(value).map_err(bad)?,
            };
            if matches!(entry, Entry::Began { .. } | Entry::Restarted) {
                frame = Value::Null;
            }
            trace.entries.push((moment, entry));
        }
        Ok(trace)
    }
}

#[cfg(test)]
mod tests;
