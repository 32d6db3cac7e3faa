//! Takes the one script that is not ours, idiomorph, from `node_modules` at the version that the lock file pins.
//!
//! It is third-party code, so the repository names it (`package.json`, with its checksum in `package-lock.json`) and
//! does not hold it: docs/decisions has why. A build without it ends here, with the command that brings it.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::{env, fs};

/// The npm package, and what of it browsers are given.
const PACKAGE: &str = "idiomorph";
const SCRIPT: &str = "dist/idiomorph.min.js";

fn main() {
    if let Err(problem) = take() {
        println!("cargo::error={problem}");
    }
}

fn take() -> Result<(), Box<dyn Error>> {
    let root = PathBuf::from(env::var("CARGO_MANIFEST_DIR")?).join("..");
    let (lock, package) = (root.join("package-lock.json"), root.join("node_modules").join(PACKAGE));
    for path in [&lock, &package.join("package.json"), &package.join(SCRIPT)] {
        println!("cargo::rerun-if-changed={}", path.display());
    }
    let wanted = version(&read(&lock)?, &format!("\"node_modules/{PACKAGE}\""))
        .ok_or_else(|| format!("package-lock.json pins no {PACKAGE}"))?;
    let there = read(&package.join("package.json")).ok().and_then(|text| version(&text, "\"name\""));
    if there.as_deref() != Some(&wanted) {
        let found = there.map_or_else(|| "is not there".to_owned(), |version| format!("is {version}"));
        return Err(format!(
            "the pages need the npm package {PACKAGE} {wanted}, and node_modules/{PACKAGE} {found}: \
             run scripts/setup, or npm ci for the packages alone"
        )
        .into());
    }
    // Its licence (0BSD) asks for nothing; who reads the file should still learn whose it is.
    let script =
        format!("/*! {PACKAGE} {wanted}, 0BSD, Big Sky Software */\n{}", read(&package.join(SCRIPT))?);
    fs::write(PathBuf::from(env::var("OUT_DIR")?).join("idiomorph.js"), script)?;
    Ok(())
}

fn read(path: &Path) -> Result<String, String> {
    fs::read_to_string(path).map_err(|error| format!("{} cannot be read: {error}", path.display()))
}

/// The first version named after `key`.
fn version(json: &str, key: &str) -> Option<String> {
    let (_, after) = json.split_once(key)?;
    let (_, value) = after.split_once("\"version\": \"")?;
    value.split_once('"').map(|(version, _)| version.to_owned())
}
