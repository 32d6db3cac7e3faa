//! Holds the pages to their rules, and writes the reference from the code.
//!
//! `page` reads Markdown, `prose` and `limits` say what a page may be, `names` says which paths, scripts and routes exist,
//! and `reference` writes `docs/reference/`. `tests/docs.rs` asks all of them about every page. Nothing here judges what
//! a page says: that is for a reader.

pub mod limits;
pub mod names;
pub mod page;
pub mod prose;
pub mod reference;
mod source;

use anyhow::{Context as _, Result};
use std::path::{Path, PathBuf};

/// The repository's root.
pub fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here).to_owned()
}

/// Directories that hold no page of ours.
const NOT_OURS: &[&str] = &["node_modules", "target", ".git"];

/// Reads every Markdown page of the repository, by its path from the root.
///
/// # Errors
/// A page cannot be read.
pub fn pages() -> Result<Vec<page::Page>> {
    let root = root();
    let mut found = Vec::new();
    let mut directories = vec![root.clone()];
    while let Some(directory) = directories.pop() {
        let entries = std::fs::read_dir(&directory).with_context(|| directory.display().to_string())?;
        for entry in entries {
            let entry = entry?;
            let (path, kind) = (entry.path(), entry.file_type()?);
            let is_ours = !NOT_OURS.contains(&entry.file_name().to_string_lossy().as_ref());
            if kind.is_dir() && is_ours {
                directories.push(path);
            } else if kind.is_file() && path.extension().is_some_and(|extension| extension == "md") {
                found.push(path);
            }
        }
    }
    found.sort();
    found.iter().filter(|path| is_for_readers(path)).map(|path| page::Page::read(&root, path)).collect()
}

/// Whether people read it here: what is put on machines word by word is not.
fn is_for_readers(path: &Path) -> bool {
    !path.to_string_lossy().contains("/src/")
}
