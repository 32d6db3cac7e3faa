//! Lists: sorting, pages of at most 50, `meta.pagination` and the `Link` header.

use serde::{Serialize, Serializer, ser::SerializeMap};

use super::refusal::Refusal;
use crate::model::wire::{Call, HETZNER_PREFIX, Response};

const DEFAULT_PER_PAGE: u64 = 25;
const MAX_PER_PAGE: u64 = 50;

#[derive(Serialize)]
struct Pagination {
    page: u64,
    per_page: u64,
    previous_page: Option<u64>,
    next_page: Option<u64>,
    last_page: Option<u64>,
    total_entries: Option<u64>,
}

/// One page of a list, chosen before anything is rendered.
pub(crate) struct Page<T> {
    pub items: Vec<T>,
    pagination: Pagination,
}

impl<T> Page<T> {
    /// Cuts the page that the query asks for.
    pub fn cut(call: &Call<'_>, all: Vec<T>) -> Result<Self, Refusal> {
        let page = number(call, "page", 1)?;
        let per_page = number(call, "per_page", DEFAULT_PER_PAGE)?;
        if per_page > MAX_PER_PAGE {
            return Err(Refusal::invalid("per_page", format!("must be at most {MAX_PER_PAGE}")));
        }
        let total = all.len() as u64;
        let last = total.div_ceil(per_page).max(1);
        let skip = usize::try_from((page - 1).saturating_mul(per_page)).unwrap_or(usize::MAX);
        let take = usize::try_from(per_page).unwrap_or(usize::MAX);
        Ok(Self {
            items: all.into_iter().skip(skip).take(take).collect(),
            pagination: Pagination {
                page,
                per_page,
                previous_page: (page > 1).then(|| page - 1),
                next_page: (page < last).then_some(page + 1),
                last_page: Some(last),
                total_entries: Some(total),
            },
        })
    }

    /// Renders `{<key>: [...], meta: {pagination}}`.
    pub fn render<V: Serialize>(
        self,
        call: &Call<'_>,
        key: &'static str,
        view: impl FnMut(T) -> V,
    ) -> Response {
        let body =
            Body { key, views: self.items.into_iter().map(view).collect(), pagination: &self.pagination };
        let mut response = Response::of(200, &body);
        response.headers.push(("link", links(call, &self.pagination)));
        response
    }
}

struct Body<'a, V> {
    key: &'static str,
    views: Vec<V>,
    pagination: &'a Pagination,
}

impl<V: Serialize> Serialize for Body<'_, V> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(2))?;
        map.serialize_entry(self.key, &self.views)?;
        map.serialize_entry("meta", &Meta { pagination: self.pagination })?;
        map.end()
    }
}

#[derive(Serialize)]
struct Meta<'a> {
    pagination: &'a Pagination,
}

fn number(call: &Call<'_>, name: &str, default: u64) -> Result<u64, Refusal> {
    match call.one(name) {
        None => Ok(default),
        Some(text) => text
            .parse::<u64>()
            .ok()
            .filter(|n| *n >= 1)
            .ok_or_else(|| Refusal::invalid(name, "must be a number of at least 1")),
    }
}

fn links(call: &Call<'_>, pagination: &Pagination) -> String {
    let link = |page: u64, rel: &str| {
        let mut query = url::form_urlencoded::Serializer::new(String::new());
        for (key, value) in call.query.iter().filter(|(key, _)| key != "page") {
            query.append_pair(key, value);
        }
        query.append_pair("page", &page.to_string());
        format!("<{HETZNER_PREFIX}{}?{}>; rel={rel}", call.path, query.finish())
    };
    [(pagination.previous_page, "prev"), (pagination.next_page, "next"), (pagination.last_page, "last")]
        .into_iter()
        .filter_map(|(page, rel)| page.map(|page| link(page, rel)))
        .collect::<Vec<_>>()
        .join(", ")
}

/// What a list can be sorted by.
pub(crate) trait Sortable {
    fn id(&self) -> u64;
    fn name(&self) -> &str;
    fn created_ms(&self) -> i64;
}

/// Applies `sort=field[:asc|:desc]`, the first given field weighing most.
pub(crate) fn sort<T: Sortable>(call: &Call<'_>, items: &mut [&T]) -> Result<(), Refusal> {
    let keys = call.all("sort");
    for key in keys.into_iter().rev() {
        let (field, direction) = key.split_once(':').unwrap_or((key, "asc"));
        let compare: fn(&T, &T) -> std::cmp::Ordering = match field {
            "id" => |a, b| a.id().cmp(&b.id()),
            "name" => |a, b| a.name().cmp(b.name()),
            "created" => |a, b| a.created_ms().cmp(&b.created_ms()),
            _ => return Err(Refusal::invalid("sort", format!("cannot sort by '{field}'"))),
        };
        match direction {
            "asc" => items.sort_by(|a, b| compare(a, b)),
            "desc" => items.sort_by(|a, b| compare(b, a)),
            _ => return Err(Refusal::invalid("sort", "direction must be asc or desc")),
        }
    }
    Ok(())
}
