//! A reboot that the owner asks for: where it is refused, that it is one, and that the machine may come back.

use super::*;

fn asked(world: &mut World) -> Option<Refusal> {
    world.ask(Command::Reboot);
    world.refusal.clone()
}

#[test]
fn it_is_refused_by_name_where_it_would_lose_a_last_backup_or_makes_no_sense() {
    let silent_in_a_drain = || {
        let mut world = World::draining();
        world.at(400).state(State::Silent);
        world
    };
    let rescuing = || {
        let mut world = World::draining();
        world.now = 200_000;
        world.last_seen = Some(200_000);
        world.tick().state(State::Rescuing);
        world
    };
    let asleep = || {
        let mut world = World::running();
        world.ask(Command::Discard).destroyed().state(State::Deleted);
        world
    };
    let destroying = || {
        let mut world = World::running();
        world.ask(Command::Discard).state(State::Destroying);
        world
    };
    let salvaging = || {
        let mut world = World::running();
        world.record.salvage_image_id = Some(9);
        world
    };
    let table: [(World, &str); 8] = [
        (World::new(), "it has no machine yet that could be rebooted"),
        (World::booting(), "it is booting already; a boot that gets stuck ends by itself"),
        (World::draining(), "its last backup is under way, and a reboot would cut that off"),
        (silent_in_a_drain(), "its last backup is under way, and a reboot would cut that off"),
        (rescuing(), "an image is being taken of what is not backed up"),
        (destroying(), "its machine is being deleted"),
        (asleep(), "it is deleted and has no machine"),
        (salvaging(), "its rescue image is being salvaged, and a reboot would cut that off"),
    ];
    for (mut world, wanted) in table {
        let before = world.record.clone();
        let refusal = asked(&mut world).unwrap_or_else(|| panic!("not refused: {wanted}"));
        assert_eq!((refusal.code, refusal.message.as_str()), (ErrorCode::WrongState, wanted));
        assert_eq!(world.record.reboot_asked_at, before.reboot_asked_at);
    }
}

#[test]
fn a_running_machine_is_reset_once_however_often_it_is_asked_for_and_may_take_its_time_to_come_back() {
    let mut world = World::running();
    world.now = 170;
    assert_eq!(asked(&mut world), None);
    assert_eq!(asked(&mut world), None);
    world.ends(Effect::Reboot, EffectOutcome::Done).state(State::Running);
    assert_eq!(world.effect, None, "one reboot, not two");
    // Last heard of at 60, and silent since the reset: silence counts from there.
    world.at(185).state(State::Running);
    world.now = 220;
    world.input(Input::Enrolled { machine_key: "key".into() });
    world.heartbeat(HeartbeatSummary { ready: true, ..HeartbeatSummary::default() }).state(State::Running);
    assert_eq!(world.effect, None);
    let notes: Vec<_> = world.notes.iter().filter(|note| note.contains("reboot")).collect();
    assert_eq!(notes.len(), 2, "{notes:?}");
    world.now = 230;
    asked(&mut world);
    world.ends(Effect::Reboot, EffectOutcome::Done);
}

#[test]
fn one_that_stays_away_after_it_is_silent_like_any_other() {
    let mut world = World::running();
    asked(&mut world);
    world.ends(Effect::Reboot, EffectOutcome::Done);
    world.at(300).state(State::Silent);
    world.alone();
    world.ends(Effect::AskServer, EffectOutcome::Status(ServerStatus::Flat));
}

#[test]
fn a_silent_machine_is_reset_at_its_owners_word_without_a_look_at_the_others() {
    let mut world = World::running();
    world.at(200).state(State::Silent);
    world.alone();
    world.ends(Effect::AskServer, EffectOutcome::Status(ServerStatus::Alive));
    assert_eq!(asked(&mut world), None);
    // What Hetzner said before may be over: one that is off by now is switched on, not reset.
    world.ends(Effect::AskServer, EffectOutcome::Status(ServerStatus::Alive));
    world.ends(Effect::Reboot, EffectOutcome::Done).state(State::Silent);
    world.now = 240;
    world.heartbeat(HeartbeatSummary { ready: true, ..HeartbeatSummary::default() }).state(State::Running);
    assert_eq!(world.effect, None);
}

fn later(maybe_landed: bool) -> EffectOutcome {
    EffectOutcome::Later { waiting_for: "the server to be unlocked".into(), maybe_landed, not_before: None }
}

#[test]
fn a_reset_that_was_refused_is_tried_again_and_one_whose_wish_is_over_is_not() {
    let mut world = World::running();
    asked(&mut world);
    world.ends(Effect::Reboot, later(false));
    world.now = 65;
    world.heartbeat(HeartbeatSummary { ready: true, ..HeartbeatSummary::default() });
    assert!(matches!(world.effect, Some((_, Effect::Reboot))), "{:?}", world.effect);
    world.ask(Command::Sleep).state(State::Draining);
    world.ends(Effect::Reboot, later(false));
    world.at(90).ask(Command::Wake { snapshot: None }).state(State::Running);
    assert_eq!(world.effect, None, "the wish was of the time before the drain");
}

#[test]
fn a_reset_that_may_have_happened_is_not_repeated_on_a_machine_that_may_be_back() {
    let mut world = World::running();
    asked(&mut world);
    world.ends(Effect::Reboot, later(true)).state(State::Running);
    assert!(!world.record.is_reboot_asked());
    world.now = 120;
    world.heartbeat(HeartbeatSummary { ready: true, ..HeartbeatSummary::default() }).state(State::Running);
    assert_eq!(world.effect, None);
    assert_eq!(world.told(&EventCode::RebootUnconfirmed), 1, "{:?}", world.notes);
}

#[test]
fn a_reset_that_cannot_be_had_is_given_up_and_the_machine_is_looked_after_again() {
    let mut world = World::running();
    asked(&mut world);
    for _ in 0..40 {
        let Some((_, Effect::Reboot)) = world.effect else { break };
        world.ends(Effect::Reboot, later(false));
        world.now += 60;
        world
            .heartbeat(HeartbeatSummary { ready: true, ..HeartbeatSummary::default() })
            .state(State::Running);
    }
    assert!(!world.record.is_reboot_asked());
    assert_eq!(world.record.pause, None);
    assert_eq!(world.told(&EventCode::RebootGivenUp), 1, "{:?}", world.notes);
}

#[test]
fn a_machine_that_falls_silent_before_it_could_be_reset_is_reset_then() {
    let mut world = World::running();
    asked(&mut world);
    world.ends(Effect::Reboot, later(false));
    world.at(200).state(State::Silent);
    assert!(world.record.is_reboot_asked());
    world.ends(Effect::AskServer, EffectOutcome::Status(ServerStatus::Alive));
    world.ends(Effect::Reboot, EffectOutcome::Done).state(State::Silent);
    assert!(!world.record.is_reboot_asked());
}

#[test]
fn a_last_backup_that_is_delivered_while_a_reset_is_under_way_ends_nothing() {
    let mut world = World::running();
    asked(&mut world);
    let reboot = world.effect.take();
    world.ask(Command::Sleep).state(State::Draining);
    world.deliver(receipt(), true);
    world.effect = reboot;
    world.ends(Effect::Reboot, EffectOutcome::Done);
    world.ends(Effect::CheckReceipt, EffectOutcome::ReceiptChecked { packs: 3 }).state(State::Draining);
    assert_eq!(world.record.final_snapshot, None);
}

/// A running machine that its owner has rebooted at these times, and that came back each time.
fn rebooted_at(times: &[i64]) -> World {
    let mut world = World::running();
    for secs in times {
        world.now = *secs;
        world.last_seen = Some(*secs);
        assert_eq!(asked(&mut world), None, "at {secs}");
        world.ends(Effect::Reboot, EffectOutcome::Done).state(State::Running);
    }
    world
}

#[test]
fn a_fourth_reboot_in_half_an_hour_is_refused_with_the_time_of_the_next() {
    let mut world = rebooted_at(&[100, 200, 300]);
    let next = 100 + 3 * i64::try_from(world.policy.reboot_grace.as_secs()).unwrap();
    for secs in [310, next - 1] {
        world.now = secs;
        world.last_seen = Some(secs);
        let refusal = asked(&mut world).unwrap();
        let wanted = format!(
            "it was rebooted 3 times in a row; the next may be asked for at {}",
            ebbtide_api::text::time(at(next))
        );
        assert_eq!((refusal.code, refusal.message), (ErrorCode::RebootTooSoon, wanted));
        assert_eq!((world.effect, world.record.reboot_asked_at), (None, None));
    }
    world.now = next;
    world.last_seen = Some(next);
    assert_eq!(asked(&mut world), None);
    world.ends(Effect::Reboot, EffectOutcome::Done).state(State::Running);
    let refusal = asked(&mut world).unwrap();
    let then = ebbtide_api::text::time(at(next + 100));
    assert!(refusal.message.ends_with(&then), "counted from the second now: {}", refusal.message);
}

#[test]
fn reboots_that_are_spread_out_and_one_that_is_asked_for_twice_are_never_too_many() {
    rebooted_at(&[100, 1_000, 1_900, 2_800, 3_700]);
    let mut world = rebooted_at(&[100, 200]);
    world.now = 300;
    world.last_seen = Some(300);
    assert_eq!((asked(&mut world), asked(&mut world), asked(&mut world)), (None, None, None));
    assert_eq!(world.record.owner_reboots.len(), 3);
}

#[test]
fn a_new_machine_may_be_rebooted_whatever_befell_the_last() {
    let mut world = rebooted_at(&[100, 200, 300]);
    world.ask(Command::Sleep).state(State::Draining);
    world.deliver(receipt(), true);
    world.ends(Effect::CheckReceipt, EffectOutcome::ReceiptChecked { packs: 3 });
    world.destroyed().state(State::Asleep);
    assert_eq!(world.record.owner_reboots.len(), 3);
    world.ask(Command::Wake { snapshot: None });
    assert!(world.record.owner_reboots.is_empty());
}
