//! Bad days beyond a single failed call: vendors that stay down, fail twice over or are killed, and a Worker that dies
//! in the middle of it. What counts is the world afterwards: one server at most, none that bills on, no record left.
//!
//! Servers here are entries in a table; `machines` has the bad days of real ones.

mod machines;

use crate::common::{LIMIT, nothing_bills, quick_with, servers_ever, without_machines};
use crate::turns::Turns;
use anyhow::{Context, Result, ensure};
use ebbtide_api::workspace::{Failure, State, Workspace};
use serde_json::{Value, json};
use stack::api::{Discard, shown};
use stack::http::Http;
use stack::{Stack, wait};
use std::time::Duration;

static SYSTEM: Turns = Turns::bringing_up(|| {
    let policy = quick_with(json!({ "provision_budget": "12s", "effect_timeout": "6s" }));
    without_machines("bad-days", policy)
});

const ALWAYS: u32 = 1_000_000;
const CREATE: &str = "POST /servers";

fn down() -> Value {
    json!({ "kind": "refuse", "status": 503, "code": "unavailable", "message": "maintenance" })
}

fn spawn(stack: &Stack, request: &Value) -> Result<String> {
    Ok(stack.api.create(request)?.id.to_string())
}

fn booting(stack: &Stack) -> Result<String> {
    let id = spawn(stack, &json!({}))?;
    wait::until("booting, with its names", LIMIT, || {
        let workspace = stack.api.get(&id).map_err(|error| format!("{error:#}"))?;
        let names = stack.cloud.inventory().map_err(|error| format!("{error:#}"))?.names_of(&id).len();
        let there = workspace.state == State::Booting && names == 2;
        if there { Ok(()) } else { Err(format!("{names} names, {}", shown(&workspace))) }
    })?;
    Ok(id)
}

/// Waits for `failed`, and says why it is so.
fn failure(stack: &Stack, id: &str, limit: Duration) -> Result<Failure> {
    let wish = |workspace: &Workspace| workspace.state == State::Failed;
    let failed = stack.api.wait(id, "failed", limit, wish)?;
    let failure = failed.failure.context("failed without a failure")?;
    ensure!(!failure.message.is_empty() && !failure.hint.is_empty(), "{failure:?}");
    Ok(failure)
}

fn discarded(stack: &Stack, id: &str) -> Result<()> {
    stack.api.delete(id, Discard::Work)?;
    stack.api.wait_for(id, State::Deleted, LIMIT)?;
    nothing_bills(stack, id)
}

/// Calls that the vendors got since `seen` entries, as `POST /servers 201`.
fn calls_since(stack: &Stack, seen: usize) -> Result<Vec<String>> {
    let text = |entry: &Value| {
        let part = |field: &str| entry[field].as_str().unwrap_or_default().to_owned();
        format!("{} {} {}", part("method"), part("path"), entry["status"])
    };
    Ok(stack.cloud.journal()?.iter().skip(seen).map(text).collect())
}

#[test]
fn a_creation_that_a_proxy_repeats_or_times_out_is_one_server() {
    SYSTEM.run(|stack| {
        for fault in [
            json!({ "kind": "duplicate" }),
            json!({ "kind": "landed_then_error", "status": 504 }),
            json!({ "kind": "landed_then_error", "status": 429 }),
            json!({ "kind": "landed_then_error", "status": 422 }),
        ] {
            stack.cloud.fault("hetzner", CREATE, 1, &fault)?;
            let id = spawn(stack, &json!({}))?;
            let end = wait::until(&format!("rest after {fault}"), LIMIT, || {
                let workspace = stack.api.get(&id).map_err(|error| format!("{error:#}"))?;
                let rests = matches!(workspace.state, State::Booting | State::Failed);
                if rests { Ok(workspace) } else { Err(shown(&workspace)) }
            })?;
            let live = stack.cloud.inventory()?.live_of(&id).len();
            let wanted = usize::from(end.state == State::Booting);
            ensure!(live == wanted, "{fault}: {live} servers while {}", shown(&end));
            servers_ever(stack, &id, 1)?;
            discarded(stack, &id)?;
            stack.cloud.clear_faults()?;
        }
        Ok(())
    });
}

#[test]
fn a_server_that_landed_while_the_provider_went_blind_is_found_and_deleted() {
    SYSTEM.run(|stack| {
        // Every answer is lost for longer than provisioning may take: it ends, but not without having looked.
        stack.cloud.fault("hetzner", CREATE, ALWAYS, &json!({ "kind": "landed_then_error" }))?;
        // Counted from the second look on: the first one is what allows the creation.
        let blind =
            json!({ "provider": "hetzner", "method": "GET", "path": "/servers", "skip": 1, "fault": down() });
        let rule = Http::default().send(
            "POST",
            &format!("{}/faults", stack.cloud.addresses.sim),
            &[("content-type", "application/json")],
            Some(blind.to_string().as_bytes()),
        )?;
        rule.expect(201)?;
        let id = spawn(stack, &json!({}))?;
        let stuck = stack.api.wait(&id, "destroying", LIMIT, |w| w.state == State::Destroying)?;
        ensure!(stack.cloud.inventory()?.live_of(&id).len() == 1, "nothing landed");
        ensure!(stuck.waiting_for.is_some() || !stuck.because.is_empty(), "{stuck:?}");
        stack.cloud.clear_faults()?;
        let failure = failure(stack, &id, LIMIT)?;
        ensure!(failure.code == "provider_unavailable", "{failure:?}");
        nothing_bills(stack, &id)?;
        servers_ever(stack, &id, 1)
    });
}

#[test]
fn a_provider_that_stays_down_fails_the_workspace_which_can_be_retried() {
    SYSTEM.run(|stack| {
        stack.cloud.fault("hetzner", CREATE, ALWAYS, &down())?;
        let id = spawn(stack, &json!({}))?;
        let waiting = stack.api.wait(&id, "waiting", LIMIT, |w| {
            w.waiting_for.as_deref().is_some_and(|text| text.contains("provider"))
        })?;
        ensure!(waiting.state == State::Provisioning, "{}", shown(&waiting));
        let failure = failure(stack, &id, LIMIT)?;
        ensure!(failure.code == "provider_unavailable", "{failure:?}");
        servers_ever(stack, &id, 0)?;
        stack.cloud.clear_faults()?;
        stack.api.act(&id, "retry")?;
        stack.api.wait(&id, "booting after a retry", LIMIT, |w| w.state == State::Booting)?;
        servers_ever(stack, &id, 1)?;
        discarded(stack, &id)
    });
}

#[test]
fn what_the_user_chose_is_never_replaced_and_each_shape_of_no_room_has_its_code() {
    SYSTEM.run(|stack| {
        for (shape, code) in [
            ("resource_unavailable", "capacity"),
            ("unsupported_location", "capacity"),
            ("resource_limit_exceeded", "limit"),
        ] {
            let fault = json!({ "kind": "capacity", "shape": shape });
            stack.cloud.fault("hetzner", CREATE, ALWAYS, &fault)?;
            let id = spawn(stack, &json!({ "size": "cx33", "location": "nbg1" }))?;
            let failure = failure(stack, &id, LIMIT)?;
            ensure!(failure.code == code, "{shape}: {failure:?}");
            let workspace = stack.api.get(&id)?;
            ensure!(
                (workspace.size.as_str(), workspace.location.as_str()) == ("cx33", "nbg1"),
                "{workspace:?}"
            );
            servers_ever(stack, &id, 0)?;
            stack.cloud.clear_faults()?;
            discarded(stack, &id)?;
        }
        Ok(())
    });
}

#[test]
fn when_every_place_is_sold_out_the_default_fails_by_name_and_not_for_ever() {
    SYSTEM.run(|stack| {
        let seen = stack.cloud.journal()?.len();
        let fault = json!({ "kind": "capacity", "shape": "resource_unavailable" });
        stack.cloud.fault("hetzner", CREATE, ALWAYS, &fault)?;
        let id = spawn(stack, &json!({}))?;
        let failure = failure(stack, &id, LIMIT)?;
        ensure!(failure.code == "capacity", "{failure:?}");
        let tried = calls_since(stack, seen)?.iter().filter(|call| call.starts_with(CREATE)).count();
        ensure!((2..=6).contains(&tried), "{tried} places were tried");
        servers_ever(stack, &id, 0)?;
        stack.cloud.clear_faults()?;
        discarded(stack, &id)
    });
}

#[test]
fn an_error_on_the_names_does_not_stop_the_servers_deletion() {
    SYSTEM.run(|stack| {
        let id = booting(stack)?;
        let broken = json!({ "kind": "refuse", "status": 500, "code": "10000" });
        stack.cloud.fault("cloudflare", "GET /**", ALWAYS, &broken)?;
        stack.cloud.fault("cloudflare", "DELETE /**", ALWAYS, &broken)?;
        stack.api.delete(&id, Discard::Work)?;
        wait::until("the server to go first", LIMIT, || {
            let inventory = stack.cloud.inventory().map_err(|error| format!("{error:#}"))?;
            let (servers, names) = (inventory.live_of(&id).len(), inventory.names_of(&id).len());
            if (servers, names) == (0, 2) { Ok(()) } else { Err(format!("{servers} servers, {names} names")) }
        })?;
        let waiting = stack.api.wait(&id, "waiting for the names", LIMIT, |w| {
            w.waiting_for.as_deref().is_some_and(|text| text.contains("DNS"))
        })?;
        ensure!(waiting.state == State::Destroying, "{}", shown(&waiting));
        stack.cloud.clear_faults()?;
        stack.api.wait_for(&id, State::Deleted, LIMIT)?;
        nothing_bills(stack, &id)
    });
}

#[test]
fn names_that_cannot_be_made_yet_are_what_a_new_workspace_waits_for() {
    SYSTEM.run(|stack| {
        stack.cloud.fault("cloudflare", "POST /**", ALWAYS, &down())?;
        let id = spawn(stack, &json!({}))?;
        stack.api.wait(&id, "waiting for its names", LIMIT, |w| {
            w.state == State::Booting && w.waiting_for.as_deref().is_some_and(|text| text.contains("DNS"))
        })?;
        stack.cloud.clear_faults()?;
        wait::until("its names", LIMIT, || {
            let names = stack.cloud.inventory().map_err(|error| format!("{error:#}"))?.names_of(&id);
            if names.len() == 2 { Ok(()) } else { Err(format!("{names:?}")) }
        })?;
        discarded(stack, &id)
    });
}

#[test]
fn a_deletion_that_is_answered_404_or_stays_locked_for_a_while_is_done_in_the_end() {
    SYSTEM.run(|stack| {
        for (times, fault) in [
            (1, json!({ "kind": "landed_then_error", "status": 404 })),
            (4, json!({ "kind": "refuse", "status": 423, "code": "locked" })),
            (2, json!({ "kind": "lost_request" })),
        ] {
            let id = booting(stack)?;
            stack.cloud.fault("hetzner", "DELETE /servers/*", times, &fault)?;
            discarded(stack, &id)?;
            stack.cloud.clear_faults()?;
        }
        Ok(())
    });
}

#[test]
fn a_worker_killed_in_the_middle_of_a_creation_adopts_what_landed() {
    SYSTEM.run(|stack| {
        let seen = stack.cloud.journal()?.len();
        // The answer takes longer than the Worker lives.
        stack.cloud.fault("hetzner", CREATE, 1, &json!({ "kind": "slow", "ms": 20_000 }))?;
        let id = spawn(stack, &json!({}))?;
        wait::until("the call", LIMIT, || {
            let calls = calls_since(stack, seen).map_err(|error| format!("{error:#}"))?;
            calls
                .iter()
                .any(|call| call.starts_with(CREATE))
                .then_some(())
                .ok_or_else(|| format!("{calls:?}"))
        })?;
        stack.restart_worker()?;
        stack.api.wait_for(&id, State::Booting, LIMIT)?;
        servers_ever(stack, &id, 1)?;
        discarded(stack, &id)?;
        servers_ever(stack, &id, 1)
    });
}

#[test]
fn a_worker_killed_while_it_waits_for_the_provider_goes_on_waiting() {
    SYSTEM.run(|stack| {
        stack.cloud.fault("hetzner", CREATE, ALWAYS, &down())?;
        let id = spawn(stack, &json!({}))?;
        stack.api.wait(&id, "waiting", LIMIT, |w| w.waiting_for.is_some())?;
        stack.crash_worker();
        stack.cloud.clear_faults()?;
        stack.restart_worker()?;
        stack.api.wait_for(&id, State::Booting, LIMIT)?;
        // And while it deletes what is locked.
        stack.cloud.fault(
            "hetzner",
            "DELETE /servers/*",
            ALWAYS,
            &json!({ "kind": "refuse", "status": 423, "code": "locked" }),
        )?;
        stack.api.delete(&id, Discard::Work)?;
        stack
            .api
            .wait(&id, "destroying", LIMIT, |w| w.state == State::Destroying && w.waiting_for.is_some())?;
        stack.crash_worker();
        stack.cloud.clear_faults()?;
        stack.restart_worker()?;
        stack.api.wait_for(&id, State::Deleted, LIMIT)?;
        nothing_bills(stack, &id)?;
        servers_ever(stack, &id, 1)
    });
}

/// Kills the local cloud's own process, as a crash of the vendor would.
fn crash_cloud(stack: &Stack) -> Result<()> {
    let data = stack.directory().join("cloud");
    let wanted = format!("serve --data-dir {}", data.display());
    let entries = std::fs::read_dir("/proc")?.flatten();
    let pid = entries
        .filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok())
        .find(|pid| {
            let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            String::from_utf8_lossy(&line).replace('\0', " ").contains(&wanted)
        })
        .context("the local cloud does not run")?;
    stack::process::run("kill", |kill| kill.args(["-KILL", &pid.to_string()]))?;
    wait::until("the local cloud to be dead", LIMIT, || match stack.cloud.inventory() {
        Ok(_) => Err("it answers".into()),
        Err(_) => Ok(()),
    })
}

#[test]
fn vendors_that_crash_and_come_back_find_nothing_lost_and_nothing_doubled() {
    SYSTEM.run(|stack| {
        let id = booting(stack)?;
        crash_cloud(stack)?;
        // Both wishes are taken although nobody can carry them out now.
        let other = spawn(stack, &json!({}))?;
        stack.api.delete(&id, Discard::Work)?;
        stack.api.wait(&other, "waiting", LIMIT, |w| w.waiting_for.is_some())?;
        stack.restart_cloud()?;
        stack.api.wait_for(&other, State::Booting, LIMIT)?;
        stack.api.wait_for(&id, State::Deleted, LIMIT)?;
        for id in [&id, &other] {
            servers_ever(stack, id, 1)?;
        }
        nothing_bills(stack, &id)?;
        discarded(stack, &other)
    });
}

#[test]
fn a_server_that_somebody_else_deleted_is_no_obstacle() {
    SYSTEM.run(|stack| {
        let id = booting(stack)?;
        let server = stack.cloud.inventory()?.live_of(&id)[0].id;
        // As its owner would in the provider's console.
        let settings = std::fs::read_to_string(stack.directory().join("worker.env"))?;
        let token = settings
            .lines()
            .find_map(|line| line.strip_prefix("HETZNER_TOKEN='")?.strip_suffix('\''))
            .context("no token")?;
        let url = format!("{}/servers/{server}", stack.cloud.addresses.hetzner);
        let authorization = format!("Bearer {token}");
        // Locked for as long as its creation runs.
        wait::until("the deletion", LIMIT, || {
            let answer = Http::default().send("DELETE", &url, &[("authorization", &authorization)], None);
            answer.and_then(|answer| answer.expect(200)).map_err(|error| format!("{error:#}"))
        })?;
        discarded(stack, &id)?;
        servers_ever(stack, &id, 1)
    });
}
