//! Caps, reservations and bills in the built Worker: none too many gets through however many ask at once, what is not
//! used is given back, and the bill is the vendor's own.

use crate::common::{LIMIT, nothing_bills, quick_with, ready, with_machines, without_machines};
use crate::slots::{self, Work};
use crate::turns::{Turns, discarded};
use anyhow::{Context, Result, ensure};
use ebbtide_api::catalog::{Catalog, CatalogOffer};
use ebbtide_api::usage::{Usage, UsageCaps, UsageTotal};
use ebbtide_api::workspace::{State, Workspace};
use ebbtide_api::{EventCode, FailureCode};
use ebbtide_system_tests::api::Discard;
use ebbtide_system_tests::cloud::Sale;
use ebbtide_system_tests::http::Answer;
use ebbtide_system_tests::{Stack, wait};
use serde_json::{Value, json};
use sha2::Digest;
use std::collections::BTreeSet;
use std::time::Duration;

/// Machines of the tests' tenant.
const MACHINES: usize = 10;
/// A short life is cheap, so that the machines run out first; a long one is dear, so that the money does.
const CHEAP: &str = "1h";
const DEAR: &str = "24h";

static SYSTEM: Turns = Turns::bringing_up(|| {
    let caps = json!({
        "max_workspaces": MACHINES + 1, "max_machines": MACHINES,
        "spend_per_day": "1.00", "spend_per_month": "50.00",
    });
    without_machines("money", quick_with(caps))
});

/// A request for one place, so that its price is known.
fn placed(lifetime: &str) -> Value {
    json!({ "size": "cx23", "location": "fsn1", "lifetime": lifetime })
}

fn usage(stack: &Stack) -> Result<Usage> {
    let answer = stack.api.call("GET", "/v1/usage", None)?.expect(200)?;
    serde_json::from_slice(&answer.body).with_context(|| format!("reading usage from {}", answer.text()))
}

fn caps(stack: &Stack) -> Result<UsageCaps> {
    Ok(usage(stack)?.caps)
}

/// Millionths of an amount.
fn micros(amount: &str) -> Result<u64> {
    let (whole, fraction) = amount.split_once('.').context("no decimal number")?;
    let fraction: String = fraction.chars().chain("000000".chars()).take(6).collect();
    Ok(whole.parse::<u64>()? * 1_000_000 + fraction.parse::<u64>()?)
}

/// Changes the index behind the Worker's back; the Worker may be writing to it at the same moment.
fn change_index(stack: &Stack, sql: &str) -> Result<()> {
    wait::until("the index to be changed", LIMIT, || {
        stack.change_index(sql).map_err(|error| format!("{error:#}"))
    })
}

/// Waits until nothing is reserved, as at the beginning of every turn.
fn nothing_reserved(stack: &Stack) -> Result<()> {
    wait::until("reservations to be given back", LIMIT, || {
        let caps = caps(stack).map_err(|error| format!("{error:#}"))?;
        let none = caps.machines.used == 0 && caps.day.reserved == "0.00" && caps.month.reserved == "0.00";
        if none { Ok(()) } else { Err(format!("{caps:?}")) }
    })
}

/// Sends so many creations at the same time.
fn spawn_at_once(stack: &Stack, count: usize, request: &Value) -> Result<Vec<Answer>> {
    let api = &stack.api;
    std::thread::scope(|scope| {
        let calls: Vec<_> =
            (0..count).map(|_| scope.spawn(|| api.call("POST", "/v1/workspaces", Some(request)))).collect();
        calls.into_iter().map(|call| call.join().expect("no panic")).collect()
    })
}

/// Takes apart who got in and how the others were refused.
fn sorted(answers: &[Answer]) -> Result<(BTreeSet<String>, Vec<Value>)> {
    let (mut ids, mut refusals) = (BTreeSet::new(), Vec::new());
    for answer in answers {
        let body = answer.json();
        match answer.status {
            202 => {
                ids.insert(body["id"].as_str().context("no id")?.to_owned());
            }
            403 => refusals.push(body),
            status => anyhow::bail!("{status}: {body}"),
        }
    }
    Ok((ids, refusals))
}

fn refused(answer: &Answer, cap: &str) -> Result<()> {
    let body = answer.json();
    let called = if cap == "spend_per_day" { "daily cap" } else { cap };
    let named = body["message"].as_str().is_some_and(|text| text.contains(called));
    let hinted = body["hint"].as_str().is_some_and(|text| text.contains(cap));
    ensure!(
        answer.status == 403 && body["code"] == "cap_reached" && named && hinted,
        "{} {body}",
        answer.status
    );
    Ok(())
}

fn asleep(stack: &Stack, id: &str) -> Result<()> {
    stack.api.act(id, "sleep")?;
    stack.api.wait_for(id, State::Asleep, LIMIT).map(drop)
}

fn booting(stack: &Stack, request: &Value) -> Result<Workspace> {
    let id = stack.api.create(request)?.id.to_string();
    stack.api.wait_for(&id, State::Booting, LIMIT)
}

#[test]
fn fifty_spawns_at_once_at_the_cap_of_machines_are_none_too_many() {
    SYSTEM.run(|stack| {
        nothing_reserved(stack)?;
        let (ids, refusals) = sorted(&spawn_at_once(stack, 50, &placed(CHEAP))?)?;
        ensure!(ids.len() == MACHINES && refusals.len() == 50 - MACHINES, "{} got in", ids.len());
        for body in &refusals {
            ensure!(body["message"].as_str().is_some_and(|text| text.contains("max_machines")), "{body}");
        }
        let held = caps(stack)?;
        ensure!(held.machines.used == 10 && held.workspaces.used == 10, "{held:?}");
        // A refusal leaves nothing behind that a list would show.
        let list = stack.api.call("GET", "/v1/workspaces", None)?.expect(200)?.json();
        ensure!(list["workspaces"].as_array().is_some_and(|rows| rows.len() == MACHINES), "{list}");
        for id in &ids {
            stack.api.delete(id, Discard::Work)?;
        }
        for id in &ids {
            stack.api.wait_for(id, State::Deleted, LIMIT)?;
        }
        nothing_reserved(stack)
    });
}

#[test]
fn fifty_spawns_at_once_at_the_cap_of_spending_are_none_too_dear() {
    SYSTEM.run(|stack| {
        nothing_reserved(stack)?;
        let before = caps(stack)?.day;
        let cap = micros(before.cap.as_deref().context("no cap")?)?;
        let free = cap - micros(&before.spent)?;
        let (ids, refusals) = sorted(&spawn_at_once(stack, 50, &placed(DEAR))?)?;
        let first = stack.api.get(ids.first().context("nobody got in")?)?;
        let worst = micros(&first.worst_case.context("no worst case")?.gross)?;
        let fitting = usize::try_from(free / worst)?;
        ensure!(ids.len() == fitting && fitting < MACHINES, "{} got in, {fitting} fit", ids.len());
        for body in &refusals {
            ensure!(body["message"].as_str().is_some_and(|text| text.contains("daily cap")), "{body}");
        }
        let held = caps(stack)?.day;
        ensure!(micros(&held.spent)? + micros(&held.reserved)? <= cap, "{held:?}");
        for id in &ids {
            stack.api.delete(id, Discard::Work)?;
        }
        for id in &ids {
            stack.api.wait_for(id, State::Deleted, LIMIT)?;
        }
        nothing_reserved(stack)
    });
}

#[test]
fn a_wake_at_the_cap_is_refused_and_leaves_the_workspace_asleep() {
    SYSTEM.run(|stack| {
        nothing_reserved(stack)?;
        let id = booting(stack, &placed(CHEAP))?.id.to_string();
        asleep(stack, &id)?;
        nothing_reserved(stack)?;
        let (others, _) = sorted(&spawn_at_once(stack, MACHINES, &placed(CHEAP))?)?;
        ensure!(others.len() == MACHINES, "{others:?}");
        let wake = format!("/v1/workspaces/{id}/wake");
        refused(&stack.api.call("POST", &wake, Some(&json!({})))?, "max_machines")?;
        ensure!(stack.api.get(&id)?.state == State::Asleep, "it woke");
        // Asleep ones count as workspaces: there are as many as there may be.
        refused(&stack.api.call("POST", "/v1/workspaces", Some(&placed(CHEAP)))?, "max_workspaces")?;
        let other = others.first().context("none")?;
        stack.api.delete(other, Discard::Work)?;
        stack.api.wait_for(other, State::Deleted, LIMIT)?;
        wait::until("the place to be free", LIMIT, || {
            let used = caps(stack).map_err(|error| format!("{error:#}"))?.machines.used;
            if used < 10 { Ok(()) } else { Err(format!("{used} machines")) }
        })?;
        stack.api.act(&id, "wake")?;
        let woken = stack.api.wait_for(&id, State::Booting, LIMIT)?;
        ensure!(woken.generation.0 == 2 && woken.worst_case.is_some(), "{woken:?}");
        ensure!(caps(stack)?.machines.used == 10, "the wake is not counted");
        for id in others.iter().skip(1).chain([&id]) {
            stack.api.delete(id, Discard::Work)?;
        }
        for id in others.iter().skip(1).chain([&id]) {
            stack.api.wait_for(id, State::Deleted, LIMIT)?;
        }
        nothing_reserved(stack)
    });
}

#[test]
fn a_wake_that_is_refused_gives_its_reservation_back() {
    SYSTEM.run(|stack| {
        nothing_reserved(stack)?;
        let id = booting(stack, &placed(CHEAP))?.id.to_string();
        asleep(stack, &id)?;
        nothing_reserved(stack)?;
        let wake = format!("/v1/workspaces/{id}/wake");
        let answer = stack.api.call("POST", &wake, Some(&json!({ "snapshot": "f".repeat(64) })))?;
        ensure!(answer.status == 404, "{} {}", answer.status, answer.text());
        let held = caps(stack)?;
        ensure!(held.machines.used == 0 && held.day.reserved == "0.00", "{held:?}");
        discarded(stack, &id)
    });
}

/// What was reserved for a wake may be gone when the wait is over: the sweep gives it back, and others take it.
#[test]
fn a_wake_that_waited_for_a_lock_is_refused_where_the_cap_was_reached_meanwhile() {
    SYSTEM.run(|stack| {
        nothing_reserved(stack)?;
        let id = booting(stack, &placed(CHEAP))?.id.to_string();
        asleep(stack, &id)?;
        nothing_reserved(stack)?;
        let lock = b"an owner's restic works on the backups";
        let name = hex::encode(sha2::Sha256::digest(lock));
        let lock_path = format!("/v1/workspaces/{id}/restic/locks/{name}");
        stack.api.raw("POST", &lock_path, &[], Some(lock))?.expect(200)?;
        stack.api.act(&id, "wake")?;
        ensure!(stack.api.get(&id)?.state == State::Asleep, "it wakes while somebody changes its backups");
        change_index(
            stack,
            &format!(
                "DELETE FROM machines WHERE workspace = '{id}' AND started_at IS NULL; \
                 INSERT INTO machines (workspace, generation, tenant, reserved_at, reserved_micros, currency, size, \
                 location, hourly_micros, hourly_net_micros) \
                 VALUES ('zzzzzzzzzz', 1, 'owner', 9000000000000, 1000000, 'EUR', 'cx23', 'fsn1', 7616, 6400)"
            ),
        )?;
        stack.api.raw("DELETE", &lock_path, &[], None)?.expect(200)?;
        let failed = stack.api.wait_for(&id, State::Failed, LIMIT)?;
        let failure = failed.failure.context("it does not say why")?;
        ensure!(failure.code == FailureCode::CapReached && failure.message.contains("daily cap"), "{failure:?}");
        ensure!(failed.generation.0 == 1, "a machine began");
        change_index(stack, "DELETE FROM machines WHERE workspace = 'zzzzzzzzzz'")?;
        // And where there is room, the wake goes on by itself.
        stack.api.raw("POST", &lock_path, &[], Some(lock))?.expect(200)?;
        stack.api.act(&id, "retry")?;
        change_index(stack, &format!("DELETE FROM machines WHERE workspace = '{id}' AND started_at IS NULL"))?;
        stack.api.raw("DELETE", &lock_path, &[], None)?.expect(200)?;
        let woken = stack.api.wait_for(&id, State::Booting, LIMIT)?;
        ensure!(woken.generation.0 == 2 && woken.worst_case.is_some(), "{woken:?}");
        ensure!(caps(stack)?.machines.used == 1, "the wake is not counted");
        discarded(stack, &id)
    });
}

#[test]
fn ten_wakes_at_once_reserve_one_machine() {
    SYSTEM.run(|stack| {
        nothing_reserved(stack)?;
        let id = booting(stack, &placed(CHEAP))?.id.to_string();
        asleep(stack, &id)?;
        let api = &stack.api;
        std::thread::scope(|scope| {
            let wakes: Vec<_> = (0..10).map(|_| scope.spawn(|| api.act(&id, "wake"))).collect();
            wakes.into_iter().try_for_each(|wake| wake.join().expect("no panic"))
        })?;
        let woken = stack.api.wait_for(&id, State::Booting, LIMIT)?;
        let held = caps(stack)?;
        let worst = micros(&woken.worst_case.context("no worst case")?.gross)?;
        ensure!(held.machines.used == 1 && micros(&held.day.reserved)? <= worst, "{held:?}");
        discarded(stack, &id)?;
        nothing_reserved(stack)
    });
}

#[test]
fn a_longer_lifetime_is_reserved_and_refused_beyond_the_cap() {
    SYSTEM.run(|stack| {
        nothing_reserved(stack)?;
        let workspace = booting(stack, &placed(CHEAP))?;
        let id = workspace.id.to_string();
        let path = format!("/v1/workspaces/{id}");
        let reserved = || micros(&caps(stack)?.day.reserved);
        let before = reserved()?;
        refused(&stack.api.call("PATCH", &path, Some(&json!({ "lifetime": "168h" })))?, "spend_per_day")?;
        let after = stack.api.get(&id)?;
        ensure!(
            after.lifetime == workspace.lifetime && after.worst_case == workspace.worst_case,
            "{after:?}"
        );
        ensure!(reserved()? == before, "a refusal has reserved something");
        let longer = stack.api.call("PATCH", &path, Some(&json!({ "lifetime": "11h" })))?.expect(200)?.json();
        let hours = |cost: &Value| cost["hours"].as_u64();
        let first = workspace.worst_case.context("no worst case")?.hours;
        ensure!(hours(&longer["worst_case"]) == Some(first + 10), "{longer}");
        ensure!(reserved()? > before, "{} is not more than {before}", reserved()?);
        stack.api.call("PATCH", &path, Some(&json!({ "lifetime": "1h" })))?.expect(200)?;
        wait::until("the rest to be given back", LIMIT, || match reserved() {
            Ok(now) if now == before => Ok(()),
            found => Err(format!("{found:?} instead of {before}")),
        })?;
        discarded(stack, &id)?;
        nothing_reserved(stack)
    });
}

#[test]
fn a_creation_that_fails_reserves_nothing_and_is_not_billed() {
    SYSTEM.run(|stack| {
        nothing_reserved(stack)?;
        let sold_out = json!({ "kind": "capacity", "shape": "resource_unavailable" });
        stack.cloud.fault("hetzner", "POST /servers", 1_000, &sold_out)?;
        let id = stack.api.create(&placed(CHEAP))?.id.to_string();
        stack.api.wait(&id, "failed", LIMIT, |workspace| workspace.state == State::Failed)?;
        nothing_reserved(stack)?;
        // Retried, it reserves again; failed again, it gives back again.
        stack.api.act(&id, "retry")?;
        stack.api.wait(&id, "failed again", LIMIT, |workspace| {
            workspace.state == State::Failed && workspace.generation.0 == 2
        })?;
        nothing_reserved(stack)?;
        stack.cloud.clear_faults()?;
        ensure!(usage(stack)?.workspaces.iter().all(|row| row.workspace.as_str() != id), "it was billed");
        discarded(stack, &id)
    });
}

/// What the vendor bills for the servers of a workspace: hours, and millionths before tax with their addresses.
fn vendors_bill(stack: &Stack, id: &str) -> Result<(u64, u64)> {
    /// Of an IPv4 address, an hour, before tax, in the local cloud.
    const ADDRESS: u64 = 800;
    let inventory = stack.cloud.inventory()?;
    let servers = inventory.of(id);
    let hours: u64 = servers.iter().map(|server| server.billed_hours).sum();
    Ok((hours, servers.iter().map(|server| server.billed_micros).sum::<u64>() + hours * ADDRESS))
}

fn billed(stack: &Stack, id: &str) -> Result<UsageTotal> {
    let usage = usage(stack)?;
    let row = usage.workspaces.into_iter().find(|row| row.workspace.as_str() == id);
    let total = row.with_context(|| format!("{id} is not on the bill"))?.total;
    let of_days = usage.days.iter().filter(|day| day.workspace.as_str() == id);
    let hours: u64 = of_days.map(|day| day.total.hours).sum();
    ensure!(hours == total.hours, "{hours} hours by day, {} in all", total.hours);
    Ok(total)
}

#[test]
fn the_bill_of_two_machines_is_the_vendors_own() {
    SYSTEM.run(|stack| {
        nothing_reserved(stack)?;
        let id = booting(stack, &placed(CHEAP))?.id.to_string();
        asleep(stack, &id)?;
        stack.api.act(&id, "wake")?;
        stack.api.wait_for(&id, State::Booting, LIMIT)?;
        discarded(stack, &id)?;
        nothing_bills(stack, &id)?;
        nothing_reserved(stack)?;
        let (hours, net) = vendors_bill(stack, &id)?;
        let total = billed(stack, &id)?;
        ensure!(
            (total.hours, micros(&total.net)?) == (hours, net) && hours == 2,
            "{total:?}, not {hours} {net}"
        );
        ensure!(micros(&total.gross)? > net && total.currency == "EUR", "{total:?}");
        Ok(())
    });
}

#[test]
fn an_account_that_lost_a_row_or_keeps_one_too_many_is_mended_by_the_cron() {
    SYSTEM.run(|stack| {
        nothing_reserved(stack)?;
        let holds = |what: &str, machines: u64, reserves: bool| {
            wait::until(what, LIMIT, || {
                let caps = caps(stack).map_err(|error| format!("{error:#}"))?;
                let found = (caps.machines.used, caps.day.reserved != "0.00");
                if found == (machines, reserves) { Ok(()) } else { Err(format!("{caps:?}")) }
            })
        };
        // A request died between its reservation and its workspace.
        change_index(
            stack,
            "INSERT INTO machines (workspace, generation, tenant, reserved_at, reserved_micros, currency, size, \
             location, hourly_micros, hourly_net_micros) \
             VALUES ('zzzzzzzzzz', 1, 'owner', 0, 100000, 'EUR', 'cx23', 'fsn1', 7616, 6400)",
        )?;
        holds("the reservation of nobody to be removed", 0, false)?;
        // The index was restored from before a machine began,
        let id = booting(stack, &placed(CHEAP))?.id.to_string();
        change_index(stack, &format!("DELETE FROM machines WHERE workspace = '{id}'"))?;
        holds("the machine to be entered again", 1, true)?;
        discarded(stack, &id)?;
        holds("the machine to be closed", 0, false)?;
        // and from before it ended.
        let bill = billed(stack, &id)?;
        change_index(stack, &format!("UPDATE machines SET ended_at = NULL WHERE workspace = '{id}'"))?;
        holds("the machine to be closed again", 0, false)?;
        ensure!(billed(stack, &id)? == bill, "the bill has changed from {bill:?}");
        Ok(())
    });
}

#[test]
fn the_catalogue_tells_prices_stock_and_worst_cases_and_fallbacks_come_in_order_of_price() {
    SYSTEM.run(|stack| {
        nothing_reserved(stack)?;
        stack.cloud.set_sale("cx33", "hel1", Sale::SoldOut)?;
        // Beyond the time for which the Worker remembers the catalogue.
        stack.restart_worker()?;
        let answer = stack.api.call("GET", "/v1/catalog", None)?.expect(200)?;
        let catalog: Catalog = serde_json::from_slice(&answer.body)?;
        let offer = |size: &str, location: &str| -> Result<CatalogOffer> {
            let size = catalog.sizes.iter().find(|known| known.name == size).context("no such size")?;
            let offer = size.locations.iter().find(|known| known.location == location);
            Ok(offer.context("no such place")?.clone())
        };
        let here = offer("cx23", "fsn1")?;
        let workspace = booting(stack, &json!({ "size": "cx23", "location": "fsn1" }))?;
        ensure!(here.available == Some(true) && here.worst_case.is_some(), "{here:?}");
        ensure!(here.worst_case == workspace.worst_case, "{here:?} {:?}", workspace.worst_case);
        let there = offer("cx33", "hel1")?;
        ensure!(there.available == Some(false) && there.hourly_gross.is_some(), "{there:?}");
        discarded(stack, workspace.id.as_str())?;
        // All sold out, each only when it is asked for: the order is told.
        let sold_out = json!({ "kind": "capacity", "shape": "resource_unavailable" });
        stack.cloud.fault("hetzner", "POST /servers", 1_000, &sold_out)?;
        let id = stack.api.create(&json!({ "lifetime": CHEAP }))?.id.to_string();
        stack.api.wait(&id, "failed", LIMIT, |workspace| workspace.state == State::Failed)?;
        stack.cloud.clear_faults()?;
        let mut tried = Vec::new();
        for event in stack.api.events(&id)? {
            if let Some((_, place)) = event.because.split_once("trying ") {
                let (size, location) = place.split_once(" at ").context("no place in it")?;
                tried.push(micros(&offer(size, location)?.hourly_gross.context("no price")?)?);
            }
        }
        ensure!(tried.len() > 1 && tried.is_sorted(), "{tried:?}");
        stack.cloud.set_sale("cx33", "hel1", Sale::OnSale)?;
        discarded(stack, &id)?;
        nothing_reserved(stack)
    });
}

/// Sleeps, and is told of as asleep.
fn put_to_sleep(stack: &Stack, id: &str) -> Result<()> {
    stack.api.call("POST", &format!("/v1/workspaces/{id}/sleep"), None)?.expect(202)?;
    stack.api.wait_for(id, State::Asleep, LIMIT).map(drop)
}

#[test]
fn a_size_that_is_withdrawn_gives_way_and_another_can_be_wished_for() {
    SYSTEM.run(|stack| {
        nothing_reserved(stack)?;
        let places = ["fsn1", "nbg1", "hel1"];
        let workspace =
            // Short, so that its largest size fits beside what the other tests have spent of the day.
            booting(stack, &json!({ "size": "cx33", "location": "nbg1", "persistence": "none", "lifetime": "4h" }))?;
        let id = workspace.id.to_string();
        put_to_sleep(stack, &id)?;
        // One place of the old choice goes: the size is still made elsewhere.
        stack.cloud.set_sale("cx33", "nbg1", Sale::Withdrawn)?;
        stack.restart_worker()?;
        let path = format!("/v1/workspaces/{id}");
        let wake = |stack: &Stack, body: Value| stack.api.call("POST", &format!("{path}/wake"), Some(&body));
        wake(stack, json!({}))?.expect(202)?;
        let awake = stack.api.wait_for(&id, State::Booting, LIMIT)?;
        ensure!((awake.size.as_str(), awake.location.as_str()) == ("cx33", "fsn1"), "{awake:?}");
        put_to_sleep(stack, &id)?;
        // Then all of them, and the provider refuses the next size although its list still shows it.
        for place in places {
            stack.cloud.set_sale("cx33", place, Sale::Withdrawn)?;
        }
        stack.restart_worker()?;
        let refuse =
            json!({ "kind": "refuse", "status": 422, "code": "invalid_input", "message": "is deprecated" });
        stack.cloud.fault("hetzner", "POST /servers", 1, &refuse)?;
        wake(stack, json!({}))?.expect(202)?;
        let awake = stack.api.wait_for(&id, State::Booting, LIMIT)?;
        ensure!((awake.size.as_str(), awake.location.as_str()) == ("cx53", "nbg1"), "{awake:?}");
        let told = stack.api.events(&id)?;
        let told = |code: EventCode| told.iter().any(|event| event.code.as_ref() == Some(&code));
        ensure!(told(EventCode::PlacedAnew) && told(EventCode::SoldOut), "the owner is not told");
        // Awake, a wish is for the next start; a wake says so.
        let refused = wake(stack, json!({ "size": "cx23" }))?;
        ensure!(refused.status == 409 && refused.json()["code"] == "wrong_state", "{}", refused.text());
        let patch = |body: Value| stack.api.call("PATCH", &path, Some(&body));
        let unknown = patch(json!({ "size": "cx99" }))?;
        ensure!(unknown.status == 422 && unknown.json()["code"] == "invalid_field", "{}", unknown.text());
        patch(json!({ "size": "cx23", "location": "hel1" }))?.expect(200)?;
        put_to_sleep(stack, &id)?;
        wake(stack, json!({}))?.expect(202)?;
        let awake = stack.api.wait_for(&id, State::Booting, LIMIT)?;
        ensure!((awake.size.as_str(), awake.location.as_str()) == ("cx23", "hel1"), "{awake:?}");
        put_to_sleep(stack, &id)?;
        // What is sold out for now is refused at once, and another is named with the wake itself.
        stack.cloud.set_sale("cx23", "hel1", Sale::SoldOut)?;
        stack.restart_worker()?;
        let refused = wake(stack, json!({}))?;
        ensure!(refused.json()["code"] == "capacity_unavailable", "{}", refused.text());
        wake(stack, json!({ "location": "any" }))?.expect(202)?;
        let awake = stack.api.wait_for(&id, State::Booting, LIMIT)?;
        ensure!((awake.size.as_str(), awake.location.as_str()) == ("cx23", "fsn1"), "{awake:?}");
        for place in places {
            stack.cloud.set_sale("cx33", place, Sale::OnSale)?;
        }
        stack.cloud.set_sale("cx23", "hel1", Sale::OnSale)?;
        stack.restart_worker()?;
        discarded(stack, &id)?;
        nothing_reserved(stack)
    });
}

#[test]
fn where_no_price_is_to_be_had_no_machine_starts_that_a_cap_should_bound() {
    SYSTEM.run(|stack| {
        nothing_reserved(stack)?;
        let down =
            json!({ "kind": "refuse", "status": 503, "code": "unavailable", "message": "maintenance" });
        stack.cloud.fault("hetzner", "GET /pricing", 1_000, &down)?;
        // Beyond the time for which the Worker remembers prices.
        stack.restart_worker()?;
        let answer = stack.api.call("POST", "/v1/workspaces", Some(&placed(CHEAP)))?;
        let body = answer.json();
        ensure!(answer.status == 503 && body["code"] == "provider_unavailable", "{} {body}", answer.status);
        stack.cloud.clear_faults()?;
        stack.restart_worker()?;
        nothing_reserved(stack)
    });
}

#[test]
fn a_cap_that_was_lowered_below_what_is_spent_drains_by_the_ordinary_path() {
    let caps = |day: &str| quick_with(json!({ "spend_check": "2s", "spend_per_day": day }));
    let run = || -> Result<()> {
        let mut stack = with_machines("money-machines", caps("10.00"))?;
        let id = ready(&stack, &json!({ "idle_timeout": "1h" }))?.id.to_string();
        // An hour of it costs 0.0076.
        stack.restart_with_policy(caps("0.0080"))?;
        let warned = |stack: &Stack, text: &str| {
            let events = stack.api.events(&id).map_err(|error| format!("{error:#}"))?;
            let told = events.iter().filter(|event| event.because.contains(text)).count();
            if told > 0 { Ok(told) } else { Err(format!("{:?}", events.last())) }
        };
        wait::until("a warning", LIMIT, || warned(&stack, "95 % of the cap spend_per_day"))?;
        wait::stays("one warning", Duration::from_secs(5), || {
            match warned(&stack, "of the cap spend_per_day") {
                Ok(1) => Ok(()),
                other => Err(format!("{other:?}")),
            }
        })?;
        stack.restart_with_policy(caps("0.0050"))?;
        let asleep = stack.api.wait_for(&id, State::Asleep, LIMIT)?;
        ensure!(asleep.last_backup.is_some(), "it was cut, not drained: {asleep:?}");
        wait::until("the reason", LIMIT, || warned(&stack, "the cap spend_per_day is exceeded"))?;
        nothing_bills(&stack, &id)?;
        let wake = format!("/v1/workspaces/{id}/wake");
        refused(&stack.api.call("POST", &wake, Some(&json!({})))?, "spend_per_day")?;
        let (hours, net) = vendors_bill(&stack, &id)?;
        let total = billed(&stack, &id)?;
        ensure!((total.hours, micros(&total.net)?) == (hours, net), "{total:?}, not {hours} {net}");
        stack.stop()
    };
    run().unwrap_or_else(|error| panic!("{error:#}"));
}

#[test]
fn an_idle_machine_is_kept_within_its_paid_hour_and_then_goes() {
    slots::take(Work::Long);
    // The margin leaves a minute and a half of the hour: 60 min - 56 min 30 s - 2 min for the drain.
    let policy =
        quick_with(json!({ "use_paid_hour": true, "paid_hour_margin": "56m30s", "idle_timeout": "10s" }));
    let run = || -> Result<()> {
        let stack = with_machines("money-paid-hour", policy)?;
        let id = ready(&stack, &json!({}))?.id.to_string();
        let kept = stack.api.wait(&id, "kept within its hour", LIMIT, |workspace| {
            workspace.state == State::Running && workspace.because.contains("because the hour is paid")
        })?;
        let why = kept.why.context("no why")?;
        ensure!(why.because.iter().any(|text| text.contains("the hour is paid")), "{why:?}");
        ensure!(why.sleeps_in_secs.is_some_and(|secs| secs <= 90), "{why:?}");
        let asleep = stack.api.wait_for(&id, State::Asleep, 2 * LIMIT)?;
        ensure!(asleep.last_backup.is_some(), "{asleep:?}");
        let events = stack.api.events(&id)?;
        let of = |text: &str| events.iter().filter(|event| event.because.contains(text)).collect::<Vec<_>>();
        let (waits, ends) = (of("kept until"), of("its paid hour ends"));
        ensure!(waits.len() == 1 && ends.len() == 1, "{events:?}");
        ensure!(ends[0].at > waits[0].at && ends[0].state == State::Draining, "{events:?}");
        stack.stop()
    };
    run().unwrap_or_else(|error| panic!("{error:#}"));
}
