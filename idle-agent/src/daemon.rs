//! `ebb-agent run`: puts the parts together and keeps them running. A machine that was told to stop stays parked over
//! every restart and touches nothing; it asks now and then whether that still holds.

use crate::access::Access;
use crate::boot::{self, Boot, SignIn};
use crate::config::{Config, Places};
use crate::containers::DataRoot;
use crate::control_plane::api_client::{ApiClient, CallError};
use crate::control_plane::enrol::{enrol, is_taken_back};
use crate::control_plane::machine_key::MachineKey;
use crate::control_plane::status::Status;
use crate::control_plane::websocket::{self, Listener};
use crate::control_socket;
use crate::event_loop::{Event, EventLoop, Parts};
use crate::firewall::Firewall;
use crate::os::clock::{Moment, ToldTime};
use crate::os::mutex::{spawn, write};
use crate::os::{memory_killer, service, users};
use crate::ports::{self, Servers};
use crate::sleep::backup_process::BackupProcesses;
use crate::sleep::freezer::Freezer;
use crate::ssh::SshServer;
use crate::terminal::Terminals;
use crate::user_settings::Settings;
use anyhow::Context as _;
use ebbtide_api::vm::{Enrolled, Instruction};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Sender, channel};
use std::time::Duration;

/// How often it is looked whether Caddy, CloudCLI and what else must stand still do.
const TEND_EVERY: Duration = Duration::from_secs(2);

/// Where files of the workspace are beside those of its user.
#[derive(Debug)]
pub struct Files {
    /// What restored files are put below.
    pub restore_target: PathBuf,
    /// Where containers keep named volumes.
    pub volumes: Vec<PathBuf>,
    /// Where Docker keeps everything.
    pub docker: DataRoot,
}

/// Runs the daemon. Returns only with an error: the configuration or the machine is unusable.
///
/// # Errors
/// The configuration cannot be read, or a directory, socket or thread cannot be made.
pub fn run(places: Places, files: Files, ask_again: Duration) -> anyhow::Result<()> {
    let mut config = Config::read(&places.config)?;
    places.create().context("making the directories")?;
    let key = MachineKey::load_or_create(&places.state.join("machine.key")).context("the machine key")?;
    let api_client = Arc::new(ApiClient::new(config.clone(), key, places.clone()));
    if let Some(reason) = api_client.parked() {
        return park(&reason, &places, &api_client, ask_again);
    }
    let enrolled = match enrol(&mut config, &places, &api_client) {
        Ok(enrolled) => enrolled,
        Err(error) => {
            if !matches!(error, CallError::Fenced) {
                api_client.park(&error.to_string());
            }
            return park(&error.to_string(), &places, &api_client, ask_again);
        }
    };
    start(places, files, api_client, enrolled)
}

fn start(places: Places, files: Files, api_client: Arc<ApiClient>, enrolled: Enrolled) -> anyhow::Result<()> {
    let (status, wakeup) = Status::new().context("making the notice board")?;
    let status = Arc::new(status);
    let settings = Arc::new(Settings::new(places.clone(), Arc::clone(&status), enrolled.settings()));
    status.keep_secret([enrolled.repository.password.as_str(), enrolled.vm_token.as_str()]);

    let access = Arc::new(Access::default());
    {
        let mut door = write(&access.door);
        door.set_plan(api_client.workspace(), api_client.generation(), &enrolled.ingress);
        door.time = enrolled.control_time_secs.map(|secs| ToldTime::new(secs, Moment::now()));
    }
    access.serve(&places.access_socket()).context("the socket for Caddy")?;

    let servers = Servers::default();
    ports::watch(Arc::clone(&status), Arc::clone(&access), Arc::clone(&servers), &enrolled.ingress)?;

    let workspace = boot::workspace_of(&enrolled.boot_plan);
    let include: Vec<PathBuf> =
        workspace.map_or_else(Vec::new, |(_, home, workspaces)| vec![home.into(), workspaces.into()]);
    let Files { restore_target, volumes, docker } = files;
    let kept = include.iter().chain(&volumes).map(PathBuf::as_path).chain([docker.path()]);
    let kept = kept.map(Path::to_path_buf).collect();
    let backup_processes = Arc::new(BackupProcesses::new(
        Arc::clone(&api_client),
        enrolled.repository,
        places.clone(),
        restore_target,
        include.clone(),
        volumes,
        docker.clone(),
    ));
    let terminals = boot::tmux_of(&enrolled.boot_plan, &places).map(|tmux| Arc::new(Terminals::new(tmux)));
    if let Some(terminals) = &terminals {
        terminals.serve(&places.terminal_socket()).context("the socket for terminals")?;
        access.set_terminal(places.terminal_socket());
    }
    if service::has_machine() {
        let status = Arc::clone(&status);
        memory_killer::watch(move |program| status.killed_for_memory(program));
    }
    let (events, heard) = channel();
    let asked = events.clone();
    let hand_on = move |request, reply| {
        // The loop ends only with the whole agent.
        let _ = asked.send(Event::Request(request, reply));
    };
    control_socket::serve(&places.socket(), hand_on).context("the local socket")?;

    let heartbeat = Duration::from_secs(enrolled.policy.heartbeat_secs);
    let linked = Arc::clone(&api_client);
    let control_url = api_client.control_url().to_owned();
    let event_loop = EventLoop::new(Parts {
        status: Arc::clone(&status),
        access: Arc::clone(&access),
        terminals,
        servers,
        api_client,
        backup_processes: Arc::clone(&backup_processes),
        policy: enrolled.policy,
        persistence: enrolled.persistence,
        state: places.state.clone(),
        freezer: Freezer::new(&places.run, kept, service::tree()),
        include,
        events: events.clone(),
        settings: Arc::clone(&settings),
    });
    let boot = Boot {
        plan: enrolled.boot_plan,
        places: places.clone(),
        status: Arc::clone(&status),
        backup_processes,
        settings,
        docker,
        control_url,
        listen_port: enrolled.ingress.listen_port,
        caddy: None,
        firewall: service::has_machine().then(|| Firewall::new(enrolled.ingress.listen_port, &places.etc)),
        sign_in: service::has_machine().then(|| SignIn::new(SshServer::new(&places))),
        access,
        cloudcli: None,
        unsettled: Vec::new(),
    };
    // Before the first instruction can come: it finds what an earlier life of the agent left.
    boot.resume();
    tell_user(&boot, &events);
    let listener = Ear(events.clone());
    spawn("link", move || websocket::run(&linked, &status, wakeup, heartbeat, listener))?;
    spawn("boot", move || see_to_boot(boot, &events))?;

    event_loop.run(&heard);
    again()
}

/// Works through the boot plan, then looks after what must stand.
fn see_to_boot(mut boot: Boot, events: &Sender<Event>) {
    boot.run();
    tell_user(&boot, events);
    while boot.is_tended() {
        std::thread::sleep(TEND_EVERY);
        boot.tend();
    }
}

/// Tells the loop whose machine it is, as soon as the user exists.
fn tell_user(boot: &Boot, events: &Sender<Event>) {
    let name = boot::workspace_of(&boot.plan).map(|(user, ..)| user);
    if let Some(user) = name.and_then(|name| users::user(&boot.places.etc, name)) {
        // The loop ends only with the whole agent.
        let _ = events.send(Event::User(user));
    }
}

/// Hands what comes from the control plane to the loop.
struct Ear(Sender<Event>);

impl Listener for Ear {
    fn instruction(&mut self, instruction: Instruction) {
        // The loop ends only with the whole agent.
        let _ = self.0.send(Event::Instruction(Box::new(instruction), Moment::now()));
    }

    fn fenced(&mut self) {
        let _ = self.0.send(Event::Fenced);
    }
}

/// Starts over as a fresh process, which finds itself parked: no thread of this one goes on touching anything.
fn again() -> anyhow::Result<()> {
    let error = std::process::Command::new(std::env::current_exe()?).args(std::env::args_os().skip(1)).exec();
    Err(error).context("starting over")
}

/// Does nothing: ending would only be restarted. Now and then it asks whether it is still to stop, for whoever told it so
/// may have been wrong; then it starts over.
fn park(reason: &str, places: &Places, api_client: &ApiClient, ask_again: Duration) -> anyhow::Result<()> {
    if service::has_machine() {
        SshServer::new(places).shut();
    }
    tracing::error!(reason, "parked; this machine does nothing more until it is deleted or taken back");
    loop {
        std::thread::sleep(ask_again);
        if is_taken_back(places, api_client) {
            tracing::warn!("the control plane has taken this machine back");
            return again();
        }
    }
}
