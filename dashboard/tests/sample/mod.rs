//! Workspaces in every state, made up, for the snapshots and the preview. Shared by both so that what a reviewer
//! looks at is what is tested.

use ebbtide_api::backups::{BackupProgress, Persistence, Retention, SnapshotList, SnapshotSummary};
use ebbtide_api::catalog::{Catalog, CatalogLocation, CatalogOffer, CatalogSize};
use ebbtide_api::failure::{Failure, FailureCode};
use ebbtide_api::history::{Event, LogPage};
use ebbtide_api::money::Cost;
use ebbtide_api::ports::Port;
use ebbtide_api::secrets::{FileMode, SecretChoice, SecretInfo, SecretUse, SecretUser};
use ebbtide_api::ssh::{SshAccess, SshKeyInfo};
use ebbtide_api::usage::{UsageCaps, UsageCount, UsageSpending};
use ebbtide_api::why::{BackupEstimate, Budget, Keeping, Lease, Signal, SignalState, Verdict, Why};
use ebbtide_api::workspace::{BootStep, Hold, Machine, State, StepState, Workspace, WorkspaceSummary};
use ebbtide_api::{Duration, ErrorBody, ErrorCode, Generation, Hint, Timestamp, WorkspaceId};
use ebbtide_dashboard::form::{Refusal, Typed};
use ebbtide_dashboard::page::{
    ChoicePage, CostFragment, CreatePage, DeletePage, ErrorPage, Link, ListPage, SecretsPage, Shell,
    SignInPage, SshKeysPage, SshPage, Template as _, WorkspaceFragment, WorkspacePage,
};
use ebbtide_dashboard::view;
use ebbtide_dashboard::view::create::{Defaults, Quote};
use ebbtide_dashboard::view::list::Entry;
use ebbtide_dashboard::view::secrets::TypedSecret;
use ebbtide_dashboard::view::ssh::TypedKey;

/// The moment at which every sample is looked at.
pub fn now() -> Timestamp {
    at("14:30:00")
}

fn at(clock: &str) -> Timestamp {
    format!("2026-11-21T{clock}Z").parse().expect("a sample time")
}

fn id(text: &str) -> WorkspaceId {
    text.parse().expect("a sample id")
}

fn asleep() -> Workspace {
    Workspace {
        id: id("k3v7q2mzab"),
        name: "tide-tables".into(),
        state: State::Asleep,
        since: at("13:05:00"),
        because: "nothing has happened for 30m; the backup is verified in storage".into(),
        line: "nothing has happened for 30m; the backup is verified in storage".into(),
        waiting_for: None,
        failure: None,
        generation: Generation(2),
        repo: Some("https://github.com/harbour/tide-tables.git".into()),
        branch: Some("main".into()),
        size: "cx23".into(),
        location: "fsn1".into(),
        agents: vec!["claude".into()],
        docker: false,
        idle_timeout: Duration::from_mins(30),
        lifetime: Duration::from_hours(24),
        persistence: Persistence::Backup,
        secrets: SecretChoice::Everywhere,
        ssh: false,
        created_at: "2026-11-19T09:12:00Z".parse().expect("a sample time"),
        lifetime_ends_at: None,
        hard_end_at: None,
        worst_case: Some(Cost { gross: "0.2324".into(), currency: "EUR".into(), hours: 28 }),
        machine: None,
        boot: vec![],
        ports: vec![],
        why: None,
        heard_secs_ago: None,
        backup: None,
        last_backup: Some(SnapshotSummary {
            snapshot: "9f31c0de4b7a".into(),
            verified_at: at("13:04:41"),
            generation: Generation(2),
            files: 12_408,
            bytes: 381_220_000,
            partial: false,
        }),
        restore_note: None,
        rescue_image: None,
        links: vec![],
        holds: vec![],
    }
}

fn requested() -> Workspace {
    Workspace {
        state: State::Requested,
        since: at("14:29:59"),
        because: "a new workspace was asked for".into(),
        line: "a new workspace was asked for".into(),
        generation: Generation(1),
        created_at: at("14:29:59"),
        last_backup: None,
        rescue_image: None,
        worst_case: Some(Cost { gross: "0.2324".into(), currency: "EUR".into(), hours: 28 }),
        lifetime_ends_at: Some("2026-11-22T14:29:59Z".parse().expect("a sample time")),
        hard_end_at: Some("2026-11-22T16:59:59Z".parse().expect("a sample time")),
        ..asleep()
    }
}

fn machine() -> Option<Machine> {
    Some(Machine {
        server_id: 58_201_417,
        ipv4: Some("203.0.113.24".into()),
        host: "tide-tables-k3v7q2mzab.ebb.example".into(),
    })
}

fn step(name: &str, title: &str, state: StepState, duration_ms: u64) -> BootStep {
    BootStep {
        name: name.into(),
        title: title.into(),
        state,
        duration_ms,
        percent: None,
        detail: None,
        warned: false,
    }
}

fn booting() -> Workspace {
    Workspace {
        state: State::Booting,
        since: at("14:29:12"),
        because: "the server exists and works through its boot plan".into(),
        line: "the server exists and works through its boot plan".into(),
        machine: machine(),
        heard_secs_ago: Some(1),
        boot: vec![
            step("programs", "Making sure that git, tmux and Caddy are there", StepState::Done, 3_240),
            step("user", "Making the workspace's user", StepState::Done, 180),
            BootStep {
                percent: Some(64),
                detail: Some("Receiving objects: 64 % (8 112 of 12 675), 38.2 MB".into()),
                ..step("clone", "Cloning the repository", StepState::Running, 9_420)
            },
            step("terminal", "Starting the terminal", StepState::Pending, 0),
            step("caddy", "Starting the web proxy", StepState::Pending, 0),
        ],
        ..requested()
    }
}

fn running() -> Workspace {
    let mut boot = booting().boot;
    for step in &mut boot {
        (step.state, step.percent, step.detail) = (StepState::Done, None, None);
        step.duration_ms = step.duration_ms.max(240);
    }
    Workspace {
        state: State::Running,
        since: at("12:02:00"),
        because: "ready".into(),
        created_at: at("12:01:21"),
        lifetime_ends_at: Some("2026-11-22T12:01:21Z".parse().expect("a sample time")),
        hard_end_at: Some("2026-11-22T14:31:21Z".parse().expect("a sample time")),
        line: why().line(),
        boot,
        ports: vec![
            Port {
                port: 3000,
                process: "node".into(),
                http: true,
                https: false,
                url: Some("https://3000.tide-tables-k3v7q2mzab.ebb.example".into()),
            },
            Port {
                port: 5173,
                process: "vite".into(),
                http: true,
                https: false,
                url: Some("https://5173.tide-tables-k3v7q2mzab.ebb.example".into()),
            },
            Port { port: 5432, process: "postgres".into(), http: false, https: false, url: None },
        ],
        why: Some(why()),
        last_backup: asleep().last_backup.map(|older| SnapshotSummary {
            snapshot: "c27a51e8d03b".into(),
            verified_at: at("14:20:51"),
            generation: Generation(1),
            ..older
        }),
        holds: vec![Hold { id: "h1".into(), reason: "long test run".into(), ends_at: at("15:12:00") }],
        ..booting()
    }
}

/// What `ebb why` says first on the machine of the running workspace.
#[allow(dead_code, reason = "the example shows pages only")]
pub fn line() -> String {
    why().line()
}

fn why() -> Why {
    Why {
        verdict: Verdict::Active,
        because: vec![
            "claude waits for its model, silent for 3m50s".into(),
            "cargo, which claude started, works".into(),
        ],
        since_secs: 312,
        sleeps_in_secs: None,
        signals: vec![
            Signal {
                name: "agent_progress".into(),
                state: SignalState::Active,
                quiet_for_secs: Some(2),
                detail: "claude (pid 812) and 6 processes under it".into(),
            },
            Signal {
                name: "presence".into(),
                state: SignalState::Quiet,
                quiet_for_secs: Some(1_140),
                detail: "no key was pressed on 2 terminals".into(),
            },
            Signal {
                name: "http".into(),
                state: SignalState::Absent,
                quiet_for_secs: None,
                detail: "nobody has opened a port".into(),
            },
            Signal {
                name: "cloudcli".into(),
                state: SignalState::Unreadable,
                quiet_for_secs: None,
                detail: "it does not answer on port 3001".into(),
            },
        ],
        leases: vec![Lease {
            id: "l1".into(),
            source: "hook".into(),
            reason: "claude: 2 background tasks".into(),
            expires_in_secs: 540,
        }],
        budgets: vec![
            Budget { name: "idle_timeout".into(), total_secs: 1_800, used_secs: 0 },
            Budget { name: "lifetime".into(), total_secs: 86_400, used_secs: 8_880 },
        ],
        keeping: Some(Keeping {
            persistence: Persistence::Backup,
            estimate: Some(BackupEstimate {
                bytes: 402_000_000,
                new_bytes: 38_200_000,
                secs: 21,
                at_least: false,
                restore_secs: None,
            }),
            disk: None,
        }),
    }
}

fn quiet() -> Workspace {
    let why = Why {
        verdict: Verdict::Quiet,
        because: vec!["nothing has happened for 22m".into()],
        since_secs: 1_320,
        sleeps_in_secs: Some(480),
        leases: vec![],
        signals: vec![],
        budgets: vec![Budget { name: "idle_timeout".into(), total_secs: 1_800, used_secs: 1_320 }],
        keeping: None,
    };
    Workspace { ports: vec![], holds: vec![], line: why.line(), why: Some(why), ..running() }
}

fn draining() -> Workspace {
    Workspace {
        state: State::Draining,
        since: at("14:29:31"),
        because: "nothing happens any more".into(),
        line: "nothing happens any more".into(),
        waiting_for: Some("the backup".into()),
        backup: Some(BackupProgress {
            phase: "upload".into(),
            bytes_done: 12_114_000,
            bytes_total: Some(38_200_000),
            files_done: 1_204,
            rate: 4_020_000,
        }),
        why: Some(Why {
            verdict: Verdict::Idle,
            sleeps_in_secs: Some(0),
            ..quiet().why.expect("it has one")
        }),
        ..quiet()
    }
}

fn failed() -> Workspace {
    Workspace {
        state: State::Failed,
        persistence: Persistence::None,
        since: at("14:21:00"),
        because: "cloning the repository failed".into(),
        line: "cloning the repository failed".into(),
        failure: Some(Failure {
            code: FailureCode::BootFailed,
            message:
                "cloning the repository failed: the server asks for a user name, so it is private or misspelt"
                    .into(),
            hint: Hint::CorrectAndRetry.for_api().into(),
        }),
        machine: None,
        heard_secs_ago: None,
        worst_case: None,
        created_at: at("14:20:02"),
        lifetime_ends_at: None,
        hard_end_at: None,
        boot: vec![
            step("programs", "Making sure that git, tmux and Caddy are there", StepState::Done, 3_240),
            BootStep {
                detail: Some("fatal: could not read Username for 'https://github.com'".into()),
                ..step("clone", "Cloning the repository", StepState::Failed, 1_420)
            },
            step("caddy", "Starting the web proxy", StepState::Pending, 0),
        ],
        ..requested()
    }
}

fn deleted() -> Workspace {
    Workspace {
        state: State::Deleted,
        since: at("14:00:00"),
        because: "the owner deleted it; it can be undone until 2026-11-28 14:00 UTC".into(),
        line: "the owner deleted it; it can be undone until 2026-11-28 14:00 UTC".into(),
        ..asleep()
    }
}

/// Everything in it tries to break out of the page.
pub fn hostile() -> Workspace {
    let evil = "<script>alert(1)</script>\"onload=\"alert(2)' onclick='x' &amp; {{ 7*7 }}";
    let mut workspace = running();
    workspace.name = evil.into();
    workspace.because = evil.into();
    workspace.line = evil.into();
    workspace.waiting_for = Some(evil.into());
    workspace.repo = Some(format!("javascript:{evil}"));
    workspace.branch = Some(evil.into());
    workspace.size = evil.into();
    workspace.location = evil.into();
    workspace.failure =
        Some(Failure { code: FailureCode::Other(evil.into()), message: evil.into(), hint: evil.into() });
    workspace.boot = vec![BootStep { detail: Some(evil.into()), ..step(evil, evil, StepState::Failed, 1) }];
    workspace.ports = vec![Port {
        port: 1,
        process: evil.into(),
        http: true,
        https: false,
        url: Some(format!("javascript:{evil}")),
    }];
    workspace.holds = vec![Hold { id: evil.into(), reason: evil.into(), ends_at: now() }];
    workspace.machine = Some(Machine { server_id: 1, ipv4: Some(evil.into()), host: evil.into() });
    if let Some(backup) = &mut workspace.last_backup {
        backup.snapshot = "<script>".into();
    }
    if let Some(why) = &mut workspace.why {
        why.because = vec![evil.into()];
        why.leases =
            vec![Lease { id: evil.into(), source: evil.into(), reason: evil.into(), expires_in_secs: 1 }];
        why.budgets = vec![Budget { name: evil.into(), total_secs: 2, used_secs: 1 }];
        for signal in &mut why.signals {
            (signal.name, signal.detail) = (evil.into(), evil.into());
        }
    }
    workspace
}

fn event(seq: u64, clock: &str, state: State, because: &str) -> Event {
    Event { seq, at: at(clock), state, generation: Generation(1), code: None, because: because.into() }
}

/// What has happened to a workspace in its state, oldest first.
fn events(state: State) -> Vec<Event> {
    let lived = [
        ("12:01:21", State::Requested, "a new workspace was asked for"),
        ("12:01:21.400", State::Provisioning, "creating a cx23 in fsn1"),
        ("12:01:33.100", State::Booting, "the server exists"),
        ("12:01:34.600", State::Booting, "its names resolve"),
        ("12:01:46.900", State::Booting, "the machine has enrolled"),
        ("12:02:00", State::Running, "ready"),
    ];
    let lived = |more: &[_]| [&lived, more].concat();
    let backed_up = "a backup of 12408 files is verified in storage";
    let story = match state {
        State::Requested => vec![("14:29:59", State::Requested, "a new workspace was asked for")],
        State::Provisioning | State::Booting => vec![
            ("14:28:40", State::Requested, "a new workspace was asked for"),
            ("14:28:40.400", State::Provisioning, "creating a cx23 in fsn1"),
            ("14:28:52.100", State::Booting, "the server exists"),
            ("14:28:53.600", State::Booting, "its names resolve"),
            ("14:29:12", State::Booting, "the machine has enrolled"),
        ],
        State::Running | State::Silent | State::Rescuing => lived(&[
            ("14:12:00", State::Running, "held until 2026-11-21T15:12:00.823Z: long test run"),
            ("14:20:51", State::Running, backed_up),
        ]),
        State::Draining => lived(&[
            ("14:20:51", State::Running, backed_up),
            ("14:29:31", State::Draining, "nothing has happened for 30m"),
        ]),
        State::Destroying | State::Asleep | State::Deleted => lived(&[
            ("13:04:28", State::Draining, "nothing has happened for 30m"),
            ("13:04:41", State::Draining, backed_up),
            ("13:04:41", State::Destroying, "the backup is verified in storage"),
            ("13:05:00", State::Asleep, "nothing has happened for 30m; the backup is verified in storage"),
        ]),
        State::Failed => vec![
            ("14:20:02", State::Requested, "a new workspace was asked for"),
            ("14:20:02.400", State::Provisioning, "creating a cx23 in fsn1"),
            ("14:20:14.100", State::Booting, "the server exists"),
            ("14:20:48", State::Booting, "the machine has enrolled"),
            ("14:20:53.100", State::Destroying, "cloning the repository failed"),
            ("14:21:00", State::Failed, "cloning the repository failed"),
        ],
    };
    (1..).zip(story).map(|(seq, (clock, state, because))| event(seq, clock, state, because)).collect()
}

fn defaults() -> Defaults {
    Defaults {
        size: "cx23".into(),
        location: "fsn1".into(),
        idle_timeout: Duration::from_mins(30),
        lifetime: Duration::from_hours(24),
        agents: vec!["claude".into()],
    }
}

fn catalog() -> Catalog {
    let offer = |location: &str, hourly: &str, available: bool| CatalogOffer {
        location: location.into(),
        available: Some(available),
        hourly_gross: Some(hourly.into()),
        worst_case: None,
        unavailable_after: None,
    };
    let size =
        |name: &str, cores: u32, memory_mib: u64, disk_gb: u64, locations: Vec<CatalogOffer>| CatalogSize {
            name: name.into(),
            description: name.to_uppercase(),
            cores,
            memory_mib,
            disk_gb,
            cpu: "shared".into(),
            locations,
        };
    let location = |name: &str, description: &str| CatalogLocation {
        name: name.into(),
        description: description.into(),
    };
    Catalog {
        sizes: vec![
            size(
                "cx23",
                2,
                4096,
                40,
                vec![offer("fsn1", "0.0083300000", true), offer("hel1", "0.00833", true)],
            ),
            size("cx33", 4, 8192, 80, vec![offer("fsn1", "0.0131", true), offer("hel1", "0.0119", true)]),
            size("cx43", 8, 16_384, 160, vec![offer("fsn1", "0.0225", false)]),
            size("tiny", 1, 512, 10, vec![]),
        ],
        locations: vec![
            location("fsn1", "Falkenstein, DE"),
            location("nbg1", "Nuremberg, DE"),
            location("hel1", "Helsinki, FI"),
        ],
        currency: Some("EUR".into()),
        default_size: "cx23".into(),
        default_location: "fsn1".into(),
        default_lifetime: Duration::from_hours(24),
    }
}

fn quote() -> Quote {
    Quote {
        size: "cx33".into(),
        location: "hel1".into(),
        fallbacks: 0,
        worst: Cost { gross: "0.1071".into(), currency: "EUR".into(), hours: 9 },
    }
}

fn entry(workspace: Workspace) -> Entry {
    let summary = WorkspaceSummary {
        id: workspace.id.clone(),
        name: workspace.name.clone(),
        state: workspace.state,
        because: workspace.because.clone(),
        line: workspace.because.clone(),
        repo: workspace.repo.clone(),
        size: workspace.size.clone(),
        created_at: workspace.created_at,
        since: workspace.since,
    };
    Entry { summary, full: Some(workspace) }
}

fn entries() -> Vec<Entry> {
    let named = |name: &str, id_text: &str, workspace: Workspace| Workspace {
        name: name.into(),
        id: id(id_text),
        repo: Some(format!("https://github.com/harbour/{name}.git")),
        ..workspace
    };
    let mut unanswered = entry(named("buoy", "mmmmmmmmmm", asleep()));
    unanswered.full = None;
    vec![
        entry(running()),
        entry(named("lighthouse", "aaaaaaaaaa", booting())),
        entry(named("ferry-plan", "bbbbbbbbbb", draining())),
        entry(named("chart-room", "cccccccccc", asleep())),
        entry(named("dredger", "dddddddddd", failed())),
        unanswered,
    ]
}

fn refusal(code: ErrorCode, message: &str) -> view::ErrorView {
    view::error(&ErrorBody {
        code,
        message: message.into(),
        hint: code.hint().into(),
        request_id: "r-5f0c21".into(),
    })
}

fn page(workspace: &Workspace) -> String {
    let events = events(workspace.state);
    let list = view::workspace::chooses(workspace.state).then(|| backups(workspace));
    let log = view::workspace::shows_log(workspace.state).then(log);
    let w = view::workspace(workspace, &events, now()).with_snapshots(list.as_ref(), now());
    let w = w.with_log(log.as_ref());
    WorkspacePage { shell: &shell(&workspace.name), w: &w, csrf: "csrf-sample" }.render().expect("a page")
}

fn log() -> LogPage {
    let lines = [
        "14:20:51 boot: Making sure that git, tmux and Caddy are there: done in 3.2s",
        "14:20:51 boot: Cloning the repository",
        "Cloning into '/home/ebb/work'...",
        "fatal: could not read Username for 'https://github.com': terminal prompts disabled",
        "14:20:53 boot: Cloning the repository: failed",
    ];
    LogPage { lines: lines.map(str::to_owned).to_vec(), before: None }
}

/// Three backups, the oldest with files missing.
fn backups(workspace: &Workspace) -> SnapshotList {
    let older = |newest: &SnapshotSummary, clock: &str, id: &str, partial: bool| SnapshotSummary {
        snapshot: id.repeat(16),
        verified_at: at(clock),
        bytes: newest.bytes / 2,
        partial,
        ..newest.clone()
    };
    let all = workspace.last_backup.clone().map(|newest| {
        let second = older(&newest, "07:02:00", "4be1", false);
        let third = older(&newest, "06:47:00", "90fd", true);
        vec![newest, second, third]
    });
    SnapshotList {
        snapshots: all.unwrap_or_default(),
        stored_bytes: 402_000_000,
        quota_bytes: 200_000_000_000,
        retention: Retention::default(),
        expired: 1,
        warning: None,
    }
}

fn shell(title: &str) -> Shell {
    Shell::new(title, Some("csrf-sample".into()))
}

/// The workspace page of something hostile.
pub fn hostile_page() -> String {
    let mut events = events(State::Booting);
    events[0].because = hostile().because;
    let log = LogPage { lines: vec![hostile().because], before: None };
    let w = view::workspace(&hostile(), &events, now()).with_log(Some(&log));
    WorkspacePage { shell: &shell(&hostile().name), w: &w, csrf: "csrf-sample" }.render().expect("a page")
}

/// The overview, the delete page and the form with something hostile in them.
pub fn hostile_others() -> Vec<String> {
    let evil = hostile();
    let typed = Typed::from_pairs(
        ebbtide_dashboard::form::Field::ALL.iter().map(|field| (field.name(), evil.name.as_str())),
    );
    let refused = typed.request().expect_err("no durations");
    let mut above = refused.clone();
    above.push(Refusal { field: None, message: evil.name.clone(), hint: evil.name.clone() });
    vec![
        list_page(&[entry(evil.clone())]),
        delete_page(&evil),
        create_page(&typed, &above, Some(&catalog()), None),
        error_page(&refusal(ErrorCode::Internal, &evil.name)),
        secrets_page(
            &secrets(),
            typed_secret(&evil.name, "file", ""),
            &above[above.len() - 1..],
            Some(&evil.name),
        ),
        choice_page(&secrets(), &SecretChoice::Named(vec![evil.name.clone()]), &evil.name),
        ssh_page(&ssh_keys(), None, &evil.name),
    ]
}

fn list_page(entries: &[Entry]) -> String {
    let list =
        view::list(entries, "/".to_owned(), (!entries.is_empty()).then(|| "/?cursor=abc".to_owned()), now());
    let spent = |spent: &str, cap: &str| UsageSpending {
        spent: spent.into(),
        reserved: "0.70".into(),
        cap: Some(cap.into()),
    };
    let caps = UsageCaps {
        workspaces: UsageCount { used: 6, cap: Some(20) },
        machines: UsageCount { used: 3, cap: Some(8) },
        day: spent("0.41", "10.00"),
        month: spent("3.10", "100.00"),
        currency: Some("EUR".into()),
    };
    let list = list.with_caps((!entries.is_empty()).then_some(&caps));
    ListPage { shell: &shell("Workspaces"), list: &list }.render().expect("a page")
}

fn create_page(
    typed: &Typed,
    refusals: &[Refusal],
    catalog: Option<&Catalog>,
    quote: Option<&Quote>,
) -> String {
    let published = [ebbtide_api::Agent::Claude, ebbtide_api::Agent::Codex];
    // Where nothing else can be had, nothing is published either.
    let agents = if catalog.is_some() { published.to_vec() } else { Vec::new() };
    let form = view::create(typed, refusals, &defaults(), catalog, &agents, quote, "key-sample")
        .with_secrets(&if catalog.is_some() { secrets() } else { vec![] }, typed)
        .with_ssh(&if catalog.is_some() { ssh_keys() } else { vec![] });
    CreatePage { shell: &shell("New workspace"), form: &form, csrf: "csrf-sample" }.render().expect("a page")
}

/// Some secrets.
pub fn secrets() -> Vec<SecretInfo> {
    let user = |name: &str| SecretUser { id: id("k3v7q2mzab"), name: name.into() };
    let secret = |name: &str, usage: SecretUse, everywhere: bool, users: &[&str]| SecretInfo {
        name: name.into(),
        r#use: usage,
        everywhere,
        version: 1,
        written_at: at("09:12:00"),
        workspaces: users.iter().map(|name| user(name)).collect(),
    };
    let git = SecretUse::GitCredential { host: "github.com".into(), username: "x-access-token".into() };
    let npm = SecretUse::File { path: ".npmrc".into(), mode: FileMode::ReadWrite };
    let users = ["tide-tables", "harbour", "atlas", "kelp", "drift"];
    vec![
        secret("anthropic", SecretUse::Environment { variable: "ANTHROPIC_API_KEY".into() }, true, &users),
        secret("deploy", SecretUse::SshKey { host: Some("git.example.org".into()) }, false, &[]),
        secret("github-token", git, true, &users[..2]),
        secret("npm", npm, false, &users[..1]),
    ]
}

fn typed_secret(name: &str, kind: &str, place: &str) -> TypedSecret {
    let mut typed = TypedSecret::new();
    (typed.name, typed.kind, typed.place) = (name.into(), kind.into(), place.into());
    typed
}

fn secrets_page(
    secrets: &[SecretInfo],
    typed: TypedSecret,
    refusals: &[Refusal],
    done: Option<&str>,
) -> String {
    let s = view::secrets::secrets(secrets, typed, refusals, done.map(str::to_owned), now());
    SecretsPage { shell: &shell("Secrets"), s: &s, csrf: "csrf-sample" }.render().expect("a page")
}

fn choice_page(secrets: &[SecretInfo], choice: &SecretChoice, name: &str) -> String {
    let c = view::secrets::choice("k3v7q2mzab", name, secrets, choice);
    ChoicePage { shell: &shell("Secrets"), c: &c, csrf: "csrf-sample" }.render().expect("a page")
}

/// Some keys that sign in.
fn ssh_keys() -> Vec<SshKeyInfo> {
    let key = |name: &str| SshKeyInfo {
        name: name.into(),
        public_key: "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIIkVjA0oKZP8/lQhL+U2J7/ylHq35ZGpeQDShr5ZjFLh".into(),
        fingerprint: "SHA256:zwxK+HJicUTpGh7FrYj+9fvbnvGz+PH/DHU6u3bG/DY".into(),
        written_at: at("09:12:00"),
    };
    vec![key("desk"), key("laptop")]
}

fn ssh_keys_page(keys: &[SshKeyInfo], typed: TypedKey, refusals: &[Refusal], done: Option<&str>) -> String {
    let s = view::ssh::keys(keys, typed, refusals, done.map(str::to_owned), now());
    SshKeysPage { shell: &shell("SSH keys"), s: &s, csrf: "csrf-sample" }.render().expect("a page")
}

fn ssh_page(keys: &[SshKeyInfo], access: Option<SshAccess>, name: &str) -> String {
    let a = view::ssh::access("k3v7q2mzab", name, keys, access);
    SshPage { shell: &shell("SSH"), a: &a, csrf: "csrf-sample" }.render().expect("a page")
}

fn ssh_access() -> SshAccess {
    SshAccess {
        host: "tide-tables-k3v7q2mzab.example.org".into(),
        port: 22,
        user: "ebb".into(),
        host_key: "ssh-ed25519 AAAAC3Nz".into(),
        fingerprint: "SHA256:zwxK+HJicUTpGh7FrYj+9fvbnvGz+PH/DHU6u3bG/DY".into(),
        config: "Host tide-tables-k3v7q2mzab\n  HostName tide-tables-k3v7q2mzab.example.org\n".into(),
        known_hosts: "tide-tables-k3v7q2mzab ssh-ed25519 AAAAC3Nz\n".into(),
    }
}

fn delete_page(workspace: &Workspace) -> String {
    let delete = view::action::delete(workspace, now());
    DeletePage { shell: &shell("Delete"), delete: &delete, csrf: "csrf-sample" }.render().expect("a page")
}

fn error_page(error: &view::ErrorView) -> String {
    let back = Link { href: "/", label: "To the overview" };
    ErrorPage { shell: &shell(error.title), error, back }.render().expect("a page")
}

/// Every page with its name.
pub fn pages() -> Vec<(&'static str, String)> {
    let signed_out = Shell::new("Sign in", None);
    let refused = refusal(ErrorCode::Unauthorized, "that is not the owner token");
    let typed = Typed::from_pairs([
        ("repo", "file:///etc"),
        ("name", "tide-tables"),
        ("size", "cx33"),
        ("location", "hel1"),
        ("idle_timeout", "soon"),
        ("lifetime", "6h"),
    ]);
    let mut refusals = typed.request().expect_err("soon is no duration");
    refusals.push(Refusal::from_api(
        ErrorCode::InvalidField,
        "repo: the scheme file is not accepted",
        "Use an http, https or ssh address.",
    ));
    refusals.push(Refusal::from_api(
        ErrorCode::CapReached,
        "8 machines are running, which is the cap",
        ErrorCode::CapReached.hint(),
    ));
    let w = view::workspace(&booting(), &events(State::Booting), now());
    let fragment = WorkspaceFragment { w: &w, csrf: "csrf-sample" }.render().expect("a fragment");
    let cost = CostFragment { cost: &view::create::cost(Some(&quote())) }.render().expect("a fragment");
    vec![
        ("sign-in", SignInPage { shell: &signed_out, refusal: None, next: "/" }.render().expect("a page")),
        (
            "sign-in-refused",
            SignInPage { shell: &signed_out, refusal: Some(&refused), next: "/w/k3v7q2mzab" }
                .render()
                .expect("a page"),
        ),
        ("list", list_page(&entries())),
        ("list-empty", list_page(&[])),
        ("create", create_page(&Typed::default(), &[], Some(&catalog()), Some(&quote()))),
        ("create-refused", create_page(&typed, &refusals, Some(&catalog()), Some(&quote()))),
        ("create-no-catalog", create_page(&Typed::default(), &[], None, None)),
        ("requested", page(&requested())),
        ("booting", page(&booting())),
        ("booting-fragment", fragment),
        ("running", page(&running())),
        ("running-quiet", page(&quiet())),
        ("draining", page(&draining())),
        ("asleep", page(&asleep())),
        ("failed", page(&failed())),
        ("deleted", page(&deleted())),
        ("delete-running", delete_page(&running())),
        ("delete-asleep", delete_page(&asleep())),
        ("secrets", secrets_page(&secrets(), TypedSecret::new(), &[], None)),
        ("secrets-empty", secrets_page(&[], TypedSecret::new(), &[], None)),
        (
            "secrets-refused",
            secrets_page(
                &secrets(),
                typed_secret("npm", "file", "../x"),
                &[Refusal {
                    field: None,
                    message: "use.path: the path is none below the home".into(),
                    hint: "Give a path below the home.".into(),
                }],
                None,
            ),
        ),
        (
            "secrets-written",
            secrets_page(
                &secrets(),
                TypedSecret::new(),
                &[],
                Some("npm is stored. Machines that run have it within seconds, variables in new terminals."),
            ),
        ),
        (
            "workspace-secrets",
            choice_page(&secrets(), &SecretChoice::Named(vec!["npm".into(), "gone".into()]), "tide-tables"),
        ),
        ("ssh-keys", ssh_keys_page(&ssh_keys(), TypedKey::default(), &[], None)),
        (
            "ssh-keys-refused",
            ssh_keys_page(
                &[],
                TypedKey { name: "laptop".into(), public_key: "ssh-dss AAAA".into() },
                &[Refusal {
                    field: None,
                    message: "it does not begin with a kind of key that is taken".into(),
                    hint: "Give one line".into(),
                }],
                None,
            ),
        ),
        ("workspace-ssh", ssh_page(&ssh_keys(), Some(ssh_access()), "tide-tables")),
        ("workspace-ssh-closed", ssh_page(&ssh_keys(), None, "tide-tables")),
        ("workspace-ssh-no-key", ssh_page(&[], None, "tide-tables")),
        ("workspace-secrets-none", choice_page(&[], &SecretChoice::Everywhere, "tide-tables")),
        ("cost-fragment", cost),
        ("not-found", error_page(&refusal(ErrorCode::NotFound, "there is no workspace k3v7q2mzab"))),
        ("error", error_page(&refusal(ErrorCode::StorageUnavailable, "the index did not answer"))),
    ]
}
