//! What a machine may do, and with which token: its own work, in its own generation, and nothing else.
//!
//! Machines here are played by the test itself, so that they can lie, hurry and come back from the dead; `secrets`
//! looks at real ones.

mod backups;
mod branches;
mod retention;
mod rhythm;
mod secrets;

use crate::common::{LIMIT, nothing_bills, quick, servers_ever, without_machines};
use crate::turns::{Turns, discarded};
use anyhow::{Context, Result, ensure};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ebbtide_api::workspace::State;
use ebbtide_system_tests::api::{Discard, shown};
use ebbtide_system_tests::http::Answer;
use ebbtide_system_tests::played_machine::PlayedMachine as Machine;
use ebbtide_system_tests::{Stack, wait};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

static SYSTEM: Turns = Turns::bringing_up(|| without_machines("fencing", quick()));

fn booting(stack: &Stack, request: &Value) -> Result<String> {
    let id = stack.api.create(request)?.id.to_string();
    stack.api.wait_for(&id, State::Booting, LIMIT)?;
    Ok(id)
}

/// Checks a refusal: status, code, and that it says what to do.
fn check(what: &str, answer: &Answer, status: u16, code: &str) -> Result<()> {
    let body = answer.json();
    let hint = body["hint"].as_str().is_some_and(|hint| !hint.is_empty());
    ensure!(
        answer.status == status && body["code"] == code && hint,
        "{what}: wanted {status} {code}, got {} {}",
        answer.status,
        answer.text()
    );
    Ok(())
}

#[test]
fn the_bootstrap_token_used_twice_at_once_has_one_winner() {
    SYSTEM.run(|stack| {
        let id = booting(stack, &json!({}))?;
        let machines = [Machine::new(stack, &id, 1)?, Machine::new(stack, &id, 2)?];
        let answers = std::thread::scope(|scope| {
            let sent: Vec<_> = machines.iter().map(|machine| scope.spawn(|| machine.try_enrol())).collect();
            sent.into_iter().map(|thread| thread.join().expect("no panic")).collect::<Result<Vec<_>>>()
        })?;
        let winner = answers.iter().position(|answer| answer.status == 200).context("nobody was let in")?;
        let (won, lost) = (&machines[winner], &machines[1 - winner]);
        check("the second key", &answers[1 - winner], 403, "enrolment_refused")?;
        // An answer that was lost is asked for again; the loser stays out, and gains nothing by renewing.
        won.try_enrol()?.expect(200)?;
        check("the second key again", &lost.try_enrol()?, 403, "enrolment_refused")?;
        let renewal = lost.api.call("POST", "/v1/vm/token", Some(&lost.enrolment()))?;
        check("a renewal by the second key", &renewal, 403, "enrolment_refused")?;
        let token = answers[winner].json()["vm_token"].as_str().context("no token")?.to_owned();
        let beat = json!({ "generation": 1 });
        stack.api.with_token(&token).call("POST", "/v1/vm/heartbeat", Some(&beat))?.expect(200)?;
        discarded(stack, &id)
    });
}

#[test]
fn an_enrolment_that_is_not_what_it_says_is_refused() {
    SYSTEM.run(|stack| {
        let (id, other) = (booting(stack, &json!({}))?, booting(stack, &json!({}))?);
        let machine = Machine::new(stack, &id, 1)?;
        let good = machine.enrolment();
        let with = |field: &str, value: Value| {
            let mut body = good.clone();
            body[field] = value;
            machine.api.call("POST", "/v1/vm/enroll", Some(&body))
        };
        let zeros = STANDARD.encode([0u8; 64]);
        check("another signature", &with("signature", json!(zeros))?, 403, "enrolment_refused")?;
        check("no signature", &with("signature", json!(""))?, 403, "enrolment_refused")?;
        check(
            "a weak key",
            &with("machine_key", json!(STANDARD.encode([0u8; 32])))?,
            403,
            "enrolment_refused",
        )?;
        check("no token", &with("enrolment_token", json!(""))?, 403, "enrolment_refused")?;
        let token = good["enrolment_token"].as_str().unwrap_or_default();
        let flipped =
            format!("{}{}", &token[..token.len() - 2], if token.ends_with("AA") { "BB" } else { "AA" });
        check("a changed token", &with("enrolment_token", json!(flipped))?, 401, "unauthorized")?;
        // Signed properly by a key of its own, with a token that was meant for somebody else.
        let mut liar = Machine::new(stack, &id, 3)?;
        liar.told["workspace"] = json!(other);
        check("another workspace", &liar.try_enrol()?, 403, "enrolment_refused")?;
        let mut liar = Machine::new(stack, &id, 3)?;
        liar.told["generation"] = json!(2);
        check("another generation", &liar.try_enrol()?, 410, "stale_generation")?;
        // The token of enrolment opens nothing else.
        let api = stack.api.with_token(token);
        check(
            "as a machine's token",
            &api.call("POST", "/v1/vm/heartbeat", Some(&json!({})))?,
            401,
            "unauthorized",
        )?;
        check("as a person's token", &api.call("GET", "/v1/workspaces", None)?, 401, "unauthorized")?;
        // After all of that the machine it was made for gets in.
        machine.try_enrol()?.expect(200)?;
        discarded(stack, &id)?;
        discarded(stack, &other)
    });
}

#[test]
fn a_machine_that_has_forgotten_its_bootstrap_token_comes_back_with_its_key_alone() {
    SYSTEM.run(|stack| {
        let id = booting(stack, &json!({}))?;
        let forgetful = |seed: u8| -> Result<Machine> {
            let mut machine = Machine::new(stack, &id, seed)?;
            machine.told["enrolment_token"] = json!("");
            Ok(machine)
        };
        // A key that nobody has enrolled is no proof of anything.
        check("before the first", &forgetful(1)?.try_enrol()?, 403, "enrolment_refused")?;
        Machine::ready(stack, &id, 1)?;
        let back = forgetful(1)?;
        let again = back.try_enrol()?.expect(200)?.json();
        let renewed = back.api.call("POST", "/v1/vm/token", Some(&back.enrolment()))?.expect(200)?.json();
        for answer in [again, renewed] {
            let token = answer["vm_token"].as_str().context("no token")?;
            let beat = json!({ "generation": 1, "ready": true });
            stack.api.with_token(token).call("POST", "/v1/vm/heartbeat", Some(&beat))?.expect(200)?;
        }
        check("another key", &forgetful(2)?.try_enrol()?, 403, "enrolment_refused")?;
        let mut stranger = forgetful(1)?;
        stranger.told["workspace"] = json!("a2a2a2a2a2");
        check("no such workspace", &stranger.try_enrol()?, 403, "enrolment_refused")?;
        let mut early = forgetful(1)?;
        early.told["generation"] = json!(2);
        check("another generation", &early.try_enrol()?, 403, "enrolment_refused")?;
        discarded(stack, &id)?;
        check("deleted", &back.try_enrol()?, 410, "stale_generation")
    });
}

#[test]
fn a_machine_of_an_old_generation_is_told_410_and_changes_nothing() {
    SYSTEM.run(|stack| {
        let id = booting(stack, &json!({}))?;
        let old = Machine::ready(stack, &id, 1)?;
        let pack = old.store("data", b"a pack")?;
        let snapshot = old.store("snapshots", b"a snapshot")?;
        stack.api.act(&id, "sleep")?;
        let answer = old.deliver("drained", &snapshot, &[(&pack, 6)])?.expect(200)?;
        ensure!(answer.json()["status"] == "verified", "{}", answer.text());
        stack.api.wait_for(&id, State::Asleep, LIMIT)?;
        let refused = |when: &str| -> Result<()> {
            check(&format!("{when}: a heartbeat"), &old.beat()?, 410, "stale_generation")?;
            let other = old.store("snapshots", b"another snapshot").unwrap_or_else(|_| "1".repeat(64));
            for to in ["receipts", "drained"] {
                check(&format!("{when}: {to}"), &old.deliver(to, &other, &[])?, 410, "stale_generation")?;
            }
            check(&format!("{when}: enrolment"), &old.try_enrol()?, 410, "stale_generation")?;
            // As a machine does whose bootstrap token is long forgotten: it has to know that its time is over.
            let by_key = old.try_enrol_by_key_alone()?;
            check(&format!("{when}: by its key alone"), &by_key, 410, "stale_generation")
        };
        refused("asleep")?;
        stack.api.act(&id, "wake")?;
        stack.api.wait_for(&id, State::Booting, LIMIT)?;
        refused("woken")?;
        let new = Machine::ready(stack, &id, 2)?;
        refused("beside its successor")?;
        // Nor does it pass by naming the living generation in what it sends.
        let beat = json!({ "generation": 2, "ready": true });
        let liar = old.api.call("POST", "/v1/vm/heartbeat", Some(&beat))?;
        check("a heartbeat that lies", &liar, 410, "stale_generation")?;
        let workspace = stack.api.get(&id)?;
        ensure!(workspace.state == State::Running && workspace.generation.0 == 2, "{}", shown(&workspace));
        let last = workspace.last_backup.context("no backup")?;
        ensure!((last.snapshot.as_str(), last.generation.0) == (snapshot.as_str(), 1), "{last:?}");
        new.beat()?.expect(200)?;
        // While its server cannot be deleted, it is as little heard as when it is gone.
        let down = json!({ "kind": "refuse", "status": 503, "code": "service_error", "message": "no" });
        stack.cloud.fault("hetzner", "DELETE /servers/*", 1_000_000, &down)?;
        stack.api.delete(&id, Discard::Work)?;
        stack.api.wait_for(&id, State::Destroying, LIMIT)?;
        check("being destroyed", &new.beat()?, 410, "stale_generation")?;
        stack.cloud.clear_faults()?;
        servers_ever(stack, &id, 2)?;
        discarded(stack, &id)
    });
}

#[test]
fn a_receipt_for_what_is_not_in_storage_lets_no_machine_go() {
    SYSTEM.run(|stack| {
        let id = booting(stack, &json!({}))?;
        let machine = Machine::ready(stack, &id, 1)?;
        let snapshot = machine.store("snapshots", b"a snapshot")?;
        let pack = machine.store("data", b"a pack")?;
        stack.api.act(&id, "sleep")?;
        stack.api.wait(&id, "draining", LIMIT, |workspace| workspace.state == State::Draining)?;
        let early = machine.deliver_at_once("drained", &snapshot, &[(&pack, 6)])?;
        check("a last receipt from before the freeze", &early, 409, "wrong_state")?;
        let absent = "ab".repeat(32);
        for (what, snapshot, packs) in [
            ("a snapshot that is not there", &absent, vec![(pack.as_str(), 6)]),
            ("a pack that is not there", &snapshot, vec![(pack.as_str(), 6), (absent.as_str(), 6)]),
            ("a pack of another size", &snapshot, vec![(pack.as_str(), 7)]),
        ] {
            let answer = machine.deliver("drained", snapshot, &packs)?.expect(200)?.json();
            ensure!(answer["status"] == "refused", "{what}: {answer}");
            let problem = answer["problem"].as_str().unwrap_or_default();
            ensure!(problem.contains("data/") || problem.contains("snapshots/"), "{what}: {answer}");
            machine.beat()?.expect(200)?;
            let now = stack.api.get(&id)?;
            ensure!(now.state == State::Draining && now.last_backup.is_none(), "{what}: {}", shown(&now));
            ensure!(stack.cloud.inventory()?.live_of(&id).len() == 1, "{what}: the server is gone");
        }
        let answer = machine.deliver("drained", &snapshot, &[(&pack, 6)])?.expect(200)?.json();
        ensure!(answer["status"] == "verified", "{answer}");
        stack.api.wait_for(&id, State::Asleep, LIMIT)?;
        nothing_bills(stack, &id)?;
        discarded(stack, &id)
    });
}

#[test]
fn a_machine_reads_and_writes_its_own_backups_alone() {
    SYSTEM.run(|stack| {
        let (a, b) = (booting(stack, &json!({}))?, booting(stack, &json!({}))?);
        let (first, second) = (Machine::ready(stack, &a, 1)?, Machine::ready(stack, &b, 2)?);
        let pack = first.store("data", b"the work of the first")?;
        first.backup("POST", "config", Some(b"config of the first"))?.expect(200)?;
        let own = first.backup("GET", &format!("data/{pack}"), None)?.expect(200)?;
        ensure!(own.body == b"the work of the first", "{}", own.text());
        for path in [
            format!("data/{pack}"),
            "config".to_owned(),
            format!("../{a}/restic/data/{pack}"),
            format!("data/..%2f..%2f{a}%2frestic%2fdata%2f{pack}"),
            format!("{a}/data/{pack}"),
        ] {
            let answer = second.backup("GET", &path, None)?;
            ensure!((400..500).contains(&answer.status), "{path}: {} {}", answer.status, answer.text());
            ensure!(!answer.text().contains("of the first"), "{path} was read by another machine");
        }
        let list = second.backup("GET", "data/", None)?.expect(200)?;
        ensure!(!list.text().contains(&pack), "another machine's packs are listed: {}", list.text());
        // A machine's token is no person's, not even for its own workspace.
        for path in [
            "/v1/workspaces".to_owned(),
            format!("/v1/workspaces/{a}"),
            format!("/v1/workspaces/{a}/restic/config"),
            "/v1/keys".to_owned(),
        ] {
            check(&path, &first.api.call("GET", &path, None)?, 401, "unauthorized")?;
        }
        discarded(stack, &a)?;
        discarded(stack, &b)
    });
}

#[test]
fn a_hijacked_machine_can_neither_delete_nor_overwrite_a_backup() {
    SYSTEM.run(|stack| {
        let id = booting(stack, &json!({}))?;
        let machine = Machine::ready(stack, &id, 1)?;
        let key = machine.store("keys", b"a key")?;
        machine.backup("POST", "config", Some(b"the config"))?.expect(200)?;
        let pack = machine.store("data", b"a pack")?;
        let (index, snapshot) =
            (machine.store("index", b"an index")?, machine.store("snapshots", b"a snapshot")?);
        let mut objects = vec!["config".to_owned()];
        for (kind, name) in [("keys", &key), ("data", &pack), ("index", &index), ("snapshots", &snapshot)] {
            objects.push(format!("{kind}/{name}"));
        }
        let before: Vec<Vec<u8>> = objects
            .iter()
            .map(|path| Ok(machine.backup("GET", path, None)?.expect(200)?.body))
            .collect::<Result<_>>()?;
        for path in &objects {
            check(path, &machine.backup("DELETE", path, None)?, 403, "deletion_refused")?;
            let answer = machine.backup("POST", path, Some(b"something else"))?;
            ensure!(matches!(answer.status, 403 | 422), "{path} overwritten: {}", answer.text());
        }
        // Once the repository is made, nobody adds a key to it.
        let another = hex::encode(Sha256::digest(b"another key"));
        let answer = machine.backup("POST", &format!("keys/{another}"), Some(b"another key"))?;
        check("another key", &answer, 403, "already_exists")?;
        // What does not have the SHA-256 of its name never becomes an object.
        let wrong = format!("data/{}", "ab".repeat(32));
        check("a wrong name", &machine.backup("POST", &wrong, Some(b"flipped"))?, 422, "invalid_field")?;
        ensure!(machine.backup("GET", &wrong, None)?.status == 404, "a damaged object was stored");
        // The same object once more, after an answer that was lost, is no error.
        machine.store("data", b"a pack")?;
        // Nor may the owner, while a machine is there.
        let path = format!("/v1/workspaces/{id}/restic/data/{pack}");
        check("the owner", &stack.api.raw("DELETE", &path, &[], None)?, 403, "deletion_refused")?;
        ensure!(stack.api.raw("POST", &path, &[], Some(b"x"))?.status == 403, "the owner wrote");
        ensure!(stack.api.raw("GET", &path, &[], None)?.expect(200)?.body == b"a pack");
        for (path, content) in objects.iter().zip(before) {
            let now = machine.backup("GET", path, None)?.expect(200)?.body;
            ensure!(now == content, "{path} has changed");
        }
        discarded(stack, &id)
    });
}

#[test]
fn an_object_without_its_length_or_without_content_is_refused() {
    SYSTEM.run(|stack| {
        let id = booting(stack, &json!({}))?;
        let machine = Machine::ready(stack, &id, 1)?;
        let name = hex::encode(Sha256::digest(b"a pack"));
        let host = stack.url.trim_start_matches("http://");
        let mut connection = TcpStream::connect(host)?;
        connection.set_read_timeout(Some(Duration::from_secs(20)))?;
        write!(
            connection,
            "POST /v1/vm/backup/data/{name} HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {}\r\n\
             Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n6\r\na pack\r\n0\r\n\r\n",
            machine.token
        )?;
        let mut answer = String::new();
        connection.read_to_string(&mut answer)?;
        ensure!(answer.starts_with("HTTP/1.1 411") && answer.contains("length_required"), "{answer}");
        let empty = format!("data/{}", hex::encode(Sha256::digest(b"")));
        check("an empty object", &machine.backup("POST", &empty, Some(b""))?, 422, "invalid_field")?;
        ensure!(machine.backup("GET", &format!("data/{name}"), None)?.status == 404, "it was stored");
        discarded(stack, &id)
    });
}

#[test]
fn a_deleted_workspace_s_name_resolves_to_nobody_and_its_api_says_deleted() {
    SYSTEM.run(|stack| {
        let id = booting(stack, &json!({ "name": "gone" }))?;
        let host = format!("gone-{id}.{}", ebbtide_system_tests::ZONE);
        let resolves = || {
            let names = stack.cloud.inventory().map_err(|error| format!("{error:#}"))?.names_of(&id);
            if names.contains(&host) { Ok(()) } else { Err(format!("{names:?}")) }
        };
        wait::until("its name", LIMIT, resolves)?;
        discarded(stack, &id)?;
        for host in [host.clone(), format!("3000.{host}")] {
            let answer = stack.visit(&host, "/", &[])?;
            ensure!(answer.status == 404, "{host}: {} {}", answer.status, answer.text());
        }
        let workspace = stack.api.get(&id)?;
        ensure!(workspace.state == State::Deleted && workspace.machine.is_none(), "{}", shown(&workspace));
        Ok(())
    });
}
