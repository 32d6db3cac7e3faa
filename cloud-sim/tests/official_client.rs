//! The vendors' official Python clients against the local cloud: what strangers' programs rely on is there.
//!
//! They are installed once, at fixed versions, into a virtual environment in the cache directory; later runs
//! need no network.

mod common;

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, ensure};
use common::{CLOUDFLARE_TOKEN, HETZNER_TOKEN, Sim};

const PACKAGES: [&str; 2] = ["hcloud==2.27.0", "cloudflare==5.9.0"];

fn cache_dir() -> anyhow::Result<PathBuf> {
    let variable = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    if let Some(dir) = variable("EBBTIDE_CACHE") {
        return Ok(dir);
    }
    let base = variable("XDG_CACHE_HOME").or_else(|| Some(variable("HOME")?.join(".cache")));
    Ok(base.context("set EBBTIDE_CACHE or HOME")?.join("ebbtide"))
}

fn run(command: &mut Command) -> anyhow::Result<String> {
    let output = command.output().with_context(|| format!("{command:?} does not start"))?;
    let (said, complained) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    ensure!(output.status.success(), "{command:?} failed: {said}{complained}");
    Ok(said.into_owned())
}

/// The Python of an environment that holds the clients; made where it is missing.
fn python() -> anyhow::Result<PathBuf> {
    let cache = cache_dir()?;
    fs::create_dir_all(&cache)?;
    let lock = File::create(cache.join("venv.lock"))?;
    lock.lock()?;
    let venv = cache.join("venv");
    let python = venv.join("bin/python");
    let ready = venv.join("official-clients");
    if fs::read_to_string(&ready).is_ok_and(|installed| installed == PACKAGES.join("\n")) {
        return Ok(python);
    }
    run(Command::new("python3").args(["-m", "venv"]).arg(&venv))
        .context("Debian and Ubuntu need python3-venv")?;
    let pip = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check"];
    run(Command::new(&python).args(pip).args(PACKAGES))?;
    fs::write(&ready, PACKAGES.join("\n"))?;
    Ok(python)
}

fn drive(script: &str, part: &str, variable: &str, token: &str) -> anyhow::Result<String> {
    let python = python()?;
    let dir = tempfile::tempdir()?;
    let sim = Sim::start(dir.path(), &["--time-scale", "20"]);
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/official").join(script);
    run(Command::new(python).arg(script).arg(sim.address(part)).env(variable, token))
}

#[test]
fn hetzners_client_creates_lists_pages_and_deletes() -> anyhow::Result<()> {
    let said = drive("hetzner.py", "hetzner", "HCLOUD_TOKEN", HETZNER_TOKEN)?;
    assert_eq!(said, "official hetzner client: all went well\n");
    Ok(())
}

#[test]
fn cloudflares_client_creates_lists_and_deletes_records() -> anyhow::Result<()> {
    let said = drive("cloudflare_dns.py", "cloudflare", "CLOUDFLARE_API_TOKEN", CLOUDFLARE_TOKEN)?;
    assert_eq!(said, "official cloudflare client: all went well\n");
    Ok(())
}
