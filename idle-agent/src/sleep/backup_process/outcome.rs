//! What a finished backup says: its receipt for the control plane, and remarks for people.

use super::BackupProcessError;
use ebbtide_api::vm::{Excluded, Pack, Receipt, Unreadable};
use serde::Deserialize;

/// Most paths that a receipt names as left out; the rest is counted in a last entry.
const SKIPPED_NAMED: usize = 200;
/// Most bytes that one list of paths takes in a receipt, as JSON: it must never grow too large to be delivered.
const NAMED_BYTES: usize = 64 << 10;
/// Paths that a remark and a receipt's account of the owner's rules name.
const NAMED: usize = 5;

/// What a finished backup says, as far as we use it.
#[derive(Debug, Deserialize)]
struct Outcome {
    snapshot: String,
    tree: String,
    packs_new: Vec<Pack>,
    packs_total: u64,
    files: u64,
    bytes_total: u64,
    bytes_sent: u64,
    #[serde(default)]
    skipped: Vec<Reasoned>,
    #[serde(default)]
    skipped_more: u64,
    #[serde(default)]
    unreadable: Vec<Reasoned>,
    #[serde(default)]
    unreadable_more: u64,
    #[serde(default)]
    excluded: OwnExcluded,
}

/// What the owner's rules left out.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct OwnExcluded {
    paths: u64,
    files: u64,
    bytes: u64,
    at_least: bool,
    first: Vec<Reasoned>,
    notices: Vec<String>,
}

/// What else a finished backup has to say.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Asides {
    excluded: OwnExcluded,
    unsteady: Vec<String>,
    unsteady_more: u64,
    warnings: Vec<String>,
}

/// What people should hear about a finished backup although it is none of its failures, in sentences.
pub fn remarks(result: &serde_json::Value) -> Vec<String> {
    let asides: Asides = serde_json::from_value(result.clone()).unwrap_or_default();
    let excluded = asides.excluded;
    let mut remarks = Vec::new();
    if excluded.paths > 0 {
        let at_least = if excluded.at_least { "at least " } else { "" };
        remarks.push(format!(
            "your .ebbignore rules leave out {at_least}{} files, {}: {}",
            excluded.files,
            crate::backup::size(excluded.bytes),
            first(excluded.first.iter().map(|path| path.path.as_str()), excluded.paths)
        ));
    }
    remarks.extend(excluded.notices);
    if !asides.unsteady.is_empty() {
        let paths = asides.unsteady.iter().map(String::as_str);
        remarks.push(format!(
            "written to while the backup ran, and held as they were at one moment: {}",
            first(paths, (asides.unsteady.len() as u64).saturating_add(asides.unsteady_more))
        ));
    }
    remarks.extend(asides.warnings);
    remarks
}

/// The first few of some paths.
fn first<'a>(paths: impl Iterator<Item = &'a str>, all: u64) -> String {
    let named: Vec<&str> = paths.take(NAMED).collect();
    let more = all.saturating_sub(named.len() as u64);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    format!("{}{more}", named.join(", "))
}

#[derive(Debug, Deserialize)]
struct Reasoned {
    path: String,
    #[serde(default)]
    reason: String,
}

impl Reasoned {
    fn with_reason(&self) -> String {
        if self.reason.is_empty() { self.path.clone() } else { format!("{} by {}", self.path, self.reason) }
    }
}

/// Turns the child's result into the receipt that the control plane checks.
///
/// # Errors
/// [`BackupProcessError::Vanished`] where it has another shape.
pub fn receipt(result: serde_json::Value) -> Result<Receipt, BackupProcessError> {
    let outcome: Outcome = serde_json::from_value(result)
        .map_err(|error| BackupProcessError::Vanished(format!("its result cannot be read: {error}")))?;
    let named = named(&outcome.skipped).min(SKIPPED_NAMED);
    let more = outcome.skipped_more.saturating_add((outcome.skipped.len() - named) as u64);
    let mut skipped: Vec<String> = outcome.skipped.into_iter().take(named).map(|path| path.path).collect();
    if more > 0 {
        skipped.push(format!("and {more} more"));
    }
    // At least one: without any, the receipt would claim to be whole.
    let named = self::named(&outcome.unreadable).max(1).min(outcome.unreadable.len());
    let unreadable_more = outcome.unreadable_more.saturating_add((outcome.unreadable.len() - named) as u64);
    Ok(Receipt {
        snapshot: outcome.snapshot,
        tree: outcome.tree,
        packs_new: outcome.packs_new,
        packs_to_come: 0,
        packs_total: outcome.packs_total,
        files: outcome.files,
        bytes_total: outcome.bytes_total,
        bytes_sent: outcome.bytes_sent,
        skipped,
        unreadable: outcome
            .unreadable
            .into_iter()
            .take(named)
            .map(|path| Unreadable { path: path.path, reason: path.reason })
            .collect(),
        unreadable_more,
        excluded: (outcome.excluded.paths > 0).then(|| Excluded {
            files: outcome.excluded.files,
            bytes: outcome.excluded.bytes,
            at_least: outcome.excluded.at_least,
            first: outcome.excluded.first.iter().take(NAMED).map(Reasoned::with_reason).collect(),
        }),
    })
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

    #[test]
    fn the_result_becomes_a_receipt_that_names_what_is_missing() {
        let skipped: Vec<_> =
            (0..300).map(|n| serde_json::json!({"path": format!("/s{n}"), "reason": "socket"})).collect();
        let result = serde_json::json!({
            "snapshot": "ab", "tree": "cd", "changed": true, "partial": true, "dirs": 1, "duration_ms": 5,
            "packs_new": [{"name": "p", "size": 9}], "packs_total": 1, "bytes_total": 10, "files": 2, "bytes_sent": 7,
            "skipped": skipped, "skipped_more": 5, "unreadable": [{"path": "/w/x", "reason": "EIO"}], "warnings": [],
        });
        let receipt = receipt(result).unwrap();
        assert!(receipt.is_partial());
        assert_eq!(receipt.packs_new, [Pack { name: "p".into(), size: 9 }]);
        assert_eq!(receipt.skipped.last().unwrap(), "and 105 more");
        assert_eq!(receipt.excluded, None);
        assert!(super::receipt(serde_json::json!({"snapshot": 1})).is_err());
    }

    #[test]
    fn however_much_is_wrong_the_receipt_stays_small_and_counts_the_rest() {
        let paths: Vec<_> = (0..1000)
            .map(|n| serde_json::json!({"path": format!("/w/{n}{}", "\u{1}".repeat(4000)), "reason": "EIO"}))
            .collect();
        let result = serde_json::json!({
            "snapshot": "ab", "tree": "cd", "packs_new": [], "packs_total": 1, "bytes_total": 10, "files": 2,
            "bytes_sent": 7, "skipped": paths, "unreadable": paths, "unreadable_more": 7,
            "excluded": { "paths": 1, "files": 1, "bytes": 5, "first": [{"path": "/w/a", "reason": "`a` in /w/.ebbignore"}] },
        });
        let receipt = receipt(result).unwrap();
        assert!(receipt.is_partial());
        assert_eq!(receipt.unreadable.len() as u64 + receipt.unreadable_more, 1007);
        assert!(serde_json::to_vec(&receipt).unwrap().len() < 200_000);
        assert_eq!(receipt.excluded.unwrap().first, ["/w/a by `a` in /w/.ebbignore"]);
    }

    #[test]
    fn what_was_left_out_and_what_moved_is_remarked_in_words() {
        let result = serde_json::json!({
            "excluded": { "paths": 7, "files": 900, "bytes": 3_400_000, "at_least": true,
                "first": [{"path": "/w/a", "reason": "x"}, {"path": "/w/b"}, {"path": "/w/c"}, {"path": "/w/d"}, {"path": "/w/e"},
                    {"path": "/w/f"}],
                "notices": ["`app/` in /workspaces/.ebbignore leaves out the whole of /workspaces/app"] },
            "unsteady": ["/w/log"], "warnings": ["an attribute cannot be read"],
        });
        insta::assert_snapshot!(remarks(&result).join("\n"), @r"
        your .ebbignore rules leave out at least 900 files, 3.4 MB: /w/a, /w/b, /w/c, /w/d, /w/e and 2 more
        `app/` in /workspaces/.ebbignore leaves out the whole of /workspaces/app
        written to while the backup ran, and held as they were at one moment: /w/log
        an attribute cannot be read
        ");
        assert_eq!(remarks(&serde_json::json!({})), [""; 0]);
    }
}
