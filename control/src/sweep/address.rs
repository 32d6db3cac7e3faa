//! Primary IPs that carry our label and that nothing uses: billed on their own.
//!
//! Servers make their addresses implicitly; the control plane labels them after the creation, because an address
//! without labels cannot be told from another installation's and is never touched.

use super::{Asked, First, Judged, Site, UNREADABLE, Verdict};
use crate::hetzner::PrimaryIp;
use crate::names::{self, LABEL_INSTALL};

/// Where the record of its workspace cannot be read: no machine is without its address for as long as a machine may live.
fn judge_address_by_label(address: &PrimaryIp, why: &str, site: &Site<'_>) -> Judged {
    let screened = judge_address(address, &Asked::NotYet, site);
    let expires = names::parse_labels(&address.labels).and_then(|owner| owner.expires);
    match (screened.verdict, expires) {
        (Verdict::Ask, Some(at)) if site.is_past(at, site.policy.enforcement_latency()) => {
            Judged::new(Verdict::End(First::Nothing), format!("{why}, and its label ended it at {at}"))
        }
        (Verdict::Ask, _) => Judged::new(Verdict::Leave, why),
        _ => screened,
    }
}

/// Judges one address of a listing.
pub fn judge_address(address: &PrimaryIp, asked: &Asked, site: &Site<'_>) -> Judged {
    if address.labels.get(LABEL_INSTALL).is_none_or(|install| install != site.install) {
        return Judged::new(Verdict::Leave, "it does not carry our install id");
    }
    if address.assigned_to.is_some() {
        return Judged::new(Verdict::Fine, "a server uses it");
    }
    if site.is_young(address.created) {
        return Judged::new(Verdict::Fine, "it was only just made");
    }
    let Some(owner) = names::parse_labels(&address.labels) else {
        return Judged::new(Verdict::Leave, "its labels do not say whose it is; somebody should look");
    };
    match asked {
        Asked::Unreadable => judge_address_by_label(address, UNREADABLE, site),
        Asked::NotYet => Judged::new(Verdict::Ask, "no server uses it"),
        Asked::Known(fate) if fate.may_have_machine && fate.generation == owner.generation => {
            Judged::new(Verdict::Fine, "its machine may still come to use it")
        }
        Asked::Known(_) | Asked::Unknown => {
            Judged::new(Verdict::End(First::Nothing), "no server uses it, and its machine is over")
        }
    }
}
