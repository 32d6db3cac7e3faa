//! Ends what is left of a workspace whose object holds nothing, at its owner's word: its servers, then its names.
//!
//! It needs no lease and no switch: a person asks for one workspace by its id. What cannot be ended now is told, and the
//! sweep goes on with it, because the row says that it is deleted.

use super::end::{self, Outcome, server_subject};
use super::turn::{Subject, Sweeper, Trouble};
use crate::app::App;
use ebbtide_api::WorkspaceId;
use ebbtide_api::sweep::SweepMode;
use ebbtide_control::cloudflare::RecordFilter;
use ebbtide_control::names;
use ebbtide_control::rate_limit::{CallCost, Urgency};
use ebbtide_control::sweep::First;

const BECAUSE: &str = "its owner deletes the workspace, whose record is lost";
/// Calls of a request: the servers, those of one that goes, its names, and the second look at each.
const CALLS: u32 = 24;

/// What became of it.
pub enum Left {
    /// Neither a server nor a name is left.
    Nothing,
    /// Something is, and why.
    Some(String),
}

/// Ends servers and names of a workspace, and writes what was ended into the audit log.
pub async fn end(app: &App, from: &str, id: &WorkspaceId, first: First) -> Left {
    let mut sweeper = Sweeper::new(app, SweepMode::On, from);
    let ended = match app.pass(CallCost { machines: 12, names: 8, urgency: Urgency::End }).await {
        Ok(pass) => {
            sweeper.open(pass);
            sweeper.turn_ends_at(app.calls.total().saturating_add(CALLS));
            all(&mut sweeper, id, first).await
        }
        Err(wait) => Err(Trouble(format!("waiting for {}", wait.waiting_for))),
    };
    if let Ok(index) = app.d1() {
        for note in sweeper.notes() {
            if let Err(error) = index.note(&note).await {
                error.log_left_out("an audit line is", &app.request_id);
            }
        }
    }
    ended.unwrap_or_else(|Trouble(error)| Left::Some(error))
}

async fn all(sweeper: &mut Sweeper<'_>, id: &WorkspaceId, first: First) -> Result<Left, Trouble> {
    let selector = names::workspace_selector(&sweeper.app.config.install_id, id);
    let mut stays = Vec::new();
    for server in sweeper.hetzner.find_servers(&selector).await.outcome? {
        let subject = server_subject(server.id, &server.labels);
        let outcome = match sweeper.has(end::CALLS) {
            true => end::server(sweeper, &server, first, BECAUSE, &subject).await?,
            false => Outcome::Full,
        };
        match outcome {
            Outcome::Ended | Outcome::Gone => {}
            Outcome::Stays(why) => stays.push(format!("{}: {why}", subject.what)),
            Outcome::Full => stays.push(format!("{} waits for the next run of the sweep", subject.what)),
        }
    }
    if !stays.is_empty() {
        return Ok(Left::Some(stays.join("; ")));
    }
    end_names(sweeper, id).await?;
    Ok(Left::Nothing)
}

async fn end_names(sweeper: &mut Sweeper<'_>, id: &WorkspaceId) -> Result<(), Trouble> {
    let config = &sweeper.app.config;
    let begins = format!("{}{id} ", names::install_comment_prefix(&config.install_id));
    let records =
        sweeper.cloudflare.list_records(&config.zone_id, &RecordFilter::CommentPrefix(begins)).await?;
    for record in records {
        sweeper.cloudflare.delete_record(&config.zone_id, &record.id).await?;
        let what = format!("record {} {}", record.kind, record.name);
        let subject = Subject { what, workspace: Some(id.clone()), ..Subject::default() };
        sweeper.acted("sweep.record.end", &subject, BECAUSE);
    }
    Ok(())
}
