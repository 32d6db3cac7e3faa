//! Where things are: the repository, the cache, and the programs that `scripts/build` makes.
//!
//! A missing thing is reported by name with the command that brings it; nothing here builds or downloads.

use anyhow::{Result, ensure};
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

/// Programs that the local cloud shows inside its machines.
pub fn machine_bin() -> Result<PathBuf> {
    let directory = cache().join("machine-bin");
    there(directory.join("caddy"), "scripts/setup")?;
    Ok(directory)
}

/// `PATH` with the repository's Node 22 first.
pub fn path_with_node() -> std::ffi::OsString {
    let own = root().join("node_modules/.bin");
    let before = std::env::var_os("PATH").unwrap_or_default();
    std::env::join_paths(std::iter::once(own).chain(std::env::split_paths(&before))).unwrap_or(before)
}
