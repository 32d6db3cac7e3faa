//! Servers without a workspace that wants them.

use super::end::{self, Outcome, server_subject};
use super::listing::{FOR_THE_REST, Stretch, read};
use super::turn::{Ended, Subject, Sweeper, Trouble};
use crate::durable_objects::rpc::Call;
use ebbtide_api::WorkspaceId;
use ebbtide_control::hetzner::Server;
use ebbtide_control::names;
use ebbtide_control::sweep::server::{judge_by_label_alone, judge_server};
use ebbtide_control::sweep::state::{Cursor, PartState};
use ebbtide_control::sweep::walk::Walk;
use ebbtide_control::sweep::{Asked, Row, Site, Verdict};
use std::collections::BTreeMap;

/// Walks on through the servers of this installation.
///
/// # Errors
/// What stopped it.
pub async fn turn(sweeper: &mut Sweeper<'_>, state: &mut PartState) -> Result<Ended, Trouble> {
    let mut walk = match &state.cursor {
        Cursor::Listing(walk) => walk.clone(),
        Cursor::Start | Cursor::After { .. } | Cursor::Below { .. } => {
            state.seen = 0;
            Walk::default()
        }
    };
    let ended = go(sweeper, state, &mut walk).await;
    state.cursor = Cursor::Listing(walk);
    ended
}

async fn go(sweeper: &mut Sweeper<'_>, state: &mut PartState, walk: &mut Walk) -> Result<Ended, Trouble> {
    let selector = names::install_selector(&sweeper.app.config.install_id);
    let mut next = None;
    while sweeper.has(FOR_THE_REST.saturating_add(1)) {
        let fetch = async |page| sweeper.hetzner.list_servers(&selector, page).await;
        let Stretch { items, is_last } =
            read(sweeper, walk, &mut next, |server: &Server| server.id.0, fetch).await?;
        let workspaces: Vec<WorkspaceId> =
            items.iter().filter_map(|(_, server)| workspace_of(server)).collect();
        let rows = sweeper.index()?.rows_of(&workspaces).await?;
        let doubt = sweeper.doubts_index(&rows, &workspaces).await?;
        let site = sweeper.site(doubt);
        for (page, server) in items {
            if !one(sweeper, state, &server, &rows, &site).await? {
                return Ok(Ended::Turn);
            }
            state.seen = state.seen.saturating_add(1);
            walk.passed(server.id.0, page);
        }
        if is_last {
            return Ok(Ended::Round);
        }
    }
    Ok(Ended::Turn)
}

/// Deals with one server; `false` where calls or the limit are used up, and it waits for the next turn.
async fn one(
    sweeper: &mut Sweeper<'_>,
    state: &mut PartState,
    server: &Server,
    rows: &BTreeMap<WorkspaceId, Row>,
    site: &Site<'_>,
) -> Result<bool, Trouble> {
    let workspace = workspace_of(server);
    let row = workspace.as_ref().and_then(|id| rows.get(id));
    let mut judged = judge_server(server, row, &Asked::NotYet, site);
    let subject = server_subject(server.id, &server.labels);
    if let (Verdict::Ask, Some(id)) = (judged.verdict, &workspace) {
        if !sweeper.has(1 + end::CALLS) {
            return Ok(false);
        }
        judged = match sweeper.ask(id).await {
            Ok(asked) => judge_server(server, row, &asked, site),
            // An object that fails at every call must not let its machine bill for ever.
            Err(silence) => judge_by_label_alone(server, &silence.to_string(), site),
        };
    }
    let done = match judged.verdict {
        Verdict::Fine => return Ok(true),
        Verdict::Leave | Verdict::Ask => String::new(),
        Verdict::Nudge => tell(sweeper, &subject, Call::Nudge).await,
        Verdict::Relabel => tell(sweeper, &subject, Call::relabel()).await,
        Verdict::End(_) if !sweeper.has(end::CALLS) => return Ok(false),
        Verdict::End(first) => {
            match end::server(sweeper, server, first, &judged.because, &subject).await {
                Ok(Outcome::Full) => return Ok(false),
                Ok(Outcome::Ended) => {
                    state.ended = state.ended.saturating_add(1);
                    "ended".to_owned()
                }
                Ok(Outcome::Gone) => "it is gone".to_owned(),
                Ok(Outcome::Stays(why)) => why,
                // Told, and passed by: one that cannot be ended must not stop those behind it.
                Err(Trouble(error)) => format!("it could not be ended: {error}"),
            }
        }
    };
    sweeper.found(state, &subject, &judged, done);
    Ok(true)
}

async fn tell(sweeper: &mut Sweeper<'_>, subject: &Subject, call: Call) -> String {
    match (&subject.tenant, &subject.workspace) {
        (Some(tenant), Some(workspace)) => sweeper.tell(tenant, workspace, call).await,
        _ => "its labels do not say whom to tell".to_owned(),
    }
}

fn workspace_of(server: &Server) -> Option<WorkspaceId> {
    names::parse_labels(&server.labels).map(|owner| owner.workspace)
}
