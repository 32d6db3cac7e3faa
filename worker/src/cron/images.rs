//! Images past their end or of purged workspaces, and addresses that nothing uses: labelled things, walked alike.

use super::end::subject;
use super::listing::{FOR_THE_REST, Stretch, read};
use super::turn::{Ended, Subject, Sweeper, Trouble};
use ebbtide_control::hetzner::{DeleteImage, DeletePrimaryIp, Image, Labels, Lookup, PrimaryIp, PrimaryIpId};
use ebbtide_control::names;
use ebbtide_control::sweep::address::judge_address;
use ebbtide_control::sweep::image::judge_image;
use ebbtide_control::sweep::state::{Cursor, PartState};
use ebbtide_control::sweep::walk::Walk;
use ebbtide_control::sweep::{Asked, Judged, Site, Verdict};

/// Calls for one: the question, a second look and the deletion.
const ONE: u32 = 3;

/// Something labelled, of either kind.
enum Thing {
    Image(Image),
    Address(PrimaryIp),
}

/// Walks on through the images of this installation.
///
/// # Errors
/// What stopped it.
pub async fn images(sweeper: &mut Sweeper<'_>, state: &mut PartState) -> Result<Ended, Trouble> {
    walk(sweeper, state, Kind::Images).await
}

/// Walks on through the addresses of this installation.
///
/// # Errors
/// What stopped it.
pub async fn addresses(sweeper: &mut Sweeper<'_>, state: &mut PartState) -> Result<Ended, Trouble> {
    walk(sweeper, state, Kind::Addresses).await
}

#[derive(Clone, Copy)]
enum Kind {
    Images,
    Addresses,
}

async fn walk(sweeper: &mut Sweeper<'_>, state: &mut PartState, kind: Kind) -> Result<Ended, Trouble> {
    let mut walk = match &state.cursor {
        Cursor::Listing(walk) => walk.clone(),
        Cursor::Start | Cursor::After { .. } | Cursor::Below { .. } => {
            state.seen = 0;
            Walk::default()
        }
    };
    let ended = go(sweeper, state, &mut walk, kind).await;
    state.cursor = Cursor::Listing(walk);
    ended
}

async fn go(
    sweeper: &mut Sweeper<'_>,
    state: &mut PartState,
    walk: &mut Walk,
    kind: Kind,
) -> Result<Ended, Trouble> {
    let selector = names::install_selector(&sweeper.app.config.install_id);
    let mut next = None;
    while sweeper.has(FOR_THE_REST.saturating_add(1)) {
        let (things, is_last) = match kind {
            Kind::Images => {
                let fetch = async |page| sweeper.hetzner.list_images(&selector, page).await;
                let Stretch { items, is_last } =
                    read(sweeper, walk, &mut next, |image: &Image| image.id.0, fetch).await?;
                (
                    items.into_iter().map(|(page, image)| (page, Thing::Image(image))).collect::<Vec<_>>(),
                    is_last,
                )
            }
            Kind::Addresses => {
                let fetch = async |page| sweeper.hetzner.list_primary_ips(&selector, page).await;
                let Stretch { items, is_last } =
                    read(sweeper, walk, &mut next, |address: &PrimaryIp| address.id.0, fetch).await?;
                (items.into_iter().map(|(page, address)| (page, Thing::Address(address))).collect(), is_last)
            }
        };
        let site = sweeper.site(false);
        for (page, thing) in things {
            if !one(sweeper, state, &thing, &site).await? {
                return Ok(Ended::Turn);
            }
            state.seen = state.seen.saturating_add(1);
            walk.passed(thing.id(), page);
        }
        if is_last {
            return Ok(Ended::Round);
        }
    }
    Ok(Ended::Turn)
}

impl Thing {
    fn id(&self) -> u64 {
        match self {
            Self::Image(image) => image.id.0,
            Self::Address(address) => address.id.0,
        }
    }

    fn labels(&self) -> &Labels {
        match self {
            Self::Image(image) => &image.labels,
            Self::Address(address) => &address.labels,
        }
    }

    fn judge(&self, asked: &Asked, site: &Site<'_>) -> Judged {
        match self {
            Self::Image(image) => judge_image(image, asked, site),
            Self::Address(address) => judge_address(address, asked, site),
        }
    }

    fn subject(&self) -> Subject {
        let what = match self {
            Self::Image(image) => format!("image {}", image.id),
            Self::Address(address) => format!("address {}", address.id),
        };
        subject(what, self.labels())
    }

    /// Deletes it where a second look by its id finds it unchanged; says what came of it and whether it ended.
    async fn end(&self, sweeper: &Sweeper<'_>) -> Result<(String, bool), Trouble> {
        let changed = || Ok(("it changed since it was listed".to_owned(), false));
        let gone = || Ok(("it is gone".to_owned(), false));
        match self {
            Self::Image(image) => {
                match sweeper.hetzner.image(image.id).await.outcome? {
                    Lookup::Gone => return gone(),
                    Lookup::Found(again) if again != *image => return changed(),
                    Lookup::Found(_) => {}
                }
                match sweeper.hetzner.delete_image(image.id).await.outcome? {
                    DeleteImage::Deleted => Ok(("ended".to_owned(), true)),
                    DeleteImage::Gone => gone(),
                    DeleteImage::Locked(error) => Ok((format!("it is locked ({error})"), false)),
                }
            }
            Self::Address(PrimaryIp { id, .. }) => {
                let id: PrimaryIpId = *id;
                match sweeper.hetzner.primary_ip(id).await.outcome? {
                    Lookup::Gone => return gone(),
                    Lookup::Found(again) if !matches!(self, Self::Address(judged) if *judged == again) => {
                        return changed();
                    }
                    Lookup::Found(_) => {}
                }
                match sweeper.hetzner.delete_primary_ip(id).await.outcome? {
                    DeletePrimaryIp::Deleted => Ok(("ended".to_owned(), true)),
                    DeletePrimaryIp::Gone => gone(),
                    DeletePrimaryIp::InUse(error) => Ok((format!("it is in use ({error})"), false)),
                }
            }
        }
    }
}

/// Deals with one; `false` where calls or the limit are used up.
async fn one(
    sweeper: &mut Sweeper<'_>,
    state: &mut PartState,
    thing: &Thing,
    site: &Site<'_>,
) -> Result<bool, Trouble> {
    let mut judged = thing.judge(&Asked::NotYet, site);
    let subject = thing.subject();
    if let (Verdict::Ask, Some(id)) = (judged.verdict, &subject.workspace) {
        if !sweeper.has(ONE) {
            return Ok(false);
        }
        judged = match sweeper.ask(id).await {
            Ok(asked) => thing.judge(&asked, site),
            Err(silence) => silence.into(),
        };
    }
    let done = match judged.verdict {
        Verdict::Fine => return Ok(true),
        Verdict::Leave | Verdict::Ask | Verdict::Nudge | Verdict::Relabel => String::new(),
        Verdict::End(_) => match sweeper.may_end() {
            Err(instead) => instead.to_owned(),
            Ok(()) if sweeper.limit_left == 0 || !sweeper.has(2) => return Ok(false),
            Ok(()) => match thing.end(sweeper).await {
                Ok((done, ended)) => {
                    if ended {
                        sweeper.limit_left = sweeper.limit_left.saturating_sub(1);
                        state.ended = state.ended.saturating_add(1);
                        let action = match thing {
                            Thing::Image(_) => "sweep.image.end",
                            Thing::Address(_) => "sweep.address.end",
                        };
                        sweeper.acted(action, &subject, &judged.because);
                    }
                    done
                }
                Err(Trouble(error)) => format!("it could not be ended: {error}"),
            },
        },
    };
    sweeper.found(state, &subject, &judged, done);
    Ok(true)
}
