//! A server that exists and was not started.

use super::*;

fn place(location: &str) -> Placement {
    Placement { size: "cx23".into(), location: location.into() }
}

/// A machine that boots and says nothing, at the time at which the provider is asked about it.
fn silent_boot(fallbacks: &[&str]) -> World {
    let mut world = World::booting();
    world.record.spec.fallbacks = fallbacks.iter().map(|location| place(location)).collect();
    world.at(i64::try_from(world.policy.start_question.as_secs()).unwrap());
    world
}

fn off_again(world: &mut World) {
    world.ends(Effect::AskServer, EffectOutcome::Status(ServerStatus::Off));
    world.ends(Effect::Reboot, EffectOutcome::Done).state(State::Booting);
    world.at(world.now + i64::try_from(world.policy.start_question.as_secs()).unwrap());
    world.ends(Effect::AskServer, EffectOutcome::Status(ServerStatus::Off)).state(State::Destroying);
}

#[test]
fn a_server_that_was_not_started_is_switched_on_and_one_that_stays_off_is_tried_elsewhere() {
    let mut world = silent_boot(&["fsn1", "hel1"]);
    off_again(&mut world);
    assert_eq!(world.told(&EventCode::ServerOff), 1);
    assert!(world.record.because.contains("the provider could not start it"), "{}", world.record.because);
    assert!(world.now < 240, "it took {} s", world.now);
    world.destroyed().state(State::Asleep);
    world.ends(Effect::Reserve, EffectOutcome::Reserved(Box::default())).state(State::Provisioning);
    assert_eq!(world.record.generation, Generation(2));
    assert_eq!(world.record.spec.placement, place("hel1"), "it is not tried again where it failed");
}

#[test]
fn what_is_chosen_anew_avoids_the_place_that_could_not_start_it() {
    let mut world = silent_boot(&["hel1"]);
    off_again(&mut world);
    world.destroyed();
    let start = Start {
        placement: place("fsn1"),
        fallbacks: vec![place("nbg1"), place("hel1")],
        image: "debian-12".into(),
        shape: None,
    };
    let next = NextMachine { start: Some(start), quote: None };
    world.ends(Effect::Reserve, EffectOutcome::Reserved(Box::new(next))).state(State::Provisioning);
    assert_eq!((&world.record.spec.placement, world.record.spec.fallbacks.len()), (&place("nbg1"), 1));
}

#[test]
fn where_no_place_is_left_it_fails_and_says_so() {
    let mut world = silent_boot(&[]);
    off_again(&mut world);
    world.destroyed().state(State::Failed);
    let Phase::Failed { failure } = &world.record.phase else { panic!() };
    assert_eq!(failure.code, FailureCode::StartFailed);
    assert!(failure.message.contains("the provider could not start it"), "{}", failure.message);
    assert_eq!(world.record.unstartable, []);
}

#[test]
fn a_server_that_runs_or_has_registered_is_not_asked_about_again() {
    for seen in [ServerStatus::Alive, ServerStatus::Flat] {
        let mut world = silent_boot(&[]);
        world.ends(Effect::AskServer, EffectOutcome::Status(seen)).state(State::Booting);
        world.at(world.now + 300);
        assert_eq!(world.effect, None, "boot_stall bounds a boot that hangs");
    }
    let mut world = World::booting();
    world.input(Input::Enrolled { machine_key: "key".into() });
    world.at(300);
    assert_eq!(world.effect, None);
    // It registers while the provider is asked.
    let mut world = silent_boot(&[]);
    world.input(Input::Enrolled { machine_key: "key".into() });
    world.ends(Effect::AskServer, EffectOutcome::Status(ServerStatus::Off));
    assert_eq!(world.effect, None);
}

#[test]
fn a_server_of_which_nothing_is_clear_is_asked_about_again() {
    let mut world = silent_boot(&[]);
    world.ends(Effect::AskServer, EffectOutcome::Status(ServerStatus::Unclear));
    assert_eq!(world.effect, None);
    world.at(world.now + 90);
    world.ends(Effect::AskServer, EffectOutcome::Status(ServerStatus::Off));
    world.ends(Effect::Reboot, EffectOutcome::Done);
    // It comes up.
    world.input(Input::Enrolled { machine_key: "key".into() });
    world.at(world.now + 90);
    assert_eq!(world.effect, None);
    world.state(State::Booting);
}
