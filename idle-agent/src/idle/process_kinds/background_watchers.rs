//! Which commands of an agent do nothing but watch files, or watch and serve: what it left behind like that goes on for ever
//! and is nobody's work. Pure.
//!
//! Whoever watches need not be idle: `tail -f` ends when somebody stops reading, a test run may hold watches, a script
//! may wait for one file. So a watcher is only what also says, by its arguments or its name, that it goes on for ever; and a
//! whole command only where everything below it is a watcher or a server, or does nothing but start and pass on.

use super::programs::{agent_of, is_shell, is_starter, says_it_watches};
use crate::os::processes::Process;
use std::collections::{BTreeMap, BTreeSet};

/// What passes on what others say and ends with them.
const PASSERS: [&str; 1] = ["tee"];
/// What a watcher or a server has compile for it, for as long as it lives.
const COMPILERS: [&str; 1] = ["esbuild"];
/// Longer chains than this are loops in a table that changed while it was read.
const DEPTH: usize = 64;

/// The processes that belong to such a command.
pub fn watching(processes: &[Process], servers: &BTreeSet<u32>, watchers: &BTreeSet<u32>) -> BTreeSet<u32> {
    let mut all = BTreeSet::new();
    if watchers.is_empty() {
        return all;
    }
    let mut below: BTreeMap<u32, Vec<&Process>> = BTreeMap::new();
    for process in processes {
        below.entry(process.parent).or_default().push(process);
    }
    let table = Table { below, servers, watchers };
    for process in processes {
        let mut members = BTreeSet::new();
        if table.stays(process, Above::Other, DEPTH, &mut members) == Some(Stays::InotifyWatchers) {
            all.append(&mut members);
        }
    }
    all
}

struct Table<'a> {
    below: BTreeMap<u32, Vec<&'a Process>>,
    servers: &'a BTreeSet<u32>,
    watchers: &'a BTreeSet<u32>,
}

/// What a command that goes on for ever does, the more telling last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Stays {
    Serving,
    InotifyWatchers,
}

/// Below what a process is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Above {
    WatcherOrServer,
    Other,
}

impl Table<'_> {
    /// Whether a process goes on for ever with all below it, and what all that is; `None` where anything may be work.
    fn stays(
        &self,
        process: &Process,
        above: Above,
        depth: usize,
        members: &mut BTreeSet<u32>,
    ) -> Option<Stays> {
        if agent_of(process).is_some() {
            return None;
        }
        members.insert(process.pid);
        // What is below a server belongs to it, here as elsewhere.
        if self.servers.contains(&process.pid) {
            return Some(Stays::Serving);
        }
        let is_watcher = self.watchers.contains(&process.pid) && says_it_watches(process);
        let comm = process.comm.as_str();
        let own = match self.below.get(&process.pid) {
            _ if is_watcher => Stays::InotifyWatchers,
            Some(_) if is_shell(process) || is_starter(process) => Stays::Serving,
            None if PASSERS.contains(&comm) => Stays::Serving,
            None if COMPILERS.contains(&comm) && above == Above::WatcherOrServer => Stays::Serving,
            _ => return None,
        };
        let depth = depth.checked_sub(1)?;
        let above = if is_watcher { Above::WatcherOrServer } else { Above::Other };
        let mut below = self.below.get(&process.pid).into_iter().flatten();
        below.try_fold(own, |stays, child| Some(stays.max(self.stays(child, above, depth, members)?)))
    }
}
