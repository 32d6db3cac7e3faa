//! The table of moves, and properties that hold in every phase. The walks over faults and crashes are in
//! `system-tests`, against the local cloud's own model.

use super::*;
use crate::policy::Policy;
use crate::record::*;
use crate::reservation::{NextMachine, ReservationRequest};
use ebbtide_api::backups::{Persistence, SnapshotSummary};
use ebbtide_api::failure::Failure;
use ebbtide_api::vm::{DrainPhase, Pack, Receipt, Unreadable};
use ebbtide_api::workspace::{Hold, OnUnsaved, RescueChoice, State};
use ebbtide_api::{Duration, ErrorCode, EventCode, FailureCode, Generation, Hint, Timestamp};

const START: i64 = 1_800_000_000;

fn at(secs: i64) -> Timestamp {
    Timestamp::from_second(START + secs).unwrap()
}

fn server() -> Server {
    Server { id: 7, ipv4: Some("198.18.0.7".into()), placement: placement(), created: None }
}

fn placement() -> Placement {
    Placement { size: "cx23".into(), location: "fsn1".into() }
}

pub(crate) fn new_record() -> Record {
    crate::record::sample::record(placement(), at(0))
}

/// A workspace whose world answers as told.
struct World {
    record: Record,
    policy: Policy,
    now: i64,
    last_seen: Option<i64>,
    effect: Option<(u64, Effect)>,
    wake_at: Option<Timestamp>,
    refusal: Option<Refusal>,
    notes: Vec<String>,
    /// What each of the notes tells of.
    codes: Vec<EventCode>,
}

impl World {
    fn new() -> Self {
        Self {
            record: new_record(),
            // Told apart: `money` has the tests of the paid hour.
            policy: Policy { use_paid_hour: false, ..Policy::default() },
            now: 0,
            last_seen: None,
            effect: None,
            wake_at: None,
            refusal: None,
            notes: vec![],
            codes: vec![],
        }
    }

    /// How often the history tells of this.
    fn told(&self, code: &EventCode) -> usize {
        self.codes.iter().filter(|told| *told == code).count()
    }

    /// The whole history, as people and programs read it.
    fn history(&self) -> String {
        let lines = self.codes.iter().zip(&self.notes).map(|(code, note)| format!("{code}: {note}"));
        lines.collect::<Vec<_>>().join("\n")
    }

    fn input(&mut self, input: Input) -> &mut Self {
        let last_seen_at = self.last_seen.map(at);
        let context = Context { now: at(self.now), policy: &self.policy, last_seen_at };
        let decision = decide(&self.record, input, &context);
        // Stored and loaded between any two decisions, as in production.
        self.record = serde_json::from_str(&serde_json::to_string(&decision.next).unwrap()).unwrap();
        if decision.effect.is_some() {
            self.effect = decision.effect;
        }
        self.wake_at = decision.wake_at;
        self.refusal = decision.refusal;
        for note in decision.notes {
            assert!(EventCode::ALL.contains(&note.code), "{note:?} has a code that no reference lists");
            self.notes.push(note.because);
            self.codes.push(note.code);
        }
        assert!(
            !self.record.phase.may_have_machine() || self.wake_at.is_some(),
            "{:?} has nobody to wake it",
            self.record.phase
        );
        self
    }

    fn tick(&mut self) -> &mut Self {
        self.input(Input::Tick { due_at: None })
    }

    fn at(&mut self, secs: i64) -> &mut Self {
        self.now = secs;
        self.tick()
    }

    fn ask(&mut self, command: Command) -> &mut Self {
        self.input(Input::Ask(command))
    }

    fn heartbeat(&mut self, heartbeat: HeartbeatSummary) -> &mut Self {
        self.last_seen = Some(self.now);
        self.input(Input::Heartbeat(heartbeat))
    }

    /// Ends the effect that is in flight, which must be the expected one.
    fn ends(&mut self, effect: Effect, outcome: EffectOutcome) -> &mut Self {
        let (attempt_id, begun) =
            self.effect.take().unwrap_or_else(|| panic!("no effect; {:?}", self.record));
        assert_eq!(begun, effect);
        self.input(Input::Finished { attempt_id, outcome })
    }

    fn booting() -> Self {
        let mut world = Self::new();
        world.tick();
        world.ends(Effect::EnsureServer, EffectOutcome::Exists(server()));
        world.ends(Effect::EnsureDns, EffectOutcome::Done);
        world.state(State::Booting);
        world
    }

    fn running() -> Self {
        let mut world = Self::booting();
        world.now = 60;
        world.heartbeat(HeartbeatSummary { ready: true, ..HeartbeatSummary::default() });
        world.state(State::Running);
        world
    }

    /// Nobody else is silent.
    fn alone(&mut self) -> &mut Self {
        self.ends(Effect::CheckPeers, EffectOutcome::Peers(Peers { silent: 0, awake: 3 }))
    }

    fn draining() -> Self {
        let mut world = Self::running();
        world.ask(Command::Sleep).state(State::Draining);
        world
    }

    fn deliver(&mut self, receipt: Receipt, last: bool) -> &mut Self {
        // As the idle-agent does: it says that it is frozen before it takes its last backup.
        if last && self.record.state() == State::Draining {
            self.heartbeat(HeartbeatSummary {
                ready: true,
                drain: Some(DrainPhase::Frozen),
                ..HeartbeatSummary::default()
            });
        }
        self.deliver_at_once(receipt, last)
    }

    fn deliver_at_once(&mut self, receipt: Receipt, last: bool) -> &mut Self {
        self.last_seen = Some(self.now);
        self.input(Input::Delivered { receipt, last, wrong: None })
    }

    /// The labels are written, with the end as it is now.
    fn labelled(&mut self) -> &mut Self {
        let (until, ssh) = (self.record.hard_end_at(&self.policy), self.record.lets_ssh_in());
        self.ends(Effect::UpdateLabels, EffectOutcome::Labelled { until, ssh })
    }

    fn destroyed(&mut self) -> &mut Self {
        self.state(State::Destroying);
        self.now += 200;
        self.tick();
        if self.effect.as_ref().is_some_and(|(_, effect)| *effect == Effect::DeleteDns) {
            self.ends(Effect::DeleteDns, EffectOutcome::Done);
        }
        self.ends(Effect::DeleteServer, EffectOutcome::Deleting);
        self.now += 5;
        self.tick();
        self.ends(Effect::DeleteServer, EffectOutcome::Gone);
        self.now += 5;
        self.tick();
        self.ends(Effect::DeleteServer, EffectOutcome::Gone);
        if self.record.dns != Dns::Absent {
            self.ends(Effect::DeleteDns, EffectOutcome::Done);
        }
        self
    }

    fn state(&mut self, state: State) -> &mut Self {
        assert_eq!(self.record.state(), state, "{}", self.record.because);
        self
    }
}

fn receipt() -> Receipt {
    let pack = |n: u8| Pack { name: format!("{n:064}"), size: 10 };
    Receipt {
        snapshot: "a".repeat(64),
        tree: "b".repeat(64),
        packs_new: vec![pack(1), pack(2), pack(3)],
        packs_total: 3,
        files: 5,
        bytes_total: 30,
        bytes_sent: 30,
        skipped: vec![],
        unreadable: vec![],
        packs_to_come: 0,
        indexes: None,
        unreadable_more: 0,
        excluded: None,
    }
}

#[test]
fn a_workspace_lives_sleeps_wakes_and_is_deleted() {
    let mut world = World::draining();
    world.deliver(receipt(), true);
    world.ends(Effect::CheckReceipt, EffectOutcome::ReceiptChecked { packs: 2 });
    world.state(State::Draining);
    world.ends(Effect::CheckReceipt, EffectOutcome::ReceiptChecked { packs: 1 });
    world.destroyed().state(State::Asleep);
    assert_eq!(world.wake_at, None);
    world.ask(Command::Wake { snapshot: None }).state(State::Provisioning);
    assert_eq!(world.record.generation, Generation(2));
    assert_eq!(world.record.restore.as_deref(), Some("a".repeat(64).as_str()));
    world.ends(Effect::EnsureServer, EffectOutcome::Exists(server()));
    world.ask(Command::Delete);
    world.state(State::Destroying);
    world.ends(Effect::EnsureDns, EffectOutcome::Done);
    world.destroyed().state(State::Deleted);
    world.ask(Command::Undelete).state(State::Asleep);
    world.ask(Command::Delete).state(State::Deleted);
    world.now += 8 * 24 * 3600;
    world.tick();
    world.ends(Effect::Purge, EffectOutcome::Done);
    assert_eq!(world.wake_at, None);
    world.ask(Command::Undelete);
    assert_eq!(world.refusal.clone().unwrap().code, ErrorCode::WrongState);
    insta::assert_snapshot!(world.history());
}

#[test]
fn nothing_is_deleted_before_every_pack_of_the_final_receipt_is_verified() {
    let mut world = World::draining();
    world.deliver(receipt(), false);
    world.ends(Effect::CheckReceipt, EffectOutcome::ReceiptChecked { packs: 3 });
    world.state(State::Draining);
    assert_eq!(world.record.final_snapshot, None, "a receipt of work that goes on lets nothing go");
    world.deliver(receipt(), true);
    world.ends(Effect::CheckReceipt, EffectOutcome::ReceiptWrong { problem: "pack 2 is missing".into() });
    world.state(State::Draining);
    assert_eq!(world.record.receipt_problem.as_deref(), Some("pack 2 is missing"));
    world.deliver(receipt(), true);
    world.ends(Effect::CheckReceipt, EffectOutcome::ReceiptChecked { packs: 2 });
    world.state(State::Draining);
    assert_eq!(world.record.final_snapshot, None, "one pack has not been looked for yet");
    world.ends(Effect::CheckReceipt, EffectOutcome::ReceiptChecked { packs: 1 });
    world.state(State::Destroying);
}

#[test]
fn a_receipt_in_parts_counts_with_its_last_part_only() {
    let mut world = World::draining();
    for to_come in [6, 3] {
        world.deliver(Receipt { packs_to_come: to_come, ..receipt() }, false);
        world.ends(Effect::CheckReceipt, EffectOutcome::ReceiptChecked { packs: 3 });
        world.state(State::Draining);
        assert!(world.record.pending.is_none() && world.record.receipt_problem.is_none());
        assert!(world.record.snapshots.is_empty(), "a part proves no snapshot");
    }
    // One that was cut off in its check does not stand for the next.
    world.deliver(Receipt { packs_to_come: 6, ..receipt() }, false);
    world.deliver(Receipt { packs_to_come: 3, ..receipt() }, false);
    assert_eq!(world.record.pending.as_ref().unwrap().receipt.packs_to_come, 3);
    world.deliver(receipt(), true);
    world.ends(Effect::CheckReceipt, EffectOutcome::ReceiptChecked { packs: 3 });
    world.state(State::Destroying);
}

#[test]
fn a_receipt_that_names_what_its_machine_is_not_shown_is_refused_before_anything_is_looked_up() {
    let mut world = World::draining();
    world.effect = None;
    for _ in 0..2 {
        let wrong = Some("index/7 is not in storage".to_owned());
        world.input(Input::Delivered { receipt: receipt(), last: false, wrong });
        assert_eq!(world.effect, None);
    }
    assert!(world.record.pending.is_none() && world.record.snapshots.is_empty());
    assert_eq!(world.record.receipt_problem.as_deref(), Some("index/7 is not in storage"));
    assert_eq!(world.told(&EventCode::ReceiptRefused), 1, "once, however often it is delivered");
    world.deliver(receipt(), true);
    world.ends(Effect::CheckReceipt, EffectOutcome::ReceiptChecked { packs: 3 });
    world.state(State::Destroying);
}

#[test]
fn a_wrong_receipt_ends_the_check_of_its_own_snapshot_and_of_no_other() {
    let mut world = World::draining();
    world.deliver(receipt(), true);
    let mut wrong = |snapshot: &str| {
        let receipt = Receipt { snapshot: snapshot.repeat(64), ..receipt() };
        let wrong = Some("index/7 is not in storage".to_owned());
        world.input(Input::Delivered { receipt, last: false, wrong });
        world.record.pending.is_some()
    };
    assert!(wrong("b"), "another snapshot's packs are being looked for");
    assert!(!wrong("a"));
}

#[test]
fn a_partial_receipt_deletes_nothing_without_a_recorded_decision() {
    let mut world = World::draining();
    let unreadable = vec![Unreadable { path: "/home/ebb/secret".into(), reason: "permission denied".into() }];
    world.deliver(Receipt { unreadable, ..receipt() }, true);
    world.ends(Effect::CheckReceipt, EffectOutcome::ReceiptChecked { packs: 3 });
    world.state(State::Draining);
    assert!(world.record.receipt_problem.clone().unwrap().contains("/home/ebb/secret"));
    world.ask(Command::Discard).state(State::Destroying);
}

#[test]
fn a_late_answer_of_an_attempt_that_was_given_up_changes_nothing() {
    let mut world = World::new();
    world.tick();
    let (first, _) = world.effect.take().unwrap();
    world.at(61);
    assert!(matches!(world.record.phase, Phase::Provisioning { maybe_created: true, .. }));
    world.at(70);
    let before = world.record.clone();
    world.input(Input::Finished {
        attempt_id: first,
        outcome: EffectOutcome::NoRoom { message: "late".into() },
    });
    assert_eq!(world.record.phase, before.phase);
    world.ends(Effect::EnsureServer, EffectOutcome::Exists(server())).state(State::Booting);
}

#[test]
fn a_create_that_may_have_landed_is_looked_for_before_the_workspace_fails() {
    let mut world = World::new();
    world.tick();
    let later =
        EffectOutcome::Later { waiting_for: "the provider".into(), maybe_landed: true, not_before: None };
    world.ends(Effect::EnsureServer, later);
    world.at(3);
    world.ends(Effect::EnsureServer, EffectOutcome::NoRoom { message: "sold out".into() });
    world.state(State::Destroying);
    world.ends(Effect::DeleteServer, EffectOutcome::Gone);
    world.at(10).state(State::Destroying);
    world.at(125);
    world.ends(Effect::DeleteServer, EffectOutcome::Gone).state(State::Failed);
}

#[test]
fn a_not_found_right_after_a_create_is_not_believed() {
    let mut world = World::new();
    world.tick();
    let later =
        EffectOutcome::Later { waiting_for: "the provider".into(), maybe_landed: true, not_before: None };
    world.ends(Effect::EnsureServer, later);
    world.at(3);
    world.ends(Effect::EnsureServer, EffectOutcome::NoRoom { message: "sold out".into() });
    world.ends(Effect::DeleteServer, EffectOutcome::Gone);
    for secs in [10, 60, 121] {
        world.at(secs).state(State::Destroying);
        assert_eq!(world.effect, None, "a server that was just asked for may show late in the listing");
    }
    world.at(125);
    world.ends(Effect::DeleteServer, EffectOutcome::Gone).state(State::Failed);
}

#[test]
fn sold_out_falls_back_only_over_what_the_record_allows() {
    let mut world = World::new();
    world.record.spec.fallbacks = vec![Placement { size: "cx33".into(), location: "nbg1".into() }];
    world.tick();
    world.ends(Effect::EnsureServer, EffectOutcome::NoRoom { message: "sold out".into() });
    assert_eq!(world.record.spec.placement.size, "cx33");
    world.ends(Effect::EnsureServer, EffectOutcome::NoRoom { message: "sold out".into() });
    world.state(State::Failed);
    assert!(
        matches!(&world.record.phase, Phase::Failed { failure } if failure.code == FailureCode::Capacity)
    );
    assert_eq!(world.wake_at, None);
    world.ask(Command::Retry).state(State::Provisioning);
    assert_eq!(world.record.generation, Generation(2));
}

#[test]
fn a_provider_that_stays_down_fails_the_workspace_and_says_what_it_waited_for() {
    let mut world = World::new();
    world.tick();
    for _ in 0..200 {
        if world.record.state() != State::Provisioning {
            break;
        }
        if world.effect.is_some() {
            let waiting_for = "the provider answers 503".to_owned();
            let outcome = EffectOutcome::Later { waiting_for, maybe_landed: false, not_before: None };
            world.ends(Effect::EnsureServer, outcome);
        }
        world.now += 10;
        world.tick();
    }
    world.state(State::Failed);
    assert!(world.record.because.contains("503"), "{}", world.record.because);
}

#[test]
fn silence_starts_a_question_and_being_heard_ends_it() {
    let mut world = World::running();
    world.at(179).state(State::Running);
    world.at(180).state(State::Silent);
    world.alone();
    world.ends(Effect::AskServer, EffectOutcome::Status(ServerStatus::Alive));
    world.at(400);
    world.ends(Effect::AskServer, EffectOutcome::Status(ServerStatus::Alive));
    world.now = 410;
    world.heartbeat(HeartbeatSummary { ready: true, ..HeartbeatSummary::default() }).state(State::Running);
}

#[test]
fn a_machine_that_works_but_cannot_reach_us_is_kept_until_its_lifetime_ends() {
    let mut world = World::running();
    let lifetime = 24 * 3600;
    world.at(200).state(State::Silent);
    world.alone();
    while world.now < lifetime - 300 {
        if world.effect.is_some() {
            world.ends(Effect::AskServer, EffectOutcome::Status(ServerStatus::Alive));
        }
        world.now += 180;
        world.tick().state(State::Silent);
    }
    world.effect = None;
    world.record.in_flight = None;
    world.at(lifetime).alone().state(State::Rescuing);
}

#[test]
fn a_dead_machine_is_rebooted_once_and_then_rescued_within_the_budget() {
    let mut world = World::running();
    world.record.spec.lifetime = Duration::from_mins(10);
    world.at(200).state(State::Silent);
    world.alone();
    world.ends(Effect::AskServer, EffectOutcome::Status(ServerStatus::Off));
    world.alone().at(230).alone();
    world.ends(Effect::Reboot, EffectOutcome::Done);
    world.at(230 + 601);
    world.ends(Effect::AskServer, EffectOutcome::Status(ServerStatus::Off));
    assert_eq!(world.effect, None, "one reboot, not two");
    world.effect = None;
    world.record.in_flight = None;
    world.at(60 + 2 * 3600);
    world.alone().state(State::Rescuing);
    world.ends(Effect::PowerOff, EffectOutcome::Done);
    world.ends(Effect::TakeImage, EffectOutcome::ImageStarted { image: 9 });
    world.ends(Effect::AwaitImage, EffectOutcome::Done);
    world.destroyed().state(State::Failed);
    assert_eq!(world.record.rescue_image, Some(9));
}

#[test]
fn an_alarm_that_fires_late_restarts_the_clocks_of_silence() {
    let mut world = World::running();
    world.now = 1000;
    world.input(Input::Tick { due_at: Some(at(180)) }).state(State::Running);
    world.at(1119).state(State::Running);
    world.at(1120).state(State::Silent);
}

#[test]
fn a_rescue_that_brings_nothing_ends_by_what_the_owner_chose() {
    for (on_unsaved, state) in [(OnUnsaved::Destroy, State::Destroying), (OnUnsaved::Hold, State::Rescuing)] {
        let mut world = World::draining();
        world.record.spec.on_unsaved = on_unsaved;
        world.now = 26 * 3600;
        world.last_seen = Some(world.now);
        world.tick().state(State::Rescuing);
        world.now += 1801;
        world.tick().state(state);
        assert_eq!(world.record.data_loss_note.is_some(), on_unsaved == OnUnsaved::Destroy);
    }
}

#[test]
fn an_idle_verdict_drains_and_activity_before_the_freeze_takes_it_back() {
    let idle = || HeartbeatSummary {
        ready: true,
        idle: Some("nothing for 30m".into()),
        ..HeartbeatSummary::default()
    };
    let busy = |drain| HeartbeatSummary {
        ready: true,
        busy: Some("a build".into()),
        drain,
        ..HeartbeatSummary::default()
    };
    let mut world = World::running();
    world.heartbeat(idle()).state(State::Draining);
    world.heartbeat(busy(Some(DrainPhase::Snapshot))).state(State::Running);
    world.heartbeat(idle()).state(State::Draining);
    world.heartbeat(busy(Some(DrainPhase::Frozen))).state(State::Draining);
}

#[test]
fn a_hold_the_machine_has_not_heard_of_yet_outweighs_its_verdict() {
    let mut world = World::running();
    let hold = Hold { id: "h1".into(), reason: "training".into(), ends_at: at(7200) };
    world.ask(Command::TakeHold(hold));
    world
        .heartbeat(HeartbeatSummary {
            ready: true,
            idle: Some("quiet".into()),
            ..HeartbeatSummary::default()
        })
        .state(State::Running);
    world.ask(Command::ReleaseHold { id: "h1".into() });
    world
        .heartbeat(HeartbeatSummary {
            ready: true,
            idle: Some("quiet".into()),
            ..HeartbeatSummary::default()
        })
        .state(State::Draining);
}

#[test]
fn the_end_of_the_lifetime_is_announced_and_drains() {
    let mut world = World::running();
    for secs in [23 * 3600, 23 * 3600 + 2700, 23 * 3600 + 3300] {
        world.last_seen = Some(secs);
        world.at(secs).state(State::Running);
    }
    assert_eq!(world.told(&EventCode::LifetimeEndsSoon), 3);
    world.last_seen = Some(24 * 3600);
    world.at(24 * 3600).state(State::Draining);
}

#[test]
fn a_longer_lifetime_moves_the_end_and_rewrites_the_label() {
    let mut world = World::running();
    let lifetime = Some(Duration::from_hours(30));
    world.ask(Command::Change { idle_timeout: None, lifetime, worst_case: None });
    world.labelled();
    assert_eq!(world.effect, None);
    assert_eq!(world.record.lifetime_ends_at(), at(30 * 3600));
}

#[test]
fn a_label_that_could_not_be_written_is_written_once_the_server_is_found_again() {
    let mut world = World::running();
    let lifetime = Some(Duration::from_hours(30));
    world.ask(Command::Change { idle_timeout: None, lifetime, worst_case: None });
    world.ends(Effect::UpdateLabels, EffectOutcome::Gone).state(State::Running);
    world.now += 5;
    world.last_seen = Some(world.now);
    world.tick();
    world.ends(Effect::FindServer, EffectOutcome::Exists(server()));
    world.labelled();
    assert!(!world.record.labels_stale);
}

#[test]
fn only_the_first_machine_key_of_a_generation_may_enrol() {
    let mut world = World::booting();
    world.input(Input::Enrolled { machine_key: "one".into() });
    world.input(Input::Enrolled { machine_key: "one".into() });
    assert_eq!(world.refusal, None);
    world.input(Input::Enrolled { machine_key: "two".into() });
    assert_eq!(world.refusal.clone().unwrap().code, ErrorCode::EnrolmentRefused);
}

#[test]
fn one_false_not_found_deletes_no_living_machine() {
    let mut world = World::running();
    let lifetime = Some(Duration::from_hours(30));
    world.ask(Command::Change { idle_timeout: None, lifetime, worst_case: None });
    world.ends(Effect::UpdateLabels, EffectOutcome::Gone).state(State::Running);
    world.now += 5;
    world.last_seen = Some(world.now);
    world.tick();
    world.ends(Effect::FindServer, EffectOutcome::Exists(server())).state(State::Running);
    assert_eq!(world.record.data_loss_note, None);
}

#[test]
fn a_server_deleted_behind_our_back_is_told_and_not_waited_for() {
    let mut world = World::running();
    world.at(200);
    world.alone();
    world.ends(Effect::AskServer, EffectOutcome::Gone).state(State::Silent);
    world.at(205);
    world.ends(Effect::FindServer, EffectOutcome::Gone);
    world.destroyed().state(State::Failed);
    assert!(world.record.data_loss_note.is_some());
}

#[test]
fn wake_during_a_drain_takes_it_back_or_wakes_afterwards() {
    let mut world = World::draining();
    world.ask(Command::Wake { snapshot: None }).state(State::Running);
    world.ask(Command::Sleep).state(State::Draining);
    world.heartbeat(HeartbeatSummary {
        ready: true,
        drain: Some(DrainPhase::Frozen),
        ..HeartbeatSummary::default()
    });
    world.ask(Command::Wake { snapshot: None }).state(State::Draining);
    world.deliver(receipt(), true);
    world.ends(Effect::CheckReceipt, EffectOutcome::ReceiptChecked { packs: 3 });
    world.destroyed().state(State::Asleep);
    world.ends(Effect::Reserve, EffectOutcome::Reserved(Box::default())).state(State::Provisioning);
    assert_eq!(world.record.generation, Generation(2));
}

#[test]
fn a_workspace_that_is_not_persisted_is_destroyed_without_a_backup_as_was_chosen() {
    let mut world = World::running();
    world.record.spec.persistence = Persistence::None;
    world.ask(Command::Sleep).state(State::Destroying);
}

#[test]
fn what_cannot_be_done_is_refused_with_a_sentence() {
    let mut world = World::running();
    for command in [Command::Retry, Command::Undelete, Command::ReleaseHold { id: "x".into() }] {
        let before = world.record.clone();
        world.ask(command.clone());
        assert!(world.refusal.is_some(), "{command:?}");
        assert_eq!(world.record.phase, before.phase);
    }
    let snapshot = Some("f".repeat(64));
    world.ask(Command::Wake { snapshot });
    assert_eq!(world.refusal.clone().unwrap().code, ErrorCode::NotFound);
}

#[test]
fn the_stored_form_is_pinned_because_records_outlive_versions() {
    let json = serde_json::to_string_pretty(&World::running().record).unwrap();
    insta::assert_snapshot!(json);
}

#[test]
fn a_wake_restores_the_newest_snapshot_and_not_what_the_last_wake_restored() {
    let mut world = World::draining();
    world.record.restore = Some("e".repeat(64));
    world.ask(Command::Wake { snapshot: None }).state(State::Running);
    world.ask(Command::Sleep);
    world.heartbeat(HeartbeatSummary {
        ready: true,
        drain: Some(DrainPhase::Frozen),
        ..HeartbeatSummary::default()
    });
    world.ask(Command::Wake { snapshot: None }).state(State::Draining);
    world.deliver(receipt(), true);
    world.ends(Effect::CheckReceipt, EffectOutcome::ReceiptChecked { packs: 3 });
    world.destroyed().state(State::Asleep);
    world.ends(Effect::Reserve, EffectOutcome::Reserved(Box::default())).state(State::Provisioning);
    assert_eq!(world.record.restore, Some(receipt().snapshot));
}

#[test]
fn a_snapshot_that_was_chosen_is_restored_once() {
    let mut world = World::draining();
    world.deliver(receipt(), true);
    world.ends(Effect::CheckReceipt, EffectOutcome::ReceiptChecked { packs: 3 });
    world.destroyed().state(State::Asleep);
    let older = SnapshotSummary { snapshot: "d".repeat(64), ..world.record.snapshots[0].clone() };
    world.record.snapshots.push(older);
    world.ask(Command::Wake { snapshot: Some("d".repeat(64)) });
    assert_eq!(world.record.restore, Some("d".repeat(64)));
    assert_eq!(world.record.restore_snapshot_chosen, None);
}

#[test]
fn a_final_receipt_of_a_drain_that_was_taken_back_ends_nothing_later() {
    let mut world = World::draining();
    world.deliver(receipt(), true);
    let later = EffectOutcome::Later { waiting_for: "storage".into(), maybe_landed: false, not_before: None };
    world.ends(Effect::CheckReceipt, later);
    // Its agent has restarted and found nothing frozen.
    world.heartbeat(HeartbeatSummary {
        ready: true,
        drain: Some(DrainPhase::Snapshot),
        ..HeartbeatSummary::default()
    });
    world.ask(Command::Wake { snapshot: None }).state(State::Running);
    world.ask(Command::Sleep).state(State::Draining);
    world.now += 5;
    world.last_seen = Some(world.now);
    world.tick();
    world.ends(Effect::CheckReceipt, EffectOutcome::ReceiptChecked { packs: 3 }).state(State::Draining);
    assert_eq!(world.record.snapshots.len(), 1, "it stays a backup");
}

#[test]
fn a_control_plane_that_slept_through_the_drain_gives_the_machine_its_time() {
    let mut world = World::running();
    world.now = 27 * 3600;
    world.last_seen = Some(world.now - 15);
    world.input(Input::Tick { due_at: Some(at(24 * 3600)) }).state(State::Draining);
    world.now += 1199;
    world.last_seen = Some(world.now);
    world.tick().state(State::Draining);
    world.now += 1;
    world.tick().state(State::Rescuing);
}

#[test]
fn an_extension_while_labels_are_written_is_written_too() {
    let mut world = World::running();
    let longer = |hours| Command::Change {
        idle_timeout: None,
        lifetime: Some(Duration::from_hours(hours)),
        worst_case: None,
    };
    world.ask(longer(30));
    let first = world.record.hard_end_at(&world.policy);
    world.ask(longer(40));
    let second = world.record.hard_end_at(&world.policy);
    world.ends(Effect::UpdateLabels, EffectOutcome::Labelled { until: first, ssh: false });
    world.ends(Effect::UpdateLabels, EffectOutcome::Labelled { until: second, ssh: false });
    assert_eq!(world.effect, None);
}

#[test]
fn ssh_is_told_to_the_machine_and_written_on_its_server_whatever_is_written_meanwhile() {
    let mut world = World::running();
    let (until, revision) = (world.record.hard_end_at(&world.policy), world.record.settings_revision);
    world.ask(Command::SetSsh { open: true });
    assert_eq!(world.notes.last().unwrap(), "SSH is let in from now on");
    world.ask(Command::SetSsh { open: true });
    assert_eq!(world.record.settings_revision, revision + 1, "nothing changed the second time");
    world.ask(Command::SetSsh { open: false });
    world.ends(Effect::UpdateLabels, EffectOutcome::Labelled { until, ssh: true });
    world.ends(Effect::UpdateLabels, EffectOutcome::Labelled { until, ssh: false });
    assert_eq!((world.effect, world.record.settings_revision), (None, revision + 2));
    world.ask(Command::SetSsh { open: true });
    world.labelled();
    assert!(world.record.lets_ssh_in());
    world.record.salvage_image_id = Some(9);
    assert!(!world.record.lets_ssh_in(), "nobody works on a machine that only salvages");
}

#[test]
fn silence_does_not_take_a_drain_back() {
    let mut world = World::draining();
    world.at(400).state(State::Silent);
    let context = Context { now: at(400), policy: &world.policy, last_seen_at: None };
    assert_eq!(
        crate::view::machine::instruction(&world.record, &context, <_>::default()).desired,
        ebbtide_api::vm::DesiredMachineState::DrainNow
    );
}

#[test]
fn holds_are_bounded_because_every_decision_parses_them() {
    let mut world = World::running();
    for n in 0..40 {
        world.ask(Command::TakeHold(Hold { id: n.to_string(), reason: "x".into(), ends_at: at(7200) }));
    }
    assert_eq!(world.record.holds.len(), 32);
    assert_eq!(world.refusal.clone().unwrap().code, ErrorCode::CapReached);
}

#[test]
fn a_receipt_before_ready_is_put_off_and_does_not_fence_the_machine() {
    let mut world = World::booting();
    world.deliver(receipt(), false);
    assert_eq!(world.refusal.clone().unwrap().code, ErrorCode::WrongState);
}

#[test]
fn a_final_receipt_from_before_a_reboot_ends_nothing_after_it() {
    let mut world = World::draining();
    world.deliver(receipt(), true);
    let later = EffectOutcome::Later { waiting_for: "storage".into(), maybe_landed: false, not_before: None };
    world.ends(Effect::CheckReceipt, later);
    world.at(400).state(State::Silent);
    world.alone();
    world.ends(Effect::AskServer, EffectOutcome::Status(ServerStatus::Flat));
    world.alone();
    world.ends(
        Effect::CheckReceipt,
        EffectOutcome::Later { waiting_for: "storage".into(), maybe_landed: false, not_before: None },
    );
    world.at(430).alone();
    world.ends(Effect::Reboot, EffectOutcome::Done);
    world.ends(Effect::CheckReceipt, EffectOutcome::ReceiptChecked { packs: 3 });
    world.now = 460;
    world.heartbeat(HeartbeatSummary { ready: true, ..HeartbeatSummary::default() }).state(State::Draining);
    assert_eq!(world.record.final_snapshot, None);
}

mod awake_line;
mod billing;
mod booting;
mod event_codes;
mod keeping;
mod late_image;
mod links;
mod memory;
mod placing;
mod rebooting;
mod repository_lock;
mod rescue;
mod restoring;
mod starting;
mod thawing;

#[test]
fn a_last_receipt_from_before_the_freeze_ends_nothing() {
    let mut world = World::running();
    world.ask(Command::Sleep).state(State::Draining);
    world.deliver_at_once(receipt(), true).state(State::Draining);
    assert!(
        world.refusal.as_ref().is_some_and(|refusal| refusal.code == ErrorCode::WrongState),
        "{:?}",
        world.refusal
    );
    assert_eq!((world.effect, &world.record.pending), (None, &None));
    world.deliver(receipt(), true);
    world.ends(Effect::CheckReceipt, EffectOutcome::ReceiptChecked { packs: 3 }).state(State::Destroying);
}
