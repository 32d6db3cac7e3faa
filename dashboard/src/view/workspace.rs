//! The workspace page: everything that `GET /v1/workspaces/{id}` and its history say, in words.

use crate::text::{self, Sentence, Time};
use crate::view::action::{ActionView, actions};
use crate::view::boot::{BootView, ProgressView, boot, progress};
use crate::view::snapshots::{SnapshotsView, snapshots};
use crate::view::why::{WhyView, why};
use crate::view::{StateView, at_rest, log, sentence, state};
use ebbtide_api::backups::{Persistence, SnapshotList, SnapshotSummary};
use ebbtide_api::history::{Event, LogPage};
use ebbtide_api::ports::Port;
use ebbtide_api::workspace::{Hold, State, StepState, Workspace};
use ebbtide_api::{Agent, Hint, Timestamp};

/// A workspace, ready to show.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorkspaceView {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// What is cloned.
    pub repo: Option<RepoView>,
    /// Its state.
    pub state: StateView,
    /// When it entered that state; `relative` is how long ago.
    pub since: Time,
    /// Why it is in that state.
    pub because: Sentence,
    /// What it waits for.
    pub waiting_for: Option<Sentence>,
    /// What went wrong.
    pub failure: Option<FailureView>,
    /// What a wake restores, where that is not simply the newest and whole.
    pub restore_note: Option<Sentence>,
    /// The end of its machine's log, where it was looked up: after a failure.
    pub log: Option<String>,
    /// What a screen reader is told when it changes; holds nothing that changes every second.
    pub announcement: String,
    /// Buttons, most likely wanted first.
    pub actions: Vec<ActionView>,
    /// Whether it can be deleted from here.
    pub deletable: bool,
    /// Boot steps.
    pub boot: Option<BootView>,
    /// Why it is awake.
    pub why: Option<WhyView>,
    /// Whether ports are shown at all: a machine runs.
    pub serving: bool,
    /// Ports that answer.
    pub ports: Vec<PortView>,
    /// The backup that is running.
    pub progress: Option<ProgressView>,
    /// The last verified backup.
    pub backup: Option<BackupView>,
    /// Whether it is backed up at all.
    pub kept: bool,
    /// All verified backups, where one can be chosen: while no machine exists.
    pub snapshots: Option<SnapshotsView>,
    /// Holds in force.
    pub holds: Vec<HoldView>,
    /// Which secrets it gets, in words.
    pub secrets: String,
    /// Whether SSH is let in, in words.
    pub ssh: &'static str,
    /// The machine and its bounds.
    pub facts: Vec<Fact>,
    /// History, newest first.
    pub events: Vec<EventView>,
    /// How often the page may be refreshed, in milliseconds.
    pub refresh_ms: u32,
}

/// What is cloned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RepoView {
    /// `github.com/someone/thing`.
    pub label: String,
    /// Where a browser finds it; `None` for ssh.
    pub href: Option<String>,
    /// Branch or tag.
    pub branch: Option<String>,
}

/// Why it failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FailureView {
    /// What happened.
    pub message: Sentence,
    /// What to do next.
    pub hint: Sentence,
    /// The stable code.
    pub code: String,
}

/// A port that answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PortView {
    /// The number.
    pub port: u16,
    /// Who listens.
    pub process: String,
    /// Where it answers, without the scheme.
    pub address: Option<String>,
    /// The dashboard's own path that opens it; `None` where a browser cannot.
    pub open: Option<String>,
}

/// A verified backup.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BackupView {
    /// When it was verified.
    pub verified: Time,
    /// `1 204 files, 38.2 MB`.
    pub detail: String,
    /// The first characters of the snapshot's id.
    pub snapshot: String,
    /// Whether something could not be read.
    pub partial: bool,
}

/// A hold in force.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HoldView {
    /// Its id.
    pub id: String,
    /// Why.
    pub reason: String,
    /// When it ends.
    pub ends: Time,
}

/// A labelled value, with a time where it is one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fact {
    /// What it is.
    pub label: &'static str,
    /// Its value.
    pub value: String,
    /// The point in time that belongs to it.
    pub time: Option<Time>,
}

/// One line of history.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventView {
    /// When.
    pub at: Time,
    /// Colours its mark.
    pub tone: &'static str,
    /// The state that it led to, where that is another than before.
    pub entered: Option<&'static str>,
    /// How long after the line before it.
    pub after: Option<String>,
    /// What happened and why.
    pub because: Sentence,
}

/// How often a page of a workspace that moves is refreshed: a person waits at most so long to see what changed.
const REFRESH_MOVING_MS: u32 = 2000;
/// The same at rest, where only somebody else can change something.
const REFRESH_AT_REST_MS: u32 = 10_000;
/// Lines of history on a page; the API has all of them.
const HISTORY: usize = 60;

/// Shows a workspace and its history (oldest first, as the API answers it).
pub fn workspace(workspace: &Workspace, events: &[Event], now: Timestamp) -> WorkspaceView {
    let serving = matches!(workspace.state, State::Running | State::Silent | State::Draining);
    WorkspaceView {
        id: workspace.id.to_string(),
        name: workspace.name.clone(),
        repo: workspace.repo.as_deref().map(|repo| repository(repo, workspace.branch.as_deref())),
        state: state(workspace.state),
        since: text::passed(workspace.since, now),
        because: because(workspace, now),
        waiting_for: workspace
            .waiting_for
            .as_deref()
            .map(|what| as_sentence(&format!("waiting for {what}"), now)),
        restore_note: workspace.restore_note.as_ref().map(|note| as_sentence(&note.sentence, now)),
        failure: workspace.failure.as_ref().map(|failure| FailureView {
            message: as_sentence(&failure.message, now),
            hint: as_sentence(&Hint::page_form(&failure.hint), now),
            code: failure.code.to_string(),
        }),
        log: None,
        announcement: announcement(workspace),
        actions: actions(workspace),
        deletable: workspace.state != State::Deleted,
        boot: boot(&workspace.boot, workspace.state),
        why: workspace.why.as_ref().map(|each| why(each, now)),
        serving,
        ports: workspace.ports.iter().map(|each| port(workspace, each)).collect(),
        progress: workspace.backup.as_ref().map(progress),
        backup: workspace.last_backup.as_ref().map(|last| backup(last, now)),
        kept: workspace.persistence == Persistence::Backup,
        snapshots: None,
        holds: workspace.holds.iter().map(|each| hold(each, now)).collect(),
        secrets: super::secrets::fact(&workspace.secrets),
        ssh: super::ssh::fact(workspace.ssh),
        facts: facts(workspace, now),
        events: history(events, now),
        refresh_ms: if at_rest(workspace.state) { REFRESH_AT_REST_MS } else { REFRESH_MOVING_MS },
    }
}

/// Whether one of its backups can be chosen for a wake.
pub const fn chooses(state: State) -> bool {
    matches!(state, State::Asleep | State::Failed)
}

/// Whether its page shows the end of its machine's log.
pub const fn shows_log(state: State) -> bool {
    matches!(state, State::Failed)
}

impl WorkspaceView {
    /// Adds the list of backups, where one was looked up.
    #[must_use]
    pub fn with_snapshots(self, list: Option<&SnapshotList>, now: Timestamp) -> Self {
        Self { snapshots: list.and_then(|list| snapshots(list, now)), ..self }
    }

    /// Adds the end of its machine's log, where one was looked up.
    #[must_use]
    pub fn with_log(self, log: Option<&LogPage>) -> Self {
        Self { log: log.and_then(log::tail), ..self }
    }
}

/// Why it is as it is, in the one line that API and machine give too.
pub(super) fn because(workspace: &Workspace, now: Timestamp) -> Sentence {
    as_sentence(&workspace.line, now)
}

/// What a machine or the control plane said, as a sentence.
fn as_sentence(clause: &str, now: Timestamp) -> Sentence {
    text::pieces(&sentence(clause), now)
}

/// A repository's URL without what nobody reads. Only http and https become links: a hostile scheme stays a text.
pub fn repository(url: &str, branch: Option<&str>) -> RepoView {
    let web = ["https://", "http://"].iter().find_map(|scheme| url.strip_prefix(scheme));
    let label = web.unwrap_or(url).trim_end_matches('/');
    RepoView {
        label: label.strip_suffix(".git").unwrap_or(label).to_owned(),
        href: web.map(|_| url.to_owned()),
        branch: branch.map(str::to_owned),
    }
}

fn announcement(workspace: &Workspace) -> String {
    let word = state(workspace.state).word;
    let step = workspace.boot.iter().find(|step| step.state == StepState::Running);
    match (workspace.state, step) {
        (State::Booting, Some(step)) => format!("{word}. {}", sentence(&step.title)),
        _ => format!("{word}. {}", sentence(&workspace.because)),
    }
}

fn port(workspace: &Workspace, port: &Port) -> PortView {
    PortView {
        port: port.port,
        process: port.process.clone(),
        address: port.url.as_deref().map(|url| {
            let bare = url.split_once("://").map_or(url, |(_, rest)| rest);
            bare.trim_end_matches('/').to_owned()
        }),
        open: (port.http && port.url.is_some()).then(|| format!("/w/{}/open/{}", workspace.id, port.port)),
    }
}

fn backup(last: &SnapshotSummary, now: Timestamp) -> BackupView {
    BackupView {
        verified: text::time(last.verified_at, now),
        detail: format!("{}, {}", text::plural(last.files, "file", "files"), text::bytes(last.bytes)),
        snapshot: last.snapshot.chars().take(8).collect(),
        partial: last.partial,
    }
}

fn hold(hold: &Hold, now: Timestamp) -> HoldView {
    let reason = if hold.reason.trim().is_empty() { "no reason given" } else { &hold.reason };
    HoldView { id: hold.id.clone(), reason: reason.to_owned(), ends: text::time(hold.ends_at, now) }
}

fn facts(workspace: &Workspace, now: Timestamp) -> Vec<Fact> {
    let plain = |label, value: String| Some(Fact { label, value, time: None });
    let at = |label, at: Option<Timestamp>| {
        at.map(|at| Fact { label, value: String::new(), time: Some(text::time(at, now)) })
    };
    let machine = workspace.machine.as_ref();
    [
        at_rest(workspace.state)
            .then(|| plain("Cost now", cost_at_rest(workspace.persistence).to_owned()))
            .flatten(),
        workspace.worst_case.as_ref().and_then(|cost| {
            plain(
                if at_rest(workspace.state) { "Awake, at worst" } else { "Cost at worst" },
                text::cost(cost),
            )
        }),
        plain("Machine", format!("{} in {}", workspace.size, workspace.location)),
        machine.and_then(|machine| machine.ipv4.clone()).and_then(|address| plain("Address", address)),
        machine.and_then(|machine| plain("Host", machine.host.clone())),
        machine.and_then(|machine| {
            plain("Server", format!("{} · generation {}", machine.server_id, workspace.generation))
        }),
        workspace.heard_secs_ago.and_then(|secs| plain("Last heard", format!("{} ago", text::seconds(secs)))),
        agents(&workspace.agents).and_then(|titles| plain("Coding agents", titles)),
        workspace.docker.then(|| plain("Docker", "installed at each start".to_owned())).flatten(),
        plain("Sleeps when idle for", text::duration(workspace.idle_timeout)),
        plain("Lifetime", text::duration(workspace.lifetime)),
        at("Lifetime ends", workspace.lifetime_ends_at),
        at("Ends at the latest", workspace.hard_end_at),
        at("Created", Some(workspace.created_at)),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// The agents that are installed, by their titles; one that is not known any more by its command.
fn agents(names: &[String]) -> Option<String> {
    let title =
        |name: &String| Agent::parse(name).map_or(name.clone(), |agent| agent.profile().title.to_owned());
    Some(names.iter().map(title).collect::<Vec<_>>().join(", ")).filter(|titles| !titles.is_empty())
}

const fn cost_at_rest(persistence: Persistence) -> &'static str {
    match persistence {
        Persistence::Backup => "no server, only backup storage",
        Persistence::None => "nothing",
    }
}

fn history(events: &[Event], now: Timestamp) -> Vec<EventView> {
    let before = std::iter::once(None).chain(events.iter().map(Some));
    let mut lines: Vec<_> = events
        .iter()
        .zip(before)
        .map(|(event, before)| EventView {
            at: text::time(event.at, now),
            tone: state(event.state).tone,
            entered: before.is_none_or(|before| before.state != event.state).then(|| state(event.state).word),
            after: before.and_then(|before| after(before.at, event.at)),
            because: as_sentence(&event.because, now),
        })
        .collect();
    lines.reverse();
    lines.truncate(HISTORY);
    lines
}

/// How long after the line before it; nothing where both are of one moment.
fn after(before: Timestamp, at: Timestamp) -> Option<String> {
    let passed = u64::try_from(at.as_millisecond().saturating_sub(before.as_millisecond())).unwrap_or(0);
    (passed >= 50).then(|| format!("+{}", text::millis(passed)))
}
