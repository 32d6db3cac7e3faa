//! What the index alone knows of a workspace, shown as a workspace: its object holds no record of it.
//!
//! Derives, never decides. What nobody knows any more is left out, and durations are the installation's.

use crate::names::workspace_host;
use crate::policy::Policy;
use crate::sweep::Row;
use crate::sweep::lost::LOST;
use ebbtide_api::backups::Persistence;
use ebbtide_api::failure::Failure;
use ebbtide_api::secrets::SecretChoice;
use ebbtide_api::workspace::{Machine, State, Workspace, WorkspaceSummary};
use ebbtide_api::{FailureCode, Hint};

/// A row of the index with what a person sees of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RowShown {
    /// What the sweep knows of it.
    pub row: Row,
    /// What a list shows of it.
    pub summary: WorkspaceSummary,
    /// Its location.
    pub location: String,
}

/// Shows a workspace whose object holds nothing: lost, deleted, or asked for a moment ago and not begun.
pub fn workspace(shown: &RowShown, policy: &Policy, zone: &str) -> Workspace {
    let RowShown { row, summary, location } = shown.clone();
    let is_begun = row.generation.0 > 0;
    let (state, because) = match row.state {
        State::Deleted => (State::Deleted, summary.because),
        _ if is_begun => (State::Failed, LOST.to_owned()),
        state => (state, summary.because),
    };
    let failure = (state == State::Failed).then(|| Failure {
        code: FailureCode::RecordLost,
        message: format!("{LOST}{}", what_becomes_of_the_server(&row)),
        hint: Hint::RestoreAndDelete.for_api().to_owned(),
    });
    Workspace {
        machine: row.server.map(|server_id| Machine {
            server_id,
            ipv4: None,
            host: workspace_host(&summary.name, &summary.id, zone),
        }),
        id: summary.id,
        name: summary.name,
        state,
        since: row.lost_at.unwrap_or(summary.since),
        line: because.clone(),
        because,
        waiting_for: None,
        failure,
        generation: row.generation,
        repo: summary.repo,
        branch: None,
        size: summary.size,
        location,
        agents: Vec::new(),
        docker: false,
        idle_timeout: policy.idle_timeout,
        lifetime: policy.lifetime,
        persistence: Persistence::Backup,
        secrets: SecretChoice::Everywhere,
        ssh: false,
        created_at: summary.created_at,
        lifetime_ends_at: None,
        hard_end_at: None,
        worst_case: None,
        boot: Vec::new(),
        ports: Vec::new(),
        why: None,
        heard_secs_ago: None,
        backup: None,
        last_backup: None,
        restore_note: None,
        rescue_image: None,
        holds: Vec::new(),
        links: Vec::new(),
    }
}

fn what_becomes_of_the_server(row: &Row) -> String {
    row.server.map_or_else(String::new, |server| {
        format!("; its server {server}, where it still exists, ends with its lifetime, after an image of it is taken")
    })
}
