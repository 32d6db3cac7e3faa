//! Backups of a workspace as a standard restic repository behind the control plane, run in a process of their own.
//!
//! The daemon starts `ebb-agent backup …`, reads JSON lines from its standard output (`events.rs`) and its exit code
//! (`failure.rs`). `rest.rs` speaks the protocol, `backend.rs` shows it to the library, `scope.rs`,
//! `archive_source.rs` and `consistent_read.rs` read the machine for `archive.rs`, `receipt.rs` proves the result, which
//! `outcome.rs` brings to the daemon, `restore.rs` brings it back. Nothing but `prune.rs` deletes a stored object; nothing writes a secret to its output, or counts a file as saved because nobody complained.

mod archive;
mod archive_source;
mod attributes;
mod backend;
mod consistent_read;
mod ebbignore;
mod events;
mod excludes;
mod failure;
mod include;
mod mounts;
mod outcome;
mod prune;
mod receipt;
mod repository;
mod rest;
mod restore;
mod restore_contents;
mod restore_hint;
mod scope;
mod survey;
mod uploads;
mod warnings;
mod worktrees;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use url::Url;

pub use self::failure::Failure;
pub use self::outcome::Outcome;
pub use self::survey::{Order as SurveyOrder, Survey, run as survey, size};
pub use self::worktrees::PLACES as WORKTREE_PLACES;

use self::backend::Backend;
use self::events::{Bars, Event, Events, LibraryWarnings, Line, emit};
use self::rest::{Address, Rest, RetryBudget};

/// `ebb-agent backup …`
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Takes a snapshot and proves that it is in the store.
    Run {
        #[command(flatten)]
        access: Access,
        #[command(flatten)]
        order: archive::Order,
    },
    /// Brings a snapshot's files back. Safe to repeat.
    Restore {
        #[command(flatten)]
        access: Access,
        #[command(flatten)]
        as_of: AsOf,
        #[command(flatten)]
        order: restore::Order,
    },
    /// Says what a snapshot would hold, without the store.
    Survey {
        #[command(flatten)]
        order: survey::Order,
    },
    /// Removes the snapshots that were named, and the packs that nothing needs then.
    Tidy {
        #[command(flatten)]
        access: Access,
        #[command(flatten)]
        order: prune::Order,
    },
    /// Prints the snapshots as a JSON list.
    Snapshots {
        #[command(flatten)]
        access: Access,
        #[command(flatten)]
        as_of: AsOf,
    },
}

/// Which repository, and with which rights.
#[derive(Debug, Clone, clap::Args)]
pub struct Access {
    /// Base address of the repository.
    #[arg(long)]
    url: Url,
    /// File with the machine token; read again before each request.
    #[arg(long)]
    token_file: PathBuf,
    /// File with the repository key.
    #[arg(long)]
    password_file: PathBuf,
    /// Directory that keeps index and trees between runs; without it every run fetches them again.
    #[arg(long)]
    cache_dir: Option<PathBuf>,
    /// Seconds without a single transferred object after which the store counts as unreachable.
    #[arg(long, default_value_t = 600)]
    stall_secs: u64,
    /// Seconds that a refused token is given to be renewed.
    #[arg(long, default_value_t = 600)]
    renewal_secs: u64,
    #[arg(skip)]
    as_of: Option<String>,
}

/// Reading as the repository was.
#[derive(Debug, Clone, clap::Args)]
pub struct AsOf {
    /// Reads only objects that were there when this receipt was accepted.
    #[arg(long)]
    as_of: Option<String>,
}

impl Access {
    fn backend(&self) -> Arc<Backend> {
        let address = Address {
            base: self.url.clone(),
            token_file: self.token_file.clone(),
            as_of: self.as_of.clone(),
        };
        let retry_budget = RetryBudget {
            stall: Duration::from_secs(self.stall_secs),
            renewal: Duration::from_secs(self.renewal_secs),
        };
        Backend::new(Rest::new(address, retry_budget))
    }

    fn key(&self) -> Result<String, Failure> {
        let path = &self.password_file;
        let text = std::fs::read_to_string(path).map_err(|error| Failure::local("read", path, error))?;
        Ok(text.trim_end_matches(['\r', '\n']).to_owned())
    }

    fn cache(&self) -> Result<Cache, Failure> {
        match &self.cache_dir {
            Some(path) => {
                std::fs::create_dir_all(path).map_err(|error| Failure::local("create", path, error))?;
                Ok(Cache::Kept(path.clone()))
            }
            None => tempfile::tempdir()
                .map(Cache::Passing)
                .map_err(|error| Failure::local("write to", &std::env::temp_dir(), error)),
        }
    }
}

/// Where index and trees are kept.
enum Cache {
    Kept(PathBuf),
    Passing(tempfile::TempDir),
}

impl Cache {
    fn path(&self) -> &Path {
        match self {
            Self::Kept(path) => path,
            Self::Passing(dir) => dir.path(),
        }
    }
}

/// One snapshot in the list.
#[derive(Debug, Serialize)]
struct Listed {
    id: String,
    time: String,
    host: String,
    tags: Vec<String>,
    paths: Vec<String>,
    tree: String,
    parent: Option<String>,
    files: Option<u64>,
    bytes: Option<u64>,
}

/// Runs one command to its end and says how it ended, on standard output and by the exit code.
pub fn main(command: Command) -> ExitCode {
    LibraryWarnings::collect();
    let events = Events::new();
    match command {
        Command::Run { access, order } => finish(archive::run(&access, &order, &events)),
        Command::Restore { access, as_of, order } => {
            let access = Access { as_of: as_of.as_of, ..access };
            finish(restore::run(&access, &order, &events))
        }
        Command::Survey { order } => {
            // Whatever else the machine does comes first.
            let _ = rustix::process::setpriority_process(None, 19);
            finish(survey::run(&order))
        }
        Command::Tidy { access, order } => finish(prune::run(&access, &order, &events)),
        Command::Snapshots { access, as_of } => {
            let access = Access { as_of: as_of.as_of, ..access };
            match snapshots(&access).and_then(|listed| {
                serde_json::to_string(&listed)
                    .map_err(|error| Failure::Library { message: error.to_string() })
            }) {
                Ok(line) => {
                    println!("{line}");
                    ExitCode::SUCCESS
                }
                Err(failure) => finish::<()>(Err(failure)),
            }
        }
    }
}

fn finish<R: Serialize>(result: Result<R, Failure>) -> ExitCode {
    match result {
        Ok(outcome) => {
            emit(&Event::Done(outcome));
            ExitCode::SUCCESS
        }
        Err(failure) => {
            emit(&Line::Failed { code: failure.code(), message: &failure.to_string() });
            ExitCode::from(failure.exit_code())
        }
    }
}

fn snapshots(access: &Access) -> Result<Vec<Listed>, Failure> {
    let backend = access.backend();
    let cache = access.cache()?;
    let repository = repository::open(&backend, &access.key()?, cache.path(), Bars::Hidden)?;
    let mut found = repository.get_all_snapshots().map_err(|error| backend.explain(&error))?;
    found.sort_by(|one, other| one.time.cmp(&other.time));
    Ok(found
        .into_iter()
        .map(|snapshot| Listed {
            id: snapshot.id.to_hex().as_str().to_owned(),
            time: snapshot.time.timestamp().to_string(),
            host: snapshot.hostname.clone(),
            tags: strings(&snapshot.tags),
            paths: strings(&snapshot.paths),
            tree: snapshot.tree.to_hex().as_str().to_owned(),
            parent: snapshot.parent.map(|id| id.to_hex().as_str().to_owned()),
            files: snapshot.summary.as_ref().map(|summary| summary.total_files_processed),
            bytes: snapshot.summary.as_ref().map(|summary| summary.total_bytes_processed),
        })
        .collect())
}

/// The library keeps such lists to itself, but writes them as JSON.
fn strings(list: &rustic_core::StringList) -> Vec<String> {
    serde_json::to_value(list).and_then(serde_json::from_value).unwrap_or_default()
}
