//! What a run has to say about paths that are not in its snapshot as they stood: the material of an honest receipt.
//!
//! Filled by the readers while they work, from several threads. Must never lose a path in silence: lists are bounded, what
//! is beyond the bound is counted.

use std::collections::BTreeMap;
use std::io::ErrorKind as IoErrorKind;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use serde::{Deserialize, Serialize};

use super::events::Events;
use super::failure::show_path;
use crate::os::mutex::lock;

/// Paths listed by name in a result; more are only counted.
const LISTED: usize = 1000;
/// Paths that the owner's rules left out, listed by name.
const OWN_LISTED: usize = 20;
/// Notices kept.
const NOTICES: usize = 50;

/// A path and why it is where it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reasoned {
    pub path: String,
    pub reason: String,
}

/// What the owner's own rules left out.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OwnExcluded {
    /// Paths that a rule matched; a directory counts once.
    pub paths: u64,
    /// Files in them.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Set where not everything was counted.
    pub at_least: bool,
    /// The first of the paths, each with its rule.
    pub first: Vec<Reasoned>,
    /// Rules that could not be used, and rules that leave out what people tend to miss.
    pub notices: Vec<String>,
}

/// Files and bytes below a path.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Weight {
    pub files: u64,
    pub bytes: u64,
    /// Set where counting stopped early.
    pub at_least: bool,
    /// Whether the history of a repository was seen below.
    pub history: bool,
}

/// Paths with what is to be said of each; those beyond the bound are counted.
#[derive(Debug, Default)]
struct Paths {
    listed: BTreeMap<String, String>,
    more: u64,
}

impl Paths {
    /// Whether it is listed, now or before.
    fn add(&mut self, path: String, reason: String) -> bool {
        if self.listed.len() < LISTED || self.listed.contains_key(&path) {
            self.listed.insert(path, reason);
            return true;
        }
        self.more = self.more.saturating_add(1);
        false
    }
}

/// What happened to the paths that are not in the snapshot as they stood.
#[derive(Debug, Default)]
pub struct PathWarnings {
    unreadable: Mutex<Paths>,
    vanished: Mutex<Paths>,
    unsteady: Mutex<Paths>,
    torn: Mutex<Paths>,
    skipped: Mutex<(Vec<Reasoned>, u64)>,
    own: Mutex<OwnExcluded>,
    /// Entries that are no directories, handed to the library.
    handed: AtomicU64,
    /// Of these, the ones that could then not be read.
    lost: AtomicU64,
}

impl PathWarnings {
    pub fn unreadable(&self) -> Vec<Reasoned> {
        lock(&self.unreadable)
            .listed
            .iter()
            .map(|(path, reason)| Reasoned { path: path.clone(), reason: reason.clone() })
            .collect()
    }

    /// How many unreadable, vanished and unsteady paths there are beyond the listed ones.
    pub fn more(&self) -> (u64, u64, u64) {
        (lock(&self.unreadable).more, lock(&self.vanished).more, lock(&self.unsteady).more)
    }

    pub fn vanished(&self) -> Vec<String> {
        lock(&self.vanished).listed.keys().cloned().collect()
    }

    /// Files that changed between the listing and the end of their reading: the snapshot holds them as they were at one
    /// moment in between, or up to the length that they had then.
    pub fn unsteady(&self) -> Vec<String> {
        lock(&self.unsteady).listed.keys().cloned().collect()
    }

    /// Whether there is a file of which the snapshot may hold a mixture of two states.
    pub fn is_torn(&self) -> bool {
        !lock(&self.torn).listed.is_empty()
    }

    /// Owns up to the torn files: from now on they count as unreadable, by name.
    pub fn admit_torn(&self, events: &Events) {
        let torn = std::mem::take(&mut *lock(&self.torn));
        for (path, reason) in torn.listed {
            self.unreadable_file(events, path, reason);
        }
        let mut unreadable = lock(&self.unreadable);
        unreadable.more = unreadable.more.saturating_add(torn.more);
    }

    pub fn skipped(&self) -> (Vec<Reasoned>, u64) {
        lock(&self.skipped).clone()
    }

    pub fn own(&self) -> OwnExcluded {
        lock(&self.own).clone()
    }

    /// How many entries other than directories the snapshot must hold.
    pub fn expected(&self) -> u64 {
        self.handed.load(Ordering::SeqCst).saturating_sub(self.lost.load(Ordering::SeqCst))
    }

    pub(super) fn hand(&self) {
        self.handed.fetch_add(1, Ordering::SeqCst);
    }

    pub(super) fn lose(&self) {
        self.lost.fetch_add(1, Ordering::SeqCst);
    }

    pub(super) fn skip(&self, path: &Path, reason: &str) {
        let mut skipped = lock(&self.skipped);
        if skipped.0.len() < LISTED {
            skipped.0.push(Reasoned { path: show_path(path), reason: reason.to_owned() });
        } else {
            skipped.1 += 1;
        }
    }

    pub(super) fn exclude(&self, path: &Path, rule: &str, weight: Weight) {
        let mut own = lock(&self.own);
        own.paths += 1;
        own.files += weight.files;
        own.bytes += weight.bytes;
        own.at_least |= weight.at_least;
        if own.first.len() < OWN_LISTED {
            own.first.push(Reasoned { path: show_path(path), reason: rule.to_owned() });
        }
    }

    pub(super) fn notice(&self, text: String) {
        let mut own = lock(&self.own);
        if own.notices.len() < NOTICES {
            own.notices.push(text);
        }
    }

    pub(super) fn unsteady_file(&self, path: &Path) {
        lock(&self.unsteady).add(show_path(path), String::new());
    }

    pub(super) fn torn_file(&self, path: &Path, reason: &str) {
        lock(&self.torn).add(show_path(path), reason.to_owned());
    }

    pub(super) fn fail(&self, events: &Events, path: &Path, kind: IoErrorKind, reason: &str) {
        let shown = show_path(path);
        if kind == IoErrorKind::NotFound {
            lock(&self.vanished).add(shown, String::new());
        } else {
            self.unreadable_file(events, shown, reason.to_owned());
        }
    }

    fn unreadable_file(&self, events: &Events, path: String, reason: String) {
        if lock(&self.unreadable).add(path.clone(), reason.clone()) {
            events.error(Some(&path), &reason);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_bounded_and_what_is_beyond_is_counted() {
        let path_warnings = PathWarnings::default();
        for n in 0..LISTED + 3 {
            let path = format!("/w/{n}");
            path_warnings.unsteady_file(Path::new(&path));
            path_warnings.torn_file(Path::new(&path), "torn");
            path_warnings.fail(&Events::new(), Path::new(&path), IoErrorKind::NotFound, "gone");
        }
        path_warnings.unsteady_file(Path::new("/w/0"));
        path_warnings.admit_torn(&Events::new());
        assert_eq!(path_warnings.more(), (3, 3, 3));
        assert_eq!(path_warnings.unreadable().len(), LISTED);
        assert!(!path_warnings.is_torn());
    }
}
