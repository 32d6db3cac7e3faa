//! One running system: local cloud, Worker, published idle-agent. Dropping it ends all of it.
//!
//! Several can run at once: each has its own ports and its own directory, and nothing is shared but the built programs.

mod programs;
mod worker;

pub use worker::Runner;

use crate::api::Api;
use crate::cloud::{Addresses, Cloud};
use crate::guest::Guest;
use crate::http::{Answer, Http};
use crate::machine::Machine;
use crate::paths;
use crate::process::{Ending, Start, Supervised, log_end, run};
use crate::secrets::Secrets;
use crate::wait;
use anyhow::{Context, Result, ensure};
use serde_json::Value;
use std::ffi::OsString;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tempfile::TempDir;

/// The local zone: browsers and curl resolve everything below `localhost` to loopback.
pub const ZONE: &str = "ebb.localhost";
/// The bucket's name in `wrangler.toml`.
const BUCKET: &str = "ebbtide-backups";
/// What is said when everything has ended.
pub const NOTHING_LEFT: &str = "nothing is left: no process, no mount, no namespace";
/// How long the local cloud may take to say where it listens (a person may have to type a password for sudo).
const CLOUD_START: Duration = Duration::from_secs(60);
/// How long the Worker may take to answer.
const WORKER_START: Duration = Duration::from_secs(90);

/// What stands behind servers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Machines {
    /// Nothing: servers are entries in a table.
    None,
    /// Real processes in namespaces of their own.
    Process,
    /// Virtual machines, whose disk is at first as said.
    Qemu(VmImage),
}

/// What a virtual machine's disk is at first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum VmImage {
    /// What a provider's image of Debian is: a boot installs the programs that every workspace needs.
    Bare,
    /// That, with those programs.
    Prepared,
    /// The older Debian 12, bare.
    Debian12,
}

impl Machines {
    /// The host that machines find this computer's loopback at.
    fn host(self) -> &'static str {
        match self {
            Machines::None | Machines::Process => "127.0.0.1",
            // HOST_ADDRESS in cloud-sim/src/machines/qemu/command.rs.
            Machines::Qemu(_) => "169.254.169.2",
        }
    }
}

/// How a stack is to be.
#[derive(Debug, Clone)]
pub struct Options {
    /// For messages and log files.
    pub name: String,
    /// What stands behind servers.
    pub machines: Machines,
    /// What runs the Worker.
    pub runner: Runner,
    /// Overrides of the control plane's policy: a JSON object of durations.
    pub policy: Value,
    /// Git repositories that machines find at `http://git.ebbtide.test/{name}.git`.
    pub repositories: Option<PathBuf>,
    /// Programs that machines find in `/usr/local/bin`, one file each; those of the cache where not given.
    pub programs: Option<PathBuf>,
    /// How often the Worker's cron runs.
    pub cron_every: Duration,
    /// Preferred ports of the Worker and of the edge; others where they are taken.
    pub ports: Option<(u16, u16)>,
    /// Calls that the provider of machines allows, as `20/60s`; else as many as in production.
    pub machine_calls: Option<&'static str>,
    /// Whose resources at the vendors are its own.
    pub install: &'static str,
    /// Further variables of the Worker, as `("SWEEP", "dry-run")`.
    pub variables: Vec<(&'static str, String)>,
    /// Further arguments of the local cloud.
    pub cloud_arguments: Vec<String>,
    /// What the Worker logs: `debug`, `info`, …
    pub log_level: &'static str,
    /// Told about every step.
    pub progress: fn(&str),
}

impl Default for Options {
    fn default() -> Self {
        Self {
            name: "stack".into(),
            machines: Machines::None,
            runner: Runner::Wrangler,
            policy: Value::Object(<_>::default()),
            repositories: None,
            programs: None,
            cron_every: Duration::from_secs(5),
            ports: None,
            machine_calls: None,
            install: "local",
            variables: Vec::new(),
            cloud_arguments: Vec::new(),
            log_level: "debug",
            progress: |_| (),
        }
    }
}

/// A running system.
pub struct Stack {
    // In the order in which they end: the Worker first, so that nothing is created while the cloud goes.
    worker: Option<Supervised>,
    cloud_process: Option<Supervised>,
    /// The vendors.
    pub cloud: Cloud,
    /// The owner's access to the control plane.
    pub api: Api,
    /// The control plane's URL.
    pub url: String,
    /// Signs the owner in.
    pub owner_token: String,
    options: Options,
    secrets: Secrets,
    control_port: u16,
    directory: TempDir,
}

impl std::fmt::Debug for Stack {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Stack({} at {})", self.options.name, self.url)
    }
}

impl Stack {
    /// Brings a system up and publishes the idle-agent (where there are machines to run it).
    ///
    /// # Errors
    /// Names the part that is missing or did not come up, with the end of its log.
    pub fn start(options: Options) -> Result<Self> {
        let say = options.progress;
        let directory =
            tempfile::Builder::new().prefix("ebbtide-").tempdir().context("making a directory")?;
        let path = directory.path().to_owned();
        Self::start_in(directory, options, None).inspect_err(|_| {
            // Whatever had come up went with the error; the one who asked should know.
            match crate::leak_check::none(&path) {
                Ok(()) => say(NOTHING_LEFT),
                Err(left) => say(&format!("left behind:\n{left}")),
            }
        })
    }

    /// Brings up another installation with the same accounts at the vendors. It has no cron of its own, and has to end
    /// before this one.
    ///
    /// # Errors
    /// As [`Stack::start`].
    pub fn start_beside(&self, options: Options) -> Result<Self> {
        let directory =
            tempfile::Builder::new().prefix("ebbtide-").tempdir().context("making a directory")?;
        Self::start_in(directory, options, Some(self))
    }

    fn start_in(directory: TempDir, options: Options, beside: Option<&Self>) -> Result<Self> {
        let say = options.progress;
        let mut secrets = Secrets::random()?;
        let (control_port, edge_port) = ports(options.ports)?;
        let (cloud_process, addresses) = match beside {
            Some(other) => {
                secrets.hetzner_token.clone_from(&other.secrets.hetzner_token);
                secrets.cloudflare_token.clone_from(&other.secrets.cloudflare_token);
                (None, other.cloud.addresses.clone())
            }
            None => {
                say("starting the local cloud");
                let started =
                    start_cloud(&options, directory.path(), &secrets, control_port, (0, edge_port))?;
                (Some(started.0), started.1)
            }
        };
        let url = format!("http://127.0.0.1:{control_port}");
        let api = Api::new(&url, &secrets.owner_token);
        let owner_token = secrets.owner_token.clone();
        let mut stack = Self {
            worker: None,
            cloud_process,
            cloud: Cloud::new(addresses),
            api,
            url,
            owner_token,
            options,
            secrets,
            control_port,
            directory,
        };
        stack.write_configuration()?;
        say("applying the database's migrations");
        worker::migrate(&stack.state())?;
        say("starting the Worker");
        stack.start_worker()?;
        if stack.options.machines != Machines::None {
            say("publishing the idle-agent");
            stack.api.publish_agent(&paths::idle_agent()?)?;
        } else {
            // Servers without machines run nothing, but user-data names an idle-agent all the same.
            let stand_in = stack.directory.path().join("agent");
            std::fs::write(&stand_in, "#!/bin/false\n").context("writing a stand-in for the idle-agent")?;
            stack.api.publish_agent(&stand_in)?;
        }
        Ok(stack)
    }

    /// Calls Hetzner's API as the project's owner would, behind the control plane's back.
    ///
    /// # Errors
    /// Where no answer came; any status is an answer.
    pub fn hetzner(&self, method: &str, path: &str, body: Option<&Value>) -> Result<Answer> {
        let url = format!("{}{path}", self.cloud.addresses.hetzner);
        call_vendor(method, &url, &self.secrets.hetzner_token, body)
    }

    /// Calls Cloudflare's API as the zone's owner would, behind the control plane's back.
    ///
    /// # Errors
    /// Where no answer came; any status is an answer.
    pub fn cloudflare(&self, method: &str, path: &str, body: Option<&Value>) -> Result<Answer> {
        let url = format!("{}{path}", self.cloud.addresses.cloudflare);
        call_vendor(method, &url, &self.secrets.cloudflare_token, body)
    }

    /// Changes the index behind the control plane's back, as a restore of the database does.
    ///
    /// # Errors
    /// Where the statements fail.
    pub fn change_index(&self, sql: &str) -> Result<()> {
        let file = self.directory.path().join("change.sql");
        std::fs::write(&file, sql).context("writing the statements")?;
        self.wrangler_local(&["d1", "execute", "DB", "--yes"], &file).context("changing the index")
    }

    /// Stores an object in the bucket behind the control plane's back.
    ///
    /// # Errors
    /// Where it cannot be stored.
    pub fn plant_object(&self, key: &str, text: &str) -> Result<()> {
        let file = self.directory.path().join("object");
        std::fs::write(&file, text).context("writing the object")?;
        self.wrangler_local(&["r2", "object", "put", &format!("{BUCKET}/{key}")], &file)
            .context("storing an object")
    }

    /// Whether the bucket has an object.
    pub fn has_object(&self, key: &str) -> bool {
        let file = self.directory.path().join("object");
        self.wrangler_local(&["r2", "object", "get", &format!("{BUCKET}/{key}")], &file).is_ok()
    }

    /// Runs wrangler on this stack's own storage.
    fn wrangler_local(&self, arguments: &[&str], file: &Path) -> Result<()> {
        let project = worker::project(self.directory.path())?;
        run(&paths::wrangler()?, |command| {
            command
                .envs(worker::environment(self.directory.path()))
                .arg("--cwd")
                .arg(&project)
                .args(arguments)
                .args(["--local", "--persist-to"])
                .arg(self.state())
                .arg("--file")
                .arg(file)
        })
        .map(drop)
    }

    /// The directory that holds everything of this stack.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// What the Worker stores, as `wrangler dev --persist-to` has it.
    pub fn state(&self) -> PathBuf {
        self.directory.path().join("worker-state")
    }

    fn env_file(&self) -> PathBuf {
        self.directory.path().join("worker.env")
    }

    /// The policy, with what differs where machines cost nothing: no hour is worth keeping one for, and many may run.
    fn policy(&self) -> Value {
        let mut policy = serde_json::json!({
            "use_paid_hour": false, "max_workspaces": 20_000, "max_machines": 20_000,
            "spend_per_day": "100000", "spend_per_month": "1000000",
        });
        if let (Some(policy), Some(own)) = (policy.as_object_mut(), self.options.policy.as_object()) {
            policy.extend(own.clone());
        }
        policy
    }

    fn write_configuration(&self) -> Result<()> {
        let addresses = &self.cloud.addresses;
        let edge_port = addresses.edge.rsplit(':').next().unwrap_or_default();
        let variables = [
            ("CONTROL_URL", format!("http://{}:{}", self.options.machines.host(), self.control_port)),
            ("INSTALL_ID", self.options.install.into()),
            ("ZONE", ZONE.into()),
            ("ZONE_ID", addresses.zone_id.clone()),
            ("HETZNER_URL", addresses.hetzner.clone()),
            ("CLOUDFLARE_URL", addresses.cloudflare.clone()),
            ("PORT_URL_TEMPLATE", format!("http://{{host}}:{edge_port}")),
            ("INGRESS_PORT", "80".into()),
            ("POLICY", self.policy().to_string()),
            ("LOG", self.options.log_level.into()),
        ];
        let variables: Vec<_> = variables.into_iter().chain(self.options.variables.iter().cloned()).collect();
        self.secrets.write_env_file(&self.env_file(), &variables)
    }

    fn start_worker(&mut self) -> Result<()> {
        let answer = self.bring_up_worker()?;
        ensure!(answer.status == 200, "the Worker is not healthy: {} {}", answer.status, answer.text());
        Ok(())
    }

    /// Starts it and waits for what it says of its health.
    fn bring_up_worker(&mut self) -> Result<Answer> {
        let place = worker::Place {
            directory: self.directory.path(),
            state: &self.state(),
            env_file: &self.env_file(),
            port: self.control_port,
            log: self.log("worker"),
        };
        let worker = Supervised::start(place.start(self.options.runner)?)?;
        let worker = self.worker.insert(worker);
        let http = Http::with_timeout(Duration::from_secs(5));
        let health = format!("{}/health", self.url);
        let answer = wait::until("the Worker", WORKER_START, || {
            if worker.has_ended() {
                return Ok(None);
            }
            let answer = http.send("GET", &health, &[], None).map_err(|error| format!("{error:#}"))?;
            Ok(Some(answer))
        });
        let log = worker.log_end();
        let answer = answer.and_then(|answer| answer.context("it ended"));
        answer.with_context(|| format!("the Worker did not come up; it said:\n{log}"))
    }

    /// The machine that a workspace has now, from the host's side.
    ///
    /// # Errors
    /// Where none runs, or this is not root.
    pub fn machine_of(&self, workspace: &str) -> Result<Machine> {
        let inventory = self.cloud.inventory()?;
        let server = inventory.live_of(workspace).first().map(|server| server.id);
        Machine::find(
            self.directory.path(),
            server.with_context(|| format!("workspace {workspace} has no server"))?,
        )
    }

    /// The virtual machine that a workspace has now, through its guest agent.
    ///
    /// # Errors
    /// Where it has no server.
    pub fn guest_of(&self, workspace: &str) -> Result<Guest> {
        let inventory = self.cloud.inventory()?;
        let server = inventory.live_of(workspace).first().map(|server| server.id);
        Ok(self.guest(server.with_context(|| format!("workspace {workspace} has no server"))?))
    }

    /// The virtual machine of a server, through its guest agent.
    pub fn guest(&self, server: u64) -> Guest {
        Guest::new(self.directory.path().join("cloud/machines").join(server.to_string()))
    }

    /// Where a part's log is: `worker` or `cloud`.
    pub fn log(&self, part: &str) -> PathBuf {
        self.directory.path().join(format!("{part}.log"))
    }

    /// Kills the Worker's process as a crash would, and leaves it dead.
    pub fn crash_worker(&mut self) {
        if let Some(worker) = self.worker.take() {
            worker.crash();
        }
    }

    /// Kills the Worker's process as a crash would, and starts it again on the same storage.
    ///
    /// # Errors
    /// Where it does not come up again.
    pub fn restart_worker(&mut self) -> Result<()> {
        self.crash_worker();
        self.start_worker()
    }

    /// Gives the Worker a new master key beside the old ones, as an operator would, and starts it again.
    ///
    /// # Errors
    /// Where it does not come up again.
    pub fn add_master_key(&mut self) -> Result<()> {
        self.secrets.add_master_key()?;
        self.write_configuration()?;
        self.restart_worker()
    }

    /// Takes all master keys but the newest away from the Worker, and starts it again.
    ///
    /// # Errors
    /// Where it does not come up again.
    pub fn drop_old_master_keys(&mut self) -> Result<()> {
        self.secrets.drop_old_master_keys()?;
        self.write_configuration()?;
        self.restart_worker()
    }

    /// Signs tokens with another key from now on, beside the old ones.
    ///
    /// # Errors
    /// Where it does not come up again.
    pub fn add_token_key(&mut self) -> Result<()> {
        self.secrets.add_token_key()?;
        self.write_configuration()?;
        self.restart_worker()
    }

    /// Knows the key alone that signs tokens.
    ///
    /// # Errors
    /// Where it does not come up again.
    pub fn drop_old_token_keys(&mut self) -> Result<()> {
        self.secrets.drop_old_token_keys()?;
        self.write_configuration()?;
        self.restart_worker()
    }

    /// Starts the Worker again under another policy.
    ///
    /// # Errors
    /// Where it does not come up again.
    pub fn restart_with_policy(&mut self, policy: Value) -> Result<()> {
        self.options.policy = policy;
        self.write_configuration()?;
        self.restart_worker()
    }

    /// Starts the Worker again with variables that it cannot work with; they are gone at the next restart.
    ///
    /// # Errors
    /// Where it does not answer, or says that it is well.
    pub fn restart_unwell(&mut self, variables: &[(&'static str, String)]) -> Result<()> {
        self.crash_worker();
        let whole = self.options.variables.clone();
        self.options.variables.extend_from_slice(variables);
        self.write_configuration()?;
        self.options.variables = whole;
        let answer = self.bring_up_worker()?;
        ensure!(answer.status == 503, "the Worker says {} {}", answer.status, answer.text());
        Ok(())
    }

    /// Changes the stored record of a workspace while the Worker is down: `value` is what SQLite makes of `json`.
    ///
    /// # Errors
    /// Where there is no such record.
    pub fn change_record(&self, workspace: &str, value: &str) -> Result<()> {
        run("python3", |command| {
            command.args(["-c", include_str!("change_record.py")]).arg(self.state()).args([workspace, value])
        })
        .context("changing a record")
        .map(drop)
    }

    /// Kills the vendors as a crash would and starts them again on other data, in the form in which they store it.
    ///
    /// # Errors
    /// Where they do not come up again.
    pub fn restart_cloud_with(&mut self, state: &[u8]) -> Result<()> {
        if let Some(cloud) = self.cloud_process.take() {
            cloud.crash();
        }
        std::fs::write(self.directory.path().join("cloud/state.json"), state).context("writing the data")?;
        self.restart_cloud()
    }

    /// Kills the vendors as a crash would (their machines die with them) and starts them again on the same data.
    ///
    /// # Errors
    /// Where they do not come up again.
    pub fn restart_cloud(&mut self) -> Result<()> {
        if let Some(cloud) = self.cloud_process.take() {
            cloud.crash();
        }
        let port = |url: &str| -> Result<u16> {
            let host = url.split('/').nth(2).unwrap_or_default();
            host.rsplit(':').next().unwrap_or_default().parse().with_context(|| format!("no port in {url}"))
        };
        let ports = (port(&self.cloud.addresses.sim)?, port(&self.cloud.addresses.edge)?);
        let (process, _) =
            start_cloud(&self.options, self.directory.path(), &self.secrets, self.control_port, ports)?;
        self.cloud_process = Some(process);
        Ok(())
    }

    /// Asks the edge for a page, as a browser that resolved the host's name would.
    ///
    /// # Errors
    /// Where no answer came.
    pub fn visit(&self, host: &str, path: &str, headers: &[(&str, &str)]) -> Result<Answer> {
        let mut all = vec![("host", host)];
        all.extend_from_slice(headers);
        Http::with_timeout(Duration::from_secs(10)).send(
            "GET",
            &format!("{}{path}", self.cloud.addresses.edge),
            &all,
            None,
        )
    }

    /// Names a part that ended by itself.
    pub fn trouble(&mut self) -> Option<String> {
        let parts = [("the Worker", &mut self.worker), ("the local cloud", &mut self.cloud_process)];
        let ended = parts.into_iter().find_map(|(name, part)| part.as_mut()?.has_ended().then_some(name))?;
        Some(format!("{ended} ended by itself\n{}", self.last_words()))
    }

    /// The ends of the logs, for a person who wants to know why something failed.
    pub fn last_words(&self) -> String {
        let parts = ["worker", "cloud"].map(|part| format!("--- {part}\n{}", log_end(&self.log(part))));
        parts.join("\n")
    }

    /// Ends everything and looks for what is left.
    ///
    /// # Errors
    /// Names what is left: processes, mounts.
    pub fn stop(mut self) -> Result<()> {
        self.worker = None;
        self.cloud_process = None;
        crate::leak_check::none(self.directory.path()).map_err(|left| anyhow::anyhow!("left behind:\n{left}"))
    }
}

impl Drop for Stack {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}", self.last_words());
        }
        self.worker = None;
        self.cloud_process = None;
    }
}

fn call_vendor(method: &str, url: &str, token: &str, body: Option<&Value>) -> Result<Answer> {
    let authorization = format!("Bearer {token}");
    let headers = [("authorization", authorization.as_str()), ("content-type", "application/json")];
    let text = body.map(|body| body.to_string().into_bytes());
    Http::default().send(method, url, &headers, text.as_deref())
}

fn start_cloud(
    options: &Options,
    directory: &Path,
    secrets: &Secrets,
    control_port: u16,
    (listen, edge): (u16, u16),
) -> Result<(Supervised, Addresses)> {
    let own = |port: u16| OsString::from(format!("127.0.0.1:{port}"));
    let machines = match options.machines {
        Machines::None => "none",
        Machines::Process => "process",
        Machines::Qemu(_) => "qemu",
    };
    let cron = format!("http://127.0.0.1:{control_port}/cdn-cgi/local/scheduled?cron=*/5+*+*+*+*");
    let mut arguments: Vec<OsString> =
        vec!["serve".into(), "--data-dir".into(), directory.join("cloud").into()];
    arguments.extend([
        "--listen".into(),
        own(listen),
        "--edge".into(),
        own(edge),
        "--mode".into(),
        "auto".into(),
    ]);
    arguments.extend(["--machines", machines, "--zone", ZONE].map(OsString::from));
    arguments.extend(["--control-plane".into(), own(control_port)]);
    arguments.extend(["--cron".into(), cron.into(), "--cron-every".into()]);
    arguments.push(format!("{}s", options.cron_every.as_secs().max(1)).into());
    match options.machines {
        Machines::None => {}
        Machines::Process => {
            let programs = options.programs.clone().map_or_else(paths::machine_bin, Ok)?;
            arguments.extend(["--machine-bin".into(), programs.into()]);
        }
        Machines::Qemu(image) => {
            let name = match image {
                VmImage::Bare => "bare",
                VmImage::Prepared => "prepared",
                VmImage::Debian12 => "debian-12",
            };
            arguments.extend(["--vm-image".into(), paths::vm_image(name)?.into()]);
        }
    }
    if let Some(calls) = options.machine_calls {
        arguments.extend(["--hetzner-budget", calls].map(OsString::from));
    }
    arguments.extend(options.cloud_arguments.iter().map(OsString::from));
    if let Some(repositories) = &options.repositories {
        arguments.extend(["--repos".into(), repositories.into()]);
    }
    let start = Start {
        name: "the local cloud",
        program: paths::cloud_sim()?,
        arguments,
        environment: vec![
            ("CLOUD_SIM_HETZNER_TOKEN", secrets.hetzner_token.clone().into()),
            ("CLOUD_SIM_CLOUDFLARE_TOKEN", secrets.cloudflare_token.clone().into()),
        ],
        ending: Ending::Asked,
        log: directory.join("cloud.log"),
    };
    let (process, line) = Supervised::start_and_read_line(start, CLOUD_START)?;
    let addresses = serde_json::from_str(&line).with_context(|| format!("the local cloud said {line:?}"))?;
    Ok((process, addresses))
}

/// Two ports: those preferred where they are free, else any.
fn ports(preferred: Option<(u16, u16)>) -> Result<(u16, u16)> {
    let (first, second) = preferred.unwrap_or_default();
    // Both are held until both are chosen, so that they differ.
    let (first, second) = (free(first)?, free(second)?);
    Ok((first.local_addr()?.port(), second.local_addr()?.port()))
}

fn free(port: u16) -> Result<TcpListener> {
    TcpListener::bind(("127.0.0.1", port))
        .or_else(|_| TcpListener::bind(("127.0.0.1", 0)))
        .context("finding a free port on the loopback")
}
