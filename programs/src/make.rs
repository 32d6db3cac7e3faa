//! Makes bundles, and keeps them in the cache of this computer's user under what they are made of.

use crate::pack;
use anyhow::{Context, Result, ensure};
use ebbtide_api::programs::{Program, known};
use sha2::{Digest, Sha256};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Changes when the same packages are to give another bundle.
const FORMAT: &str = "1";
/// What a made bundle is described in, beside its parts.
const DESCRIPTION: &str = "program.json";

/// Where bundles are made.
#[derive(Debug, Clone)]
pub struct Workshop {
    /// Holds a directory with `package.json` and `package-lock.json` for each program.
    pub sources: PathBuf,
    /// Holds what was made.
    pub cache: PathBuf,
}

/// A bundle in the cache.
#[derive(Debug, Clone)]
pub struct Bundle {
    /// What it is published as.
    pub program: Program,
    /// Holds its parts, files of their names.
    pub directory: PathBuf,
}

impl Workshop {
    /// A bundle, where it was made already.
    ///
    /// # Errors
    /// There is no such program, or the cache is damaged.
    pub fn made(&self, name: &str) -> Result<Option<Bundle>> {
        let directory = self.place(name)?;
        let Ok(text) = fs::read_to_string(directory.join(DESCRIPTION)) else { return Ok(None) };
        let program =
            serde_json::from_str(&text).with_context(|| format!("reading {}", directory.display()))?;
        Ok(Some(Bundle { program, directory }))
    }

    /// Makes a bundle, unless it is there.
    ///
    /// # Errors
    /// npm or the file system fails.
    pub fn make(&self, name: &str, say: &dyn Fn(&str)) -> Result<Bundle> {
        if let Some(bundle) = self.made(name)? {
            return Ok(bundle);
        }
        let version = self.version(name)?;
        fs::create_dir_all(&self.cache)?;
        let work = tempfile::Builder::new().prefix("at-work-").tempdir_in(&self.cache)?;
        say(&format!("getting {name} {version} from npm, as locked"));
        let tree = work.path().join("tree");
        self.install(name, &tree)?;
        say(&format!("packing {name} {version}"));
        let fresh = work.path().join("bundle");
        fs::create_dir(&fresh)?;
        let packed = pack::pack(&tree, "node_modules", &fresh)?;
        let program = Program {
            name: name.to_owned(),
            version,
            parts: packed.parts,
            unpacked_bytes: packed.unpacked_bytes,
        };
        // Last: a bundle is there once it is described.
        fs::write(fresh.join(DESCRIPTION), serde_json::to_string(&program)?)?;
        let directory = self.place(name)?;
        let _ = fs::remove_dir_all(&directory);
        fs::rename(&fresh, &directory).with_context(|| format!("storing {}", directory.display()))?;
        Ok(Bundle { program, directory })
    }

    /// Installs the locked packages, and runs nothing of theirs.
    fn install(&self, name: &str, tree: &Path) -> Result<()> {
        fs::create_dir(tree)?;
        for file in ["package.json", "package-lock.json"] {
            fs::copy(self.sources.join(name).join(file), tree.join(file))?;
        }
        let arguments =
            ["ci", "--ignore-scripts", "--omit=dev", "--no-audit", "--no-fund", "--loglevel=error"];
        let ended = Command::new("npm").args(arguments).current_dir(tree).status().context("starting npm")?;
        ensure!(ended.success(), "npm could not get what programs/{name}/package-lock.json names");
        Ok(())
    }

    /// The version of a program: of the one package that it asks for.
    ///
    /// # Errors
    /// It asks for none, or for several.
    pub fn version(&self, name: &str) -> Result<String> {
        let file = self.source(name)?.join("package.json");
        let package: serde_json::Value = serde_json::from_slice(&fs::read(&file)?)?;
        let asked: Vec<&str> = package["dependencies"]
            .as_object()
            .into_iter()
            .flat_map(|dependencies| dependencies.values().filter_map(|version| version.as_str()))
            .collect();
        match asked[..] {
            [version] => Ok(version.to_owned()),
            _ => anyhow::bail!("{} does not ask for one package", file.display()),
        }
    }

    fn source(&self, name: &str) -> Result<PathBuf> {
        ensure!(known().contains(&name), "there is no program {name}; there are {}", known().join(", "));
        Ok(self.sources.join(name))
    }

    /// Where a bundle lies: under the hash of what it is made of.
    fn place(&self, name: &str) -> Result<PathBuf> {
        let source = self.source(name)?;
        let mut hash = Sha256::new_with_prefix(FORMAT);
        for file in ["package.json", "package-lock.json"] {
            let file = source.join(file);
            hash.update(fs::read(&file).with_context(|| format!("reading {}", file.display()))?);
        }
        let hash = hex::encode(hash.finalize());
        Ok(self.cache.join(format!("{name}-{}", hash.get(..16).unwrap_or(&hash))))
    }
}

impl Bundle {
    /// Unpacks it into a directory that exists.
    ///
    /// # Errors
    /// What the file system says.
    pub fn unpack(&self, into: &Path) -> Result<()> {
        let mut packed: Box<dyn std::io::Read> = Box::new(std::io::empty());
        for part in &self.program.parts {
            packed =
                Box::new(std::io::Read::chain(packed, fs::File::open(self.directory.join(&part.sha256))?));
        }
        let mut archive = tar::Archive::new(zstd::Decoder::new(packed)?);
        archive.set_preserve_permissions(true);
        Ok(archive.unpack(into)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ebbtide_api::Agent;
    use ebbtide_api::agents::NODE;
    use ebbtide_api::programs::is_version;
    use serde_json::Value;

    fn workshop() -> Workshop {
        Workshop { sources: env!("CARGO_MANIFEST_DIR").into(), cache: "/nonexistent".into() }
    }

    fn lock(name: &str) -> Value {
        let file = workshop().sources.join(name).join("package-lock.json");
        serde_json::from_slice(&fs::read(file).unwrap()).unwrap()
    }

    #[test]
    fn every_known_program_is_locked_by_version_and_hash_and_names_no_registry() {
        for name in known() {
            assert!(is_version(&workshop().version(name).unwrap()), "{name}");
            let lock = lock(name);
            for (path, package) in lock["packages"].as_object().unwrap() {
                assert_eq!(package["resolved"], Value::Null, "{name}: {path}");
                let is_locked = path.is_empty() || package["integrity"].is_string();
                assert!(is_locked, "{name}: {path} has no hash");
            }
        }
    }

    #[test]
    fn what_is_started_belongs_to_a_package_that_is_locked() {
        let starts = Agent::ALL.iter().filter_map(|agent| agent.bundle());
        let starts = starts.map(|bundle| (bundle.program, bundle.executable));
        for (name, executable) in starts.chain([(NODE.program, NODE.executable)]) {
            let lock = lock(name);
            let packages = lock["packages"].as_object().unwrap();
            let holds =
                packages.keys().any(|path| !path.is_empty() && executable.starts_with(&format!("{path}/")));
            assert!(holds, "{name}: {executable}");
        }
    }

    #[test]
    fn a_program_that_nobody_knows_is_not_made() {
        let refusal = workshop().make("left-pad", &|_| ()).unwrap_err();
        assert!(refusal.to_string().contains("there is no program left-pad"), "{refusal}");
    }
}
