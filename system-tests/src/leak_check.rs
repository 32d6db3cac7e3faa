//! What a stack left behind: processes, mounts, namespaces. The answer should always be "nothing".
//!
//! A stack's data directory is named nowhere else, so whatever still names it (arguments, environment, working
//! directory, mounts) is ours.

use crate::wait;
use std::path::Path;
use std::time::Duration;

/// Lists what still refers to a directory, one line each.
pub fn of(directory: &Path) -> Vec<String> {
    let needle = directory.to_string_lossy().into_owned();
    let own = std::process::id();
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let mut found: Vec<String> =
        pids.filter(|pid| *pid != own).filter_map(|pid| of_process(pid, &needle)).collect();
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    found.extend(mounts.lines().filter(|line| line.contains(&needle)).map(|line| format!("mount {line}")));
    found
}

fn of_process(pid: u32, needle: &str) -> Option<String> {
    let read = |file: &str| {
        let bytes = std::fs::read(format!("/proc/{pid}/{file}")).unwrap_or_default();
        String::from_utf8_lossy(&bytes).replace('\0', " ")
    };
    let links =
        ["cwd", "root"].map(|link| std::fs::read_link(format!("/proc/{pid}/{link}")).unwrap_or_default());
    let linked = links.iter().any(|link| link.to_string_lossy().contains(needle));
    let named = ["cmdline", "environ", "mountinfo"].iter().any(|file| read(file).contains(needle));
    (linked || named).then(|| format!("process {pid} {}", read("cmdline").trim()))
}

/// Waits a moment until nothing refers to a directory any more (the kernel ends a namespace's processes one by one).
///
/// # Errors
/// What is left.
pub fn none(directory: &Path) -> Result<(), String> {
    let limit = Duration::from_secs(10);
    let begun = std::time::Instant::now();
    loop {
        let left = of(directory);
        if left.is_empty() {
            return Ok(());
        }
        if begun.elapsed() > limit {
            return Err(left.join("\n"));
        }
        // Also when interrupted: this is the end of everything.
        let _ = wait::stays("the end", Duration::from_millis(50), || Ok(()));
    }
}
