//! Ends a machine that nobody answers for: reads it again, images it where it may hold work, then deletes it.
//!
//! Imaging takes minutes: this turn asks for the image, and a later one finds it and deletes the machine.

use super::turn::{Subject, Sweeper, Trouble};
use ebbtide_api::Timestamp;
use ebbtide_control::hetzner::{DeleteServer, Labels, Lookup, Server, ServerId};
use ebbtide_control::names::{self, LABEL_EXPIRES};
use ebbtide_control::record::plus;
use ebbtide_control::sweep::First;
use ebbtide_control::sweep::server::{Imaging, imaging, imaging_answered, is_same};

/// Calls that ending a machine takes at most: read again, look for its image, take it or delete.
pub const CALLS: u32 = 4;

/// What became of it.
pub enum Outcome {
    /// Its deletion is accepted.
    Ended,
    /// It is gone already.
    Gone,
    /// It stays for now, and why.
    Stays(String),
    /// The limit is reached: it waits for the next run, and so does everything after it.
    Full,
}

fn stays(why: impl Into<String>) -> Result<Outcome, Trouble> {
    Ok(Outcome::Stays(why.into()))
}

/// Ends one machine, or takes the next step towards it.
///
/// # Errors
/// A provider does not answer; nothing was ended, or it was and a later turn finds it gone.
pub async fn server(
    sweeper: &mut Sweeper<'_>,
    judged: &Server,
    first: First,
    because: &str,
    subject: &Subject,
) -> Result<Outcome, Trouble> {
    if let Err(instead) = sweeper.may_end() {
        return stays(instead);
    }
    if sweeper.limit_left == 0 {
        return Ok(Outcome::Full);
    }
    match sweeper.hetzner.server(judged.id).await.outcome? {
        Lookup::Gone => return Ok(Outcome::Gone),
        Lookup::Found(again) if !is_same(judged, &again) => {
            return stays("it changed since it was listed");
        }
        Lookup::Found(_) => {}
    }
    match first {
        First::Nothing => {}
        First::Image | First::ImageIfPossible => {
            match image(sweeper, judged, first, because, subject).await? {
                Imaging::Taken | Imaging::Without => {}
                Imaging::Take | Imaging::Asked => return stays("its image is being taken"),
                Imaging::Stays(why) => return stays(why),
            }
        }
    }
    match sweeper.hetzner.delete_server(judged.id).await.outcome? {
        DeleteServer::Gone => Ok(Outcome::Gone),
        DeleteServer::Locked(error) => stays(format!("it is locked ({error})")),
        DeleteServer::Deleting(_) => {
            sweeper.limit_left = sweeper.limit_left.saturating_sub(1);
            sweeper.acted("sweep.server.end", subject, because);
            Ok(Outcome::Ended)
        }
    }
}

/// Looks for its image, and asks for one where there is none.
async fn image(
    sweeper: &mut Sweeper<'_>,
    server: &Server,
    first: First,
    because: &str,
    subject: &Subject,
) -> Result<Imaging, Trouble> {
    let config = &sweeper.app.config;
    let selector = match names::parse_labels(&server.labels) {
        Some(owner) => names::machine_selector(&config.install_id, &owner.workspace, owner.generation),
        None => names::install_selector(&config.install_id),
    };
    let images = sweeper.hetzner.find_images(&selector).await.outcome?;
    let mut stands = imaging(server.id, &images, first);
    if stands == Imaging::Take {
        let expires = plus(sweeper.now, config.policy.rescue_image_keep);
        let labels = image_labels(server, expires);
        let description = format!("swept: {} ({})", server.name, server.id);
        let answer = sweeper.hetzner.create_image(server.id, &description, &labels).await;
        stands = imaging_answered(answer.outcome, first)?;
    }
    match stands {
        Imaging::Asked => sweeper.acted("sweep.server.image", subject, because),
        Imaging::Without => sweeper.acted("sweep.server.unimaged", subject, because),
        Imaging::Take | Imaging::Taken | Imaging::Stays(_) => {}
    }
    Ok(stands)
}

fn image_labels(server: &Server, expires: Timestamp) -> Labels {
    let mut labels = server.labels.clone();
    labels.insert(LABEL_EXPIRES.to_owned(), expires.as_second().to_string());
    labels
}

/// How a server is called in findings.
pub fn server_subject(id: ServerId, labels: &Labels) -> Subject {
    subject(format!("server {id}"), labels)
}

/// Whose a labelled thing is.
pub fn subject(what: String, labels: &Labels) -> Subject {
    let owner = names::parse_labels(labels);
    Subject {
        what,
        tenant: owner.as_ref().map(|owner| owner.tenant.clone()),
        workspace: owner.as_ref().map(|owner| owner.workspace.clone()),
        generation: owner.map(|owner| owner.generation),
    }
}
