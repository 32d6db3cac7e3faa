//! What a repository is made of, in words for a coding agent: its parts, and the commands that its own manifests name.
//!
//! Reads manifests and runs nothing; nothing here was tried. It runs as the workspace's user (`ebb describe`), since what it
//! reads was written by strangers, and follows no link.

mod java;
mod node;
mod others;
mod python;
mod rust;
mod tasks;
pub mod tell;

use std::fmt::Write as _;
use std::io::Read as _;
use std::path::{Path, PathBuf};

/// Largest manifest that is read, in bytes; a larger one counts as absent.
const MANIFEST_BYTES: u64 = 512 << 10;
/// How deep parts are looked for: `services/payments/api`.
const DEPTH: usize = 4;
/// How many files and directories are looked at.
const ENTRIES: usize = 50_000;
/// How many parts are told.
const PARTS: usize = 24;
/// Longest path that is told, in bytes.
const LONGEST_PATH: usize = 120;
/// What a repository that already says all this has.
const TOLD_BY: [&str; 4] = ["CLAUDE.md", "AGENTS.md", ".claude/CLAUDE.md", "AGENT.md"];
/// What is no part of the work: others' code, what is made, what tests read, what shows how to use it.
const NOT_OWN: [&str; 16] = [
    "node_modules",
    "vendor",
    "vendors",
    "third_party",
    "target",
    "fixtures",
    "testdata",
    "example",
    "examples",
    "samples",
    "templates",
    "dist",
    "build",
    "out",
    "venv",
    "__pycache__",
];

/// What a command is for, in the order in which they are told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Purpose {
    Install,
    Run,
    Build,
    Test,
    Lint,
}

impl Purpose {
    fn word(self) -> &'static str {
        match self {
            Self::Install => "install",
            Self::Run => "run",
            Self::Build => "build",
            Self::Test => "test",
            Self::Lint => "check",
        }
    }
}

/// A directory with a manifest.
#[derive(Debug, Default, PartialEq, Eq)]
struct Part {
    /// Below the repository; empty for its root.
    directory: String,
    /// What it is: `Rust workspace`, `Node.js >= 20 with pnpm`.
    kind: String,
    commands: Vec<(Purpose, String)>,
    /// Programs that the commands begin with.
    programs: Vec<String>,
}

impl Part {
    fn command(&mut self, purpose: Purpose, text: impl Into<String>) {
        let text = text.into();
        if let Some(program) = text.split(' ').next().filter(|program| !program.contains('/')) {
            self.programs.push(program.to_owned());
        }
        self.commands.push((purpose, text));
    }
}

/// A repository as it is looked at.
struct Tree {
    root: PathBuf,
    /// Files and directories by their path below the root; directories end with `/`.
    entries: Vec<String>,
}

impl Tree {
    fn look_at(root: &Path) -> Self {
        let walk = ignore::WalkBuilder::new(root)
            .max_depth(Some(DEPTH + 1))
            // A list of what to leave out would be read whole, and through a link.
            .standard_filters(false)
            .hidden(true)
            .filter_entry(|entry| !NOT_OWN.iter().any(|name| entry.file_name() == *name))
            .sort_by_file_name(std::ffi::OsStr::cmp)
            .build();
        let mut entries = Vec::new();
        for entry in walk.filter_map(Result::ok).skip(1).take(ENTRIES) {
            let Some(path) = entry.path().strip_prefix(root).ok().and_then(Path::to_str) else { continue };
            if !is_plain(path) {
                continue;
            }
            match entry.file_type() {
                Some(kind) if kind.is_dir() => entries.push(format!("{path}/")),
                Some(kind) if kind.is_file() => entries.push(path.to_owned()),
                Some(_) | None => {}
            }
        }
        // Hidden things are not walked; these few are asked for by name.
        for name in [".nvmrc", ".node-version", ".python-version", ".github/workflows/", ".gitlab-ci.yml"] {
            if root.join(name).symlink_metadata().is_ok_and(|found| !found.is_symlink()) {
                entries.push(name.to_owned());
            }
        }
        Self { root: root.to_owned(), entries }
    }

    /// Directories that hold a file of one of these names, those nearer to the root first.
    fn directories_with(&self, names: &[&str]) -> Vec<String> {
        let holding = self.entries.iter().filter_map(|path| {
            let (directory, name) = path.rsplit_once('/').unwrap_or(("", path));
            names.contains(&name).then(|| directory.to_owned())
        });
        let mut found: Vec<String> = holding.collect();
        found.sort_by_key(|directory| {
            (directory.matches('/').count(), !directory.is_empty(), directory.clone())
        });
        found.dedup();
        found
    }

    fn has(&self, directory: &str, name: &str) -> bool {
        let path = join(directory, name);
        self.entries.contains(&path)
    }

    /// The first of these that is there.
    fn first<'a>(&self, directory: &str, names: &[&'a str]) -> Option<&'a str> {
        names.iter().copied().find(|name| self.has(directory, name))
    }

    fn has_ending(&self, directory: &str, ending: &str) -> bool {
        let prefix = if directory.is_empty() { String::new() } else { format!("{directory}/") };
        self.entries.iter().any(|path| {
            path.strip_prefix(&prefix).is_some_and(|rest| !rest.contains('/') && rest.ends_with(ending))
        })
    }

    /// A file's text, where it is one of reasonable size.
    fn read(&self, directory: &str, name: &str) -> Option<String> {
        if !self.has(directory, name) {
            return None;
        }
        let file = std::fs::File::open(self.root.join(join(directory, name))).ok()?;
        let mut text = String::new();
        let read = file.take(MANIFEST_BYTES + 1).read_to_string(&mut text).ok()?;
        (read as u64 <= MANIFEST_BYTES).then_some(text)
    }
}

/// A version behind what has it, in the characters that versions are made of.
fn version(text: Option<&str>) -> String {
    let usual = |c: &char| c.is_ascii_alphanumeric() || " .<>=^~!*,|-+/".contains(*c);
    match text.map(str::trim).filter(|text| !text.is_empty()) {
        Some(text) => format!(" {}", text.chars().filter(usual).take(24).collect::<String>()),
        None => String::new(),
    }
}

/// Whether a path may stand in what agents are told: nothing in it can end the line or the code that it is in.
fn is_plain(path: &str) -> bool {
    path.len() <= LONGEST_PATH && path.chars().all(|c| c.is_alphanumeric() || " ._-+@/()[]".contains(c))
}

fn join(directory: &str, name: &str) -> String {
    if directory.is_empty() { name.to_owned() } else { format!("{directory}/{name}") }
}

/// Whether one is the other or below it.
fn is_within(directory: &str, above: &str) -> bool {
    above.is_empty()
        || directory.strip_prefix(above).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// Describes a repository as Markdown; `None` where it tells agents about itself, or nothing is known of it.
pub fn describe(root: &Path, is_installed: &dyn Fn(&str) -> bool) -> Option<String> {
    if TOLD_BY.iter().any(|name| root.join(name).exists()) {
        return None;
    }
    let tree = Tree::look_at(root);
    let mut parts = parts_of(&tree);
    let besides = tasks::besides(&tree);
    if parts.is_empty() && besides.is_empty() {
        return None;
    }
    parts.sort_by_key(|part| (part.directory.matches('/').count(), !part.directory.is_empty()));
    let name = root.file_name().unwrap_or_default().to_string_lossy();
    let place = root.display().to_string();
    let mut text = match is_plain(&place) {
        true => format!("## {name}, in {place}\n\n"),
        false => "## The repository\n\n".to_owned(),
    };
    let beyond = parts.len().saturating_sub(PARTS);
    parts.truncate(PARTS);
    for part in &parts {
        text += &line(part);
    }
    if beyond > 0 {
        let _ = writeln!(text, "- {beyond} more parts are not listed");
    }
    for besides in besides {
        let _ = writeln!(text, "- {besides}");
    }
    let mut missing: Vec<&str> = parts
        .iter()
        .flat_map(|part| &part.programs)
        .map(String::as_str)
        .filter(|name| !is_installed(name))
        .collect();
    missing.sort_unstable();
    missing.dedup();
    if !missing.is_empty() {
        let names: Vec<String> = missing.iter().map(|name| format!("`{name}`")).collect();
        let _ = writeln!(text, "- Not installed on this machine: {}", names.join(", "));
    }
    Some(text)
}

fn parts_of(tree: &Tree) -> Vec<Part> {
    let readers = [node::parts, rust::parts, python::parts, java::parts, others::parts];
    readers.iter().flat_map(|read| read(tree)).collect()
}

/// One part: where, what, and the commands by what they are for.
fn line(part: &Part) -> String {
    let place = if part.directory.is_empty() { String::new() } else { format!("`{}`: ", part.directory) };
    let mut commands: Vec<&(Purpose, String)> = part.commands.iter().collect();
    commands.sort_by_key(|(purpose, _)| *purpose);
    let told: Vec<String> =
        commands.iter().map(|(purpose, command)| format!("{} `{command}`", purpose.word())).collect();
    let told = if told.is_empty() { String::new() } else { format!(": {}", told.join(", ")) };
    format!("- {place}{}{told}\n", part.kind)
}

#[cfg(test)]
mod tests;
