//! DNS records one at a time: what may be stored, and create, read, replace, edit, delete.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer};
use serde_json::{Value, json};

use super::{DnsRecord, Refusal, Reply, listed, page, success};
use crate::model::{Cloud, clock::rfc3339, wire::Call};

const TYPES: [&str; 21] = [
    "A",
    "AAAA",
    "CAA",
    "CERT",
    "CNAME",
    "DNSKEY",
    "DS",
    "HTTPS",
    "LOC",
    "MX",
    "NAPTR",
    "NS",
    "OPENPGPKEY",
    "PTR",
    "SMIMEA",
    "SRV",
    "SSHFP",
    "SVCB",
    "TLSA",
    "TXT",
    "URI",
];
/// Comments on the free plan.
const MAX_COMMENT: usize = 100;

/// What a caller sends of a record; absent fields keep their value in an edit.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Draft {
    pub id: Option<String>,
    #[serde(rename = "type")]
    kind: Option<String>,
    name: Option<String>,
    content: Option<String>,
    ttl: Option<f64>,
    proxied: Option<bool>,
    #[serde(default, deserialize_with = "given")]
    comment: Option<Option<String>>,
    tags: Option<Vec<String>>,
    priority: Option<u16>,
    data: Option<Value>,
}

/// Tells `null` from absence.
fn given<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Option<String>>, D::Error> {
    Option::deserialize(deserializer).map(Some)
}

/// The records of a zone while they are being changed, so that a batch can be dropped whole.
pub(super) struct Draftsheet<'a> {
    pub records: BTreeMap<String, DnsRecord>,
    pub zone: &'a str,
    pub limit: usize,
    pub now_ms: i64,
}

impl Draftsheet<'_> {
    pub fn create(&mut self, id: String, seq: u64, draft: Draft) -> Result<DnsRecord, Refusal> {
        if self.records.len() >= self.limit {
            return Err(Refusal::new(400, 81045, "Record quota exceeded."));
        }
        self.put(id, seq, self.now_ms, draft)
    }

    /// PUT: everything that is not given takes its default.
    pub fn replace(&mut self, id: &str, draft: Draft) -> Result<DnsRecord, Refusal> {
        let old = self.records.get(id).ok_or_else(Refusal::no_record)?;
        let (seq, created_ms) = (old.seq, old.created_ms);
        self.put(id.to_owned(), seq, created_ms, draft)
    }

    /// PATCH: everything that is not given stays.
    pub fn edit(&mut self, id: &str, draft: Draft) -> Result<DnsRecord, Refusal> {
        let old = self.records.get(id).ok_or_else(Refusal::no_record)?;
        let merged = Draft {
            id: None,
            kind: draft.kind.or_else(|| Some(old.kind.clone())),
            name: draft.name.or_else(|| Some(old.name.clone())),
            content: draft.content.or_else(|| Some(old.content.clone())),
            ttl: draft.ttl.or(Some(f64::from(old.ttl))),
            proxied: draft.proxied.or(Some(old.proxied)),
            comment: draft.comment.or_else(|| Some(old.comment.clone())),
            tags: draft.tags.or_else(|| Some(old.tags.clone())),
            priority: draft.priority.or(old.priority),
            data: draft.data.or_else(|| old.data.clone()),
        };
        let (seq, created_ms) = (old.seq, old.created_ms);
        self.put(id.to_owned(), seq, created_ms, merged)
    }

    pub fn delete(&mut self, id: &str) -> Result<DnsRecord, Refusal> {
        self.records.remove(id).ok_or_else(Refusal::no_record)
    }

    fn put(&mut self, id: String, seq: u64, created_ms: i64, draft: Draft) -> Result<DnsRecord, Refusal> {
        let record = self.check(id, seq, created_ms, draft)?;
        for other in self.records.values().filter(|other| other.id != record.id && other.name == record.name)
        {
            if other.kind == record.kind && other.content == record.content {
                return Err(Refusal::new(400, 81058, "An identical record already exists."));
            }
            if record.kind == "CNAME" && is_address(&other.kind) {
                return Err(Refusal::new(
                    400,
                    81053,
                    "An A, AAAA, or CNAME record with that host already exists.",
                ));
            }
            if other.kind == "CNAME" && is_address(&record.kind) {
                return Err(Refusal::new(400, 81054, "A CNAME record with that host already exists."));
            }
        }
        self.records.insert(record.id.clone(), record.clone());
        Ok(record)
    }

    fn check(&self, id: String, seq: u64, created_ms: i64, draft: Draft) -> Result<DnsRecord, Refusal> {
        let kind = draft.kind.unwrap_or_default();
        if !TYPES.contains(&kind.as_str()) {
            return Err(Refusal::new(400, 1004, "DNS Validation Error: invalid record type."));
        }
        let name = complete_name(&draft.name.unwrap_or_default(), self.zone)
            .ok_or_else(|| Refusal::new(400, 9000, "DNS name is invalid."))?;
        let content = checked_content(&kind, draft.content, draft.data.as_ref())?;
        let ttl = draft.ttl.unwrap_or(1.0);
        if ttl.fract() != 0.0 || !(ttl == 1.0 || (60.0..=86_400.0).contains(&ttl)) {
            let message = "Invalid TTL. Must be between 60 and 86,400 seconds, or 1 for Automatic.";
            return Err(Refusal::new(400, 9021, message));
        }
        let comment = draft.comment.flatten().filter(|comment| !comment.is_empty());
        if comment.as_ref().is_some_and(|comment| comment.chars().count() > MAX_COMMENT) {
            return Err(Refusal::new(
                400,
                1004,
                "DNS Validation Error: comment exceeds the maximum length of 100.",
            ));
        }
        let tags = draft.tags.unwrap_or_default();
        if !tags.is_empty() {
            return Err(Refusal::new(400, 9300, "DNS record tags exceed the quota of 0."));
        }
        Ok(DnsRecord {
            id,
            name,
            proxied: draft.proxied.unwrap_or(false) && is_address(&kind),
            kind,
            content,
            ttl: ttl as u32,
            comment,
            tags,
            priority: draft.priority,
            data: draft.data,
            created_ms,
            modified_ms: self.now_ms,
            seq,
        })
    }
}

fn is_address(kind: &str) -> bool {
    matches!(kind, "A" | "AAAA" | "CNAME")
}

fn checked_content(kind: &str, content: Option<String>, data: Option<&Value>) -> Result<String, Refusal> {
    let content = match (content, data) {
        (Some(content), _) => content,
        (None, Some(data)) => data.to_string(),
        (None, None) => String::new(),
    };
    let refuse = |code, what: &str| Err(Refusal::new(400, code, format!("Content for {kind} record {what}")));
    match kind {
        "A" if content.parse::<std::net::Ipv4Addr>().is_err() => {
            refuse(9005, "must be a valid IPv4 address.")
        }
        "AAAA" if content.parse::<std::net::Ipv6Addr>().is_err() => {
            refuse(9006, "must be a valid IPv6 address.")
        }
        "CNAME" if !is_dns_name(&content.to_ascii_lowercase()) => refuse(9007, "must be a valid name."),
        _ if content.is_empty() => refuse(9020, "must not be empty."),
        _ => Ok(content),
    }
}

/// Completes a relative name with the zone's; nothing where the result is no DNS name.
fn complete_name(name: &str, zone: &str) -> Option<String> {
    let name = name.trim_end_matches('.').to_ascii_lowercase();
    let inside = name == zone || name.strip_suffix(zone).is_some_and(|rest| rest.ends_with('.'));
    let full = match name.as_str() {
        "" => return None,
        "@" => zone.to_owned(),
        _ if inside => name,
        _ => format!("{name}.{zone}"),
    };
    is_dns_name(&full).then_some(full)
}

fn is_dns_name(name: &str) -> bool {
    name.len() <= 253
        && name.split('.').all(|label| {
            label == "*"
                || (!label.is_empty()
                    && label.len() <= 63
                    && label
                        .bytes()
                        .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b'_')))
        })
}

pub(super) fn record_json(record: &DnsRecord) -> Value {
    let mut view = json!({
        "id": record.id, "name": record.name, "type": record.kind, "content": record.content, "ttl": record.ttl,
        "proxiable": is_address(&record.kind), "proxied": record.proxied, "settings": {}, "meta": {},
        "comment": record.comment, "tags": record.tags, "created_on": rfc3339(record.created_ms),
        "modified_on": rfc3339(record.modified_ms),
    });
    if let Some(fields) = view.as_object_mut() {
        let extra = [("priority", record.priority.map(Value::from)), ("data", record.data.clone())];
        fields
            .extend(extra.into_iter().filter_map(|(key, value)| value.map(|value| (key.to_owned(), value))));
    }
    view
}

impl Cloud {
    /// Runs a change on a copy of the zone's records and keeps it only if all of it was allowed.
    pub(super) fn change_records<T>(
        &mut self,
        call: &Call<'_>,
        zone: &str,
        change: impl FnOnce(&mut Draftsheet<'_>, &mut dyn FnMut() -> (String, u64)) -> Result<T, Refusal>,
    ) -> Result<T, Refusal> {
        let current = self.zone(zone)?;
        let (name, records) = (current.name.clone(), current.records.clone());
        let mut sheet =
            Draftsheet { records, zone: &name, limit: self.config.record_limit, now_ms: call.now_ms };
        let mut fresh = || (self.token(), self.new_id());
        let outcome = change(&mut sheet, &mut fresh)?;
        let records = sheet.records;
        if let Some(zone) = self.zones.get_mut(zone) {
            zone.records = records;
        }
        Ok(outcome)
    }

    pub(super) fn create_record(&mut self, call: &Call<'_>, zone: &str) -> Reply {
        let draft: Draft = call.parse()?;
        self.change_records(call, zone, |sheet, fresh| {
            let (id, seq) = fresh();
            sheet.create(id, seq, draft)
        })
        .map(|record| success(&record_json(&record)))
    }

    pub(super) fn get_record(&self, zone: &str, id: &str) -> Reply {
        let record = self.zone(zone)?.records.get(id).ok_or_else(Refusal::no_record)?;
        Ok(success(&record_json(record)))
    }

    pub(super) fn replace_record(&mut self, call: &Call<'_>, zone: &str, id: &str) -> Reply {
        let draft: Draft = call.parse()?;
        self.change_records(call, zone, |sheet, _| sheet.replace(id, draft))
            .map(|record| success(&record_json(&record)))
    }

    pub(super) fn edit_record(&mut self, call: &Call<'_>, zone: &str, id: &str) -> Reply {
        let draft: Draft = call.parse()?;
        self.change_records(call, zone, |sheet, _| sheet.edit(id, draft))
            .map(|record| success(&record_json(&record)))
    }

    pub(super) fn delete_record(&mut self, zone: &str, id: &str) -> Reply {
        self.zone(zone)?;
        let removed = self.zones.get_mut(zone).and_then(|zone| zone.records.remove(id));
        removed.map(|record| success(&json!({"id": record.id}))).ok_or_else(Refusal::no_record)
    }

    pub(super) fn list_records(&self, call: &Call<'_>, zone: &str) -> Reply {
        let mut found: Vec<&DnsRecord> =
            self.zone(zone)?.records.values().filter(|record| super::filter::matches(call, record)).collect();
        super::filter::order(call, &mut found);
        let (records, info) = page(call, found, 100, 5_000_000)?;
        let views: Vec<Value> = records.into_iter().map(record_json).collect();
        Ok(listed(&json!(views), &info))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_completed_with_the_zone() {
        for (name, expect) in [
            ("a", Some("a.z.example")),
            ("A.z.example", Some("a.z.example")),
            ("a.z.example.", Some("a.z.example")),
            ("@", Some("z.example")),
            ("z.example", Some("z.example")),
            ("*.a", Some("*.a.z.example")),
            ("notz.example", Some("notz.example.z.example")),
            ("", None),
            ("a b", None),
            ("a..b", None),
        ] {
            assert_eq!(complete_name(name, "z.example").as_deref(), expect, "{name}");
        }
        assert_eq!(complete_name(&"x".repeat(64), "z.example"), None);
    }
}
