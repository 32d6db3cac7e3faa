//! Third-party scripts for pages: the repository names them (`package.json`, with their checksums in `package-lock.json`)
//! and does not hold them (docs/decisions has why). A build script takes each from `node_modules` through here.

use serde_json::Value;
use std::path::{Path, PathBuf};

/// Why a file cannot be taken.
#[derive(Debug, thiserror::Error)]
pub enum NpmFileError {
    /// A file that has to be there is not, or cannot be read.
    #[error("{path} cannot be read: {source}; run scripts/setup, or npm ci for the packages alone")]
    Read {
        /// Which one.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A file of npm's is no JSON.
    #[error("{path} is not JSON: {source}")]
    Json {
        /// Which one.
        path: PathBuf,
        /// What the reader said.
        source: serde_json::Error,
    },
    /// The lock file knows no such package.
    #[error("package-lock.json pins no {0}")]
    NotPinned(String),
    /// `node_modules` holds another version than is pinned.
    #[error(
        "node_modules/{package} is {found} instead of {wanted}: run scripts/setup, or npm ci for the packages alone"
    )]
    OtherVersion {
        /// The package.
        package: String,
        /// The version in the lock file.
        wanted: String,
        /// The one that is there.
        found: String,
    },
}

/// A file of a package.
#[derive(Debug)]
pub struct NpmFile {
    /// Its text, without the line that names a source map, which is not taken.
    pub text: String,
    /// The package's version, as pinned.
    pub version: String,
}

/// Takes a file of a package for a build script, and tells cargo what it depends on. `root` is the directory that
/// `package-lock.json` is in.
///
/// # Errors
/// [`NpmFileError`] says what to run.
pub fn take(root: &Path, package: &str, file: &str) -> Result<NpmFile, NpmFileError> {
    let directory = root.join("node_modules").join(package);
    let (lock, manifest, file) =
        (root.join("package-lock.json"), directory.join("package.json"), directory.join(file));
    for path in [&lock, &manifest, &file] {
        println!("cargo::rerun-if-changed={}", path.display());
    }
    let wanted = json(&lock)?["packages"][format!("node_modules/{package}")]["version"]
        .as_str()
        .ok_or_else(|| NpmFileError::NotPinned(package.to_owned()))?
        .to_owned();
    let found = json(&manifest)?["version"].as_str().unwrap_or("of no version").to_owned();
    if found != wanted {
        return Err(NpmFileError::OtherVersion { package: package.to_owned(), wanted, found });
    }
    let text = read(&file)?;
    let kept: Vec<&str> = text.lines().filter(|line| !line.starts_with("//# sourceMappingURL=")).collect();
    Ok(NpmFile { text: kept.join("\n") + "\n", version: wanted })
}

fn json(path: &Path) -> Result<Value, NpmFileError> {
    serde_json::from_str(&read(path)?).map_err(|source| NpmFileError::Json { path: path.to_owned(), source })
}

fn read(path: &Path) -> Result<String, NpmFileError> {
    std::fs::read_to_string(path).map_err(|source| NpmFileError::Read { path: path.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_taken_at_the_pinned_version_and_at_no_other() {
        let root = tempfile::tempdir().unwrap();
        let package = root.path().join("node_modules/@a/b");
        std::fs::create_dir_all(package.join("lib")).unwrap();
        let write = |path: &Path, text: &str| std::fs::write(path, text).unwrap();
        let taken = || take(root.path(), "@a/b", "lib/b.js").map(|file| (file.text, file.version));
        let refused = || taken().unwrap_err().to_string();

        assert!(refused().contains("package-lock.json cannot be read"), "{}", refused());
        write(&root.path().join("package-lock.json"), "{}");
        assert_eq!(refused(), "package-lock.json pins no @a/b");
        write(
            &root.path().join("package-lock.json"),
            r#"{"packages":{"node_modules/@a/b":{"version":"1.2.3"}}}"#,
        );
        assert!(refused().contains("run scripts/setup"), "{}", refused());
        write(&package.join("package.json"), r#"{"version":"1.2.2"}"#);
        assert!(refused().starts_with("node_modules/@a/b is 1.2.2 instead of 1.2.3"), "{}", refused());
        write(&package.join("package.json"), r#"{"version":"1.2.3"}"#);
        write(&package.join("lib/b.js"), "let b;\n//# sourceMappingURL=b.js.map");
        assert_eq!(taken().unwrap(), ("let b;\n".to_owned(), "1.2.3".to_owned()));
    }
}
