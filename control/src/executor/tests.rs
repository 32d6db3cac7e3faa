//! What effects say to the provider where a rescue image is concerned; all the rest runs in the simulation, against the
//! local cloud's own model.

use super::*;
use crate::http::script::{BASE, Script, finish, json};
use crate::record::sample;

struct Nowhere;

impl ControlStore for Nowhere {
    async fn object_size(&self, _record: &Record, _path: &str) -> Result<Option<u64>, String> {
        Ok(None)
    }

    async fn shred(&self, _record: &Record) -> Result<(), String> {
        Ok(())
    }

    async fn user_data(&self, _record: &Record) -> Result<SecretText, String> {
        Ok("#cloud-config\n".into())
    }

    async fn peers(&self, _record: &Record) -> Result<Peers, String> {
        Err("the index is away".to_owned())
    }

    async fn reserve(&self, _record: &Record) -> Result<Reserved, String> {
        Err("the index is away".to_owned())
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
    let script = Script::new(answers.iter().map(|(status, body)| json(*status, body)));
    let hetzner = Hetzner::new(&script, BASE.to_owned(), "hunter2".into());
    let cloudflare = Cloudflare::new(&script, BASE.to_owned(), "hunter2".into());
    let policy = Policy::default();
    let shore = Executor {
        hetzner: &hetzner,
        cloudflare: &cloudflare,
        store: &Nowhere,
        install: "home",
        zone_id: "z",
        ssh_keys: &[],
        policy: &policy,
        now: Timestamp::UNIX_EPOCH,
    };
    let outcome = finish(shore.perform(effect, &salvage()));
    (outcome, script)
}

const NONE: (u16, &str) = (200, r#"{"servers":[],"meta":{}}"#);
const INVALID: (u16, &str) =
    (422, r#"{"error":{"code":"invalid_input","message":"image '9' not found","details":{}}}"#);
const NOT_FOUND: (u16, &str) = (404, r#"{"error":{"code":"not_found","message":"image not found"}}"#);

#[test]
fn a_salvage_machine_is_made_from_the_image_and_an_image_that_is_gone_is_told_from_a_refusal() {
    let (outcome, script) = perform(Effect::EnsureServer, &[NONE, INVALID, NOT_FOUND]);
    assert_eq!(script.body(1)["image"], "9");
    assert_eq!(script.lines()[2], "GET /images/9");
    assert!(matches!(outcome, EffectOutcome::ImageImpossible { .. }), "{outcome:?}");

    let there = (200, r#"{"image":{"id":9,"type":"snapshot","status":"available","labels":{}}}"#);
    let (outcome, _) = perform(Effect::EnsureServer, &[NONE, INVALID, there]);
    assert!(matches!(outcome, EffectOutcome::Refused(_)), "{outcome:?}");

    let down = (503, r#"{"error":{"code":"unavailable","message":"down"}}"#);
    let (outcome, _) = perform(Effect::EnsureServer, &[NONE, INVALID, down]);
    assert!(matches!(outcome, EffectOutcome::Later { .. }), "nothing is believed lost unseen: {outcome:?}");
}

#[test]
fn an_image_that_is_not_there_is_deleted_and_one_that_is_locked_waits() {
    let delete = Effect::DeleteImage { image: 9 };
    for answer in [(204, ""), NOT_FOUND] {
        assert_eq!(perform(delete, &[answer]).0, EffectOutcome::Done);
    }
    let locked = (423, r#"{"error":{"code":"locked","message":"image is being created"}}"#);
    for answer in [locked, (500, "<html>")] {
        let (outcome, script) = perform(delete, &[answer]);
        assert_eq!(script.lines(), ["DELETE /images/9"]);
        assert!(matches!(outcome, EffectOutcome::Later { .. }), "{outcome:?}");
    }
}

#[test]
fn an_index_that_does_not_answer_is_no_proof_that_nobody_else_is_silent() {
    let (outcome, _) = perform(Effect::CheckPeers, &[]);
    assert!(matches!(outcome, EffectOutcome::Later { .. }), "{outcome:?}");
}
