//! Reads a stretch of a provider's listing: whole pages, in order, checked before anything on them is acted upon.

use super::turn::{Sweeper, Trouble};
use ebbtide_control::hetzner::{Answer, PER_PAGE, Page};
use ebbtide_control::sweep::walk::{Came, Doubt, Placed, Walk};

/// Calls that are left for what was read: its rows, whether the index is empty, a question, and ending one thing.
pub const FOR_THE_REST: u32 = 7;

/// What was read.
pub struct Stretch<T> {
    /// Entries that are new in this round, each with the page it is on.
    pub items: Vec<(u32, T)>,
    /// Whether the listing ends with them.
    pub is_last: bool,
}

/// Reads on from where the walk stands: at most three quarters of the calls that are left, one page at least. `next` is the page
/// after the last stretch of the same turn; at the beginning of a turn the walk finds its place again.
///
/// # Errors
/// A page does not come, or what came is not believed.
pub async fn read<T>(
    sweeper: &Sweeper<'_>,
    walk: &mut Walk,
    next: &mut Option<u32>,
    id: impl Fn(&T) -> u64,
    fetch: impl AsyncFn(u32) -> Answer<Page<T>>,
) -> Result<Stretch<T>, Trouble> {
    let pages_max = (sweeper.left().saturating_sub(FOR_THE_REST).saturating_mul(3) / 4).max(1);
    let (mut items, mut pages, mut tried) = (Vec::new(), 0, 0);
    let mut last_read = 0;
    let mut number = next.unwrap_or(walk.page);
    let mut begins = next.is_none();
    loop {
        let page = fetch(number).await.outcome?;
        let ids: Vec<u64> = page.items.iter().map(&id).collect();
        let has_next = page.next.is_some();
        let came = Came { number, ids: &ids, has_next, total: page.total, full: PER_PAGE };
        let skip = if begins {
            match walk.begin(&came, tried)? {
                Placed::From(skip) => skip,
                Placed::Back(_) if !sweeper.has(FOR_THE_REST) => {
                    // Its place is far ahead of what is left: the next turn looks from here.
                    walk.page = number;
                    return Ok(Stretch { items, is_last: false });
                }
                Placed::Back(to) => {
                    number = to;
                    tried = tried.saturating_add(1);
                    continue;
                }
            }
        } else {
            walk.go_on(&came)?
        };
        if ids.first().is_some_and(|first| *first <= last_read) {
            return Err(Doubt::Unsorted.into());
        }
        last_read = ids.last().copied().unwrap_or(last_read);
        begins = false;
        pages += 1;
        items.extend(page.items.into_iter().skip(skip).map(|item| (number, item)));
        let Some(following) = page.next else { return Ok(Stretch { items, is_last: true }) };
        number = following;
        *next = Some(number);
        if pages >= pages_max {
            return Ok(Stretch { items, is_last: false });
        }
    }
}
