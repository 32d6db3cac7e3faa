//! The boot step that brings Docker, from the distribution's packages, and the containers that ran before a sleep.
//!
//! Its data-root came back before, with everything as it lay when the machine was frozen: which containers ran is read
//! there before Docker starts for the first time and takes them for dead. Whatever goes wrong is told and the boot goes on.

mod packages;

use super::packages::Tools as _;
use super::steps::MachineTools;
use super::{Boot, Reporter, StepError, Success, packages as apt};
use crate::containers::{Container, RAN};
use crate::os::atomic_file;
use crate::os::clock::Moment;
use crate::os::command::{command_as, is_installed, output, run};
use crate::os::{service, users};
use ebbtide_api::vm::StepAction;
use packages::{Choice, WANTED, choose};
use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

/// How long a container, or a question to Docker, may take.
const ANSWER: Duration = Duration::from_secs(90);
/// How long Docker itself may take to start: it looks through all that it has.
const START: Duration = Duration::from_secs(300);
/// What is left of the step for the containers, whatever installing takes.
const FOR_CONTAINERS: Duration = Duration::from_secs(120);
/// The units of Docker, as they are stopped.
const UNITS: [&str; 3] = ["docker.socket", "docker.service", "containerd.service"];
/// Troubles that the outcome names; all are in the log.
const NAMED: usize = 4;

/// Why there is no Docker, with the way out.
enum BringError {
    NotInstalled(String),
    NotStarted(String),
}

impl BringError {
    fn words(&self) -> String {
        match self {
            Self::NotInstalled(reason) => format!("there is no Docker: {reason}; the next wake tries again"),
            Self::NotStarted(reason) => format!(
                "Docker does not start: {reason}; `sudo journalctl -u docker` says why, `sudo systemctl start docker` \
                 tries again"
            ),
        }
    }
}

impl Boot {
    /// Stops a Docker that the image brought, so that nothing is restored below it.
    pub(super) fn stop_docker(&self) -> Result<(), StepError> {
        if !service::has_machine() || !is_installed("dockerd") {
            return Ok(());
        }
        let mut command = command_as("systemctl", None);
        command.arg("stop").args(UNITS);
        done(command, START).map_err(|reason| {
            StepError::passing(format!("Docker could not be stopped before the restore: {reason}"))
        })
    }

    /// Notes what ran, before anything can start Docker on what came back: a package of the user's, or a reboot. Starts
    /// the image's own Docker again, where no step of ours will.
    pub(super) fn docker_is_restored(&self) {
        if self.docker.kept() == self.docker.path()
            && let Err(error) = self.note_that_ran()
        {
            self.status.log(&format!("warning: which containers ran cannot be noted: {error}"));
        }
        let is_ours =
            self.plan.steps.iter().any(|step| matches!(step.action, StepAction::InstallDocker { .. }));
        if !is_ours && service::has_machine() && is_installed("dockerd") {
            let mut command = command_as("systemctl", None);
            command.args(["start", "docker.socket"]);
            if let Err(reason) = done(command, ANSWER) {
                self.status.log(&format!("warning: the image's Docker is not started again: {reason}"));
            }
        }
    }

    /// Installs Docker, lets the user use it, and starts what ran.
    pub(super) fn install_docker(&self, user: &str, limit: Duration, reporter: &Reporter<'_>) -> Success {
        if !users::is_root() {
            return Success::Warned("only root can install Docker".to_owned());
        }
        let end = Moment::now().plus(limit);
        let installed_by = Moment::now().plus(limit.saturating_sub(FOR_CONTAINERS));
        match self.bring_docker(user, installed_by, reporter) {
            Ok(mut told) => {
                told.extend(self.start_containers(end, reporter));
                for trouble in told.iter().filter(|told| matches!(told, Told::Trouble(_))).skip(NAMED) {
                    self.status.log(&format!("warning: {trouble:?}"));
                }
                said(&told)
            }
            Err(error) => Success::Warned(error.words()),
        }
    }

    fn bring_docker(
        &self,
        user: &str,
        end: Moment,
        reporter: &Reporter<'_>,
    ) -> Result<Vec<Told>, BringError> {
        let not_installed = BringError::NotInstalled;
        // Before it starts: it takes what does not run now for ended, and writes that down.
        self.note_that_ran()
            .map_err(|error| not_installed(format!("what ran before cannot be noted: {error}")))?;
        let claimed = self.docker.claim();
        claimed.map_err(|error| not_installed(format!("{}: {error}", self.docker.path().display())))?;
        let tools = &mut MachineTools { status: &self.status, reporter, end };
        let mut told = install(tools).map_err(not_installed)?;
        let mut join = command_as("usermod", None);
        join.args(["--append", "--groups", "docker", "--", user]);
        if let Err(reason) = done(join, ANSWER) {
            told.push(Told::Trouble(format!(
                "{user} is not in the group docker, so use `sudo docker`: {reason}"
            )));
        }
        reporter.detail("starting Docker");
        let mut start = command_as("systemctl", None);
        start.args(["start", "docker.service"]);
        done(start, START).map_err(BringError::NotStarted)?;
        told.extend(self.kept_elsewhere().map(Told::Trouble));
        Ok(told)
    }

    /// Says where Docker keeps things that do not sleep: its settings may say so.
    fn kept_elsewhere(&self) -> Option<String> {
        let said = output(docker(&["info", "--format", "{{.DockerRootDir}} {{json .DriverStatus}}"]), ANSWER);
        let said = String::from_utf8_lossy(&said.ok()?).trim().to_owned();
        let (root, drivers) = said.split_once(' ')?;
        if Path::new(root) != self.docker.path() {
            return Some(format!(
                "Docker keeps everything in {root}, which does not sleep; take that setting back"
            ));
        }
        drivers.contains("containerd.snapshotter").then(|| {
            "images and what containers write are containerd's, which do not sleep; turn its image store off".to_owned()
        })
    }

    /// Where it is noted which containers ran: a step that is done again finds Docker started.
    fn note_that_ran(&self) -> std::io::Result<()> {
        let file = self.places.state.join(RAN);
        if file.exists() { Ok(()) } else { atomic_file::write_json(&file, &self.docker.that_ran(), 0o600) }
    }

    fn start_containers(&self, end: Moment, reporter: &Reporter<'_>) -> Vec<Told> {
        let noted: Option<Vec<Container>> = atomic_file::read_json(&self.places.state.join(RAN));
        let ran = noted.unwrap_or_default();
        let mut told = Vec::new();
        let mut started: Vec<&Container> = Vec::new();
        for container in &ran {
            if container.removed_at_end {
                let reason = "it was made with --rm, so Docker removed it when its machine ended";
                told.push(Told::Trouble(format!("{} does not run again: {reason}", container.name)));
                continue;
            }
            let left = end.since(Moment::now());
            if left.is_zero() {
                let reason = format!("the step's time is over: `docker start {}`", container.name);
                told.push(Told::Trouble(format!("{} does not run again: {reason}", container.name)));
                continue;
            }
            reporter.detail(&format!("starting the container {}", container.name));
            let mut command = docker(&["start", "--"]);
            command.arg(&container.id);
            match done(command, ANSWER.min(left)) {
                Ok(()) => started.push(container),
                Err(reason) => {
                    told.push(Told::Trouble(format!("{} does not run again: {reason}", container.name)));
                }
            }
        }
        let ended = ended(&started);
        let runs = started.iter().filter(|one| !ended.contains_key(&one.id)).count();
        if runs > 0 {
            told.push(Told::There(match runs {
                1 => "1 container runs again".to_owned(),
                more => format!("{more} containers run again"),
            }));
        }
        for container in started {
            if let Some(code) = ended.get(&container.id) {
                told.push(Told::Trouble(format!(
                    "{} ended again at once with exit code {code}: see `docker logs {}`",
                    container.name, container.name
                )));
            }
        }
        told
    }
}

/// Part of the outcome.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Told {
    There(String),
    Trouble(String),
}

fn said(told: &[Told]) -> Success {
    let there = told.iter().filter_map(|told| match told {
        Told::There(text) => Some(text.as_str()),
        Told::Trouble(_) => None,
    });
    let there = there.collect::<Vec<_>>().join(", ");
    let troubles: Vec<&str> = told
        .iter()
        .filter_map(|told| match told {
            Told::Trouble(text) => Some(text.as_str()),
            Told::There(_) => None,
        })
        .collect();
    match troubles.as_slice() {
        [] => Success::Done(Some(there)),
        // First, for the history has room for so much.
        named if named.len() <= NAMED => Success::Warned(format!("{}; {there}", named.join("; "))),
        all => {
            let (named, more) = all.split_at(NAMED);
            Success::Warned(format!("{}; and {} more, see the log; {there}", named.join("; "), more.len()))
        }
    }
}

/// Installs what is missing, and says what is there then.
fn install(tools: &mut MachineTools<'_>) -> Result<Vec<Told>, String> {
    let mut lacks = Vec::new();
    if !is_installed("dockerd") || versions().len() < 3 {
        let mut choice = available();
        if choice.packages.is_empty() {
            apt::update(tools)?;
            choice = available();
        }
        let Choice { packages, lacks: lacking } = choice;
        if packages.is_empty() && !is_installed("dockerd") {
            return Err("this machine's mirrors have no package docker.io, or are away".to_owned());
        }
        tools.tell(&format!("installing {}", packages.join(", ")));
        lacks = lacking;
        // Docker first: what goes with it keeps it from nobody.
        if let Err(reason) = apt::install(&packages, tools) {
            apt::install(&packages[..1], tools)?;
            lacks.push(format!("not all that goes with Docker could be installed: {reason}"));
        }
    }
    let there = versions().into_iter().map(Told::There);
    Ok(there.chain(lacks.into_iter().map(Told::Trouble)).collect())
}

/// What apt can bring of what is wanted.
fn available() -> Choice {
    let mut candidates = BTreeMap::new();
    for package in WANTED {
        let mut command = command_as("apt-cache", None);
        command.args(["policy", package]);
        let text = output(command, ANSWER).unwrap_or_default();
        candidates.insert(package, packages::candidate(&String::from_utf8_lossy(&text)));
    }
    choose(&candidates)
}

/// Docker, compose and buildx with their versions, as far as they are there.
fn versions() -> Vec<String> {
    let questions: [(&str, &[&str]); 3] = [
        ("Docker", &["--version"]),
        ("compose", &["compose", "version", "--short"]),
        ("buildx", &["buildx", "version"]),
    ];
    let version = |(name, arguments): (&str, &[&str])| {
        let said = output(docker(arguments), ANSWER).ok()?;
        let version = packages::version(&String::from_utf8_lossy(&said))?;
        Some(format!("{name} {version}"))
    };
    questions.into_iter().filter_map(version).collect()
}

/// Exit codes of those that do not run, by their ids. Those that Docker starts again by itself are its own affair.
fn ended(started: &[&Container]) -> BTreeMap<String, String> {
    if started.is_empty() {
        return BTreeMap::new();
    }
    let format = "{{.Id}} {{.State.Running}} {{.State.Restarting}} {{.State.ExitCode}}";
    let mut command = docker(&["inspect", "--type", "container", "--format", format, "--"]);
    command.args(started.iter().map(|container| &container.id));
    let text = output(command, ANSWER).unwrap_or_default();
    let text = String::from_utf8_lossy(&text).into_owned();
    let ended = |line: &str| match line.split(' ').collect::<Vec<_>>().as_slice() {
        [id, "false", "false", code] => Some(((*id).to_owned(), (*code).to_owned())),
        _ => None,
    };
    text.lines().filter_map(ended).collect()
}

fn docker(arguments: &[&str]) -> Command {
    let mut command = command_as("docker", None);
    // Root's own settings of Docker's client are nothing to go by.
    command.env("DOCKER_CONFIG", Path::new("/nonexistent")).args(arguments);
    command
}

/// Runs a program that is to succeed; otherwise its last line, or what kept it, is the reason.
fn done(command: Command, limit: Duration) -> Result<(), String> {
    let ended = run(command, limit, &mut |_| ()).map_err(|error| error.to_string())?;
    if ended.status.success() {
        return Ok(());
    }
    let errors = ended.tail.iter().find(|line| line.starts_with("Error response from daemon: "));
    let line = errors.or_else(|| ended.tail.last()).map_or("it said nothing", String::as_str);
    Err(line.trim_start_matches("Error response from daemon: ").to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_outcome_says_what_is_there_and_then_what_is_not() {
        let there = Told::There("Docker 26.1.5".into());
        let trouble = Told::Trouble("web does not run again: port is already allocated".into());
        let Success::Done(Some(words)) = said(std::slice::from_ref(&there)) else { panic!() };
        assert_eq!(words, "Docker 26.1.5");
        let many: Vec<Told> = vec![trouble.clone(); 7];
        let Success::Warned(words) = said(&many) else { panic!() };
        assert!(words.ends_with("; and 3 more, see the log; "), "{words}");
        let Success::Warned(words) = said(&[there, trouble]) else { panic!() };
        assert_eq!(words, "web does not run again: port is already allocated; Docker 26.1.5");
    }
}
