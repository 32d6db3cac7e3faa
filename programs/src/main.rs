//! Makes bundles of coding agents and publishes them to an installation. Run it through `scripts/programs`.

use anyhow::{Context, Result, bail};
use clap::{Parser, Subcommand};
use ebbtide_api::programs::known;
use ebbtide_programs::{Installation, Workshop, programs_of};
use std::path::PathBuf;
use std::process::ExitCode;

/// Makes bundles of coding agents and publishes them to an installation.
#[derive(Debug, Parser)]
struct Arguments {
    /// Holds a directory for each program.
    #[arg(long, env = "EBBTIDE_PROGRAMS", hide = true)]
    sources: PathBuf,
    /// Where bundles are kept on this computer.
    #[arg(long, env = "EBBTIDE_CACHE", hide_env = true)]
    cache: PathBuf,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Lists programs: which version is locked here, which is made, which is published where CONTROL_URL says.
    List(Access),
    /// Makes bundles of these agents, as far as they are not in the cache.
    Make {
        /// Agents, or programs.
        #[arg(required = true)]
        names: Vec<String>,
    },
    /// Makes them and uploads what the installation lacks.
    Publish {
        /// Agents, or programs.
        #[arg(required = true)]
        names: Vec<String>,
        #[command(flatten)]
        access: Access,
    },
    /// Unpacks a bundle into a directory, to look at it.
    Unpack {
        /// Which program.
        name: String,
        /// A directory that exists.
        into: PathBuf,
    },
}

#[derive(Debug, clap::Args)]
struct Access {
    /// Where the control plane answers.
    #[arg(long, env = "CONTROL_URL")]
    url: Option<String>,
    /// The owner's token, or a key with the scope `admin`: in the environment, where no process list shows it.
    #[arg(long, env = "OWNER_TOKEN", hide_env_values = true, hide = true)]
    token: Option<String>,
}

impl Access {
    fn installation(&self) -> Result<Option<Installation>> {
        let given = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
        match (given(&self.url), given(&self.token)) {
            (Some(url), Some(token)) => Ok(Some(Installation::new(&url, &token))),
            (None, None) => Ok(None),
            _ => bail!("set both CONTROL_URL and OWNER_TOKEN"),
        }
    }
}

fn main() -> ExitCode {
    match run(Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say(&format!("{error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: Arguments) -> Result<()> {
    let Arguments { sources, cache, command } = arguments;
    let workshop = Workshop { sources, cache: cache.join("programs") };
    match command {
        Command::List(access) => list(&workshop, &access),
        Command::Make { names } => {
            for name in programs_of(&names)? {
                let bundle = workshop.make(name, &say)?;
                let (packed, tar) = (bundle.program.packed_bytes(), bundle.program.unpacked_bytes);
                println!("{name} {}: {} MB, {} MB unpacked", bundle.program.version, mb(packed), mb(tar));
            }
            Ok(())
        }
        Command::Publish { names, access } => {
            let installation = access.installation()?.context("set CONTROL_URL and OWNER_TOKEN")?;
            for name in programs_of(&names)? {
                let bundle = workshop.make(name, &say)?;
                let sent = installation.publish(&bundle, &say)?;
                println!("{name} {} is published; {} MB were uploaded", bundle.program.version, mb(sent));
            }
            Ok(())
        }
        Command::Unpack { name, into } => workshop.make(&name, &say)?.unpack(&into),
    }
}

fn list(workshop: &Workshop, access: &Access) -> Result<()> {
    let published = access.installation()?.map(|there| there.published()).transpose()?;
    for name in known() {
        let made = if workshop.made(name)?.is_some() { "made" } else { "-" };
        let there = published.as_ref().and_then(|list| list.find(name)).map_or("-", |one| &one.version);
        println!("{name:10} {:20} {made:6} {there}", workshop.version(name)?);
    }
    Ok(())
}

fn say(text: &str) {
    eprintln!("programs: {text}");
}

fn mb(bytes: u64) -> u64 {
    bytes.div_ceil(1_000_000)
}
