//! Makes of the Worker's compiled module what the Workers runtime loads: `index.js` and `index_bg.wasm`.
//!
//! A library that the workspace locks does the binding, in the place of two programs that every fresh machine would
//! have to compile first (`worker-build` and `wasm-bindgen-cli`, three hundred crates). `entry.js` is what the runtime
//! calls: it knows our two handlers and two classes by name, and begins anew where the module has panicked.
//! Run by `scripts/build-worker`; reads nothing but its arguments.

use anyhow::{Context, Result, ensure};
use clap::Parser;
use std::path::{Path, PathBuf};
use std::process::Command;
use wasm_bindgen_cli_support::Bindgen;

const ENTRY: &str = include_str!("entry.js");
/// The module's name, of which the bindings make `index.js` and `index_bg.wasm`: `wrangler.toml` names the first.
const NAME: &str = "index";

/// Bundles the Worker.
#[derive(Debug, Parser)]
#[command(name = "ebb-worker-bundle", version)]
struct Arguments {
    /// The compiled module, before its bindings.
    module: PathBuf,
    /// The directory that is made anew with the bundle in it.
    into: PathBuf,
    /// esbuild, from the repository's npm packages.
    #[arg(long)]
    esbuild: PathBuf,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let work = arguments.into.with_extension("at-work");
    empty(&work)?;
    bind(&arguments.module, &work)?;
    std::fs::write(work.join("entry.js"), ENTRY).context("writing the entry")?;
    bundle(&arguments.esbuild, &work)?;
    // A bundle is put in place whole: a wrangler that runs meanwhile never loads half of one.
    let done = arguments.into.with_extension("done");
    empty(&done)?;
    let script = std::fs::read_to_string(work.join("bundle.js")).context("reading the bundle")?;
    std::fs::write(done.join(format!("{NAME}.js")), plain_imports(&script)).context("writing the bundle")?;
    let module = format!("{NAME}_bg.wasm");
    std::fs::rename(work.join(&module), done.join(&module)).context("moving the module")?;
    std::fs::remove_dir_all(&work).context("tidying up")?;
    if arguments.into.exists() {
        std::fs::remove_dir_all(&arguments.into)
            .with_context(|| format!("removing {}", arguments.into.display()))?;
    }
    std::fs::rename(&done, &arguments.into).with_context(|| format!("making {}", arguments.into.display()))
}

fn empty(directory: &Path) -> Result<()> {
    if directory.exists() {
        std::fs::remove_dir_all(directory).with_context(|| format!("removing {}", directory.display()))?;
    }
    std::fs::create_dir_all(directory).with_context(|| format!("making {}", directory.display()))
}

/// Writes the module with its bindings.
fn bind(module: &Path, into: &Path) -> Result<()> {
    Bindgen::new()
        .input_path(module)
        .out_name(NAME)
        .module(true)
        .and_then(|bindgen| {
            bindgen
                .typescript(false)
                // What `entry.js` needs to begin anew after a panic.
                .reset_state_function(true)
                .force_enable_abort_handler(true)
                .generate(into)
        })
        .with_context(|| format!("making the bindings of {}", module.display()))
}

/// One script of the entry, the bindings and their snippets; the module stays a file of its own.
fn bundle(esbuild: &Path, work: &Path) -> Result<()> {
    let esbuild = esbuild.canonicalize().with_context(|| format!("{} is missing", esbuild.display()))?;
    let arguments = [
        "entry.js",
        "--bundle",
        "--minify",
        "--format=esm",
        "--log-level=warning",
        "--outfile=bundle.js",
        "--external:cloudflare:*",
        &format!("--external:./{NAME}_bg.wasm"),
    ];
    let ended = Command::new(&esbuild).args(arguments).current_dir(work).status();
    let ended = ended.with_context(|| format!("running {}", esbuild.display()))?;
    ensure!(ended.success(), "esbuild ended with {ended}");
    Ok(())
}

/// The runtime gives a compiled module for an ordinary import, and knows no imports by phase.
fn plain_imports(script: &str) -> String {
    script.replace("import source ", "import ")
}

#[cfg(test)]
mod tests {
    use super::{ENTRY, empty, plain_imports};

    #[test]
    fn the_module_is_imported_as_the_runtime_gives_it() {
        assert_eq!(
            plain_imports(r#"import source m from"./index_bg.wasm";m()"#),
            r#"import m from"./index_bg.wasm";m()"#
        );
    }

    #[test]
    fn every_class_that_wrangler_binds_is_exported_and_no_other() {
        let settings = include_str!("../../wrangler.toml");
        let bound: Vec<&str> = settings
            .lines()
            .filter_map(|line| line.strip_prefix("class_name = \"")?.strip_suffix('"'))
            .collect();
        assert_eq!(bound.len(), 2, "{bound:?}");
        let exported =
            ENTRY.lines().filter_map(|line| line.strip_prefix("export const ")?.split_once(" = ")).count();
        assert_eq!(exported, bound.len());
        for class in bound {
            assert!(ENTRY.contains(&format!("export const {class} = ")), "{class}");
        }
    }

    #[test]
    fn what_an_earlier_run_left_is_gone() {
        let directory = tempfile::tempdir().unwrap();
        let work = directory.path().join("build.at-work");
        empty(&work).unwrap();
        std::fs::write(work.join("old"), "").unwrap();
        empty(&work).unwrap();
        assert_eq!(std::fs::read_dir(&work).unwrap().count(), 0);
    }
}
