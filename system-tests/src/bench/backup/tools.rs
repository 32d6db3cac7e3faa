//! Who backs up: the idle-agent, the newest restic, borg, and a pipe of tar, zstd and age; each as its manual says, nothing
//! tuned.
//!
//! The first two write to the same running Worker, by the same routes and with the same rights (an owner's, while no
//! machine exists). borg and the pipe write to this computer's disk, which spares them HTTP, the Worker and its bucket; the
//! pipe writes all of it each time. Each keeps a cache of its own.

use super::meter::{self, Taken};
use super::sets::{self, Set};
use crate::{Stack, paths};
use anyhow::{Context, Result};
use ebbtide_api::workspace::State;
use serde_json::{Value, json};
use std::cell::Cell;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// How long a workspace may take to be known to have no machine.
const LIMIT: Duration = Duration::from_secs(60);

/// A program, or a pipe of some.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tool {
    /// `ebb-agent backup`.
    Agent,
    /// The newest that set-up has, else the distribution's.
    Restic,
    /// As Debian packages it, on the local disk.
    Borg,
    /// `tar | zstd | age`.
    Pipe,
}

impl Tool {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Agent, Self::Restic, Self::Borg, Self::Pipe];

    /// For people.
    pub fn title(self) -> &'static str {
        match self {
            Self::Agent => "idle-agent",
            Self::Restic => "restic",
            Self::Borg => "borg, local disk",
            Self::Pipe => "tar, zstd, age",
        }
    }

    /// Whether it writes through the Worker, rather than to this computer's disk.
    pub fn is_remote(self) -> bool {
        match self {
            Self::Agent | Self::Restic => true,
            Self::Borg | Self::Pipe => false,
        }
    }
}

/// The restic that the idle-agent is compared with.
///
/// # Errors
/// Where set-up could have brought a newer one and has not.
pub fn restic() -> Result<PathBuf> {
    Ok(paths::newer_restics()?.pop().unwrap_or_else(|| "restic".into()))
}

/// Who is compared with, by version.
pub fn versions() -> String {
    let said = |program: PathBuf, argument: &str| {
        let said = crate::process::run(program, |command| command.arg(argument)).unwrap_or_default();
        said.split(" compiled").next().unwrap_or_default().trim().to_owned()
    };
    let restic = restic().map(|restic| said(restic, "version")).unwrap_or_default();
    format!("{restic}, {}", said("borg".into(), "--version"))
}

/// A place of one tool for one set of files: its repository, its cache, its key.
#[derive(Debug)]
pub struct Keeper<'a> {
    tool: Tool,
    stack: &'a Stack,
    agent: &'a Path,
    /// Everything of it that is local.
    directory: PathBuf,
    workspace: String,
    restic: PathBuf,
    /// How many archives borg has.
    archives: Cell<usize>,
}

impl<'a> Keeper<'a> {
    /// Begins with a repository that holds nothing but its key. restic's is made with the parameters of the idle-agent's,
    /// `like`, so that both cut large files at the same places: where the cuts fall is chance, and what is stored
    /// follows from it.
    ///
    /// # Errors
    /// Where there is no workspace to be had, or no key can be made.
    pub fn new(
        tool: Tool,
        stack: &'a Stack,
        agent: &'a Path,
        directory: PathBuf,
        like: Option<&Keeper<'_>>,
    ) -> Result<Self> {
        std::fs::create_dir_all(&directory)?;
        let (workspace, archives) = (String::new(), Cell::new(0));
        let mut keeper = Self { tool, stack, agent, directory, workspace, restic: restic()?, archives };
        match tool {
            Tool::Agent | Tool::Restic => {
                // Its server is refused: it is left without a machine, and its backups to its owner.
                let id = stack.api.create(&json!({}))?.id.to_string();
                stack.api.wait(&id, "failed", LIMIT, |workspace| workspace.state == State::Failed)?;
                keeper.workspace = id;
                std::fs::write(keeper.at("password"), "5a".repeat(32))?;
                std::fs::write(keeper.at("token"), &stack.owner_token)?;
            }
            Tool::Borg => {}
            Tool::Pipe => {
                crate::process::run("age-keygen", |age| age.arg("-o").arg(keeper.at("key")))?;
            }
        }
        match (tool, like) {
            (Tool::Agent, _) => {
                // The idle-agent makes its repository with its first backup: one of an empty directory.
                let nothing = keeper.at("nothing");
                std::fs::create_dir(&nothing)?;
                keeper.back_up_below(&keeper.directory, "nothing")?;
                keeper.forget_cache()?;
            }
            (Tool::Restic, Some(like)) => {
                let mut restic = keeper.restic(&["init", "--copy-chunker-params"]);
                // In the environment: the address holds a token.
                restic.env("RESTIC_FROM_REPOSITORY", like.repository());
                restic.env("RESTIC_FROM_PASSWORD_FILE", like.at("password"));
                meter::run(vec![restic])?;
            }
            (Tool::Restic, None) => drop(meter::run(vec![keeper.restic(&["init"])])?),
            (Tool::Borg, _) => {
                drop(meter::run(vec![keeper.borg(&["init", "--encryption", "repokey-blake2"])])?);
            }
            (Tool::Pipe, _) => {}
        }
        Ok(keeper)
    }

    /// Backs up.
    ///
    /// # Errors
    /// Where it fails, with what was said.
    pub fn back_up(&self, set: &Set) -> Result<Taken> {
        let (above, name) = split(&set.directory)?;
        self.back_up_below(above, name)
    }

    fn back_up_below(&self, above: &Path, name: &str) -> Result<Taken> {
        meter::run(match self.tool {
            Tool::Agent => {
                let mut agent = self.agent("run");
                agent.args(["--init", "--host", "bench", "--root"]).arg(above);
                agent.arg("--include").arg(Path::new("/").join(name));
                vec![agent]
            }
            Tool::Restic => {
                let mut restic = self.restic(&["backup", "--quiet"]);
                restic.current_dir(above).arg(name);
                vec![restic]
            }
            Tool::Borg => {
                self.archives.set(self.archives.get() + 1);
                let mut borg = self.borg(&["create"]);
                borg.current_dir(above).arg(self.archive()).arg(name);
                vec![borg]
            }
            Tool::Pipe => {
                let mut tar = Command::new("tar");
                tar.arg("-C").arg(above).args(["-cf", "-"]).arg(name);
                let mut zstd = Command::new("zstd");
                zstd.args(["-q", "-T0"]);
                let mut age = Command::new("age");
                age.args(["-e", "-i"]).arg(self.at("key")).arg("-o").arg(self.at("archive"));
                vec![tar, zstd, age]
            }
        })
    }

    /// Brings everything back into a directory that does not exist.
    ///
    /// # Errors
    /// Where it fails, with what was said.
    pub fn restore(&self, target: &Path) -> Result<Taken> {
        std::fs::create_dir_all(target)?;
        meter::run(match self.tool {
            Tool::Agent => {
                let mut agent = self.agent("restore");
                agent.arg("--target").arg(target);
                vec![agent]
            }
            Tool::Restic => {
                let mut restic = self.restic(&["restore", "--quiet", "latest", "--target"]);
                restic.arg(target);
                vec![restic]
            }
            Tool::Borg => {
                let mut borg = self.borg(&["extract"]);
                borg.current_dir(target).arg(self.archive());
                vec![borg]
            }
            Tool::Pipe => {
                let mut age = Command::new("age");
                age.args(["-d", "-i"]).arg(self.at("key")).arg(self.at("archive"));
                let mut zstd = Command::new("zstd");
                zstd.args(["-q", "-d"]);
                let mut tar = Command::new("tar");
                tar.arg("-C").arg(target).args(["-xf", "-"]);
                vec![age, zstd, tar]
            }
        })
    }

    /// Where in a target a set has come back.
    ///
    /// # Errors
    /// Where the set has no name.
    pub fn brought(&self, target: &Path, set: &Set) -> Result<PathBuf> {
        Ok(target.join(split(&set.directory)?.1))
    }

    /// A machine that has kept nothing restores with an empty cache.
    ///
    /// # Errors
    /// Where the cache cannot be removed.
    pub fn forget_cache(&self) -> Result<()> {
        let cache = self.at("cache");
        if cache.exists() { std::fs::remove_dir_all(cache).context("removing a cache") } else { Ok(()) }
    }

    /// Bytes that are stored now.
    ///
    /// # Errors
    /// Where they cannot be listed.
    pub fn stored(&self) -> Result<u64> {
        match self.tool {
            Tool::Agent | Tool::Restic => {}
            Tool::Borg => return Ok(sets::count(&self.at("borg"))?.1),
            Tool::Pipe => return Ok(std::fs::metadata(self.at("archive"))?.len()),
        }
        let mut stored = 0;
        for kind in ["data", "index", "keys", "snapshots"] {
            let path = format!("/v1/workspaces/{}/restic/{kind}/", self.workspace);
            let v2 = [("accept", "application/vnd.x.restic.rest.v2")];
            let listed = self.stack.api.raw("GET", &path, &v2, None)?.expect(200)?.json();
            let sizes = listed.as_array().into_iter().flatten().filter_map(|object| object["size"].as_u64());
            stored += sizes.sum::<u64>();
        }
        Ok(stored)
    }

    /// Requests that the Worker answered about this repository so far.
    ///
    /// # Errors
    /// Where its log cannot be read.
    pub fn requests(&self) -> Result<usize> {
        let path = format!("/v1/workspaces/{}/restic", self.workspace);
        let log = std::fs::read_to_string(self.stack.log("worker")).context("reading the Worker's log")?;
        Ok(log.lines().filter(|line| line.contains("answered") && line.contains(&path)).count())
    }

    fn at(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    fn agent(&self, what: &str) -> Command {
        let mut agent = Command::new(self.agent);
        // As the daemon starts it.
        agent.env_clear().env("MIMALLOC_PURGE_DELAY", "20").args(["backup", what]);
        agent.arg("--url").arg(format!("{}/v1/workspaces/{}/restic/", self.stack.url, self.workspace));
        agent.arg("--token-file").arg(self.at("token")).arg("--password-file").arg(self.at("password"));
        agent.arg("--cache-dir").arg(self.at("cache"));
        agent
    }

    /// As restic names it.
    fn repository(&self) -> String {
        let host = self.stack.url.trim_start_matches("http://");
        format!(
            "rest:http://owner:{}@{host}/v1/workspaces/{}/restic/",
            self.stack.owner_token, self.workspace
        )
    }

    fn restic(&self, arguments: &[&str]) -> Command {
        let mut restic = Command::new(&self.restic);
        restic.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default());
        restic.env("RESTIC_REPOSITORY", self.repository()).env("RESTIC_PASSWORD_FILE", self.at("password"));
        restic.env("RESTIC_CACHE_DIR", self.at("cache")).args(arguments);
        restic
    }

    fn borg(&self, arguments: &[&str]) -> Command {
        let mut borg = Command::new("borg");
        borg.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default());
        borg.env("BORG_REPO", self.at("borg")).env("BORG_PASSPHRASE", "5a".repeat(32));
        borg.env("BORG_BASE_DIR", self.at("cache")).args(arguments);
        borg
    }

    /// The newest archive, as borg names it.
    fn archive(&self) -> String {
        format!("::{}", self.archives.get())
    }
}

/// What the idle-agent says that it sent.
pub fn sent(taken: &Taken) -> Option<u64> {
    serde_json::from_str::<Value>(&taken.said).ok()?["bytes_sent"].as_u64()
}

fn split(directory: &Path) -> Result<(&Path, &str)> {
    let name = directory.file_name().and_then(|name| name.to_str());
    Ok((directory.parent().context("no parent")?, name.context("no name")?))
}
