//! Firewalls: what may reach machines before anything on them decides it.
//!
//! `GET|POST /firewalls`, `GET /firewalls/{id}`. They cost nothing. One that selects by label covers every server with
//! that label from its first moment, with no call for the server.

use super::page::{Listing, Meta};
use super::{Answer, Failure, FirewallId, Hetzner, Labels, Lookup, Reply, VendorError, decode};
use crate::http::{Http, Method};
use serde::{Deserialize, Serialize};

/// Everybody, in both families.
const ANYBODY: [&str; 2] = ["0.0.0.0/0", "::/0"];

/// A firewall as far as it concerns us.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Firewall {
    pub id: FirewallId,
    pub name: String,
    #[serde(default)]
    pub labels: Labels,
}

/// A firewall to be made: it lets in TCP at these ports and ICMP, and nothing else.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FirewallSpec {
    /// Unique in the project.
    pub name: String,
    pub labels: Labels,
    pub tcp_ports: Vec<u16>,
    /// Which servers it covers: a label selector.
    pub covers: String,
}

/// What came of making a firewall.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CreateFirewall {
    Created(Firewall),
    /// The project has one of that name already.
    NameTaken(VendorError),
}

impl<H: Http> Hetzner<H> {
    /// Reads one firewall.
    pub async fn firewall(&self, id: FirewallId) -> Answer<Lookup<Firewall>> {
        self.look_up(&format!("/firewalls/{id}"), |one: One| one.firewall).await
    }

    /// All firewalls that match a label selector; for selectors that match few.
    pub async fn find_firewalls(&self, label_selector: &str) -> Answer<Vec<Firewall>> {
        self.all::<Firewalls>("/firewalls", &[("label_selector", label_selector), ("sort", "id:asc")]).await
    }

    /// Makes a firewall. Repeating is refused by its name.
    pub async fn create_firewall(&self, spec: &FirewallSpec) -> Answer<CreateFirewall> {
        let request = self.request(Method::Post, "/firewalls").json(&Body::from(spec));
        self.call(request).await.and_then(|reply| match reply {
            Reply::Done(body) => Ok(CreateFirewall::Created(decode::<One>(&body)?.firewall)),
            Reply::Refused(error) if error.code == "uniqueness_error" => Ok(CreateFirewall::NameTaken(error)),
            Reply::Refused(error) => Err(Failure::Refused(error)),
        })
    }
}

#[derive(Serialize)]
struct Body<'a> {
    name: &'a str,
    labels: &'a Labels,
    rules: Vec<Rule>,
    apply_to: [Target<'a>; 1],
}

#[derive(Serialize)]
struct Rule {
    direction: &'static str,
    protocol: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    port: Option<String>,
    source_ips: [&'static str; 2],
}

#[derive(Serialize)]
struct Target<'a> {
    r#type: &'static str,
    label_selector: Selector<'a>,
}

#[derive(Serialize)]
struct Selector<'a> {
    selector: &'a str,
}

impl<'a> From<&'a FirewallSpec> for Body<'a> {
    fn from(spec: &'a FirewallSpec) -> Self {
        let rule = |protocol, port| Rule { direction: "in", protocol, port, source_ips: ANYBODY };
        let ports = spec.tcp_ports.iter().map(|port| rule("tcp", Some(port.to_string())));
        Self {
            name: &spec.name,
            labels: &spec.labels,
            rules: ports.chain([rule("icmp", None)]).collect(),
            apply_to: [Target {
                r#type: "label_selector",
                label_selector: Selector { selector: &spec.covers },
            }],
        }
    }
}

#[derive(Deserialize)]
struct One {
    firewall: Firewall,
}

#[derive(Deserialize)]
struct Firewalls {
    firewalls: Vec<Firewall>,
    meta: Option<Meta>,
}

impl Listing for Firewalls {
    type Item = Firewall;
    fn split(self) -> (Vec<Firewall>, Option<Meta>) {
        (self.firewalls, self.meta)
    }
}
