//! Takes the one script that is not ours, idiomorph, from `node_modules`.

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
    let root = Path::new(&env::var("CARGO_MANIFEST_DIR")?).join("..");
    let file = ebbtide_npm_file::take(&root, PACKAGE, SCRIPT)?;
    // Its licence (0BSD) asks for nothing; who reads the file should still learn whose it is.
    let script = format!("/*! {PACKAGE} {}, 0BSD, Big Sky Software */\n{}", file.version, file.text);
    fs::write(PathBuf::from(env::var("OUT_DIR")?).join("idiomorph.js"), script)?;
    Ok(())
}
