//! A labelled trace: what was seen, and in which segments of it the workspace must stay awake or must sleep.

use anyhow::{Context as _, ensure};
use ebbtide_api::vm::VmPolicy;
use ebbtide_idle_agent::idle::trace::{Entry, Header, Source, Trace, is_held_out};
use ebbtide_idle_agent::os::clock::Moment;
use std::io::Read as _;
use std::path::Path;

/// What is right in a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Label {
    /// Work goes on.
    MustStay,
    /// The work is over.
    MustSleep,
}

/// A stretch of a trace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Segment {
    /// What is right in it.
    pub label: Label,
    /// Where it begins; for `MustSleep` the true end of work.
    pub from: Moment,
    /// Where it ends; absent where it ends with the trace.
    pub to: Option<Moment>,
    /// Time that the scene itself grants because a report was lost in it.
    pub grace_ms: u64,
    /// When the report came that alone tells of the work; absent where other things do.
    pub told_at: Option<Moment>,
    /// Whether the work shows nothing for longer than the engine's bounds, so that it is cut off by design.
    pub is_beyond: bool,
    /// Whether a variant has lost that report or put it out of order.
    pub is_untold: bool,
}

/// A labelled trace.
#[derive(Debug, Clone)]
pub struct Case {
    /// Its name.
    pub name: String,
    /// Why the labels are right.
    pub argument: String,
    /// Where it comes from.
    pub source: Source,
    /// Not looked at while the engine was made.
    pub is_held_out: bool,
    /// The durations that hold in it.
    pub policy: VmPolicy,
    /// What was seen.
    pub entries: Vec<(Moment, Entry)>,
    /// What is right.
    pub segments: Vec<Segment>,
}

impl Case {
    /// Takes a trace with its labels.
    ///
    /// # Errors
    /// It has no header, no labels, no looks or no policy, or its header says of itself what is not so.
    pub fn new(trace: Trace) -> anyhow::Result<Self> {
        let Header { format, name, argument, source, programs: _, held_out } =
            trace.header.context("it has no header")?;
        ensure!(format == 1, "format {format} is not known");
        ensure!(held_out == is_held_out(&name), "held_out is decided by the name: {}", is_held_out(&name));
        let policy = trace.entries.iter().find_map(|(_, entry)| match entry {
            Entry::Policy(policy) => Some(policy.clone()),
            _ => None,
        });
        let policy = policy.context("it has no policy")?;
        let mut entries = trace.entries;
        if source == Source::Recorded {
            entries.iter_mut().for_each(|(_, entry)| leave_out_the_stage(entry));
        }
        let mut segments = segments(&entries, policy.unknown_grace_secs * 1000);
        // What comes after the last label is the scene's taking down; its last segment goes on as it ended.
        if let Some(end) = segments.last_mut().and_then(|last| last.to.take()) {
            entries.retain(|(at, _)| *at < end);
        }
        ensure!(!segments.is_empty(), "nothing in it is labelled");
        for segment in &segments {
            let is_within = |at: Moment| at >= segment.from && segment.to.is_none_or(|to| at < to);
            let looks =
                entries.iter().filter(|(at, entry)| is_within(*at) && matches!(entry, Entry::Look(_)));
            ensure!(looks.count() > 1, "the segment at {} has no looks", segment.from.0);
        }
        let is_held_out = held_out;
        Ok(Self { name, argument, source, is_held_out, policy, entries, segments })
    }

    /// Whether it tells when files changed.
    pub fn knows_files(&self) -> bool {
        let tells =
            |entry: &Entry| matches!(entry, Entry::Look(look) if look.context.newest_file_secs.is_some());
        self.entries.iter().any(|(_, entry)| tells(entry))
    }

    /// Whether it was recorded from real programs.
    pub fn is_recorded(&self) -> bool {
        self.source == Source::Recorded
    }
}

/// Where recordings are made, the control plane and the stub of the model run on the same kernel as the machine, on ports
/// from here on; connections to these are no connections from outside.
const STAGE_PORTS: u16 = 10_000;

fn leave_out_the_stage(entry: &mut Entry) {
    if let Entry::Look(look) = entry {
        look.context.inbound.retain(|port, _| *port < STAGE_PORTS);
    }
}

/// Segments begin and end at marks. `told-once` says of the report before it that nothing else tells of the work; `lost` in one says that a report was lost: the grace for what is unclear is granted.
fn segments(entries: &[(Moment, Entry)], grace_ms: u64) -> Vec<Segment> {
    let mut segments: Vec<Segment> = Vec::new();
    let mut open = false;
    for (at, entry) in entries {
        let Entry::Mark(mark) = entry else { continue };
        let label = match mark.as_str() {
            "must_stay" => Some(Label::MustStay),
            "must_sleep" => Some(Label::MustSleep),
            "unlabelled" => None,
            "beyond" => {
                if let Some(last) = segments.last_mut().filter(|_| open) {
                    last.is_beyond = true;
                }
                continue;
            }
            "told-once" => {
                let told =
                    entries.iter().rfind(|(told, entry)| told <= at && matches!(entry, Entry::Hook { .. }));
                if let Some(last) = segments.last_mut().filter(|_| open) {
                    last.told_at = told.map(|(told, _)| *told);
                }
                continue;
            }
            "lost" => {
                if let Some(last) = segments.last_mut().filter(|_| open) {
                    last.grace_ms = grace_ms;
                }
                continue;
            }
            _ => continue,
        };
        if let Some(last) = segments.last_mut().filter(|_| open) {
            last.to = Some(*at);
        }
        open = label.is_some();
        if let Some(label) = label {
            segments.push(Segment {
                label,
                from: *at,
                to: None,
                grace_ms: 0,
                told_at: None,
                is_beyond: false,
                is_untold: false,
            });
        }
    }
    segments
}

/// Reads all traces of a directory, in the order of their names.
///
/// # Errors
/// One cannot be read, or is no labelled trace.
pub fn read_all(directory: &Path) -> anyhow::Result<Vec<Case>> {
    let mut files: Vec<_> = match std::fs::read_dir(directory) {
        Ok(entries) => entries.filter_map(Result::ok).map(|entry| entry.path()).collect(),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Vec::new(),
        Err(error) => return Err(error.into()),
    };
    files.retain(|file| file.to_string_lossy().ends_with(".jsonl.gz"));
    files.sort();
    files.iter().map(|file| read(file).with_context(|| format!("{}", file.display()))).collect()
}

fn read(file: &Path) -> anyhow::Result<Case> {
    let mut text = String::new();
    flate2::read::GzDecoder::new(std::fs::File::open(file)?).read_to_string(&mut text)?;
    let case = Case::new(Trace::parse(&text)?)?;
    let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
    ensure!(name == format!("{}.jsonl.gz", case.name), "the header calls it {}", case.name);
    Ok(case)
}
