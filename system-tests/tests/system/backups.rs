//! Backups against whoever wants to spoil them, and keys that change underneath: real machines, stock restic.

use crate::common::{LIMIT, cloning, quick, quick_with, ready, with_machines};
use crate::owner_backups::{Restic, kit, snapshot_now};
use anyhow::{Context, Result, ensure};
use ebbtide_api::backups::Persistence;
use ebbtide_api::workspace::State;
use ebbtide_system_tests::Stack;
use ebbtide_system_tests::api::Discard;
use ebbtide_system_tests::wait;
use serde_json::json;
use sha2::{Digest, Sha256};

/// Stores an object with a real machine's own token, as whoever took the machine over could.
fn plant(stack: &Stack, id: &str, kind: &str, content: &[u8]) -> Result<u16> {
    let machine = stack.machine_of(id)?;
    let token = machine.shell("root", "cat /run/ebbtide/vm-token")?;
    let path = format!("/v1/vm/backup/{kind}/{}", hex::encode(Sha256::digest(content)));
    Ok(stack.api.with_token(token.trim()).raw("POST", &path, &[], Some(content))?.status)
}

fn read(stack: &Stack, id: &str, file: &str) -> Result<String> {
    stack.machine_of(id)?.shell("ebb", &format!("cat {file}"))
}

#[test]
fn garbage_that_a_hijacked_machine_plants_stops_neither_a_wake_nor_a_restore_nor_the_next_backup()
-> Result<()> {
    let stack = with_machines("garbage", quick())?;
    let id = ready(&stack, &cloning())?.id.to_string();
    stack.machine_of(&id)?.shell("ebb", "echo kept > /workspaces/ebbtide/kept")?;
    snapshot_now(&stack, &id)?;
    for kind in ["index", "snapshots", "data"] {
        let status = plant(&stack, &id, kind, format!("garbage in {kind}, of no use to anybody").as_bytes())?;
        ensure!(status == 200, "planting in {kind} answered {status}: the test proves nothing");
    }
    ensure!(plant(&stack, &id, "keys", b"{}")? == 403, "keys/ is open");
    ensure!(plant(&stack, &id, "locks", b"{}")? == 403, "a machine's lock would keep others waiting");
    // The machine goes without another receipt.
    stack.api.delete(&id, Discard::Work)?;
    stack.api.wait_for(&id, State::Deleted, LIMIT)?;
    stack.api.act(&id, "undelete")?;
    stack.api.wait_for(&id, State::Asleep, LIMIT)?;

    let kit = kit(&stack, &id)?;
    let target = stack.directory().join("by-restic");
    let restic = Restic::of_kit(&kit);
    restic.run(&["--no-lock", "check", "--read-data"])?;
    restic.run(&["--no-lock", "restore", "latest", "--target", &target.to_string_lossy()])?;
    let restored = std::fs::read_to_string(target.join("workspaces/ebbtide/kept"))?;
    ensure!(restored == "kept\n", "{restored}");
    // The test would see nothing if the garbage did no harm: without a receipt it does.
    let bare = Restic { repository: kit.repository.replace("as-of/latest/", ""), ..restic };
    ensure!(bare.run(&["--no-lock", "check"]).is_err(), "the garbage does no harm");

    stack.api.act(&id, "wake")?;
    stack.api.wait_for(&id, State::Running, LIMIT)?;
    ensure!(read(&stack, &id, "/workspaces/ebbtide/kept")? == "kept", "the wake brought something else");
    stack.machine_of(&id)?.shell("ebb", "echo more > /workspaces/ebbtide/more")?;
    stack.api.act(&id, "sleep")?;
    stack.api.wait_for(&id, State::Asleep, LIMIT)?;
    stack.api.act(&id, "wake")?;
    stack.api.wait_for(&id, State::Running, LIMIT)?;
    ensure!(read(&stack, &id, "/workspaces/ebbtide/more")? == "more", "the second backup is not whole");
    stack.stop()
}

#[test]
fn a_backup_that_does_not_fit_its_quota_says_so_and_keeps_its_machine() -> Result<()> {
    let stack = with_machines("full", quick_with(json!({ "repository_quota_bytes": 20_000 })))?;
    let id = ready(&stack, &cloning())?.id.to_string();
    stack.api.act(&id, "sleep")?;
    stack.api.wait(&id, "waiting for room", LIMIT, |workspace| {
        let why = workspace.waiting_for.as_deref().unwrap_or_default();
        workspace.state == State::Draining && why.contains("20000 bytes")
    })?;
    ensure!(stack.cloud.inventory()?.live_of(&id).len() == 1, "the machine went with its work");
    ensure!(stack.api.get(&id)?.last_backup.is_none(), "half a backup counts");
    stack.stop()
}

#[test]
fn what_keeps_a_last_backup_from_being_whole_is_named_once_and_mended_on_the_machine() -> Result<()> {
    let stack = with_machines("mended", quick())?;
    let id = ready(&stack, &cloning())?.id.to_string();
    let attribute = |call: &str| -> Result<String> {
        let python = format!("import os; os.{call}");
        stack.machine_of(&id)?.shell("ebb", &format!("cd /workspaces/ebbtide && python3 -c '{python}'"))
    };
    // The format holds names of attributes in UTF-8 alone.
    attribute("setxattr(\"README.md\", b\"user.caf\\xe9\", b\"x\")")?;
    let ticks = "setsid sh -c 'while :; do date +%s%N > /tmp/tick; sleep 0.1; done' > /dev/null 2>&1 &";
    stack.machine_of(&id)?.shell("ebb", ticks)?;
    stack.api.act(&id, "sleep")?;
    stack.api.wait(&id, "what is to be mended, and how", LIMIT, |workspace| {
        let why = workspace.waiting_for.as_deref().unwrap_or_default();
        workspace.state == State::Draining && why.contains("README.md") && why.contains("wake the workspace")
    })?;
    wait::until("another last backup", LIMIT, || {
        let log = stack.api.call("GET", &format!("/v1/workspaces/{id}/log"), None);
        let log = log.and_then(|answer| answer.expect(200)).map_err(|error| format!("{error:#}"))?.json();
        if log.to_string().matches("for the last backup").count() > 1 { Ok(()) } else { Err(log.to_string()) }
    })?;
    let named = |event: &ebbtide_api::history::Event| event.because.contains("could not be backed up");
    let told = stack.api.events(&id)?.iter().filter(|event| named(event)).count();
    ensure!(told == 1, "told {told} times");
    stack.api.act(&id, "wake")?;
    let awake = stack.api.wait_for(&id, State::Running, LIMIT)?;
    ensure!(awake.generation.0 == 1, "it is another machine");
    let tick = || read(&stack, &id, "/tmp/tick");
    let before = tick()?;
    wait::until("its processes to go on", LIMIT, || {
        let now = tick().map_err(|error| format!("{error:#}"))?;
        if now != before && !now.is_empty() { Ok(()) } else { Err(format!("still {now}")) }
    })?;
    attribute("removexattr(\"README.md\", b\"user.caf\\xe9\")")?;
    stack.api.act(&id, "sleep")?;
    let asleep = stack.api.wait_for(&id, State::Asleep, LIMIT)?;
    ensure!(asleep.last_backup.is_some_and(|backup| !backup.partial), "what it holds is not whole");
    stack.stop()
}

#[test]
fn the_master_key_changes_under_workspaces_that_sleep_and_work() -> Result<()> {
    let mut stack = with_machines("rotation", quick())?;
    let id = ready(&stack, &cloning())?.id.to_string();
    stack.machine_of(&id)?.shell("ebb", "echo kept > /workspaces/ebbtide/kept")?;
    snapshot_now(&stack, &id)?;
    let before = kit(&stack, &id)?.password;
    stack.add_master_key()?;
    let rotate = |stack: &Stack| -> Result<serde_json::Value> {
        Ok(stack.api.call("POST", "/v1/master-key/rotate", Some(&json!({})))?.expect(200)?.json())
    };
    let first = rotate(&stack)?;
    ensure!(first["current"] == "k2" && first["rewrapped"] == 1 && first["failed"] == json!([]), "{first}");
    let second = rotate(&stack)?;
    ensure!(second["rewrapped"] == 0 && second["unchanged"] == 1, "{second}");
    ensure!(second["next_cursor"].is_null(), "{second}");
    stack.drop_old_master_keys()?;
    ensure!(kit(&stack, &id)?.password == before, "the repository has another password");
    stack.api.act(&id, "sleep")?;
    stack.api.wait_for(&id, State::Asleep, LIMIT)?;
    stack.api.act(&id, "wake")?;
    stack.api.wait_for(&id, State::Running, LIMIT)?;
    ensure!(read(&stack, &id, "/workspaces/ebbtide/kept")? == "kept", "the wake brought something else");
    let audit = stack.api.call("GET", "/v1/audit", None)?.expect(200)?.json();
    let actions: Vec<&str> = audit["entries"]
        .as_array()
        .context("no audit")?
        .iter()
        .filter_map(|entry| entry["action"].as_str())
        .collect();
    for action in ["master_key.rotate", "workspace.restore_kit"] {
        ensure!(actions.contains(&action), "{action} is not audited: {actions:?}");
    }
    stack.stop()
}

#[test]
fn who_chose_no_backups_sees_it_everywhere_and_nothing_is_ever_uploaded() -> Result<()> {
    let stack = with_machines("unkept", quick_with(json!({ "snapshot_every": "1s" })))?;
    let mut unkept = cloning();
    unkept["persistence"] = json!("none");
    let id = ready(&stack, &unkept)?.id.to_string();
    let kept = ready(&stack, &cloning())?.id.to_string();
    let seen = stack.api.get(&id)?;
    ensure!(seen.persistence == Persistence::None, "{seen:?}");
    ensure!(seen.because.contains("nothing in it is backed up"), "{}", seen.because);
    // A snapshot is due at once; the other workspace shows how long one takes here.
    stack
        .machine_of(&id)?
        .shell("ebb", "echo gone > /workspaces/ebbtide/gone; ebb why | grep 'Nothing here is backed up'")?;
    let refused = stack.machine_of(&id)?.shell("ebb", "ebb snapshot 2>&1 || true")?;
    ensure!(refused.contains("never backed up"), "{refused}");
    let path = format!("/v1/workspaces/{id}/snapshots");
    ensure!(stack.api.call("POST", &path, None)?.status == 409, "a snapshot was promised");
    // The other one says what a backup would be like, and what it leaves out.
    let machine = stack.machine_of(&kept)?;
    machine.shell("ebb", "cd /workspaces/ebbtide && echo 'docs/' > .ebbignore && ebb snapshot")?;
    let preview = machine.shell("ebb", "ebb snapshot --dry-run")?;
    ensure!(preview.contains("/workspaces/ebbtide/docs  (`docs/` in"), "{preview}");
    wait::until("a snapshot of the other, with an estimate", LIMIT, || {
        let other = stack.api.get(&kept).map_err(|error| format!("{error:#}"))?;
        let estimate = other.why.as_ref().and_then(|why| why.keeping.as_ref()?.estimate);
        let is_told = stack.api.events(&kept).map_err(|error| format!("{error:#}"))?;
        let is_told = is_told.iter().any(|event| event.because.contains("the owner's rules leave out"));
        let ok =
            other.last_backup.is_some() && is_told && estimate.is_some_and(|estimate| estimate.bytes > 0);
        if ok { Ok(()) } else { Err(ebbtide_system_tests::api::shown(&other)) }
    })?;
    stack.api.act(&id, "sleep")?;
    let asleep = stack.api.wait_for(&id, State::Asleep, LIMIT)?;
    ensure!(asleep.last_backup.is_none() && asleep.persistence == Persistence::None, "{asleep:?}");
    let stored = stack.api.call("GET", &path, None)?.expect(200)?.json();
    ensure!(stored["stored_bytes"] == 0, "something was uploaded: {stored}");
    stack.stop()
}
