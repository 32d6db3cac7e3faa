//! The main job from spawn to delete on a real repository (this one), as a timeline with every figure measured.
//! Run it through `scripts/demo`, which builds first.
//!
//! Everything is seen from outside: through the API, the vendors' inventory, and the machine itself. A step that does
//! not happen within its limit ends the demo with a failure.

use anyhow::{Context, Result, ensure};
use clap::Parser;
use ebbtide_api::workspace::{State, StepState, Workspace};
use ebbtide_system_tests::api::Discard;
use ebbtide_system_tests::browser::Visitor;
use ebbtide_system_tests::interrupt::{self, Interrupted};
use ebbtide_system_tests::machine::{self, Machine};
use ebbtide_system_tests::stats::{bytes, secs};
use ebbtide_system_tests::{Machines, Options, Stack, wait};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// Shows a workspace's life and measures it.
#[derive(Debug, Parser)]
struct Arguments {
    /// Prints one JSON object at the end instead of lines as they happen.
    #[arg(long)]
    json: bool,
}

/// How long one step may take before the demo fails.
const LIMIT: Duration = Duration::from_secs(120);
/// The port that the dev server inside listens on.
const PORT: u16 = 3000;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let why = if error.is::<Interrupted>() { "interrupted".into() } else { format!("{error:#}") };
            eprintln!("demo: failed: {why}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<()> {
    interrupt::catch()?;
    let repositories = tempfile::Builder::new().prefix("ebbtide-repositories-").tempdir()?;
    machine::serve_this_repository(repositories.path())?;
    let stack = Stack::start(Options {
        name: "demo".into(),
        machines: Machines::Process,
        policy: json!({ "heartbeat": "1s", "poll": "1s", "retry_base": "1s", "gone_after_create": "5s" }),
        repositories: Some(repositories.path().to_owned()),
        progress: |text| eprintln!("demo: {text}"),
        ..Options::default()
    })?;
    let mut timeline = Timeline::new(arguments.json);
    let told = tell(&stack, &mut timeline);
    if told.is_err() && !told.as_ref().is_err_and(|error| error.is::<Interrupted>()) {
        eprintln!("{}", stack.last_words());
    }
    let stopped = stack.stop();
    told?;
    stopped?;
    timeline.mark("everything ended", "no process, mount or namespace is left");
    timeline.finish();
    Ok(())
}

fn tell(stack: &Stack, timeline: &mut Timeline) -> Result<()> {
    let request = json!({ "repo": "http://git.ebbtide.test/ebbtide.git", "idle_timeout": "10s" });
    timeline.start();
    let id = stack.api.create(&request)?.id.to_string();
    timeline.mark("spawn accepted", &format!("workspace {id}"));
    let first = boot(stack, timeline, &id)?;
    let inside = stack.machine_of(&id)?;
    work(&inside)?;
    let before = fingerprint(&inside)?;
    let entries = inside.shell("root", "find /workspaces /home/ebb | wc -l")?;
    timeline.mark(
        "work done inside",
        &format!("{entries} files and directories, some untracked, some ignored by git"),
    );
    dev_server(stack, timeline, &id, &inside)?;
    go_idle(stack, timeline, &id)?;
    asleep(stack, timeline, &id)?;

    stack.api.act(&id, "wake")?;
    timeline.mark("wake accepted", "");
    let second = boot(stack, timeline, &id)?;
    ensure!(first != second, "the same server came back");
    let after = fingerprint(&stack.machine_of(&id)?)?;
    ensure!(before == after, "the files differ after the wake:\n{}", difference(&before, &after));
    timeline
        .mark("the same bytes", "contents, modes, owners, links and times; untracked and ignored files too");

    stack.api.act(&id, "sleep")?;
    timeline.mark("sleep asked for", "");
    asleep(stack, timeline, &id)?;
    stack.api.delete(&id, Discard::Nothing)?;
    stack.api.wait_for(&id, State::Deleted, LIMIT)?;
    let inventory = stack.cloud.inventory()?;
    ensure!(inventory.live().is_empty(), "servers are left: {:?}", inventory.live());
    ensure!(inventory.dns_records.is_empty(), "records are left: {:?}", inventory.dns_records);
    timeline.mark("deleted", "no server, no record, can be undone for 7 days");
    Ok(())
}

/// Follows a boot to ready; says the server's name.
fn boot(stack: &Stack, timeline: &mut Timeline, id: &str) -> Result<String> {
    let begun = Instant::now();
    let server = wait::until("a server", LIMIT, || {
        let inventory = stack.cloud.inventory().map_err(|error| error.to_string())?;
        inventory.live_of(id).first().map(|server| (*server).clone()).ok_or_else(|| "none".into())
    })?;
    timeline.mark("server created", &format!("{} ({})", server.name, server.server_type));
    let names = wait::until("names", LIMIT, || {
        let names = stack.cloud.inventory().map_err(|error| error.to_string())?.names_of(id);
        if names.len() >= 2 { Ok(names) } else { Err(format!("{names:?}")) }
    })?;
    timeline.mark("DNS", &names.join(", "));
    let mut told = BTreeSet::new();
    let mut theirs = Duration::ZERO;
    let ready = wait::until("the boot plan", LIMIT, || {
        let workspace = stack.api.get(id).map_err(|error| format!("{error:#}"))?;
        for step in &workspace.boot {
            let took = Duration::from_millis(step.duration_ms);
            let over = matches!(step.state, StepState::Done | StepState::Skipped | StepState::Failed);
            if !over || !told.insert(step.name.clone()) {
                continue;
            }
            let detail = step.detail.as_deref().map(|detail| format!(" ({detail})")).unwrap_or_default();
            let state = format!("{:?}", step.state).to_lowercase();
            timeline.mark(&format!("  {}", step.title), &format!("{state} in {}{detail}", millis(took)));
            if ["clone", "restore"].contains(&step.name.as_str()) {
                theirs += took;
            }
        }
        let words = ebbtide_system_tests::api::shown(&workspace);
        if workspace.state == State::Running { Ok(workspace) } else { Err(words) }
    })?;
    let total = begun.elapsed();
    let ours = total.saturating_sub(theirs);
    timeline.mark(
        "ready",
        &format!("{} from the order, {} of it ours, not git's or the backup's", secs(total), secs(ours)),
    );
    timeline.figure(&format!("ready_ms_generation_{}", ready.generation), total);
    timeline.figure(&format!("ready_ours_ms_generation_{}", ready.generation), ours);
    Ok(server.name)
}

/// Leaves work behind that a backup must not lose: changed, untracked, ignored, linked, executable.
fn work(inside: &Machine) -> Result<()> {
    let text = "cd /workspaces/ebbtide && echo '# changed' >> README.md && echo 'SECRET=1' > .env && \
        mkdir -p target/deep && head -c 64000000 /dev/urandom > target/deep/ignored.bin && \
        printf 'untracked' > 'a file with spaces' && ln -s README.md link && \
        printf '#!/bin/sh\\n' > run.sh && chmod 750 run.sh && mkdir empty && \
        touch -d '2001-02-03 04:05:06' old && printf 'export A=1\\n' >> ~/.profile";
    inside.shell("ebb", text).map(drop)
}

fn fingerprint(inside: &Machine) -> Result<String> {
    Ok(format!("{}\n{}", inside.fingerprint("/workspaces")?, inside.fingerprint("/home/ebb")?))
}

fn dev_server(stack: &Stack, timeline: &mut Timeline, id: &str, inside: &Machine) -> Result<()> {
    let link = Visitor::link(stack, id, PORT)?;
    inside.shell(
        "ebb",
        &format!("cd /tmp && echo hello > index.html && tmux new-window -d 'python3 -m http.server {PORT}'"),
    )?;
    wait::until("the dev server to listen", LIMIT, || {
        inside.listens(PORT).then_some(()).ok_or_else(|| "not yet".into())
    })?;
    let listening = Instant::now();
    timeline.mark("dev server started inside", &format!("listens on {PORT}"));
    wait::until("the dev server's page", LIMIT, || {
        let (_, answer) = Visitor::open(stack, &link).map_err(|error| format!("{error:#}"))?;
        if answer.status == 200 && answer.text().contains("hello") {
            Ok(())
        } else {
            Err(format!("{} {}", answer.status, answer.text()))
        }
    })?;
    let took = listening.elapsed();
    let host = link.split('?').next().unwrap_or_default();
    timeline.mark("it answers at its own URL", &format!("{host} {} after it listened", millis(took)));
    timeline.figure("port_ms", took);
    Ok(())
}

/// Waits until the idle verdict ends the machine, telling the reasons as they change.
fn go_idle(stack: &Stack, timeline: &mut Timeline, id: &str) -> Result<()> {
    let begun = Instant::now();
    let mut said = String::new();
    let workspace = wait::until("the idle verdict", LIMIT, || {
        let workspace = stack.api.get(id).map_err(|error| format!("{error:#}"))?;
        if let Some(why) = &workspace.why {
            let now = format!("{:?}", why.verdict).to_lowercase();
            if now != said {
                timeline.mark(&format!("  verdict {now}"), &why.because.join("; "));
                said = now;
            }
        }
        if workspace.state == State::Running { Err(workspace.because) } else { Ok(workspace) }
    })?;
    timeline
        .mark("goes to sleep", &format!("{} ({} without anybody)", workspace.because, secs(begun.elapsed())));
    Ok(())
}

/// Follows a drain to its end.
fn asleep(stack: &Stack, timeline: &mut Timeline, id: &str) -> Result<()> {
    let begun = Instant::now();
    let mut phases = BTreeSet::new();
    let (mut seen, mut told) = (0, Instant::now());
    let mut last: Option<Workspace> = None;
    let verified = wait::until("a verified backup", LIMIT, || {
        let workspace = stack.api.get(id).map_err(|error| format!("{error:#}"))?;
        if let Some(backup) = &workspace.backup {
            let mut progress = format!("{} files, {}", backup.files_done, bytes(backup.bytes_done));
            if let Some(total) = backup.bytes_total {
                progress += &format!(" of {}", bytes(total));
            }
            let news = phases.insert(backup.phase.clone());
            if news || (backup.bytes_done > seen && told.elapsed() >= Duration::from_secs(1)) {
                timeline.mark(&format!("  backup: {}", backup.phase), &progress);
                (seen, told) = (backup.bytes_done, Instant::now());
            }
        }
        let past = matches!(workspace.state, State::Destroying | State::Asleep);
        let words = ebbtide_system_tests::api::shown(&workspace);
        last = Some(workspace.clone());
        if past { Ok(workspace) } else { Err(words) }
    })?;
    let backup = verified.last_backup.context("asleep without a verified backup")?;
    let figure = format!("{} files, {}, snapshot {:.8}", backup.files, bytes(backup.bytes), backup.snapshot);
    timeline.mark("receipt verified", &figure);
    wait::until("the server's deletion", LIMIT, || {
        let inventory = stack.cloud.inventory().map_err(|error| error.to_string())?;
        if inventory.live_of(id).is_empty() { Ok(()) } else { Err("it is still there".into()) }
    })?;
    timeline.mark("server deleted", "");
    wait::until("the names' deletion", LIMIT, || {
        let names = stack.cloud.inventory().map_err(|error| error.to_string())?.names_of(id);
        if names.is_empty() { Ok(()) } else { Err(names.join(", ")) }
    })?;
    timeline.mark("DNS gone", "");
    stack.api.wait_for(id, State::Asleep, LIMIT)?;
    timeline.mark("asleep", &format!("{} from the decision", secs(begun.elapsed())));
    Ok(())
}

fn millis(duration: Duration) -> String {
    format!("{} ms", duration.as_millis())
}

/// The first lines in which two listings differ.
fn difference(before: &str, after: &str) -> String {
    let (old, new): (BTreeSet<_>, BTreeSet<_>) = (before.lines().collect(), after.lines().collect());
    let lost = old.difference(&new).map(|line| format!("- {line}"));
    let gained = new.difference(&old).map(|line| format!("+ {line}"));
    lost.take(20).chain(gained.take(20)).collect::<Vec<_>>().join("\n")
}

/// What happened when, printed as it happens.
struct Timeline {
    begun: Instant,
    last: Instant,
    json: bool,
    steps: Vec<Value>,
    figures: serde_json::Map<String, Value>,
}

impl Timeline {
    fn new(json: bool) -> Self {
        let now = Instant::now();
        Self { begun: now, last: now, json, steps: Vec::new(), figures: serde_json::Map::new() }
    }

    fn start(&mut self) {
        self.begun = Instant::now();
        self.last = self.begun;
        if !self.json {
            println!("   since      step   what happened");
        }
    }

    fn mark(&mut self, step: &str, figure: &str) {
        let now = Instant::now();
        let (at, took) = (now - self.begun, now - self.last);
        self.last = now;
        self.steps.push(json!({ "step": step.trim(), "at_ms": at.as_millis(), "took_ms": took.as_millis(), "figure": figure }));
        if !self.json {
            println!("{:7.2} s  +{:6.2} s  {step:<32} {figure}", at.as_secs_f64(), took.as_secs_f64());
        }
    }

    fn figure(&mut self, name: &str, duration: Duration) {
        self.figures.insert(name.into(), json!(duration.as_millis()));
    }

    fn finish(self) {
        if self.json {
            println!("{:#}", json!({ "steps": self.steps, "figures": self.figures }));
        }
    }
}
