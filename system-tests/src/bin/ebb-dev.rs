//! Brings the whole system up on this machine and keeps it until Ctrl-C. Run it through `scripts/dev`, which builds first.
//!
//! Whenever the signal comes, everything is ended and looked for: processes, mounts, namespaces.

use anyhow::{Result, bail};
use clap::Parser;
use ebbtide_system_tests::interrupt::{self, Interrupted};
use ebbtide_system_tests::{Machines, NOTHING_LEFT, Options, Stack, VmImage, ZONE, machine, paths, wait};
use serde_json::json;
use std::process::ExitCode;
use std::time::Duration;

/// Brings Ebbtide up on this machine.
#[derive(Debug, Parser)]
struct Arguments {
    /// Port of the control plane and dashboard; another where it is taken.
    #[arg(long, default_value_t = 8787)]
    port: u16,
    /// Port under which workspaces answer; another where it is taken.
    #[arg(long, default_value_t = 8930)]
    edge_port: u16,
    /// Overrides of the policy, for example '{"idle_timeout":"1m"}'.
    #[arg(long, default_value = "{}")]
    policy: String,
    /// What servers are; virtual machines need `scripts/setup vm` once.
    #[arg(long, value_enum, default_value = "process")]
    machines: MachinesArg,
    /// Coding agents to publish, such as `claude,codex`; the first time each is downloaded, up to 170 MB.
    #[arg(long, value_delimiter = ',')]
    agents: Vec<String>,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum MachinesArg {
    /// Processes in namespaces of their own.
    Process,
    /// Virtual machines with a Debian of their own, on emulated processors.
    Qemu,
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if error.is::<Interrupted>() => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("dev: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn say(text: &str) {
    eprintln!("dev: {text}");
}

fn run(arguments: &Arguments) -> Result<()> {
    interrupt::catch()?;
    let repositories = tempfile::Builder::new().prefix("ebbtide-repositories-").tempdir()?;
    machine::serve_this_repository(repositories.path())?;
    // A person watches: reports and polls come quickly. All else is as in production unless told otherwise.
    let mut policy = json!({ "heartbeat": "3s", "poll": "1s", "gone_after_create": "10s" });
    let overrides: serde_json::Map<_, _> = serde_json::from_str(&arguments.policy)?;
    if let Some(policy) = policy.as_object_mut() {
        policy.extend(overrides);
    }
    // A program that is shown could not make room for the launcher of an agent.
    let shown = tempfile::Builder::new().prefix("ebbtide-programs-").tempdir()?;
    paths::without_agents(shown.path())?;
    let mut stack = Stack::start(Options {
        programs: (!arguments.agents.is_empty()).then(|| shown.path().to_owned()),
        name: "dev".into(),
        machines: match arguments.machines {
            MachinesArg::Process => Machines::Process,
            MachinesArg::Qemu => Machines::Qemu(VmImage::Prepared),
        },
        policy,
        repositories: Some(repositories.path().to_owned()),
        cron_every: Duration::from_secs(60),
        ports: Some((arguments.port, arguments.edge_port)),
        log_level: "info",
        progress: say,
        ..Options::default()
    })?;
    // Before anybody is told where it is: a workspace has the agents that are there when it is created.
    stack.publish_agents(&arguments.agents, &say)?;
    println!("{}", greeting(&stack, &arguments.agents));
    let ended = wait::until("the end", Duration::MAX, || stack.trouble().ok_or_else(|| "all is well".into()));
    say("ending everything");
    stack.stop()?;
    say(NOTHING_LEFT);
    match ended {
        Ok(trouble) => bail!("{trouble}"),
        Err(error) => Err(error),
    }
}

fn greeting(stack: &Stack, agents: &[String]) -> String {
    let (url, token, edge) = (&stack.url, &stack.owner_token, &stack.cloud.addresses.edge);
    let edge_port = edge.rsplit(':').next().unwrap_or_default();
    let body = json!({ "repo": "http://git.ebbtide.test/ebbtide.git", "idle_timeout": "2m" });
    format!(
        "
  Ebbtide is up. Ctrl-C ends all of it.

  dashboard    {url}/
  owner token  {token}
  workspaces   http://{{port}}.{{name}}-{{id}}.{zone}:{edge_port}
  agents       {agents}
  logs         {logs}

  Spawn a workspace with this repository; it sleeps when nothing has happened in it for two minutes:

  curl -sS {url}/v1/workspaces -H 'authorization: Bearer {token}' \\
       -H 'content-type: application/json' -d '{body}'
",
        agents = match agents.join(", ") {
            none if none.is_empty() =>
                "none; scripts/dev --agents claude installs Claude Code in workspaces".to_owned(),
            agents => agents,
        },
        zone = ZONE,
        logs = stack.directory().display(),
    )
}
