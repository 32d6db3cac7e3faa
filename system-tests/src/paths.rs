//! Where things are: the repository, the cache, and the programs that `scripts/build` makes.
//!
//! A missing thing is reported by name with the command that brings it; nothing here builds or downloads.

use anyhow::{Result, ensure};
use std::io::Write as _;
use std::path::{Path, PathBuf};

/// The repository's root, as it was when this crate was built.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new("/"))
}

/// The per-user cache of tools.
pub fn cache() -> PathBuf {
    let from = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    from("EBBTIDE_CACHE").unwrap_or_else(|| {
        let home = || from("HOME").unwrap_or_default().join(".cache");
        from("XDG_CACHE_HOME").unwrap_or_else(home).join("ebbtide")
    })
}

fn there(path: PathBuf, how: &str) -> Result<PathBuf> {
    ensure!(path.exists(), "{} is missing; run {how}", path.display());
    Ok(path)
}

/// The local cloud's program.
///
/// # Errors
/// Names what is missing and how to get it, as all functions here do.
pub fn cloud_sim() -> Result<PathBuf> {
    there(root().join("target/debug/cloud-sim"), "scripts/build")
}

/// The idle-agent for machines: the release build where it is newer than the quick one.
pub fn idle_agent() -> Result<PathBuf> {
    let built = |profile: &str| root().join(format!("target/x86_64-unknown-linux-musl/{profile}/ebb-agent"));
    let age = |path: &Path| path.metadata().and_then(|data| data.modified()).ok();
    let (quick, optimised) = (built("ci"), built("release"));
    let newest = if age(&optimised) > age(&quick) { optimised } else { quick };
    there(newest, "scripts/build")
}

/// The built Worker, in the file that `wrangler.toml` names.
pub fn worker() -> Result<PathBuf> {
    there(root().join("worker/build/index.js"), "scripts/build")
}

/// wrangler, from the repository's own npm packages.
pub fn wrangler() -> Result<PathBuf> {
    there(root().join("node_modules/.bin/wrangler"), "scripts/setup")
}

/// The Node that package.json pins.
pub fn node() -> Result<PathBuf> {
    there(root().join("node_modules/.bin/node"), "scripts/setup")
}

/// Programs that the local cloud shows inside its machines.
pub fn machine_bin() -> Result<PathBuf> {
    let directory = cache().join("machine-bin");
    there(directory.join("caddy"), "scripts/setup")?;
    Ok(directory)
}

/// Fills a directory with what machines are shown where agents are installed: the same programs, without any agent.
///
/// # Errors
/// As [`cloud_sim`], or the directory cannot be written.
pub fn without_agents(directory: &Path) -> Result<()> {
    Ok(std::os::unix::fs::symlink(machine_bin()?.join("caddy"), directory.join("caddy"))?)
}

/// What virtual machines start from: `bare`, `prepared` or `debian-12`.
///
/// # Errors
/// As [`cloud_sim`].
pub fn vm_image(name: &str) -> Result<PathBuf> {
    let directory = root().join("target/vm-image").join(name);
    there(directory.join("disk.qcow2"), "scripts/setup vm")?;
    Ok(directory)
}

/// All newer restics than the distribution's that are to be had here.
///
/// # Errors
/// As [`newer_restic`].
pub fn newer_restics() -> Result<Vec<PathBuf>> {
    let found = ["0.18.0", "0.19.1"].map(newer_restic).into_iter().collect::<Result<Vec<_>>>()?;
    Ok(found.into_iter().flatten().collect())
}

/// A newer restic than the distribution's; `None` where there is none to be had, with the reason said aloud.
///
/// # Errors
/// Where set-up could have brought it and has not.
pub fn newer_restic(version: &str) -> Result<Option<PathBuf>> {
    let directory = cache().join("restic");
    let program = directory.join(version).join("usr/bin/restic");
    if program.exists() {
        return Ok(Some(program));
    }
    let wanted = directory.join(format!("{version}.none"));
    let why = std::fs::read_to_string(directory.join("none")).or_else(|_| std::fs::read_to_string(wanted));
    let Ok(why) = why else { return there(program, "scripts/setup test").map(Some) };
    // Past the test runner, which keeps the words of a test that passes to itself.
    let _ = writeln!(std::io::stderr(), "SKIPPED what is tested with restic {version}: {}", why.trim());
    Ok(None)
}

/// `PATH` with the repository's Node 22 first.
pub fn path_with_node() -> std::ffi::OsString {
    let own = root().join("node_modules/.bin");
    let before = std::env::var_os("PATH").unwrap_or_default();
    std::env::join_paths(std::iter::once(own).chain(std::env::split_paths(&before))).unwrap_or(before)
}
