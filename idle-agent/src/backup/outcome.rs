//! What a finished backup says, written by the process that took it and read by the daemon, which is the same program: one
//! type. The receipt for the control plane is made of it, and remarks for people.
//!
//! It names up to a thousand paths of a kind; the receipt fewer, for it is delivered and stored.

use super::size;
use super::warnings::{OwnExcluded, Reasoned};
use ebbtide_api::vm::{Excluded, Pack, Receipt, Unreadable};
use serde::{Deserialize, Serialize};

/// Most paths that a receipt names as left out; the rest is counted in a last entry.
const SKIPPED_NAMED: usize = 200;
/// Most bytes that one list of paths takes in a receipt, as JSON: it must never grow too large to be delivered.
const NAMED_BYTES: usize = 64 << 10;
/// Most indexes that a receipt names, 270 kB; with more it names none, and all that this machine wrote count.
const INDEXES_NAMED: usize = 4_000;
/// Paths that a remark and a receipt's account of the owner's rules name.
const NAMED: usize = 5;

/// What a finished backup says.
#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outcome {
    /// Its id, 64 hex digits.
    pub snapshot: String,
    /// Id of its tree.
    pub tree: String,
    /// False when nothing had changed: `snapshot` is then the parent.
    pub changed: bool,
    /// True when something could not be read: such a receipt proves less.
    pub partial: bool,
    /// Packs that hold it and are not known already.
    pub packs_new: Vec<Pack>,
    /// Indexes that name a pack which it needs.
    pub indexes: Vec<String>,
    /// Packs that it needs in all.
    pub packs_total: u64,
    /// Logical bytes of its files.
    pub bytes_total: u64,
    /// Files; one of several names counts once for each.
    pub files: u64,
    /// Directories.
    pub dirs: u64,
    /// Paths left out on purpose, by our rules or for what they are.
    pub skipped: Vec<Reasoned>,
    /// More of them.
    pub skipped_more: u64,
    /// What the owner's own rules left out.
    pub excluded: OwnExcluded,
    /// Paths that could not be read.
    pub unreadable: Vec<Reasoned>,
    /// More of them.
    pub unreadable_more: u64,
    /// Paths that were gone when they were to be read.
    pub vanished: Vec<String>,
    /// More of them.
    pub vanished_more: u64,
    /// Files that were written to meanwhile, and are held as they were at one moment.
    pub unsteady: Vec<String>,
    /// More of them.
    pub unsteady_more: u64,
    /// What the library said.
    pub warnings: Vec<String>,
    /// Bytes sent for it.
    pub bytes_sent: u64,
    /// How long it took.
    pub duration_ms: u64,
}

impl Outcome {
    /// What people should hear about it although it is none of its failures, in sentences.
    pub fn remarks(&self) -> Vec<String> {
        let excluded = &self.excluded;
        let mut remarks = Vec::new();
        if excluded.paths > 0 {
            let at_least = if excluded.at_least { "at least " } else { "" };
            remarks.push(format!(
                "your .ebbignore rules leave out {at_least}{} files, {}: {}",
                excluded.files,
                size(excluded.bytes),
                first(excluded.first.iter().map(|path| path.path.as_str()), excluded.paths)
            ));
        }
        remarks.extend(excluded.notices.iter().cloned());
        if !self.unsteady.is_empty() {
            let paths = self.unsteady.iter().map(String::as_str);
            remarks.push(format!(
                "written to while the backup ran, and held as they were at one moment: {}",
                first(paths, (self.unsteady.len() as u64).saturating_add(self.unsteady_more))
            ));
        }
        remarks.extend(self.warnings.iter().cloned());
        remarks
    }

    /// The receipt that the control plane checks.
    pub fn into_receipt(self) -> Receipt {
        let named = named(&self.skipped).min(SKIPPED_NAMED);
        let more = self.skipped_more.saturating_add((self.skipped.len() - named) as u64);
        let mut skipped: Vec<String> = self.skipped.into_iter().take(named).map(|path| path.path).collect();
        if more > 0 {
            skipped.push(format!("and {more} more"));
        }
        // At least one: without any, the receipt would claim to be whole.
        let named = self::named(&self.unreadable).max(1).min(self.unreadable.len());
        let unreadable_more = self.unreadable_more.saturating_add((self.unreadable.len() - named) as u64);
        let unreadable = self.unreadable.into_iter().take(named);
        Receipt {
            snapshot: self.snapshot,
            tree: self.tree,
            packs_new: self.packs_new,
            packs_to_come: 0,
            indexes: (self.indexes.len() <= INDEXES_NAMED).then_some(self.indexes),
            packs_total: self.packs_total,
            files: self.files,
            bytes_total: self.bytes_total,
            bytes_sent: self.bytes_sent,
            skipped,
            unreadable: unreadable.map(|path| Unreadable { path: path.path, reason: path.reason }).collect(),
            unreadable_more,
            excluded: (self.excluded.paths > 0).then(|| Excluded {
                files: self.excluded.files,
                bytes: self.excluded.bytes,
                at_least: self.excluded.at_least,
                first: self.excluded.first.iter().take(NAMED).map(with_reason).collect(),
            }),
        }
    }
}

/// The first few of some paths.
fn first<'a>(paths: impl Iterator<Item = &'a str>, all: u64) -> String {
    let named: Vec<&str> = paths.take(NAMED).collect();
    let more = all.saturating_sub(named.len() as u64);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    format!("{}{more}", named.join(", "))
}

fn with_reason(path: &Reasoned) -> String {
    if path.reason.is_empty() { path.path.clone() } else { format!("{} by {}", path.path, path.reason) }
}

/// How many of these paths, with their reasons, there is room to name.
fn named(paths: &[Reasoned]) -> usize {
    let mut left = NAMED_BYTES;
    let fits = |path: &&Reasoned| {
        // A character may take six bytes as JSON.
        let size =
            serde_json::to_string(&(&path.path, &path.reason)).map_or(NAMED_BYTES, |json| json.len() + 24);
        let fits = size <= left;
        left = left.saturating_sub(size);
        fits
    };
    paths.iter().take_while(fits).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paths(count: usize, path: impl Fn(usize) -> String) -> Vec<Reasoned> {
        (0..count).map(|n| Reasoned { path: path(n), reason: "EIO".into() }).collect()
    }

    #[test]
    fn the_result_becomes_a_receipt_that_names_what_is_missing() {
        let packs_new = vec![Pack { name: "p".into(), size: 9 }];
        let outcome = Outcome {
            packs_new: packs_new.clone(),
            skipped: paths(300, |n| format!("/s{n}")),
            skipped_more: 5,
            unreadable: paths(1, |_| "/w/x".into()),
            ..Outcome::default()
        };
        let receipt = outcome.into_receipt();
        assert!(receipt.is_partial());
        assert_eq!(receipt.packs_new, packs_new);
        assert_eq!(receipt.indexes, Some(Vec::new()));
        assert_eq!(receipt.skipped.last().unwrap(), "and 105 more");
        assert_eq!(receipt.excluded, None);
    }

    #[test]
    fn however_much_is_wrong_the_receipt_stays_small_and_counts_the_rest() {
        let paths = paths(1000, |n| format!("/w/{n}{}", "\u{1}".repeat(4000)));
        let first = vec![Reasoned { path: "/w/a".into(), reason: "`a` in /w/.ebbignore".into() }];
        let outcome = Outcome {
            indexes: vec!["a".repeat(64); INDEXES_NAMED + 1],
            skipped: paths.clone(),
            unreadable: paths,
            unreadable_more: 7,
            excluded: OwnExcluded { paths: 1, files: 1, bytes: 5, first, ..OwnExcluded::default() },
            ..Outcome::default()
        };
        let receipt = outcome.into_receipt();
        assert!(receipt.is_partial());
        assert_eq!(receipt.unreadable.len() as u64 + receipt.unreadable_more, 1007);
        assert!(serde_json::to_vec(&receipt).unwrap().len() < 200_000);
        assert_eq!(receipt.indexes, None);
        assert_eq!(receipt.excluded.unwrap().first, ["/w/a by `a` in /w/.ebbignore"]);
    }

    #[test]
    fn what_was_left_out_and_what_moved_is_remarked_in_words() {
        let notice = "`app/` in /workspaces/.ebbignore leaves out the whole of /workspaces/app";
        let excluded = OwnExcluded {
            paths: 7,
            files: 900,
            bytes: 3_400_000,
            at_least: true,
            first: paths(6, |n| format!("/w/{n}")),
            notices: vec![notice.into()],
        };
        let outcome = Outcome {
            excluded,
            unsteady: vec!["/w/log".into()],
            warnings: vec!["an attribute cannot be read".into()],
            ..Outcome::default()
        };
        insta::assert_snapshot!(outcome.remarks().join("\n"), @r"
        your .ebbignore rules leave out at least 900 files, 3.4 MB: /w/0, /w/1, /w/2, /w/3, /w/4 and 2 more
        `app/` in /workspaces/.ebbignore leaves out the whole of /workspaces/app
        written to while the backup ran, and held as they were at one moment: /w/log
        an attribute cannot be read
        ");
        assert_eq!(Outcome::default().remarks(), [""; 0]);
    }
}
