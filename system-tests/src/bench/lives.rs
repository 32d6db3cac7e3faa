//! Workspaces that live and die, split into who took the time; and beside them what git and restic take alone.
//!
//! Every moment is read from where it happened: the control plane's history, the vendors' journal, the kernel's start
//! time of a process, the Worker's log. Nothing is inferred from how often somebody looked.

use super::Bench;
use super::clock::{began_ms, now_ms, pause};
use super::log::Line;
use super::report::{Samples, Section, secs, verdict};
use crate::api::Discard;
use crate::machine::Machine;
use anyhow::{Context, Result};
use ebbtide_api::workspace::{State, StepState, Workspace};
use serde_json::json;
use std::path::Component;
use std::time::Duration;

/// How long one step may take before the run fails.
pub(super) const LIMIT: Duration = Duration::from_secs(180);
/// What the control plane and the agent may add to a spawn, in seconds.
const OURS_MOST: f64 = 3.0;
/// The repository that is cloned, as machines name it.
const REPOSITORY: &str = "http://git.ebbtide.test/ebbtide.git";

/// The bare clone, alone.
const BARE_CLONE: &str = "bare `git clone` in the same machine";
const TOTAL: &str = "**total**";
const MACHINE: &str = "the local cloud makes the machine (theirs)";
const WRITER: &str = "backup: two passes, the second over frozen processes";
const READER: &str = "a fresh reader makes the receipt, the control plane verifies it";
const BACKUP_ALONE: &str = "peer: stock `restic backup`, one pass, to a local directory";
const RESTORE_ALONE: &str = "peer: stock `restic restore` from there";
const CLONE: &str = "step: Cloning the repository";

/// What was measured over some lives.
#[derive(Debug, Default)]
pub struct Lives {
    spawn: Samples,
    sleep: Samples,
    wake: Samples,
    vendor_calls: Samples,
    saved: String,
}

/// Runs that many lives, one after the other.
///
/// # Errors
/// Where one does not go its way.
pub fn run(bench: &Bench, runs: usize) -> Result<Lives> {
    let mut lives = Lives::default();
    for run in 1..=runs {
        (bench.say)(&format!("life {run} of {runs}"));
        life(bench, &mut lives).with_context(|| format!("life {run}"))?;
    }
    Ok(lives)
}

fn life(bench: &Bench, lives: &mut Lives) -> Result<()> {
    let stack = &bench.stack;
    let asked = now_ms();
    let id = stack.api.create(&json!({ "repo": REPOSITORY }))?.id.to_string();
    let accepted = now_ms();
    lives.spawn.add("request accepted (the order is under way)", accepted - asked);
    let inside = boot(bench, &id, asked, &mut lives.spawn)?;
    lives.vendor_calls.add("spawn", journal(bench, asked)?.len() as f64);

    for _ in 0..3 {
        let text = format!(
            "rm -rf /tmp/bare && a=$(date +%s%N) && git clone -q {REPOSITORY} /tmp/bare && b=$(date +%s%N) && echo $(((b-a)/1000))"
        );
        lives.spawn.add(BARE_CLONE, micros(&inside.shell("ebb", &text)?)?);
    }
    inside.shell("ebb", &work(bench.work_mb))?;
    restic_alone(&inside, &mut lives.sleep)?;

    let asked = now_ms();
    sleep(bench, &id, asked, lives)?;
    lives.vendor_calls.add("sleep", journal(bench, asked)?.len() as f64);

    let asked = now_ms();
    stack.api.act(&id, "wake")?;
    lives.wake.add("request accepted", now_ms() - asked);
    boot(bench, &id, asked, &mut lives.wake)?;
    lives.vendor_calls.add("wake", journal(bench, asked)?.len() as f64);

    let asked = now_ms();
    stack.api.delete(&id, Discard::Work)?;
    stack.api.wait_for(&id, State::Deleted, LIMIT)?;
    lives.vendor_calls.add("delete", journal(bench, asked)?.len() as f64);
    Ok(())
}

/// Follows a boot to ready and says where the time went.
fn boot(bench: &Bench, id: &str, asked: f64, samples: &mut Samples) -> Result<Machine> {
    let ready = settled(bench, id, State::Running)?;
    let ready_at = event_ms(bench, id, State::Running, asked)?;
    let server = ready.machine.as_ref().context("ready without a machine")?.server_id;
    let inside = Machine::find(bench.stack.directory(), server)?;
    let calls = journal(bench, asked)?;
    let ordered = calls.iter().find(|call| call.is("POST", "/servers")).context("nothing was ordered")?.at;
    let named = calls.iter().rfind(|call| call.method != "GET" && call.path.contains("dns_records"));
    let on = began_ms(init_of(&inside)?)?;
    let agent = inside.pids_of("ebb-agent").into_iter().filter_map(|pid| began_ms(pid).ok());
    let agent = agent.min_by(f64::total_cmp).context("no idle-agent runs")?;
    let lines = bench.log.since(asked);
    let at = |method: &str, path: &str| lines.iter().find(|line| line.answers(method, path)).map(|l| l.at_ms);
    let enrolled = at("POST", "/v1/vm/enroll").context("no enrolment in the Worker's log")?;
    let steps: f64 = ready.boot.iter().map(|step| step.duration_ms as f64).sum();

    samples.add("control plane: request → server ordered", ordered - asked);
    samples.add(MACHINE, on - ordered);
    samples.add("user-data: machine on → agent fetched, checked, started", agent - on);
    samples.add("agent started → enrolled", enrolled - agent);
    for step in &ready.boot {
        samples.add(&format!("step: {}", step.title), step.duration_ms as f64);
    }
    samples.add("between steps, and telling \"ready\"", ready_at - enrolled - steps);
    samples.add(TOTAL, ready_at - asked);
    if let Some(named) = named {
        samples.add("names made (while it boots)", named.at - asked);
    }
    Ok(inside)
}

fn sleep(bench: &Bench, id: &str, asked: f64, lives: &mut Lives) -> Result<()> {
    let samples = &mut lives.sleep;
    bench.stack.api.act(id, "sleep")?;
    samples.add("request accepted", now_ms() - asked);
    let asleep = settled(bench, id, State::Asleep)?;
    let asleep_at = event_ms(bench, id, State::Asleep, asked)?;
    let ending_at = event_ms(bench, id, State::Destroying, asked)?;
    let lines = bench.log.since(asked);
    let of = |wish: &dyn Fn(&&Line) -> bool| lines.iter().find(wish).map(|line| line.at_ms);
    let first = of(&|line| line.is_about("/v1/vm/backup")).context("no backup in the Worker's log")?;
    let written = lines.iter().rfind(|line| line.answers("POST", "/v1/vm/backup/snapshots"));
    let written = written.context("no snapshot in the Worker's log")?.at_ms;
    let calls = journal(bench, asked)?;
    let is_delete = |call: &&Call| call.method == "DELETE" && call.path.starts_with("/servers/");
    let deleted = calls.iter().find(is_delete).context("no server was deleted")?.at;
    let dns = calls.iter().rfind(|call| call.method != "GET" && call.path.contains("dns_records"));

    samples.add("request → agent's first call for the backup", first - asked);
    samples.add(WRITER, written - first);
    samples.add(READER, ending_at - written);
    samples.add("→ server's deletion ordered", deleted - ending_at);
    samples.add("→ seen gone twice, names deleted, asleep", asleep_at - deleted);
    samples.add("**request → verified receipt**", ending_at - asked);
    samples.add("**request → asleep**", asleep_at - asked);
    if let Some(dns) = dns {
        samples.add("last name deleted", dns.at - asked);
    }
    if let Some(backup) = asleep.last_backup {
        lives.saved = format!("{} files, {}", backup.files, crate::stats::bytes(backup.bytes));
    }
    Ok(())
}

/// What stock restic takes for the same files, into a directory of the same machine.
fn restic_alone(inside: &Machine, samples: &mut Samples) -> Result<()> {
    let text = "export RESTIC_PASSWORD=x RESTIC_REPOSITORY=/tmp/peer RESTIC_CACHE_DIR=/tmp/peer-cache; \
        rm -rf /tmp/peer && restic init -q && a=$(date +%s%N) && \
        restic backup -q /home/ebb /workspaces && b=$(date +%s%N) && \
        restic restore -q latest --target /tmp/peer-out >/dev/null && c=$(date +%s%N) && \
        rm -rf /tmp/peer /tmp/peer-out && echo $(((b-a)/1000)) $(((c-b)/1000))";
    let Ok(answer) = inside.shell("root", text) else {
        // No restic on this host: there is no peer, and the table shows none.
        return Ok(());
    };
    let (backup, restore) = answer.split_once(' ').context("two figures")?;
    samples.add(BACKUP_ALONE, micros(backup)?);
    samples.add(RESTORE_ALONE, micros(restore)?);
    Ok(())
}

/// Work that a backup has to carry: half of it in one file, half in many, not compressible.
fn work(megabytes: usize) -> String {
    let small = megabytes * 1024 * 1024 / 2 / 500;
    format!(
        "cd /workspaces/ebbtide && mkdir -p work && head -c {half} /dev/urandom > work/large && \
         for i in $(seq 500); do head -c {small} /dev/urandom > work/small-$i; done",
        half = megabytes * 1024 * 1024 / 2
    )
}

impl Lives {
    /// Spawn to ready.
    pub fn spawning(&self) -> Section {
        let (total, bare) = (self.spawn.of(TOTAL).median, self.spawn.of(BARE_CLONE).median);
        let (made, clone) = (self.spawn.of(MACHINE).median, self.spawn.of(CLONE).median);
        let runs = self.spawn.of(TOTAL).count;
        let mut section = Section::new(
            "Spawn → ready",
            &format!(
                "{runs} runs, one after the other, of a workspace with this repository on a `process` machine."
            ),
            &["part", "median", "min", "max"],
        );
        spread(&mut section, &self.spawn);
        let added = (total - bare) / 1000.0;
        let ratio = if bare > 0.0 { total / bare } else { 0.0 };
        section.remark(format!(
            "**Ours.** Total less the bare clone: {added:.2} s (target {}), which includes {:.2} s in which the local cloud \
             makes a machine; without those {:.2} s. A workspace is ready in {ratio:.1} times what a bare clone takes. Our \
             clone step takes {:.2} times the bare clone.",
            verdict(added, OURS_MOST, "s"),
            made / 1000.0,
            (total - bare - made) / 1000.0,
            if bare > 0.0 { clone / bare } else { 0.0 },
        ));
        section
    }

    /// Running to asleep.
    pub fn sleeping(&self) -> Section {
        let mut section = Section::new(
            "Sleep",
            &format!(
                "Asked for by the owner; {} in the snapshot, {}.",
                self.saved, "of which the random part was new and none had been backed up before"
            ),
            &["part", "median", "min", "max"],
        );
        spread(&mut section, &self.sleep);
        let total = self.sleep.of("**request → verified receipt**").median;
        let tool = self.sleep.of(WRITER).median;
        let reader = self.sleep.of(READER).median;
        section.remark(format!(
            "Of the {} to a verified receipt, {} are the backup library's writing and {} its reading back; the rest, {}, is ours.{}",
            secs(total),
            secs(tool),
            secs(reader),
            secs(total - tool - reader),
            times(tool, self.sleep.of(BACKUP_ALONE).median, "The two passes through the Worker take", "stock `restic backup`'s one"),
        ));
        section
    }

    /// Asleep to running.
    pub fn waking(&self) -> Section {
        let mut section = Section::new(
            "Wake → ready",
            "The same files on a new machine.",
            &["part", "median", "min", "max"],
        );
        spread(&mut section, &self.wake);
        let (total, made) = (self.wake.of(TOTAL).median, self.wake.of(MACHINE).median);
        let restore = self.wake.of("step: Restoring the last backup").median;
        section.remark(format!(
            "Without the restore: {}; without the local cloud's share too: {}.{}",
            secs(total - restore),
            secs(total - restore - made),
            times(
                restore,
                self.sleep.of(RESTORE_ALONE).median,
                "Our restore through the Worker takes",
                "stock `restic restore` from a local directory"
            ),
        ));
        section
    }

    /// Calls to the vendors in each phase, as the journal has them.
    pub fn vendor_calls(&self) -> impl Iterator<Item = (&str, u32)> {
        self.vendor_calls.spread().map(|(name, spread)| (name, spread.max as u32))
    }
}

/// A sentence that compares two times; none where there is nothing to compare with.
fn times(ours: f64, theirs: f64, what: &str, with: &str) -> String {
    if theirs > 0.0 {
        format!(" {what} {:.2} times as long as {with}.", ours / theirs)
    } else {
        String::new()
    }
}

fn spread(section: &mut Section, samples: &Samples) {
    for (name, spread) in samples.spread() {
        section.row([name.to_owned(), secs(spread.median), secs(spread.min), secs(spread.max)]);
    }
}

/// One call that a vendor got.
struct Call {
    at: f64,
    method: String,
    path: String,
}

impl Call {
    fn is(&self, method: &str, path: &str) -> bool {
        self.method == method && self.path == path
    }
}

fn journal(bench: &Bench, since: f64) -> Result<Vec<Call>> {
    let call = |entry: &serde_json::Value| -> Option<Call> {
        let at = entry["at_ms"].as_f64()?;
        let text = |name: &str| entry[name].as_str().map(str::to_owned);
        // Whole milliseconds there, fractions here.
        (at + 1.0 >= since).then_some(Call { at, method: text("method")?, path: text("path")? })
    };
    Ok(bench.stack.cloud.journal()?.iter().filter_map(call).collect())
}

/// Waits for a state, looking gently: a busy watcher would be part of what it measures.
pub(super) fn settled(bench: &Bench, id: &str, state: State) -> Result<Workspace> {
    let begun = now_ms();
    let through = |w: &Workspace| {
        w.state == state && (state != State::Running || w.boot.iter().all(|s| s.state != StepState::Running))
    };
    bench.stack.api.wait(id, state.as_str(), LIMIT, |workspace| {
        let done = through(workspace);
        if !done && now_ms() - begun > 200.0 {
            pause(Duration::from_millis(150));
        }
        done
    })
}

fn event_ms(bench: &Bench, id: &str, state: State, since: f64) -> Result<f64> {
    let events = bench.stack.api.events(id)?;
    let found =
        events.iter().find(|event| event.state == state && event.at.as_millisecond() as f64 >= since - 1.0);
    Ok(found.with_context(|| format!("no {state} in the history"))?.at.as_millisecond() as f64)
}

/// The host's number of a machine's init.
fn init_of(inside: &Machine) -> Result<u32> {
    let path = inside.path("");
    let mut parts = path.components().filter_map(|part| match part {
        Component::Normal(part) => part.to_str()?.parse().ok(),
        _ => None,
    });
    parts.next().context("a machine without a process")
}

fn micros(text: &str) -> Result<f64> {
    let micros: f64 = text.trim().parse().with_context(|| format!("no number: {text:?}"))?;
    Ok(micros / 1000.0)
}
