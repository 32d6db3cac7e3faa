//! Primary IPs: billed on their own, also while nothing uses them; the sweep looks for those left behind.
//!
//! `GET /primary_ips`, `GET|PUT|DELETE /primary_ips/{id}`.

use super::page::{Listing, Meta};
use super::wire::{Named, time};
use super::{
    Answer, Failure, Hetzner, Labels, Lookup, Page, PrimaryIpId, Reply, ServerId, VendorError, decode,
};
use crate::http::{Http, Method};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// A primary IP as far as it concerns us.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(from = "WirePrimaryIp")]
pub struct PrimaryIp {
    pub id: PrimaryIpId,
    pub name: String,
    /// `ipv4` or `ipv6`.
    pub kind: String,
    pub ip: String,
    pub labels: Labels,
    /// The server that uses it.
    pub assigned_to: Option<ServerId>,
    /// Goes with its server.
    pub auto_delete: Option<bool>,
    pub created: Option<Timestamp>,
    pub location: Option<String>,
}

/// What came of deleting a primary IP.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DeletePrimaryIp {
    Deleted,
    /// There is none: done.
    Gone,
    /// In use, locked or protected: later, or not at all.
    InUse(VendorError),
}

impl<H: Http> Hetzner<H> {
    /// One page (from 1) of the primary IPs that match a label selector, oldest id first.
    pub async fn list_primary_ips(&self, label_selector: &str, page: u32) -> Answer<Page<PrimaryIp>> {
        let pairs = [("label_selector", label_selector), ("sort", "id:asc")];
        self.page::<PrimaryIps>("/primary_ips", &pairs, page).await
    }

    /// Reads one primary IP.
    pub async fn primary_ip(&self, id: PrimaryIpId) -> Answer<Lookup<PrimaryIp>> {
        self.look_up(&format!("/primary_ips/{id}"), |one: One| one.primary_ip).await
    }

    /// Replaces all labels of a primary IP. Safe to repeat.
    pub async fn label_primary_ip(&self, id: PrimaryIpId, labels: &Labels) -> Answer<Lookup<PrimaryIp>> {
        let request = self.request(Method::Put, &format!("/primary_ips/{id}")).json(&LabelsBody { labels });
        self.call(request).await.and_then(|reply| match reply {
            Reply::Done(body) => Ok(Lookup::Found(decode::<One>(&body)?.primary_ip)),
            Reply::Refused(error) if error.is_not_found() => Ok(Lookup::Gone),
            Reply::Refused(error) => Err(Failure::Refused(error)),
        })
    }

    /// Deletes a primary IP that nothing uses. Safe to repeat.
    pub async fn delete_primary_ip(&self, id: PrimaryIpId) -> Answer<DeletePrimaryIp> {
        let request = self.request(Method::Delete, &format!("/primary_ips/{id}"));
        self.call(Ok(request)).await.and_then(|reply| match reply {
            Reply::Done(_) => Ok(DeletePrimaryIp::Deleted),
            Reply::Refused(error) if error.is_not_found() => Ok(DeletePrimaryIp::Gone),
            Reply::Refused(error) if error.is_locked() || is_in_use(&error) => {
                Ok(DeletePrimaryIp::InUse(error))
            }
            Reply::Refused(error) => Err(Failure::Refused(error)),
        })
    }
}

fn is_in_use(error: &VendorError) -> bool {
    matches!(error.code.as_str(), "resource_in_use" | "must_be_unassigned" | "primary_ip_assigned")
}

#[derive(Serialize)]
struct LabelsBody<'a> {
    labels: &'a Labels,
}

#[derive(Deserialize)]
struct One {
    primary_ip: PrimaryIp,
}

#[derive(Deserialize)]
struct PrimaryIps {
    primary_ips: Vec<PrimaryIp>,
    meta: Option<Meta>,
}

impl Listing for PrimaryIps {
    type Item = PrimaryIp;
    fn split(self) -> (Vec<PrimaryIp>, Option<Meta>) {
        (self.primary_ips, self.meta)
    }
}

#[derive(Deserialize)]
struct WirePrimaryIp {
    id: PrimaryIpId,
    name: Option<String>,
    r#type: Option<String>,
    ip: Option<String>,
    labels: Option<Labels>,
    assignee_id: Option<ServerId>,
    auto_delete: Option<bool>,
    created: Option<String>,
    location: Option<Named>,
}

impl From<WirePrimaryIp> for PrimaryIp {
    fn from(wire: WirePrimaryIp) -> Self {
        Self {
            id: wire.id,
            name: wire.name.unwrap_or_default(),
            kind: wire.r#type.unwrap_or_default(),
            ip: wire.ip.unwrap_or_default(),
            labels: wire.labels.unwrap_or_default(),
            assigned_to: wire.assignee_id,
            auto_delete: wire.auto_delete,
            created: time(wire.created),
            location: wire.location.and_then(|named| named.name),
        }
    }
}
