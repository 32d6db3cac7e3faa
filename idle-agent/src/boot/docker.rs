//! The boot step that brings Docker, from the distribution's packages, and the containers that ran before a sleep.
//!
//! Its data-root came back before, with everything as it lay when the machine was frozen: which containers ran is read
//! there before Docker starts for the first time and takes them for dead. Whatever goes wrong is told and the boot goes on.

mod packages;

use super::packages::Tools as _;
use super::steps::MachineTools;
use super::{Boot, Reporter, Success, packages as apt};
use crate::containers::Container;
use crate::os::atomic_file;
use crate::os::clock::Moment;
use crate::os::command::{command_as, is_installed, output, run};
use crate::os::users;
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
/// How a person brings Docker where this step did not.
const BY_HAND: &str = "`sudo apt-get update && sudo apt-get install docker.io` tries again";

impl Boot {
    /// Stops a Docker that the image brought, so that nothing is restored below it. It is started again by its own step.
    pub(super) fn stop_docker(&self) {
        if !users::is_root() || !is_installed("dockerd") {
            return;
        }
        let mut command = command_as("systemctl", None);
        command.arg("stop").args(UNITS);
        let stopped = run(command, START, &mut |line| self.status.log(line));
        if let Err(error) = stopped {
            self.status.log(&format!("warning: Docker could not be stopped before the restore: {error}"));
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
                said(&told)
            }
            Err(reason) => Success::Warned(format!("there is no Docker: {reason}; {BY_HAND}")),
        }
    }

    fn bring_docker(&self, user: &str, end: Moment, reporter: &Reporter<'_>) -> Result<Vec<Told>, String> {
        // Before it starts: it takes what does not run now for ended, and writes that down.
        self.note_that_ran().map_err(|error| format!("what ran before cannot be noted: {error}"))?;
        self.docker.claim().map_err(|error| format!("{}: {error}", self.docker.path().display()))?;
        let mut told = install(&mut MachineTools { status: &self.status, reporter, end })?;
        reporter.detail("starting Docker");
        let mut start = command_as("systemctl", None);
        start.args(["start", "docker.service"]);
        done(start, START)?;
        let mut join = command_as("usermod", None);
        join.args(["--append", "--groups", "docker", "--", user]);
        if let Err(reason) = done(join, ANSWER) {
            told.push(Told::Trouble(format!(
                "{user} is not in the group docker, so use `sudo docker`: {reason}"
            )));
        }
        Ok(told)
    }

    /// Where it is noted which containers ran: a step that is done again finds Docker started.
    fn note_that_ran(&self) -> std::io::Result<()> {
        let file = self.places.state.join("docker-ran.json");
        if file.exists() { Ok(()) } else { atomic_file::write_json(&file, &self.docker.that_ran(), 0o600) }
    }

    fn start_containers(&self, end: Moment, reporter: &Reporter<'_>) -> Vec<Told> {
        let noted: Option<Vec<Container>> =
            atomic_file::read_json(&self.places.state.join("docker-ran.json"));
        let ran = noted.unwrap_or_default();
        let mut told = Vec::new();
        let mut started: Vec<&Container> = Vec::new();
        for container in &ran {
            if container.removed_at_end {
                let reason = "it was made with --rm, so Docker removed it when its machine ended";
                told.push(Told::Trouble(format!("{} does not run again: {reason}", container.name)));
                continue;
            }
            reporter.detail(&format!("starting the container {}", container.name));
            let left = end.since(Moment::now());
            let mut command = docker(&["start", "--"]);
            command.arg(&container.id);
            match done(command, ANSWER.min(left.max(Duration::from_secs(1)))) {
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
    let is_there = |told: &&Told| matches!(told, Told::There(_));
    let words = |which: &dyn Fn(&&Told) -> bool, between: &str| {
        let texts = told.iter().filter(which).map(|told| match told {
            Told::There(text) | Told::Trouble(text) => text.as_str(),
        });
        texts.collect::<Vec<_>>().join(between)
    };
    let (there, trouble) = (words(&is_there, ", "), words(&|told| !is_there(told), "; "));
    if trouble.is_empty() {
        Success::Done(Some(there))
    } else {
        Success::Warned(format!("{there}; but {trouble}"))
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
        apt::install(&packages, tools)?;
        lacks = lacking;
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
        let Success::Warned(words) = said(&[there, trouble]) else { panic!() };
        assert_eq!(words, "Docker 26.1.5; but web does not run again: port is already allocated");
    }
}
