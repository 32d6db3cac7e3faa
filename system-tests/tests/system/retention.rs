//! Old backups go by themselves, with real machines: what is kept stays whole, for us and for stock restic.

use crate::common::{LIMIT, cloning, quick, quick_with, ready, with_machines};
use crate::owner_backups::{Restic, kit, snapshot_now};
use crate::slots::{self, Work};
use crate::uploads::{Frozen, listed, stored};
use anyhow::{Context, Result, ensure};
use ebbtide_api::EventCode;
use ebbtide_api::workspace::{State, StepState};
use ebbtide_system_tests::{Stack, wait};
use serde_json::{Value, json};

fn change(stack: &Stack, id: &str, text: &str) -> Result<()> {
    let command = format!(
        "head -c 2000000 /dev/urandom > /workspaces/ebbtide/big; echo {text} > /workspaces/ebbtide/file"
    );
    stack.machine_of(id)?.shell("ebb", &command).map(drop)
}

fn asleep(stack: &Stack, id: &str) -> Result<()> {
    stack.api.act(id, "sleep")?;
    stack.api.wait_for(id, State::Asleep, LIMIT).map(drop)
}

#[test]
fn old_snapshots_go_at_a_wake_and_every_branch_that_is_kept_stays_whole() -> Result<()> {
    let rule = json!({ "keep_last": 2, "hourly": 0, "daily": 0, "weekly": 0 });
    let stack = with_machines("retention", quick_with(json!({ "retention": rule, "tidy_least": 1 })))?;
    let id = ready(&stack, &cloning())?.id.to_string();
    let mut snapshots = Vec::new();
    for text in ["one", "two", "three", "four"] {
        change(&stack, &id, text)?;
        snapshots.push(snapshot_after(&stack, &id)?);
    }
    let password = kit(&stack, &id)?.password;
    asleep(&stack, &id)?;
    let list = listed(&stack, &id)?;
    ensure!(list["due"].as_u64() >= Some(1), "{list}");
    // Another branch: on the third. Whoever goes back to an older one may need all that is there: nothing is removed.
    let body = json!({ "snapshot": snapshots[2] });
    stack.api.call("POST", &format!("/v1/workspaces/{id}/wake"), Some(&body))?.expect(202)?;
    let awake = stack.api.wait_for(&id, State::Running, LIMIT)?;
    ensure!(!awake.boot.iter().any(|step| step.name == "tidy"), "{:?}", awake.boot);
    ensure!(stack.machine_of(&id)?.shell("ebb", "cat /workspaces/ebbtide/file")? == "three");
    change(&stack, &id, "branch")?;
    asleep(&stack, &id)?;
    let before = stored(&stack, &id)?;
    stack.api.act(&id, "wake")?;
    let awake = stack.api.wait_for(&id, State::Running, LIMIT)?;
    let step = awake.boot.iter().find(|step| step.name == "tidy").context("no step")?;
    ensure!(step.state == StepState::Done, "{step:?}");
    ensure!(stack.machine_of(&id)?.shell("ebb", "cat /workspaces/ebbtide/file")? == "branch");
    let after = stored(&stack, &id)?;
    ensure!(after + 1_500_000 < before, "{after} of {before} bytes are left");
    ensure!(listed(&stack, &id)?["due"] == 0, "{}", listed(&stack, &id)?);
    let told = stack.api.events(&id)?.iter().any(|event| event.code == Some(EventCode::OldBackupsRemoved));
    ensure!(told, "nobody was told");

    // What that machine backs up is proved by a fresh reader, on what is left.
    change(&stack, &id, "five")?;
    snapshot_after(&stack, &id)?;
    asleep(&stack, &id)?;
    let restic = Restic::of_owner(&stack, &id, &password);
    restic.run(&["check", "--read-data"])?;
    let of = |as_of: &str, snapshot: &str| {
        restic.as_of(as_of).run(&["--no-lock", "dump", snapshot, "/workspaces/ebbtide/file"])
    };
    ensure!(of("latest", "latest")? == "five\n");
    ensure!(of(&snapshots[2], &snapshots[2])? == "three\n", "the base of the branch");
    ensure!(of(&snapshots[0], &snapshots[0]).is_err(), "the first is still there");
    // And back: packs before indexes before snapshots, so that whatever is listed is whole.
    let path = format!("/v1/workspaces/{id}/backups/undelete");
    wait::until("everything removed to be back", LIMIT, || {
        let undone = || -> Result<Value> {
            let undone = stack.api.call("POST", &path, Some(&json!({})))?.expect(200)?.json();
            if undone["more"] == true {
                restic.run(&["--no-lock", "check"])?;
            }
            Ok(undone)
        };
        let undone = undone().map_err(|error| format!("{error:#}"))?;
        if undone["more"] == false { Ok(()) } else { Err(undone.to_string()) }
    })?;
    ensure!(of(&snapshots[0], &snapshots[0])? == "one\n");
    // Its owner prunes what is verified, and makes the room that the machine left.
    let verified = restic.as_of("verified");
    let before = stored(&stack, &id)?;
    // The machine has looked at the same some seconds ago: what it was shown then must not be taken for it.
    let newest = listed(&stack, &id)?["snapshots"][0]["snapshot"].as_str().unwrap_or_default().to_owned();
    let shown = verified.run(&["--no-lock", "snapshots"])?;
    ensure!(shown.contains(newest.get(..8).context("no snapshot")?), "{newest} is not in {shown}");
    verified.run(&["forget", "--prune", "--max-unused", "0", &snapshots[0], &snapshots[1]])?;
    ensure!(stored(&stack, &id)? + 3_000_000 < before, "{} of {before} bytes", stored(&stack, &id)?);
    restic.run(&["check", "--read-data"])?;
    ensure!(of("latest", "latest")? == "five\n");
    ensure!(of(&snapshots[2], &snapshots[2])? == "three\n");
    stack.stop()
}

/// Takes a snapshot and waits until the newest is another.
fn snapshot_after(stack: &Stack, id: &str) -> Result<String> {
    let newest = || -> Result<Value> { Ok(listed(stack, id)?["snapshots"][0]["snapshot"].clone()) };
    let before = newest()?;
    stack.api.call("POST", &format!("/v1/workspaces/{id}/snapshots"), Some(&json!({})))?.expect(202)?;
    wait::until("another newest snapshot", LIMIT, || {
        let now = newest().map_err(|error| format!("{error:#}"))?;
        let other = now.as_str().filter(|_| now != before).map(str::to_owned);
        other.ok_or_else(|| now.to_string())
    })
}

#[test]
fn a_prune_beside_a_writer_that_is_frozen_in_the_middle_is_refused_and_nothing_is_lost() -> Result<()> {
    slots::take(Work::Long);
    let stack = with_machines("frozen", quick())?;
    let id = ready(&stack, &cloning())?.id.to_string();
    change(&stack, &id, "one")?;
    let first = snapshot_now(&stack, &id)?;
    let restic = Restic::of_owner(&stack, &id, &kit(&stack, &id)?.password);
    stack.machine_of(&id)?.shell("ebb", "echo two > /workspaces/ebbtide/file")?;
    let frozen = Frozen::in_the_middle(&stack, &id)?;
    let refused = restic.run(&["forget", "--keep-last", "1", "--prune"]);
    let lock = "0".repeat(64);
    let path = format!("/v1/workspaces/{id}/restic/locks/{lock}");
    let said = stack.api.raw("POST", &path, &[], Some(b"x"))?;
    let writing = listed(&stack, &id)?;
    frozen.thaw()?;
    ensure!(refused.is_err(), "a prune went on beside a writer");
    ensure!(said.status == 403 && said.text().contains("while no machine exists"), "{}", said.text());
    ensure!(writing["snapshots"].as_array().map(Vec::len) == Some(1), "it was not in the middle: {writing}");
    wait::until("the snapshot of the writer", LIMIT, || {
        let now = listed(&stack, &id).map_err(|error| format!("{error:#}"))?;
        if now["snapshots"].as_array().map(Vec::len) == Some(2) { Ok(()) } else { Err(now.to_string()) }
    })?;
    asleep(&stack, &id)?;
    restic.run(&["check", "--read-data"])?;
    ensure!(restic.run(&["--no-lock", "dump", "latest", "/workspaces/ebbtide/file"])? == "two\n");
    ensure!(restic.run(&["--no-lock", "dump", &first, "/workspaces/ebbtide/file"])? == "one\n");
    // What restic puts in a snapshot's place no machine has verified: no wake chooses it, and the newest is still known.
    restic.run(&["tag", "--add", "mine", &first])?;
    let known: Vec<Value> = listed(&stack, &id)?["snapshots"].as_array().cloned().unwrap_or_default();
    ensure!(known.len() == 1 && known[0]["snapshot"] != first, "{known:?}");
    ensure!(restic.run(&["--no-lock", "snapshots", "--tag", "mine"])?.contains("1 snapshots"), "no tag");
    stack.stop()
}

#[test]
fn a_tidying_that_meets_a_damaged_object_removes_nothing_says_so_and_stops_no_boot() -> Result<()> {
    let rule = json!({ "keep_last": 2, "hourly": 0, "daily": 0, "weekly": 0 });
    let stack = with_machines("damaged", quick_with(json!({ "retention": rule, "tidy_least": 1 })))?;
    let id = ready(&stack, &cloning())?.id.to_string();
    let packs = || -> Result<Vec<String>> {
        let path = format!("/v1/workspaces/{id}/restic/data/");
        let list = stack.api.raw("GET", &path, &[], None)?.expect(200)?.json();
        Ok(list.as_array().into_iter().flatten().filter_map(|name| Some(name.as_str()?.to_owned())).collect())
    };
    change(&stack, &id, "one")?;
    snapshot_after(&stack, &id)?;
    let before = packs()?;
    change(&stack, &id, "two")?;
    let older = snapshot_after(&stack, &id)?;
    let own: Vec<String> = packs()?.into_iter().filter(|pack| !before.contains(pack)).collect();
    change(&stack, &id, "three")?;
    asleep(&stack, &id)?;
    let due = listed(&stack, &id)?["due"].clone();
    ensure!(due.as_u64() >= Some(1), "{due} are due");
    // What the older of the two that stay needs, trees and all; the newest stands without it.
    ensure!(!own.is_empty(), "{older} has no pack of its own");
    for pack in &own {
        let key = format!("workspaces/owner/{id}/restic/data/{pack}");
        stack.plant_object(&key, "what a disk made of it")?;
    }
    let stored_before = packs()?;
    stack.api.act(&id, "wake")?;
    let awake = stack.api.wait_for(&id, State::Running, LIMIT)?;
    ensure!(stack.machine_of(&id)?.shell("ebb", "cat /workspaces/ebbtide/file")? == "three");
    let step = awake.boot.iter().find(|step| step.name == "tidy").context("no step")?;
    let names = |text: &str| own.iter().any(|pack| text.contains(pack.get(..8).unwrap_or(pack)));
    ensure!(step.state == StepState::Skipped && step.detail.as_deref().is_some_and(names), "{step:?}");
    let events = stack.api.events(&id)?;
    let notice = events.iter().find(|event| event.because.starts_with("old backups were not removed"));
    let notice = &notice.context("nobody was told")?.because;
    ensure!(names(notice), "it does not name what is damaged: {notice}");
    // It may be falling asleep again, which adds packs and makes one more due.
    ensure!(listed(&stack, &id)?["due"].as_u64() >= due.as_u64(), "{}", listed(&stack, &id)?);
    let stored_after = packs()?;
    ensure!(
        stored_before.iter().all(|pack| stored_after.contains(pack)),
        "something was removed all the same"
    );
    stack.stop()
}
