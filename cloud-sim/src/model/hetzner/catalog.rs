//! What can be bought: locations, server types with prices, system images. All figures are the local cloud's
//! own, in the vendor's shapes; nothing else may rely on their values.
//!
//! Rendered once as text, because every server carries its type, image and location whole.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json, value::RawValue};

use super::state::Project;

pub(crate) struct Location {
    pub id: u64,
    pub name: &'static str,
    country: &'static str,
    city: &'static str,
    zone: &'static str,
    latitude: f64,
    longitude: f64,
}

const fn location(
    id: u64,
    name: &'static str,
    (country, city, zone): (&'static str, &'static str, &'static str),
    (latitude, longitude): (f64, f64),
) -> Location {
    Location { id, name, country, city, zone, latitude, longitude }
}

pub(crate) const LOCATIONS: [Location; 6] = [
    location(1, "fsn1", ("DE", "Falkenstein", "eu-central"), (50.47612, 12.370071)),
    location(2, "nbg1", ("DE", "Nuremberg", "eu-central"), (49.452102, 11.076665)),
    location(3, "hel1", ("FI", "Helsinki", "eu-central"), (60.169855, 24.938379)),
    location(4, "ash", ("US", "Ashburn, VA", "us-east"), (39.045821, -77.487073)),
    location(5, "hil", ("US", "Hillsboro, OR", "us-west"), (45.54222, -122.951924)),
    location(6, "sin", ("SG", "Singapore", "ap-southeast"), (1.283333, 103.833333)),
];

const EUROPE: &[&str] = &["fsn1", "nbg1", "hel1"];
const EVERYWHERE: &[&str] = &["fsn1", "nbg1", "hel1", "ash", "hil", "sin"];

pub(crate) struct ServerType {
    pub id: u64,
    pub name: &'static str,
    cores: u32,
    memory_gb: u32,
    pub disk_gb: u32,
    pub arch: &'static str,
    pub locations: &'static [&'static str],
    /// Net price of an hour, in millionths of the currency.
    hourly_micros: u64,
}

const fn server_type(
    id: u64,
    name: &'static str,
    (cores, memory_gb, disk_gb): (u32, u32, u32),
    arch: &'static str,
    locations: &'static [&'static str],
    hourly_micros: u64,
) -> ServerType {
    ServerType { id, name, cores, memory_gb, disk_gb, arch, locations, hourly_micros }
}

pub(crate) const SERVER_TYPES: [ServerType; 7] = [
    server_type(45, "cax11", (2, 4, 40), "arm", EUROPE, 6_400),
    server_type(93, "cax21", (4, 8, 80), "arm", EUROPE, 11_200),
    server_type(108, "cpx22", (2, 4, 80), "x86", EVERYWHERE, 10_400),
    server_type(114, "cx23", (2, 4, 40), "x86", EUROPE, 5_600),
    server_type(115, "cx33", (4, 8, 80), "x86", EUROPE, 8_800),
    server_type(116, "cx43", (8, 16, 160), "x86", EUROPE, 15_200),
    server_type(117, "cx53", (16, 32, 320), "x86", EUROPE, 28_000),
];

const VAT_PERCENT: u64 = 19;
/// A month is capped at this many hours' price.
const CAP_HOURS: u64 = 624;

pub(crate) struct SystemImage {
    pub id: u64,
    pub name: &'static str,
    flavor: &'static str,
    version: &'static str,
    pub arch: &'static str,
}

const fn image(
    id: u64,
    name: &'static str,
    flavor: &'static str,
    version: &'static str,
    arch: &'static str,
) -> SystemImage {
    SystemImage { id, name, flavor, version, arch }
}

pub(crate) const SYSTEM_IMAGES: [SystemImage; 6] = [
    image(114_690_387, "debian-12", "debian", "12", "x86"),
    image(114_690_389, "debian-12", "debian", "12", "arm"),
    image(161_547_269, "ubuntu-24.04", "ubuntu", "24.04", "x86"),
    image(161_547_270, "ubuntu-24.04", "ubuntu", "24.04", "arm"),
    image(310_557_660, "debian-13", "debian", "13", "x86"),
    image(310_557_661, "debian-13", "debian", "13", "arm"),
];

/// When every catalogue entry was created: 2025-09-01.
const SINCE: &str = "2025-09-01T00:00:00Z";

/// Whether a server type can be had in a location.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Sale {
    /// It can.
    OnSale,
    /// Not at the moment.
    SoldOut,
    /// No new one is made any more.
    Withdrawn,
}

/// When what is withdrawn was announced, and since when it is not made any more.
const WITHDRAWN: (&str, &str) = ("2026-01-15T00:00:00Z", "2026-04-15T00:00:00Z");

/// Server types in locations.
pub type SoldOut = BTreeSet<(String, String)>;

/// The catalogue as text, ready to be put into answers.
#[derive(Clone, Debug)]
pub(crate) struct Catalog {
    pub locations: BTreeMap<&'static str, Box<RawValue>>,
    pub server_types: BTreeMap<&'static str, Box<RawValue>>,
    pub images: BTreeMap<u64, Box<RawValue>>,
}

impl Catalog {
    pub fn render(project: &Project) -> Self {
        let raw = |value: &Value| {
            // A `Value` always renders.
            serde_json::value::to_raw_value(value).unwrap_or_else(|_| RawValue::NULL.to_owned())
        };
        Self {
            locations: LOCATIONS.iter().map(|l| (l.name, raw(&location_json(l)))).collect(),
            server_types: SERVER_TYPES.iter().map(|t| (t.name, raw(&server_type_json(t, project)))).collect(),
            images: SYSTEM_IMAGES.iter().map(|i| (i.id, raw(&image_json(i)))).collect(),
        }
    }
}

impl Default for Catalog {
    fn default() -> Self {
        Self::render(&Project::default())
    }
}

pub(crate) fn find_location(id_or_name: &str) -> Option<&'static Location> {
    LOCATIONS.iter().find(|l| l.name == id_or_name || l.id.to_string() == id_or_name)
}

pub(crate) fn find_server_type(id_or_name: &str) -> Option<&'static ServerType> {
    SERVER_TYPES.iter().find(|t| t.name == id_or_name || t.id.to_string() == id_or_name)
}

/// Finds a system image by id, or by name for an architecture.
pub(crate) fn find_system_image(id_or_name: &str, arch: &str) -> Option<&'static SystemImage> {
    SYSTEM_IMAGES.iter().find(|i| i.id.to_string() == id_or_name || (i.name == id_or_name && i.arch == arch))
}

/// Net price of one hour of a server type, in millionths of the currency.
pub(crate) fn hourly_micros(server_type: &str) -> u64 {
    find_server_type(server_type).map_or(0, |t| t.hourly_micros)
}

/// A price in the vendor's form: decimal strings, net and gross.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Price {
    net: String,
    gross: String,
}

fn price(net_micros: u64) -> Price {
    const MICRO: u64 = 1_000_000;
    let gross = net_micros * (100 + VAT_PERCENT);
    Price {
        net: format!("{}.{:06}0000", net_micros / MICRO, net_micros % MICRO),
        gross: format!("{}.{:08}00000000", gross / (100 * MICRO), gross % (100 * MICRO)),
    }
}

fn location_json(l: &Location) -> Value {
    json!({
        "id": l.id, "name": l.name, "description": format!("{} (local)", l.city), "country": l.country,
        "city": l.city, "latitude": l.latitude, "longitude": l.longitude, "network_zone": l.zone,
    })
}

fn type_prices(t: &ServerType) -> Vec<Value> {
    t.locations
        .iter()
        .map(|location| {
            json!({
                "location": location,
                "price_hourly": price(t.hourly_micros),
                "price_monthly": price(t.hourly_micros * CAP_HOURS),
                "included_traffic": 21_990_232_555_520_u64,
                "price_per_tb_traffic": price(1_000_000),
            })
        })
        .collect()
}

fn server_type_json(t: &ServerType, project: &Project) -> Value {
    let locations: Vec<Value> = LOCATIONS
        .iter()
        .filter(|l| t.locations.contains(&l.name))
        .map(|l| {
            let key = (t.name.to_owned(), l.name.to_owned());
            let is_withdrawn = project.withdrawn.contains(&key);
            let available = !is_withdrawn && !project.sold_out.contains(&key);
            let (announced, unavailable_after) = WITHDRAWN;
            let deprecation =
                is_withdrawn.then(|| json!({"announced": announced, "unavailable_after": unavailable_after}));
            json!({
                "id": l.id, "name": l.name, "deprecation": deprecation, "available": available,
                "recommended": available,
            })
        })
        .collect();
    json!({
        "id": t.id, "name": t.name, "description": t.name.to_ascii_uppercase(), "category": "cost_optimized",
        "cores": t.cores, "memory": f64::from(t.memory_gb), "disk": t.disk_gb, "deprecated": false, "deprecation": null,
        "prices": type_prices(t), "storage_type": "local", "cpu_type": "shared", "architecture": t.arch,
        "locations": locations,
    })
}

fn image_json(i: &SystemImage) -> Value {
    json!({
        "id": i.id, "type": "system", "status": "available", "name": i.name,
        "description": format!("{} {}", i.flavor, i.version), "image_size": null, "disk_size": 5.0,
        "created": SINCE, "created_from": null, "bound_to": null, "os_flavor": i.flavor, "os_version": i.version,
        "rapid_deploy": true, "protection": {"delete": false}, "deprecated": null, "deleted": null, "labels": {},
        "architecture": i.arch,
    })
}

/// The answer to `GET /pricing`.
pub(crate) fn pricing_json() -> Value {
    let primary_ip = |kind: &str, hourly: u64| {
        let prices: Vec<Value> = LOCATIONS
            .iter()
            .map(|l| {
                json!({"location": l.name, "price_hourly": price(hourly), "price_monthly": price(hourly * CAP_HOURS)})
            })
            .collect();
        json!({"type": kind, "prices": prices})
    };
    let server_types: Vec<Value> =
        SERVER_TYPES.iter().map(|t| json!({"id": t.id, "name": t.name, "prices": type_prices(t)})).collect();
    json!({"pricing": {
        "currency": "EUR", "vat_rate": format!("{VAT_PERCENT}.000000"),
        "image": {"price_per_gb_month": price(11_000)},
        "volume": {"price_per_gb_month": price(44_000)},
        "server_backup": {"percentage": "20.0000000000"},
        "floating_ip": {"price_monthly": price(3_000_000)}, "floating_ips": [], "load_balancer_types": [],
        "primary_ips": [primary_ip("ipv4", 800), primary_ip("ipv6", 0)],
        "server_types": server_types,
    }})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prices_are_decimal_strings_with_tax_added() {
        let found = price(5_600);
        assert_eq!(found.net, "0.0056000000");
        assert_eq!(found.gross, "0.0066640000000000");
    }

    #[test]
    fn an_image_name_is_found_for_the_architecture_asked() {
        let arm = find_system_image("ubuntu-24.04", "arm").map(|i| i.id);
        let x86 = find_system_image("ubuntu-24.04", "x86").map(|i| i.id);
        assert!(arm.is_some() && x86.is_some() && arm != x86);
        assert!(find_system_image("ubuntu-9.10", "x86").is_none());
    }

    #[test]
    fn a_location_that_is_sold_out_or_withdrawn_says_so() {
        let sold_out = SoldOut::from([("cx23".to_owned(), "fsn1".to_owned())]);
        let withdrawn = SoldOut::from([("cx23".to_owned(), "hel1".to_owned())]);
        let catalog = Catalog::render(&Project { sold_out, withdrawn, ..Project::default() });
        let found: Value = serde_json::from_str(catalog.server_types["cx23"].get()).unwrap();
        assert_eq!(found["locations"][0]["name"], "fsn1");
        assert_eq!(found["locations"][0]["available"], false);
        assert_eq!(found["locations"][1]["available"], true);
        assert_eq!(found["locations"][2]["deprecation"]["unavailable_after"], WITHDRAWN.1);
    }
}
