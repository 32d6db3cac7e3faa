//! The boot plan: the steps from a bare machine with an idle-agent to a workspace that is ready, as data.
//!
//! The control plane decides the steps here; the idle-agent knows how to run each of them. A wake restores and never
//! clones. Times below are ceilings for one attempt, generous because progress is watched separately.

use crate::agents;
use ebbtide_api::programs::ProgramList;
use ebbtide_api::vm::{BootPlan, PlannedStep, StepAction};

/// The user that owns the work and runs the terminals.
const USER: &str = "ebb";
/// That user's home; backed up as a whole.
const HOME: &str = "/home/ebb";
/// Where repositories are cloned to; backed up as a whole.
const WORKSPACES: &str = "/workspaces";
/// Programs that every workspace needs, and the Debian package of each.
const PROGRAMS: [(&str, &str); 5] =
    [("git", "git"), ("tmux", "tmux"), ("caddy", "caddy"), ("nft", "nftables"), ("sudo", "sudo")];

/// Name of the step that removes old backups: the control plane looks for it in what a machine reports.
pub const PRUNE_STEP: &str = "tidy";

/// Name of the step that restores: while it moves, no boot is too long.
pub const RESTORE_STEP: &str = "restore";

/// What the steps depend on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BootSpec<'a> {
    /// What to clone on the first boot; names the directory on every boot.
    pub repo: Option<&'a str>,
    /// Branch or tag to clone; the remote's default where absent.
    pub branch: Option<&'a str>,
    /// The snapshot to restore; where present nothing is cloned.
    pub snapshot: Option<&'a str>,
    /// How many seconds the removal of old snapshots may take, where any are to be removed: before anything is restored.
    pub prune_secs: Option<u64>,
    /// Which coding agents are wanted, by their commands.
    pub agents: &'a [String],
    /// What the installation has published, as far as that was asked.
    pub programs: &'a ProgramList,
    /// Whether Docker is wanted.
    pub docker: bool,
}

/// An installation that has published nothing.
static NOTHING: ProgramList = ProgramList { programs: Vec::new() };

impl Default for BootSpec<'_> {
    fn default() -> Self {
        Self {
            repo: None,
            branch: None,
            snapshot: None,
            prune_secs: None,
            agents: &[],
            programs: &NOTHING,
            docker: false,
        }
    }
}

/// Lists the steps of a boot, in order.
pub fn boot_plan(spec: &BootSpec<'_>) -> BootPlan {
    let directory = spec.repo.map_or_else(|| WORKSPACES.to_owned(), repository_directory);
    let mut steps = vec![user_step()];
    if let Some(limit_secs) = spec.prune_secs {
        steps.push(step(
            PRUNE_STEP,
            "Tidying old backups",
            StepAction::Prune { limit_secs },
            Limits { timeout_secs: limit_secs, retries: 0 },
        ));
    }
    if let Some(snapshot) = spec.snapshot {
        steps.push(step(
            RESTORE_STEP,
            "Restoring the last backup",
            StepAction::Restore { snapshot: snapshot.to_owned() },
            Limits { timeout_secs: 2 * 3600, retries: 3 },
        ));
    }
    // Behind a restore, which needs no program: a mirror that is away keeps no files from coming back.
    steps.push(programs_step());
    // Before anything of the user's, which might take its port. Nobody is let in before the machine is ready.
    steps.push(step(
        "caddy",
        "Starting the web proxy",
        StepAction::StartCaddy,
        Limits { timeout_secs: 60, retries: 2 },
    ));
    if spec.snapshot.is_some() {
        steps.push(packages_step());
    }
    if let (None, Some(url)) = (spec.snapshot, spec.repo) {
        steps.push(step(
            "clone",
            "Cloning the repository",
            StepAction::Clone {
                url: url.to_owned(),
                branch: spec.branch.map(str::to_owned),
                directory: directory.clone(),
                user: USER.into(),
            },
            Limits { timeout_secs: 3600, retries: 2 },
        ));
    }
    // Before terminals, so that nobody looks for an agent in vain; its failure stops nothing.
    steps.push(step(
        agents::AGENTS_STEP,
        &agents::title(spec.agents),
        agents::install(spec.agents, spec.programs),
        Limits { timeout_secs: 900, retries: 0 },
    ));
    if spec.docker {
        steps.push(docker_step());
    }
    if spec.snapshot.is_some() {
        steps.push(setup_step());
    }
    steps.push(step(
        "terminal",
        "Starting the terminal",
        StepAction::StartTerminal { user: USER.into(), directory },
        Limits { timeout_secs: 60, retries: 1 },
    ));
    steps.push(step(
        "cloudcli",
        "Starting CloudCLI",
        StepAction::StartCloudCli { user: USER.into(), workspaces: WORKSPACES.into() },
        Limits { timeout_secs: 60, retries: 0 },
    ));
    BootPlan { steps }
}

/// Lists the steps of a machine that was made from a rescue image only to be backed up: nothing of the workspace's is
/// started, so nothing of it changes.
pub fn salvage_plan() -> BootPlan {
    BootPlan { steps: vec![user_step()] }
}

/// The directory that a repository is cloned to: `/workspaces/` and the last part of its URL, in characters that no
/// tool mistakes for an option or another directory.
pub fn repository_directory(url: &str) -> String {
    let path = url.split(['?', '#']).next().unwrap_or_default().trim_end_matches('/');
    let last = path.rsplit(['/', ':']).next().unwrap_or_default();
    let name: String = last
        .strip_suffix(".git")
        .unwrap_or(last)
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() || "._-".contains(c) { c } else { '-' })
        .take(100)
        .collect();
    match name.trim_start_matches(['-', '.']) {
        "" => format!("{WORKSPACES}/repository"),
        name => format!("{WORKSPACES}/{name}"),
    }
}

fn programs_step() -> PlannedStep {
    step(
        "programs",
        "Installing programs",
        StepAction::EnsurePrograms {
            programs: PROGRAMS.map(|(program, package)| (program.into(), package.into())).into(),
        },
        Limits { timeout_secs: 900, retries: 3 },
    )
}

/// Of what users brought along: it may say nothing all the while, and a boot that says nothing for `boot_stall` is ended.
const OWN_LIMITS: Limits = Limits { timeout_secs: 480, retries: 0 };

/// 140 MB are to be downloaded, and containers started.
const DOCKER_LIMITS: Limits = Limits { timeout_secs: 900, retries: 0 };

/// Only a home directory that came back has a list.
fn packages_step() -> PlannedStep {
    step(
        "packages",
        "Installing your packages",
        StepAction::InstallPackages { user: USER.into() },
        OWN_LIMITS,
    )
}

/// Behind the restore, which brings what Docker keeps: nothing may write there before.
fn docker_step() -> PlannedStep {
    step("docker", "Installing Docker", StepAction::InstallDocker { user: USER.into() }, DOCKER_LIMITS)
}

/// Behind all that it may use.
fn setup_step() -> PlannedStep {
    step("setup", "Running your setup script", StepAction::RunSetup { user: USER.into() }, OWN_LIMITS)
}

fn user_step() -> PlannedStep {
    step(
        "user",
        "Preparing the user",
        StepAction::EnsureUser { user: USER.into(), home: HOME.into(), workspaces: WORKSPACES.into() },
        Limits { timeout_secs: 60, retries: 1 },
    )
}

struct Limits {
    timeout_secs: u64,
    retries: u32,
}

fn step(name: &str, title: &str, action: StepAction, limits: Limits) -> PlannedStep {
    PlannedStep {
        name: name.to_owned(),
        title: title.to_owned(),
        action,
        timeout_secs: limits.timeout_secs,
        retries: limits.retries,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(spec: BootSpec<'_>) -> String {
        let lines = boot_plan(&spec).steps.into_iter().map(|step| {
            let mut action = serde_json::to_value(&step.action).unwrap();
            // Shown where agents are.
            let files = action.get_mut("files").and_then(|files| files.as_array_mut());
            for file in files.into_iter().flatten() {
                file["content"] = "…".into();
            }
            format!("{:9} {:5}s ×{} {action}", step.name, step.timeout_secs, step.retries + 1)
        });
        lines.collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn a_first_boot_clones() {
        let spec = BootSpec {
            repo: Some("https://h/a/demo.git"),
            branch: Some("$(id)"),
            snapshot: None,
            ..BootSpec::default()
        };
        insta::assert_snapshot!(shown(spec));
    }

    #[test]
    fn a_wake_restores_and_never_clones() {
        let spec =
            BootSpec { repo: Some("https://h/a/demo.git"), snapshot: Some("5f1c"), ..BootSpec::default() };
        insta::assert_snapshot!(shown(spec));
    }

    #[test]
    fn old_backups_are_removed_before_anything_of_the_user_s_is_there() {
        let plan =
            boot_plan(&BootSpec { snapshot: Some("5f1c"), prune_secs: Some(180), ..BootSpec::default() });
        let names: Vec<&str> = plan.steps.iter().map(|step| step.name.as_str()).collect();
        assert_eq!(
            names,
            [
                "user", "tidy", "restore", "programs", "caddy", "packages", "agents", "setup", "terminal",
                "cloudcli"
            ]
        );
    }

    #[test]
    fn docker_starts_behind_the_restore_and_before_the_setup_script_that_may_use_it() {
        let plan = boot_plan(&BootSpec { snapshot: Some("5f1c"), docker: true, ..BootSpec::default() });
        let names: Vec<&str> = plan.steps.iter().map(|step| step.name.as_str()).collect();
        assert_eq!(
            names,
            [
                "user", "restore", "programs", "caddy", "packages", "agents", "docker", "setup", "terminal",
                "cloudcli"
            ]
        );
    }

    #[test]
    fn a_salvage_names_what_is_backed_up_and_starts_nothing() {
        let plan = salvage_plan();
        let actions: Vec<&StepAction> = plan.steps.iter().map(|step| &step.action).collect();
        assert_eq!(
            actions,
            [&StepAction::EnsureUser {
                user: "ebb".into(),
                home: "/home/ebb".into(),
                workspaces: "/workspaces".into()
            }]
        );
    }

    #[test]
    fn an_empty_workspace_does_neither() {
        insta::assert_snapshot!(shown(BootSpec::default()));
    }

    #[test]
    fn a_directory_is_named_after_the_repository_and_stays_below_the_workspaces() {
        let table = [
            ("https://github.com/a/demo.git", "demo"),
            ("https://github.com/a/demo/", "demo"),
            ("git@github.com:a/demo.git", "demo"),
            ("ssh://git@h:22/demo", "demo"),
            ("https://h/a/demo.git?x=/../y#z", "demo"),
            ("https://h/a/..", "repository"),
            ("https://h/a/.git", "repository"),
            ("https://h/a/--upload-pack=x", "upload-pack-x"),
            ("https://h/a/$(id)", "id-"),
            ("", "repository"),
        ];
        for (url, name) in table {
            assert_eq!(repository_directory(url), format!("/workspaces/{name}"), "{url}");
        }
        assert!(repository_directory(&"x".repeat(10_000)).len() < 120);
    }
}
