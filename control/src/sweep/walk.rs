//! How a listing is read in turns: where to go on, and when not to believe it.
//!
//! The provider has pages but no "after this id", and pages shift when something before them goes. Listings are sorted
//! by id, and new things get higher ids: whatever is not seen yet is therefore on the page on which the last one was
//! seen, or on an earlier one, or after it. So the page is a hint and the id decides: a turn begins with the page that
//! held the last id, goes back while that page begins beyond it, and skips what it has seen. Names have no order that
//! we could rely on at their provider; they are listed by prefix of the workspace's id ([`next_prefix`]).

use serde::{Deserialize, Serialize};
use std::fmt;

/// Letters of workspace ids, in the order in which they are walked.
const LETTERS: &[u8] = b"234567abcdefghijklmnopqrstuvwxyz";

/// Where a walk over a listing by id stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Walk {
    /// The last id that was dealt with; 0 at the beginning.
    pub after: u64,
    /// The page on which that was, from 1.
    pub page: u32,
    /// How many entries the listing had.
    #[serde(default)]
    pub total: Option<u64>,
}

impl Default for Walk {
    fn default() -> Self {
        Self { after: 0, page: 1, total: None }
    }
}

/// A page as it came.
#[derive(Debug, Clone, Copy)]
pub struct Came<'a> {
    /// Its number.
    pub number: u32,
    /// The ids on it.
    pub ids: &'a [u64],
    /// Whether another follows.
    pub has_next: bool,
    /// How many entries the provider says there are.
    pub total: Option<u64>,
    /// How many entries a full page has.
    pub full: usize,
}

/// What to do with a page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Placed {
    /// The entries from here on are new.
    From(usize),
    /// What comes after the last id may have moved to an earlier page: read that one.
    Back(u32),
}

/// Why a listing is not believed: nothing is ended in such a turn.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Doubt {
    /// Ids do not rise.
    Unsorted,
    /// A page that another follows is not full.
    ShortPage { page: u32, entries: usize },
    /// There are fewer entries than a moment ago.
    Shrank { from: u64, to: u64 },
    /// More than half has gone since the last turn.
    Collapsed { from: u64, to: u64 },
    /// It lists nothing of many that should be there.
    Empty { expected: usize },
}

impl fmt::Display for Doubt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the listing is not believed: ")?;
        match self {
            Self::Unsorted => f.write_str("it is not in order"),
            Self::ShortPage { page, entries } => {
                write!(f, "page {page} has {entries} entries and is not the last")
            }
            Self::Shrank { from, to } => write!(f, "it shrank from {from} to {to} while it was read"),
            Self::Collapsed { from, to } => write!(f, "it had {from} entries in the last turn and has {to}"),
            Self::Empty { expected } => write!(f, "it has none of {expected} that should be there"),
        }
    }
}

impl Walk {
    /// Checks the first page of a turn and says where to begin. `tried` counts the pages that were read in vain.
    ///
    /// # Errors
    /// Why it is not believed.
    pub fn begin(&mut self, came: &Came<'_>, tried: u32) -> Result<Placed, Doubt> {
        /// Below this, half is a few.
        const MANY: u64 = 20;
        if let (Some(from), Some(to)) = (self.total, came.total) {
            // Told once: the next turn compares with what there is now.
            self.total = Some(to);
            if from >= MANY && to.saturating_mul(2) < from {
                return Err(Doubt::Collapsed { from, to });
            }
        }
        self.check(came)?;
        let begins_beyond = came.ids.first().is_none_or(|first| *first > self.after);
        if came.number > 1 && begins_beyond {
            let step = 1_u32.checked_shl(tried).unwrap_or(u32::MAX);
            return Ok(Placed::Back(came.number.saturating_sub(step).max(1)));
        }
        Ok(Placed::From(came.ids.iter().take_while(|id| **id <= self.after).count()))
    }

    /// Checks a page that follows one of the same turn and says from where on it is new: after going back, a whole
    /// page may have been seen.
    ///
    /// # Errors
    /// Why it is not believed: an entry may have slipped onto the page before.
    pub fn go_on(&mut self, came: &Came<'_>) -> Result<usize, Doubt> {
        self.check(came)?;
        Ok(came.ids.iter().take_while(|id| **id <= self.after).count())
    }

    fn check(&mut self, came: &Came<'_>) -> Result<(), Doubt> {
        if came.ids.is_sorted_by(|a, b| a < b) {
            if came.has_next && came.ids.len() < came.full {
                return Err(Doubt::ShortPage { page: came.number, entries: came.ids.len() });
            }
        } else {
            return Err(Doubt::Unsorted);
        }
        match (self.total, came.total) {
            (Some(from), Some(to)) if to < from => Err(Doubt::Shrank { from, to }),
            (_, total) => {
                self.total = total.or(self.total);
                Ok(())
            }
        }
    }

    /// Notes that everything up to this entry is dealt with.
    pub fn passed(&mut self, id: u64, page: u32) {
        self.after = id;
        self.page = page;
    }
}

/// The first of the prefixes below this one.
pub fn first_below(prefix: &str) -> String {
    format!("{prefix}{}", LETTERS.first().map_or('2', |letter| char::from(*letter)))
}

/// The prefix after this one and everything below it; `None` at the end.
pub fn next_prefix(prefix: &str) -> Option<String> {
    let mut bytes = prefix.as_bytes().to_vec();
    while let Some(last) = bytes.pop() {
        let place = LETTERS.iter().position(|letter| *letter == last)?;
        if let Some(next) = LETTERS.get(place.saturating_add(1)) {
            bytes.push(*next);
            return String::from_utf8(bytes).ok();
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    const FULL: usize = 3;

    fn came(number: u32, ids: &[u64], has_next: bool, total: u64) -> Came<'_> {
        Came { number, ids, has_next, total: Some(total), full: FULL }
    }

    fn at(after: u64, page: u32) -> Walk {
        Walk { after, page, total: None }
    }

    /// A listing in pages of three.
    fn page(all: &[u64], number: u32) -> (Vec<u64>, bool) {
        let from = (number as usize - 1) * FULL;
        let ids: Vec<u64> = all.iter().copied().skip(from).take(FULL).collect();
        (ids, from + FULL < all.len())
    }

    #[test]
    fn a_turn_goes_on_after_the_last_id_whatever_the_page_holds_now() {
        assert_eq!(at(0, 1).begin(&came(1, &[1, 2, 3], true, 9), 0), Ok(Placed::From(0)));
        assert_eq!(at(5, 2).begin(&came(2, &[4, 5, 6], true, 9), 0), Ok(Placed::From(2)));
        assert_eq!(at(6, 2).begin(&came(2, &[4, 5, 6], true, 9), 0), Ok(Placed::From(3)));
        assert_eq!(at(6, 2).begin(&came(2, &[7, 8, 9], false, 6), 0), Ok(Placed::Back(1)));
        assert_eq!(at(60, 9).begin(&came(9, &[], false, 6), 0), Ok(Placed::Back(8)));
        assert_eq!(at(60, 9).begin(&came(8, &[], false, 6), 1), Ok(Placed::Back(6)));
        assert_eq!(at(60, 9).begin(&came(6, &[], false, 6), 2), Ok(Placed::Back(2)));
        assert_eq!(at(60, 9).begin(&came(1, &[], false, 0), 4), Ok(Placed::From(0)));
    }

    #[test]
    fn nothing_is_skipped_however_many_go_between_turns() {
        let all: Vec<u64> = (1..=60).collect();
        for gone in 0..60_u64 {
            for from in [0_u64, 7, 25] {
                let mut walk = Walk::default();
                for id in 1..=30_u64 {
                    walk.passed(id, u32::try_from((id - 1) / 3 + 1).unwrap());
                }
                let left: Vec<u64> =
                    all.iter().copied().filter(|id| *id <= from || *id > from + gone).collect();
                let wanted: Vec<u64> = left.iter().copied().filter(|id| *id > 30).collect();
                let (mut number, mut tried, mut seen) = (walk.page, 0, Vec::new());
                loop {
                    let (ids, has_next) = page(&left, number);
                    let looked_at = came(number, &ids, has_next, left.len() as u64);
                    match walk.begin(&looked_at, tried).unwrap() {
                        Placed::Back(to) => (number, tried) = (to, tried + 1),
                        Placed::From(skip) => {
                            seen.extend_from_slice(&ids[skip..]);
                            break;
                        }
                    }
                }
                while page(&left, number).1 {
                    number += 1;
                    let (ids, has_next) = page(&left, number);
                    let skip = walk.go_on(&came(number, &ids, has_next, left.len() as u64)).unwrap();
                    seen.extend_from_slice(&ids[skip..]);
                }
                assert_eq!(seen, wanted, "{gone} gone after {from}");
            }
        }
    }

    #[test]
    fn a_partial_listing_is_not_believed() {
        let mut walk = Walk::default();
        assert_eq!(walk.begin(&came(1, &[1, 2], true, 9), 0), Err(Doubt::ShortPage { page: 1, entries: 2 }));
        assert_eq!(Walk::default().begin(&came(1, &[2, 1, 3], true, 9), 0), Err(Doubt::Unsorted));
        let mut walk = Walk::default();
        walk.begin(&came(1, &[1, 2, 3], true, 9), 0).unwrap();
        assert_eq!(walk.go_on(&came(2, &[5, 6, 7], true, 8)), Err(Doubt::Shrank { from: 9, to: 8 }));
        let mut walk = Walk { after: 3, page: 1, total: Some(100) };
        let collapsed = walk.begin(&came(1, &[1, 2, 3], true, 49), 0);
        assert_eq!(collapsed, Err(Doubt::Collapsed { from: 100, to: 49 }));
        assert_eq!(walk.begin(&came(1, &[1, 2, 3], true, 49), 0), Ok(Placed::From(3)), "told once");
    }

    #[test]
    fn prefixes_are_walked_to_the_end_and_each_once() {
        let (mut prefix, mut walked) = (Some(first_below("")), Vec::new());
        while let Some(current) = prefix {
            // One of them is walked a level deeper.
            prefix = if current == "7" { Some(first_below(&current)) } else { next_prefix(&current) };
            walked.push(current);
        }
        assert_eq!(walked.len(), 32 + 32);
        assert_eq!(walked.last().map(String::as_str), Some("z"));
        assert!(walked.is_sorted());
        assert_eq!(next_prefix(""), None);
    }
}
