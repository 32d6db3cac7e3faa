//! Looks at what the verdict does not rest on, only while a trace is recorded: files that changed, connections from
//! outside, command lines that name an agent. With these a trace can be judged in other ways than ours.

use super::TraceContext;
use crate::os::clock::Moment;
use crate::os::processes::Process;
use crate::ports::diag::Diag;
use ebbtide_api::Agent;
use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

/// Where repositories are cloned to.
const WORKSPACES: &str = "/workspaces";
/// Most files that one look goes through.
const FILES: usize = 5000;
/// How deep they may lie.
const DEPTH: usize = 8;

/// Looks.
pub fn look(processes: &[Process], home: Option<&Path>, now: Moment) -> TraceContext {
    TraceContext {
        newest_file_secs: newest(&places(home)).and_then(|changed| in_boot_time(changed, now)),
        inbound: inbound().unwrap_or_default(),
        mention_agents: mention_agents(processes),
    }
}

/// Where people's files are: in the workspaces, and at home but for what programs keep for themselves.
fn places(home: Option<&Path>) -> Vec<PathBuf> {
    let entries = home.and_then(|home| std::fs::read_dir(home).ok()).into_iter().flatten().flatten();
    let is_hidden = |entry: &std::fs::DirEntry| entry.file_name().as_encoded_bytes().starts_with(b".");
    let shown = entries.filter(|entry| !is_hidden(entry)).map(|entry| entry.path());
    shown.chain([PathBuf::from(WORKSPACES)]).collect()
}

fn mention_agents(processes: &[Process]) -> Vec<u32> {
    let names_one = |text: &String| Agent::ALL.iter().any(|agent| text.contains(agent.as_str()));
    let found = processes.iter().filter(|process| process.arguments.iter().any(names_one));
    found.map(|process| process.pid).collect()
}

fn inbound() -> Option<BTreeMap<u16, u32>> {
    let mut diag = Diag::open().ok()?;
    let served: BTreeSet<u16> = diag.listeners().ok()?.into_iter().map(|listener| listener.port).collect();
    let mut counts = BTreeMap::new();
    for connection in diag.connections().ok()? {
        if served.contains(&connection.local_port) {
            *counts.entry(connection.local_port).or_default() += 1;
        }
    }
    Some(counts)
}

/// The last change of any file, in seconds of the wall clock.
fn newest(places: &[PathBuf]) -> Option<i64> {
    let mut left = FILES;
    places.iter().filter_map(|place| newest_below(place, DEPTH, &mut left)).max()
}

fn newest_below(path: &Path, depth: usize, left: &mut usize) -> Option<i64> {
    let metadata = std::fs::symlink_metadata(path).ok()?;
    if metadata.is_file() {
        return Some(metadata.mtime());
    }
    if !metadata.is_dir() || depth == 0 {
        return None;
    }
    let mut newest = None;
    for entry in std::fs::read_dir(path).ok()?.filter_map(Result::ok) {
        let Some(rest) = left.checked_sub(1) else { break };
        *left = rest;
        newest = newest.max(newest_below(&entry.path(), depth - 1, left));
    }
    newest
}

fn in_boot_time(changed: i64, now: Moment) -> Option<u64> {
    let wall = SystemTime::now().duration_since(UNIX_EPOCH).ok()?.as_secs();
    let ago = wall.saturating_sub(u64::try_from(changed).ok()?);
    Some((now.0 / 1000).saturating_sub(ago))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_of_all_files_counts() {
        let directory = tempfile::tempdir().unwrap();
        let below = directory.path().join("a/b");
        std::fs::create_dir_all(&below).unwrap();
        assert_eq!(newest(&[directory.path().to_owned()]), None, "directories do not count");
        std::fs::write(directory.path().join("old"), "").unwrap();
        let file = std::fs::File::create(below.join("new")).unwrap();
        file.set_modified(UNIX_EPOCH + std::time::Duration::from_secs(4_000_000_000)).unwrap();
        let places = [directory.path().to_owned(), "/nonexistent".into()];
        assert_eq!(newest(&places), Some(4_000_000_000));
    }
}
