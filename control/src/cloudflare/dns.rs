//! DNS records: listing, making sure of one, deleting, and several at once.
//!
//! `GET|POST /zones/{zone}/dns_records`, `PATCH|DELETE …/{id}`, `POST …/batch`. A record's comment says whose it is;
//! Cloudflare compares names and comments without regard to case, so every listing is checked again here.

use super::{Cloudflare, Failure};
use crate::http::{Http, Method};
use crate::names::parse_comment;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::net::Ipv4Addr;

/// Entries asked for per page.
const PER_PAGE: usize = 100;

/// Pages that a listing reads at most: 35 × 100 covers the 3 500 records of the largest zone without asking first,
/// and stays below an invocation's 40 calls.
const PAGES_MAX: u32 = 35;

/// Names a DNS record.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RecordId(pub String);

impl fmt::Display for RecordId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A record as Cloudflare keeps it, of whatever type.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DnsRecord {
    pub id: RecordId,
    /// `A`, `HTTPS`, `CAA`, …
    #[serde(rename = "type")]
    pub kind: String,
    /// Fully qualified, without a trailing dot.
    pub name: String,
    #[serde(default)]
    pub content: String,
    /// Seconds; 1 means automatic.
    pub ttl: Option<u32>,
    pub proxied: Option<bool>,
    pub comment: Option<String>,
}

/// The record types that we create.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum RecordKind {
    A,
    #[serde(rename = "TXT")]
    Txt,
}

impl RecordKind {
    /// As Cloudflare writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::A => "A",
            Self::Txt => "TXT",
        }
    }
}

/// A record as we want it; never proxied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordSpec {
    pub kind: RecordKind,
    /// Fully qualified.
    pub name: String,
    pub content: String,
    /// 60 to 86 400 seconds, or 1 for automatic.
    pub ttl_secs: u32,
    /// Whose it is; see [`crate::names::record_comment`].
    pub comment: String,
}

impl RecordSpec {
    /// An address record.
    pub fn a(name: &str, ip: Ipv4Addr, ttl_secs: u32, comment: &str) -> Self {
        let (name, comment) = (name.to_owned(), comment.to_owned());
        Self { kind: RecordKind::A, name, content: ip.to_string(), ttl_secs, comment }
    }
}

/// Which records to list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RecordFilter {
    /// Those whose comment starts so.
    CommentPrefix(String),
    /// Those of that name, of all types.
    Name(String),
}

/// One page of a listing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordsPage {
    /// Those on it that match.
    pub records: Vec<DnsRecord>,
    /// How many pages there are.
    pub pages: u32,
    /// How many records there are on all pages, where the provider says so.
    pub total: Option<u64>,
}

/// What came of creating a record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CreateRecord {
    Created(DnsRecord),
    /// The same record, or one that excludes it, is there.
    AlreadyExists,
}

/// What came of making sure of a record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EnsureRecord {
    /// It was as it should be.
    Kept(DnsRecord),
    Created(DnsRecord),
    /// An older one of ours was changed.
    Updated(DnsRecord),
    /// The name is somebody else's: nothing was changed.
    Foreign(DnsRecord),
}

/// What came of deleting a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeleteRecord {
    Deleted,
    /// There is none: done.
    Gone,
}

/// Changes that are made together or not at all; deletions first.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Batch {
    pub deletes: Vec<RecordId>,
    pub posts: Vec<RecordSpec>,
}

/// What a batch did.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct BatchDone {
    pub deletes: Vec<DnsRecord>,
    pub posts: Vec<DnsRecord>,
}

impl<H: Http> Cloudflare<H> {
    /// All records of a zone that match; an error rather than a part of them.
    pub async fn list_records(&self, zone: &str, filter: &RecordFilter) -> Result<Vec<DnsRecord>, Failure> {
        let mut records: Vec<DnsRecord> = Vec::new();
        for page in 1..=PAGES_MAX {
            let path = format!("/zones/{zone}/dns_records?{}", query(filter, page));
            let envelope = self.call::<Vec<DnsRecord>>(Ok(self.request(Method::Get, &path))).await?;
            let full = envelope.result.len() >= PER_PAGE;
            records.extend(envelope.result);
            let more = match envelope.result_info {
                Some(info) => match (info.total_pages, info.total_count) {
                    (Some(pages), _) => page < pages,
                    (None, Some(count)) => u64::try_from(records.len()).unwrap_or(u64::MAX) < count,
                    (None, None) => full,
                },
                None => full,
            };
            if !more {
                records.retain(|record| filter.takes(record));
                return Ok(records);
            }
        }
        Err(Failure::Unknown { reason: "the listing does not end".to_owned() })
    }

    /// One page (from 1) of the records of a zone that match. A full page that does not say whether another follows is
    /// an error.
    pub async fn list_page(
        &self,
        zone: &str,
        filter: &RecordFilter,
        page: u32,
    ) -> Result<RecordsPage, Failure> {
        let path = format!("/zones/{zone}/dns_records?{}", query(filter, page));
        let envelope = self.call::<Vec<DnsRecord>>(Ok(self.request(Method::Get, &path))).await?;
        let full = envelope.result.len() >= PER_PAGE;
        let info = envelope.result_info;
        let total = info.as_ref().and_then(|info| info.total_count);
        let of_total = total.map(|total| total.div_ceil(u64::try_from(PER_PAGE).unwrap_or(u64::MAX)));
        let pages = info
            .and_then(|info| info.total_pages)
            .or(of_total.map(|pages| u32::try_from(pages).unwrap_or(u32::MAX)));
        let pages = match pages {
            Some(pages) => pages,
            None if full => {
                return Err(Failure::Unknown { reason: "a full page without a number of pages".to_owned() });
            }
            None => page,
        };
        if page < pages && !full {
            return Err(Failure::Unknown { reason: format!("page {page} of {pages} is not full") });
        }
        let records = envelope.result.into_iter().filter(|record| filter.takes(record)).collect();
        Ok(RecordsPage { records, pages, total })
    }

    /// Reads one record; `None` where there is none.
    pub async fn record(&self, zone: &str, id: &RecordId) -> Result<Option<DnsRecord>, Failure> {
        let request = self.request(Method::Get, &format!("/zones/{zone}/dns_records/{id}"));
        match self.call::<DnsRecord>(Ok(request)).await {
            Ok(envelope) => Ok(Some(envelope.result)),
            Err(Failure::NotFound(_)) => Ok(None),
            Err(failure) => Err(failure),
        }
    }

    /// Creates a record. Not safe to repeat without looking.
    pub async fn create_record(&self, zone: &str, spec: &RecordSpec) -> Result<CreateRecord, Failure> {
        let request = self.request(Method::Post, &format!("/zones/{zone}/dns_records")).json(&Body::of(spec));
        match self.call::<DnsRecord>(request).await {
            Ok(envelope) => Ok(CreateRecord::Created(envelope.result)),
            Err(Failure::AlreadyExists(_)) => Ok(CreateRecord::AlreadyExists),
            Err(failure) => Err(failure),
        }
    }

    /// Makes sure that exactly this record answers at its name. Safe to repeat; records of the same workspace are
    /// adopted or changed, further ones of it at the same name are deleted, other people's stay untouched.
    pub async fn ensure_record(&self, zone: &str, spec: &RecordSpec) -> Result<EnsureRecord, Failure> {
        if let Some(done) = self.adopt(zone, spec).await? {
            return Ok(done);
        }
        match self.create_record(zone, spec).await? {
            CreateRecord::Created(record) => Ok(EnsureRecord::Created(record)),
            // Appeared since we looked: another run of ours, or a request whose answer was lost.
            CreateRecord::AlreadyExists => self.adopt(zone, spec).await?.ok_or_else(|| Failure::Unknown {
                reason: "the record is said to exist and is not listed".to_owned(),
            }),
        }
    }

    /// Deletes a record. Safe to repeat.
    pub async fn delete_record(&self, zone: &str, id: &RecordId) -> Result<DeleteRecord, Failure> {
        let request = self.request(Method::Delete, &format!("/zones/{zone}/dns_records/{id}"));
        match self.call::<serde_json::Value>(Ok(request)).await {
            Ok(_) => Ok(DeleteRecord::Deleted),
            Err(Failure::NotFound(_)) => Ok(DeleteRecord::Gone),
            Err(failure) => Err(failure),
        }
    }

    /// Makes several changes in one transaction. [`Failure::NotFound`] and [`Failure::AlreadyExists`] mean that one
    /// of them was impossible and none was made.
    pub async fn batch(&self, zone: &str, batch: &Batch) -> Result<BatchDone, Failure> {
        let body = BatchBody {
            deletes: batch.deletes.iter().map(|id| BodyId { id }).collect(),
            posts: batch.posts.iter().map(Body::of).collect(),
        };
        let request = self.request(Method::Post, &format!("/zones/{zone}/dns_records/batch")).json(&body);
        Ok(self.call::<WireBatch>(request).await?.result.into())
    }

    /// Looks for records at the name and settles them; `None` where there are none.
    async fn adopt(&self, zone: &str, spec: &RecordSpec) -> Result<Option<EnsureRecord>, Failure> {
        let at_name = self.list_records(zone, &RecordFilter::Name(spec.name.clone())).await?;
        let excluding = |record: &&DnsRecord| record.kind == spec.kind.as_str() || record.kind == "CNAME";
        let mut ours = Vec::new();
        for record in at_name.iter().filter(excluding) {
            if !is_same_owner(record, spec) {
                return Ok(Some(EnsureRecord::Foreign(record.clone())));
            }
            ours.push(record);
        }
        let Some(kept) = ours.iter().find(|record| is_as_wanted(record, spec)).or(ours.first()).copied()
        else {
            return Ok(None);
        };
        for extra in ours.into_iter().filter(|record| record.id != kept.id) {
            self.delete_record(zone, &extra.id).await?;
        }
        if is_as_wanted(kept, spec) {
            return Ok(Some(EnsureRecord::Kept(kept.clone())));
        }
        let path = format!("/zones/{zone}/dns_records/{}", kept.id);
        let request = self.request(Method::Patch, &path).json(&Body::of(spec));
        Ok(Some(EnsureRecord::Updated(self.call::<DnsRecord>(request).await?.result)))
    }
}

impl RecordFilter {
    fn takes(&self, record: &DnsRecord) -> bool {
        match self {
            Self::CommentPrefix(prefix) => {
                record.comment.as_ref().is_some_and(|comment| comment.starts_with(prefix.as_str()))
            }
            Self::Name(name) => record.name.eq_ignore_ascii_case(name),
        }
    }
}

fn query(filter: &RecordFilter, page: u32) -> String {
    let pair = match filter {
        RecordFilter::CommentPrefix(prefix) => ("comment.startswith", prefix.as_str()),
        RecordFilter::Name(name) => ("name", name.as_str()),
    };
    url::form_urlencoded::Serializer::new(String::new())
        .append_pair(pair.0, pair.1)
        .append_pair("page", &page.to_string())
        .append_pair("per_page", &PER_PAGE.to_string())
        .finish()
}

/// Whether a record belongs to the installation and workspace that the wanted one belongs to, of whatever generation.
fn is_same_owner(record: &DnsRecord, spec: &RecordSpec) -> bool {
    let owner = |comment: &str| parse_comment(comment).map(|owner| (owner.install, owner.workspace));
    match record.comment.as_deref().and_then(owner) {
        Some(theirs) => Some(theirs) == owner(&spec.comment),
        None => false,
    }
}

fn is_as_wanted(record: &DnsRecord, spec: &RecordSpec) -> bool {
    record.kind == spec.kind.as_str()
        && record.content == spec.content
        && record.comment.as_deref() == Some(spec.comment.as_str())
        && record.proxied != Some(true)
        && record.ttl == Some(spec.ttl_secs)
}

#[derive(Serialize)]
struct Body<'a> {
    r#type: RecordKind,
    name: &'a str,
    content: &'a str,
    ttl: u32,
    proxied: bool,
    comment: &'a str,
}

impl<'a> Body<'a> {
    fn of(spec: &'a RecordSpec) -> Self {
        let RecordSpec { kind, name, content, ttl_secs, comment } = spec;
        Self { r#type: *kind, name, content, ttl: *ttl_secs, proxied: false, comment }
    }
}

#[derive(Serialize)]
struct BatchBody<'a> {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    deletes: Vec<BodyId<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    posts: Vec<Body<'a>>,
}

#[derive(Serialize)]
struct BodyId<'a> {
    id: &'a RecordId,
}

/// Parts in which nothing was done come as `null` or not at all.
#[derive(Deserialize)]
struct WireBatch {
    deletes: Option<Vec<DnsRecord>>,
    posts: Option<Vec<DnsRecord>>,
}

impl From<WireBatch> for BatchDone {
    fn from(wire: WireBatch) -> Self {
        Self { deletes: wire.deletes.unwrap_or_default(), posts: wire.posts.unwrap_or_default() }
    }
}
