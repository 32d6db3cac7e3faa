//! Workspaces of the index, against their objects and the provider's list. Where a machine should be and none is listed,
//! the object is nudged; where the object holds nothing, the workspace is listed as lost. Nothing ends here.

use super::turn::{Ended, Subject, Sweeper, Trouble};
use crate::d1::Settled;
use crate::durable_objects::rpc::Call;
use ebbtide_control::names::{LABEL_INSTALL, LABEL_WORKSPACE, parse_labels};
use ebbtide_control::sweep::lost::{is_asked, judge_lost};
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
/// Calls for a stretch: the rows, up to two pages, and one workspace.
const STRETCH: u32 = 3 + ONE;
/// Calls for one workspace: the question, and the nudge or a row that is written.
const ONE: u32 = 2;

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
        let rows = sweeper.index()?.settled(&after, limit).await?;
        for stretch in rows.chunks(AT_ONCE) {
            if !sweeper.has(STRETCH - 1) || !compare(sweeper, state, stretch, &mut after).await? {
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
async fn compare(
    sweeper: &mut Sweeper<'_>,
    state: &mut PartState,
    stretch: &[Settled],
    after: &mut String,
) -> Result<bool, Trouble> {
    let found = servers_of(sweeper, stretch).await?;
    let site = sweeper.site(false);
    let count = |settled: &Settled| found.get(settled.row.id.as_str()).copied().unwrap_or(0);
    let judged: Vec<Judged> =
        stretch.iter().map(|settled| judge_record(&settled.row, count(settled), &site)).collect();
    let missing = judged.iter().filter(|judged| judged.verdict == Verdict::Nudge).count();
    if missing >= MANY && found.is_empty() {
        return Err(Doubt::Empty { expected: missing }.into());
    }
    for (settled, judged) in stretch.iter().zip(judged) {
        if !sweeper.has(ONE) {
            return Ok(false);
        }
        if settled.row.lost_at.is_some() && count(settled) == 0 {
            sweeper.index()?.end_lost_account(&settled.row.id, sweeper.now).await?;
        }
        one(sweeper, state, settled, judged).await?;
        state.seen = state.seen.saturating_add(1);
        settled.row.id.as_str().clone_into(after);
        state.cursor = Cursor::After { key: after.clone() };
    }
    Ok(true)
}

/// Deals with one workspace.
async fn one(
    sweeper: &mut Sweeper<'_>,
    state: &mut PartState,
    settled: &Settled,
    judged: Judged,
) -> Result<(), Trouble> {
    let Settled { row, tenant } = settled;
    let subject = Subject {
        what: format!("workspace {}", row.id),
        tenant: Some(tenant.clone()),
        workspace: Some(row.id.clone()),
        generation: Some(row.generation),
    };
    // One that does not answer is not lost; the part of the servers tells it.
    let asked = if is_asked(row, sweeper.now) { sweeper.ask(&row.id).await.ok() } else { None };
    if let Some(lost) = asked.and_then(|asked| judge_lost(row, &asked)) {
        sweeper.index()?.mark_lost(&row.id, sweeper.now).await?;
        sweeper.acted("sweep.workspace.lost", &subject, &lost.because);
        sweeper.found(state, &subject, &lost, "it is listed as lost".to_owned());
    } else if judged.verdict == Verdict::Nudge {
        let done = sweeper.tell(tenant, &row.id, Call::Nudge).await;
        sweeper.found(state, &subject, &judged, done);
    }
    Ok(())
}

/// How many servers carry the label of each of those workspaces.
async fn servers_of(sweeper: &Sweeper<'_>, stretch: &[Settled]) -> Result<BTreeMap<String, usize>, Trouble> {
    let mut found = BTreeMap::new();
    let may_have_one = |settled: &&Settled| settled.row.may_have_machine() || settled.row.lost_at.is_some();
    let ids: Vec<&str> = stretch.iter().filter(may_have_one).map(|settled| settled.row.id.as_str()).collect();
    if ids.is_empty() {
        return Ok(found);
    }
    let install = &sweeper.app.config.install_id;
    let selector = format!("{LABEL_INSTALL}=={install},{LABEL_WORKSPACE} in ({})", ids.join(","));
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
