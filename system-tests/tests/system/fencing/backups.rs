//! What a played machine may put into its repository: within its quota, its generation, and in nobody's way but its own.

use super::{Machine, booting, check};
use crate::common::{LIMIT, quick_with, without_machines};
use crate::turns::{Turns, discarded};
use anyhow::{Context, Result, ensure};
use ebbtide_api::workspace::State;
use ebbtide_system_tests::Stack;
use ebbtide_system_tests::api::Discard;
use ebbtide_system_tests::http::Answer;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::sync::atomic::{AtomicU32, Ordering};

pub(super) static SMALL: Turns = Turns::bringing_up(|| {
    let policy = json!({
        "repository_quota_bytes": 1000, "grant_idle": "3s", "tidy_least": 1, "crowded_objects": 12,
    });
    without_machines("quota", quick_with(policy))
});

fn name(content: &[u8]) -> String {
    hex::encode(Sha256::digest(content))
}

fn fill(stack: &Stack, id: &str) -> Result<(u64, u64)> {
    let listed = stack.api.call("GET", &format!("/v1/workspaces/{id}/snapshots"), None)?.expect(200)?.json();
    let number = |field: &str| listed[field].as_u64().with_context(|| format!("no {field}: {listed}"));
    Ok((number("stored_bytes")?, number("quota_bytes")?))
}

#[test]
fn a_full_repository_refuses_by_name_and_uploads_at_once_cannot_pass_its_quota_together() {
    SMALL.run(|stack| {
        let id = booting(stack, &json!({}))?;
        let machine = Machine::ready(stack, &id, 1)?;
        machine.store("data", &[1; 600])?;
        // The same once more, what does not fit its name, and what is refused count for nothing.
        machine.store("data", &[1; 600])?;
        let wrong = machine.backup("POST", &format!("data/{}", name(b"other")), Some(&[2; 300]))?;
        check("a wrong name", &wrong, 422, "invalid_field")?;
        let path = format!("data/{}", name(&[3; 600]));
        let full = machine.backup("POST", &path, Some(&[3; 600]))?;
        check("past the quota", &full, 507, "quota_reached")?;
        ensure!(full.text().contains("1000"), "{}", full.text());
        ensure!(fill(stack, &id)? == (600, 1000), "{:?}", fill(stack, &id)?);
        let contents: Vec<Vec<u8>> = (10..18).map(|byte| vec![byte; 100]).collect();
        let answers = std::thread::scope(|scope| {
            let sent: Vec<_> = contents
                .iter()
                .map(|content| {
                    scope.spawn(|| machine.backup("POST", &format!("data/{}", name(content)), Some(content)))
                })
                .collect();
            sent.into_iter().map(|thread| thread.join().expect("no panic")).collect::<Result<Vec<_>>>()
        })?;
        let stored = answers.iter().filter(|answer| answer.status == 200).count();
        ensure!(stored == 4, "{stored} of eight were stored where four fit");
        ensure!(answers.iter().all(|answer| matches!(answer.status, 200 | 507)), "another answer");
        ensure!(fill(stack, &id)? == (1000, 1000), "{:?}", fill(stack, &id)?);
        discarded(stack, &id)
    });
}

#[test]
fn a_machine_whose_time_is_over_adds_nothing_although_its_token_lives() {
    SMALL.run(|stack| {
        let id = booting(stack, &json!({}))?;
        let old = Machine::ready(stack, &id, 1)?;
        let snapshot = old.store("snapshots", b"a snapshot")?;
        stack.api.act(&id, "sleep")?;
        old.deliver("drained", &snapshot, &[])?.expect(200)?;
        stack.api.wait_for(&id, State::Asleep, LIMIT)?;
        let put = |when: &str| -> Result<()> {
            let path = format!("index/{}", name(when.as_bytes()));
            let answer = old.backup("POST", &path, Some(when.as_bytes()))?;
            check(when, &answer, 410, "stale_generation")
        };
        put("asleep")?;
        stack.api.act(&id, "wake")?;
        stack.api.wait_for(&id, State::Booting, LIMIT)?;
        put("woken")?;
        discarded(stack, &id)
    });
}

#[test]
fn what_a_generation_left_unproved_is_shown_to_no_reader_after_it() {
    SMALL.run(|stack| {
        let id = booting(stack, &json!({}))?;
        let old = Machine::ready(stack, &id, 1)?;
        old.store("keys", b"the key")?;
        old.backup("POST", "config", Some(b"the config"))?.expect(200)?;
        old.store("index", b"an index")?;
        let snapshot = old.store("snapshots", b"a snapshot")?;
        let answer = old.deliver("receipts", &snapshot, &[])?.expect(200)?.json();
        ensure!(answer["status"] == "verified", "{answer}");
        let planted: Vec<(&str, String)> = ["index", "snapshots"]
            .into_iter()
            .map(|kind| Ok((kind, old.store(kind, format!("planted in {kind}").as_bytes())?)))
            .collect::<Result<_>>()?;
        stack.api.delete(&id, ebbtide_system_tests::api::Discard::Work)?;
        stack.api.wait_for(&id, State::Deleted, LIMIT)?;
        stack.api.act(&id, "undelete")?;
        stack.api.wait_for(&id, State::Asleep, LIMIT)?;
        stack.api.act(&id, "wake")?;
        stack.api.wait_for(&id, State::Booting, LIMIT)?;
        let new = Machine::ready(stack, &id, 2)?;
        let owner = |as_of: &str| format!("/v1/workspaces/{id}/restic/{as_of}");
        for (kind, name) in &planted {
            let mut readers = vec![
                ("the next machine".to_owned(), new.backup("GET", &format!("{kind}/"), None)?),
                ("its wake".to_owned(), new.backup("GET", &format!("{kind}/?as-of={snapshot}"), None)?),
            ];
            for as_of in ["latest", "verified", &snapshot] {
                let path = owner(&format!("as-of/{as_of}/{kind}/"));
                readers.push((as_of.to_owned(), stack.api.raw("GET", &path, &[], None)?));
            }
            for (reader, answer) in readers {
                let text = answer.expect(200)?.text();
                ensure!(!text.contains(name.as_str()), "{reader} was shown {name}: {text}");
            }
            // Its owner may look at everything, and does so without a receipt.
            let all = stack.api.raw("GET", &owner(&format!("{kind}/")), &[], None)?.expect(200)?.text();
            ensure!(all.contains(name.as_str()), "{all}");
        }
        for path in
            ["config".to_owned(), format!("snapshots/{snapshot}"), format!("index/{}", name(b"an index"))]
        {
            new.backup("GET", &path, None)?.expect(200)?;
            stack.api.raw("GET", &owner(&format!("as-of/latest/{path}")), &[], None)?.expect(200)?;
        }
        ensure!(
            new.backup("GET", "keys/", None)?.expect(200)?.text().contains(&name(b"the key")),
            "the key is hidden"
        );
        // What the new machine adds it sees at once; seen from the old receipt it is not there.
        let added = new.store("index", b"another index")?;
        let listed =
            |path: &str| -> Result<String> { Ok(new.backup("GET", path, None)?.expect(200)?.text()) };
        ensure!(listed("index/")?.contains(&added), "it does not see its own");
        ensure!(!listed(&format!("index/?as-of={snapshot}"))?.contains(&added), "it is in the old receipt");
        let nothing = stack.api.raw("GET", &owner(&format!("as-of/{}/config", "0".repeat(64))), &[], None)?;
        check("a receipt that there never was", &nothing, 404, "not_found")?;
        discarded(stack, &id)
    });
}

/// Stores many small objects of a kind, a few at a time.
fn plant(machine: &Machine, kind: &str, count: u32) -> Result<()> {
    let next = AtomicU32::new(0);
    std::thread::scope(|scope| {
        let work = || -> Result<()> {
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= count {
                    return Ok(());
                }
                if number % 200 == 0 {
                    machine.beat()?.expect(200)?;
                }
                machine.store(kind, number.to_string().as_bytes())?;
            }
        };
        let planting: Vec<_> = (0..8).map(|_| scope.spawn(work)).collect();
        planting.into_iter().try_for_each(|thread| thread.join().expect("no panic"))
    })
}

/// More than storage lists at once with metadata, here. However many there are, no list of what is verified asks storage.
#[test]
fn small_objects_that_a_machine_leaves_behind_stop_no_reader_after_it() {
    const PLANTED: u32 = 120;
    super::SYSTEM.run(|stack| {
        let id = booting(stack, &json!({}))?;
        let old = Machine::ready(stack, &id, 1)?;
        old.backup("POST", "config", Some(b"the config"))?.expect(200)?;
        let index = old.store("index", b"an index")?;
        let snapshot = old.store("snapshots", b"a snapshot")?;
        old.deliver("receipts", &snapshot, &[])?.expect(200)?;
        plant(&old, "index", PLANTED)?;
        let owner =
            |path: &str| stack.api.raw("GET", &format!("/v1/workspaces/{id}/restic/{path}"), &[], None);
        let verified = |answer: Answer, wanted: &str| -> Result<()> {
            let calls = answer.header("x-ebbtide-calls").unwrap_or_default().to_owned();
            let shown = answer.expect(200)?.json();
            ensure!(shown == json!([wanted]) && calls.contains("r2=0"), "{shown} by {calls}");
            Ok(())
        };
        let as_kits_and_owners = || -> Result<()> {
            for as_of in ["latest", "verified", &snapshot] {
                verified(owner(&format!("as-of/{as_of}/index/"))?, &index).context(as_of.to_owned())?;
                verified(owner(&format!("as-of/{as_of}/snapshots/"))?, &snapshot)?;
            }
            Ok(())
        };
        as_kits_and_owners()?;
        plant(&old, "snapshots", PLANTED)?;
        stack.api.act(&id, "sleep")?;
        old.beat()?.expect(200)?;
        stack.api.wait(&id, "draining", LIMIT, |workspace| workspace.state == State::Draining)?;
        old.deliver("drained", &snapshot, &[])?.expect(200)?;
        stack.api.wait_for(&id, State::Asleep, LIMIT)?;
        as_kits_and_owners()?;
        stack.api.act(&id, "wake")?;
        stack.api.wait_for(&id, State::Booting, LIMIT)?;
        let new = Machine::ready(stack, &id, 2)?;
        for path in ["index/".to_owned(), format!("index/?as-of={snapshot}")] {
            verified(new.backup("GET", &path, None)?, &index).context(path)?;
        }
        // Its owner sees all of them, and may remove them.
        let all = owner("index/")?.expect(200)?.json();
        ensure!(all.as_array().map(Vec::len) == Some(PLANTED as usize + 1), "not all are listed");
        discarded(stack, &id)
    });
}

#[test]
fn a_receipt_names_its_indexes_and_what_it_does_not_name_is_in_no_view() {
    super::SYSTEM.run(|stack| {
        let id = booting(stack, &json!({}))?;
        let machine = Machine::ready(stack, &id, 1)?;
        let (needed, beside) = (machine.store("index", b"needed")?, machine.store("index", b"beside it")?);
        let snapshot = machine.store("snapshots", b"a snapshot")?;
        let deliver = |index: &str| -> Result<Value> {
            let answer = machine.deliver_receipt("receipts", &snapshot, &json!({ "indexes": [index] }))?;
            Ok(answer.expect(200)?.json())
        };
        let absent = "ab".repeat(32);
        let refused = deliver(&absent)?;
        let problem = refused["problem"].as_str().unwrap_or_default();
        ensure!(refused["status"] == "refused" && problem.contains(&absent), "{refused}");
        // Before it is verified its machine reads as of it, and nobody else does.
        let early = machine.backup("GET", &format!("index/?as-of={snapshot}"), None)?.expect(200)?.text();
        ensure!(early.contains(&needed) && early.contains(&beside), "{early}");
        let path = format!("/v1/workspaces/{id}/restic/as-of/{snapshot}/index/");
        check("before it is verified", &stack.api.raw("GET", &path, &[], None)?, 404, "not_found")?;
        ensure!(deliver(&needed)?["status"] == "verified", "it is not verified");
        let shown = stack.api.raw("GET", &path, &[], None)?.expect(200)?.json();
        ensure!(shown == json!([needed]), "{shown}");
        discarded(stack, &id)
    });
}

#[test]
fn a_machine_adds_no_lock_and_no_more_keys_than_restic_tries() {
    super::SYSTEM.run(|stack| {
        let id = booting(stack, &json!({}))?;
        let machine = Machine::ready(stack, &id, 1)?;
        for number in 0..20 {
            machine.store("keys", format!("key {number}").as_bytes())?;
        }
        machine.store("keys", b"key 7")?;
        let add = |kind: &str| {
            let content = b"one more";
            machine.backup("POST", &format!("{kind}/{}", name(content)), Some(content))
        };
        let more = add("keys")?;
        check("one more key", &more, 507, "quota_reached")?;
        ensure!(more.text().contains("20 objects to keys/"), "{}", more.text());
        check("a lock", &add("locks")?, 403, "forbidden")?;
        add("snapshots")?.expect(200)?;
        discarded(stack, &id)
    });
}

#[test]
fn a_wake_waits_while_the_owner_s_lock_stands() {
    SMALL.run(|stack| {
        let id = booting(stack, &json!({}))?;
        let machine = Machine::ready(stack, &id, 1)?;
        let snapshot = machine.store("snapshots", b"a snapshot")?;
        let lock = format!("/v1/workspaces/{id}/restic/locks/{}", name(b"the owner's lock"));
        let refused = stack.api.raw("POST", &lock, &[], Some(b"the owner's lock"))?;
        check("a lock beside a machine", &refused, 403, "deletion_refused")?;
        stack.api.act(&id, "sleep")?;
        machine.deliver("drained", &snapshot, &[])?.expect(200)?;
        stack.api.wait_for(&id, State::Asleep, LIMIT)?;
        stack.api.raw("POST", &lock, &[], Some(b"the owner's lock"))?.expect(200)?;
        stack.api.act(&id, "wake")?;
        let waiting = stack.api.get(&id)?;
        ensure!(waiting.state == State::Asleep, "{}", ebbtide_system_tests::api::shown(&waiting));
        ensure!(waiting.waiting_for.is_some_and(|text| text.contains("backups")), "it does not say why");
        stack.api.raw("DELETE", &lock, &[], None)?.expect(200)?;
        stack.api.wait_for(&id, State::Booting, LIMIT)?;
        check(
            "a lock beside a machine",
            &stack.api.raw("DELETE", &lock, &[], None)?,
            403,
            "deletion_refused",
        )?;
        discarded(stack, &id)
    });
}

#[test]
fn a_client_that_dies_with_its_lock_keeps_no_wake_waiting_for_long() {
    SMALL.run(|stack| {
        let id = booting(stack, &json!({}))?;
        let machine = Machine::ready(stack, &id, 1)?;
        let snapshot = machine.store("snapshots", b"a snapshot")?;
        stack.api.act(&id, "sleep")?;
        machine.deliver("drained", &snapshot, &[])?.expect(200)?;
        stack.api.wait_for(&id, State::Asleep, LIMIT)?;
        let lock = format!("/v1/workspaces/{id}/restic/locks/{}", name(b"a lock"));
        stack.api.raw("POST", &lock, &[], Some(b"a lock"))?.expect(200)?;
        let shown = || -> Result<bool> {
            let path = format!("/v1/workspaces/{id}/restic/as-of/latest/locks/");
            Ok(stack.api.raw("GET", &path, &[], None)?.expect(200)?.text().contains(&name(b"a lock")))
        };
        ensure!(shown()?, "a lock that stands is in no list");
        stack.api.raw("DELETE", &lock, &[], None)?.expect(200)?;
        ensure!(!shown()?, "a lock that was removed is still listed");
        stack.api.raw("POST", &lock, &[], Some(b"a lock"))?.expect(200)?;
        stack.api.act(&id, "wake")?;
        stack.api.wait_for(&id, State::Booting, LIMIT)?;
        discarded(stack, &id)
    });
}

#[test]
fn deletions_are_taken_back_within_their_days_and_the_newest_verified_snapshot_follows() {
    SMALL.run(|stack| {
        let id = booting(stack, &json!({}))?;
        let machine = Machine::ready(stack, &id, 1)?;
        let older = machine.store("snapshots", b"the older")?;
        machine.deliver("receipts", &older, &[])?.expect(200)?;
        let newer = machine.store("snapshots", b"the newer")?;
        stack.api.act(&id, "sleep")?;
        machine.deliver("drained", &newer, &[])?.expect(200)?;
        stack.api.wait_for(&id, State::Asleep, LIMIT)?;
        let listed = || -> Result<Vec<String>> {
            let path = format!("/v1/workspaces/{id}/snapshots");
            let list = stack.api.call("GET", &path, None)?.expect(200)?.json();
            let ids = list["snapshots"].as_array().context("no list")?;
            Ok(ids.iter().filter_map(|one| one["snapshot"].as_str().map(str::to_owned)).collect())
        };
        ensure!(listed()? == [newer.clone(), older.clone()], "{:?}", listed()?);
        let before = fill(stack, &id)?.0;
        let path = format!("/v1/workspaces/{id}/restic/snapshots/{newer}");
        stack.api.raw("DELETE", &path, &[], None)?.expect(200)?;
        stack.api.raw("DELETE", &path, &[], None)?.expect(200)?;
        ensure!(stack.api.raw("GET", &path, &[], None)?.status == 404, "it is still shown");
        ensure!(listed()? == [older.clone()], "{:?}", listed()?);
        ensure!(fill(stack, &id)?.0 < before, "it still counts");
        let undelete = format!("/v1/workspaces/{id}/backups/undelete");
        let undone: Value = stack.api.call("POST", &undelete, Some(&json!({})))?.expect(200)?.json();
        ensure!(undone["restored"] == 1 && undone["more"] == false, "{undone}");
        ensure!(stack.api.raw("GET", &path, &[], None)?.expect(200)?.body == b"the newer", "other bytes");
        ensure!(listed()? == [newer.clone(), older], "{:?}", listed()?);
        ensure!(fill(stack, &id)?.0 == before, "it counts otherwise than before");
        for path in ["config".to_owned(), format!("keys/{newer}")] {
            let path = format!("/v1/workspaces/{id}/restic/{path}");
            check(&path, &stack.api.raw("DELETE", &path, &[], None)?, 403, "deletion_refused")?;
        }
        discarded(stack, &id)
    });
}

#[test]
fn many_deletions_are_taken_back_a_slice_at_a_time_and_then_the_lock_ends() {
    SMALL.run(|stack| {
        let id = booting(stack, &json!({}))?;
        let machine = Machine::ready(stack, &id, 1)?;
        let snapshot = machine.store("snapshots", b"a snapshot")?;
        let packs: Vec<String> =
            (0..25_u8).map(|byte| machine.store("data", &[byte, 1])).collect::<Result<_>>()?;
        stack.api.act(&id, "sleep")?;
        machine.deliver("drained", &snapshot, &[])?.expect(200)?;
        stack.api.wait_for(&id, State::Asleep, LIMIT)?;
        let path = |name: &str| format!("/v1/workspaces/{id}/restic/data/{name}");
        for pack in &packs {
            stack.api.raw("DELETE", &path(pack), &[], None)?.expect(200)?;
        }
        let (mut restored, mut requests, mut query) = (0, 0, String::new());
        loop {
            let undelete = format!("/v1/workspaces/{id}/backups/undelete{query}");
            let undone = stack.api.call("POST", &undelete, Some(&json!({})))?.expect(200)?.json();
            restored += undone["restored"].as_u64().unwrap_or(0);
            requests += 1;
            ensure!(requests < 10, "it never ends: {undone}");
            query = undone["next_cursor"].as_str().map(|next| format!("?cursor={next}")).unwrap_or_default();
            if undone["more"] == false {
                break;
            }
        }
        ensure!(restored == 25 && requests > 1, "{restored} in {requests} requests");
        for pack in &packs {
            stack.api.raw("GET", &path(pack), &[], None)?.expect(200)?;
        }
        // No lock file stands, so nobody has the lock any more: a wake waits for nothing.
        stack.api.act(&id, "wake")?;
        let woken = stack.api.get(&id)?;
        ensure!(woken.state != State::Asleep, "{}", ebbtide_system_tests::api::shown(&woken));
        discarded(stack, &id)
    });
}

#[test]
fn what_was_deleted_is_gone_for_good_after_its_days() -> Result<()> {
    let stack = without_machines("trash", quick_with(json!({ "undo": "3s" })))?;
    let id = booting(&stack, &json!({ "env": { "TOKEN": "of somebody" } }))?;
    let machine = Machine::ready(&stack, &id, 1)?;
    let (kept, gone) = (machine.store("snapshots", b"kept")?, machine.store("snapshots", b"gone")?);
    stack.api.act(&id, "sleep")?;
    machine.deliver("drained", &kept, &[])?.expect(200)?;
    stack.api.wait_for(&id, State::Asleep, LIMIT)?;
    let path = |name: &str| format!("/v1/workspaces/{id}/restic/snapshots/{name}");
    stack.api.raw("DELETE", &path(&gone), &[], None)?.expect(200)?;
    ebbtide_system_tests::wait::until("the cron to purge it", LIMIT, || {
        let log = std::fs::read_to_string(stack.log("worker")).map_err(|error| error.to_string())?;
        if log.contains("deleted backups are gone for good") { Ok(()) } else { Err("not yet".to_owned()) }
    })?;
    let undelete = format!("/v1/workspaces/{id}/backups/undelete");
    let undone = stack.api.call("POST", &undelete, Some(&json!({})))?.expect(200)?.json();
    ensure!(undone["restored"] == 0 && undone["more"] == false, "{undone}");
    ensure!(stack.api.raw("GET", &path(&gone), &[], None)?.status == 404, "it is back");
    stack.api.raw("GET", &path(&kept), &[], None)?.expect(200)?;

    // The workspace itself: with its keys nothing opens any more, wherever a copy of its backups lies.
    let keys = ["key.json", "secrets.json"].map(|name| format!("workspaces/owner/{id}/{name}"));
    ensure!(keys.iter().all(|key| stack.has_object(key)), "it had no keys of its own");
    stack.api.delete(&id, Discard::Work)?;
    stack.api.wait(&id, "its keys shredded", LIMIT, |_| keys.iter().all(|key| !stack.has_object(key)))?;
    stack.stop()
}

#[test]
fn a_machine_that_has_spent_its_rows_is_put_to_sleep_when_it_is_idle_and_ends_with_its_last_backup()
-> Result<()> {
    let rows = json!({ "machine_rows_per_hour": 60, "machine_rows_reserve": 400 });
    let stack = without_machines("debt", quick_with(rows))?;
    let id = booting(&stack, &json!({}))?;
    let machine = Machine::ready(&stack, &id, 1)?;
    let snapshot = machine.store("snapshots", b"a snapshot")?;
    let refused = (0..400).find_map(|number: u32| {
        let content = number.to_be_bytes();
        let answer = machine.backup("POST", &format!("index/{}", name(&content)), Some(&content));
        answer.map(|answer| (answer.status != 200).then_some(answer)).transpose()
    });
    check("an object too many", &refused.context("no end of rows")??, 429, "rate_limited")?;
    let why = json!({
        "verdict": "idle", "because": ["nothing happens any more"], "since_secs": 60, "sleeps_in_secs": 0,
        "signals": [], "leases": [], "budgets": [],
    });
    let idle = json!({ "generation": 1, "ready": true, "boot_progress": 1, "why": why });
    machine.api.call("POST", "/v1/vm/heartbeat", Some(&idle))?.expect(200)?;
    stack.api.wait_for(&id, State::Draining, LIMIT)?;
    let answer = machine.deliver("drained", &snapshot, &[])?.expect(200)?;
    ensure!(answer.json()["status"] == "verified", "{}", answer.text());
    stack.api.wait_for(&id, State::Asleep, LIMIT)?;
    stack.stop()
}
