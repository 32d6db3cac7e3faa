//! How each kind of boot step is done; cloning is in `clone`. Each may be repeated: after a crash it begins again.

use super::agents::Wanted;
use super::packages::{self, Said, Tools};
use super::restore_progress::Furthest;
use super::{Boot, Reporter, StepError, Success};
use crate::access::caddy::Caddy;
use crate::cloudcli::start::{CloudCli, Start};
use crate::config::Places;
use crate::control_plane::status::Status;
use crate::firewall::Firewall;
use crate::os::atomic_file;
use crate::os::clock::Moment;
use crate::os::command::{RunError, command_as, is_installed, run};
use crate::os::users::{self, User};
use crate::sleep::backup_estimate::restore_rate::RestoreRate;
use crate::sleep::backup_process::{BackupProcessError, News, Order};
use crate::sleep::freezer;
use crate::terminal::{Tmux, TmuxError};
use ebbtide_api::vm::{BootPlan, StepAction};
use std::os::unix::fs::symlink;
use std::path::Path;
use std::time::Duration;

/// The id that the workspace's user gets, so that restored files belong to it on every machine.
const USER_ID: &str = "1000";

/// The user, home and workspaces directory that a plan names.
pub fn workspace_of(plan: &BootPlan) -> Option<(&str, &str, &str)> {
    plan.steps.iter().find_map(|step| match &step.action {
        StepAction::EnsureUser { user, home, workspaces } => {
            Some((user.as_str(), home.as_str(), workspaces.as_str()))
        }
        _ => None,
    })
}

/// The tmux of the workspace that a plan names, on this machine.
pub fn tmux_of(plan: &BootPlan, places: &Places) -> Option<Tmux> {
    plan.steps.iter().find_map(|step| match &step.action {
        StepAction::StartTerminal { user, directory } => Some(Tmux {
            etc: places.etc.clone(),
            user: user.clone(),
            directory: directory.into(),
            environment: places.env(),
        }),
        _ => None,
    })
}

impl Boot {
    pub(super) fn perform(
        &mut self,
        action: &StepAction,
        limit: Duration,
        reporter: &Reporter<'_>,
    ) -> Result<Success, StepError> {
        match action {
            StepAction::EnsurePrograms { programs } => {
                let ensured = self.ensure_programs(programs, limit, reporter);
                // The first of them that it needs may have come just now; nothing of the user's runs before the next step.
                self.firewall.as_mut().map(Firewall::look_soon);
                self.tend_firewall();
                self.ensure_lfs(limit, reporter);
                ensured
            }
            StepAction::EnsureUser { user, home, workspaces } => {
                self.ensure_user(user, home, workspaces, limit)
            }
            StepAction::Clone { url, branch, directory, user } => {
                self.clone_repository(url, branch.as_deref(), Path::new(directory), user, limit, reporter)
            }
            StepAction::InstallPackages { user } => self.install_own_packages(user, limit, reporter),
            StepAction::RunSetup { user } => self.run_setup(user, limit, reporter),
            StepAction::Prune { limit_secs } => Ok(self.prune(Duration::from_secs(*limit_secs), reporter)),
            StepAction::Restore { snapshot } => self.restore(snapshot, reporter),
            StepAction::InstallBundles { directory, programs, files, missing } => {
                Ok(self.install_bundles(&Wanted { directory, programs, files, missing }, limit, reporter))
            }
            StepAction::InstallDocker { user } => Ok(self.install_docker(user, limit, reporter)),
            StepAction::StartCaddy => self.start_caddy(limit),
            StepAction::StartTerminal { .. } => self.start_terminal(limit),
            StepAction::StartCloudCli { user, workspaces } => self.start_cloudcli(user, workspaces),
            StepAction::Unknown => Err(StepError::lasting(
                "this step is unknown to the idle-agent on this machine, which is older than the control plane; upload \
                 the current agent and wake the workspace again",
            )),
        }
    }

    fn ensure_programs(
        &self,
        programs: &[(String, String)],
        limit: Duration,
        reporter: &Reporter<'_>,
    ) -> Result<Success, StepError> {
        let missing: Vec<&(String, String)> =
            programs.iter().filter(|(program, _)| !is_installed(program)).collect();
        if missing.is_empty() {
            return Ok(Success::NothingToDo("everything is there already".to_owned()));
        }
        if !users::is_root() {
            let names: Vec<_> = missing.iter().map(|(program, _)| program.as_str()).collect();
            return Err(StepError::lasting(format!(
                "{} missing, and only root can install",
                names.join(", ")
            )));
        }
        let mut packages: Vec<&str> = missing.iter().map(|(_, package)| package.as_str()).collect();
        packages.dedup();
        reporter.detail(&format!("installing {}", packages.join(", ")));
        if packages.contains(&"caddy") {
            // The package would start a Caddy of its own on our port, now and at every boot.
            let unit = Path::new("/etc/systemd/system/caddy.service");
            if !unit.exists() && unit.parent().is_some_and(Path::exists) {
                let _ = symlink("/dev/null", unit);
            }
        }
        let mut tools = MachineTools { status: &self.status, reporter, end: Moment::now().plus(limit) };
        packages::install(&packages, &mut tools).map_err(StepError::passing)?;
        match missing.iter().find(|(program, _)| !is_installed(program)) {
            Some((program, package)) => Err(StepError::lasting(format!(
                "the package {package} was installed but brought no {program}"
            ))),
            None => Ok(Success::Done(Some(format!("installed {}", packages.join(", "))))),
        }
    }

    fn ensure_user(
        &self,
        name: &str,
        home: &str,
        workspaces: &str,
        limit: Duration,
    ) -> Result<Success, StepError> {
        let created = match users::user(&self.places.etc, name) {
            Some(_) => false,
            None if users::is_root() => {
                let passwd = std::fs::read_to_string(self.places.etc.join("passwd")).unwrap_or_default();
                let taken = passwd.lines().any(|line| line.split(':').nth(2) == Some(USER_ID));
                let mut command = command_as("useradd", None);
                command.args(["--create-home", "--shell", "/bin/bash", "--home-dir", home]);
                if !taken {
                    command.args(["--uid", USER_ID]);
                }
                command.args(["--", name]);
                let ended =
                    run(command, limit, &mut |line| self.status.log(line)).map_err(StepError::passing)?;
                if !ended.status.success() {
                    let said = ended.tail.last().map_or("", String::as_str);
                    return Err(StepError::passing(format!("useradd failed: {said}")));
                }
                true
            }
            None => {
                return Err(StepError::lasting(format!(
                    "there is no user {name}, and only root can make one"
                )));
            }
        };
        let user = self.user(name)?;
        let failed = |what: &str, error: std::io::Error| StepError::passing(format!("{what}: {error}"));
        for directory in [home, workspaces] {
            std::fs::create_dir_all(directory).map_err(|error| failed(directory, error))?;
            own(Path::new(directory), &user).map_err(|error| failed(directory, error))?;
        }
        self.settings.write(&user).map_err(|error| failed("variables, files and keys", error))?;
        self.let_become_root(name).map_err(|error| failed("sudo", error))?;
        let socket = self.places.socket();
        if socket.exists() {
            give_to_group(&socket, &user, 0o660).map_err(|error| failed("the local socket", error))?;
        }
        Ok(if created { Success::Done(None) } else { Success::NothingToDo(format!("{name} exists")) })
    }

    /// The machine is its user's. `sudo` itself may come later, with the programs.
    fn let_become_root(&self, name: &str) -> std::io::Result<()> {
        if !users::is_root() {
            return Ok(());
        }
        let directory = self.places.etc.join("sudoers.d");
        std::fs::create_dir_all(&directory)?;
        let rule = format!("# Ebbtide: this machine is its user's.\n{name} ALL=(ALL:ALL) NOPASSWD: ALL\n");
        atomic_file::write(&directory.join("ebbtide"), rule.as_bytes(), 0o440)
    }

    fn restore(&self, snapshot: &str, reporter: &Reporter<'_>) -> Result<Success, StepError> {
        self.stop_docker()?;
        let order = Order::Restore { snapshot: snapshot.to_owned() };
        let status = &self.status;
        let mut furthest = Furthest::default();
        let result = self.backup_processes.run(&order, &mut |news| match news {
            News::Progress(progress) => {
                let gained = furthest.gained(&progress);
                if progress.phase == "restore"
                    && let Some(total) = progress.bytes_total.filter(|total| *total > 0)
                {
                    reporter.percent(
                        u8::try_from(progress.bytes_done.saturating_mul(100) / total).unwrap_or(100),
                    );
                }
                status.update(crate::control_plane::status::Urgency::Soon, |facts| {
                    facts.boot_progress += u64::from(gained > 0);
                    facts.restored = facts.restored.saturating_add(gained);
                    facts.backup_progress += 1;
                    facts.backup = Some(progress);
                });
            }
            News::Trouble(text) => status.log(&text),
        });
        status.update(crate::control_plane::status::Urgency::Now, |facts| facts.backup = None);
        match result {
            Ok(outcome) => {
                RestoreRate::note(&outcome, &self.places.state);
                self.docker_is_restored();
                let files = outcome.get("files").and_then(serde_json::Value::as_u64).unwrap_or(0);
                for warning in
                    outcome.get("warnings").and_then(serde_json::Value::as_array).into_iter().flatten()
                {
                    status.log(&format!("restore: {}", warning.as_str().unwrap_or_default()));
                }
                Ok(Success::Done(Some(format!("{files} files"))))
            }
            Err(BackupProcessError::Failed { code, message })
                if code == "no_snapshot" || code == "wrong_key" =>
            {
                Err(StepError::lasting(message))
            }
            Err(error) => Err(StepError::passing(error)),
        }
    }

    fn start_caddy(&mut self, limit: Duration) -> Result<Success, StepError> {
        let (listen_port, places) = (self.listen_port, &self.places);
        // It is there from now on, and looked after until it listens, whatever becomes of this try.
        let new = || Caddy::new(listen_port, &places.access_socket(), &places.run);
        self.caddy.get_or_insert_with(new).start(limit).map_err(StepError::passing)?;
        Ok(Success::Done(None))
    }

    /// Succeeds whatever happens: what did not work is tried again while the machine runs.
    fn start_cloudcli(&mut self, name: &str, workspaces: &str) -> Result<Success, StepError> {
        let user = self.user(name)?;
        let state = &self.places.state;
        match crate::cloudcli::account::secret(state) {
            Ok(secret) => self.status.keep_secret([secret.as_str()]),
            Err(error) => tracing::warn!(%error, "CloudCLI has no secret"),
        }
        let secrets = self.settings.variables();
        let cloudcli =
            self.cloudcli.insert(CloudCli::new(user, workspaces, secrets, state, &self.places.run));
        if freezer::is_frozen(&self.places.run) {
            return Ok(Success::NothingToDo("the workspace is frozen".to_owned()));
        }
        Ok(match cloudcli.start() {
            Start::Runs => Success::Done(None),
            Start::Not(reason) => Success::NothingToDo(reason),
        })
    }

    fn start_terminal(&self, limit: Duration) -> Result<Success, StepError> {
        let tmux = tmux_of(&self.plan, &self.places)
            .ok_or_else(|| StepError::lasting("the plan has no terminal"))?;
        match tmux.ensure(limit) {
            Ok(true) => Ok(Success::Done(None)),
            Ok(false) => Ok(Success::NothingToDo("it runs already".to_owned())),
            Err(error @ TmuxError::NoUser(_)) => Err(StepError::lasting(error)),
            Err(error) => Err(StepError::passing(error)),
        }
    }

    pub(super) fn user(&self, name: &str) -> Result<User, StepError> {
        users::user(&self.places.etc, name)
            .ok_or_else(|| StepError::lasting(format!("there is no user {name} on this machine")))
    }
}

/// The machine's own apt and dpkg.
pub(super) struct MachineTools<'a> {
    pub(super) status: &'a Status,
    pub(super) reporter: &'a Reporter<'a>,
    /// When the step's time is over.
    pub(super) end: Moment,
}

impl Tools for MachineTools<'_> {
    fn run(&mut self, program: &str, arguments: &[&str]) -> Result<Said, RunError> {
        let mut command = command_as(program, None);
        command.env("DEBIAN_FRONTEND", "noninteractive").args(arguments);
        let limit = self.left().max(Duration::from_secs(1));
        let ended = run(command, limit, &mut |line| {
            if !packages::is_meter(line) {
                self.reporter.said(line);
            }
        })?;
        Ok(Said { well: ended.status.success(), tail: ended.tail })
    }

    fn left(&self) -> Duration {
        self.end.since(Moment::now())
    }

    fn wait(&mut self, pause: Duration) {
        std::thread::sleep(pause);
    }

    fn tell(&mut self, text: &str) {
        self.reporter.detail(text);
    }

    fn warn(&mut self, text: &str) {
        self.status.log(text);
    }
}

/// Gives a file to the user, where we may.
fn own(path: &Path, user: &User) -> std::io::Result<()> {
    if users::is_root() { std::os::unix::fs::lchown(path, Some(user.uid), Some(user.gid)) } else { Ok(()) }
}

fn give_to_group(path: &Path, user: &User, mode: u32) -> std::io::Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    if users::is_root() {
        std::os::unix::fs::chown(path, None, Some(user.gid))?;
    }
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode))
}
