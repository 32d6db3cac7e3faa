//! CloudCLI on a machine that has it: started as the workspace's user, started again when it ends, its one user registered.
//!
//! Must never fail a boot: where the program is missing, ends or does not answer, the log says so and it is tried again.
//! Its secret is in the environment of that process and of what it starts, all of them the workspace's user's; it listens on
//! loopback, and who comes in is decided as for every port (see `access`). What it is asked about its sessions is in `sessions`.

use super::account::{self, USER};
use super::sessions;
use crate::os::atomic_file;
use crate::os::clock::Moment;
use crate::os::command::path;
use crate::os::processes;
use crate::os::service::work_of;
use crate::os::users::User;
use crate::sleep::freezer;
use crate::user_settings::Variables;
use ebbtide_api::vm::CLOUDCLI_PORT;
use serde::Deserialize;
use std::fs::{File, OpenOptions};
use std::io::{Read as _, Seek as _, SeekFrom};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Child;
use std::time::Duration;

/// What a machine without the program says.
const MISSING: &str = "CloudCLI is not installed; the terminal in the browser needs none of it";

/// Where a user's own programs are looked for, below the home directory.
const OWN: [&str; 3] = [".local/bin", ".npm-global/bin", "bin"];
/// How often a machine without the program is looked through for it: its user may install it at any time.
const SEEK_EVERY: Duration = Duration::from_secs(10);
/// The longest pause before it is started again, and how long it must have run for the pauses to begin anew.
const LONGEST_PAUSE: Duration = Duration::from_secs(300);
const WELL_AFTER: Duration = Duration::from_secs(120);
/// How long after a registration that failed the next is tried.
const REGISTER_AGAIN: Duration = Duration::from_secs(60);
/// How long it may take to answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);
/// At which size what it prints begins anew: it is kept in memory.
const OUTPUT_BYTES: u64 = 256 << 10;

/// CloudCLI, or the place where it will be.
#[derive(Debug)]
pub struct CloudCli {
    user: User,
    workspaces: String,
    environment: Variables,
    state: PathBuf,
    run: PathBuf,
    pid_file: PathBuf,
    output: PathBuf,
    running: Option<Running>,
    begun: Moment,
    failures: u32,
    not_before: Moment,
    is_registered: bool,
    register_at: Moment,
    agent: ureq::Agent,
    port: u16,
}

#[derive(Debug)]
enum Running {
    Ours(Child),
    /// Started by an earlier life of the agent: process id and start time.
    Adopted(u32, u64),
}

/// What a start came to.
#[derive(Debug, PartialEq, Eq)]
pub enum Start {
    /// It runs.
    Runs,
    /// It does not, for that reason.
    Not(String),
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Status {
    needs_setup: bool,
}

fn client(patience: Duration) -> ureq::Agent {
    let config = ureq::Agent::config_builder()
        .timeout_global(Some(patience))
        .http_status_as_error(false)
        .proxy(None)
        .max_redirects(0);
    config.build().into()
}

impl CloudCli {
    /// Nothing is started yet.
    pub fn new(user: User, workspaces: &str, environment: Variables, state: &Path, run: &Path) -> Self {
        Self {
            user,
            workspaces: workspaces.to_owned(),
            environment,
            state: state.to_owned(),
            run: run.to_owned(),
            pid_file: run.join("cloudcli.json"),
            output: run.join("cloudcli.out"),
            running: None,
            begun: Moment::now(),
            failures: 0,
            not_before: Moment::now(),
            is_registered: false,
            register_at: Moment::now(),
            agent: client(ANSWER_TIMEOUT),
            port: CLOUDCLI_PORT,
        }
    }

    /// Starts it where it is installed and does not run yet.
    pub fn start(&mut self) -> Start {
        if self.running.is_none() {
            self.running = self.earlier().inspect(|_| tracing::info!("CloudCLI still runs"));
        }
        if self.runs() {
            return Start::Runs;
        }
        let Some(program) = self.program() else {
            self.not_before = Moment::now().plus(SEEK_EVERY);
            return Start::Not(MISSING.to_owned());
        };
        match self.spawn(&program) {
            Ok(()) => Start::Runs,
            Err(error) => {
                self.pause();
                Start::Not(format!("CloudCLI cannot be started: {error}"))
            }
        }
    }

    /// Looks after it; to be called every few seconds. Says what is new, for the log.
    pub fn tend(&mut self) -> Option<String> {
        // Nothing of the user's starts beside what is frozen, and what is frozen answers nothing.
        if freezer::is_frozen(&self.run) {
            return None;
        }
        if self.runs() {
            self.shorten_output();
            return if self.is_registered { None } else { self.register() };
        }
        if self.running.take().is_some() {
            let lived = Moment::now().since(self.begun);
            if lived >= WELL_AFTER {
                self.failures = 0;
            }
            let pause = ebbtide_api::Duration::from_secs(self.pause().as_secs());
            return Some(format!("CloudCLI has ended: {}; it starts again in {pause}", self.last_words()));
        }
        if Moment::now() < self.not_before {
            return None;
        }
        match self.start() {
            Start::Runs => Some("CloudCLI starts".to_owned()),
            Start::Not(reason) if reason == MISSING => None,
            Start::Not(reason) => Some(reason),
        }
    }

    /// Waits longer with every failure in a row; says for how long.
    fn pause(&mut self) -> Duration {
        let pause = Duration::from_secs(2_u64.saturating_pow(self.failures.min(10))).min(LONGEST_PAUSE);
        self.failures = self.failures.saturating_add(1);
        self.not_before = Moment::now().plus(pause);
        pause
    }

    fn runs(&mut self) -> bool {
        match &mut self.running {
            Some(Running::Ours(child)) => matches!(child.try_wait(), Ok(None)),
            Some(Running::Adopted(pid, started)) => is_alive(*pid, *started),
            None => false,
        }
    }

    fn earlier(&self) -> Option<Running> {
        let (pid, started) = atomic_file::read_json::<(u32, u64)>(&self.pid_file)?;
        is_alive(pid, started).then_some(Running::Adopted(pid, started))
    }

    /// Where its user or the machine has programs.
    fn path(&self) -> String {
        let own = OWN.map(|directory| format!("{}/{directory}:", self.user.home));
        format!("{}{}", own.concat(), path())
    }

    fn program(&self) -> Option<PathBuf> {
        let path = self.path();
        let candidates = path.split(':').map(|directory| Path::new(directory).join("cloudcli"));
        candidates.into_iter().find(|program| {
            std::fs::metadata(program)
                .is_ok_and(|file| file.is_file() && file.permissions().mode() & 0o111 != 0)
        })
    }

    fn spawn(&mut self, program: &Path) -> std::io::Result<()> {
        let secret = account::secret(&self.state)?;
        let _ = std::fs::remove_file(&self.output);
        let output = OpenOptions::new().append(true).create(true).mode(0o600).open(&self.output)?;
        let mut command = work_of(program, &self.user);
        command
            .args(["start", "--port", &CLOUDCLI_PORT.to_string()])
            .envs(self.environment.now().into_iter().map(|variable| (variable.name, variable.value)))
            // Ours come last: an environment of the workspace's must not open it to the network.
            .env("PATH", self.path())
            .env("HOST", "127.0.0.1")
            .env("SERVER_PORT", CLOUDCLI_PORT.to_string())
            .env("DATABASE_PATH", Path::new(&self.user.home).join(".cloudcli/auth.db"))
            .env("WORKSPACES_ROOT", &self.workspaces)
            .env("JWT_SECRET", secret)
            .current_dir(&self.user.home)
            .stdout(output.try_clone()?)
            .stderr(output)
            .process_group(0);
        let child = command.spawn()?;
        let started = processes::read_one(Path::new("/proc"), child.id()).map(|process| process.started);
        tracing::info!(pid = child.id(), "CloudCLI starts");
        if let Some(started) = started {
            atomic_file::write_json(&self.pid_file, &(child.id(), started), 0o600)?;
        }
        (self.begun, self.is_registered) = (Moment::now(), false);
        self.running = Some(Running::Ours(child));
        Ok(())
    }

    /// Registers its one user, once it answers: whoever comes first would be that user.
    fn register(&mut self) -> Option<String> {
        if Moment::now() < self.register_at || !sessions::is_of(self.port, self.user.uid) {
            return None;
        }
        // No answer: it is still starting, or busy, and is asked again.
        let mut answer = self.agent.get(self.url("status")).call().ok()?;
        let status: Status = serde_json::from_str(&answer.body_mut().read_to_string().ok()?).ok()?;
        if !status.needs_setup {
            // Registered by an earlier machine, whose files are here, or by the user.
            self.registered();
            return None;
        }
        let registration = match account::password(&self.user) {
            Ok(password) => serde_json::json!({ "username": USER, "password": password }),
            Err(reason) => {
                self.register_at = Moment::now().plus(REGISTER_AGAIN);
                return Some(format!("CloudCLI's user is not registered: {reason}"));
            }
        };
        let register = self.agent.post(self.url("register"));
        let answer =
            register.header("content-type", "application/json").send(registration.to_string()).ok()?;
        Some(if answer.status().is_success() {
            self.registered();
            "CloudCLI runs; its user and password: ebb cloudcli".to_owned()
        } else {
            self.register_at = Moment::now().plus(REGISTER_AGAIN);
            format!("CloudCLI refuses to register its user ({}); it is asked again", answer.status())
        })
    }

    fn registered(&mut self) {
        self.is_registered = true;
        if let Err(error) = account::announce(&self.state) {
            tracing::warn!(%error, "CloudCLI is asked for its sessions later");
        }
    }

    fn url(&self, question: &str) -> String {
        format!("http://127.0.0.1:{}/api/auth/{question}", self.port)
    }

    fn shorten_output(&self) {
        // Opened for appending, so that what comes next is at the beginning.
        if std::fs::metadata(&self.output).is_ok_and(|file| file.len() > OUTPUT_BYTES)
            && let Err(error) =
                OpenOptions::new().write(true).open(&self.output).and_then(|file| file.set_len(0))
        {
            tracing::warn!(%error, "cannot shorten what CloudCLI printed");
        }
    }

    /// Its last line that names an error, or its last of all: Node ends with its version.
    fn last_words(&self) -> String {
        let tail = |mut file: File| {
            let length = file.metadata()?.len();
            file.seek(SeekFrom::Start(length.saturating_sub(2048)))?;
            let mut bytes = Vec::new();
            file.read_to_end(&mut bytes).map(|_| bytes)
        };
        let said = File::open(&self.output).and_then(tail).unwrap_or_default();
        let said = String::from_utf8_lossy(&said);
        let lines = || said.lines().rev().map(str::trim).filter(|line| !line.is_empty());
        let last = lines().find(|line| line.contains("Error")).or_else(|| lines().next());
        last.unwrap_or("it said nothing").chars().take(300).collect()
    }
}

fn is_alive(pid: u32, started: u64) -> bool {
    processes::read_one(Path::new("/proc"), pid).is_some_and(|process| process.started == started)
}

#[cfg(test)]
mod tests {
    use super::super::played::play;
    use super::*;
    use serde_json::Value;

    fn cloudcli(home: &Path) -> CloudCli {
        let (uid, gid) = (rustix::process::getuid().as_raw(), rustix::process::getgid().as_raw());
        let user = User {
            name: "t".into(),
            uid,
            gid,
            home: home.to_string_lossy().into_owned(),
            shell: String::new(),
        };
        let mut cloudcli = CloudCli::new(user, "/workspaces", Variables::default(), home, home);
        // The server is a thread of this test's, on a machine that may have other work.
        cloudcli.agent = client(Duration::from_secs(60));
        cloudcli
    }

    #[test]
    fn its_one_user_is_registered_once_with_a_password_that_only_they_read() {
        let home = tempfile::tempdir().unwrap();
        let setup = r#"{"needsSetup":true,"isAuthenticated":false}"#;
        let (port, asked) = play(vec![(200, setup), (200, r#"{"success":true}"#)]);
        let mut cloudcli = cloudcli(home.path());
        cloudcli.port = port;
        let news = cloudcli.register().unwrap();
        assert!(news.contains("ebb cloudcli"), "{news}");
        let asked = asked.join().unwrap();
        let paths: Vec<&str> = asked.iter().map(|asked| asked.path.as_str()).collect();
        assert_eq!(paths, ["/api/auth/status", "/api/auth/register"]);
        let file = home.path().join(account::PASSWORD);
        let password = std::fs::read_to_string(&file).unwrap();
        let registration: Value = serde_json::from_str(&asked[1].body).unwrap();
        assert_eq!(
            (registration["username"].as_str(), registration["password"].as_str()),
            (Some(USER), Some(password.trim()))
        );
        assert!(password.trim().len() >= 20 && !news.contains(password.trim()));
        assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(account::password(&cloudcli.user).unwrap(), password.trim(), "it is made once");
        assert!(cloudcli.is_registered);
    }

    #[test]
    fn one_that_does_not_answer_yet_is_asked_again() {
        let home = tempfile::tempdir().unwrap();
        let mut cloudcli = cloudcli(home.path());
        let unused = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        cloudcli.port = unused;
        assert_eq!((cloudcli.register(), cloudcli.is_registered), (None, false));
    }

    #[test]
    fn pauses_grow_to_five_minutes() {
        let home = tempfile::tempdir().unwrap();
        let mut cloudcli = cloudcli(home.path());
        let pauses: Vec<u64> = (0..11).map(|_| cloudcli.pause().as_secs()).collect();
        assert_eq!(pauses, [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300]);
    }
}
