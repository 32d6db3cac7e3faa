//! From a host name to a server, through the records that the client created.
//!
//! The zone's wildcards follow RFC 4592: a name that exists (by a record of any type at it or below it) ends
//! every wildcard above it. Only the leading label of a record name is a wildcard.

use std::net::Ipv4Addr;

use super::{Cloud, DnsRecord, ServerStatus, cloudflare::Zone};

/// Longest chain of CNAME records followed.
const MAX_CHAIN: usize = 8;

impl Cloud {
    /// The server that a host name leads to, if the name resolves and the address belongs to a server.
    pub fn resolve_server(&self, host: &str) -> Option<u64> {
        let address = self.resolve(host).into_iter().next()?.to_string();
        let ip = self.project.primary_ips.values().find(|ip| ip.ip == address)?;
        let server = self.project.servers.get(&ip.assignee?)?;
        (server.status != ServerStatus::Deleting).then_some(server.id)
    }

    /// The IPv4 addresses of a host name, oldest record first.
    pub fn resolve(&self, host: &str) -> Vec<Ipv4Addr> {
        let mut name = host.trim_end_matches('.').to_ascii_lowercase();
        for _ in 0..MAX_CHAIN {
            let Some(zone) = self.zones.values().find(|zone| is_at_or_below(&name, &zone.name)) else {
                return Vec::new();
            };
            let records = answer(zone, &name);
            match records.iter().find(|record| record.kind == "CNAME") {
                Some(alias) => name = alias.content.trim_end_matches('.').to_ascii_lowercase(),
                None => {
                    return records
                        .iter()
                        .filter(|record| record.kind == "A")
                        .filter_map(|record| record.content.parse().ok())
                        .collect();
                }
            }
        }
        Vec::new()
    }
}

fn is_at_or_below(name: &str, top: &str) -> bool {
    name == top || name.strip_suffix(top).is_some_and(|rest| rest.ends_with('.'))
}

fn exists(zone: &Zone, name: &str) -> bool {
    name == zone.name || zone.records.values().any(|record| is_at_or_below(&record.name, name))
}

fn at<'a>(zone: &'a Zone, name: &str) -> Vec<&'a DnsRecord> {
    let mut found: Vec<&DnsRecord> = zone.records.values().filter(|record| record.name == name).collect();
    found.sort_by_key(|record| record.seq);
    found
}

fn answer<'a>(zone: &'a Zone, name: &str) -> Vec<&'a DnsRecord> {
    let mut ancestor = name;
    while !exists(zone, ancestor) {
        match ancestor.split_once('.') {
            Some((_, parent)) => ancestor = parent,
            None => return Vec::new(),
        }
    }
    if ancestor == name { at(zone, name) } else { at(zone, &format!("*.{ancestor}")) }
}
