//! What a run has to say about paths that are not in its snapshot as they stood: the material of an honest receipt.
//!
//! Filled by the readers while they work, from several threads. Must never lose a path in silence: lists are bounded, what
//! is beyond the bound is counted.

use std::collections::{BTreeMap, BTreeSet};
use std::io::ErrorKind as IoErrorKind;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use serde::Serialize;

use super::events::Events;
use super::failure::show_path;
use super::rest::lock;

/// Paths listed by name in a result; more are only counted.
const LISTED: usize = 1000;
/// Paths that the owner's rules left out, listed by name.
const OWN_LISTED: usize = 20;
/// Notices kept.
const NOTICES: usize = 50;

/// A path and why it is where it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Reasoned {
    pub path: String,
    pub reason: String,
}

/// What the owner's own rules left out.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize)]
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
}

/// What happened to the paths that are not in the snapshot as they stood.
#[derive(Debug, Default)]
pub struct Findings {
    unreadable: Mutex<BTreeMap<String, String>>,
    vanished: Mutex<BTreeSet<String>>,
    unsteady: Mutex<BTreeSet<String>>,
    torn: Mutex<BTreeMap<String, String>>,
    skipped: Mutex<(Vec<Reasoned>, u64)>,
    own: Mutex<OwnExcluded>,
    /// Entries that are no directories, handed to the library.
    handed: AtomicU64,
    /// Of these, the ones that could then not be read.
    lost: AtomicU64,
}

impl Findings {
    pub fn unreadable(&self) -> Vec<Reasoned> {
        lock(&self.unreadable)
            .iter()
            .map(|(path, reason)| Reasoned { path: path.clone(), reason: reason.clone() })
            .collect()
    }

    pub fn vanished(&self) -> Vec<String> {
        lock(&self.vanished).iter().cloned().collect()
    }

    /// Files that changed between the listing and the end of their reading: the snapshot holds them as they were at one
    /// moment in between, or up to the length that they had then.
    pub fn unsteady(&self) -> Vec<String> {
        lock(&self.unsteady).iter().cloned().collect()
    }

    /// Whether there is a file of which the snapshot may hold a mixture of two states.
    pub fn is_torn(&self) -> bool {
        !lock(&self.torn).is_empty()
    }

    /// Owns up to the torn files: from now on they count as unreadable, by name.
    pub fn admit_torn(&self, events: &Events) {
        for (path, reason) in std::mem::take(&mut *lock(&self.torn)) {
            events.error(Some(&path), &reason);
            lock(&self.unreadable).insert(path, reason);
        }
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
        lock(&self.unsteady).insert(show_path(path));
    }

    pub(super) fn torn_file(&self, path: &Path, reason: &str) {
        lock(&self.torn).insert(show_path(path), reason.to_owned());
    }

    pub(super) fn fail(&self, events: &Events, path: &Path, kind: IoErrorKind, reason: &str) {
        let shown = show_path(path);
        if kind == IoErrorKind::NotFound {
            lock(&self.vanished).insert(shown);
        } else {
            events.error(Some(&shown), reason);
            lock(&self.unreadable).insert(shown, reason.to_owned());
        }
    }
}
