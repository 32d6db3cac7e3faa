//! What must hold after every step, whatever went wrong. Looks at the world, not at what the control plane believes.

use super::EPOCH_MS;
use super::cloud::Outside;
use super::machine::Machine;
use super::object::Object;
use ebbtide_api::workspace::{OnUnsaved, Persistence};
use ebbtide_cloud_sim::model::ServerStatus;
use ebbtide_control::record::{Phase, Wanted};

/// Time that a deletion may take beyond the hard end when nothing stands in its way: a lost effect noticed, a retry,
/// an alarm, the provider's own work.
const SLACK_MS: i64 = 10 * 60_000;

/// Promise 2 at this moment: at most one server, none past its hard end, and somebody will look again.
///
/// `excused_ms` is time in which the provider refused or the platform woke us late.
pub fn nothing_bills_for_ever(object: &Object, outside: &Outside, excused_ms: i64) -> Result<(), String> {
    let cloud = outside.cloud.borrow();
    let live: Vec<_> = cloud.servers().filter(|server| server.status != ServerStatus::Deleting).collect();
    if live.len() > 1 {
        return Err(format!("{} servers exist at once", live.len()));
    }
    let record = &object.record;
    if record.phase.may_have_machine() && object.alarm_ms.is_none() {
        return Err(format!("{} without an alarm", record.state()));
    }
    let Some(server) = live.first() else { return Ok(()) };
    if !record.phase.may_have_machine() {
        return Err(format!("a server exists although the workspace is {}", record.state()));
    }
    let held = record.spec.on_unsaved == OnUnsaved::Hold && matches!(record.phase, Phase::Rescuing { .. });
    let hard_end_ms = record.hard_end_at(&object.policy).as_millisecond() - EPOCH_MS;
    let now_ms = outside.now_ms.get();
    if !held && now_ms > hard_end_ms + SLACK_MS + excused_ms {
        let over = (now_ms - hard_end_ms) / 1000;
        return Err(format!("server {} lives {over} s past its hard end", server.id));
    }
    Ok(())
}

/// Promise 1 at the moment at which a machine's server goes: what it held is in storage, or a decision is recorded.
pub fn work_is_never_lost(machine: &Machine, object: &Object, outside: &Outside) -> Result<(), String> {
    let record = &object.record;
    let packs = outside.packs.borrow();
    let restorable = record
        .snapshots
        .iter()
        .filter(|snapshot| snapshot.generation.0 == machine.generation)
        .filter_map(|snapshot| packs.work_of.get(&snapshot.snapshot))
        .max()
        .copied()
        .unwrap_or(0);
    if machine.work <= restorable {
        return Ok(());
    }
    let unsaved = machine.work - restorable;
    if record.wanted == Wanted::Discarded || record.spec.persistence == Persistence::None {
        return Ok(());
    }
    let image_stands = record.rescue_image.is_some_and(|image| {
        outside.cloud.borrow().snapshots().any(|snapshot| snapshot.id == image && snapshot.available)
    });
    if image_stands {
        return by_the_rules(machine, object, outside).map_err(|why| format!("rescued too early: {why}"));
    }
    if record.lost.is_some() {
        return by_the_rules(machine, object, outside)
            .map_err(|why| format!("{unsaved} lost too early: {why}"));
    }
    Err(format!("{unsaved} units of work went without receipt, image or recorded decision"))
}

/// What a new machine restores: the newest verified snapshot, since nobody here chooses another.
pub fn restores_the_newest(object: &Object) -> Result<(), String> {
    let record = &object.record;
    let newest = record.snapshots.iter().find(|snapshot| snapshot.generation < record.generation);
    let newest = newest.map(|snapshot| &snapshot.snapshot);
    if record.restore.as_ref() == newest {
        Ok(())
    } else {
        Err(format!("generation {} restores {:?} and not {newest:?}", record.generation, record.restore))
    }
}

/// Promise 3's half that the control plane keeps: no living machine is given up before its lifetime has ended.
fn by_the_rules(machine: &Machine, object: &Object, outside: &Outside) -> Result<(), String> {
    let record = &object.record;
    let now_ms = outside.now_ms.get();
    let lifetime_ends_ms = record.lifetime_ends_at().as_millisecond() - EPOCH_MS;
    if machine.is_alive(now_ms) && now_ms < lifetime_ends_ms {
        return Err(format!(
            "it lives and its lifetime ends in {} s; {}",
            (lifetime_ends_ms - now_ms) / 1000,
            record.because
        ));
    }
    Ok(())
}

/// At rest, after faults have ended: no server, no names, nothing stuck.
pub fn all_is_at_rest(object: &Object, outside: &Outside) -> Result<(), String> {
    let record = &object.record;
    if record.phase.may_have_machine() || matches!(record.phase, Phase::Requested) {
        return Err(format!("stuck in {}: {}", record.state(), record.because));
    }
    let cloud = outside.cloud.borrow();
    if let Some(server) = cloud.servers().next() {
        return Err(format!("server {} is left", server.id));
    }
    if let Some(left) = cloud.dns_records().next() {
        return Err(format!("the DNS record {} is left", left.name));
    }
    if record.in_flight.is_some() {
        return Err("an effect is in flight for ever".to_owned());
    }
    Ok(())
}
