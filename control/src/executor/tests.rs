//! What effects say to the provider where a rescue image is concerned; all the rest runs in the simulation, against the
//! local cloud's own model.

use super::*;
use crate::hetzner::{FirewallId, SshKeyId};
use crate::http::script::{BASE, Script, finish, json};
use crate::lifecycle::Peers;
use crate::money::caps::Spending;
use crate::record::sample;
use crate::secret::SecretText;
use std::cell::Cell;
use std::error::Error;

/// Storage that is away, but for what is remembered of the provider's project.
struct Nowhere(Cell<Option<Project>>);

impl ControlStore for Nowhere {
    async fn object_size(&self, _record: &Record, _path: &str) -> Result<Option<u64>, StoreError> {
        Ok(None)
    }

    async fn shred(&self, _record: &Record) -> Result<(), StoreError> {
        Ok(())
    }

    async fn user_data(&self, _record: &Record) -> Result<SecretText, StoreError> {
        Ok("#cloud-config\n".into())
    }

    async fn project(&self) -> Result<Option<Project>, StoreError> {
        Ok(self.0.get())
    }

    async fn keep_project(&self, project: Project) -> Result<(), StoreError> {
        self.0.set(Some(project));
        Ok(())
    }

    async fn ssh_public_key(&self) -> Result<String, StoreError> {
        Ok("ssh-ed25519 AAAA ebbtide-home".to_owned())
    }

    async fn peers(&self, _record: &Record) -> Result<Peers, StoreError> {
        Err(StoreError::new("the index is away").because("D1_ERROR: no such table"))
    }

    async fn spending(&self, _record: &Record) -> Result<Option<Spending>, StoreError> {
        Err(StoreError::new("the index did not answer").because("D1_ERROR: no such table"))
    }

    async fn reserve(&self, _record: &Record) -> Result<Reserved, StoreError> {
        Err(StoreError::new("the index is away").because("D1_ERROR: no such table"))
    }
}

fn salvage() -> Record {
    let placement = Placement { size: "tx23".into(), location: "tide1".into() };
    let mut record = sample::record(placement, Timestamp::UNIX_EPOCH);
    record.salvage_image_id = Some(9);
    record.rescue_image = Some(9);
    record
}

fn perform(effect: Effect, answers: &[(u16, &str)]) -> (EffectOutcome, Script) {
    let (performance, script) = perform_whole(effect, answers);
    (performance.outcome, script)
}

fn perform_whole(effect: Effect, answers: &[(u16, &str)]) -> (Performance, Script) {
    perform_on(&salvage(), effect, answers)
}

fn perform_on(record: &Record, effect: Effect, answers: &[(u16, &str)]) -> (Performance, Script) {
    perform_in(&Nowhere(Cell::new(Some(KNOWN))), record, effect, answers)
}

fn perform_in(
    store: &Nowhere,
    record: &Record,
    effect: Effect,
    answers: &[(u16, &str)],
) -> (Performance, Script) {
    let script = Script::new(answers.iter().map(|(status, body)| json(*status, body)));
    let hetzner = Hetzner::new(&script, BASE.to_owned(), "hunter2".into());
    let cloudflare = Cloudflare::new(&script, BASE.to_owned(), "hunter2".into());
    let policy = Policy::default();
    let executor = Executor {
        hetzner: &hetzner,
        cloudflare: &cloudflare,
        store,
        install: "home",
        zone_id: "z",
        ingress_port: 8080,
        policy: &policy,
        now: Timestamp::UNIX_EPOCH,
    };
    let performance = finish(executor.perform(effect, record));
    (performance, script)
}

const KNOWN: Project = Project { firewall: FirewallId(7), ssh_key: Some(SshKeyId(8)) };
const NONE: (u16, &str) = (200, r#"{"servers":[],"meta":{}}"#);
const FIREWALL: (u16, &str) = (200, r#"{"firewall":{"id":7,"name":"ebb-home"}}"#);
const INVALID: (u16, &str) =
    (422, r#"{"error":{"code":"invalid_input","message":"image '9' not found","details":{}}}"#);
const NOT_FOUND: (u16, &str) = (404, r#"{"error":{"code":"not_found","message":"image not found"}}"#);

#[test]
fn a_salvage_machine_is_made_from_the_image_and_an_image_that_is_gone_is_told_from_a_refusal() {
    let (outcome, script) = perform(Effect::EnsureServer, &[NONE, FIREWALL, INVALID, NOT_FOUND, FIREWALL]);
    assert_eq!(script.lines()[1], "GET /firewalls/7");
    assert_eq!(script.body(2)["image"], "9");
    assert_eq!(script.body(2)["ssh_keys"], serde_json::json!([8]));
    assert_eq!(script.body(2)["firewalls"], serde_json::json!([{ "firewall": 7 }]));
    assert_eq!(script.lines()[3], "GET /images/9");
    assert!(matches!(outcome, EffectOutcome::ImageImpossible { .. }), "{outcome:?}");

    let there = (200, r#"{"image":{"id":9,"type":"snapshot","status":"available","labels":{}}}"#);
    let (outcome, _) = perform(Effect::EnsureServer, &[NONE, FIREWALL, INVALID, there]);
    assert!(matches!(outcome, EffectOutcome::Refused(_)), "{outcome:?}");

    let down = (503, r#"{"error":{"code":"unavailable","message":"down"}}"#);
    let (outcome, _) = perform(Effect::EnsureServer, &[NONE, FIREWALL, INVALID, down]);
    assert!(matches!(outcome, EffectOutcome::Later { .. }), "nothing is believed lost unseen: {outcome:?}");
}

#[test]
fn a_server_of_whoever_refuses_images_says_so_itself() {
    let label = |record: &Record| {
        let (_, script) =
            perform_on(record, Effect::EnsureServer, &[NONE, FIREWALL, INVALID, NOT_FOUND, FIREWALL]);
        script.body(2)["labels"][names::LABEL_IMAGE].clone()
    };
    let mut record = salvage();
    assert!(label(&record).is_null());
    record.spec.rescue_image = RescueChoice::Refuse;
    assert_eq!(label(&record), names::IMAGE_REFUSED);
}

#[test]
fn a_project_without_room_for_an_image_is_waited_for() {
    let full = (403, r#"{"error":{"code":"resource_limit_exceeded","message":"snapshot_limit exceeded"}}"#);
    let none = (200, r#"{"images":[],"meta":{}}"#);
    let mut record = salvage();
    let placement = record.spec.placement.clone();
    record.server = Some(Server { id: 4, ipv4: None, placement, created: None });
    let (Performance { outcome, .. }, script) = perform_on(&record, Effect::TakeImage, &[none, full]);
    assert_eq!(script.lines().len(), 2);
    let EffectOutcome::Later { waiting_for, .. } = outcome else { panic!("{outcome:?}") };
    assert!(waiting_for.starts_with("room for an image in the provider's project"), "{waiting_for}");
}

#[test]
fn an_image_that_is_not_there_is_deleted_and_one_that_is_locked_waits() {
    let delete = Effect::DeleteImage { image: 9 };
    for answers in [&[(204, "")][..], &[NOT_FOUND, FIREWALL]] {
        assert_eq!(perform(delete, answers).0, EffectOutcome::Done);
    }
    assert_eq!(perform(delete, &[NOT_FOUND, NOT_FOUND]).0, EffectOutcome::OtherProject);
    let locked = (423, r#"{"error":{"code":"locked","message":"image is being created"}}"#);
    for answer in [locked, (500, "<html>")] {
        let (outcome, script) = perform(delete, &[answer]);
        assert_eq!(script.lines(), ["DELETE /images/9"]);
        assert!(matches!(outcome, EffectOutcome::Later { .. }), "{outcome:?}");
    }
}

#[test]
fn a_token_of_another_project_makes_no_server_and_believes_no_server_gone() {
    let (outcome, script) = perform(Effect::EnsureServer, &[NONE, NOT_FOUND]);
    assert_eq!(outcome, EffectOutcome::OtherProject);
    assert!(script.lines().iter().all(|line| line.starts_with("GET ")), "{:?}", script.lines());
    assert_eq!(perform(Effect::DeleteServer, &[NONE, NOT_FOUND]).0, EffectOutcome::OtherProject);
    assert_eq!(perform(Effect::DeleteServer, &[NONE, FIREWALL]).0, EffectOutcome::Gone);
    // What cannot be looked at is neither.
    let down = (503, r#"{"error":{"code":"unavailable","message":"down"}}"#);
    let (outcome, _) = perform(Effect::DeleteServer, &[NONE, down]);
    assert!(matches!(outcome, EffectOutcome::Later { .. }), "{outcome:?}");
}

#[test]
fn an_ssh_key_that_somebody_deleted_is_made_anew_and_refuses_no_server_for_good() {
    let refusal = r#"{"error":{"code":"invalid_input","message":"invalid input in field 'ssh_keys'",
        "details":{"fields":[{"name":"ssh_keys","messages":["SSH key '8' not found"]}]}}}"#;
    let store = Nowhere(Cell::new(Some(KNOWN)));
    let answers = [NONE, FIREWALL, (422, refusal)];
    let (Performance { outcome, .. }, _) = perform_in(&store, &salvage(), Effect::EnsureServer, &answers);
    assert_eq!(store.0.get(), Some(Project { ssh_key: None, ..KNOWN }));
    let waits = |text: &str| text.starts_with("another SSH key");
    assert!(
        matches!(&outcome, EffectOutcome::Later { waiting_for, .. } if waits(waiting_for)),
        "{outcome:?}"
    );
}

#[test]
fn a_project_that_was_forgotten_is_remembered_anew_and_nothing_but_numbers_of_it() {
    let store = Nowhere(Cell::new(None));
    let firewalls = (200, r#"{"firewalls":[{"id":9,"name":"ebb-home"}],"meta":{}}"#);
    let no_keys = (200, r#"{"ssh_keys":[],"meta":{}}"#);
    let key = (201, r#"{"ssh_key":{"id":10,"name":"ebb-home","public_key":"ssh-ed25519 AAAA"}}"#);
    let full = (403, r#"{"error":{"code":"resource_limit_exceeded","message":"server limit"}}"#);
    let answers = [NONE, firewalls, no_keys, key, full];
    let (_, script) = perform_in(&store, &salvage(), Effect::EnsureServer, &answers);
    assert_eq!(script.lines().last().unwrap(), "POST /servers");
    assert_eq!(script.body(4)["firewalls"], serde_json::json!([{"firewall": 9}]));
    assert_eq!(script.body(4)["ssh_keys"], serde_json::json!([10]));
    let kept = serde_json::to_string(&store.0.get()).unwrap();
    assert_eq!(kept, r#"{"firewall":9,"ssh_key":10}"#);
}

const FIREWALLS: (u16, &str) = (200, r#"{"firewalls":[],"meta":{}}"#);

/// A running machine whose owner wants SSH.
fn with_ssh() -> Record {
    let mut record = salvage();
    (record.salvage_image_id, record.spec.ssh) = (None, true);
    let placement = record.spec.placement.clone();
    record.server = Some(Server { id: 5, ipv4: None, placement, created: None });
    record
}

#[test]
fn ssh_is_let_in_by_a_second_firewall_to_servers_that_say_so_and_to_no_others() {
    let made = (201, r#"{"firewall":{"id":11,"name":"ebb-home_ssh"},"actions":[]}"#);
    let full = (403, r#"{"error":{"code":"resource_limit_exceeded","message":"server limit"}}"#);
    let (_, script) = perform_on(&with_ssh(), Effect::EnsureServer, &[NONE, FIREWALL, FIREWALLS, made, full]);
    assert_eq!(
        script.lines()[2],
        "GET /firewalls?label_selector=ebbtide-install%3D%3Dhome%2Cebbtide-ssh%3D%3Dopen&sort=id%3Aasc&page=1&per_page=50"
    );
    let firewall = script.body(3);
    assert_eq!(firewall["name"], "ebb-home_ssh");
    assert_eq!(firewall["rules"][0]["port"], "22");
    assert_eq!(firewall["rules"].as_array().unwrap().len(), 2, "SSH and ICMP");
    assert_eq!(
        firewall["apply_to"][0]["label_selector"]["selector"],
        "ebbtide-install==home,ebbtide-ssh==open"
    );
    assert_eq!(script.body(4)["labels"][names::LABEL_SSH], names::SSH_OPEN);
    assert_eq!(
        script.body(4)["firewalls"],
        serde_json::json!([{ "firewall": 7 }]),
        "the one for all, as ever"
    );

    let mut closed = with_ssh();
    closed.spec.ssh = false;
    let (_, script) = perform_on(&closed, Effect::EnsureServer, &[NONE, FIREWALL, full]);
    assert!(script.body(2)["labels"][names::LABEL_SSH].is_null());
}

#[test]
fn a_live_server_is_labelled_for_ssh_once_the_firewall_is_there_and_in_our_project_alone() {
    let there = (200, r#"{"firewalls":[{"id":11,"name":"ebb-home_ssh"}],"meta":{}}"#);
    let updated = (200, r#"{"server":{"id":5,"name":"n","status":"running","labels":{}}}"#);
    let (written, script) = perform_on(&with_ssh(), Effect::UpdateLabels, &[FIREWALL, there, updated]);
    assert!(matches!(written.outcome, EffectOutcome::Labelled { ssh: true, .. }), "{written:?}");
    assert_eq!(script.body(2)["labels"][names::LABEL_SSH], names::SSH_OPEN);
    let (refused, script) = perform_on(&with_ssh(), Effect::UpdateLabels, &[NOT_FOUND]);
    assert_eq!((refused.outcome, script.lines().len()), (EffectOutcome::OtherProject, 1));
}

#[test]
fn the_firewall_for_ssh_is_never_taken_for_the_one_that_covers_all() {
    let store = Nowhere(Cell::new(None));
    let for_ssh = (
        200,
        r#"{"firewalls":[{"id":3,"name":"ebb-home_ssh","labels":{"ebbtide-install":"home","ebbtide-ssh":"open"}}],"meta":{}}"#,
    );
    let made = (201, r#"{"firewall":{"id":12,"name":"ebb-home"},"actions":[]}"#);
    let keys = (200, r#"{"ssh_keys":[{"id":10,"name":"ebb-home","public_key":"ssh-ed25519 A"}],"meta":{}}"#);
    let full = (403, r#"{"error":{"code":"resource_limit_exceeded","message":"server limit"}}"#);
    let _ = perform_in(&store, &salvage(), Effect::EnsureServer, &[NONE, for_ssh, made, keys, full]);
    assert_eq!(store.0.get().unwrap().firewall, FirewallId(12));
}

#[test]
fn an_index_that_does_not_answer_is_no_proof_that_nobody_else_is_silent() {
    let (outcome, _) = perform(Effect::CheckPeers, &[]);
    assert!(matches!(outcome, EffectOutcome::Later { .. }), "{outcome:?}");
}

#[test]
fn spending_that_cannot_be_counted_stops_no_work_and_keeps_its_cause_for_the_log() {
    let (performance, _) = perform_whole(Effect::CheckSpending, &[]);
    assert_eq!(performance.outcome, EffectOutcome::Done);
    let failure = performance.failure.unwrap();
    assert_eq!(failure.to_string(), "the index did not answer");
    assert_eq!(failure.source().unwrap().to_string(), "D1_ERROR: no such table");
}

#[test]
fn what_waits_for_storage_says_so_to_people_and_its_cause_to_the_log_alone() {
    let (performance, _) = perform_whole(Effect::Reserve, &[]);
    let EffectOutcome::Later { waiting_for, .. } = performance.outcome else { panic!("it waits") };
    assert_eq!(waiting_for, "the check of your spending cap: the index is away");
    assert!(performance.failure.unwrap().source().is_some());
}
