//! Servers: the rules by which a machine that nobody answers for ends, and every other one does not.
//!
//! Only our own install label, never a machine younger than `sweep_min_age`, never on the index's word. The end on a
//! label is enforced even where index and object are lost; an object that says "live" outweighs a label that is stale.

use super::{Asked, Fate, First, Judged, Row, Site, UNREADABLE, Verdict, lost};
use crate::hetzner::{CreateImage, Failure, Image, ImageStatus, Server, ServerId, ServerStatus};
use crate::names::{self, IMAGE_REFUSED, LABEL_EXPIRES, LABEL_IMAGE, LABEL_INSTALL, ResourceOwner};
use crate::record::plus;
use jiff::Timestamp;

/// Judges one server of a listing.
pub fn judge_server(server: &Server, row: Option<&Row>, asked: &Asked, site: &Site<'_>) -> Judged {
    as_wished(server, judge_listed(server, row, asked, site))
}

/// No image of a server whose label refuses one, whoever can still say what its owner wished.
fn as_wished(server: &Server, judged: Judged) -> Judged {
    let refuses = server.labels.get(LABEL_IMAGE).is_some_and(|wish| wish == IMAGE_REFUSED);
    match judged.verdict {
        Verdict::End(First::Image | First::ImageIfPossible) if refuses => {
            Judged { verdict: Verdict::End(First::Nothing), ..judged }
        }
        Verdict::End(_)
        | Verdict::Fine
        | Verdict::Ask
        | Verdict::Nudge
        | Verdict::Relabel
        | Verdict::Leave => judged,
    }
}

fn judge_listed(server: &Server, row: Option<&Row>, asked: &Asked, site: &Site<'_>) -> Judged {
    if server.labels.get(LABEL_INSTALL).is_none_or(|install| install != site.install) {
        return Judged::new(Verdict::Leave, "it does not carry our install id");
    }
    if server.status == ServerStatus::Deleting {
        return Judged::new(Verdict::Fine, "it is being deleted");
    }
    if site.is_young(server.created) {
        return Judged::new(Verdict::Fine, format!("it is younger than {}", site.policy.sweep_min_age));
    }
    match names::parse_labels(&server.labels) {
        Some(owner) => judge_owned(server, &owner, row, asked, site),
        None => judge_unreadable(server, site),
    }
}

fn judge_owned(
    server: &Server,
    owner: &ResourceOwner,
    row: Option<&Row>,
    asked: &Asked,
    site: &Site<'_>,
) -> Judged {
    let overstayed = owner.expires.filter(|at| site.is_past(*at, site.policy.sweep_label_grace));
    let fate = match asked {
        Asked::NotYet => return screen(server, owner, row, overstayed),
        Asked::Unknown => {
            return match row {
                Some(row) => lost::judge_server(owner, row, site),
                None => judge_unknown(overstayed, site),
            };
        }
        Asked::Unreadable => return judge_by_label_alone(server, UNREADABLE, site),
        Asked::Known(fate) => fate,
    };
    let end_of_label = || overstayed.map(|at| format!("its label ended it at {at}"));
    match (fate.generation.cmp(&owner.generation), fate.may_have_machine) {
        (std::cmp::Ordering::Less, _) => match end_of_label() {
            Some(because) => Judged::new(Verdict::End(first_for(overstayed, site)), because),
            None => Judged::new(
                Verdict::Leave,
                format!(
                    "it is machine {} and its workspace knows of {} only",
                    owner.generation, fate.generation
                ),
            ),
        },
        (std::cmp::Ordering::Greater, _) => Judged::new(
            Verdict::End(if fate.refuses_image { First::Nothing } else { first_for(overstayed, site) }),
            format!("its workspace has gone on to machine {}", fate.generation),
        ),
        (std::cmp::Ordering::Equal, false) => Judged::new(
            Verdict::End(fate.first(first_for(overstayed, site))),
            format!("its workspace is {} and wants no machine", fate.state),
        ),
        (std::cmp::Ordering::Equal, true) => {
            let judged = judge_live(server, owner, fate, site);
            // Whatever it finds, it writes its row: without one nobody can look at it.
            let knows = |row: &Row| row.may_have_machine() && row.generation == fate.generation;
            if judged.verdict == Verdict::Fine && !row.is_some_and(knows) {
                let known = row.map_or("does not know it".to_owned(), |row| {
                    format!("has it {} at machine {}", row.state, row.generation)
                });
                return Judged::new(
                    Verdict::Nudge,
                    format!("its workspace is {} and the index {known}", fate.state),
                );
            }
            judged
        }
    }
}

/// Judges one server where the index does not answer: by the end on its label and the word of its workspace alone. What
/// its label lets be is let be.
pub fn judge_by_label(server: &Server, asked: &Asked, site: &Site<'_>) -> Judged {
    if label_ended_at(server, site).is_none() {
        return Judged::new(Verdict::Fine, "its label has not ended it");
    }
    judge_server(server, None, asked, &Site { index_in_doubt: true, ..*site })
}

/// Where its workspace cannot say what becomes of it, and why: only what outlived its label by the time in which every
/// deadline is enforced goes, and an image is tried first. So it is where neither index nor workspace answers; and where a
/// record cannot be read, because that must not let its machine bill for ever.
pub fn judge_by_label_alone(server: &Server, why: &str, site: &Site<'_>) -> Judged {
    let screened = judge_by_label(server, &Asked::NotYet, site);
    let judged = match (screened.verdict, label_ended_at(server, site)) {
        (Verdict::Ask, Some(at)) if first_for(Some(at), site) == First::ImageIfPossible => Judged::new(
            Verdict::End(First::ImageIfPossible),
            format!("{why}, and its label ended it at {at}"),
        ),
        (Verdict::Ask, _) | (_, None) => Judged::new(Verdict::Leave, why),
        _ => screened,
    };
    as_wished(server, judged)
}

/// When its label ended it, where that is longer ago than a workspace takes to act on it.
fn label_ended_at(server: &Server, site: &Site<'_>) -> Option<Timestamp> {
    let seconds = server.labels.get(LABEL_EXPIRES)?.parse().ok()?;
    let at = Timestamp::from_second(seconds).ok()?;
    site.is_past(at, site.policy.sweep_label_grace).then_some(at)
}

/// What can be said without the object: that all is well, or that it has to be asked.
fn screen(
    server: &Server,
    owner: &ResourceOwner,
    row: Option<&Row>,
    overstayed: Option<Timestamp>,
) -> Judged {
    if let Some(at) = overstayed {
        return Judged::new(Verdict::Ask, format!("its label ended it at {at}"));
    }
    let Some(row) = row else { return Judged::new(Verdict::Ask, "the index does not know its workspace") };
    let same_server = row.server.is_none_or(|id| id == server.id.0);
    if !row.may_have_machine() {
        Judged::new(Verdict::Ask, format!("the index has its workspace {}", row.state))
    } else if row.generation != owner.generation {
        Judged::new(Verdict::Ask, format!("the index has its workspace at machine {}", row.generation))
    } else if !same_server {
        Judged::new(Verdict::Ask, "the index has another server for its machine")
    } else if owner.expires.is_none() {
        Judged::new(Verdict::Ask, format!("its label `{LABEL_EXPIRES}` cannot be read"))
    } else {
        Judged::new(Verdict::Fine, "its workspace wants it")
    }
}

fn judge_unknown(overstayed: Option<Timestamp>, site: &Site<'_>) -> Judged {
    if let Some(at) = overstayed {
        return Judged::new(
            Verdict::End(first_for(overstayed, site)),
            format!("no workspace answers for it, and its label ended it at {at}"),
        );
    }
    if site.index_in_doubt {
        let because = "no workspace answers for it, and the index may have been lost: its label will end it";
        return Judged::new(Verdict::Leave, because);
    }
    Judged::new(Verdict::End(First::Image), "no workspace answers for it, and the index has none")
}

fn judge_live(server: &Server, owner: &ResourceOwner, fate: &Fate, site: &Site<'_>) -> Judged {
    let hard_end = fate.hard_end;
    let is_stale = owner.expires.is_none_or(|at| site.is_past(at, site.policy.sweep_label_grace));
    if fate.holds && !fate.saved && hard_end < site.now {
        return Judged::new(Verdict::Leave, "its owner chose to be billed rather than to lose unsaved work");
    }
    if !site.is_past(hard_end, site.policy.sweep_label_grace) {
        if is_stale {
            return Judged::new(
                Verdict::Relabel,
                format!("its workspace is {} until {hard_end}", fate.state),
            );
        }
        // Both of a doubled machine may hold the work; the workspace deletes both by their labels when it ends.
        return match fate.server {
            Some(id) if id != server.id.0 => {
                Judged::new(Verdict::Leave, format!("its workspace runs on server {id} and ends both"))
            }
            Some(_) | None => Judged::new(Verdict::Fine, format!("its workspace is {}", fate.state)),
        };
    }
    let because = format!("its workspace is {} past its end at {hard_end}", fate.state);
    // The workspace is told first and has the time in which a deadline is enforced to act.
    if site.is_past(hard_end, site.policy.enforcement_latency()) && is_stale {
        Judged::new(Verdict::End(fate.first(First::ImageIfPossible)), because)
    } else {
        Judged::new(Verdict::Nudge, because)
    }
}

fn judge_unreadable(server: &Server, site: &Site<'_>) -> Judged {
    match label_ended_at(server, site) {
        Some(at) => Judged::new(
            Verdict::End(first_for(Some(at), site)),
            format!("its labels do not say whose it is, and its label ended it at {at}"),
        ),
        None => Judged::new(Verdict::Leave, "its labels do not say whose it is; somebody should look"),
    }
}

/// A machine whose label ended it long ago goes even where no image can be taken.
fn first_for(overstayed: Option<Timestamp>, site: &Site<'_>) -> First {
    let long_ago = |at: Timestamp| plus(at, site.policy.enforcement_latency()) < site.now;
    if overstayed.is_some_and(long_ago) { First::ImageIfPossible } else { First::Image }
}

/// How it stands with the image of a machine that is to end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Imaging {
    /// There is none yet: one is asked for.
    Take,
    /// It was asked for just now, and the machine stays until it is there.
    Asked,
    /// It is there: the machine may go.
    Taken,
    /// None can be taken, and the machine goes all the same.
    Without,
    /// The machine stays, and the report says why.
    Stays(String),
}

/// What the images that exist say about that of a server. One that came to nothing counts as a refusal, so that no turn
/// takes one more.
pub fn imaging(server: ServerId, images: &[Image], first: First) -> Imaging {
    let of_it = |status: &ImageStatus| {
        images.iter().find(|image| image.created_from == Some(server) && image.status == *status)
    };
    if of_it(&ImageStatus::Available).is_some() {
        return Imaging::Taken;
    }
    if of_it(&ImageStatus::Creating).is_some() {
        return Imaging::Stays("its image is being written".to_owned());
    }
    if let Some(failed) = of_it(&ImageStatus::Unavailable) {
        return refused(first, &format!("image {} came to nothing", failed.id));
    }
    let other = images.iter().find(|image| image.created_from == Some(server));
    other.map_or(Imaging::Take, |image| {
        Imaging::Stays(format!("its image {} is `{}`", image.id, image.status.as_str()))
    })
}

/// What the provider's answer to the call for an image means. Whatever may pass (an answer that did not come, a lock, the
/// rate limit, a token that it does not take) is no refusal.
///
/// # Errors
/// The call failed, and nothing follows from that.
pub fn imaging_answered(answer: Result<CreateImage, Failure>, first: First) -> Result<Imaging, Failure> {
    Ok(match answer {
        Ok(CreateImage::Started { .. }) => Imaging::Asked,
        Ok(CreateImage::Gone) => Imaging::Stays("it is gone".to_owned()),
        Ok(CreateImage::Locked(error)) => Imaging::Stays(format!("it is locked ({error})")),
        Ok(CreateImage::LimitExceeded(error)) | Err(Failure::Refused(error)) => {
            refused(first, &error.to_string())
        }
        Err(failure) => return Err(failure),
    })
}

fn refused(first: First, why: &str) -> Imaging {
    match first {
        First::Image => Imaging::Stays(format!("no image can be taken of it ({why}), so it stays")),
        First::ImageIfPossible | First::Nothing => Imaging::Without,
    }
}

/// Whether a server that was read again by its id is still the one that was judged.
pub fn is_same(judged: &Server, again: &Server) -> bool {
    judged.id == again.id
        && judged.name == again.name
        && judged.created == again.created
        && judged.labels == again.labels
}
