//! `ebb services`: finds what a repository says it runs beside its own program, and starts or stops it.
//!
//! Whoever calls it runs it, with the words of the program that does it on their terminal; the daemon is not asked. What
//! can run services is a [`Runner`]: compose is the only one so far.

use clap::Subcommand;
use std::collections::VecDeque;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

/// Where projects are looked for.
const WORKSPACES: &str = "/workspaces";
/// How deep below it.
const DEEPEST: usize = 4;
/// Most directories that are looked into.
const MOST: usize = 5_000;
/// Holds no project of the workspace's own.
const PASSED_BY: [&str; 5] = ["node_modules", "target", "vendor", "venv", "dist"];

#[derive(Debug, Default, Subcommand)]
pub enum Wish {
    /// Lists the projects, with what starts them.
    #[default]
    Ls,
    /// Starts a project in the background.
    Up {
        /// Which, as `ebb services` lists it; that of this directory, or the only one, where absent.
        project: Option<String>,
    },
    /// Stops a project and removes its containers. Volumes stay.
    Down {
        /// Which, as `ebb services` lists it; that of this directory, or the only one, where absent.
        project: Option<String>,
    },
}

/// Why it is not done.
#[derive(Debug, thiserror::Error)]
enum Refusal {
    #[error("there is no compose file below {WORKSPACES}")]
    None,
    #[error("there is no project {0:?}; `ebb services` lists them")]
    Unknown(String),
    #[error("there are several, so name one: {0}")]
    Several(String),
    #[error("cannot run {program}: {source}; ask for Docker with this workspace's next start, {HOW}")]
    Start { program: String, source: std::io::Error },
}

/// How Docker is asked for.
const HOW: &str = "`PATCH /v1/workspaces/{id}` with {\"docker\":true}";

/// What can run services.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Runner {
    /// `docker compose`.
    Compose,
}

impl Runner {
    const ALL: [Self; 1] = [Self::Compose];

    /// Names of its files, the preferred first.
    const fn files(self) -> &'static [&'static str] {
        match self {
            Self::Compose => &["compose.yaml", "compose.yml", "docker-compose.yaml", "docker-compose.yml"],
        }
    }

    fn up(self, directory: &Path) -> Command {
        match self {
            Self::Compose => compose(directory, &["up", "--detach"]),
        }
    }

    fn down(self, directory: &Path) -> Command {
        match self {
            Self::Compose => compose(directory, &["down"]),
        }
    }
}

fn compose(directory: &Path, verb: &[&str]) -> Command {
    let mut command = Command::new("docker");
    // As who would type it there: its `.env` and overrides count.
    command.current_dir(directory).arg("compose").args(verb);
    command
}

/// Something that can be started.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Project {
    /// Its directory below the workspaces.
    name: String,
    directory: PathBuf,
    file: &'static str,
    runner: Runner,
}

/// Does what is asked for.
pub fn run(wish: Wish) -> ExitCode {
    let projects = find(Path::new(WORKSPACES));
    let here = std::env::current_dir().unwrap_or_default();
    let done = match wish {
        Wish::Ls => {
            print!("{}", listed(&projects));
            return ExitCode::SUCCESS;
        }
        Wish::Up { project } => {
            chosen(&projects, project, &here).map(|project| project.runner.up(&project.directory))
        }
        Wish::Down { project } => {
            chosen(&projects, project, &here).map(|project| project.runner.down(&project.directory))
        }
    };
    let refusal = match done {
        Ok(mut command) => {
            let program = command.get_program().to_string_lossy().into_owned();
            Refusal::Start { program, source: command.exec() }
        }
        Err(refusal) => refusal,
    };
    eprintln!("ebb: {refusal}");
    ExitCode::FAILURE
}

/// Finds projects, those nearest to the top first; no link is followed.
fn find(root: &Path) -> Vec<Project> {
    let mut found = Vec::new();
    let mut waiting = VecDeque::from([(root.to_path_buf(), 0)]);
    let mut left = MOST;
    while let Some((directory, depth)) = waiting.pop_front() {
        found.extend(Runner::ALL.into_iter().filter_map(|runner| project_at(root, &directory, runner)));
        left -= 1;
        if depth == DEEPEST || left == 0 {
            continue;
        }
        let below = directories(&directory).into_iter().take(left.saturating_sub(waiting.len()));
        waiting.extend(below.map(|directory| (directory, depth + 1)));
    }
    found
}

fn project_at(root: &Path, directory: &Path, runner: Runner) -> Option<Project> {
    let file = runner.files().iter().copied().find(|file| directory.join(file).is_file())?;
    let below = directory.strip_prefix(root).ok()?.display().to_string();
    let name = if below.is_empty() { ".".to_owned() } else { below };
    Some(Project { name, directory: directory.to_path_buf(), file, runner })
}

fn directories(at: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(at).into_iter().flatten().flatten();
    let is_looked_into = |entry: &std::fs::DirEntry| {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        entry.file_type().is_ok_and(|kind| kind.is_dir())
            && !name.starts_with('.')
            && !PASSED_BY.contains(&name.as_ref())
    };
    let mut paths: Vec<PathBuf> = entries.filter(is_looked_into).map(|entry| entry.path()).collect();
    paths.sort();
    paths
}

fn listed(projects: &[Project]) -> String {
    if projects.is_empty() {
        return format!("none; a compose.yaml below {WORKSPACES} makes one\n");
    }
    let width = projects.iter().map(|project| project.name.chars().count()).max().unwrap_or(0);
    let line = |project: &Project| format!("{:width$}  {}\n", project.name, project.file);
    projects.iter().map(line).collect()
}

/// The project that is named; else the innermost one that holds this directory, else the only one.
fn chosen<'a>(projects: &'a [Project], name: Option<String>, here: &Path) -> Result<&'a Project, Refusal> {
    if let Some(name) = name {
        let named = projects.iter().find(|project| project.name == name.trim_end_matches('/'));
        return named.ok_or(Refusal::Unknown(name));
    }
    let holding = projects.iter().filter(|project| here.starts_with(&project.directory));
    let innermost = holding.max_by_key(|project| project.directory.components().count());
    match (innermost, projects) {
        (Some(project), _) | (None, [project]) => Ok(project),
        (None, []) => Err(Refusal::None),
        (None, several) => {
            let names: Vec<&str> = several.iter().map(|project| project.name.as_str()).take(10).collect();
            Err(Refusal::Several(names.join(", ")))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn planted() -> (tempfile::TempDir, Vec<Project>) {
        let root = tempfile::tempdir().unwrap();
        for file in [
            "shop/docker-compose.yml",
            "shop/compose.yaml",
            "shop/infra/docker-compose.yml",
            "shop/node_modules/x/compose.yaml",
            "shop/.hidden/compose.yaml",
            "a/b/c/d/e/compose.yaml",
            "blog/compose.yml/not-a-file",
        ] {
            let file = root.path().join(file);
            std::fs::create_dir_all(file.parent().unwrap()).unwrap();
            std::fs::write(file, "services: {}\n").unwrap();
        }
        std::os::unix::fs::symlink(root.path().join("shop"), root.path().join("linked")).unwrap();
        let found = find(root.path());
        (root, found)
    }

    #[test]
    fn projects_are_found_by_the_file_that_compose_prefers_and_not_among_dependencies() {
        let (_root, found) = planted();
        assert_eq!(listed(&found), "shop        compose.yaml\nshop/infra  docker-compose.yml\n");
        assert_eq!(listed(&[]), "none; a compose.yaml below /workspaces makes one\n");
    }

    #[test]
    fn the_project_is_the_one_named_or_that_of_this_directory_or_the_only_one() {
        let (root, found) = planted();
        let choose = |name: Option<&str>, here: &str| {
            chosen(&found, name.map(str::to_owned), &root.path().join(here))
                .map(|project| project.name.clone())
                .map_err(|refusal| refusal.to_string())
        };
        assert_eq!(choose(Some("shop/infra/"), ""), Ok("shop/infra".into()));
        assert_eq!(choose(None, "shop/infra/deep"), Ok("shop/infra".into()));
        assert_eq!(choose(None, "shop/src"), Ok("shop".into()));
        assert_eq!(choose(None, "blog"), Err("there are several, so name one: shop, shop/infra".into()));
        assert_eq!(
            choose(Some("x"), "shop"),
            Err("there is no project \"x\"; `ebb services` lists them".into())
        );
        assert_eq!(chosen(&found[..1], None, Path::new("/")).unwrap().name, "shop");
        assert!(matches!(chosen(&[], None, Path::new("/")), Err(Refusal::None)));
    }

    #[test]
    fn compose_is_called_as_in_its_directory() {
        let up = Runner::Compose.up(Path::new("/workspaces/shop"));
        assert_eq!(
            format!("{:?}", up),
            "cd \"/workspaces/shop\" && \"docker\" \"compose\" \"up\" \"--detach\""
        );
    }
}
