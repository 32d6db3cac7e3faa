//! The boot step that brings coding agents: programs from the installation's own bundles, and the files that go with them.
//!
//! Whatever goes wrong is told and the boot goes on: a terminal without an agent is better than none.

use super::{Boot, Reporter, Success, workspace_of};
use crate::control_plane::api_client::{ApiClient, CallError};
use crate::os::bundle::{BundleError, Bundles, FetchError, PartSource};
use crate::os::clock::Moment;
use crate::os::command::{is_installed, run};
use crate::os::service::work_of;
use crate::os::users;
use ebbtide_api::Agent;
use ebbtide_api::programs::{Part, Program};
use ebbtide_api::vm::{PlannedFile, StepAction};
use std::cell::Cell;
use std::io::Write;
use std::path::Path;
use std::time::Duration;

/// Most pauses after a fetch that broke off.
const TRIES: usize = 6;
/// How long it may take to look at a repository.
const DESCRIBED_WITHIN: Duration = Duration::from_secs(60);

/// What the step is to bring.
pub(super) struct Wanted<'a> {
    pub(super) directory: &'a str,
    pub(super) programs: &'a [Program],
    pub(super) files: &'a [PlannedFile],
    pub(super) missing: &'a [String],
}

impl Boot {
    pub(super) fn install_bundles(
        &self,
        wanted: &Wanted<'_>,
        limit: Duration,
        reporter: &Reporter<'_>,
    ) -> Success {
        let mut trouble = wanted.missing.to_vec();
        let bundles = Bundles { directory: Path::new(wanted.directory) };
        let progress = Progress::of(wanted.programs.iter().filter(|program| !bundles.has(program)), reporter);
        let end = Moment::now().plus(limit);
        let mut installed: Vec<&Program> = Vec::new();
        for program in wanted.programs {
            match self.install(&bundles, program, &progress, end) {
                Ok(()) => installed.push(program),
                Err(error) => trouble.push(error.to_string()),
            }
        }
        bundles.forget_parts();
        let is_there = |name: &String| installed.iter().any(|program| program.name == *name);
        for file in wanted.files.iter().filter(|file| file.needs.iter().all(is_there)) {
            if let Err(error) = write(file) {
                trouble.push(format!("{}: {error}", file.path));
            }
        }
        trouble.extend(self.tell_agents(end));
        for line in &trouble {
            self.status.log(&format!("warning: {line}"));
        }
        told(&installed, &trouble)
    }

    /// Tells the agents that are there what the repository is made of, on a first boot: later their files are back with the
    /// rest, or were taken away. It reads what strangers wrote, so it runs as the user. Says what went wrong.
    fn tell_agents(&self, end: Moment) -> Option<String> {
        let is_wake = self.plan.steps.iter().any(|step| matches!(step.action, StepAction::Restore { .. }));
        let there = Agent::ALL.iter().filter(|agent| is_installed(agent.as_str()));
        let there: Vec<&str> = there.map(|agent| agent.as_str()).collect();
        let (name, _, workspaces) = workspace_of(&self.plan)?;
        let user = users::user(&self.places.etc, name)?;
        let cloned = self.plan.steps.iter().find_map(|step| match &step.action {
            StepAction::Clone { directory, .. } => Some(directory.as_str()),
            _ => None,
        });
        if is_wake || there.is_empty() {
            return None;
        }
        let mut command = match std::env::current_exe() {
            Ok(program) => work_of(program, &user),
            Err(error) => return Some(format!("what agents are told: {error}")),
        };
        command
            .current_dir("/")
            .args(["describe", "--tell", &there.join(","), "--"])
            .arg(cloned.unwrap_or(workspaces));
        let limit = end.since(Moment::now()).min(DESCRIBED_WITHIN);
        match run(command, limit, &mut |_| {}) {
            Ok(ended) if ended.status.success() => None,
            Ok(ended) => {
                Some(ended.tail.last().cloned().unwrap_or_else(|| "agents could not be told".into()))
            }
            Err(error) => Some(format!("what agents are told: {error}")),
        }
    }

    /// Installs a program, again and again while that may help and there is time.
    fn install(
        &self,
        bundles: &Bundles<'_>,
        program: &Program,
        progress: &Progress<'_>,
        end: Moment,
    ) -> Result<(), BundleError> {
        progress.reporter.detail(&format!("{} {}", program.name, program.version));
        let source = ControlPlane { api_client: self.backup_processes.api_client() };
        let mut pauses = backon::BackoffBuilder::build(
            backon::ExponentialBuilder::default()
                .with_max_delay(Duration::from_secs(30))
                .with_max_times(TRIES),
        );
        loop {
            let before = progress.done.get();
            let Err(error) = bundles.install(program, &source, &|bytes| progress.add(bytes)) else {
                return Ok(());
            };
            // What is fetched again is counted again.
            progress.done.set(before);
            let pause = pauses.next().filter(|pause| error.may_pass() && end.since(Moment::now()) > *pause);
            let Some(pause) = pause else { return Err(error) };
            self.status.log(&format!("{error}; trying again"));
            std::thread::sleep(pause);
        }
    }
}

fn told(installed: &[&Program], trouble: &[String]) -> Success {
    let there: Vec<String> = installed.iter().map(|one| format!("{} {}", one.name, one.version)).collect();
    match (there.is_empty(), trouble.is_empty()) {
        (true, true) => Success::NothingToDo("none was asked for".to_owned()),
        (_, true) => Success::Done(Some(there.join(", "))),
        (true, false) => Success::Warned(trouble.join("; ")),
        (false, false) => Success::Warned(format!("{}; but {}", there.join(", "), trouble.join("; "))),
    }
}

fn write(file: &PlannedFile) -> std::io::Result<()> {
    let path = Path::new(&file.path);
    if let Some(directory) = path.parent() {
        std::fs::create_dir_all(directory)?;
    }
    crate::os::atomic_file::write(
        path,
        file.content.as_bytes(),
        if file.executable { 0o755 } else { 0o644 },
    )?;
    // Whatever the umask: everybody reads it.
    let mode = if file.executable { 0o755 } else { 0o644 };
    std::fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(mode))
}

/// How many bytes of all that is to be fetched and unpacked are done.
struct Progress<'a> {
    total: u64,
    done: Cell<u64>,
    reporter: &'a Reporter<'a>,
}

impl<'a> Progress<'a> {
    fn of<'p>(programs: impl Iterator<Item = &'p Program>, reporter: &'a Reporter<'a>) -> Self {
        let total =
            programs.map(|program| program.packed_bytes().saturating_add(program.unpacked_bytes)).sum();
        Self { total, done: Cell::new(0), reporter }
    }

    fn add(&self, bytes: u64) {
        let done = self.done.get().saturating_add(bytes);
        self.done.set(done);
        if let Some(percent) = done.saturating_mul(100).checked_div(self.total) {
            self.reporter.percent(u8::try_from(percent).unwrap_or(100));
        }
    }
}

/// The installation's own bucket, through the control plane.
struct ControlPlane<'a> {
    api_client: &'a ApiClient,
}

impl PartSource for ControlPlane<'_> {
    fn fetch(&self, part: &Part, to: &mut dyn Write) -> Result<(), FetchError> {
        let fetched =
            self.api_client.download(&format!("/v1/vm/programs/{}", part.sha256), part.size_bytes, to);
        fetched.map_err(|error: CallError| match error.may_pass() {
            true => FetchError::Passing(error.to_string()),
            false => FetchError::Lasting(error.to_string()),
        })
    }
}
