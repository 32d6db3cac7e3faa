//! What calls about a repository take of the processor, in the Worker and in the workspace's object, up to the quota.
//!
//! The repository is planted: names, sizes and checksums are there and no bytes, so that storage and ledger answer as they
//! would. Times are samples of V8's own profiler in each of the two isolates.

use super::report::Section;
use crate::api::Discard;
use crate::http::Http;
use crate::played_machine::PlayedMachine;
use crate::process::{Ending, Start, Supervised, run};
use crate::{Options, Runner, Stack, paths, wait};
use anyhow::{Context, Result, ensure};
use ebbtide_api::workspace::State;
use serde::Deserialize;
use serde_json::{Value, json};
use std::time::Duration;

/// Packs, indexes and verified snapshots of the repositories; the last fills the quota, 200 GB in packs of 8 MiB, with as
/// many indexes as a week of backups on the timer leaves, and as many snapshots as are listed.
const SIZES: [Size; 3] = [
    Size { packs: 1_000, indexes: 40, snapshots: 40 },
    Size { packs: 5_000, indexes: 200, snapshots: 100 },
    Size { packs: 23_842, indexes: 672, snapshots: 349 },
];
/// How often each call is measured.
const RUNS: usize = 7;
/// Packs that a delivery of a receipt names, as the policy has it.
const RECEIPT_PACKS: usize = 1_000;
/// How long slices of a receipt are watched.
const SLICES: Duration = Duration::from_secs(2);
/// How long anything here may take.
const LIMIT: Duration = Duration::from_mins(4);

#[derive(Debug, Clone, Copy)]
struct Size {
    packs: usize,
    indexes: usize,
    snapshots: usize,
}

/// Milliseconds in one isolate, by what they were spent on.
#[derive(Debug, Clone, Default, Deserialize)]
struct Isolate {
    wasm: f64,
    script: f64,
    collector: f64,
    runtime: f64,
    most: Vec<String>,
}

impl Isolate {
    fn all(&self) -> f64 {
        self.wasm + self.script + self.collector + self.runtime
    }
}

#[derive(Debug, Clone, Deserialize)]
struct Spent {
    worker: Isolate,
    objects: Isolate,
}

struct Profiler {
    _process: Supervised,
    url: String,
    http: Http,
}

impl Profiler {
    fn start(stack: &Stack) -> Result<Self> {
        let inspector = std::fs::read_to_string(stack.state().join("inspector"))
            .context("reading where V8's inspector listens")?;
        let script = paths::root().join("system-tests/src/bench/profile.mjs");
        let start = Start {
            name: "the profiler",
            program: paths::node()?,
            arguments: vec![script.into(), inspector.into()],
            environment: Vec::new(),
            ending: Ending::Killed,
            log: stack.log("profiler"),
        };
        let (process, url) = Supervised::start_and_read_line(start, Duration::from_secs(30))?;
        Ok(Self { _process: process, url, http: Http::default() })
    }

    /// What the isolates spend while `work` is done.
    fn of<T>(&self, work: impl FnOnce() -> Result<T>) -> Result<(T, Spent)> {
        self.ask("begin")?;
        let done = work();
        let spent = self.ask("end")?;
        let spent =
            serde_json::from_value(spent.clone()).with_context(|| format!("the profiler said {spent}"))?;
        Ok((done?, spent))
    }

    fn ask(&self, what: &str) -> Result<Value> {
        let answer = self.http.send("GET", &format!("{}/{what}", self.url), &[], None)?.expect(200)?.json();
        ensure!(answer["error"].is_null(), "the profiler: {answer}");
        Ok(answer)
    }
}

/// Brings up a system, plants repositories of each size, and measures each call.
///
/// # Errors
/// Where something cannot be planted, or a call is refused.
pub fn measure(say: fn(&str)) -> Result<Section> {
    let mut stack = Stack::start(Options {
        name: "bench".into(),
        runner: Runner::Inspected,
        cron_every: Duration::from_hours(10),
        policy: json!({ "snapshot_every": "100h", "silence_after": "1h" }),
        progress: say,
        ..Options::default()
    })?;
    let section = tables(&mut stack, say);
    if section.is_err() {
        eprintln!("{}", stack.last_words());
    }
    stack.stop()?;
    section
}

fn tables(stack: &mut Stack, say: fn(&str)) -> Result<Section> {
    let id = stack.api.create(&json!({}))?.id.to_string();
    stack.api.wait_for(&id, State::Booting, LIMIT)?;
    let machine = PlayedMachine::ready(stack, &id, 1)?;
    machine.store("keys", b"a key")?;
    machine.backup("POST", "config", Some(b"the configuration"))?.expect(200)?;
    machine.store("index", b"an index")?;
    let snapshot = machine.store("snapshots", b"a snapshot")?;
    machine.deliver("receipts", &snapshot, &[])?.expect(200)?;
    let mut section = Section::new(
        "Processor time of calls about a repository",
        &format!(
            "Milliseconds, median of {RUNS} (the most), in the Worker's isolate and in that of its objects. A size is packs / \
             indexes / verified snapshots."
        ),
        &["call", "size", "Worker", "of it wasm", "object", "of it wasm"],
    );
    for size in SIZES {
        say(&format!("{size:?}"));
        let packs = plant(stack, &id, size)?;
        // Its token is good for minutes.
        let machine = PlayedMachine::ready(stack, &id, 1)?;
        let repository =
            Planted { stack, id: &id, machine: &machine, profiler: Profiler::start(stack)?, size, packs };
        repository.calls(&mut section)?;
        repository.receipts(&mut section)?;
    }
    stack.api.delete(&id, Discard::Work)?;
    Ok(section)
}

fn plant(stack: &mut Stack, id: &str, size: Size) -> Result<Vec<String>> {
    stack.crash_worker();
    let names = run("python3", |python| {
        python.args(["-c", include_str!("plant_repository.py")]).arg(stack.state()).arg(id).args([
            size.packs.to_string(),
            size.indexes.to_string(),
            size.snapshots.to_string(),
        ])
    })
    .context("planting a repository")?;
    stack.restart_worker()?;
    Ok(names.lines().map(str::to_owned).collect())
}

/// A repository of one size, and who looks at it.
struct Planted<'a> {
    stack: &'a Stack,
    id: &'a str,
    machine: &'a PlayedMachine,
    profiler: Profiler,
    size: Size,
    packs: Vec<String>,
}

impl Planted<'_> {
    fn calls(&self, section: &mut Section) -> Result<()> {
        let newest = self.newest()?;
        let listed = |path: &str| -> Result<()> {
            let headers = [("accept", "application/vnd.x.restic.rest.v2")];
            let path = format!("/v1/vm/backup/{path}");
            self.machine.api.raw("GET", &path, &headers, None)?.expect(200).map(drop)
        };
        let shown = |below: &str| -> Result<()> {
            self.stack
                .api
                .call("GET", &format!("/v1/workspaces/{}{below}", self.id), None)?
                .expect(200)
                .map(drop)
        };
        let nothing = |_| Ok(());
        let write = |run: usize| {
            let content = format!("index {run} of {}", self.size.packs);
            self.machine.store("index", content.as_bytes()).map(drop)
        };
        let as_of = format!("index/?as-of={newest}");
        let pack = |run: usize| {
            let content = format!("pack {run} of {}", self.size.packs);
            self.machine.store("data", content.as_bytes()).map(drop)
        };
        self.row(section, "list of packs", nothing, |_| listed("data/"))?;
        self.row(section, "machine's indexes, just changed", write, |_| listed("index/"))?;
        self.row(section, "machine's indexes, again", nothing, |_| listed("index/"))?;
        self.row(section, "indexes as of the newest", nothing, |_| listed(&as_of))?;
        self.row(section, "indexes of all verified", nothing, |_| listed("index/?as-of=verified"))?;
        self.row(section, "snapshots of all verified", nothing, |_| listed("snapshots/?as-of=verified"))?;
        self.row(section, "the workspace", nothing, |_| shown(""))?;
        self.row(section, "its list of backups", nothing, |_| shown("/snapshots"))?;
        self.row(section, "a pack is stored", nothing, pack)
    }

    fn newest(&self) -> Result<String> {
        let path = format!("/v1/workspaces/{}/snapshots", self.id);
        let listed = self.stack.api.call("GET", &path, None)?.expect(200)?.json();
        listed["snapshots"][0]["snapshot"].as_str().map(str::to_owned).context("no snapshot")
    }

    /// Deliveries of a receipt, and how its check goes on from alarm to alarm.
    fn receipts(&self, section: &mut Section) -> Result<()> {
        let snapshot =
            self.machine.store("snapshots", format!("snapshot of {}", self.size.packs).as_bytes())?;
        let named: Vec<Value> = self
            .packs
            .iter()
            .take(RECEIPT_PACKS)
            .map(|name| json!({ "name": name, "size": 8 << 20 }))
            .collect();
        let part = |to_come: usize| {
            let fields =
                json!({ "packs_total": self.size.packs, "packs_new": named, "packs_to_come": to_come });
            self.machine
                .deliver_receipt("receipts", &snapshot, &fields)?
                .expect(200)
                .map(|answer| answer.json())
        };
        let (mut delivered, mut slices) = (Vec::new(), Vec::new());
        // Each takes the place of the one before, whose check has only begun.
        for to_come in 1..=3 {
            self.machine.beat()?.expect(200)?;
            delivered.push(self.profiler.of(|| part(to_come))?.1);
            slices.push(self.slice()?);
        }
        // Nothing is in flight when the Worker is stopped: its next life would wait for that.
        wait::until("a part without packs", LIMIT, || {
            let fields = json!({ "packs_total": self.size.packs, "packs_new": [], "packs_to_come": 9 });
            let answer = self
                .machine
                .deliver_receipt("receipts", &snapshot, &fields)
                .map_err(|error| format!("{error:#}"))?;
            if answer.json()["status"] == "verified" { Ok(()) } else { Err(answer.text()) }
        })?;
        let packs = named.len();
        self.add(section, &format!("delivery of a receipt, {packs} packs"), &delivered);
        self.add(section, "two slices of it, 30 packs, in an alarm", &slices);
        Ok(())
    }

    /// What an invocation of the object takes that goes on with a receipt.
    fn slice(&self) -> Result<Spent> {
        let log = self.stack.log("worker");
        let ran = || -> Result<u32> {
            let text = std::fs::read_to_string(&log).context("reading the Worker's log")?;
            Ok(u32::try_from(text.matches("effects ran").count())?)
        };
        let (invocations, mut spent) = self.profiler.of(|| {
            let before = ran()?;
            std::thread::sleep(SLICES);
            Ok(ran()?.saturating_sub(before).max(1))
        })?;
        eprintln!("bench: {invocations} invocations");
        for isolate in [&mut spent.worker, &mut spent.objects] {
            for part in [&mut isolate.wasm, &mut isolate.script, &mut isolate.collector, &mut isolate.runtime]
            {
                *part /= f64::from(invocations);
            }
        }
        Ok(spent)
    }

    fn row(
        &self,
        section: &mut Section,
        what: &str,
        before: impl Fn(usize) -> Result<()>,
        call: impl Fn(usize) -> Result<()>,
    ) -> Result<()> {
        self.machine.beat()?.expect(200)?;
        let mut all = Vec::new();
        for run in 0..RUNS {
            before(run)?;
            all.push(self.profiler.of(|| call(run)).with_context(|| what.to_owned())?.1);
        }
        self.add(section, what, &all);
        Ok(())
    }

    fn add(&self, section: &mut Section, what: &str, all: &[Spent]) {
        if std::env::var_os("EBBTIDE_PROFILE").is_some()
            && let Some(last) = all.last()
        {
            eprintln!("bench: {what}: {:?} {:?}", last.worker.most, last.objects.most);
        }
        let cell = |of: fn(&Spent) -> f64| {
            let mut figures: Vec<f64> = all.iter().map(of).collect();
            figures.sort_by(f64::total_cmp);
            let (median, most) = (figures.get(figures.len() / 2), figures.last());
            format!("{:.1} ({:.1})", median.unwrap_or(&0.0), most.unwrap_or(&0.0))
        };
        let Size { packs, indexes, snapshots } = self.size;
        section.row([
            what.to_owned(),
            format!("{packs} / {indexes} / {snapshots}"),
            cell(|spent| spent.worker.all()),
            cell(|spent| spent.worker.wasm),
            cell(|spent| spent.objects.all()),
            cell(|spent| spent.objects.wasm),
        ]);
    }
}
