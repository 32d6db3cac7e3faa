//! A rescue image that is complete only after the rescue has had its time holds the work all the same.

use super::*;

const HOUR: i64 = 3600;

/// A machine past its end, of which an image is being written.
fn writing() -> World {
    let mut world = World::running();
    world.now = 26 * HOUR;
    world.record.phase = Phase::Draining { reason: DrainReason::Lifetime, trouble: None, frozen: false };
    world.tick().state(State::Rescuing);
    world.ends(Effect::PowerOff, EffectOutcome::Done);
    world.ends(Effect::TakeImage, EffectOutcome::ImageStarted { image: 9 });
    world
}

/// The rescue has had its time, and the server is gone.
fn late() -> World {
    let mut world = writing();
    world.now += 2 * HOUR;
    world.tick().state(State::Destroying);
    assert!(world.record.data_loss_note.clone().unwrap().contains("the rescue has had its time"));
    world.destroyed().state(State::Destroying);
    assert_eq!(world.record.server.as_ref().map(|_| ()), Some(()), "until it rests");
    world
}

fn missing() -> EffectOutcome {
    EffectOutcome::ImageImpossible { message: "no such image".into() }
}

fn not_yet() -> EffectOutcome {
    EffectOutcome::Later {
        waiting_for: "the image 9 to be written".into(),
        maybe_landed: false,
        not_before: None,
    }
}

fn code_of(world: &World) -> FailureCode {
    match &world.record.phase {
        Phase::Failed { failure } => failure.code.clone(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn one_that_is_complete_after_its_time_is_the_work_and_nothing_is_lost() {
    let mut world = late();
    world.ends(Effect::AwaitImage, not_yet()).state(State::Destroying);
    world.now += 60;
    world.tick();
    world.ends(Effect::AwaitImage, EffectOutcome::Done).state(State::Failed);
    assert_eq!(code_of(&world), FailureCode::Rescued);
    assert_eq!((world.record.rescue_image, &world.record.data_loss_note), (Some(9), &None));
    assert_eq!(world.record.old_images, []);
    world.ask(Command::Wake { snapshot: None }).state(State::Provisioning);
    assert_eq!(world.record.salvage_image_id, Some(9));
}

#[test]
fn one_that_is_never_complete_is_given_up_and_deleted_in_the_end() {
    let mut world = late();
    let since = world.record.since;
    while world.record.state() == State::Destroying {
        assert!(world.wake_at.unwrap() > at(world.now), "it does not wake itself at once again");
        world.now = world.wake_at.unwrap().as_second() - at(0).as_second();
        world.tick();
        if world.effect.as_ref().is_some_and(|(_, effect)| *effect == Effect::AwaitImage) {
            world.ends(Effect::AwaitImage, not_yet());
        }
    }
    assert_eq!(code_of(&world), FailureCode::WorkLost);
    let given_up = plus(since, world.policy.rescue_ceiling);
    assert!(at(world.now) >= given_up && at(world.now) < plus(given_up, world.policy.retry_cap));
    let delete_at = plus(at(world.now), world.policy.rescue_image_keep);
    assert_eq!(world.record.old_images, [OldImage { image: 9, delete_at, failures: 0 }]);
    assert_eq!((world.record.rescue_image, world.told(&EventCode::RescueImageAbandoned)), (None, 1));
}

#[test]
fn one_that_is_gone_is_believed_at_the_second_look() {
    let mut world = late();
    world.ends(Effect::AwaitImage, missing()).state(State::Destroying);
    world.now += 10;
    world.tick();
    world.ends(Effect::AwaitImage, missing()).state(State::Failed);
    assert_eq!((code_of(&world), world.record.old_images.len()), (FailureCode::WorkLost, 0));
}

#[test]
fn one_that_nobody_wants_is_deleted_at_once() {
    let mut world = writing();
    world.ask(Command::Discard).state(State::Destroying);
    world.ends(Effect::AwaitImage, not_yet());
    world.destroyed().state(State::Deleted);
    let old = world.record.old_images.first().map(|old| (old.image, old.delete_at));
    assert_eq!(old, Some((9, at(world.now))));
}

#[test]
fn one_that_is_complete_in_time_is_not_looked_at_again() {
    let mut world = writing();
    world.ends(Effect::AwaitImage, EffectOutcome::Done).state(State::Destroying);
    world.destroyed().state(State::Failed);
    assert_eq!((world.record.rescue_image, world.record.old_images.len()), (Some(9), 0));
}

#[test]
fn what_a_rescue_waited_for_is_told_where_it_brings_nothing() {
    let mut world = World::running();
    world.now = 26 * HOUR;
    world.record.phase = Phase::Draining { reason: DrainReason::Lifetime, trouble: None, frozen: false };
    world.tick().state(State::Rescuing);
    world.ends(Effect::PowerOff, EffectOutcome::Done);
    let full = || EffectOutcome::Later {
        waiting_for: "room for an image in the provider's project".into(),
        maybe_landed: false,
        not_before: None,
    };
    while world.record.state() == State::Rescuing {
        world.ends(Effect::TakeImage, full());
        world.now = world.wake_at.unwrap().as_second() - at(0).as_second();
        world.tick();
    }
    let lost = world.record.data_loss_note.clone().unwrap();
    assert!(lost.contains("it waited for room for an image in the provider's project"), "{lost}");
    assert_eq!(
        world.record.since,
        plus(at(26 * HOUR), world.policy.rescue_ceiling),
        "its whole time was used"
    );
}

#[test]
fn a_server_that_its_own_image_locks_is_asked_about_at_pauses_that_stay_short() {
    let mut world = writing();
    world.now += 2 * HOUR;
    world.tick().state(State::Destroying);
    world.ends(Effect::DeleteDns, EffectOutcome::Done);
    let locked = || EffectOutcome::Later {
        waiting_for: "the server to be unlocked".into(),
        maybe_landed: false,
        not_before: None,
    };
    let mut pauses = Vec::new();
    for _ in 0..8 {
        world.ends(Effect::DeleteServer, locked());
        let pause = world.record.pause.clone().unwrap().until.as_second() - at(world.now).as_second();
        pauses.push(pause);
        world.now += pause;
        world.tick();
    }
    assert_eq!(pauses, [2, 4, 8, 16, 16, 16, 16, 16]);
}
