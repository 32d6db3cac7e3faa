//! What a played machine may remove from its repository, and when; what views and owners have of it.

use super::backups::SMALL;
use super::{Machine, booting, check};
use crate::common::LIMIT;
use crate::turns::discarded;
use anyhow::{Context, Result, ensure};
use ebbtide_api::EventCode;
use ebbtide_api::workspace::State;
use ebbtide_system_tests::Stack;
use ebbtide_system_tests::wait;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

/// Keeps the newest and no other.
fn one() -> Value {
    json!({ "retention": { "keep_last": 1, "hourly": 0, "daily": 0, "weekly": 0 } })
}

fn name(content: &[u8]) -> String {
    hex::encode(Sha256::digest(content))
}

/// Stores a snapshot and has it verified.
fn verified(machine: &Machine, content: &str) -> Result<String> {
    let snapshot = machine.store("snapshots", content.as_bytes())?;
    let answer = machine.deliver("receipts", &snapshot, &[])?.expect(200)?.json();
    ensure!(answer["status"] == "verified", "{answer}");
    Ok(snapshot)
}

/// Ends the machine with a last snapshot.
fn asleep(stack: &Stack, id: &str, machine: &Machine, content: &str) -> Result<String> {
    let snapshot = machine.store("snapshots", content.as_bytes())?;
    stack.api.act(id, "sleep")?;
    let answer = machine.deliver("drained", &snapshot, &[])?.expect(200)?.json();
    ensure!(answer["status"] == "verified", "{answer}");
    stack.api.wait_for(id, State::Asleep, LIMIT)?;
    Ok(snapshot)
}

fn wake(stack: &Stack, id: &str, snapshot: Option<&str>, seed: u8) -> Result<Machine> {
    let body = snapshot.map_or_else(|| json!({}), |snapshot| json!({ "snapshot": snapshot }));
    stack.api.call("POST", &format!("/v1/workspaces/{id}/wake"), Some(&body))?.expect(202)?;
    stack.api.wait_for(id, State::Booting, LIMIT)?;
    Machine::enrolled(stack, id, seed)
}

fn owner(stack: &Stack, id: &str, method: &str, path: &str, body: Option<&[u8]>) -> Result<u16> {
    Ok(stack.api.raw(method, &format!("/v1/workspaces/{id}/restic/{path}"), &[], body)?.status)
}

fn listed(stack: &Stack, id: &str) -> Result<Value> {
    Ok(stack.api.call("GET", &format!("/v1/workspaces/{id}/snapshots"), None)?.expect(200)?.json())
}

#[test]
fn a_machine_removes_what_was_named_before_it_is_ready_and_nothing_else_ever() {
    SMALL.run(|stack| {
        let id = booting(stack, &one())?;
        let first = Machine::ready(stack, &id, 1)?;
        first.store("keys", b"a key")?;
        first.backup("POST", "config", Some(b"the config"))?.expect(200)?;
        let (index, pack) = (first.store("index", b"the index of old things")?, first.store("data", b"old")?);
        let (old, older) = (verified(&first, "older")?, verified(&first, "old")?);
        let kept = asleep(stack, &id, &first, "the newest")?;
        let list = listed(stack, &id)?;
        ensure!(list["due"] == 2 && list["snapshots"].as_array().map(Vec::len) == Some(1), "{list}");
        let last_index = name(b"the index of what stays");

        let second = wake(stack, &id, None, 2)?;
        let steps: Vec<&str> = second.enrolled["boot_plan"]["steps"]
            .as_array()
            .context("no steps")?
            .iter()
            .filter_map(|step| step["name"].as_str())
            .collect();
        ensure!(
            steps
                == [
                    "user", "tidy", "restore", "programs", "caddy", "packages", "agents", "setup",
                    "terminal", "cloudcli"
                ],
            "{steps:?}"
        );
        let delete = |path: &str| second.backup("DELETE", path, None);
        check("before it begins", &delete(&format!("data/{pack}"))?, 403, "deletion_refused")?;
        let begin = json!({ "generation": 2 });
        let order = second.api.call("POST", "/v1/vm/tidy", Some(&begin))?.expect(200)?.json();
        ensure!(order["snapshots"] == json!([old, older]), "{order}");
        for path in [format!("snapshots/{kept}"), "config".into(), format!("keys/{}", name(b"a key"))] {
            check(&path, &delete(&path)?, 403, "deletion_refused")?;
        }
        let path = format!("index/{last_index}?replaces={index}");
        second.backup("POST", &path, Some(b"the index of what stays"))?.expect(200)?;
        for path in [format!("snapshots/{old}"), format!("index/{index}"), format!("data/{pack}")] {
            delete(&path)?.expect(200)?;
            delete(&path)?.expect(200)?;
        }
        // The new index is seen from where the old one was seen.
        for reader in [second.backup("GET", "index/", None)?, {
            let path = format!("/v1/workspaces/{id}/restic/as-of/{kept}/index/");
            stack.api.raw("GET", &path, &[], None)?
        }] {
            let text = reader.expect(200)?.text();
            ensure!(text.contains(&last_index) && !text.contains(&index), "{text}");
        }
        let report = json!({ "generation": 2, "complete": true, "snapshots": 1, "packs": 1, "bytes": 3 });
        second.api.call("POST", "/v1/vm/tidied", Some(&report))?.expect(200)?;
        check("once it is done", &delete(&format!("snapshots/{older}"))?, 403, "deletion_refused")?;
        let again = second.api.call("POST", "/v1/vm/tidy", Some(&begin))?;
        check("again", &again, 403, "deletion_refused")?;
        second.beat()?.expect(200)?;
        stack.api.wait_for(&id, State::Running, LIMIT)?;
        check("ready", &delete(&format!("data/{pack}"))?, 403, "deletion_refused")?;
        let late = second.api.call("POST", "/v1/vm/tidy", Some(&begin))?;
        check("begun when ready", &late, 403, "deletion_refused")?;
        ensure!(listed(stack, &id)?["due"] == 1, "{}", listed(stack, &id)?);
        discarded(stack, &id)
    });
}

#[test]
fn nothing_is_removed_while_a_young_snapshot_is_there_that_nobody_has_verified() {
    SMALL.run(|stack| {
        let id = booting(stack, &one())?;
        let first = Machine::ready(stack, &id, 1)?;
        verified(&first, "older")?;
        verified(&first, "newer")?;
        let unproved = first.store("snapshots", b"uploaded, and then the machine was gone")?;
        stack.api.delete(&id, ebbtide_system_tests::api::Discard::Work)?;
        stack.api.wait_for(&id, State::Deleted, LIMIT)?;
        stack.api.act(&id, "undelete")?;
        stack.api.wait_for(&id, State::Asleep, LIMIT)?;
        let second = wake(stack, &id, None, 2)?;
        let answer = second.api.call("POST", "/v1/vm/tidy", Some(&json!({ "generation": 2 })))?;
        check("beside it", &answer, 403, "deletion_refused")?;
        ensure!(answer.text().contains(&unproved), "{}", answer.text());
        discarded(stack, &id)
    });
}

/// What restic from 0.17 on does: it keeps the full index of another branch, and deletes ours that named the same blob.
#[test]
fn after_an_owner_s_prune_every_index_that_was_proved_is_seen_from_every_snapshot() {
    SMALL.run(|stack| {
        let id = booting(stack, &json!({}))?;
        let first = Machine::ready(stack, &id, 1)?;
        let root = asleep(stack, &id, &first, "the root of both branches")?;
        let second = wake(stack, &id, None, 2)?;
        second.beat()?.expect(200)?;
        stack.api.wait_for(&id, State::Running, LIMIT)?;
        let full = second.store("index", b"a full index of the one branch")?;
        verified(&second, "of the one branch, to be forgotten")?;
        let planted = second.store("index", b"planted after the receipt")?;
        stack.api.delete(&id, ebbtide_system_tests::api::Discard::Work)?;
        stack.api.wait_for(&id, State::Deleted, LIMIT)?;
        stack.api.act(&id, "undelete")?;
        stack.api.wait_for(&id, State::Asleep, LIMIT)?;
        let third = wake(stack, &id, Some(&root), 3)?;
        third.beat()?.expect(200)?;
        stack.api.wait_for(&id, State::Running, LIMIT)?;
        let own = third.store("index", b"an index of the other branch")?;
        let last = asleep(stack, &id, &third, "of the other branch")?;
        let seen = || -> Result<String> {
            let path = format!("/v1/workspaces/{id}/restic/as-of/{last}/index/");
            Ok(stack.api.raw("GET", &path, &[], None)?.expect(200)?.text())
        };
        ensure!(seen()?.contains(&own) && !seen()?.contains(&full), "{}", seen()?);

        let lock = name(b"the owner's lock");
        ensure!(owner(stack, &id, "POST", &format!("locks/{lock}"), Some(b"the owner's lock"))? == 200);
        // Forgotten first, as restic does: what it proved is not forgotten with it.
        let gone = name(b"of the one branch, to be forgotten");
        ensure!(owner(stack, &id, "DELETE", &format!("snapshots/{gone}"), None)? == 200);
        ensure!(owner(stack, &id, "DELETE", &format!("index/{own}"), None)? == 200);
        ensure!(owner(stack, &id, "DELETE", &format!("locks/{lock}"), None)? == 200);
        // An isolate may take a view for what it was for some seconds.
        wait::until("the other branch's index", LIMIT, || {
            let seen = seen().map_err(|error| format!("{error:#}"))?;
            if seen.contains(&full) { Ok(()) } else { Err(seen) }
        })?;
        ensure!(!seen()?.contains(&planted), "what was planted is shown: {}", seen()?);
        let next = wake(stack, &id, None, 4)?;
        let shown = next.backup("GET", "index/", None)?.expect(200)?.text();
        ensure!(shown.contains(&full) && !shown.contains(&planted), "{shown}");
        discarded(stack, &id)
    });
}

#[test]
fn an_owner_is_told_long_before_a_list_is_too_long() {
    SMALL.run(|stack| {
        let id = booting(stack, &json!({}))?;
        let machine = Machine::ready(stack, &id, 1)?;
        for number in 0..11 {
            machine.store("data", &[number])?;
        }
        machine.backup("GET", "data/", None)?.expect(200)?;
        ensure!(listed(stack, &id)?["warning"].is_null(), "{}", listed(stack, &id)?);
        for number in 11..14 {
            machine.store("data", &[number])?;
            machine.backup("GET", "data/", None)?.expect(200)?;
        }
        let warning = listed(stack, &id)?["warning"].as_str().unwrap_or_default().to_owned();
        ensure!(
            warning.contains("hold 12 objects") && warning.contains("restic forget --prune"),
            "{warning}"
        );
        let told = stack
            .api
            .events(&id)?
            .iter()
            .filter(|event| event.code == Some(EventCode::TooManyObjects))
            .count();
        ensure!(told == 1, "told {told} times");
        discarded(stack, &id)
    });
}

#[test]
fn a_restore_kit_ends_by_itself_and_there_are_not_too_many() {
    SMALL.run(|stack| {
        let id = booting(stack, &json!({}))?;
        let machine = Machine::ready(stack, &id, 1)?;
        machine.store("keys", b"a key")?;
        machine.backup("POST", "config", Some(b"the config"))?.expect(200)?;
        verified(&machine, "a snapshot")?;
        let path = format!("/v1/workspaces/{id}/restore-kit");
        let make = |body: &Value| stack.api.call("POST", &path, Some(body));
        let config = format!("/v1/workspaces/{id}/restic/config");
        let read = |kit: &Value| -> Result<ebbtide_system_tests::http::Answer> {
            let repository = kit["repository"].as_str().context("no repository")?;
            let key =
                repository.split("kit:").nth(1).and_then(|rest| rest.split('@').next()).context("no key")?;
            stack.api.with_token(key).raw("GET", &config, &[], None)
        };
        let lasting = make(&json!({}))?.expect(201)?.json();
        read(&lasting)?.expect(200)?;
        let text = lasting["instructions"].as_str().unwrap_or_default();
        let until = lasting["key"]["expires_at"].as_str().context("no end")?;
        ensure!(text.contains(until), "{text}");
        let short = make(&json!({ "for": "1s" }))?.expect(201)?.json();
        wait::until("the kit to end", LIMIT, || {
            let answer = read(&short).map_err(|error| format!("{error:#}"))?;
            if answer.status == 401 { Ok(answer) } else { Err(answer.text()) }
        })
        .and_then(|ended| check("an ended kit", &ended, 401, "token_expired"))?;
        check("no duration", &make(&json!({ "for": "soon" }))?, 422, "invalid_field")?;
        // The one that has ended does not count.
        for _ in 1..20 {
            make(&json!({}))?.expect(201)?;
        }
        let refused = make(&json!({}))?;
        ensure!(refused.status >= 400 && refused.text().contains("20 restore kits"), "{}", refused.text());
        let revoked = lasting["key"]["id"].as_str().context("no key")?;
        stack.api.call("DELETE", &format!("/v1/keys/{revoked}"), None)?.expect(204)?;
        make(&json!({}))?.expect(201)?;
        discarded(stack, &id)
    });
}
