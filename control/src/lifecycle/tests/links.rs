//! Ports that are open to others: how many, for how long, and how that ends.

use super::*;
use ebbtide_api::ports::{LinkSummary, PortAccess};

fn link(id: &str, port: u16, secs: i64) -> LinkSummary {
    LinkSummary { id: id.into(), port, expires_at: at(secs) }
}

fn ids(world: &World) -> String {
    world.record.links.iter().map(|link| link.id.clone()).collect::<Vec<_>>().join(" ")
}

fn told(world: &World) -> Vec<String> {
    let context = Context { now: at(world.now), policy: &world.policy, last_seen_at: None };
    crate::view::machine::instruction(&world.record, &context, <_>::default()).access.unwrap().links
}

#[test]
fn a_link_lives_until_its_end_or_its_owner_s_word_and_the_machine_is_told() {
    let mut world = World::running();
    world.ask(Command::GiveLink(link("a", 3000, 600))).ask(Command::GiveLink(link("b", 8080, 9_000)));
    assert_eq!(told(&world), ["a", "b"]);
    (world.now, world.last_seen) = (700, Some(700));
    assert_eq!(told(&world), ["b"], "told no longer, although nothing has been decided since");
    world.ask(Command::EndLink { id: "b".into() });
    assert_eq!((ids(&world).as_str(), told(&world).len()), ("", 0));
    assert_eq!(world.notes.last().unwrap(), "a link to port 8080 ended before its time");
    world.ask(Command::EndLink { id: "b".into() });
    assert_eq!(world.refusal.clone().unwrap().code, ErrorCode::NotFound);
}

#[test]
fn who_closes_a_port_ends_what_was_given_for_it() {
    let mut world = World::running();
    world.ask(Command::SetPublic { port: 3000, access: PortAccess::Public });
    for (id, port) in [("a", 3000), ("b", 3000), ("c", 8080)] {
        world.ask(Command::GiveLink(link(id, port, 9_000)));
    }
    world.ask(Command::SetPublic { port: 3000, access: PortAccess::Owner });
    assert_eq!((ids(&world).as_str(), world.record.public_ports.len()), ("c", 0));
    assert_eq!(world.notes.last().unwrap(), "2 links to port 3000 ended before their time");
}

#[test]
fn links_outlive_a_machine_and_do_not_count_once_they_are_over() {
    let mut world = World::running();
    for n in 0..64 {
        world.ask(Command::GiveLink(link(&n.to_string(), 3000, 600)));
    }
    world.ask(Command::GiveLink(link("one more", 3000, 600)));
    assert_eq!(world.refusal.clone().unwrap().code, ErrorCode::CapReached);
    world.ask(Command::GiveLink(link("5", 3000, 700)));
    assert_eq!((world.refusal.clone(), world.record.links.len()), (None, 64), "the same one again");
    world.now = 650;
    world.ask(Command::GiveLink(link("one more", 3000, 9_000)));
    assert_eq!(ids(&world), "5 one more");
}

#[test]
fn ports_that_are_open_to_anybody_are_bounded() {
    let mut world = World::running();
    for port in 3000..3064 {
        world.ask(Command::SetPublic { port, access: PortAccess::Public });
    }
    world.ask(Command::SetPublic { port: 4000, access: PortAccess::Public });
    assert_eq!(world.refusal.clone().unwrap().code, ErrorCode::CapReached);
    world.ask(Command::SetPublic { port: 3000, access: PortAccess::Public });
    assert_eq!((world.refusal.clone(), world.record.public_ports.len()), (None, 64));
}

#[test]
fn names_go_before_the_server_and_hold_nothing_up_that_bills() {
    let mut world = World::draining();
    world.deliver(receipt(), true);
    world.ends(Effect::CheckReceipt, EffectOutcome::ReceiptChecked { packs: 3 }).state(State::Destroying);
    let down =
        EffectOutcome::Later { waiting_for: "the DNS provider".into(), maybe_landed: true, not_before: None };
    world.ends(Effect::DeleteDns, down);
    world.ends(Effect::DeleteServer, EffectOutcome::Gone);
    assert_eq!(world.record.dns, Dns::Ready, "tried again in the end");
    world.now += 200;
    world.tick();
    world.ends(Effect::DeleteServer, EffectOutcome::Gone);
    world.ends(Effect::DeleteDns, EffectOutcome::Done).state(State::Asleep);
}

#[test]
fn a_machine_that_was_ready_once_is_never_told_to_restore_or_clone_again() {
    let names = |world: &World| {
        let plan = crate::view::machine::boot_plan(&world.record, &world.policy, &<_>::default());
        plan.steps.into_iter().map(|step| step.name).collect::<Vec<_>>().join(" ")
    };
    let mut world = World::booting();
    assert_eq!(names(&world), "user programs caddy clone agents terminal cloudcli");
    world.record.restore = Some("a".repeat(64));
    assert_eq!(names(&world), "user restore programs caddy packages agents setup terminal cloudcli");
    world.record.spec.docker = true;
    assert_eq!(names(&world), "user restore programs caddy packages agents docker setup terminal cloudcli");
    world.heartbeat(HeartbeatSummary { ready: true, ..HeartbeatSummary::default() }).state(State::Running);
    assert_eq!(names(&world), "user programs caddy terminal cloudcli");
}

#[test]
fn what_users_brought_along_ends_before_a_boot_that_says_nothing_does() {
    let mut world = World::booting();
    world.record.restore = Some("a".repeat(64));
    let plan = crate::view::machine::boot_plan(
        &world.record,
        &world.policy,
        &ebbtide_api::programs::ProgramList::default(),
    );
    let own: Vec<u64> = plan
        .steps
        .iter()
        .filter(|step| ["packages", "setup"].contains(&step.name.as_str()))
        .map(|step| step.timeout_secs)
        .collect();
    assert_eq!(own.len(), 2);
    let stall = Policy::default().boot_stall.as_secs();
    assert!(own.iter().all(|limit| *limit < stall), "{own:?} of {stall}");
}
