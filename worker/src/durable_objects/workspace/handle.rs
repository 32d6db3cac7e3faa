//! Answers calls: each is an input to the lifecycle or a look at what is stored.

use super::backends::Backing;
use super::backups;
use super::heartbeat::Came;
use super::storage::Stored;
use super::websocket::is_live;
use super::{Inner, now, refuse, refuse_for};
use crate::durable_objects::rpc::Held;
use crate::durable_objects::rpc::{Call, Chosen, EnrolProof, Envelope, FateAnswer, ReceiptEnds};
use crate::log::Level;
use crate::subrequests::Calls;
use ebbtide_api::backups::SnapshotList;
use ebbtide_api::history::EventList;
use ebbtide_api::vm::{DeliverReceipt, Enrol, Receipt, ReceiptAnswer, ReceiptStatus};
use ebbtide_api::{ErrorCode, Generation, TenantId};
use ebbtide_control::lifecycle::{Command, Context, Input, Note, object_count_warning};
use ebbtide_control::money::PriceQuote;
use ebbtide_control::record::{NewWorkspace, Record};
use ebbtide_control::repository::Stock;
use ebbtide_control::reservation::ReservationRequest;
use ebbtide_control::row_budget::RowBudget;
use ebbtide_control::sweep::Fate;
use ebbtide_control::view;
use serde::Serialize;
use std::rc::Rc;
use worker::{Response, Result};

/// Answers one call.
pub(super) async fn answer(inner: &Rc<Inner>, envelope: Envelope) -> Result<Response> {
    let Envelope { tenant, call } = envelope;
    if let Call::Create { record, quote } = call {
        return create(inner, &tenant, *record, quote).await;
    }
    if let Call::Fate = call {
        let config = inner.config()?;
        return json(&match inner.load() {
            Ok(Some(stored)) => FateAnswer::Known(Fate::of(&stored.record, &config.policy)),
            Ok(None) => FateAnswer::Unknown,
            Err(error) => {
                let fields = [("error", &*error.to_string())];
                crate::log::write(Level::Error, "a workspace's record cannot be read", &fields);
                FateAnswer::Unreadable
            }
        });
    }
    let Some(Stored { record, .. }) = inner.load()? else {
        return refuse(ErrorCode::RecordLost, "the object of this workspace holds no record of it");
    };
    if record.tenant != tenant {
        return refuse(ErrorCode::NotFound, "there is no such workspace");
    }
    if call.is_written_for_machine()
        && let Some(refusal) = inner.refuse_rows(&record)?
    {
        return Ok(refusal);
    }
    let answer = answer_call(inner, &record, call).await;
    inner.charge_rows(&record)?;
    inner.settle_later();
    answer
}

async fn answer_call(inner: &Rc<Inner>, record: &Record, call: Call) -> Result<Response> {
    match call {
        Call::Create { .. } | Call::View | Call::Fate => show(inner, record),
        Call::Events { page, limit } => {
            let (events, more) = inner.store()?.events(page, limit)?;
            json(&EventList { events, more })
        }
        Call::Log => {
            inner.write_log()?;
            json(&inner.store()?.log(None)?)
        }
        Call::LogBefore { before } => json(&inner.store()?.log(Some(before))?),
        Call::Snapshots => {
            let Held { bytes: stored_bytes, quota: quota_bytes } = backups::fill(inner)?;
            let config = inner.config()?;
            json(&SnapshotList {
                stored_bytes,
                quota_bytes,
                retention: record.spec.retention.unwrap_or(config.policy.retention),
                expired: u32::try_from(record.expired.len()).unwrap_or(u32::MAX),
                warning: object_count_warning(record),
                snapshots: record.snapshots.clone(),
            })
        }
        Call::Backups { ask } => backups::answer(inner, record, ask).await,
        Call::Ask { commands } => ask(inner, commands).await,
        Call::Terms { snapshot } => json(&ReservationRequest::restoring(record, snapshot.as_deref(), now())),
        Call::Enrol { enrol, proof } => enrol_machine(inner, record, enrol, proof).await,
        Call::Heartbeat { .. } if !inner.may_speak() => {
            let message = "this machine sends more heartbeats than it needs to";
            refuse_for(ErrorCode::RateLimited, message, Some(60))
        }
        Call::Heartbeat { generation, heartbeat } => {
            match inner.heartbeat(generation, *heartbeat, Came::ByCall).await? {
                Some(instruction) => json(&instruction),
                None => refuse(ErrorCode::StaleGeneration, "this machine's time is over"),
            }
        }
        Call::Chosen { generation } => chosen(inner, record, generation),
        Call::Receipt { deliver, ends } => match read_receipt(&deliver) {
            Ok(deliver) => receipt(inner, record, deliver, ends).await,
            Err(problem) => refuse(ErrorCode::InvalidField, &problem),
        },
        Call::Nudge => {
            let settled = inner.wake().await?;
            // Whatever came of it: a row that was never written, or was lost, may be what brought the sweep here.
            let config = inner.config()?;
            let ends_at = settled.record.phase_ends_at(&config.policy);
            crate::d1::record_changed(&inner.env, &settled.record, ends_at).await;
            inner.run_on(settled.effect);
            show(inner, &settled.record)
        }
    }
}

fn json(value: &impl Serialize) -> Result<Response> {
    Response::from_json(value)
}

fn show(inner: &Inner, record: &Record) -> Result<Response> {
    let config = inner.config()?;
    let context = Context { now: now(), policy: &config.policy, last_seen_at: inner.last_seen_at(record) };
    let heartbeat = inner.last_heartbeat(record);
    json(&view::people::workspace(record, heartbeat.as_ref(), &context, &config.port_url_template))
}

async fn create(
    inner: &Rc<Inner>,
    tenant: &TenantId,
    new: NewWorkspace,
    quote: Option<PriceQuote>,
) -> Result<Response> {
    if let Some(stored) = inner.load()? {
        let same = stored.record.tenant == *tenant && stored.record.id == new.id;
        return if same {
            show(inner, &stored.record)
        } else {
            refuse(ErrorCode::NotFound, "there is no such workspace")
        };
    }
    let now = now();
    let mut record = Record::new(new, now);
    record.money.quote = quote;
    inner.store()?.save(&record, None, &RowBudget::default())?;
    inner.store()?.save_stock(&Stock::of_new())?;
    inner.store()?.add_event(&Note::created(&record), record.generation, now)?;
    let settled = inner.wake().await?;
    inner.run_on(settled.effect);
    show(inner, &settled.record)
}

/// Takes commands in their order, until one is refused.
async fn ask(inner: &Rc<Inner>, commands: Vec<Command>) -> Result<Response> {
    for command in commands {
        let settled = inner.decide(Input::Ask(command)).await?;
        inner.run_on(settled.effect);
        if let Some(refusal) = settled.refusal {
            return refuse(refusal.code, &refusal.message);
        }
    }
    let Some(stored) = inner.load()? else {
        return refuse(ErrorCode::NotFound, "there is no such workspace");
    };
    show(inner, &stored.record)
}

async fn enrol_machine(
    inner: &Rc<Inner>,
    record: &Record,
    enrol: Enrol,
    proof: EnrolProof,
) -> Result<Response> {
    if record.former_machine_keys.contains(&enrol.machine_key)
        || (proof == EnrolProof::Token && enrol.generation != record.generation)
    {
        return refuse(ErrorCode::StaleGeneration, "a newer machine has taken over");
    }
    let is_bound = enrol.generation == record.generation
        && record.machine_key.as_deref() == Some(enrol.machine_key.as_str());
    if proof == EnrolProof::KeyOnly && !is_bound {
        return refuse(
            ErrorCode::EnrolmentRefused,
            "this machine key is not enrolled, and the enrolment token has expired or was not sent",
        );
    }
    let settled = inner.decide(Input::Enrolled { machine_key: enrol.machine_key }).await?;
    inner.run_on(settled.effect);
    if let Some(refusal) = settled.refusal {
        return refuse(refusal.code, &refusal.message);
    }
    inner.touch(settled.record.generation);
    let backing = Backing::open(&inner.env, now(), Calls::default());
    let enrolled = match backing {
        Ok(backing) => backing.enrolled(&settled.record).await,
        Err(error) => Err(error),
    };
    match enrolled {
        Ok(enrolled) => json(&enrolled),
        Err(error) => {
            let fields = [("workspace.id", record.id.as_str())];
            error.log(Level::Error, "a machine could not be told what it needs", &fields);
            refuse(error.code(), error.message())
        }
    }
}

/// Counts as a message: a machine that is hijacked must not have the bucket read without end.
fn chosen(inner: &Inner, record: &Record, generation: Generation) -> Result<Response> {
    if !is_live(record, generation) || record.salvage_image_id.is_some() {
        return refuse(ErrorCode::StaleGeneration, "this machine's time is over");
    }
    if !inner.may_ask() {
        let message = "this machine asks for secrets more often than it needs to";
        return refuse_for(ErrorCode::RateLimited, message, Some(60));
    }
    json(&Chosen::from(record))
}

/// Reads a delivery; where it is none, says which field is wrong.
fn read_receipt(text: &str) -> std::result::Result<DeliverReceipt, String> {
    serde_json::from_str(text).or_else(|_| {
        // Once more, for the field's place, which is not kept count of while all is well.
        serde_path_to_error::deserialize(&mut serde_json::Deserializer::from_str(text))
            .map_err(|error| format!("{}: {}", error.path(), error.inner()))
    })
}

async fn receipt(
    inner: &Rc<Inner>,
    record: &Record,
    deliver: DeliverReceipt,
    ends: ReceiptEnds,
) -> Result<Response> {
    if deliver.generation != record.generation {
        return refuse(ErrorCode::StaleGeneration, "a newer machine has taken over");
    }
    inner.touch(record.generation);
    let DeliverReceipt { receipt, .. } = deliver;
    let snapshot = receipt.snapshot.clone();
    let last = ends == ReceiptEnds::Machine;
    let is_part = receipt.packs_to_come > 0;
    if !is_part && is_verified(record, &snapshot, last) {
        return json(&ReceiptAnswer { status: ReceiptStatus::Verified, problem: None });
    }
    // A machine asks again until it is told: the same receipt goes on where its check stands, and one that was refused
    // is checked afresh.
    let asks_again = is_being_checked(record, &receipt, last);
    if !asks_again && let Some(refusal) = inner.refuse_rows(record)? {
        return Ok(refusal);
    }
    let wrong = if is_part || asks_again {
        None
    } else {
        match backups::prove(inner, &receipt).await? {
            Ok(wrong) => wrong,
            Err(refusal) => return Ok(refusal),
        }
    };
    let problem = wrong.clone();
    let settled = inner.decide(Input::Delivered { receipt, last, wrong }).await?;
    if let Some(refusal) = settled.refusal {
        inner.run_on(settled.effect);
        return refuse(refusal.code, &refusal.message);
    }
    inner.drive(settled.effect).await?;
    // Another snapshot of this machine's may still be being checked.
    if problem.is_some() {
        return json(&ReceiptAnswer { status: ReceiptStatus::Refused, problem });
    }
    let Some(stored) = inner.load()? else {
        return refuse(ErrorCode::NotFound, "there is no such workspace");
    };
    let record = stored.record;
    // A part leaves nothing behind once all that it named was found.
    let part_stands = is_part && record.pending.is_none() && record.receipt_problem.is_none();
    let (status, problem) = if part_stands || !is_part && is_verified(&record, &snapshot, last) {
        (ReceiptStatus::Verified, None)
    } else if record.pending.is_some() {
        (ReceiptStatus::Checking, None)
    } else {
        (ReceiptStatus::Refused, record.receipt_problem)
    };
    json(&ReceiptAnswer { status, problem })
}

/// Whether that same receipt is: then its set is written down, and asking again writes nothing.
fn is_being_checked(record: &Record, receipt: &Receipt, last: bool) -> bool {
    record.pending.as_ref().is_some_and(|pending| {
        pending.last == last
            && pending.receipt == Receipt { packs_new: Vec::new(), indexes: None, ..receipt.clone() }
    })
}

/// Whether a snapshot is verified, for a machine that may go: as its final one.
fn is_verified(record: &Record, snapshot: &str, last: bool) -> bool {
    if last {
        record.final_snapshot.as_deref() == Some(snapshot)
    } else {
        record.snapshots.iter().any(|known| known.snapshot == snapshot)
    }
}
