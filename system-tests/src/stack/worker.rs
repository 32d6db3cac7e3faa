//! How the built Worker is run: its command line, its environment, and the storage that it finds.

use crate::paths;
use crate::process::{Ending, Start, run};
use anyhow::{Context, Result};
use sha2::{Digest, Sha256};
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

/// What runs the Worker. Both are workerd with miniflare's D1, R2 and objects, and store alike.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Runner {
    /// `wrangler dev`, as people run it.
    Wrangler,
    /// miniflare alone (`runtime.mjs`), in a shape that wrangler tells: without bundler and proxy it starts with a third
    /// of the processor time, and tests start it a hundred times.
    Miniflare,
    /// That, with the objects apart and V8's inspector, for profiles.
    Inspected,
}

/// Where a Worker runs.
pub struct Place<'a> {
    /// Of the stack, for scraps.
    pub directory: &'a Path,
    /// What it stores, as `wrangler dev --persist-to` has it.
    pub state: &'a Path,
    /// Its variables and secrets.
    pub env_file: &'a Path,
    /// Where it listens on the loopback.
    pub port: u16,
    /// What it says.
    pub log: PathBuf,
}

impl Place<'_> {
    /// What to start.
    ///
    /// # Errors
    /// Names what is not built or installed.
    pub fn start(&self, runner: Runner) -> Result<Start> {
        paths::worker()?;
        let (program, arguments) = match runner {
            Runner::Wrangler => (paths::wrangler()?, self.wrangler()?),
            Runner::Miniflare => (paths::node()?, self.miniflare("run")?),
            Runner::Inspected => (paths::node()?, self.miniflare("inspected")?),
        };
        Ok(Start {
            name: "the Worker",
            program,
            arguments,
            environment: environment(self.directory),
            ending: Ending::Killed,
            log: self.log.clone(),
        })
    }

    fn wrangler(&self) -> Result<Vec<OsString>> {
        let mut arguments: Vec<OsString> =
            ["dev", "--local", "--ip", "127.0.0.1", "--inspector-port", "0"].map(OsString::from).into();
        arguments.extend(["--show-interactive-dev-session=false", "--port"].map(OsString::from));
        arguments.push(self.port.to_string().into());
        arguments.extend([
            "--persist-to".into(),
            self.state.into(),
            "--env-file".into(),
            self.env_file.into(),
        ]);
        arguments.extend(["--cwd".into(), project(self.directory)?.into()]);
        Ok(arguments)
    }

    fn miniflare(&self, verb: &str) -> Result<Vec<OsString>> {
        let (script, build) = (runtime(), paths::root().join("worker/build"));
        let shape = shape()?.into();
        let port = self.port.to_string().into();
        Ok(vec![script, verb.into(), shape, port, self.state.into(), self.env_file.into(), build.into()])
    }
}

fn runtime() -> OsString {
    paths::root().join("system-tests/src/stack/runtime.mjs").into()
}

/// A directory that looks like the repository to wrangler, so that what it writes beside its configuration goes into the
/// stack's own directory.
pub fn project(directory: &Path) -> Result<PathBuf> {
    let project = directory.join("project");
    if !project.exists() {
        std::fs::create_dir_all(&project)?;
        for name in ["wrangler.toml", "worker", "migrations"] {
            std::os::unix::fs::symlink(paths::root().join(name), project.join(name))?;
        }
    }
    Ok(project)
}

/// The environment of wrangler and of miniflare.
pub fn environment(directory: &Path) -> Vec<(&'static str, OsString)> {
    let off = |name| (name, OsString::from("false"));
    vec![
        ("PATH", paths::path_with_node()),
        // wrangler is killed in the end and cleans nothing up; its scraps go with everything else.
        ("TMPDIR", directory.into()),
        ("CI", "1".into()),
        ("NO_COLOR", "1".into()),
        ("WRANGLER_HIDE_BANNER", "true".into()),
        ("WRANGLER_LOG_PATH", directory.join("wrangler-logs").into()),
        ("XDG_CONFIG_HOME", directory.join("config").into()),
        off("WRANGLER_SEND_METRICS"),
        off("WRANGLER_SEND_ERROR_REPORTS"),
    ]
}

/// Fills a state directory with a migrated database, made once for each set of migrations, then copied.
///
/// # Errors
/// Where a migration fails.
pub fn migrate(state: &Path) -> Result<()> {
    let mut files: Vec<PathBuf> = std::fs::read_dir(paths::root().join("migrations"))
        .context("reading migrations/")?
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<Result<_, _>>()?;
    files.sort();
    let migrated = made_once("migrated", &files, |work| {
        let project = project(work)?;
        run(paths::wrangler()?, |command| {
            command
                .envs(environment(work))
                .arg("--cwd")
                .arg(&project)
                .args(["d1", "migrations", "apply", "DB", "--local", "--persist-to"])
                .arg(work.join("made"))
        })
        .context("applying the database's migrations")
        .map(drop)
    })?;
    run("cp", |copy| copy.arg("-a").arg(&migrated).arg(state)).map(drop)
}

/// The Worker's shape (`wrangler.toml`) as wrangler tells it to miniflare.
fn shape() -> Result<PathBuf> {
    let from = ["wrangler.toml", "package-lock.json", "system-tests/src/stack/runtime.mjs"];
    let from = from.map(|name| paths::root().join(name));
    made_once("worker-shape", &from, |work| {
        let said = run(paths::node()?, |node| {
            node.envs(environment(work)).args([
                runtime(),
                "shape".into(),
                paths::root().join("wrangler.toml").into(),
            ])
        })
        .context("asking wrangler for the Worker's shape")?;
        std::fs::write(work.join("made"), said).context("writing the Worker's shape")
    })
}

/// What `make` leaves at `made` in the directory that it is given, kept in `target/` below the hash of what it is made from.
fn made_once(kind: &str, from: &[PathBuf], make: impl FnOnce(&Path) -> Result<()>) -> Result<PathBuf> {
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let _turn = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let mut hash = Sha256::new();
    for file in from {
        hash.update(std::fs::read(file).with_context(|| format!("reading {}", file.display()))?);
    }
    let all = paths::root().join("target").join(kind);
    let made = all.join(&hex::encode(hash.finalize())[..16]);
    if !made.exists() {
        std::fs::create_dir_all(&all)?;
        let work = tempfile::Builder::new().prefix("at-work-").tempdir_in(&all)?;
        make(work.path())?;
        // Another process may have been quicker; its result is as good.
        let _ = std::fs::rename(work.path().join("made"), &made);
    }
    Ok(made)
}
