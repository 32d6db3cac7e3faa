//! Rescue images: kept until the end on their label, or until their workspace is purged.

use super::{Asked, Fate, First, Judged, Site, UNREADABLE, Verdict};
use crate::hetzner::{Image, ImageStatus};
use crate::names::{self, LABEL_INSTALL};

/// Where the record of its workspace cannot be read: what can be waited for is waited for, since an image may be the only copy of
/// work; but one that outlived its label by as long as it was to be kept goes.
fn judge_image_by_label(image: &Image, why: &str, site: &Site<'_>) -> Judged {
    let screened = judge_image(image, &Asked::NotYet, site);
    let expires = names::parse_labels(&image.labels).and_then(|owner| owner.expires);
    match (screened.verdict, expires) {
        (Verdict::Ask, Some(at)) if site.is_past(at, site.policy.rescue_image_keep) => {
            Judged::new(Verdict::End(First::Nothing), format!("{why}, and its label ended it at {at}"))
        }
        (Verdict::Ask, _) => Judged::new(Verdict::Leave, why),
        _ => screened,
    }
}

/// Judges one image of a listing. There are few, so the object is asked about each that could go.
pub fn judge_image(image: &Image, asked: &Asked, site: &Site<'_>) -> Judged {
    if image.labels.get(LABEL_INSTALL).is_none_or(|install| install != site.install) {
        return Judged::new(Verdict::Leave, "it does not carry our install id");
    }
    if image.kind != "snapshot" {
        return Judged::new(Verdict::Leave, "it is no snapshot");
    }
    if image.status == ImageStatus::Creating || site.is_young(image.created) {
        return Judged::new(Verdict::Fine, "it was only just made");
    }
    let Some(owner) = names::parse_labels(&image.labels) else {
        return Judged::new(Verdict::Leave, "its labels do not say whose it is; somebody should look");
    };
    let Some(expires) = owner.expires else {
        return Judged::new(Verdict::Leave, "its labels do not say when it ends; somebody should look");
    };
    let is_past = expires < site.now;
    match asked {
        Asked::Unreadable => judge_image_by_label(image, UNREADABLE, site),
        Asked::NotYet => Judged::new(Verdict::Ask, format!("its label ends it at {expires}")),
        Asked::Known(fate) if fate.purged => {
            Judged::new(Verdict::End(First::Nothing), "its workspace is purged")
        }
        Asked::Known(fate) if fate.images.contains(&image.id.0) && fate.may_have_machine => {
            Judged::new(Verdict::Leave, format!("its workspace is {} and needs it", fate.state))
        }
        // A salvage that failed, or time in which we did nothing, moves the end that was told past that on the label.
        Asked::Known(Fate { waits: Some((id, until)), .. }) if *id == image.id.0 && *until > site.now => {
            Judged::new(Verdict::Fine, format!("work waits in it until {until}"))
        }
        Asked::Known(_) | Asked::Unknown if is_past => {
            Judged::new(Verdict::End(First::Nothing), format!("its label ended it at {expires}"))
        }
        Asked::Known(fate) if fate.images.contains(&image.id.0) => {
            Judged::new(Verdict::Fine, format!("work waits in it until {expires}"))
        }
        Asked::Known(_) | Asked::Unknown => {
            Judged::new(Verdict::Leave, format!("it is kept until {expires}"))
        }
    }
}
