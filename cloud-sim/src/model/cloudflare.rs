//! Cloudflare's API v4 as far as DNS goes: zones, records, batches, token check.
//!
//! Envelope `{success, errors, messages, result, result_info}`. Codes that the vendor documents nowhere are
//! marked where they are used; no client may depend on more than their being there.

mod batch;
mod filter;
mod records;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{
    Cloud,
    clock::rfc3339,
    mix,
    wire::{BadBody, Call, Request, Response},
};

/// One DNS zone.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Zone {
    pub id: String,
    pub name: String,
    pub(crate) records: BTreeMap<String, DnsRecord>,
}

/// One DNS record, as it is stored.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DnsRecord {
    pub id: String,
    /// Complete name, lower case.
    pub name: String,
    pub kind: String,
    pub content: String,
    pub ttl: u32,
    pub proxied: bool,
    pub comment: Option<String>,
    pub tags: Vec<String>,
    pub priority: Option<u16>,
    pub data: Option<Value>,
    pub created_ms: i64,
    pub modified_ms: i64,
    /// Order of creation.
    pub(crate) seq: u64,
}

/// Why the vendor says no.
#[derive(Debug)]
pub(crate) struct Refusal {
    status: u16,
    code: u32,
    message: String,
}

impl Refusal {
    fn new(status: u16, code: u32, message: impl Into<String>) -> Self {
        Self { status, code, message: message.into() }
    }

    fn no_record() -> Self {
        Self::new(404, 81044, "Record does not exist.")
    }

    fn response(&self) -> Response {
        Response::of(
            self.status,
            &json!({
                "success": false, "errors": [{"code": self.code, "message": self.message}], "messages": [], "result": null,
            }),
        )
    }
}

impl From<BadBody> for Refusal {
    fn from(bad: BadBody) -> Self {
        match bad {
            BadBody::Syntax => Self::new(400, 9207, "Request body is invalid."),
            BadBody::Shape(why) => Self::new(400, 9207, format!("Request body is invalid: {why}")),
        }
    }
}

type Reply = Result<Response, Refusal>;

fn success(result: &Value) -> Response {
    Response::of(200, &json!({"success": true, "errors": [], "messages": [], "result": result}))
}

/// Cuts the page that the query asks for and says which one it is.
fn page<T>(
    call: &Call<'_>,
    all: Vec<T>,
    default_per_page: u64,
    max_per_page: u64,
) -> Result<(Vec<T>, Value), Refusal> {
    let number = |name: &str, default: u64| match call.one(name) {
        None => Ok(default),
        Some(text) => text
            .parse::<f64>()
            .ok()
            .filter(|n| *n >= 1.0 && n.fract() == 0.0)
            .map(|n| n as u64)
            .ok_or_else(|| Refusal::new(400, 9207, format!("Invalid value for {name}."))),
    };
    let page = number("page", 1)?;
    let per_page = number("per_page", default_per_page)?.min(max_per_page);
    let total = all.len() as u64;
    let skip = usize::try_from((page - 1).saturating_mul(per_page)).unwrap_or(usize::MAX);
    let items: Vec<T> =
        all.into_iter().skip(skip).take(usize::try_from(per_page).unwrap_or(usize::MAX)).collect();
    let info = json!({
        "page": page, "per_page": per_page, "count": items.len(), "total_count": total,
        "total_pages": total.div_ceil(per_page),
    });
    Ok((items, info))
}

impl Cloud {
    /// Makes the configured zone exist; its id follows from its name.
    pub(crate) fn add_zone(&mut self) {
        let name = self.config.zone.clone();
        let id = zone_id(&name);
        self.zones.entry(id.clone()).or_insert_with(|| Zone { id, name, records: BTreeMap::new() });
    }

    /// The id of the configured zone.
    pub fn zone_id(&self) -> String {
        zone_id(&self.config.zone)
    }

    pub(crate) fn cloudflare(&mut self, call: &Call<'_>) -> Response {
        self.cloudflare_route(call).unwrap_or_else(|refusal| refusal.response())
    }

    fn cloudflare_route(&mut self, call: &Call<'_>) -> Reply {
        let segments: Vec<&str> = call.path.trim_matches('/').split('/').collect();
        match (call.method, segments.as_slice()) {
            ("GET", ["user", "tokens", "verify"]) => Ok(token_is_active()),
            ("GET", ["zones"]) => self.list_zones(call),
            ("GET", ["zones", zone]) => self.zone(zone).map(|zone| success(&zone_json(zone))),
            (_, ["zones", zone, "dns_records", rest @ ..]) => {
                self.zone(zone)?;
                self.dns_route(call, zone, rest)
            }
            _ => Err(Refusal::new(404, 7003, format!("Could not route to {}", call.path))),
        }
    }

    fn dns_route(&mut self, call: &Call<'_>, zone: &str, rest: &[&str]) -> Reply {
        match (call.method, rest) {
            ("GET", []) => self.list_records(call, zone),
            ("POST", []) => self.create_record(call, zone),
            ("POST", ["batch"]) => self.batch_records(call, zone),
            ("GET", [id]) => self.get_record(zone, id),
            ("PUT", [id]) => self.replace_record(call, zone, id),
            ("PATCH", [id]) => self.edit_record(call, zone, id),
            ("DELETE", [id]) => self.delete_record(zone, id),
            _ => Err(Refusal::new(405, 10405, "Method not allowed for this endpoint.")),
        }
    }

    fn zone(&self, id: &str) -> Result<&Zone, Refusal> {
        self.zones.get(id).ok_or_else(|| Refusal::new(404, 1001, "Invalid zone identifier"))
    }

    fn list_zones(&self, call: &Call<'_>) -> Reply {
        let (name, status) = (call.one("name"), call.one("status"));
        let found: Vec<Value> = self
            .zones
            .values()
            .filter(|zone| name.is_none_or(|name| zone.name.eq_ignore_ascii_case(name)))
            .filter(|_| status.is_none_or(|status| status == "active"))
            .map(zone_json)
            .collect();
        let (zones, info) = page(call, found, 20, 50)?;
        Ok(listed(&json!(zones), &info))
    }
}

fn listed(result: &Value, info: &Value) -> Response {
    Response::of(
        200,
        &json!({"success": true, "errors": [], "messages": [], "result": result, "result_info": info}),
    )
}

fn zone_id(name: &str) -> String {
    let seed = name.bytes().fold(0_u64, |state, byte| mix(state ^ u64::from(byte)));
    format!("{seed:016x}{:016x}", mix(seed))
}

fn zone_json(zone: &Zone) -> Value {
    let since = rfc3339(1_756_684_800_000);
    json!({
        "id": zone.id, "name": zone.name, "status": "active", "paused": false, "type": "full", "development_mode": 0,
        "name_servers": ["a.ns.example", "b.ns.example"], "original_name_servers": [], "original_registrar": null,
        "original_dnshost": null, "created_on": since, "modified_on": since, "activated_on": since,
        "owner": {"id": null, "type": "user", "email": null}, "account": {"id": zone.id, "name": "local cloud"},
        "meta": {"step": 2, "custom_certificate_quota": 0, "page_rule_quota": 3, "phishing_detected": false},
        "permissions": ["#dns_records:edit", "#dns_records:read", "#zone:read"],
        "plan": {"id": "free", "name": "Free Website", "price": 0, "currency": "USD", "legacy_id": "free"},
    })
}

fn token_is_active() -> Response {
    Response::of(
        200,
        &json!({
            "success": true, "errors": [],
            "messages": [{"code": 10000, "message": "This API Token is valid and active", "type": null}],
            "result": {"id": zone_id("token"), "status": "active"},
        }),
    )
}

pub(crate) fn unauthorized(request: &Request, path: &str) -> Response {
    if path.trim_matches('/') == "user/tokens/verify" {
        return Refusal::new(401, 1000, "Invalid API Token").response();
    }
    let status = if request.bearer_token().is_some() { 403 } else { 401 };
    Refusal::new(status, 10000, "Authentication error").response()
}

pub(crate) fn rate_limited() -> Response {
    Refusal::new(429, 971, "Please wait and consider throttling your request speed").response()
}

pub(crate) fn refused(status: u16, code: &str, message: &str) -> Response {
    // Rules may name Hetzner's words here too; the vendor's codes are numbers of at least 1000.
    Refusal::new(status, code.parse().unwrap_or(10013), message).response()
}
