//! A receipt that names very many packs, in parts: each is small enough to be delivered and to be checked in a few steps.
//!
//! Packs of a part that was verified are noted as known, so a delivery that is cut short goes on where it was. Only the
//! last part, which says that nothing is to come, makes the snapshot count. Must never leave a pack out of all parts.

use ebbtide_api::vm::{Pack, Receipt};
use std::collections::HashSet;

/// A receipt of so many parts is worth a word: the control plane looks at each pack.
pub const MANY: usize = 2;

/// What is to be delivered now, of a receipt of which some packs are known: a part of at most `most` packs, or all that
/// is left.
pub fn next(receipt: &Receipt, known: &HashSet<String>, most: usize) -> Receipt {
    let is_new = |pack: &&Pack| !known.contains(&pack.name);
    let mut packs: Vec<Pack> = receipt.packs_new.iter().filter(is_new).cloned().collect();
    let to_come = packs.len().saturating_sub(most);
    if to_come == 0 {
        return Receipt { packs_new: packs, ..receipt.clone() };
    }
    packs.truncate(most);
    Receipt {
        packs_new: packs,
        packs_to_come: to_come as u64,
        indexes: None,
        skipped: Vec::new(),
        unreadable: Vec::new(),
        excluded: None,
        ..receipt.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PART: usize = 4_000;

    fn receipt(packs: usize) -> Receipt {
        Receipt {
            snapshot: "a".repeat(64),
            tree: "b".repeat(64),
            packs_new: (0..packs).map(|n| Pack { name: format!("{n:064}"), size: 12_345_678 }).collect(),
            packs_to_come: 0,
            indexes: Some(vec!["c".repeat(64); PART]),
            packs_total: packs as u64,
            files: 1,
            bytes_total: 1,
            bytes_sent: 1,
            skipped: vec!["/s".into()],
            unreadable: Vec::new(),
            unreadable_more: 0,
            excluded: None,
        }
    }

    #[test]
    fn a_receipt_of_any_size_is_delivered_in_parts_of_which_the_last_is_whole() {
        for count in [0, 1, PART, PART + 1, 40_000] {
            let receipt = receipt(count);
            let mut known = HashSet::new();
            let mut deliveries = 0;
            loop {
                let part = next(&receipt, &known, PART);
                assert!(serde_json::to_vec(&part).unwrap().len() < 768 << 10);
                deliveries += 1;
                known.extend(part.packs_new.iter().map(|pack| pack.name.clone()));
                if part.packs_to_come == 0 {
                    assert_eq!(
                        (part.skipped, part.indexes),
                        (receipt.skipped.clone(), receipt.indexes.clone())
                    );
                    break;
                }
                assert_eq!(known.len() as u64 + part.packs_to_come, count as u64);
            }
            assert_eq!(known.len(), count, "every pack was named");
            assert_eq!(deliveries, count.div_ceil(PART).max(1));
        }
    }
}
