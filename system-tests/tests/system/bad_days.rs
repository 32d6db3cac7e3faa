//! Bad days beyond a single failed call: vendors that stay down, fail twice over or are killed, and a Worker that dies
//! in the middle of it. What counts is the world afterwards: one server at most, none that bills on, no record left.
//!
//! Servers here are entries in a table; `machines` has the bad days of real ones.

mod machines;
mod starts;

use crate::common::{LIMIT, nothing_bills, quick_with, servers_ever, settled, without_machines};
use crate::turns::{Turns, discarded};
use anyhow::{Context, Result, ensure};
use ebbtide_api::EventCode;
use ebbtide_api::failure::{Failure, FailureCode};
use ebbtide_api::workspace::{State, Workspace};
use ebbtide_system_tests::api::{Discard, shown};
use ebbtide_system_tests::cloud::Sale;
use ebbtide_system_tests::http::Http;
use ebbtide_system_tests::{Stack, wait};
use serde_json::{Value, json};
use std::time::Duration;

static SYSTEM: Turns = Turns::bringing_up(|| {
    let policy = quick_with(json!({ "provision_budget": "20s", "effect_timeout": "6s" }));
    without_machines("bad-days", policy)
});

const ALWAYS: u32 = 1_000_000;
const CREATE: &str = "POST /servers";

fn down() -> Value {
    json!({ "kind": "refuse", "status": 503, "code": "unavailable", "message": "maintenance" })
}

/// Adds a rule of faults in the local cloud's own words.
fn rule(stack: &Stack, rule: &Value) -> Result<()> {
    let url = format!("{}/faults", stack.cloud.addresses.sim);
    let headers = [("content-type", "application/json")];
    Http::default().send("POST", &url, &headers, Some(rule.to_string().as_bytes()))?.expect(201).map(drop)
}

fn spawn(stack: &Stack, request: &Value) -> Result<String> {
    Ok(stack.api.create(request)?.id.to_string())
}

fn booting(stack: &Stack) -> Result<String> {
    let id = spawn(stack, &json!({}))?;
    settled(stack, &id)?;
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

/// Calls that the vendors got since `seen` entries, as `POST /servers 201`.
fn calls_since(stack: &Stack, seen: usize) -> Result<Vec<String>> {
    let text = |entry: &Value| {
        let part = |field: &str| entry[field].as_str().unwrap_or_default().to_owned();
        format!("{} {} {}", part("method"), part("path"), entry["status"])
    };
    Ok(stack.cloud.journal()?.iter().skip(seen).map(text).collect())
}

/// Spawns as many workspaces as there are faults, so that each call that is counted meets one of them.
fn spawn_into(stack: &Stack, provider: &str, call: &str, faults: &[Value]) -> Result<Vec<String>> {
    for fault in faults {
        stack.cloud.fault(provider, call, 1, fault)?;
    }
    faults.iter().map(|_| spawn(stack, &json!({}))).collect()
}

#[test]
fn a_creation_that_fails_after_landing_or_gets_lost_or_comes_twice_is_one_server() {
    SYSTEM.run(|stack| {
        let faults = [
            json!({ "kind": "landed_then_error" }),
            json!({ "kind": "landed_then_error", "status": 504 }),
            json!({ "kind": "landed_then_error", "status": 429 }),
            json!({ "kind": "landed_then_error", "status": 422 }),
            json!({ "kind": "lost_response" }),
            json!({ "kind": "lost_request" }),
            json!({ "kind": "duplicate" }),
            json!({ "kind": "rate_limited", "retry_after_secs": 1 }),
            down(),
        ];
        for id in spawn_into(stack, "hetzner", CREATE, &faults)? {
            let end = wait::until("rest", LIMIT, || {
                let workspace = stack.api.get(&id).map_err(|error| format!("{error:#}"))?;
                let rests = matches!(workspace.state, State::Booting | State::Failed);
                if rests { Ok(workspace) } else { Err(shown(&workspace)) }
            })?;
            // Only what the provider calls our own mistake may fail; then its server is gone.
            let live = stack.cloud.inventory()?.live_of(&id).len();
            ensure!(live == usize::from(end.state == State::Booting), "{live} servers while {}", shown(&end));
            // On a slow machine its time may be over before the first call gets through.
            let ever = stack.cloud.inventory()?.of(&id).len();
            ensure!(
                ever == 1 || (ever == 0 && end.state == State::Failed),
                "{ever} servers, {}",
                shown(&end)
            );
            discarded(stack, &id)?;
        }
        Ok(())
    });
}

#[test]
fn names_that_landed_and_failed_are_adopted() {
    SYSTEM.run(|stack| {
        let faults = [
            json!({ "kind": "landed_then_error" }),
            json!({ "kind": "lost_response" }),
            json!({ "kind": "lost_request" }),
            json!({ "kind": "duplicate" }),
            json!({ "kind": "rate_limited", "retry_after_secs": 1 }),
            down(),
        ];
        for id in spawn_into(stack, "cloudflare", "POST /**", &faults)? {
            settled(stack, &id)?;
            let names = stack.cloud.inventory()?.names_of(&id);
            ensure!(names.len() == 2 && names[0] != names[1], "{names:?}");
            discarded(stack, &id)?;
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
        rule(stack, &blind)?;
        let id = spawn(stack, &json!({}))?;
        let stuck = stack.api.wait(&id, "destroying", LIMIT, |w| w.state == State::Destroying)?;
        ensure!(stack.cloud.inventory()?.live_of(&id).len() == 1, "nothing landed");
        ensure!(stuck.waiting_for.is_some() || !stuck.because.is_empty(), "{stuck:?}");
        stack.cloud.clear_faults()?;
        let failure = failure(stack, &id, LIMIT)?;
        ensure!(failure.code == FailureCode::ProviderUnavailable, "{failure:?}");
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
        ensure!(failure.code == FailureCode::ProviderUnavailable, "{failure:?}");
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
            ensure!(failure.code.as_str() == code, "{shape}: {failure:?}");
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
fn a_size_that_is_sold_out_is_replaced_where_the_user_took_the_default() {
    SYSTEM.run(|stack| {
        for shape in ["resource_unavailable", "unsupported_location"] {
            let fault = json!({ "kind": "capacity", "shape": shape });
            stack.cloud.fault("hetzner", CREATE, 1, &fault)?;
            let id = booting(stack)?;
            let workspace = stack.api.get(&id)?;
            let place = (workspace.size.as_str(), workspace.location.as_str());
            ensure!(place != ("cx23", "fsn1"), "{shape}: {place:?}");
            let events = stack.api.events(&id)?;
            ensure!(events.iter().any(|event| event.code == Some(EventCode::SoldOut)), "{shape}: {events:?}");
            servers_ever(stack, &id, 1)?;
            discarded(stack, &id)?;
        }
        // Half chosen: what the user named stays.
        stack.cloud.fault(
            "hetzner",
            CREATE,
            1,
            &json!({ "kind": "capacity", "shape": "resource_unavailable" }),
        )?;
        let id = spawn(stack, &json!({ "size": "cx33" }))?;
        settled(stack, &id)?;
        let workspace = stack.api.get(&id)?;
        ensure!(workspace.size == "cx33" && workspace.location != "fsn1", "{workspace:?}");
        discarded(stack, &id)
    });
}

#[test]
fn what_the_catalogue_shows_as_sold_out_is_refused_before_anything_is_recorded() {
    SYSTEM.run(|stack| {
        // Beyond the time for which the Worker remembers the catalogue.
        stack.cloud.set_sale("cx43", "hel1", Sale::SoldOut)?;
        stack.restart_worker()?;
        let before = stack.cloud.journal()?.iter().filter(|call| call["method"] == "POST").count();
        let request = json!({ "size": "cx43", "location": "hel1" });
        let answer = stack.api.call("POST", "/v1/workspaces", Some(&request))?;
        let body = answer.json();
        ensure!(answer.status == 503 && body["code"] == "capacity_unavailable", "{} {body}", answer.status);
        ensure!(body["hint"].as_str().is_some_and(|hint| !hint.is_empty()), "{body}");
        let after = stack.cloud.journal()?.iter().filter(|call| call["method"] == "POST").count();
        ensure!(before == after, "the provider was asked to create something");
        stack.cloud.set_sale("cx43", "hel1", Sale::OnSale)
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
        ensure!(failure.code == FailureCode::Capacity, "{failure:?}");
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
fn a_deletion_that_is_answered_404_or_locked_or_not_at_all_is_done_in_the_end() {
    SYSTEM.run(|stack| {
        let locked = json!({ "kind": "refuse", "status": 423, "code": "locked" });
        let table = [
            ("hetzner", "DELETE /servers/*", json!({ "kind": "landed_then_error", "status": 404 })),
            ("hetzner", "DELETE /servers/*", json!({ "kind": "landed_then_error" })),
            ("hetzner", "DELETE /servers/*", json!({ "kind": "lost_response" })),
            ("hetzner", "DELETE /servers/*", json!({ "kind": "lost_request" })),
            ("hetzner", "DELETE /servers/*", locked.clone()),
            ("hetzner", "DELETE /servers/*", locked),
            ("hetzner", "DELETE /servers/*", json!({ "kind": "rate_limited", "retry_after_secs": 1 })),
            ("cloudflare", "DELETE /**", json!({ "kind": "landed_then_error" })),
            ("cloudflare", "DELETE /**", json!({ "kind": "landed_then_error", "status": 404 })),
            ("cloudflare", "DELETE /**", json!({ "kind": "lost_response" })),
            ("cloudflare", "DELETE /**", down()),
        ];
        let ids: Vec<String> = (0..7).map(|_| spawn(stack, &json!({}))).collect::<Result<_>>()?;
        ids.iter().try_for_each(|id| settled(stack, id))?;
        for (provider, call, fault) in &table {
            stack.cloud.fault(provider, call, 1, fault)?;
        }
        ids.iter().try_for_each(|id| stack.api.delete(id, Discard::Work))?;
        ids.iter().try_for_each(|id| discarded(stack, id))
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
    ebbtide_system_tests::process::run("kill", |kill| kill.args(["-KILL", &pid.to_string()]))?;
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

#[test]
fn ten_wakes_at_once_are_one_machine() {
    SYSTEM.run(|stack| {
        let id = booting(stack)?;
        stack.api.act(&id, "sleep")?;
        stack.api.wait_for(&id, State::Asleep, LIMIT)?;
        let api = &stack.api;
        std::thread::scope(|scope| {
            let wakes: Vec<_> = (0..10).map(|_| scope.spawn(|| api.act(&id, "wake"))).collect();
            wakes.into_iter().try_for_each(|wake| wake.join().expect("no panic"))
        })?;
        let woken = stack.api.wait_for(&id, State::Booting, LIMIT)?;
        ensure!(woken.generation.0 == 2, "{woken:?}");
        servers_ever(stack, &id, 2)?;
        discarded(stack, &id)?;
        servers_ever(stack, &id, 2)
    });
}

#[test]
fn every_kind_of_trouble_at_once_doubles_nothing_and_leaves_nothing() {
    SYSTEM.run(|stack| {
        // Where no price is to be had a creation is refused, and rightly: that is another test's.
        stack.api.call("GET", "/v1/catalog", None)?.expect(200)?;
        let mut faults = Vec::new();
        for provider in ["hetzner", "cloudflare"] {
            for kind in ["lost_response", "landed_then_error", "lost_request", "duplicate", "rate_limited"] {
                faults.push(json!({ "provider": provider, "per_mille": 60, "fault": { "kind": kind } }));
            }
        }
        for fault in &faults {
            rule(stack, fault)?;
        }
        let ids: Vec<String> = (0..6).map(|_| spawn(stack, &json!({}))).collect::<Result<_>>()?;
        let once = |stack: &Stack| -> Result<()> {
            let inventory = stack.cloud.inventory()?;
            for id in &ids {
                ensure!(inventory.of(id).len() <= 1, "a second server: {:?}", inventory.of(id));
            }
            Ok(())
        };
        for id in ids.iter().take(3) {
            stack.api.wait(id, "booting or failed", LIMIT, |w| {
                matches!(w.state, State::Booting | State::Failed)
            })?;
        }
        once(stack)?;
        stack.restart_worker()?;
        for id in &ids {
            stack.api.delete(id, Discard::Work)?;
        }
        for id in &ids {
            stack.api.wait(id, "deleted", LIMIT * 2, |w| w.state == State::Deleted)?;
        }
        once(stack)?;
        stack.cloud.clear_faults()?;
        let inventory = stack.cloud.inventory()?;
        for id in &ids {
            ensure!(inventory.live_of(id).is_empty(), "a server bills on: {:?}", inventory.live_of(id));
            ensure!(inventory.names_of(id).is_empty(), "names are left: {:?}", inventory.names_of(id));
        }
        Ok(())
    });
}
