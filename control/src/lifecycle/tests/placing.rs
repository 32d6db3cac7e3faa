//! Each start is chosen anew: what a provider withdraws takes no sleeping workspace with it.

use super::*;
use ebbtide_api::secrets::SecretChoice;
use ebbtide_api::vm::StepAction;

fn place(size: &str, location: &str) -> Placement {
    Placement { size: size.into(), location: location.into() }
}

fn start(size: &str, image: &str) -> Start {
    let shape = Shape { cores: 4, memory_mib: 8192, disk_gb: 80 };
    Start {
        placement: place(size, "nbg1"),
        fallbacks: vec![place("cx43", "hel1")],
        image: image.into(),
        shape: Some(shape),
    }
}

fn next(size: &str, image: &str) -> NextMachine {
    NextMachine { start: Some(start(size, image)), quote: None }
}

fn asleep() -> World {
    let mut world = World::draining();
    world.deliver(receipt(), true);
    world.ends(Effect::CheckReceipt, EffectOutcome::ReceiptChecked { packs: 3 });
    world.destroyed().state(State::Asleep);
    world
}

#[test]
fn a_wake_starts_as_it_was_chosen_and_says_what_is_new() {
    let mut world = asleep();
    world.ask(Command::Next(next("cx33", "debian-13").into())).state(State::Asleep);
    assert_eq!(
        world.record.spec.placement,
        place("cx23", "fsn1"),
        "the last machine's, until the next begins"
    );
    world.ask(Command::Wake { snapshot: None }).state(State::Provisioning);
    let spec = &world.record.spec;
    assert_eq!((&spec.placement, spec.image.as_str()), (&place("cx33", "nbg1"), "debian-13"));
    assert_eq!((spec.fallbacks.len(), spec.shape.unwrap().disk_gb), (1, 80));
    assert_eq!(world.record.next_start, None);
    assert!(world.notes.iter().any(|note| {
        note == "it starts as cx33 at nbg1 with debian-13; the last time it was cx23 at fsn1 with debian-12"
    }));
}

#[test]
fn a_start_like_the_last_one_is_no_news_and_one_that_nobody_could_choose_is_like_the_last() {
    for next in [
        NextMachine::default(),
        NextMachine {
            start: Some(Start { placement: place("cx23", "fsn1"), ..start("cx23", "debian-12") }),
            quote: None,
        },
    ] {
        let mut world = asleep();
        world
            .ask(Command::Next(next.into()))
            .ask(Command::Wake { snapshot: None })
            .state(State::Provisioning);
        assert_eq!(world.record.spec.placement, place("cx23", "fsn1"));
        assert_eq!(world.told(&EventCode::PlacedAnew), 0);
    }
}

#[test]
fn fallbacks_that_one_evening_used_up_are_back_at_the_next_start() {
    let mut world = asleep();
    world.ask(Command::Next(next("cx33", "debian-12").into())).ask(Command::Wake { snapshot: None });
    assert!(world.record.spec.shape.is_some());
    world.ends(Effect::EnsureServer, EffectOutcome::NoRoom { message: "no".into() });
    assert_eq!(world.record.spec.shape, None, "of the next size nothing is known here");
    world.ends(Effect::EnsureServer, EffectOutcome::NoRoom { message: "no".into() }).state(State::Failed);
    assert_eq!(world.record.spec.fallbacks, []);
    world.ask(Command::Next(next("cx33", "debian-12").into())).ask(Command::Retry).state(State::Provisioning);
    assert_eq!((world.record.spec.placement.size.as_str(), world.record.spec.fallbacks.len()), ("cx33", 1));
}

#[test]
fn what_the_provider_refuses_for_one_size_is_tried_with_the_next() {
    let refused = || {
        let message = "the provider refuses this server: server type cx33 is deprecated";
        EffectOutcome::Refused(failure(FailureCode::Refused, message, Hint::ChooseOffered))
    };
    let mut world = asleep();
    world.ask(Command::Next(next("cx33", "debian-12").into())).ask(Command::Wake { snapshot: None });
    world.ends(Effect::EnsureServer, refused()).state(State::Provisioning);
    assert_eq!(world.record.spec.placement, place("cx43", "hel1"));
    world.ends(Effect::EnsureServer, refused()).state(State::Failed);
    assert!(matches!(&world.record.phase, Phase::Failed { failure } if failure.code == FailureCode::Refused));
    // A limit of the project is one for every size.
    let mut world = asleep();
    world.ask(Command::Next(next("cx33", "debian-12").into())).ask(Command::Wake { snapshot: None });
    let limit = failure(FailureCode::Limit, "five servers", Hint::RaiseTheLimit);
    world.ends(Effect::EnsureServer, EffectOutcome::Refused(limit)).state(State::Failed);
}

#[test]
fn a_wish_is_kept_and_a_record_without_one_keeps_what_its_fallbacks_keep() {
    let mut world = asleep();
    let wish = |world: &World| ReservationRequest::of(&world.record, at(world.now)).wish;
    let kept = |size: Option<&str>, location: Option<&str>| Wish {
        size: size.map(Into::into),
        location: location.map(Into::into),
    };
    assert_eq!(wish(&world), kept(Some("cx23"), Some("fsn1")));
    world.record.spec.fallbacks = vec![place("cx23", "nbg1")];
    assert_eq!(wish(&world), kept(Some("cx23"), None));
    world.record.spec.fallbacks = vec![place("cpx22", "fsn1")];
    assert_eq!(wish(&world), kept(None, Some("fsn1")));
    let wished = Wish { size: None, location: Some("hel1".into()) };
    world.ask(Command::Prefer(wished.clone()));
    assert_eq!(wish(&world), wished);
    assert_eq!(world.notes.last().unwrap(), "from its next start on: size any, location hel1");
}

#[test]
fn another_environment_is_named_in_the_history_and_refused_where_the_workspace_goes() {
    let mut world = asleep();
    let set = |names: &[&str]| Command::SetEnv { names: names.iter().map(|&name| name.to_owned()).collect() };
    world.ask(set(&["A", "B"]));
    assert_eq!(world.record.spec.env, ["A", "B"]);
    assert_eq!(world.notes.last().unwrap(), "variables from now on: A, B");
    world.ask(set(&[]));
    assert_eq!(world.notes.last().unwrap(), "variables from now on: none");
    world.ask(Command::Delete);
    world.ask(set(&["C"]));
    assert_eq!(world.refusal.as_ref().map(|refusal| refusal.code), Some(ErrorCode::WrongState));
    assert!(world.record.spec.env.is_empty());
}

#[test]
fn other_secrets_are_named_in_the_history_and_fetched_by_the_machine() {
    let mut world = asleep();
    world.ask(Command::ChooseSecrets(SecretChoice::Named(vec!["github".into()])));
    assert_eq!(world.record.spec.secrets.names(), ["github"]);
    assert_eq!(world.notes.last().unwrap(), "secrets from now on: github");
    world.ask(Command::ChooseSecrets(SecretChoice::Named(vec![])));
    assert_eq!(world.notes.last().unwrap(), "secrets from now on: none");
    world.ask(Command::ChooseSecrets(SecretChoice::Everywhere));
    assert_eq!(world.record.settings_revision, 3);
    let noted = world.notes.len();
    world.ask(Command::SettingsChanged);
    assert_eq!((world.record.settings_revision, world.notes.len()), (4, noted));
    world.ask(Command::Delete);
    world.ask(Command::ChooseSecrets(SecretChoice::Named(vec![])));
    assert_eq!(world.refusal.as_ref().map(|refusal| refusal.code), Some(ErrorCode::WrongState));
    assert_eq!(world.record.spec.secrets, SecretChoice::Everywhere);
}

#[test]
fn other_agents_are_named_in_the_history_and_installed_from_the_next_start_on() {
    let mut world = asleep();
    world.ask(Command::SetAgents { agents: vec!["claude".into(), "codex".into()] });
    assert_eq!(world.notes.last().unwrap(), "coding agents from its next start on: claude, codex");
    let next = Record { phase: Phase::Requested, ..world.record.clone() };
    let plan = crate::view::machine::boot_plan(&next, &world.policy, &<_>::default());
    assert!(plan.steps.iter().any(|step| step.title == "Installing Claude Code, Codex"), "{plan:?}");
    world.ask(Command::SetAgents { agents: vec![] });
    assert_eq!(world.notes.last().unwrap(), "coding agents from its next start on: none");
}

#[test]
fn docker_is_installed_from_the_next_start_on_and_named_in_the_history() {
    let mut world = asleep();
    let installs = |world: &World| {
        let next = Record { phase: Phase::Requested, ..world.record.clone() };
        let plan = crate::view::machine::boot_plan(&next, &world.policy, &<_>::default());
        plan.steps.iter().any(|step| matches!(step.action, StepAction::InstallDocker { .. }))
    };
    assert!(!installs(&world));
    world.ask(Command::SetDocker { wanted: true });
    assert_eq!(world.notes.last().unwrap(), "with Docker from its next start on");
    assert!(installs(&world));
    world.ask(Command::SetDocker { wanted: false });
    assert_eq!(world.notes.last().unwrap(), "without Docker from its next start on");
    assert!(!installs(&world));
}

#[test]
fn the_next_disk_has_room_for_the_backup_that_is_restored() {
    let mut world = asleep();
    let room = |world: &World| ReservationRequest::of(&world.record, at(world.now)).room;
    world.record.snapshots[0].bytes = 50_000_000_000;
    assert_eq!(room(&world).disk_gb, 60);
    let older = SnapshotSummary {
        snapshot: "d".repeat(64),
        bytes: 100_000_000_000,
        ..world.record.snapshots[0].clone()
    };
    world.record.snapshots.push(older);
    let chosen = "d".repeat(64);
    let restoring = ReservationRequest::restoring(&world.record, Some(&chosen), at(world.now)).room;
    assert_eq!((restoring.disk_gb, restoring.salvages, restoring.was_held), (115, false, true));
    world.record.snapshots[1].generation = Generation(0);
    let restoring = ReservationRequest::restoring(&world.record, Some(&chosen), at(world.now)).room;
    assert!(!restoring.was_held, "an earlier machine may have had a larger disk");
    world.record.snapshots.clear();
    assert_eq!((room(&world).disk_gb, room(&world).salvages), (0, false));
    world.record.rescue_image = Some(7);
    assert!(room(&world).salvages);
    let restoring = ReservationRequest::restoring(&world.record, Some(&chosen), at(world.now)).room;
    assert!(!restoring.salvages, "who names a snapshot passes the image over");
}
