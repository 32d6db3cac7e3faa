//! Rescue images and silence: what is taken, salvaged, kept, told and deleted, and when nothing of the kind may happen.

use super::*;

const HOUR: i64 = 3600;
const DAY: i64 = 24 * HOUR;

fn taken(image: u64) -> Failure {
    failure(FailureCode::Rescued, image.to_string(), Hint::WakeSalvages)
}

/// A workspace whose machine died with unsaved work: an image holds that, and nothing bills but the image.
fn rescued() -> World {
    let mut world = World::running();
    world.record.snapshots = vec![backup('c')];
    world.now = 26 * HOUR;
    world.record.phase = Phase::Draining { reason: DrainReason::Lifetime, trouble: None, frozen: false };
    world.tick().state(State::Rescuing);
    world.ends(Effect::PowerOff, EffectOutcome::Done);
    world.ends(Effect::TakeImage, EffectOutcome::ImageStarted { image: 9 });
    world.ends(Effect::AwaitImage, EffectOutcome::Done);
    world.destroyed().state(State::Failed);
    world
}

fn backup(digit: char) -> SnapshotSummary {
    SnapshotSummary {
        snapshot: digit.to_string().repeat(64),
        verified_at: at(30),
        generation: Generation(1),
        files: 1,
        bytes: 1,
        partial: false,
    }
}

/// Woken: a machine made from the image is there and backs itself up.
fn salvaging() -> World {
    let mut world = rescued();
    world.ask(Command::Wake { snapshot: None }).state(State::Provisioning);
    world.ends(Effect::EnsureServer, EffectOutcome::Exists(server())).state(State::Booting);
    assert_eq!(world.effect, None, "nobody visits it: it gets no names");
    world.input(Input::Enrolled { machine_key: "new".into() });
    assert_eq!(world.refusal, None);
    world.heartbeat(HeartbeatSummary { ready: true, ..HeartbeatSummary::default() }).state(State::Draining);
    world
}

fn verified(world: &mut World) {
    world.deliver(receipt(), true);
    world.ends(Effect::CheckReceipt, EffectOutcome::ReceiptChecked { packs: 3 });
}

fn failure_of(world: &World) -> Failure {
    match &world.record.phase {
        Phase::Failed { failure } => failure.clone(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_wake_salvages_the_image_into_a_backup_and_then_wakes_from_that() {
    let mut world = salvaging();
    assert!(world.record.because.starts_with("salvaging the rescue image 9"), "{}", world.record.because);
    let context = Context { now: at(world.now), policy: &world.policy, last_seen_at: None };
    let instruction = crate::view::machine::instruction(&world.record, &context, <_>::default());
    assert_eq!(
        (instruction.desired, instruction.open),
        (ebbtide_api::vm::DesiredMachineState::DrainNow, false)
    );
    verified(&mut world);
    world.destroyed().state(State::Asleep);
    world.ends(Effect::Reserve, EffectOutcome::Reserved(Box::default())).state(State::Provisioning);
    assert_eq!(world.record.generation, Generation(3));
    assert_eq!(world.record.restore, Some(receipt().snapshot), "a wake always restores a backup");
    assert_eq!((world.record.salvage_image_id, world.record.rescue_image), (None, None));
    world.ends(Effect::EnsureServer, EffectOutcome::Exists(server()));
    world.ends(Effect::EnsureDns, EffectOutcome::Done);
    world.ends(Effect::DeleteImage { image: 9 }, EffectOutcome::Done);
    assert!(world.record.old_images.is_empty());
    world.heartbeat(HeartbeatSummary { ready: true, ..HeartbeatSummary::default() }).state(State::Running);
    insta::assert_snapshot!(world.history());
}

#[test]
fn an_image_is_passed_to_deletion_only_once_the_salvage_is_verified() {
    let mut world = salvaging();
    world.deliver(receipt(), true);
    assert_eq!(world.record.rescue_image, Some(9));
    world.ends(Effect::CheckReceipt, EffectOutcome::ReceiptWrong { problem: "pack 2 is missing".into() });
    assert_eq!(world.record.rescue_image, Some(9));
    assert!(world.record.old_images.is_empty());
    world.state(State::Draining);
    verified(&mut world);
    assert_eq!(world.record.rescue_image, None);
    world.state(State::Destroying);
}

#[test]
fn a_salvage_that_fails_keeps_the_image_and_says_what_can_be_done() {
    let boot = HeartbeatSummary { boot_failure: Some("no disk".into()), ..HeartbeatSummary::default() };
    let mut world = rescued();
    world.ask(Command::Retry).state(State::Provisioning);
    world.ends(Effect::EnsureServer, EffectOutcome::Exists(server()));
    world.heartbeat(boot);
    world.destroyed().state(State::Failed);
    let failure = failure_of(&world);
    assert_eq!(failure.code, FailureCode::SalvageFailed);
    assert!(failure.message.contains("9") && failure.message.contains("no disk"), "{failure:?}");
    assert_eq!(world.record.rescue_image, Some(9));

    let mut world = salvaging();
    world.now += 26 * HOUR + 1;
    world.last_seen = Some(world.now);
    world.tick();
    world.destroyed().state(State::Failed);
    assert_eq!(failure_of(&world).code, FailureCode::SalvageFailed);
    assert_eq!(world.record.rescue_image, Some(9));
    assert_eq!(world.record.data_loss_note, None, "the image still holds it");
    assert!(world.effect.is_none(), "a salvage machine is not imaged: it is made from an image");
}

#[test]
fn an_image_that_is_gone_is_told_as_lost_and_the_next_wake_restores_the_last_backup() {
    let mut world = rescued();
    world.ask(Command::Wake { snapshot: None });
    let missing = || EffectOutcome::ImageImpossible { message: "no such image".into() };
    world.ends(Effect::EnsureServer, missing()).state(State::Provisioning);
    assert_eq!((world.record.rescue_image, world.record.data_loss_note.clone()), (Some(9), None));
    let again = world.now + i64::try_from(world.policy.poll.as_secs()).unwrap();
    world.at(again);
    world.ends(Effect::EnsureServer, missing()).state(State::Failed);
    assert_eq!(failure_of(&world).code, FailureCode::SalvageFailed);
    assert!(world.record.data_loss_note.clone().unwrap().contains("no such image"));
    world.ask(Command::Wake { snapshot: None }).state(State::Provisioning);
    assert_eq!(
        (world.record.salvage_image_id, world.record.restore.clone()),
        (None, Some(backup('c').snapshot))
    );
}

#[test]
fn one_false_not_found_of_an_image_loses_nothing() {
    let mut world = rescued();
    world.ask(Command::Wake { snapshot: None });
    world.ends(Effect::EnsureServer, EffectOutcome::ImageImpossible { message: "no such image".into() });
    let again = world.now + i64::try_from(world.policy.poll.as_secs()).unwrap();
    world.at(again);
    world.ends(Effect::EnsureServer, EffectOutcome::Exists(server())).state(State::Booting);
    assert_eq!((world.record.salvage_image_id, world.record.image_missed_at), (Some(9), None));
}

#[test]
fn a_cap_that_is_reached_meanwhile_ends_a_salvage_in_rest_and_the_backup_stays() {
    let mut world = salvaging();
    verified(&mut world);
    world.destroyed();
    let refused =
        Failure { code: FailureCode::CapReached, message: "10.00 EUR a day".into(), hint: "Wait.".into() };
    world.ends(Effect::Reserve, EffectOutcome::Refused(refused.clone())).state(State::Failed);
    assert_eq!(failure_of(&world), refused);
    assert_eq!((world.record.generation, world.record.desired), (Generation(2), DesiredState::Asleep));
    assert_eq!(world.record.snapshots[0].snapshot, receipt().snapshot);
    world.ask(Command::Retry).state(State::Provisioning);
    assert_eq!(world.record.restore, Some(receipt().snapshot));
}

#[test]
fn a_chosen_snapshot_passes_the_image_over_and_no_later_wake_puts_it_above_newer_work() {
    let mut world = rescued();
    let expires_at = world.record.rescue_image_expires_at.unwrap();
    world.ask(Command::Wake { snapshot: Some(backup('c').snapshot) }).state(State::Provisioning);
    assert_eq!(
        (world.record.salvage_image_id, world.record.restore.clone()),
        (None, Some(backup('c').snapshot))
    );
    assert_eq!(world.record.rescue_image, None);
    assert_eq!(world.record.old_images[0].delete_at, expires_at, "it is kept all the same");
    assert_eq!(world.told(&EventCode::RescueImagePassedOver), 1, "{:?}", world.notes);
}

#[test]
fn an_image_ends_after_a_warning_and_what_it_held_is_named_as_lost() {
    let mut world = rescued();
    let begun = world.now;
    let expires = world.record.rescue_image_expires_at.unwrap().as_second() - START;
    assert_eq!(world.wake_at, Some(at(expires - DAY)));
    world.at(expires - DAY - 1);
    assert_eq!(world.told(&EventCode::RescueImageEndsSoon), 0);
    world.at(expires - DAY);
    assert_eq!(world.told(&EventCode::RescueImageEndsSoon), 1);
    assert_eq!(world.wake_at, Some(at(expires)));
    world.at(expires).state(State::Failed);
    assert_eq!(failure_of(&world).code, FailureCode::WorkLost);
    assert!(world.record.data_loss_note.is_some());
    world.ends(Effect::DeleteImage { image: 9 }, EffectOutcome::Done);
    assert_eq!(world.wake_at, None);
    assert!(expires - begun >= 7 * DAY - 600, "{expires}");
}

#[test]
fn a_deletion_that_the_provider_refuses_waits_on_its_own_clock_and_is_never_forgotten() {
    let mut world = rescued();
    world.ask(Command::Discard).state(State::Deleted);
    let later = || EffectOutcome::Later { waiting_for: "x".into(), maybe_landed: false, not_before: None };
    for _ in 0..40 {
        world.ends(Effect::DeleteImage { image: 9 }, later());
        assert_eq!(world.record.pause, None, "it holds nothing else back");
        let next = world.wake_at.unwrap().as_second() - START;
        assert!((1..=HOUR).contains(&(next - world.now)), "{}", next - world.now);
        world.at(next);
    }
    world.ends(Effect::DeleteImage { image: 9 }, EffectOutcome::Done);
    assert!(world.record.old_images.is_empty());
}

#[test]
fn deleting_keeps_the_image_while_it_can_be_undone_and_purging_deletes_it() {
    let mut world = rescued();
    world.record.rescue_image_expires_at = Some(at(100 * DAY));
    world.ask(Command::Delete).state(State::Deleted);
    assert_eq!(world.effect, None);
    world.ask(Command::Undelete).state(State::Asleep);
    assert_eq!(world.record.rescue_image, Some(9));
    world.ask(Command::Delete).state(State::Deleted);
    world.now += 8 * DAY;
    world.tick();
    world.ends(Effect::Purge, EffectOutcome::Done);
    world.ends(Effect::DeleteImage { image: 9 }, EffectOutcome::Done);
    assert_eq!(world.wake_at, None);
}

#[test]
fn whoever_refuses_images_gets_none_and_on_unsaved_decides() {
    for (on_unsaved, state) in [(OnUnsaved::Destroy, State::Destroying), (OnUnsaved::Hold, State::Draining)] {
        let mut world = World::draining();
        world.record.spec.rescue_image = RescueChoice::Refuse;
        world.record.spec.on_unsaved = on_unsaved;
        world.now = 26 * HOUR;
        world.last_seen = Some(world.now);
        world.tick().state(state);
        assert_eq!(world.record.data_loss_note.is_some(), on_unsaved == OnUnsaved::Destroy);
    }
}

#[test]
fn a_machine_that_is_held_past_its_end_is_told_daily_and_its_label_moves_on() {
    let mut world = World::draining();
    world.record.spec.rescue_image = RescueChoice::Refuse;
    world.record.spec.on_unsaved = OnUnsaved::Hold;
    let told = |world: &World| world.told(&EventCode::KeptUnsaved);
    world.now = 26 * HOUR;
    for day in 1..4 {
        world.last_seen = Some(world.now);
        world.tick().state(State::Draining);
        assert_eq!(told(&world), day);
        world.labelled();
        assert_eq!(world.record.hard_end_at(&world.policy), at(world.now + DAY));
        for _ in 0..3 {
            world.now += 6 * HOUR;
            world.last_seen = Some(world.now);
            world.tick();
        }
        assert_eq!(told(&world), day, "once a day");
        world.now += 6 * HOUR;
    }
    // What is held is not given up: a backup that comes through at last ends it.
    world.last_seen = Some(world.now);
    world.tick();
    world.labelled();
    verified(&mut world);
    world.state(State::Destroying);
}

#[test]
fn nothing_takes_a_salvage_back_and_a_hold_is_refused_by_name() {
    for command in [Command::Sleep, Command::Wake { snapshot: None }, Command::Delete] {
        let mut world = salvaging();
        world.ask(command.clone()).state(State::Draining);
        assert_eq!(world.refusal, None, "{command:?}");
    }
    let mut world = salvaging();
    world.ask(Command::TakeHold(Hold { id: "h".into(), reason: "x".into(), ends_at: at(40 * HOUR) }));
    assert_eq!(world.refusal.clone().unwrap().code, ErrorCode::WrongState);
    world.ask(Command::Discard).state(State::Destroying);
    world.destroyed().state(State::Deleted);
    world.ends(Effect::DeleteImage { image: 9 }, EffectOutcome::Done);
}

#[test]
fn records_of_earlier_versions_are_read_and_their_images_end_too() {
    let mut world = rescued();
    let mut json = serde_json::to_value(&world.record).unwrap();
    let fields = json.as_object_mut().unwrap();
    for new in [
        "rescue_image_expires_at",
        "rescue_image_warned",
        "salvages",
        "old_images",
        "held_until",
        "silence_from",
    ] {
        assert!(fields.remove(new).is_some(), "{new}");
    }
    fields["spec"].as_object_mut().unwrap().remove("rescue_image").unwrap();
    world.record = serde_json::from_value(json).unwrap();
    world.tick();
    assert!(world.record.rescue_image_expires_at.is_some());
    assert!(world.wake_at.is_some());
    assert_eq!(taken(9).code, failure_of(&world).code);
}

fn looks(world: &mut World, silent: u32, awake: u32) {
    world.ends(Effect::CheckPeers, EffectOutcome::Peers(Peers { silent, awake }));
}

#[test]
fn several_silent_at_once_are_our_fault_and_none_of_them_is_rebooted_or_rescued_for_it() {
    let mut world = World::running();
    world.at(200).state(State::Silent);
    looks(&mut world, 0, 4);
    world.ends(Effect::AskServer, EffectOutcome::Status(ServerStatus::Flat));
    looks(&mut world, 1, 4);
    assert_eq!(world.effect, None, "not before the others had the time to be missed");
    assert_eq!(world.wake_at, Some(at(230)));
    world.at(230);
    looks(&mut world, 3, 1);
    assert_eq!(world.effect, None, "no reboot");
    assert!(world.notes.iter().any(|note| note.contains("3 other workspaces")), "{:?}", world.notes);
    world.at(230 + 181);
    world.ends(Effect::AskServer, EffectOutcome::Status(ServerStatus::Flat));
    looks(&mut world, 3, 1);
    assert_eq!(world.effect, None, "no reboot while they are all silent");
    world.at(230 + 2 * 181);
    world.ends(Effect::AskServer, EffectOutcome::Status(ServerStatus::Flat));
    looks(&mut world, 0, 4);
    world.ends(Effect::Reboot, EffectOutcome::Done);
}

#[test]
fn silence_together_puts_a_rescue_off_but_never_past_the_hard_end() {
    let mut world = World::running();
    world.at(240).state(State::Silent);
    world.effect = None;
    world.record.in_flight = None;
    let hard_end = world.record.hard_end_at(&world.policy);
    let mut rescued_at = None;
    for now in (240..30 * HOUR).step_by(60) {
        world.now = now;
        world.tick();
        for _ in 0..4 {
            match world.effect {
                Some((_, Effect::CheckPeers)) => looks(&mut world, 5, 0),
                Some((_, Effect::AskServer)) => {
                    world.ends(Effect::AskServer, EffectOutcome::Status(ServerStatus::Off));
                }
                Some((_, Effect::Reboot)) => panic!("rebooted"),
                _ => break,
            }
        }
        if world.record.state() == State::Rescuing {
            rescued_at = Some(now);
            break;
        }
    }
    let rescued_at = at(rescued_at.unwrap());
    assert_eq!(rescued_at, at(26 * HOUR), "the drain ceiling ends it, whoever is silent");
    assert_eq!(world.record.hard_end_at(&world.policy), hard_end);
}

#[test]
fn a_rescue_waits_for_a_fresh_look_at_the_others() {
    let mut world = World::running();
    world.at(200).state(State::Silent);
    looks(&mut world, 0, 4);
    world.ends(Effect::AskServer, EffectOutcome::Status(ServerStatus::Alive));
    world.effect = None;
    world.record.in_flight = None;
    world.at(24 * HOUR).state(State::Silent);
    let asked = matches!(world.effect, Some((_, Effect::CheckPeers)));
    assert!(asked, "{:?}", world.effect);
    looks(&mut world, 1, 1);
    world.state(State::Rescuing);
}

#[test]
fn a_silent_object_that_waits_for_an_answer_does_not_wake_itself_at_once_again() {
    let mut world = World::running();
    world.at(200).state(State::Silent);
    let later = || EffectOutcome::Later { waiting_for: "x".into(), maybe_landed: false, not_before: None };
    world.ends(Effect::CheckPeers, later());
    assert!(world.wake_at.unwrap() > at(world.now));
    world.now += 100;
    world.tick();
    assert!(world.wake_at.unwrap() > at(world.now));
}

#[test]
fn what_the_provider_says_of_a_silent_machine_is_told_once() {
    let mut world = World::running();
    world.at(200);
    looks(&mut world, 0, 1);
    for ask in 1..5 {
        world.ends(Effect::AskServer, EffectOutcome::Status(ServerStatus::Alive));
        world.at(200 + ask * 181).state(State::Silent);
    }
    assert_eq!(world.told(&EventCode::SilentServerRuns), 1);
}

#[test]
fn a_fault_is_ours_only_where_enough_and_at_least_half_are_silent() {
    for silent in 0..30_u32 {
        for awake in 0..30 {
            let ours = Peers { silent, awake }.fault_is_ours(&Policy::default());
            assert_eq!(ours, silent >= 2 && 2 * silent >= silent + awake, "{silent} of {}", silent + awake);
        }
    }
}

#[test]
fn a_deletion_is_undone_from_every_state_and_the_next_machine_is_a_new_generation() {
    let asleep = || {
        let mut world = World::draining();
        verified(&mut world);
        world.destroyed().state(State::Asleep);
        world
    };
    let silent = || {
        let mut world = World::running();
        world.at(200).state(State::Silent);
        world
    };
    let worlds: [fn() -> World; 5] = [World::booting, World::running, World::draining, rescued, salvaging];
    let worlds = worlds.into_iter().map(|make| make()).chain([asleep(), silent()]);
    for mut world in worlds {
        let (begun, generation) = (world.record.state(), world.record.generation);
        world.ask(Command::Delete);
        assert_eq!(world.refusal, None, "{begun}");
        world.ask(Command::Undelete);
        assert_eq!(world.refusal, None, "{begun}");
        assert_ne!(world.record.desired, DesiredState::Deleted, "{begun}");
        let phase = Phase::Deleted { purge_at: at(100 * DAY), purged: false };
        world.record = Record {
            phase,
            desired: DesiredState::Deleted,
            in_flight: None,
            server: None,
            machine_key: None,
            salvage_image_id: None,
            ..world.record
        };
        world.ask(Command::Undelete).state(State::Asleep);
        world.ask(Command::Wake { snapshot: None }).state(State::Provisioning);
        assert_eq!(world.record.generation, generation.next(), "{begun}");
        world.input(Input::Enrolled { machine_key: "another".into() });
        assert_eq!(world.refusal, None, "{begun}: a new machine has a key of its own");
    }
}

/// A machine past its end whose backup did not finish.
fn past_its_end(change: impl FnOnce(&mut Spec)) -> World {
    let mut world = World::running();
    change(&mut world.record.spec);
    world.record.phase = Phase::Draining { reason: DrainReason::Lifetime, trouble: None, frozen: false };
    world.now = 26 * HOUR;
    world.last_seen = Some(world.now);
    world.tick();
    world
}

#[test]
fn what_is_kept_past_its_end_does_not_wake_itself_at_once_again() {
    let later = || EffectOutcome::Later { waiting_for: "x".into(), maybe_landed: false, not_before: None };
    let soon = |world: &World| {
        let ahead = world.wake_at.unwrap().duration_since(at(world.now)).as_secs();
        assert!((1..=60).contains(&ahead), "{:?}: {ahead} s", world.record.phase);
    };
    let mut refused = past_its_end(|spec| {
        spec.on_unsaved = OnUnsaved::Hold;
        spec.rescue_image = RescueChoice::Refuse;
    });
    refused.state(State::Draining).labelled();
    soon(&refused);
    let mut tried = past_its_end(|spec| spec.on_unsaved = OnUnsaved::Hold);
    tried.state(State::Rescuing).ends(Effect::PowerOff, EffectOutcome::Done);
    tried.ends(Effect::TakeImage, later());
    tried.now += 31 * 60;
    tried.tick().state(State::Rescuing);
    tried.labelled();
    tried.ends(Effect::TakeImage, later());
    soon(&tried);
    let mut purging = rescued();
    purging.ask(Command::Delete).state(State::Deleted);
    purging.at(purging.now + 8 * DAY);
    purging.ends(Effect::Purge, later());
    soon(&purging);
}

#[test]
fn a_rescue_that_we_slept_through_is_looked_at_before_its_work_is_given_up() {
    let mut world = past_its_end(|_| {});
    world.ends(Effect::PowerOff, EffectOutcome::Done);
    world.ends(Effect::TakeImage, EffectOutcome::ImageStarted { image: 9 });
    world.effect = None;
    world.record.in_flight = None;
    let due_at = world.wake_at;
    world.now += 2 * HOUR;
    world.input(Input::Tick { due_at }).state(State::Rescuing);
    assert!(
        world.record.rescue_ends_at(at(26 * HOUR), &world.policy) <= world.record.hard_end_at(&world.policy)
    );
    world.ends(Effect::AwaitImage, EffectOutcome::Done);
    assert_eq!((world.record.rescue_image, &world.record.data_loss_note), (Some(9), &None));
}

#[test]
fn a_rescue_does_not_run_out_of_time_while_the_token_sees_another_project() {
    let mut world = past_its_end(|_| {});
    world.ends(Effect::PowerOff, EffectOutcome::OtherProject);
    for _ in 0..5 {
        world.now += 20 * 60;
        world.tick().state(State::Rescuing);
        world.ends(Effect::PowerOff, EffectOutcome::OtherProject);
    }
    let waiting_for = world.record.pause.as_ref().map(|pause| pause.waiting_for.as_str());
    assert_eq!(waiting_for, Some(OTHER_PROJECT));
    world.now += 5 * 60;
    world.tick();
    world.ends(Effect::PowerOff, EffectOutcome::Done);
    world.ends(Effect::TakeImage, EffectOutcome::ImageStarted { image: 9 });
    world.ends(Effect::AwaitImage, EffectOutcome::Done);
    assert_eq!((world.record.rescue_image, &world.record.data_loss_note), (Some(9), &None));
}

#[test]
fn a_chosen_snapshot_that_was_removed_while_the_wake_waited_is_not_restored() {
    let mut world = rescued();
    let newest = world.record.snapshots.first().map(|newest| newest.snapshot.clone());
    world.record.restore_snapshot_chosen = Some("d".repeat(64));
    world.ask(Command::Retry).state(State::Provisioning);
    assert_eq!(
        world.record.salvage_image_id,
        Some(9),
        "the image still comes first: nothing was chosen instead of it"
    );
    assert_ne!(world.record.restore, newest);
    assert!(world.notes.join("\n").contains("was removed before the wake began"), "{:?}", world.notes);
}

#[test]
fn nothing_is_undone_once_the_shredding_may_have_begun() {
    let mut world = rescued();
    world.ask(Command::Delete).state(State::Deleted);
    let Phase::Deleted { purge_at, .. } = world.record.phase else { panic!("{:?}", world.record.phase) };
    world.now = purge_at.as_second() - at(0).as_second();
    world.ask(Command::Undelete).state(State::Deleted);
    assert!(
        world.refusal.as_ref().is_some_and(|refusal| refusal.message.contains("shredded")),
        "{:?}",
        world.refusal
    );
}

#[test]
fn undoing_a_discard_under_way_says_that_what_was_unsaved_is_gone_all_the_same() {
    let mut world = World::running();
    world.ask(Command::Discard).state(State::Destroying);
    world.ask(Command::Undelete).state(State::Destroying);
    assert_eq!(world.refusal, None);
    assert!(world.notes.join("\n").contains("what was in no backup goes with it"), "{:?}", world.notes);
    world.destroyed().state(State::Asleep);
}
