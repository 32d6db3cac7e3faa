//! Workspaces that the index has a machine for while the provider lists none: they are nudged, never edited.

use super::turn::{Ended, Subject, Sweeper, Trouble};
use crate::d1::WithMachine;
use crate::durable_objects::rpc::Call;
use ebbtide_control::names::{LABEL_INSTALL, LABEL_WORKSPACE, parse_labels};
use ebbtide_control::sweep::state::{Cursor, PartState};
use ebbtide_control::sweep::walk::Doubt;
use ebbtide_control::sweep::{Judged, Verdict, judge_record};
use std::collections::BTreeMap;

/// Workspaces whose servers are looked for at once: they fit on a page, unless some are doubled.
const AT_ONCE: usize = 50;
/// Rows that are read at once.
const ROWS: usize = 5 * AT_ONCE;
/// Where so many are missing and none is there, the listing is doubted rather than all of them.
const MANY: usize = 5;
/// Calls for a stretch: the rows, up to two pages, and one nudge.
const STRETCH: u32 = 4;

/// Walks on through the index.
///
/// # Errors
/// What stopped it.
pub async fn turn(sweeper: &mut Sweeper<'_>, state: &mut PartState) -> Result<Ended, Trouble> {
    let mut after = match &state.cursor {
        Cursor::After { key } => key.clone(),
        Cursor::Start | Cursor::Listing(_) | Cursor::Below { .. } => {
            state.seen = 0;
            String::new()
        }
    };
    while sweeper.has(STRETCH) {
        let limit = u64::try_from(ROWS).unwrap_or(250);
        let rows = sweeper.index()?.with_machines(&after, limit).await?;
        for with in rows.chunks(AT_ONCE) {
            if !sweeper.has(STRETCH - 1) || !stretch(sweeper, state, with, &mut after).await? {
                return Ok(Ended::Turn);
            }
        }
        if rows.len() < ROWS {
            return Ok(Ended::Round);
        }
    }
    Ok(Ended::Turn)
}

/// Compares some workspaces; `false` where calls are used up.
async fn stretch(
    sweeper: &mut Sweeper<'_>,
    state: &mut PartState,
    with: &[WithMachine],
    after: &mut String,
) -> Result<bool, Trouble> {
    let found = servers_of(sweeper, with).await?;
    let site = sweeper.site(false);
    let count = |with: &WithMachine| found.get(with.row.id.as_str()).copied().unwrap_or(0);
    let judged: Vec<Judged> =
        with.iter().map(|with| judge_record(&with.row, with.since, count(with), &site)).collect();
    let missing = judged.iter().filter(|judged| judged.verdict == Verdict::Nudge).count();
    if missing >= MANY && found.is_empty() {
        return Err(Doubt::Empty { expected: missing }.into());
    }
    for (with, judged) in with.iter().zip(&judged) {
        if judged.verdict == Verdict::Nudge {
            if !sweeper.has(1) {
                return Ok(false);
            }
            let subject = Subject {
                what: format!("workspace {}", with.row.id),
                tenant: Some(with.tenant.clone()),
                workspace: Some(with.row.id.clone()),
                generation: Some(with.row.generation),
            };
            let done = sweeper.tell(&with.tenant, &with.row.id, Call::Nudge).await;
            sweeper.found(state, &subject, judged, done);
        }
        state.seen = state.seen.saturating_add(1);
        with.row.id.as_str().clone_into(after);
        state.cursor = Cursor::After { key: after.clone() };
    }
    Ok(true)
}

/// How many servers carry the label of each of those workspaces.
async fn servers_of(sweeper: &Sweeper<'_>, with: &[WithMachine]) -> Result<BTreeMap<String, usize>, Trouble> {
    let ids: Vec<&str> = with.iter().map(|with| with.row.id.as_str()).collect();
    let install = &sweeper.app.config.install_id;
    let selector = format!("{LABEL_INSTALL}=={install},{LABEL_WORKSPACE} in ({})", ids.join(","));
    let mut found = BTreeMap::new();
    let mut number = 1;
    loop {
        let page = sweeper.hetzner.list_servers(&selector, number).await.outcome?;
        for server in &page.items {
            if let Some(owner) = parse_labels(&server.labels) {
                let count: &mut usize = found.entry(owner.workspace.to_string()).or_default();
                *count = count.saturating_add(1);
            }
        }
        match page.next {
            Some(next) if number == 1 => number = next,
            Some(_) => return Err(Trouble("many workspaces have several servers".to_owned())),
            None => return Ok(found),
        }
    }
}
