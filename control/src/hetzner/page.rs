//! Paging: one page per call, checked so that a loop over pages ends and a listing is never silently partial.

use super::{Answer, Failure, Hetzner, Reply, decode};
use crate::http::Http;
use serde::Deserialize;
use serde::de::DeserializeOwned;

/// Entries asked for per page; 50 is the provider's maximum.
pub const PER_PAGE: usize = 50;

/// Pages that a method which collects all of them reads at most: 4 × 50 entries, 4 of an invocation's 40 calls.
pub(super) const PAGES_MAX: u32 = 4;

/// One page of a listing.
#[derive(Debug, Clone, PartialEq)]
pub struct Page<T> {
    /// The entries.
    pub items: Vec<T>,
    /// Number of the next page; always higher than this page's.
    pub next: Option<u32>,
    /// How many entries there are on all pages, where the provider says so.
    pub total: Option<u64>,
}

/// A listing as the provider sends it: some key with entries, and `meta`.
pub(super) trait Listing: DeserializeOwned {
    type Item;
    fn split(self) -> (Vec<Self::Item>, Option<Meta>);
}

#[derive(Deserialize)]
pub(super) struct Meta {
    pagination: Option<Pagination>,
}

#[derive(Deserialize)]
struct Pagination {
    next_page: Option<u32>,
    total_entries: Option<u64>,
}

impl<H: Http> Hetzner<H> {
    /// Reads page `page` (from 1) of a listing.
    pub(super) async fn page<L: Listing>(
        &self,
        path: &str,
        pairs: &[(&str, &str)],
        page: u32,
    ) -> Answer<Page<L::Item>> {
        let (number, size) = (page.to_string(), PER_PAGE.to_string());
        let mut pairs = pairs.to_vec();
        pairs.extend([("page", number.as_str()), ("per_page", size.as_str())]);
        self.call(Ok(self.query(path, &pairs))).await.and_then(|reply| match reply {
            Reply::Done(body) => check_page(decode::<L>(&body)?, page),
            Reply::Refused(error) => Err(Failure::Refused(error)),
        })
    }

    /// Reads all pages of a listing that is known to be short.
    pub(super) async fn all<L: Listing>(&self, path: &str, pairs: &[(&str, &str)]) -> Answer<Vec<L::Item>> {
        let mut items = Vec::new();
        let mut number = 1;
        for _ in 0..PAGES_MAX {
            let Answer { outcome, budget } = self.page::<L>(path, pairs, number).await;
            match outcome {
                Err(failure) => return Answer { outcome: Err(failure), budget },
                Ok(page) => {
                    items.extend(page.items);
                    match page.next {
                        Some(next) => number = next,
                        None => return Answer { outcome: Ok(items), budget },
                    }
                }
            }
        }
        Answer { outcome: Err(Failure::garbled("longer than a listing of this kind can be")), budget: None }
    }
}

fn check_page<L: Listing>(listing: L, page: u32) -> Result<Page<L::Item>, Failure> {
    let (items, meta) = listing.split();
    let pagination = meta.and_then(|meta| meta.pagination);
    let total = pagination.as_ref().and_then(|pagination| pagination.total_entries);
    let next = match pagination {
        Some(pagination) => pagination.next_page,
        None if items.len() < PER_PAGE => None,
        None => return Err(Failure::garbled("a full page that does not say whether another follows")),
    };
    match next {
        Some(next) if next <= page => Err(Failure::garbled("a page whose successor is not after it")),
        next => Ok(Page { items, next, total }),
    }
}
