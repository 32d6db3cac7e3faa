//! Makes one defect at a time in a copy of the workspace, and runs what must catch it.

use super::{Catcher, Defect};
use anyhow::{Context, bail, ensure};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Lifecycles that the simulation walks for a defect.
const LIFECYCLES: &str = "2000";
/// What of the repository is copied: the members of the workspace, and what they include.
const COPIED: [&str; 19] = [
    "Cargo.toml",
    "Cargo.lock",
    "rust-toolchain.toml",
    "api",
    "control",
    "vm-init",
    "dashboard",
    "npm-file",
    "programs",
    "worker",
    "worker-bundle",
    "idle-agent",
    "cloud-sim",
    "simulation",
    "idle-report",
    "system-tests",
    "docs-check",
    "fuzz-inputs",
    "migrations",
];

/// What became of a defect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// The named test failed in an assertion, or the named promise was found broken.
    Caught,
    /// It passed: nobody would have noticed.
    Missed,
    /// The check itself is wrong: the text is not there, it does not compile, the test does not exist.
    Unusable(String),
}

/// A copy of the workspace in which defects are made.
pub struct Bench {
    place: PathBuf,
    target: PathBuf,
}

impl Bench {
    /// Copies the workspace at `root`; build results are kept in the cache, so that only `control` is built anew.
    ///
    /// # Errors
    /// The copy cannot be made.
    pub fn new(root: &Path, target: PathBuf) -> anyhow::Result<Self> {
        // Always the same place: tests know where they were built, and so does cargo.
        let place = target.join("tree");
        if place.exists() {
            std::fs::remove_dir_all(&place)?;
        }
        std::fs::create_dir_all(&place)?;
        let mut copy = Command::new("cp");
        copy.arg("-a").args(COPIED.map(|name| root.join(name))).arg(&place);
        ensure!(copy.status()?.success(), "the workspace cannot be copied");
        // What was built last may hold a defect, and the copied files are older than that.
        let library = place.join("control/src/lib.rs");
        std::fs::write(&library, std::fs::read(&library)?)?;
        Ok(Self { place, target })
    }

    /// Checks that nothing is caught where nothing is wrong.
    ///
    /// # Errors
    /// A test that is to catch something fails without it, or does not exist.
    pub fn is_sound(&self, defects: &[Defect]) -> anyhow::Result<()> {
        let mut tests: Vec<&str> = defects
            .iter()
            .filter_map(|defect| match defect.caught_by {
                Catcher::Test(name) => Some(name),
                Catcher::Walks(_) => None,
            })
            .collect();
        tests.sort_unstable();
        tests.dedup();
        if !tests.is_empty() {
            let (_, output) = self.run_tests(&tests)?;
            let passed = format!("test result: ok. {} passed", tests.len());
            ensure!(output.contains(&passed), "without a defect:\n{output}");
        }
        if tests.len() < defects.len() {
            let (passed, output) = self.walk()?;
            ensure!(passed, "without a defect:\n{output}");
        }
        Ok(())
    }

    /// Makes a defect, runs what must catch it, and takes the defect out again.
    ///
    /// # Errors
    /// The file cannot be read or written, or cargo not be run.
    pub fn check(&self, defect: &Defect) -> anyhow::Result<Verdict> {
        let path = self.place.join("control/src").join(defect.file);
        let text = std::fs::read_to_string(&path).with_context(|| format!("{} is gone", defect.file))?;
        let found = text.matches(defect.old).count();
        if found != 1 {
            return Ok(Verdict::Unusable(format!("its text occurs {found} times in {}", defect.file)));
        }
        std::fs::write(&path, text.replace(defect.old, defect.new))?;
        let verdict = self.try_to_catch(defect.caught_by);
        std::fs::write(&path, text)?;
        verdict
    }

    fn try_to_catch(&self, catcher: Catcher) -> anyhow::Result<Verdict> {
        let (passed, output) = match catcher {
            Catcher::Test(name) => self.run_tests(&[name])?,
            Catcher::Walks(_) => self.walk()?,
        };
        Ok(match catcher {
            Catcher::Test(_) if output.contains("test result: ok. 1 passed") => Verdict::Missed,
            Catcher::Test(name)
                if output.contains(&format!("test {name} ... FAILED")) && output.contains("panicked at") =>
            {
                Verdict::Caught
            }
            Catcher::Walks(_) if passed => Verdict::Missed,
            Catcher::Walks(promise) if output.contains(&format!("\n  {promise}: ")) => Verdict::Caught,
            Catcher::Walks(_) if output.contains("promises broken: ") => {
                let found = output.lines().skip_while(|line| !line.starts_with("promises broken"));
                let found: Vec<&str> = found.take(4).map(str::trim).collect();
                Verdict::Unusable(format!("another promise is found broken: {}", found.join("; ")))
            }
            Catcher::Test(_) | Catcher::Walks(_) => Verdict::Unusable(tail(&output)),
        })
    }

    fn run_tests(&self, names: &[&str]) -> anyhow::Result<(bool, String)> {
        let mut cargo = self.cargo();
        cargo.args(["test", "--package", "ebbtide-control", "--lib", "--", "--exact"]).args(names);
        output(cargo.env("INSTA_UPDATE", "no"))
    }

    fn walk(&self) -> anyhow::Result<(bool, String)> {
        let mut cargo = self.cargo();
        cargo.args(["build", "--package", "ebbtide-simulation", "--bin", "ebb-simulate"]);
        let (built, text) = output(&mut cargo)?;
        if !built {
            return Ok((false, text));
        }
        let program = self.target.join("debug/ebb-simulate");
        output(Command::new(program).args(["--lifecycles", LIFECYCLES, "--seed", "1"]))
    }

    fn cargo(&self) -> Command {
        let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        cargo
            .current_dir(&self.place)
            .env("CARGO_TARGET_DIR", &self.target)
            .env("CARGO_PROFILE_DEV_DEBUG", "0")
            .env("RUST_BACKTRACE", "0");
        cargo
    }
}

fn output(command: &mut Command) -> anyhow::Result<(bool, String)> {
    let Ok(ran) = command.output() else { bail!("{command:?} cannot be run") };
    let text = [ran.stdout, ran.stderr].concat();
    Ok((ran.status.success(), String::from_utf8_lossy(&text).into_owned()))
}

/// The end of an output: where compilers and tests say what is wrong.
fn tail(output: &str) -> String {
    let lines: Vec<&str> = output.lines().filter(|line| line.starts_with("error")).take(3).collect();
    if lines.is_empty() {
        output.chars().rev().take(400).collect::<String>().chars().rev().collect()
    } else {
        lines.join("; ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_member_of_the_workspace_is_copied_because_cargo_reads_all_their_manifests() {
        let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("../Cargo.toml");
        let manifest = std::fs::read_to_string(manifest).unwrap();
        let members =
            manifest.split_once("members = [").and_then(|(_, rest)| rest.split_once(']')).unwrap().0;
        for member in members.split(',').map(|member| member.trim().trim_matches('"')) {
            let directory = member.split('/').next().unwrap_or_default();
            assert!(directory.is_empty() || COPIED.contains(&directory), "{member} is not copied");
        }
    }
}
