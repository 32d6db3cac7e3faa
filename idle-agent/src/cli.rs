//! The command line: `ebb-agent run` is the daemon, the rest talks to it; also called as `ebb` on the machine.

mod cloudcli;
mod describe;
mod git_credential;
mod packages;
mod services;

use crate::backup::{SurveyOrder, size, survey};
use crate::config::Places;
use crate::containers::{DOCKER, DataRoot};
use crate::control_socket::{Reply, Request, TraceCommand, ask};
use crate::daemon::Files;
use clap::{Parser, Subcommand};
use ebbtide_api::backups::Persistence;
use ebbtide_api::why::{Keeping, SignalState, Why};
use ebbtide_api::{Agent, Duration};
use std::io::Write as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{self, ExitCode};

/// The idle-agent of an Ebbtide machine.
#[derive(Debug, Parser)]
#[command(name = "ebb", version, about = "Why this machine is awake, and when it sleeps")]
pub struct Cli {
    /// Where the daemon's socket is.
    #[arg(long, global = true, default_value = "/run/ebbtide", hide = true)]
    run_dir: PathBuf,
    /// Says why the machine is awake where nothing is asked for.
    #[command(subcommand)]
    command: Option<Command>,
}

/// Where Podman as root keeps named volumes. Without root it keeps them in the home directory.
const VOLUMES: &str = "/var/lib/containers/storage/volumes";

#[derive(Debug, Subcommand)]
enum Command {
    /// Says why the machine is awake and when it will sleep.
    Why {
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
    /// Keeps the machine awake for a while, for example `ebb hold 90m "long build"`.
    Hold {
        /// How long: 90m, 2h, 1h30m.
        duration: Duration,
        /// Why; shown wherever somebody asks.
        #[arg(default_value = "")]
        reason: Vec<String>,
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
    /// Keeps the machine awake while a process lives.
    KeepAlive {
        /// Its id.
        pid: u32,
        /// How long at most: 90m, 2h, 12h.
        #[arg(long = "for", default_value = "12h")]
        length: Duration,
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
    /// Gives back a hold that was taken here, or all of them.
    Release {
        /// Which; all where absent.
        id: Option<String>,
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
    /// Lists the ports that listen and where they answer.
    Ports {
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
    /// Says where CloudCLI answers, and the name and password of its user.
    Cloudcli {
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
    /// Records what the verdict rests on, to have a wrong one looked into: times, counts and the names of programs that
    /// everybody knows; no arguments, paths or texts.
    Trace {
        #[command(subcommand)]
        wish: Trace,
    },
    /// The Debian packages that each wake installs again: they stand in ~/.ebbtide/packages.
    Packages {
        /// Lists them where nothing is asked for.
        #[command(subcommand)]
        wish: Option<packages::Wish>,
    },
    /// The compose projects of this workspace: lists them, starts or stops one.
    Services {
        /// Lists them where nothing is asked for.
        #[command(subcommand)]
        wish: Option<services::Wish>,
    },
    /// Takes a snapshot now, or says what one would hold.
    Snapshot {
        /// Only says what it would hold and what is left out, the largest first. Nothing is stored.
        #[arg(long)]
        dry_run: bool,
        /// As JSON.
        #[arg(long)]
        json: bool,
        /// Where the directories are found.
        #[arg(long, default_value = "/", hide = true)]
        root: PathBuf,
        /// Which directories; those of a workspace where absent.
        #[arg(long, hide = true)]
        include: Vec<PathBuf>,
    },
    /// Backs the workspace up and lets it sleep now.
    Sleep {
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
    /// Says what a repository is made of and which commands its manifests name, for coding agents.
    Describe {
        /// Where it is; here where absent.
        directory: Option<PathBuf>,
        /// Tells these agents, each in its own file below the home directory where there is none.
        #[arg(long, hide = true, value_delimiter = ',')]
        tell: Vec<String>,
    },
    /// Takes what an agent tells its hooks on standard input. It never stands in the agent's way.
    #[command(hide = true)]
    Hook {
        /// Which agent, by its command; Claude Code where absent.
        agent: Option<String>,
    },
    /// Answers git, which asks for a credential. Nothing is kept.
    #[command(hide = true)]
    GitCredential {
        /// `get`; `store` and `erase` are not for us.
        operation: String,
    },
    /// Runs the daemon.
    #[command(hide = true)]
    Run {
        /// What user-data left for us.
        #[arg(long)]
        config: PathBuf,
        /// What survives a reboot.
        #[arg(long, default_value = "/var/lib/ebbtide")]
        state_dir: PathBuf,
        /// Where `passwd` is.
        #[arg(long, default_value = "/etc", hide = true)]
        etc_dir: PathBuf,
        /// What restored files are put below.
        #[arg(long, default_value = "/", hide = true)]
        restore_target: PathBuf,
        /// Where containers keep named volumes; backed up where it exists.
        #[arg(long, hide = true, default_value = VOLUMES)]
        volumes: Vec<PathBuf>,
        /// Where Docker keeps everything; named volumes are backed up in any case.
        #[arg(long, hide = true, default_value = DOCKER)]
        docker_root: PathBuf,
        /// Seconds after which a machine that was told to stop asks whether that still holds.
        #[arg(long, hide = true, default_value_t = 300)]
        ask_again_secs: u64,
        /// Where programs are looked for first.
        #[arg(long, hide = true)]
        programs_dir: Option<PathBuf>,
    },
    /// Backups of the workspace, as a child process of the daemon.
    #[command(subcommand, hide = true)]
    Backup(Box<crate::backup::Command>),
}

#[derive(Debug, Subcommand)]
enum Trace {
    /// Begins a recording; an earlier one is lost. It ends by itself at 8 MB.
    Start,
    /// Notes in it where you are, for example `must_sleep` once all work is over.
    Mark {
        /// Up to 40 letters, digits, - and _.
        name: String,
    },
    /// Ends it.
    Stop,
    /// Writes it to a file.
    Save {
        /// Where to; `-` for standard output.
        file: PathBuf,
    },
}

/// Does what the arguments say.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    let socket = cli.run_dir.join("agent.sock");
    let (asked, json) = match cli.command.unwrap_or(Command::Why { json: false }) {
        Command::Run {
            config,
            state_dir,
            etc_dir,
            restore_target,
            volumes,
            docker_root,
            ask_again_secs,
            programs_dir,
        } => {
            if let Some(directory) = programs_dir {
                crate::os::command::look_first_in(directory);
            }
            let places = Places { config, state: state_dir, run: cli.run_dir, etc: etc_dir };
            let files = Files { restore_target, volumes, docker: DataRoot::new(docker_root) };
            return run(places, files, std::time::Duration::from_secs(ask_again_secs));
        }
        Command::Backup(command) => return crate::backup::main(*command),
        Command::Hook { agent } => return hook(socket, agent.as_deref()),
        Command::GitCredential { operation } => return git_credential::main(&operation, &socket),
        Command::Cloudcli { json } => return cloudcli::run(&socket, json),
        Command::Describe { directory, tell } => return describe::run(directory, &tell),
        Command::Packages { wish } => return packages::run(wish),
        Command::Services { wish } => return services::run(wish.unwrap_or_default()),
        Command::Why { json } => (Request::Why, json),
        Command::Ports { json } => (Request::Ports, json),
        Command::Hold { duration, reason, json } => {
            (Request::Hold { length: duration, reason: reason.join(" ") }, json)
        }
        Command::KeepAlive { pid, length, json } => (Request::KeepAlive { pid, length }, json),
        Command::Release { id, json } => (Request::Release { id }, json),
        Command::Snapshot { dry_run: true, json, root, include } => return preview(root, include, json),
        Command::Snapshot { dry_run: false, json, .. } => (Request::Snapshot, json),
        Command::Sleep { json } => (Request::Sleep, json),
        Command::Trace { wish: Trace::Save { file } } => return save(&socket, &file),
        Command::Trace { wish: Trace::Start } => (Request::Trace(TraceCommand::Start), false),
        Command::Trace { wish: Trace::Mark { name } } => (Request::Trace(TraceCommand::Mark(name)), false),
        Command::Trace { wish: Trace::Stop } => (Request::Trace(TraceCommand::Stop), false),
    };
    print(ask(&socket, &asked), json)
}

/// Writes a recording to a file.
fn save(socket: &Path, file: &Path) -> ExitCode {
    let text = match ask(socket, &Request::Trace(TraceCommand::Save)) {
        Ok(Reply::Trace(text)) => text,
        other => return print(other, false),
    };
    let written = if file == Path::new("-") {
        std::io::stdout().write_all(text.as_bytes())
    } else {
        std::fs::write(file, text)
    };
    match written {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("ebb: {}: {error}", file.display());
            ExitCode::FAILURE
        }
    }
}

/// Says what a backup would hold. Asks nobody: who calls it sees what it can see.
fn preview(root: PathBuf, mut include: Vec<PathBuf>, json: bool) -> ExitCode {
    if include.is_empty() {
        include.extend(std::env::var_os("HOME").map(PathBuf::from));
        include.push(PathBuf::from("/workspaces"));
    }
    let order = SurveyOrder { root, include, optional: vec![], since: None, within_secs: 3600 };
    match survey(&order) {
        Ok(found) if json => {
            println!("{}", serde_json::to_string_pretty(&found).unwrap_or_default());
            ExitCode::SUCCESS
        }
        Ok(found) => {
            print!("{}", found.shown());
            ExitCode::SUCCESS
        }
        Err(failure) => {
            eprintln!("ebb: {failure}");
            ExitCode::FAILURE
        }
    }
}

/// Passes a report on. Whatever happens it succeeds, says nothing and is over within a second: the agent waits for it.
fn hook(socket: PathBuf, agent: Option<&str>) -> ExitCode {
    let Some(agent) = agent.map_or(Some(Agent::Claude), Agent::parse) else { return ExitCode::SUCCESS };
    let (sender, done) = std::sync::mpsc::channel();
    let passed_on = crate::os::mutex::spawn("hook", move || {
        if let Ok(Some(hook)) = crate::idle::read::hook::read(agent, std::io::stdin().lock()) {
            // The agent works on without us; other signals are there.
            let _ = ask(&socket, &Request::Hook { hook, process: None });
        }
        let _ = sender.send(());
    });
    if passed_on.is_ok() {
        let _ = done.recv_timeout(HOOK_WITHIN);
    }
    ExitCode::SUCCESS
}

/// How long an agent waits for us at most.
const HOOK_WITHIN: std::time::Duration = std::time::Duration::from_millis(900);

/// Tells the allocator to take memory as it is used. By default it touches 10 MB at once, which suits the backup child
/// and not a daemon that lives on 2 MB; it reads this when a process starts, so the process starts over once.
const FRUGAL: &str = "MIMALLOC_ARENA_EAGER_COMMIT";

fn run(places: Places, files: Files, ask_again: std::time::Duration) -> ExitCode {
    if std::env::var_os(FRUGAL).is_none()
        && let Ok(program) = std::env::current_exe()
    {
        // Goes on with a larger process where it cannot start over.
        let error = process::Command::new(program).args(std::env::args_os().skip(1)).env(FRUGAL, "0").exec();
        eprintln!("ebb-agent: cannot start over with less memory: {error}");
    }
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_max_level(tracing::Level::INFO)
        .with_ansi(false)
        .without_time()
        .with_target(false)
        .init();
    match crate::daemon::run(places, files, ask_again) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

fn print(reply: std::io::Result<Reply>, json: bool) -> ExitCode {
    let reply = match reply {
        Ok(reply) => reply,
        Err(error) => {
            eprintln!("ebb: the idle-agent does not answer: {error}");
            return ExitCode::from(3);
        }
    };
    if json {
        let text = match &reply {
            Reply::Why(why) => serde_json::to_string_pretty(&WithLine { line: why.line(), why }),
            Reply::Ports(ports) => serde_json::to_string_pretty(ports),
            Reply::Held { .. }
            | Reply::Released { .. }
            | Reply::Heard
            | Reply::Snapshotting
            | Reply::Recording { .. }
            | Reply::Recorded { .. }
            | Reply::Trace(_)
            | Reply::Sleeping
            | Reply::GitCredential(_)
            | Reply::Error(_) => serde_json::to_string_pretty(&reply),
        };
        println!("{}", text.unwrap_or_default());
    } else {
        print!("{}", shown(&reply));
    }
    if matches!(reply, Reply::Error(_)) { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

/// What a script is told: all of it, and the line that people read first.
#[derive(serde::Serialize)]
struct WithLine<'a> {
    line: String,
    #[serde(flatten)]
    why: &'a Why,
}

/// A reply for people.
fn shown(reply: &Reply) -> String {
    match reply {
        Reply::Why(why) => shown_why(why),
        Reply::Ports(ports) if ports.is_empty() => "Nothing listens.\n".to_owned(),
        Reply::Ports(ports) => ports
            .iter()
            .map(|port| {
                let place = port.url.as_deref().unwrap_or("not HTTP: reachable on this machine only");
                format!("{:5}  {:16} {place}\n", port.port, port.process)
            })
            .collect(),
        Reply::Held { id, length } => format!("Held for {length} ({id}). Release with: ebb release {id}\n"),
        Reply::Released { released: 1 } => "Released 1 hold.\n".to_owned(),
        Reply::Released { released } => format!("Released {released} holds.\n"),
        Reply::Heard | Reply::GitCredential(_) => String::new(),
        Reply::Snapshotting => "A snapshot is being taken; work goes on.\n".to_owned(),
        Reply::Recording { .. } => "Recording. End it with: ebb trace stop\n".to_owned(),
        Reply::Recorded { bytes } => {
            format!("Recorded {bytes} bytes. Write them with: ebb trace save FILE\n")
        }
        Reply::Trace(text) => text.clone(),
        Reply::Sleeping => "The workspace is backed up now and then sleeps.\n".to_owned(),
        Reply::Error(error) => format!("ebb: {error}\n"),
    }
}

fn shown_why(why: &Why) -> String {
    let span = ebbtide_api::text::seconds;
    let mut text = format!("{}\n", why.line());
    for signal in &why.signals {
        let state = match signal.state {
            SignalState::Active => "active",
            SignalState::Quiet => "quiet",
            SignalState::Unreadable => "unknown",
            SignalState::Absent => "none",
        };
        let since = signal.quiet_for_secs.map_or(String::new(), |secs| format!(" for {}", span(secs)));
        text += &format!("  {:15} {state}{since}: {}\n", signal.name, signal.detail);
    }
    if let Some(keeping) = &why.keeping {
        text += &shown_keeping(keeping);
    }
    for lease in &why.leases {
        text += &format!("  hold {:10} {} left: {}\n", lease.id, span(lease.expires_in_secs), lease.reason);
    }
    text
}

fn shown_keeping(keeping: &Keeping) -> String {
    let backup = shown_backup(keeping);
    let disk = keeping.disk.map(|disk| format!("Make room: {}.\n", disk.words()));
    backup + &disk.unwrap_or_default()
}

fn shown_backup(keeping: &Keeping) -> String {
    match (keeping.persistence, &keeping.estimate) {
        (Persistence::None, _) => {
            "Nothing here is backed up, as was chosen: when the machine goes, all files go.\n".to_owned()
        }
        (Persistence::Backup, None) => String::new(),
        (Persistence::Backup, Some(estimate)) => format!(
            "Not yet backed up: {}{} of {}. A backup takes about {}.\n",
            if estimate.at_least { "at least " } else { "" },
            size(estimate.new_bytes),
            size(estimate.bytes),
            ebbtide_api::text::seconds(estimate.secs)
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;
    use ebbtide_api::why::{BackupEstimate, Lease, Signal, Verdict};

    #[test]
    fn the_arguments_hold_together() {
        Cli::command().debug_assert();
        assert!(Cli::try_parse_from(["ebb"]).unwrap().command.is_none(), "why");
        assert!(Cli::try_parse_from(["ebb", "hold", "soon"]).is_err(), "an unusable duration is refused");
        assert!(Cli::try_parse_from(["ebb", "hold", "90m", "long", "build"]).is_ok());
        assert!(Cli::try_parse_from(["ebb", "keep-alive", "40", "--for", "3h", "--json"]).is_ok());
        assert!(Cli::try_parse_from(["ebb", "keep-alive", "claude"]).is_err());
    }

    #[test]
    fn a_machine_that_was_told_to_stop_asks_every_five_minutes_as_the_security_page_says() {
        let cli = Cli::try_parse_from(["ebb", "run", "--config", "c"]).unwrap();
        let Some(Command::Run { ask_again_secs, .. }) = cli.command else { panic!("it runs") };
        assert_eq!(ask_again_secs, 300);
    }

    #[test]
    fn why_reads_like_this() {
        let why = Why {
            verdict: Verdict::Held,
            because: vec!["held for another 1h: demo".into()],
            since_secs: 61,
            sleeps_in_secs: Some(3600),
            signals: vec![Signal {
                name: "terminal".into(),
                state: SignalState::Quiet,
                quiet_for_secs: Some(90),
                detail: "nobody types".into(),
            }],
            leases: vec![Lease {
                id: "h1".into(),
                source: "hold".into(),
                reason: "demo".into(),
                expires_in_secs: 3600,
            }],
            budgets: vec![],
            keeping: Some(Keeping {
                persistence: Persistence::Backup,
                estimate: Some(BackupEstimate {
                    bytes: 3_400_000_000,
                    new_bytes: 120_000_000,
                    secs: 61,
                    at_least: false,
                    restore_secs: None,
                }),
                disk: None,
            }),
        };
        insta::assert_snapshot!(shown(&Reply::Why(Box::new(why))));
    }
}
