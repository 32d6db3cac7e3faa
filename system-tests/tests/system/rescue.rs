//! Machines that die or are cut off with work that is in no backup: an image is taken, the next wake salvages it, and
//! the work is back with the same bytes, whatever the provider and the Worker do in between.

use crate::common::{
    LIMIT, REPOSITORY, cloning, nothing_bills, quick_with, ready, servers_ever, with_machines,
};
use crate::turns::{Turns, discarded};
use anyhow::{Context, Result, ensure};
use ebbtide_api::workspace::{State, Workspace};
use ebbtide_api::{EventCode, FailureCode};
use ebbtide_system_tests::api::shown;
use ebbtide_system_tests::{Stack, wait};
use serde_json::{Value, json};

static SYSTEM: Turns = Turns::bringing_up(|| {
    with_machines(
        "rescue",
        quick_with(json!({
            "silence_after": "4s", "silence_question": "2s", "reboot_grace": "4s", "silence_budget": "5s",
            "drain_ceiling": "15s", "rescue_ceiling": "30s", "image_retry_cap": "2s",
        })),
    )
});

/// Where the repository is in a machine.
const PLACE: &str = "/workspaces/ebbtide";
/// The idle-agent's key in a machine.
const KEY: &str = "/var/lib/ebbtide/machine.key";

fn down(status: u16, code: &str) -> Value {
    json!({ "kind": "refuse", "status": status, "code": code, "message": "not now" })
}

/// Leaves work behind that is in no backup; says what it looks like.
fn work(stack: &Stack, id: &str) -> Result<String> {
    stack.machine_of(id)?.shell(
        "ebb",
        &format!(
            "cd {PLACE} && head -c 2M /dev/urandom > untracked.bin && echo SECRET=1 > .env && mkdir -p ~/notes && \
             echo unsaved > ~/notes/note && chmod 600 ~/notes/note && touch -d 2001-02-03T04:05:06Z ~/notes/note"
        ),
    )?;
    traces(stack, id)
}

fn traces(stack: &Stack, id: &str) -> Result<String> {
    let machine = stack.machine_of(id)?;
    let home = machine.shell("ebb", "echo ~/notes")?;
    Ok(format!("{}\n{}", machine.fingerprint(PLACE)?, machine.fingerprint(&home)?))
}

/// Cuts the machine off for good and lets its lifetime end, for which it would be kept.
fn lost_for_good(stack: &Stack, id: &str) -> Result<()> {
    let server = stack.cloud.inventory()?.live_of(id)[0].id;
    stack.cloud.machine_fault(server, "lose_network")?;
    stack.api.wait(id, "silent", LIMIT, |workspace| workspace.state == State::Silent)?;
    lifetime(stack, id, "10s")
}

fn lifetime(stack: &Stack, id: &str, lifetime: &str) -> Result<()> {
    let body = json!({ "lifetime": lifetime });
    stack.api.call("PATCH", &format!("/v1/workspaces/{id}"), Some(&body))?.expect(200).map(drop)
}

fn failed(stack: &Stack, id: &str) -> Result<Workspace> {
    stack.api.wait(id, "failed", LIMIT * 2, |workspace| workspace.state == State::Failed)
}

/// Ids of the images of a workspace at the provider.
fn images_of(stack: &Stack, id: &str) -> Result<Vec<u64>> {
    let images = stack.cloud.inventory()?.images;
    let ours = images.iter().filter(|image| image["labels"]["ebbtide-workspace"] == *id);
    Ok(ours.filter_map(|image| image["id"].as_u64()).collect())
}

fn no_image_is_left(stack: &Stack, id: &str) -> Result<()> {
    wait::until("the image to be gone", LIMIT, || {
        let left = images_of(stack, id).map_err(|error| format!("{error:#}"))?;
        if left.is_empty() { Ok(()) } else { Err(format!("{left:?}")) }
    })
}

/// What was seen of the machine that only salvages.
#[derive(Debug, Default)]
struct Seen {
    said_so: bool,
    key: Option<Vec<u8>>,
    users_programs: Vec<&'static str>,
}

/// Waits for the workspace to run, and watches the machine in between.
fn watched_wake(stack: &Stack, id: &str, salvage: u32) -> Result<Seen> {
    let mut seen = Seen::default();
    wait::until("running after the salvage", LIMIT * 2, || {
        let workspace = stack.api.get(id).map_err(|error| format!("{error:#}"))?;
        if workspace.generation.0 == salvage && workspace.state == State::Draining {
            seen.said_so |= workspace.because.starts_with("salvaging the rescue image ");
            if let Ok(machine) = stack.machine_of(id) {
                seen.key = std::fs::read(machine.path(KEY)).ok().or(seen.key.take());
                let users = ["caddy", "tmux: server"];
                seen.users_programs
                    .extend(users.into_iter().filter(|name| !machine.pids_of(name).is_empty()));
            }
        }
        match workspace.state {
            State::Running => Ok(Ok(())),
            State::Failed => Ok(Err(shown(&workspace))),
            _ => Err(shown(&workspace)),
        }
    })?
    .map_err(anyhow::Error::msg)?;
    Ok(seen)
}

#[test]
fn work_of_a_machine_that_was_cut_off_for_good_comes_back_with_the_same_bytes() {
    SYSTEM.run(|stack| {
        let id = ready(stack, &cloning())?.id.to_string();
        stack.api.call("POST", &format!("/v1/workspaces/{id}/snapshots"), Some(&json!({})))?.expect(202)?;
        stack.api.wait(&id, "backed up", LIMIT, |workspace| workspace.last_backup.is_some())?;
        let before = work(stack, &id)?;
        let first_key = std::fs::read(stack.machine_of(&id)?.path(KEY)).context("the machine's key")?;
        lost_for_good(stack, &id)?;

        let end = failed(stack, &id)?;
        let failure = end.failure.clone().context("what was not backed up is not told")?;
        ensure!(failure.code == FailureCode::Rescued, "{failure:?}");
        let image = end.rescue_image.clone().context("the image is not shown")?;
        ensure!(images_of(stack, &id)? == [image.id], "{image:?}");
        ensure!(
            image.expires_at.is_some_and(|at| failure.message.contains(&ebbtide_api::text::time(at))),
            "{failure:?}"
        );
        nothing_bills(stack, &id)?;

        lifetime(stack, &id, "1h")?;
        stack.api.act(&id, "wake")?;
        let seen = watched_wake(stack, &id, 2)?;
        ensure!(seen.said_so && seen.users_programs.is_empty(), "{seen:?}");
        ensure!(
            seen.key.as_ref().is_some_and(|key| *key != first_key),
            "the salvage used the old machine's key"
        );
        let after = traces(stack, &id)?;
        ensure!(before == after, "other bytes after the salvage:\n{before}\n--- now\n{after}");
        servers_ever(stack, &id, 3)?;
        no_image_is_left(stack, &id)?;
        ensure!(stack.api.get(&id)?.rescue_image.is_none(), "an image that is gone is still shown");

        // And once more by the ordinary way: what was salvaged is a backup like any other.
        stack.api.act(&id, "sleep")?;
        stack.api.wait_for(&id, State::Asleep, LIMIT)?;
        stack.api.act(&id, "wake")?;
        stack.api.wait_for(&id, State::Running, LIMIT)?;
        ensure!(traces(stack, &id)? == before, "other bytes after the next sleep");
        discarded(stack, &id)
    });
}

#[test]
fn a_rescue_and_its_salvage_survive_calls_that_land_and_fail_and_a_worker_that_dies() {
    SYSTEM.run(|stack| {
        let id = ready(stack, &cloning())?.id.to_string();
        let before = work(stack, &id)?;
        let landed = json!({ "kind": "landed_then_error" });
        let lost = json!({ "kind": "lost_response" });
        for (call, fault) in [
            ("POST /servers/*/actions/poweroff", &landed),
            ("POST /servers/*/actions/create_image", &landed),
            (
                "GET /images/*",
                &json!({ "kind": "refuse", "status": 502, "code": "bad_gateway", "message": "<html>" }),
            ),
            ("DELETE /servers/*", &down(423, "locked")),
            ("DELETE /servers/*", &down(409, "conflict")),
            ("DELETE /servers/*", &down(503, "unavailable")),
            ("DELETE /servers/*", &json!({ "kind": "garbage" })),
            ("DELETE /servers/*", &landed),
            ("DELETE /images/*", &down(423, "locked")),
            ("DELETE /images/*", &lost),
        ] {
            stack.cloud.fault("hetzner", call, 1, fault)?;
        }
        lost_for_good(stack, &id)?;
        stack.api.wait(&id, "past silence", LIMIT, |workspace| workspace.state != State::Silent)?;
        stack.restart_worker()?;
        let end = failed(stack, &id)?;
        ensure!(end.rescue_image.is_some(), "{}", shown(&end));
        ensure!(images_of(stack, &id)?.len() == 1, "{:?}", images_of(stack, &id)?);
        nothing_bills(stack, &id)?;

        lifetime(stack, &id, "1h")?;
        stack.cloud.fault("hetzner", "POST /servers", 1, &landed)?;
        stack.api.act(&id, "wake")?;
        stack.api.wait(&id, "salvaging", LIMIT, |workspace| workspace.state == State::Draining)?;
        stack.restart_worker()?;
        watched_wake(stack, &id, 2)?;
        ensure!(traces(stack, &id)? == before, "other bytes after the salvage");
        servers_ever(stack, &id, 3)?;
        no_image_is_left(stack, &id)?;
        discarded(stack, &id)
    });
}

#[test]
fn where_no_image_can_be_had_or_none_is_wanted_what_is_lost_is_named() {
    SYSTEM.run(|stack| {
        let refusing = json!({ "repo": REPOSITORY, "idle_timeout": "1h", "rescue_image": "refuse" });
        let chosen = ready(stack, &refusing)?.id.to_string();
        let unlucky = ready(stack, &cloning())?.id.to_string();
        let limit = down(403, "resource_limit_exceeded");
        stack.cloud.fault("hetzner", "POST /servers/*/actions/create_image", 1000, &limit)?;
        for id in [&chosen, &unlucky] {
            work(stack, id)?;
            lost_for_good(stack, id)?;
        }
        for id in [&chosen, &unlucky] {
            let end = failed(stack, id)?;
            let failure = end.failure.clone().context("what was lost is not told")?;
            ensure!(
                failure.code == FailureCode::WorkLost && failure.message.contains("never backed up"),
                "{failure:?}"
            );
            ensure!(end.rescue_image.is_none() && images_of(stack, id)?.is_empty(), "{}", shown(&end));
            nothing_bills(stack, id)?;
            discarded(stack, id)?;
        }
        Ok(())
    });
}

#[test]
fn a_salvage_that_cannot_start_leaves_the_image_and_the_last_backup_can_still_be_woken() {
    SYSTEM.run(|stack| {
        let id = ready(stack, &cloning())?.id.to_string();
        stack.api.call("POST", &format!("/v1/workspaces/{id}/snapshots"), Some(&json!({})))?.expect(202)?;
        let backed_up =
            stack.api.wait(&id, "backed up", LIMIT, |workspace| workspace.last_backup.is_some())?;
        let snapshot = backed_up.last_backup.context("a backup")?.snapshot;
        work(stack, &id)?;
        lost_for_good(stack, &id)?;
        let image = failed(stack, &id)?.rescue_image.context("no image")?.id;

        lifetime(stack, &id, "1h")?;
        let invalid = down(422, "invalid_input");
        // Wherever it is tried: what is refused at one place is tried at the next.
        stack.cloud.fault("hetzner", "POST /servers", 100, &invalid)?;
        stack.api.act(&id, "retry")?;
        let end = wait::until("the salvage to fail", LIMIT, || {
            let workspace = stack.api.get(&id).map_err(|error| format!("{error:#}"))?;
            let code = workspace.failure.as_ref().map(|failure| failure.code.clone());
            let told = workspace.state == State::Failed && code == Some(FailureCode::SalvageFailed);
            if told { Ok(workspace) } else { Err(shown(&workspace)) }
        })?;
        ensure!(end.rescue_image.as_ref().is_some_and(|kept| kept.id == image), "{}", shown(&end));
        ensure!(images_of(stack, &id)? == [image], "the image did not stay");

        stack.cloud.clear_faults()?;
        let body = json!({ "snapshot": snapshot });
        stack.api.call("POST", &format!("/v1/workspaces/{id}/wake"), Some(&body))?.expect(202)?;
        stack.api.wait(&id, "awake from the backup", LIMIT, |workspace| workspace.state == State::Running)?;
        let unsaved = stack.machine_of(&id)?.path(&format!("{PLACE}/untracked.bin"));
        ensure!(!unsaved.exists(), "the backup that was chosen holds what came after it");
        ensure!(images_of(stack, &id)? == [image], "an image that was passed over is kept");
        let told = stack.api.events(&id)?;
        let told = told.iter().any(|event| event.code == Some(EventCode::RescueImagePassedOver));
        ensure!(told, "nobody was told");
        discarded(stack, &id)
    });
}

#[test]
fn machines_that_fall_silent_together_are_not_rebooted_for_what_is_our_fault() {
    SYSTEM.run(|stack| {
        let ids: Vec<String> = (0..3)
            .map(|_| Ok(ready(stack, &json!({ "idle_timeout": "1h" }))?.id.to_string()))
            .collect::<Result<_>>()?;
        let servers: Vec<u64> =
            ids.iter().map(|id| Ok(stack.cloud.inventory()?.live_of(id)[0].id)).collect::<Result<_>>()?;
        // Off, so that each of them alone would be started at once.
        for server in &servers {
            stack.cloud.machine_fault(*server, "switch_off")?;
        }
        for id in &ids {
            wait::until("the fault to be told as ours", LIMIT, || {
                let events = stack.api.events(id).map_err(|error| format!("{error:#}"))?;
                let told = events.iter().any(|event| event.code == Some(EventCode::SilentTogether));
                if told { Ok(()) } else { Err(format!("{:?}", events.last())) }
            })?;
        }
        let switched_on = |server: &u64| -> Result<usize> {
            let path = format!("/servers/{server}/actions/poweron");
            Ok(stack.cloud.journal()?.iter().filter(|call| call["path"] == path.as_str()).count())
        };
        for server in &servers {
            ensure!(switched_on(server)? == 0, "server {server} was switched on");
        }
        // Two of them end by their owner's wish: what is left is silent alone, and is started.
        for id in &ids[1..] {
            discarded(stack, id)?;
        }
        stack.api.wait(&ids[0], "heard of again", LIMIT, |workspace| workspace.state == State::Running)?;
        ensure!(switched_on(&servers[0])? == 1, "{} times", switched_on(&servers[0])?);
        discarded(stack, &ids[0])
    });
}
