//! Servers: finding, reading, relabelling and deleting them.
//!
//! `GET /servers`, `GET|PUT|DELETE /servers/{id}`. Deleting takes not-found as done and locked as later.

use super::actions::One as OneAction;
use super::page::{Listing, Meta};
use super::wire::{Named, open_enum, time};
use super::{
    Action, Answer, Failure, Hetzner, Labels, Lookup, Page, PrimaryIpId, Reply, ServerId, VendorError, decode,
};
use crate::http::{Http, Method};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::net::Ipv4Addr;

/// A server as far as it concerns us.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(from = "WireServer")]
pub struct Server {
    pub id: ServerId,
    pub name: String,
    pub status: ServerStatus,
    pub created: Option<Timestamp>,
    pub labels: Labels,
    /// Something is being done to it; changes answer 423 meanwhile.
    pub locked: bool,
    pub ipv4: Option<Ipv4Addr>,
    /// The primary IP behind `ipv4`.
    pub ipv4_id: Option<PrimaryIpId>,
    /// A /64 such as `2001:db8::/64`.
    pub ipv6: Option<String>,
    pub server_type: Option<String>,
    pub location: Option<String>,
}

open_enum! {
    /// What a server is doing.
    ServerStatus {
        Initializing = "initializing",
        Starting = "starting",
        Running = "running",
        Stopping = "stopping",
        Off = "off",
        Deleting = "deleting",
        Migrating = "migrating",
        Rebuilding = "rebuilding",
        Unknown = "unknown",
    }
}

/// What came of deleting a server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DeleteServer {
    /// On its way out; gone when a lookup says so. The action is for people: nothing depends on it.
    Deleting(Option<Action>),
    /// There is no such server: done.
    Gone,
    /// Something else is being done to it, or it is protected: later.
    Locked(VendorError),
}

/// What came of replacing a server's labels.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum UpdateLabels {
    /// Carries exactly the given labels now.
    Updated(Server),
    Gone,
    Locked(VendorError),
}

impl<H: Http> Hetzner<H> {
    /// All servers that match a label selector; for selectors that match few.
    pub async fn find_servers(&self, label_selector: &str) -> Answer<Vec<Server>> {
        self.all::<Servers>("/servers", &[("label_selector", label_selector), ("sort", "id:asc")]).await
    }

    /// One page (from 1) of the servers that match a label selector, oldest id first.
    pub async fn list_servers(&self, label_selector: &str, page: u32) -> Answer<Page<Server>> {
        self.page::<Servers>("/servers", &[("label_selector", label_selector), ("sort", "id:asc")], page)
            .await
    }

    /// Reads one server.
    pub async fn server(&self, id: ServerId) -> Answer<Lookup<Server>> {
        self.look_up(&format!("/servers/{id}"), |one: One| one.server).await
    }

    /// Deletes a server. Safe to repeat.
    pub async fn delete_server(&self, id: ServerId) -> Answer<DeleteServer> {
        let request = self.request(Method::Delete, &format!("/servers/{id}"));
        self.call(Ok(request)).await.and_then(|reply| match reply {
            Reply::Done(body) => {
                Ok(DeleteServer::Deleting(decode::<OneAction>(&body).ok().map(|one| one.action)))
            }
            Reply::Refused(error) if error.is_not_found() => Ok(DeleteServer::Gone),
            Reply::Refused(error) if error.is_locked() => Ok(DeleteServer::Locked(error)),
            Reply::Refused(error) => Err(Failure::Refused(error)),
        })
    }

    /// Replaces all labels of a server. Safe to repeat.
    pub async fn update_labels(&self, id: ServerId, labels: &Labels) -> Answer<UpdateLabels> {
        let request = self.request(Method::Put, &format!("/servers/{id}")).json(&LabelsBody { labels });
        self.call(request).await.and_then(|reply| match reply {
            Reply::Done(body) => Ok(UpdateLabels::Updated(decode::<One>(&body)?.server)),
            Reply::Refused(error) if error.is_not_found() => Ok(UpdateLabels::Gone),
            Reply::Refused(error) if error.is_locked() => Ok(UpdateLabels::Locked(error)),
            Reply::Refused(error) => Err(Failure::Refused(error)),
        })
    }
}

#[derive(Serialize)]
struct LabelsBody<'a> {
    labels: &'a Labels,
}

#[derive(Deserialize)]
struct One {
    server: Server,
}

#[derive(Deserialize)]
struct Servers {
    servers: Vec<Server>,
    meta: Option<Meta>,
}

impl Listing for Servers {
    type Item = Server;
    fn split(self) -> (Vec<Server>, Option<Meta>) {
        (self.servers, self.meta)
    }
}

#[derive(Deserialize)]
struct WireServer {
    id: ServerId,
    #[serde(default)]
    name: String,
    status: Option<ServerStatus>,
    created: Option<String>,
    labels: Option<Labels>,
    locked: Option<bool>,
    public_net: Option<WirePublicNet>,
    server_type: Option<Named>,
    location: Option<Named>,
}

#[derive(Deserialize)]
struct WirePublicNet {
    ipv4: Option<WireAddress>,
    ipv6: Option<WireAddress>,
}

#[derive(Deserialize)]
struct WireAddress {
    id: Option<PrimaryIpId>,
    ip: Option<String>,
}

impl From<WireServer> for Server {
    fn from(wire: WireServer) -> Self {
        let (ipv4, ipv6) = wire.public_net.map_or((None, None), |net| (net.ipv4, net.ipv6));
        Self {
            id: wire.id,
            name: wire.name,
            status: wire.status.unwrap_or(ServerStatus::Unknown),
            created: time(wire.created),
            labels: wire.labels.unwrap_or_default(),
            locked: wire.locked.unwrap_or(false),
            ipv4_id: ipv4.as_ref().and_then(|address| address.id),
            ipv4: ipv4.and_then(|address| address.ip).and_then(|ip| ip.parse().ok()),
            ipv6: ipv6.and_then(|address| address.ip),
            server_type: wire.server_type.and_then(|named| named.name),
            location: wire.location.and_then(|named| named.name),
        }
    }
}
