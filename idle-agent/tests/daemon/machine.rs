//! A machine to run the real program on: directories of its own, a user of its own (a number nobody has) where we are
//! root, and an end that leaves no process behind.

use crate::control::{Control, secret};
use ebbtide_api::backups::Persistence;
use ebbtide_api::vm::{BootPlan, Enrolled, IngressPlan, PlannedStep, Repository, StepAction, VmPolicy};
use std::collections::BTreeMap;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

pub const WORKSPACE: &str = "k3v7q2mzab";
pub const SECRET: &str = "it's-a-very-secret-value";
pub const PASSWORD: &str = "0123456789abcdef0123456789abcdef0123456789abcdef";

/// Users of machines, from a range that no system hands out.
static NEXT_USER: AtomicU32 = AtomicU32::new(0);

pub struct Machine {
    pub control: Control,
    pub dir: tempfile::TempDir,
    pub listen_port: u16,
    pub uid: u32,
    agent: Option<Child>,
    pub extra: Vec<String>,
}

pub fn policy() -> VmPolicy {
    VmPolicy {
        heartbeat_secs: 2,
        idle_timeout_secs: 3600,
        unknown_grace_secs: 600,
        waiting_for_human_secs: 7200,
        agent_silence_secs: 1800,
        background_secs: 7200,
        snapshot_every_secs: 3600,
    }
}

impl Machine {
    /// A machine whose plan makes the user, then takes these steps.
    pub fn new(steps: impl FnOnce(&Paths) -> Vec<StepAction>) -> Self {
        let dir = tempfile::tempdir().unwrap();
        std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
        let is_root = std::fs::metadata("/proc/self").unwrap().uid() == 0;
        let own = std::fs::metadata("/proc/self").unwrap();
        let number = NEXT_USER.fetch_add(1, Ordering::Relaxed) + std::process::id() % 10_000 * 100;
        let (uid, gid) =
            if is_root { (1_000_000 + number, 1_000_000 + number) } else { (own.uid(), own.gid()) };
        let paths = Paths { root: dir.path().to_owned() };
        for name in ["etc", "git", "home", "workspaces"] {
            std::fs::create_dir(dir.path().join(name)).unwrap();
        }
        for name in ["home", "workspaces"] {
            chown(dir.path().join(name), Some(uid), Some(gid)).unwrap();
        }
        let passwd = format!("root:x:0:0::/root:/bin/sh\nebb:x:{uid}:{gid}::{}:/bin/sh\n", paths.of("home"));
        std::fs::write(dir.path().join("etc/passwd"), passwd).unwrap();
        let mut actions = vec![StepAction::EnsureUser {
            user: "ebb".into(),
            home: paths.of("home"),
            workspaces: paths.of("workspaces"),
        }];
        actions.extend(steps(&paths));
        let listen_port = free_port();
        let enrolled = Enrolled {
            vm_token: "vm-token-0".into(),
            vm_token_expires_in_secs: 300,
            name: "demo".into(),
            boot_plan: BootPlan { steps: actions.into_iter().map(planned).collect() },
            repository: Repository {
                path: "/v1/vm/backup/".into(),
                password: PASSWORD.into(),
                host: WORKSPACE.into(),
                receipt_packs: 4_000,
            },
            secrets: vec![secret("API_KEY", SECRET)],
            files: vec![],
            ssh_keys: vec![],
            git_author: None,
            ssh: None,
            settings_revision: 0,
            policy: policy(),
            persistence: Persistence::Backup,
            ingress: IngressPlan {
                host: "demo-k3v7q2mzab.ebb.localhost".into(),
                port_host_template: "{port}.demo-k3v7q2mzab.ebb.localhost".into(),
                port_url_template: format!("http://{{port}}.demo-k3v7q2mzab.ebb.localhost:{listen_port}"),
                listen_port,
                access_keys: BTreeMap::new(),
            },
            control_time_secs: None,
        };
        let control = Control::start(enrolled, dir.path().join("git"));
        let machine = Self { control, dir, listen_port, uid, agent: None, extra: vec![] };
        machine.write_config();
        machine
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub fn write_config(&self) {
        let config = serde_json::json!({
            "control_url": self.control.url(), "workspace": WORKSPACE, "generation": 1, "enrolment_token": "enrol-me",
        });
        std::fs::write(self.path("agent.json"), config.to_string()).unwrap();
    }

    /// Puts a bare repository where the control plane serves it, and says its URL.
    pub fn repository(&self, url_name: &str) -> String {
        let script = "set -e; mkdir w; cd w; git init -q -b main; echo hello > README; mkdir src; echo 1 > src/a; \
             git add .; git -c user.name=t -c user.email=t@t commit -qm one; cd ..; git clone -q --bare w demo.git; \
             git -C demo.git update-server-info";
        let done = Command::new("sh").args(["-c", script]).current_dir(self.path("git")).status().unwrap();
        assert!(done.success());
        format!("{}/git/{url_name}", self.control.url())
    }

    pub fn start(&mut self) {
        assert!(self.agent.is_none());
        let log = std::fs::OpenOptions::new().append(true).create(true).open(self.path("agent.log")).unwrap();
        // Another build of the same program can be measured.
        let binary =
            std::env::var("EBB_AGENT").unwrap_or_else(|_| env!("CARGO_BIN_EXE_ebb-agent").to_owned());
        let mut command = Command::new(binary);
        command.arg("run").arg("--config").arg(self.path("agent.json"));
        for (option, place) in [
            ("--state-dir", "state"),
            ("--run-dir", "run"),
            ("--etc-dir", "etc"),
            ("--restore-target", "restored"),
        ] {
            command.arg(option).arg(self.path(place));
        }
        command.arg("--volumes").arg(self.path("volumes"));
        command.arg("--docker-root").arg(self.path("docker"));
        command.arg("--programs-dir").arg(self.programs()).args(&self.extra);
        command.env_clear().env("PATH", "/usr/bin:/bin").env("TMPDIR", self.dir.path());
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).process_group(0);
        self.agent = Some(command.spawn().unwrap());
    }

    /// The machine's programs where Caddy's own user reaches them too, which the cache of a person is not.
    fn programs(&self) -> PathBuf {
        let (from, programs) = (machine_bin().join("caddy"), self.path("bin"));
        if from.exists() && !programs.exists() {
            std::fs::create_dir(&programs).unwrap();
            let to = programs.join("caddy");
            std::fs::hard_link(&from, &to).or_else(|_| std::fs::copy(&from, &to).map(drop)).unwrap();
        }
        programs
    }

    /// Ends the agent as a crash does.
    pub fn kill(&mut self) {
        let mut agent = self.agent.take().unwrap();
        agent.kill().unwrap();
        agent.wait().unwrap();
    }

    pub fn pid(&self) -> u32 {
        self.agent.as_ref().unwrap().id()
    }

    /// Starts and waits until the machine is ready.
    #[track_caller]
    pub fn boot(&mut self) {
        self.start();
        self.control.heard("ready", |heartbeat| heartbeat.ready);
    }

    /// Runs the machine's command line.
    pub fn ebb(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ebb-agent"));
        command.arg("--run-dir").arg(self.path("run")).args(arguments).output().unwrap()
    }

    /// A process of the workspace's user.
    pub fn user_process(&self, program: &str, arguments: &[&str]) -> Child {
        let mut command = Command::new(program);
        command
            .args(arguments)
            .current_dir("/")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        if self.uid >= 1_000_000 {
            command.uid(self.uid).gid(self.uid);
        }
        command.spawn().unwrap()
    }

    pub fn agent_log(&self) -> String {
        std::fs::read_to_string(self.path("agent.log")).unwrap_or_default()
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- agent log\n{}", self.agent_log());
        }
        if let Some(mut agent) = self.agent.take() {
            let _ = agent.kill();
            let _ = agent.wait();
        }
        let mut left = vec![];
        for name in ["run/caddy.pid", "run/backup.pid"] {
            let pid = std::fs::read_to_string(self.path(name))
                .ok()
                .and_then(|text| text.trim().parse::<u32>().ok());
            left.extend(pid.filter(|pid| cmdline(*pid).contains(&*self.dir.path().to_string_lossy())));
        }
        if self.uid >= 1_000_000 {
            left.extend(processes_of(self.uid));
        }
        for pid in left {
            let _ = Command::new("kill").args(["-9", &pid.to_string()]).status();
        }
    }
}

/// Names of places on a machine.
pub struct Paths {
    root: PathBuf,
}

impl Paths {
    pub fn of(&self, name: &str) -> String {
        self.root.join(name).to_string_lossy().into_owned()
    }
}

/// A step of a plan.
pub fn planned(action: StepAction) -> PlannedStep {
    PlannedStep {
        name: name_of(&action).into(),
        title: format!("Step {}", name_of(&action)),
        action,
        timeout_secs: 60,
        retries: 1,
    }
}

fn name_of(action: &StepAction) -> &'static str {
    match action {
        StepAction::EnsurePrograms { .. } => "programs",
        StepAction::EnsureUser { .. } => "user",
        StepAction::Clone { .. } => "clone",
        StepAction::Restore { .. } => "restore",
        StepAction::StartCaddy => "caddy",
        StepAction::InstallPackages { .. } => "packages",
        StepAction::InstallDocker { .. } => "docker",
        StepAction::RunSetup { .. } => "setup",
        StepAction::StartTerminal { .. } => "terminal",
        StepAction::StartCloudCli { .. } => "cloudcli",
        StepAction::Prune { .. } => "tidy",
        StepAction::InstallBundles { .. } => "agents",
        StepAction::Unknown => "unknown",
    }
}

/// Where the real Caddy is, if this machine has it.
pub fn machine_bin() -> PathBuf {
    let cache = std::env::var_os("EBBTIDE_CACHE").map(PathBuf::from).unwrap_or_else(|| {
        let home = PathBuf::from(std::env::var_os("HOME").unwrap_or_default());
        std::env::var_os("XDG_CACHE_HOME").map_or(home.join(".cache"), PathBuf::from).join("ebbtide")
    });
    cache.join("machine-bin")
}

pub fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

pub fn cmdline(pid: u32) -> String {
    String::from_utf8_lossy(&std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default())
        .replace('\0', " ")
}

pub fn processes_of(uid: u32) -> Vec<u32> {
    let entries = std::fs::read_dir("/proc").unwrap().filter_map(Result::ok);
    entries
        .filter(|entry| entry.metadata().is_ok_and(|metadata| metadata.uid() == uid))
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .collect()
}

/// `R`, `S`, `T`, … of a process.
pub fn state_of(pid: u32) -> char {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").and_then(|(_, rest)| rest.chars().next()).unwrap_or('-')
}

/// Waits for a condition; panics after two minutes, for a machine at a tenth of its speed.
#[track_caller]
pub fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(120);
    while !condition() {
        assert!(Instant::now() < deadline, "{what} did not happen");
        std::thread::sleep(Duration::from_millis(10));
    }
}

pub fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).unwrap().mode() & 0o777
}
