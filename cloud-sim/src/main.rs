//! `cloud-sim`: starts the local cloud, prints where it listens, and ends it without leaving anything behind.
//!
//! The subcommands of the machines run before any thread exists; they belong to `machines`.

use std::{
    io::{IsTerminal as _, Write as _},
    net::SocketAddr,
    path::PathBuf,
    process::ExitCode,
    sync::Arc,
    time::Duration,
};

use anyhow::Context as _;
use clap::{Args, Parser, Subcommand, ValueEnum};
use ebbtide_cloud_sim::{
    edge,
    facade::{self, Cron, Facade, OnExit},
    machines::{self, Machines, NoMachines, ProcessConfig, ProcessMachines, QemuConfig, QemuMachines},
    model::{ActionTimes, Budget, Config, Mode},
};
use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
};

/// A local cloud: Hetzner's and Cloudflare's APIs on loopback, with real processes as machines.
#[derive(Parser)]
#[command(name = "cloud-sim", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Serve both APIs until interrupted.
    Serve(Box<Serve>),
}

#[derive(Args)]
struct Serve {
    /// Holds the cloud's state and the machines' disks; started again on it, the cloud goes on.
    #[arg(long)]
    data_dir: PathBuf,
    /// Where the APIs listen.
    #[arg(long, default_value = "127.0.0.1:0")]
    listen: SocketAddr,
    /// Where the edge listens: the way to the machines' names.
    #[arg(long, default_value = "127.0.0.1:0")]
    edge: SocketAddr,
    /// Whether time moves the cloud, or only `/_sim/step`.
    #[arg(long, value_enum, default_value = "auto")]
    mode: ModeArg,
    #[arg(long, value_enum, default_value = "none")]
    machines: MachinesArg,
    /// How much quicker than usual the provider's actions are.
    #[arg(long, default_value_t = 1.0, value_parser = parse_scale)]
    time_scale: f64,
    /// The control plane's address; machines reach it under the same one.
    #[arg(long)]
    control_plane: Option<SocketAddr>,
    /// Programs shown inside machines under /usr/local/bin.
    #[arg(long)]
    machine_bin: Option<PathBuf>,
    /// What virtual machines start from: a directory that scripts/setup makes, such as target/vm-image/bare.
    #[arg(long, required_if_eq("machines", "qemu"))]
    vm_image: Option<PathBuf>,
    /// A further argument of QEMU, for what shall be different with all virtual machines; may be repeated.
    #[arg(long, allow_hyphen_values = true)]
    qemu_argument: Vec<String>,
    /// Git repositories served to machines.
    #[arg(long)]
    repos: Option<PathBuf>,
    /// A URL to call like the platform's scheduler would.
    #[arg(long)]
    cron: Option<url::Url>,
    #[arg(long, default_value = "60s", value_parser = parse_duration)]
    cron_every: Duration,
    /// The one DNS zone.
    #[arg(long, default_value = "ebb.localhost")]
    zone: String,
    /// What becomes of machines on SIGTERM and SIGINT.
    #[arg(long, value_enum, default_value = "destroy")]
    on_exit: OnExit,
    /// Servers that the project may have.
    #[arg(long, default_value_t = 100)]
    server_limit: usize,
    /// Records that the zone may have.
    #[arg(long, default_value_t = 200)]
    record_limit: usize,
    /// Calls that Hetzner's API allows in a time.
    #[arg(long, default_value = "3600/3600s", value_parser = parse_budget)]
    hetzner_budget: Budget,
    /// Calls that Cloudflare's API allows in a time.
    #[arg(long, default_value = "1200/300s", value_parser = parse_budget)]
    cloudflare_budget: Budget,
    /// Rolls the dice of faults.
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

#[derive(Clone, Copy, ValueEnum)]
enum ModeArg {
    Auto,
    Step,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum MachinesArg {
    /// Servers are entries in a table.
    None,
    /// Servers are processes in namespaces of their own.
    Process,
    /// Servers are virtual machines; they reach this machine's loopback at 169.254.169.2.
    Qemu,
}

fn parse_scale(text: &str) -> Result<f64, String> {
    let scale: f64 = text.parse().map_err(|_| "is no number".to_owned())?;
    if scale.is_finite() && scale > 0.0 { Ok(scale) } else { Err("must be above zero".to_owned()) }
}

fn parse_budget(text: &str) -> Result<Budget, String> {
    let (limit, window) = text.split_once('/').ok_or_else(|| "is no budget such as 20/60s".to_owned())?;
    let limit =
        limit.parse().ok().filter(|limit| *limit > 0).ok_or_else(|| "has no number of calls".to_owned())?;
    let window_ms =
        u64::try_from(parse_duration(window)?.as_millis()).map_err(|_| "is too long".to_owned())?;
    Ok(Budget { limit, window_ms })
}

fn parse_duration(text: &str) -> Result<Duration, String> {
    let span: jiff::SignedDuration =
        text.parse().map_err(|_| "is not a valid duration such as 60s".to_owned())?;
    Duration::try_from(span)
        .ok()
        .filter(|duration| !duration.is_zero())
        .ok_or_else(|| "must be above zero".to_owned())
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments.first().is_some_and(|first| first == "machine-init" || first == "machine-mount") {
        return machines::init::main(&arguments);
    }
    if let [bridge, socket] = arguments.as_slice()
        && bridge == "machine-bridge"
    {
        return machines::qemu::bridge::main(std::path::Path::new(socket));
    }
    let Command::Serve(serve) = Cli::parse().command;
    init_logs();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("cloud-sim: the async runtime does not start: {error}");
            return ExitCode::FAILURE;
        }
    };
    match runtime.block_on(run(*serve)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("cloud-sim: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn init_logs() {
    let filter = tracing_subscriber::EnvFilter::try_from_env("CLOUD_SIM_LOG")
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("info"));
    let ansi = std::io::stderr().is_terminal();
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(ansi).init();
}

async fn run(serve: Serve) -> anyhow::Result<()> {
    let mut interrupted = signal(SignalKind::interrupt())?;
    let mut terminated = signal(SignalKind::terminate())?;
    let config = configure(&serve)?;
    let listener = listen(serve.listen).await?;
    let edge_listener = listen(serve.edge).await?;
    let (api, edge_address) = (listener.local_addr()?, edge_listener.local_addr()?);
    let machines = start_machines(&serve).await?;
    let facade = Facade::start(config, serve.data_dir.clone(), machines.clone())?;

    announce(api, edge_address, &facade.zone_id())?;
    let cron = async {
        match serve.cron.clone() {
            Some(url) => Cron { url, every: serve.cron_every }.run().await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        () = facade::serve(listener, facade.clone()) => {}
        () = edge::serve(edge_listener, facade.resolver(), machines) => {}
        () = cron => {}
        _ = interrupted.recv() => {}
        _ = terminated.recv() => {}
    }
    facade.stop(serve.on_exit).await;
    Ok(())
}

async fn listen(address: SocketAddr) -> anyhow::Result<TcpListener> {
    anyhow::ensure!(
        address.ip().is_loopback(),
        "{address} is not on loopback; the local cloud listens nowhere else"
    );
    TcpListener::bind(address).await.with_context(|| format!("cannot listen on {address}"))
}

async fn start_machines(serve: &Serve) -> anyhow::Result<Arc<dyn Machines>> {
    match serve.machines {
        MachinesArg::None => Ok(Arc::new(NoMachines::default())),
        MachinesArg::Process => {
            std::fs::create_dir_all(&serve.data_dir)
                .with_context(|| format!("cannot create {}", serve.data_dir.display()))?;
            let config = ProcessConfig {
                data_dir: serve.data_dir.canonicalize()?,
                control_plane: serve.control_plane,
                program_dir: serve.machine_bin.clone(),
                repositories: serve.repos.clone(),
                program: None,
            };
            let machines = ProcessMachines::start(config).await.context("machines cannot be started")?;
            Ok(Arc::new(machines))
        }
        MachinesArg::Qemu => {
            std::fs::create_dir_all(&serve.data_dir)
                .with_context(|| format!("cannot create {}", serve.data_dir.display()))?;
            let config = QemuConfig {
                data_dir: serve.data_dir.canonicalize()?,
                image: serve.vm_image.clone().context("--vm-image is missing")?,
                repositories: serve.repos.clone(),
                arguments: serve.qemu_argument.clone(),
            };
            let machines = QemuMachines::start(config).await.context("virtual machines cannot be started")?;
            Ok(Arc::new(machines))
        }
    }
}

/// The tokens come from the environment alone: an argument could be read by everybody.
fn token(variable: &str) -> anyhow::Result<String> {
    let token = std::env::var(variable).unwrap_or_default();
    anyhow::ensure!(!token.is_empty(), "set {variable} to the token that clients will use");
    Ok(token)
}

fn configure(serve: &Serve) -> anyhow::Result<Config> {
    Ok(Config {
        hetzner_token: token("CLOUD_SIM_HETZNER_TOKEN")?,
        cloudflare_token: token("CLOUD_SIM_CLOUDFLARE_TOKEN")?,
        zone: serve.zone.to_ascii_lowercase(),
        mode: match serve.mode {
            ModeArg::Auto => Mode::Auto,
            ModeArg::Step => Mode::Step,
        },
        times: ActionTimes::LOCAL.quicker(serve.time_scale),
        acknowledge_images: serve.machines != MachinesArg::None,
        server_limit: serve.server_limit,
        record_limit: serve.record_limit,
        hetzner_budget: serve.hetzner_budget,
        cloudflare_budget: serve.cloudflare_budget,
        seed: serve.seed,
        ..Config::default()
    })
}

/// The one line on standard output: where everything is.
fn announce(api: SocketAddr, edge: SocketAddr, zone_id: &str) -> anyhow::Result<()> {
    let line = serde_json::json!({
        "hetzner": format!("http://{api}/hetzner/v1"),
        "cloudflare": format!("http://{api}/cloudflare/client/v4"),
        "sim": format!("http://{api}/_sim"),
        "edge": format!("http://{edge}"),
        "zone_id": zone_id,
    });
    let mut stdout = std::io::stdout().lock();
    writeln!(stdout, "{line}")?;
    stdout.flush()?;
    Ok(())
}
