//! Backups against the newest restic, borg and `tar | zstd | age`: time, processor, memory, bytes, on three kinds of files.
//!
//! The tools take turns at each step, in an order that changes with the round, on the same files in the same state, with
//! everything written to disk before and read into the page cache. The idle-agent's figure is the backup itself; its
//! fresh reader, which restic has no counterpart of, stands beside it. Nothing is asserted.

mod meter;
mod sets;
mod tools;

use super::report::{Samples, Section, Spread};
use crate::stats::bytes;
use crate::{Options, Stack, paths};
use anyhow::{Context, Result, ensure};
use meter::Taken;
use serde_json::json;
pub use sets::Kind;
use sets::{Set, Times};
use std::path::Path;
use std::time::Duration;
use tools::{Keeper, Tool, sent};

/// What the idle-agent may hold, in megabytes.
const PEAK_MOST: f64 = 150.0;
/// The most that the idle-agent stores for what restic stores one byte for.
const STORED_MOST: f64 = 1.0;

/// What is done, in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    First,
    Again,
    Changed,
    Restore,
}

impl Step {
    const ALL: [Self; 4] = [Self::First, Self::Again, Self::Changed, Self::Restore];

    fn title(self) -> &'static str {
        match self {
            Self::First => "first backup",
            Self::Again => "nothing changed",
            Self::Changed => "1 % changed",
            Self::Restore => "restore",
        }
    }

    /// The most of restic's wall time that the idle-agent may take; for a first backup, with its fresh reader.
    fn most(self) -> f64 {
        match self {
            Self::First => 0.8,
            Self::Again => 0.15,
            Self::Changed => 0.5,
            Self::Restore => 0.6,
        }
    }
}

/// Runs all of it with the release build, and makes the tables.
///
/// # Errors
/// As [`measure`].
pub fn run(megabytes: u64, rounds: usize, only: Option<Kind>, say: fn(&str)) -> Result<Vec<Section>> {
    let agent = paths::root().join("target/x86_64-unknown-linux-musl/release/ebb-agent");
    ensure!(agent.exists(), "{} is missing; run scripts/build release", agent.display());
    Ok(measure(&agent, megabytes, rounds, only, say)?.sections(megabytes, rounds))
}

/// Runs all of it with this idle-agent, in a system of its own.
///
/// # Errors
/// Where a program is missing or fails, or a restore does not bring everything back as it was.
pub fn measure(
    agent: &Path,
    megabytes: u64,
    rounds: usize,
    only: Option<Kind>,
    say: fn(&str),
) -> Result<Figures> {
    let directory = tempfile::Builder::new().prefix("ebbtide-backup-").tempdir()?;
    let stack = Stack::start(Options {
        name: "bench".into(),
        cron_every: Duration::from_hours(10),
        progress: say,
        ..Options::default()
    })?;
    let sold_out = json!({ "kind": "capacity", "shape": "resource_unavailable" });
    stack.cloud.fault("hetzner", "POST /servers", 10_000, &sold_out)?;
    let mut figures = Figures::default();
    let mut kinds = Kind::ALL.into_iter().filter(|kind| only.is_none_or(|only| only == *kind));
    let measured = kinds.try_for_each(|kind| {
        (0..rounds.max(1)).try_for_each(|round| {
            say(&format!("backups: {}, round {} of {rounds}", kind.title(), round + 1));
            let place = directory.path().join(format!("{}-{round}", kind.title().replace(' ', "-")));
            figures.round(&stack, agent, kind, round, megabytes << 20, &place)?;
            std::fs::remove_dir_all(&place).context("removing a round's files")
        })
    });
    if measured.is_err() {
        eprintln!("{}", stack.last_words());
    }
    let stopped = stack.stop();
    measured?;
    stopped?;
    Ok(figures)
}

/// Everything that was measured.
#[derive(Debug, Default)]
pub struct Figures {
    samples: Samples,
    sets: Vec<(Kind, usize, u64)>,
}

/// The name of a figure.
fn name(kind: Kind, step: Step, tool: Tool, what: &str) -> String {
    format!("{}/{}/{}/{what}", kind.title(), step.title(), tool.title())
}

impl Figures {
    fn round(
        &mut self,
        stack: &Stack,
        agent: &Path,
        kind: Kind,
        round: usize,
        size: u64,
        place: &Path,
    ) -> Result<()> {
        let set = Set::make(kind, &place.join("work"), size)?;
        if round == 0 {
            self.sets.push((kind, set.files.len(), set.bytes));
        }
        let new = |tool: Tool, like: Option<&Keeper<'_>>| {
            let own = place.join(tool.title().replace([',', ' '], ""));
            Keeper::new(tool, stack, agent, own, like).with_context(|| tool.title())
        };
        let ours = new(Tool::Agent, None)?;
        let theirs = new(Tool::Restic, Some(&ours))?;
        let mut keepers = [
            (Tool::Agent, ours),
            (Tool::Restic, theirs),
            (Tool::Borg, new(Tool::Borg, None)?),
            (Tool::Pipe, new(Tool::Pipe, None)?),
        ];
        keepers.rotate_left(round % Tool::ALL.len());
        let mut stored = [0; Tool::ALL.len()];
        for ((_, keeper), stored) in
            keepers.iter().zip(&mut stored).filter(|((tool, _), _)| *tool != Tool::Pipe)
        {
            *stored = keeper.stored()?;
        }
        for step in Step::ALL {
            if step == Step::Changed {
                set.change(round as u64 + 1)?;
            }
            for ((tool, keeper), before) in keepers.iter().zip(&mut stored) {
                let target = place.join("restored");
                if step == Step::Restore {
                    keeper.forget_cache()?;
                }
                let asked = if tool.is_remote() { keeper.requests()? } else { 0 };
                rustix::fs::sync();
                sets::count(&set.directory)?;
                let taken = match step {
                    Step::First | Step::Again | Step::Changed => keeper.back_up(&set),
                    Step::Restore => keeper.restore(&target),
                };
                let taken = taken.with_context(|| format!("{}, {}", tool.title(), step.title()))?;
                self.note(kind, step, *tool, &taken);
                if tool.is_remote() {
                    let requests = keeper.requests()? - asked;
                    self.samples.add(&name(kind, step, *tool, "requests"), requests as f64);
                }
                if step == Step::Restore {
                    let brought = keeper.brought(&target, &set)?;
                    let times = if *tool == Tool::Pipe { Times::Seconds } else { Times::Exact };
                    sets::same(&set.directory, &brought, times).with_context(|| tool.title())?;
                    std::fs::remove_dir_all(&target).context("removing what was restored")?;
                } else {
                    let now = keeper.stored()?;
                    self.samples.add(&name(kind, step, *tool, "stored"), now.saturating_sub(*before) as f64);
                    // A pipe's archive replaces the one before.
                    *before = if *tool == Tool::Pipe { 0 } else { now };
                }
            }
        }
        Ok(())
    }

    fn note(&mut self, kind: Kind, step: Step, tool: Tool, taken: &Taken) {
        let mut add = |what: &str, value: f64| self.samples.add(&name(kind, step, tool, what), value);
        let (wall, cpu) = taken.proper.unwrap_or((taken.wall, taken.cpu));
        // A restore compares as its last phase: that is part of it, as the table says.
        let (wall, cpu) = if step == Step::Restore { (taken.wall, taken.cpu) } else { (wall, cpu) };
        add("wall", wall.as_secs_f64());
        add("cpu", cpu);
        add("peak", taken.peak as f64);
        if step != Step::Restore && taken.proper.is_some() {
            add("reader wall", taken.wall.saturating_sub(wall).as_secs_f64());
            add("reader cpu", taken.cpu - cpu);
        }
        if let Some(sent) = sent(taken) {
            add("sent", sent as f64);
        }
    }

    /// Figures that should be there and are not, or cannot be what they say. Says nothing about how long anything took.
    pub fn gaps(&self) -> Vec<String> {
        let mut gaps = Vec::new();
        for (kind, _, size) in &self.sets {
            for (step, tool) in Step::ALL.into_iter().flat_map(|step| Tool::ALL.map(|tool| (step, tool))) {
                let mut wants = vec!["wall"];
                if tool.is_remote() {
                    wants.extend(["peak", "requests"]);
                }
                wants.extend((step == Step::First).then_some("stored"));
                wants.extend((tool == Tool::Agent && step == Step::First).then_some("sent"));
                let missing = wants.into_iter().filter(|what| self.of(*kind, step, tool, what).min <= 0.0);
                gaps.extend(missing.map(|what| name(*kind, step, tool, what)));
            }
            for tool in Tool::ALL {
                let stored = |step| self.of(*kind, step, tool, "stored").median;
                // Random bytes cannot be made smaller, by anybody.
                if *kind == Kind::Large && stored(Step::First) < *size as f64 {
                    gaps.push(format!("{}: less than all", name(*kind, Step::First, tool, "stored")));
                }
                if tool != Tool::Pipe && stored(Step::Again) > stored(Step::First) / 10.0 {
                    gaps.push(format!("{}: much, for nothing", name(*kind, Step::Again, tool, "stored")));
                }
            }
        }
        if self.sets.is_empty() { vec!["everything".into()] } else { gaps }
    }

    fn of(&self, kind: Kind, step: Step, tool: Tool, what: &str) -> Spread {
        self.samples.of(&name(kind, step, tool, what))
    }

    fn sections(&self, megabytes: u64, rounds: usize) -> Vec<Section> {
        let mut all = vec![self.targets(megabytes, rounds)];
        all.extend(self.sets.iter().map(|(kind, files, size)| self.table(*kind, *files, *size)));
        all
    }

    fn targets(&self, megabytes: u64, rounds: usize) -> Section {
        let mut section = Section::new(
            "Backups: the idle-agent as a part of the newest restic",
            &format!(
                "{}. Medians of {rounds} rounds on sets of {megabytes} MB, both through the same running Worker (`wrangler dev`), both as \
                 the owner of a repository of their own. Wall time of the backup itself: restic has nothing that stands \
                 for the fresh reader, which the next tables show beside it; a first backup is judged with it. A restore \
                 begins with an empty cache, as on a new machine.",
                tools::versions(),
            ),
            &["what", "source tree", "node_modules", "one large file", "target"],
        );
        let kinds = Kind::ALL;
        let there = |kind: Kind| self.sets.iter().any(|(known, ..)| *known == kind);
        let row = |title: String, of: &dyn Fn(Kind) -> f64, most: f64, unit: &str| {
            let cells = kinds.map(|kind| {
                if !there(kind) {
                    return String::new();
                }
                let value = of(kind);
                // Judged as it is shown.
                let shown = if unit.is_empty() { (value * 100.0).round() / 100.0 } else { value.round() };
                let missed = if shown <= most { "" } else { " **missed**" };
                if unit.is_empty() {
                    format!("{value:.2}{missed}")
                } else {
                    format!("{value:.0} {unit}{missed}")
                }
            });
            let [one, two, three] = cells;
            [title, one, two, three, format!("≤ {most} {unit}").trim_end().to_owned()]
        };
        let ratio = |kind: Kind, step: Step, what: &str| {
            let ours = self.of(kind, step, Tool::Agent, what).median;
            ours / self.of(kind, step, Tool::Restic, what).median.max(f64::MIN_POSITIVE)
        };
        let whole = |kind: Kind, step: Step| {
            let of = |what| self.of(kind, step, Tool::Agent, what).median;
            let restic = self.of(kind, step, Tool::Restic, "wall").median;
            (of("wall") + of("reader wall")) / restic.max(f64::MIN_POSITIVE)
        };
        let title = format!("{}, with the fresh reader", Step::First.title());
        section.row(row(title, &|kind| whole(kind, Step::First), Step::First.most(), ""));
        for step in [Step::Again, Step::Changed, Step::Restore] {
            let title = format!("{}, wall", step.title());
            section.row(row(title, &|kind| ratio(kind, step, "wall"), step.most(), ""));
        }
        for (step, title) in [(Step::First, "stored by the first"), (Step::Changed, "stored for the 1 %")] {
            section.row(row(title.into(), &|kind| ratio(kind, step, "stored"), STORED_MOST, ""));
        }
        let peak = |kind: Kind| {
            let peaks = Step::ALL.map(|step| self.of(kind, step, Tool::Agent, "peak").max);
            peaks.into_iter().fold(0.0, f64::max) / 1e6
        };
        section.row(row("peak memory of the idle-agent".into(), &peak, PEAK_MOST, "MB"));
        let mut untargeted = |title: String, of: &dyn Fn(Kind) -> f64| {
            let cell = |kind| if there(kind) { format!("{:.2}", of(kind)) } else { String::new() };
            let [one, two, three] = kinds.map(cell);
            section.row([title, one, two, three, String::new()]);
        };
        let title = format!("{}, wall", Step::First.title());
        untargeted(title, &|kind| ratio(kind, Step::First, "wall"));
        for step in [Step::Again, Step::Changed] {
            untargeted(format!("{}, with the fresh reader", step.title()), &|kind| whole(kind, step));
        }
        section
    }

    fn table(&self, kind: Kind, files: usize, size: u64) -> Section {
        let mut section = Section::new(
            &format!("Backups: {}", kind.title()),
            &format!("{files} files, {}.", bytes(size)),
            &[
                "what",
                "who",
                "wall",
                "processor",
                "peak memory",
                "requests",
                "stored",
                "fresh reader: wall",
                "processor",
            ],
        );
        for step in Step::ALL {
            for tool in Tool::ALL {
                let of = |what: &str| self.of(kind, step, tool, what);
                let (wall, stored, reader) = (of("wall"), of("stored"), of("reader wall"));
                let requests = of("requests");
                section.row([
                    step.title().into(),
                    tool.title().into(),
                    format!("{:.2} s ({:.2} to {:.2})", wall.median, wall.min, wall.max),
                    format!("{:.2} s", of("cpu").median),
                    bytes(of("peak").max as u64),
                    if requests.count > 0 { format!("{:.0}", requests.median) } else { String::new() },
                    if stored.count > 0 { bytes(stored.median as u64) } else { String::new() },
                    if reader.count > 0 { format!("{:.2} s", reader.median) } else { String::new() },
                    if reader.count > 0 {
                        format!("{:.2} s", of("reader cpu").median)
                    } else {
                        String::new()
                    },
                ]);
            }
        }
        let sent = self.of(kind, Step::First, Tool::Agent, "sent").median;
        section.remark(format!(
            "Sent in request bodies by the idle-agent's first backup: {}. What restic sends is what it stores, and its locks.",
            bytes(sent as u64)
        ));
        section
    }
}
