//! What must hold after every step, whatever went wrong. Looks at the world, not at what the control plane believes.

use super::cloud::Outside;
use super::machine::Machine;
use super::object::{Object, Owed};
use super::{EPOCH_MS, at};
use ebbtide_api::backups::Persistence;
use ebbtide_cloud_sim::model::ServerStatus;
use ebbtide_control::names::LABEL_EXPIRES;
use ebbtide_control::record::{DesiredState, Phase};
use std::fmt;

/// What is promised.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Promise {
    /// No machine and no image goes before what it held is in storage, or a decision is recorded.
    WorkIsKept,
    /// No machine lives past its hard end, nor is there a second one.
    NothingBillsForEver,
    /// A living machine is neither given up nor rebooted for silence.
    TheLivingAreLeft,
    /// What is not ours is neither taken nor touched.
    OthersAreLeftAlone,
    /// Only the first key of a generation enrols.
    OneKeyEnrols,
    /// A wake brings back the newest verified backup.
    TheNewestIsRestored,
    /// No machine begins whose worst case is not reserved at that moment.
    CapsAreKept,
    /// Everything comes to rest: nothing is left, nothing is stuck.
    EverythingRests,
    /// What is due and had to wait is done: no invocation's end makes anybody forget it.
    NothingDueIsForgotten,
    /// The label that ends a machine where nobody else does names the end that the record does.
    LabelsNameTheEnd,
}

impl Promise {
    pub const ALL: [Self; 10] = [
        Self::WorkIsKept,
        Self::NothingBillsForEver,
        Self::TheLivingAreLeft,
        Self::OthersAreLeftAlone,
        Self::OneKeyEnrols,
        Self::TheNewestIsRestored,
        Self::CapsAreKept,
        Self::EverythingRests,
        Self::NothingDueIsForgotten,
        Self::LabelsNameTheEnd,
    ];

    /// Its name, in reports and in the mutation check.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::WorkIsKept => "work is kept",
            Self::NothingBillsForEver => "nothing bills for ever",
            Self::TheLivingAreLeft => "the living are left",
            Self::OthersAreLeftAlone => "others are left alone",
            Self::OneKeyEnrols => "one key enrols",
            Self::TheNewestIsRestored => "the newest is restored",
            Self::CapsAreKept => "caps are kept",
            Self::EverythingRests => "everything rests",
            Self::NothingDueIsForgotten => "nothing due is forgotten",
            Self::LabelsNameTheEnd => "labels name the end",
        }
    }

    pub(super) fn broken(self, what: impl Into<String>) -> Broken {
        Broken { promise: self, what: what.into() }
    }
}

/// A broken promise, with what was seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Broken {
    pub promise: Promise,
    pub what: String,
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.promise.as_str(), self.what)
    }
}

/// At this moment: at most one server, and somebody will look again. How long it lives is counted by the walk.
pub fn nothing_bills_unseen(object: &Object, outside: &Outside) -> Result<(), Broken> {
    let bills = Promise::NothingBillsForEver;
    let cloud = outside.cloud.borrow();
    let live = outside.ours(&cloud).filter(|server| server.status != ServerStatus::Deleting).count();
    if live > 1 {
        return Err(bills.broken(format!("{live} servers exist at once")));
    }
    let record = &object.record;
    if record.phase.may_have_machine() && object.alarm_ms.is_none() && !object.alarm_lost {
        return Err(bills.broken(format!("{} without an alarm", record.state())));
    }
    if live > 0 && !record.phase.may_have_machine() {
        return Err(bills.broken(format!("a server exists although the workspace is {}", record.state())));
    }
    Ok(())
}

/// At the moment at which a machine's server goes: what it held is in storage, or a decision is recorded.
pub fn work_is_kept(machine: &Machine, object: &Object, outside: &Outside) -> Result<(), Broken> {
    let record = &object.record;
    let unsaved = machine.work.saturating_sub(restorable(machine, object, outside));
    let discarded = machine.discarded || record.desired == DesiredState::Discarded;
    if unsaved == 0 || discarded || record.spec.persistence == Persistence::None {
        return Ok(());
    }
    let image_stands = record.rescue_image.is_some_and(|image| {
        outside.cloud.borrow().snapshots().any(|snapshot| snapshot.id == image && snapshot.available)
    });
    // What a salvage machine held is in the image that it was made from: ending it loses nothing.
    if machine.salvages.is_some() && (image_stands || record.data_loss_note.is_some()) {
        return Ok(());
    }
    if image_stands || record.data_loss_note.is_some() {
        return by_the_rules(machine, object, outside);
    }
    Err(Promise::WorkIsKept
        .broken(format!("{unsaved} units of work went without receipt, image or recorded decision")))
}

/// A machine that somebody else deleted: what went with it is told once its time here is over.
pub fn loss_is_told(machine: &Machine, object: &Object, outside: &Outside) -> Result<(), Broken> {
    let record = &object.record;
    let lost = machine.work > restorable(machine, object, outside) && machine.salvages.is_none();
    let decided = record.desired == DesiredState::Discarded
        || record.spec.persistence == Persistence::None
        || record.data_loss_note.is_some()
        || record.rescue_image.is_some();
    if lost && !decided {
        return Err(Promise::WorkIsKept.broken("a server vanished with work on it, and nobody was told"));
    }
    Ok(())
}

/// The work that the verified snapshots of a machine hold.
fn restorable(machine: &Machine, object: &Object, outside: &Outside) -> u64 {
    let packs = outside.packs.borrow();
    object
        .record
        .snapshots
        .iter()
        .filter(|snapshot| snapshot.generation.0 == machine.generation)
        .filter_map(|snapshot| packs.work_of.get(&snapshot.snapshot))
        .max()
        .copied()
        .unwrap_or(0)
}

/// What only an image holds: it goes when a verified backup of its salvage holds as much, or by a recorded decision
/// (discarded, purged, expired after a warning).
pub fn image_goes_only_when_spared(
    image: u64,
    work: u64,
    object: &Object,
    outside: &Outside,
) -> Result<(), Broken> {
    let record = &object.record;
    let packs = outside.packs.borrow();
    let saved = record
        .snapshots
        .iter()
        .any(|known| packs.work_of.get(&known.snapshot).is_some_and(|had| *had >= work));
    let purged = matches!(record.phase, Phase::Deleted { purged: true, .. });
    if work == 0
        || saved
        || purged
        || record.data_loss_note.is_some()
        || record.desired == DesiredState::Discarded
    {
        return Ok(());
    }
    Err(Promise::WorkIsKept.broken(format!(
        "the image {image} with {work} units of work was let go without receipt or recorded decision"
    )))
}

/// A machine that begins is reserved at that moment: within the caps, or refused.
pub fn is_reserved(object: &Object, outside: &Outside) -> Result<(), Broken> {
    let generation = object.record.generation;
    if outside.reserved.borrow().contains_key(&generation.0) {
        return Ok(());
    }
    Err(Promise::CapsAreKept.broken(format!("machine {generation} begins and nothing is reserved for it")))
}

/// What a new machine restores: the newest verified snapshot, since nobody here chooses another.
pub fn restores_the_newest(object: &Object) -> Result<(), Broken> {
    let record = &object.record;
    if record.salvage_image_id.is_some() {
        return Ok(());
    }
    let newest = record.snapshots.iter().find(|snapshot| snapshot.generation < record.generation);
    let newest = newest.map(|snapshot| &snapshot.snapshot);
    if record.restore.as_ref() == newest {
        return Ok(());
    }
    let (generation, restore) = (record.generation, &record.restore);
    Err(Promise::TheNewestIsRestored
        .broken(format!("generation {generation} restores {restore:?} and not {newest:?}")))
}

/// No living machine is given up before its lifetime has ended.
fn by_the_rules(machine: &Machine, object: &Object, outside: &Outside) -> Result<(), Broken> {
    let record = &object.record;
    let now_ms = outside.now_ms.get();
    let lifetime_ends_ms = record.lifetime_ends_at().as_millisecond() - EPOCH_MS;
    if machine.is_alive(now_ms) && now_ms < lifetime_ends_ms {
        let left = (lifetime_ends_ms - now_ms) / 1000;
        return Err(Promise::TheLivingAreLeft
            .broken(format!("it lives and its lifetime ends in {left} s; {}", record.because)));
    }
    Ok(())
}

/// At rest, after faults have ended: no server, no names, nothing stuck.
pub fn all_is_at_rest(object: &Object, outside: &Outside) -> Result<(), Broken> {
    let rests = Promise::EverythingRests;
    let record = &object.record;
    if record.phase.may_have_machine() || matches!(record.phase, Phase::Requested) {
        return Err(rests.broken(format!("stuck in {}: {}", record.state(), record.because)));
    }
    let cloud = outside.cloud.borrow();
    if let Some(server) = outside.ours(&cloud).next() {
        return Err(rests.broken(format!("server {} is left", server.id)));
    }
    if let Some(left) = cloud.dns_records().next() {
        return Err(rests.broken(format!("the DNS record {} is left", left.name)));
    }
    if !record.old_images.is_empty() {
        return Err(rests.broken(format!("images are left: {:?}", record.old_images)));
    }
    if record.in_flight.is_some() {
        return Err(rests.broken("an effect is in flight for ever"));
    }
    Ok(())
}

/// After the alarm that an invocation set for what it had no calls left for: that is begun, or its time is over.
pub fn nothing_due_is_forgotten(owed: Option<Owed>, object: &Object, now_ms: i64) -> Result<(), Broken> {
    let record = &object.record;
    let waits = record.pause.as_ref().is_some_and(|pause| pause.until > at(now_ms));
    match owed.filter(|owed| object.owed == Some(*owed)) {
        Some(Owed { effect, state, .. })
            if state == record.state() && record.in_flight.is_none() && !waits =>
        {
            let what = format!(
                "{effect:?} was due in {state}, had to wait for the next invocation, and is not begun"
            );
            Err(Promise::NothingDueIsForgotten.broken(what))
        }
        _ => Ok(()),
    }
}

/// What the labels of a living machine say of its end, where that is not what the record says.
pub fn label_at_odds(object: &Object, outside: &Outside) -> Option<String> {
    let record = &object.record;
    let lives = match record.phase {
        Phase::Booting { .. } | Phase::Running | Phase::Silent { .. } | Phase::Draining { .. } => true,
        Phase::Requested
        | Phase::Provisioning { .. }
        | Phase::Rescuing { .. }
        | Phase::Destroying { .. }
        | Phase::Asleep
        | Phase::Failed { .. }
        | Phase::Deleted { .. } => false,
    };
    let id = record.server.as_ref().filter(|_| lives)?.id;
    let cloud = outside.cloud.borrow();
    let label = cloud.server(id)?.labels.get(LABEL_EXPIRES).map_or("", String::as_str);
    let ends_at = record.hard_end_at(&object.policy).as_second();
    let says = label.parse().unwrap_or(i64::MIN);
    (says != ends_at).then(|| format!("{} for {}", label, ends_at))
}

/// The server of another installation in the same project stands as it was.
pub fn others_are_left_alone(object: &Object, outside: &Outside) -> Result<(), Broken> {
    let Some(neighbour) = outside.neighbour else { return Ok(()) };
    let cloud = outside.cloud.borrow();
    let stands = cloud.server(neighbour).is_some_and(|server| server.status != ServerStatus::Deleting);
    let adopted = object.record.server.as_ref().is_some_and(|server| server.id == neighbour);
    if stands && !adopted {
        return Ok(());
    }
    Err(Promise::OthersAreLeftAlone.broken(if adopted {
        "another installation's server was adopted"
    } else {
        "it was deleted"
    }))
}
