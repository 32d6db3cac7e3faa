//! DNS records of ours whose machine is over.
//!
//! The provider's order of records is nothing to rely on, so they are listed by how the workspace's id in their comment
//! begins: all of them where they are few, else letter by letter. One stretch is listed whole within one turn.

use super::turn::{Ended, Subject, Sweeper, Trouble};
use ebbtide_api::WorkspaceId;
use ebbtide_control::cloudflare::{DeleteRecord, DnsRecord, RecordFilter};
use ebbtide_control::names::{self, RecordOwner};
use ebbtide_control::sweep::name::judge_name;
use ebbtide_control::sweep::state::{Cursor, PartState};
use ebbtide_control::sweep::walk::{Doubt, first_below, next_prefix};
use ebbtide_control::sweep::{Asked, Judged, Row, Site, Verdict};
use std::collections::BTreeMap;

/// Pages of a stretch; more are listed a letter deeper.
const PAGES_MAX: u32 = 8;
/// An id has ten letters: deeper than this no stretch is split.
const DEEPEST: usize = 4;
/// Calls for the rest: rows, whether the index is empty, a question, a second look and the deletion.
const FOR_THE_REST: u32 = 5;
/// Calls for one record: the question, a second look and the deletion.
const ONE: u32 = 3;

type Ours = BTreeMap<WorkspaceId, Vec<(RecordOwner, DnsRecord)>>;

/// Walks on through the records of this installation.
///
/// # Errors
/// What stopped it.
pub async fn turn(sweeper: &mut Sweeper<'_>, state: &mut PartState) -> Result<Ended, Trouble> {
    let (mut prefix, mut after) = match &state.cursor {
        Cursor::Below { prefix, after } => (prefix.clone(), after.clone()),
        Cursor::Start | Cursor::Listing(_) | Cursor::After { .. } => {
            state.seen = 0;
            (String::new(), None)
        }
    };
    while sweeper.has(FOR_THE_REST.saturating_add(1)) {
        let listed = list(sweeper, &prefix).await?;
        let records = match listed {
            Listed::All(records) => records,
            Listed::TooMany => {
                prefix = first_below(&prefix);
                after = None;
                state.cursor = Cursor::Below { prefix: prefix.clone(), after: None };
                continue;
            }
            Listed::NotNow => return Ok(Ended::Turn),
        };
        let ours = group(sweeper, state, records, after.as_deref());
        let workspaces: Vec<WorkspaceId> = ours.keys().cloned().collect();
        let rows = sweeper.index()?.rows_of(&workspaces).await?;
        let doubt = sweeper.doubts_index(&rows, &workspaces).await?;
        let site = sweeper.site(doubt);
        for (workspace, records) in ours {
            for (owner, record) in &records {
                if !one(sweeper, state, owner, record, rows.get(&workspace), &site).await? {
                    return Ok(Ended::Turn);
                }
                state.seen = state.seen.saturating_add(1);
            }
            let after = Some(workspace.as_str().to_owned());
            state.cursor = Cursor::Below { prefix: prefix.clone(), after };
        }
        after = None;
        match next_prefix(&prefix) {
            Some(next) => prefix = next,
            None => return Ok(Ended::Round),
        }
        state.cursor = Cursor::Below { prefix: prefix.clone(), after: None };
    }
    Ok(Ended::Turn)
}

enum Listed {
    All(Vec<DnsRecord>),
    TooMany,
    NotNow,
}

async fn list(sweeper: &Sweeper<'_>, prefix: &str) -> Result<Listed, Trouble> {
    let config = &sweeper.app.config;
    let begins = format!("{}{prefix}", names::install_comment_prefix(&config.install_id));
    let filter = RecordFilter::CommentPrefix(begins);
    let first = sweeper.cloudflare.list_page(&config.zone_id, &filter, 1).await?;
    if first.pages > PAGES_MAX && prefix.len() < DEEPEST {
        return Ok(Listed::TooMany);
    }
    if !sweeper.has(first.pages.saturating_sub(1).saturating_add(FOR_THE_REST)) {
        return Ok(Listed::NotNow);
    }
    let mut records = first.records;
    for page in 2..=first.pages {
        let more = sweeper.cloudflare.list_page(&config.zone_id, &filter, page).await?;
        if let (Some(from), Some(to)) = (first.total, more.total)
            && to < from
        {
            return Err(Doubt::Shrank { from, to }.into());
        }
        records.extend(more.records);
    }
    Ok(Listed::All(records))
}

/// Sorts records by workspace and leaves out those that were dealt with. What cannot be read is told.
fn group(sweeper: &Sweeper<'_>, state: &mut PartState, records: Vec<DnsRecord>, after: Option<&str>) -> Ours {
    let mut ours = Ours::new();
    for record in records {
        match record.comment.as_deref().and_then(names::parse_comment) {
            Some(owner) if after.is_some_and(|after| owner.workspace.as_str() <= after) => {}
            Some(owner) => ours.entry(owner.workspace.clone()).or_default().push((owner, record)),
            None => {
                let because = "its comment does not say whose it is; somebody should look".to_owned();
                let judged = Judged { verdict: Verdict::Leave, because };
                let subject = Subject { what: format!("record {}", record.name), ..Subject::default() };
                sweeper.found(state, &subject, &judged, String::new());
            }
        }
    }
    ours
}

/// Deals with one record; `false` where calls or the limit are used up.
async fn one(
    sweeper: &mut Sweeper<'_>,
    state: &mut PartState,
    owner: &RecordOwner,
    record: &DnsRecord,
    row: Option<&Row>,
    site: &Site<'_>,
) -> Result<bool, Trouble> {
    let mut judged = judge_name(owner, row, &Asked::NotYet, site);
    if judged.verdict == Verdict::Ask {
        if !sweeper.has(ONE) {
            return Ok(false);
        }
        judged = match sweeper.ask(&owner.workspace).await {
            Ok(asked) => judge_name(owner, row, &asked, site),
            Err(silence) => silence.into(),
        };
    }
    let subject = Subject {
        what: format!("record {} {}", record.kind, record.name),
        tenant: None,
        workspace: Some(owner.workspace.clone()),
        generation: Some(owner.generation),
    };
    let done = match judged.verdict {
        Verdict::Fine => return Ok(true),
        Verdict::Leave | Verdict::Ask | Verdict::Nudge | Verdict::Relabel => String::new(),
        Verdict::End(_) => match sweeper.may_end() {
            Err(instead) => instead.to_owned(),
            Ok(()) if sweeper.limit_left == 0 || !sweeper.has(2) => return Ok(false),
            Ok(()) => match end(sweeper, record, &subject, &judged.because).await {
                Ok(true) => {
                    state.ended = state.ended.saturating_add(1);
                    "ended".to_owned()
                }
                Ok(false) => "it is gone, or changed since it was listed".to_owned(),
                Err(Trouble(error)) => format!("it could not be ended: {error}"),
            },
        },
    };
    sweeper.found(state, &subject, &judged, done);
    Ok(true)
}

async fn end(
    sweeper: &mut Sweeper<'_>,
    record: &DnsRecord,
    subject: &Subject,
    because: &str,
) -> Result<bool, Trouble> {
    let zone = &sweeper.app.config.zone_id;
    let again = sweeper.cloudflare.record(zone, &record.id).await?;
    if again.is_none_or(|again| again.comment != record.comment || again.content != record.content) {
        return Ok(false);
    }
    match sweeper.cloudflare.delete_record(zone, &record.id).await? {
        DeleteRecord::Gone => Ok(false),
        DeleteRecord::Deleted => {
            sweeper.limit_left = sweeper.limit_left.saturating_sub(1);
            sweeper.acted("sweep.record.end", subject, because);
            Ok(true)
        }
    }
}
