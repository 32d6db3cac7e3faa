//! Which records a list call finds, and in which order.
//!
//! Name and content take a bare value or `.exact`, `.contains`, `.startswith`, `.endswith`; comments also
//! `.present` and `.absent`. Comparison ignores case.

use super::DnsRecord;
use crate::model::wire::Call;

/// Whether a record passes the filters of the query.
pub(super) fn matches(call: &Call<'_>, record: &DnsRecord) -> bool {
    let mut verdicts = Vec::new();
    if let Some(kind) = call.one("type") {
        verdicts.push(kind.eq_ignore_ascii_case(&record.kind));
    }
    if let Some(proxied) = call.one("proxied") {
        verdicts.push(proxied.eq_ignore_ascii_case(if record.proxied { "true" } else { "false" }));
    }
    let comment = record.comment.as_deref().unwrap_or("");
    for (field, value) in [("name", record.name.as_str()), ("content", &record.content), ("comment", comment)]
    {
        text_verdicts(call, field, value, &mut verdicts);
    }
    if call.one("comment.present").is_some() {
        verdicts.push(record.comment.is_some());
    }
    if call.one("comment.absent").is_some() {
        verdicts.push(record.comment.is_none());
    }
    let found = call.one("search").is_none_or(|text| {
        let text = text.to_ascii_lowercase();
        [record.name.as_str(), &record.content, comment]
            .iter()
            .any(|value| value.to_ascii_lowercase().contains(&text))
    });
    let matched = match call.one("match") {
        Some("any") => verdicts.is_empty() || verdicts.contains(&true),
        _ => !verdicts.contains(&false),
    };
    found && matched
}

fn text_verdicts(call: &Call<'_>, field: &str, value: &str, verdicts: &mut Vec<bool>) {
    let value = value.to_ascii_lowercase();
    for (key, wanted) in call.query {
        let Some(rest) = key.strip_prefix(field) else { continue };
        let wanted = wanted.to_ascii_lowercase();
        match rest {
            "" | ".exact" => verdicts.push(value == wanted.trim_end_matches('.')),
            ".contains" => verdicts.push(value.contains(&wanted)),
            ".startswith" => verdicts.push(value.starts_with(&wanted)),
            ".endswith" => verdicts.push(value.ends_with(&wanted)),
            _ => {}
        }
    }
}

/// Sorts by `order` and `direction`; by default in order of creation.
pub(super) fn order(call: &Call<'_>, records: &mut [&DnsRecord]) {
    records.sort_by_key(|record| record.seq);
    match call.one("order") {
        Some("type") => records.sort_by(|a, b| a.kind.cmp(&b.kind)),
        Some("name") => records.sort_by(|a, b| a.name.cmp(&b.name)),
        Some("content") => records.sort_by(|a, b| a.content.cmp(&b.content)),
        Some("ttl") => records.sort_by_key(|record| record.ttl),
        Some("proxied") => records.sort_by_key(|record| record.proxied),
        _ => {}
    }
    if call.one("direction") == Some("desc") {
        records.reverse();
    }
}
