//! A frozen machine whose last backup is not whole: told once, and given back to an owner who asks.

use super::*;
use crate::view;
use ebbtide_api::vm::DesiredMachineState;

const NAMED: &str = "1 paths could not be backed up, /home/ebb/secret among them";

/// The `n`th backup, in which a file is missing.
fn partial(n: u8) -> Receipt {
    let unreadable = vec![Unreadable { path: "/home/ebb/secret".into(), reason: "permission denied".into() }];
    Receipt { snapshot: format!("{n:064}"), unreadable, ..receipt() }
}

impl World {
    fn refused(&mut self, receipt: Receipt) -> &mut Self {
        self.deliver(receipt, true);
        self.ends(Effect::CheckReceipt, EffectOutcome::ReceiptChecked { packs: 3 })
    }

    fn says(&mut self, drain: Option<DrainPhase>) -> &mut Self {
        self.heartbeat(HeartbeatSummary { ready: true, drain, ..HeartbeatSummary::default() })
    }

    fn desired(&self) -> DesiredMachineState {
        let context = Context { now: at(self.now), policy: &self.policy, last_seen_at: None };
        view::machine::instruction(&self.record, &context, <_>::default()).desired
    }

    fn waiting_for(&self) -> String {
        let context = Context { now: at(self.now), policy: &self.policy, last_seen_at: None };
        view::people::workspace(&self.record, None, &context, "").waiting_for.unwrap_or_default()
    }
}

#[test]
fn a_partial_receipt_that_is_repeated_is_told_once_in_each_sleep() {
    let mut world = World::draining();
    for n in 1..=4 {
        world.refused(partial(n)).state(State::Draining);
        assert_eq!(world.record.receipt_problem.as_deref(), Some(NAMED));
    }
    assert_eq!(world.told(&EventCode::BackupPartial), 1, "{:?}", world.notes);
    let other = Receipt { unreadable_more: 1, ..partial(5) };
    world.refused(other);
    assert_eq!(world.told(&EventCode::BackupPartial), 2, "{:?}", world.notes);
    world.ask(Command::Wake { snapshot: None }).says(None).ask(Command::Sleep);
    world.refused(Receipt { unreadable_more: 1, ..partial(6) });
    assert_eq!(world.told(&EventCode::BackupPartial), 3, "{:?}", world.notes);
}

#[test]
fn a_frozen_machine_whose_backup_is_not_whole_is_given_back_and_sleeps_once_it_is() {
    let mut world = World::draining();
    world.refused(partial(1));
    let hint = "; wake the workspace to mend that, or delete it with discard";
    assert_eq!(world.waiting_for(), format!("{NAMED}{hint}"));
    assert_eq!(
        crate::reservation::ReservationRequest::of(&world.record, at(world.now)).next,
        None,
        "no machine begins"
    );
    world.ask(Command::Wake { snapshot: None }).state(State::Running);
    assert_eq!(world.desired(), DesiredMachineState::Run);
    // What was on its way meanwhile is a backup, and ends nothing.
    world.deliver_at_once(receipt(), true);
    world.ends(Effect::CheckReceipt, EffectOutcome::ReceiptChecked { packs: 3 }).state(State::Running);
    assert_eq!(world.record.final_snapshot, None);
    world.says(None).ask(Command::Sleep).state(State::Draining);
    assert_eq!(world.desired(), DesiredMachineState::DrainNow);
    world.refused(Receipt { snapshot: "c".repeat(64), ..receipt() });
    world.destroyed().state(State::Asleep);
}

#[test]
fn a_freeze_that_is_to_end_proves_nothing_for_the_next_sleep() {
    let mut world = World::draining();
    world.refused(partial(1));
    world.ask(Command::Wake { snapshot: None }).state(State::Running);
    world.ask(Command::Sleep).state(State::Draining);
    // It has not heard yet that it was to go on, or it has and thaws at this moment.
    world.says(Some(DrainPhase::Frozen));
    assert_eq!(
        world.desired(),
        DesiredMachineState::Run,
        "what it is told after this is the same, whatever it heard"
    );
    world.deliver_at_once(receipt(), true);
    assert_eq!(world.refusal.clone().unwrap().code, ErrorCode::WrongState);
    assert_eq!(world.record.pending, None);
    world.says(None);
    assert_eq!(world.desired(), DesiredMachineState::DrainNow);
    world.refused(receipt()).state(State::Destroying);
}

#[test]
fn a_receipt_that_is_being_checked_is_waited_for() {
    // Whole: the machine goes, and the wake is the next one's.
    let mut world = World::draining();
    world.refused(partial(1)).deliver(receipt(), true);
    world.ask(Command::Wake { snapshot: None }).state(State::Draining);
    assert_eq!(world.desired(), DesiredMachineState::DrainNow);
    world.ends(Effect::CheckReceipt, EffectOutcome::ReceiptChecked { packs: 3 }).state(State::Destroying);
    // Refused as well: then it is given back.
    let mut world = World::draining();
    world.refused(partial(1)).deliver(partial(2), true);
    world.ask(Command::Wake { snapshot: None }).state(State::Draining);
    world.ends(Effect::CheckReceipt, EffectOutcome::ReceiptChecked { packs: 3 }).state(State::Running);
}

#[test]
fn a_machine_that_says_that_it_thawed_is_not_let_go_by_what_it_delivered_before() {
    let mut world = World::draining();
    world.deliver(receipt(), true);
    world.says(None);
    world.ends(Effect::CheckReceipt, EffectOutcome::ReceiptChecked { packs: 3 }).state(State::Draining);
    assert_eq!(world.record.final_snapshot, None);
}

#[test]
fn past_its_lifetime_nothing_is_given_back_and_the_hard_end_stands() {
    let mut world = World::draining();
    world.refused(partial(1));
    let end = world.record.lifetime_ends_at();
    let hard_end = world.record.hard_end_at(&world.policy);
    world.now += end.duration_since(at(world.now)).as_secs();
    world.last_seen = Some(world.now);
    world.ask(Command::Wake { snapshot: None }).state(State::Draining);
    assert_eq!(world.desired(), DesiredMachineState::DrainNow);
    assert_eq!(world.waiting_for(), NAMED);
    assert_eq!(world.record.hard_end_at(&world.policy), hard_end);
    let ceiling = i64::try_from(world.policy.drain_ceiling.as_secs()).unwrap();
    world.now += ceiling;
    world.last_seen = Some(world.now);
    world.tick().state(State::Rescuing);
}
