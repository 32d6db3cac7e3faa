//! Lists what storage holds below a prefix, page after page, over as many invocations as that takes.
//!
//! Half a list would make a reader believe that packs are missing, so there is the whole or an error. Nothing here asks for
//! metadata: with it storage answers with fewer objects a page, how many fewer is not promised.

use crate::error::{ApiError, ApiResult};
use crate::r2::bucket::Storage;
use crate::r2::restic_paths::{Listed, list};
use ebbtide_api::ErrorCode;
use serde::{Deserialize, Serialize};
use worker::{Response, ResponseBuilder};

/// Pages that one invocation takes: its calls, less those that a request needs besides.
pub const PAGES_MAX: u32 = 30;
/// Further invocations that one list may take.
const PARTS_MAX: u32 = 8;
/// Objects on a page that nothing cut short.
const PAGE_OBJECTS: u32 = 1_000;

/// What one invocation lists.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Part {
    /// The objects, in order.
    pub objects: Vec<Listed>,
    /// Where the next part begins; `None` at the end.
    pub cursor: Option<String>,
    /// The most objects on a page that had another after it.
    pub fullest: u32,
}

/// A whole list.
#[derive(Debug)]
pub struct Whole {
    /// The objects, in order.
    pub objects: Vec<Listed>,
}

/// Lists from a cursor on, as far as one invocation goes.
///
/// # Errors
/// Storage does not answer.
pub async fn part(storage: &Storage, prefix: &str, cursor: Option<String>) -> ApiResult<Part> {
    pages(storage, prefix, cursor, PAGES_MAX).await
}

/// Lists the first page alone.
///
/// # Errors
/// Storage does not answer.
pub async fn first_page(storage: &Storage, prefix: &str) -> ApiResult<Part> {
    pages(storage, prefix, None, 1).await
}

async fn pages(storage: &Storage, prefix: &str, cursor: Option<String>, most: u32) -> ApiResult<Part> {
    let mut part = Part { cursor, ..Part::default() };
    for _ in 0..most {
        let page = storage.list(prefix, part.cursor.take()).await?;
        let objects = page.objects();
        if page.truncated() {
            part.fullest = part.fullest.max(u32::try_from(objects.len()).unwrap_or(u32::MAX));
        }
        part.objects.extend(objects.into_iter().filter_map(|object| {
            let name = object.key().strip_prefix(prefix)?.to_owned();
            Some(Listed { name, size: object.size() })
        }));
        part.cursor = page.cursor().filter(|_| page.truncated());
        if part.cursor.is_none() {
            break;
        }
    }
    Ok(part)
}

/// Completes a list: `next` lists from a cursor on, in an invocation of its own.
///
/// # Errors
/// What `next` says; `quota_reached` where the list has no end within bounds.
pub async fn whole(first: Part, next: impl AsyncFn(String) -> ApiResult<Part>) -> ApiResult<Whole> {
    let Part { mut objects, mut cursor, .. } = first;
    for _ in 0..PARTS_MAX {
        let Some(from) = cursor.take() else { break };
        let mut part = next(from).await?;
        objects.append(&mut part.objects);
        cursor = part.cursor;
    }
    if cursor.is_some() {
        return Err(too_many(objects.len()));
    }
    Ok(Whole { objects })
}

/// What one invocation lists, written out for a reader: a whole list, or what stands between its brackets.
#[derive(Debug, PartialEq, Eq)]
pub struct Fragment {
    body: String,
    objects: usize,
    fullest: u32,
    cursor: Option<String>,
}

/// A list of several fragments.
#[derive(Debug, PartialEq, Eq)]
pub struct Joined {
    /// The list.
    pub body: String,
    /// How many objects are in it.
    pub objects: usize,
    /// About how many a list can hold.
    pub most: u32,
}

const OBJECTS: &str = "x-ebbtide-objects";
const FULLEST: &str = "x-ebbtide-fullest";
const CURSOR: &str = "x-ebbtide-cursor";

impl Fragment {
    /// Writes a part out; one that begins at the start and has no end to come is whole.
    ///
    /// # Errors
    /// What the JSON writer says.
    pub fn of(part: Part, from_start: bool, v2: bool) -> Result<Self, serde_json::Error> {
        let Part { objects, cursor, fullest } = part;
        let (mut body, _) = list(&objects, v2)?;
        if !from_start || cursor.is_some() {
            body.pop();
            body.remove(0);
        }
        Ok(Self { body, objects: objects.len(), fullest, cursor })
    }

    /// As the object answers.
    ///
    /// # Errors
    /// The runtime takes no such header.
    pub fn into_response(self) -> worker::Result<Response> {
        let builder = ResponseBuilder::new()
            .with_header(OBJECTS, &self.objects.to_string())?
            .with_header(FULLEST, &self.fullest.to_string())?;
        let builder = match &self.cursor {
            Some(cursor) => builder.with_header(CURSOR, cursor)?,
            None => builder,
        };
        Ok(builder.fixed(self.body.into_bytes()))
    }

    /// Reads such an answer.
    ///
    /// # Errors
    /// It breaks off.
    pub async fn read(mut answer: Response) -> ApiResult<Self> {
        let (objects, fullest, cursor) = Self::headers(&answer)?;
        Ok(Self { body: answer.text().await.map_err(ApiError::internal)?, objects, fullest, cursor })
    }

    /// Of such an answer: how many objects are in it, about how many a list can hold, and where it goes on.
    ///
    /// # Errors
    /// It is none.
    pub fn about(answer: &Response) -> ApiResult<(usize, u32, Option<String>)> {
        let (objects, fullest, cursor) = Self::headers(answer)?;
        Ok((objects, most(fullest), cursor))
    }

    fn headers(answer: &Response) -> ApiResult<(usize, u32, Option<String>)> {
        let header = |name| answer.headers().get(name).map_err(ApiError::internal);
        let number = |name| -> ApiResult<u32> {
            header(name)?.unwrap_or_default().parse().map_err(ApiError::internal)
        };
        let objects = usize::try_from(number(OBJECTS)?).map_err(ApiError::internal)?;
        Ok((objects, number(FULLEST)?, header(CURSOR)?))
    }
}

/// Completes a list of fragments: `next` lists from a cursor on, in an invocation of its own.
///
/// # Errors
/// As [`whole`].
pub async fn join(first: Fragment, next: impl AsyncFn(String) -> ApiResult<Fragment>) -> ApiResult<Joined> {
    let Fragment { body, mut objects, mut fullest, mut cursor } = first;
    let mut bodies = vec![body];
    for _ in 0..PARTS_MAX {
        let Some(from) = cursor.take() else { break };
        let fragment = next(from).await?;
        objects = objects.saturating_add(fragment.objects);
        (cursor, fullest) = (fragment.cursor, fullest.max(fragment.fullest));
        bodies.push(fragment.body);
    }
    if cursor.is_some() {
        return Err(too_many(objects));
    }
    bodies.retain(|body| !body.is_empty());
    Ok(Joined { body: format!("[{}]", bodies.join(",")), objects, most: most(fullest) })
}

/// About how many objects a list can hold, by the fullest page that had another after it; 0 where there was none.
fn most(fullest: u32) -> u32 {
    let page = if fullest == 0 { PAGE_OBJECTS } else { fullest };
    page.saturating_mul(PAGES_MAX).saturating_mul(PARTS_MAX.saturating_add(1))
}

fn too_many(objects: usize) -> ApiError {
    let message = format!("the repository has more than {objects} objects of a kind");
    ApiError::new(ErrorCode::QuotaReached, message)
        .hint("Copy the bucket with rclone and prune the copy, or delete the workspace.")
}

/// Adds up the bytes of several lists, each of them whole.
///
/// # Errors
/// As [`whole`]: a part of the sum would be taken for all.
pub async fn bytes<K: Copy>(
    kinds: impl IntoIterator<Item = K>,
    first: impl AsyncFn(K) -> ApiResult<Part>,
    next: impl AsyncFn(K, String) -> ApiResult<Part>,
) -> ApiResult<u64> {
    let mut sum = 0_u64;
    for kind in kinds {
        let listed = whole(first(kind).await?, async |cursor| next(kind, cursor).await).await?;
        sum = listed.objects.iter().fold(sum, |sum, object| sum.saturating_add(object.size));
    }
    Ok(sum)
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt as _;

    fn objects(range: std::ops::Range<u64>) -> Vec<Listed> {
        range.map(|number| Listed { name: number.to_string(), size: number }).collect()
    }

    /// Parts of 100 objects on pages of 10.
    fn first() -> Part {
        Part { objects: objects(0..100), cursor: Some("100".to_owned()), fullest: 10 }
    }

    async fn next(from: String, all: u64) -> ApiResult<Part> {
        let from: u64 = from.parse().map_err(ApiError::internal)?;
        let end = from.saturating_add(100).min(all);
        Ok(Part { objects: objects(from..end), cursor: (end < all).then(|| end.to_string()), fullest: 10 })
    }

    #[test]
    fn a_list_goes_on_over_invocations_until_it_is_whole() {
        let whole = |all| whole(first(), move |from| next(from, all)).now_or_never().unwrap();
        for all in [101, 200, 899, 900] {
            let listed = whole(all).unwrap();
            assert_eq!(listed.objects, objects(0..all), "{all}");
        }
        let error = whole(901).unwrap_err();
        assert_eq!(error.code(), ErrorCode::QuotaReached, "never half of it");
    }

    #[test]
    fn bytes_are_those_of_whole_lists_and_never_a_part_of_them() {
        let sum = |all: [u64; 2]| {
            bytes(all, async |_| Ok(first()), move |all, from| next(from, all)).now_or_never().unwrap()
        };
        let of = |all: u64| (0..all).sum::<u64>();
        assert_eq!(sum([200, 900]).unwrap(), of(200) + of(900));
        assert_eq!(sum([200, 901]).unwrap_err().code(), ErrorCode::QuotaReached);
    }

    #[test]
    fn a_short_list_asks_nobody_and_takes_pages_for_full_ones() {
        let first = Part { objects: objects(0..3), ..Part::default() };
        let listed = whole(first, async |_| Err(ApiError::internal("asked"))).now_or_never().unwrap();
        assert_eq!(listed.unwrap().objects, objects(0..3));
        assert_eq!((most(0), most(10)), (270_000, 2_700), "derived from what a page held");
    }

    #[test]
    fn fragments_make_the_list_that_one_invocation_would_have_written() {
        for v2 in [false, true] {
            let fragment = |part, from_start| Fragment::of(part, from_start, v2).unwrap();
            let listed = |all: u64| {
                let next = async |from| Ok(fragment(next(from, all).await?, false));
                join(fragment(first(), true), next).now_or_never().unwrap()
            };
            for all in [101, 200, 900] {
                let joined = listed(all).unwrap();
                assert_eq!(joined.body, list(&objects(0..all), v2).unwrap().0, "{all}");
                assert_eq!((joined.objects as u64, joined.most), (all, 2_700));
            }
            assert_eq!(listed(901).unwrap_err().code(), ErrorCode::QuotaReached, "never half of it");
            let whole = Part { cursor: None, ..first() };
            assert_eq!(fragment(whole, true).body, list(&objects(0..100), v2).unwrap().0);
            // Storage may answer with a page on which there is nothing.
            let empty = |cursor: Option<&str>| Part { cursor: cursor.map(str::to_owned), ..Part::default() };
            let next = async |_| Ok(fragment(empty(None), false));
            let joined = join(fragment(empty(Some("0")), true), next).now_or_never().unwrap();
            assert_eq!(joined.unwrap().body, "[]");
        }
    }
}
