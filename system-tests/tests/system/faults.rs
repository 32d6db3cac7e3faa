//! The vendors on bad days: no second server, no lost record, and the workspace says what it waits for.

use crate::common::{LIMIT, nothing_bills, quick, quick_with, servers_ever, without_machines};
use anyhow::{Result, ensure};
use ebbtide_api::workspace::State;
use serde_json::{Value, json};
use stack::api::{Discard, shown};
use stack::cloud::Sale;
use stack::{Stack, wait};

const CREATE: &str = "POST /servers";

/// Spawns under a fault and drives the workspace to booting, then discards it: one server, ever, and nothing left.
fn ends_with_one_server(
    stack: &Stack,
    what: &str,
    call: &str,
    provider: &str,
    times: u32,
    fault: &Value,
) -> Result<()> {
    stack.cloud.fault(provider, call, times, fault)?;
    let id = stack.api.create(&json!({}))?.id.to_string();
    let look = || {
        let workspace = stack.api.get(&id).map_err(|error| format!("{error:#}"))?;
        let names = stack.cloud.inventory().map_err(|error| error.to_string())?.names_of(&id).len();
        if workspace.state == State::Booting && names == 2 {
            Ok(())
        } else {
            Err(format!("{names} names, {}", shown(&workspace)))
        }
    };
    wait::until(&format!("booting in spite of {what}"), LIMIT, look)?;
    let inventory = stack.cloud.inventory()?;
    ensure!(inventory.live_of(&id).len() == 1, "{what}: {:?}", inventory.live_of(&id));
    stack.cloud.clear_faults()?;
    stack.api.delete(&id, Discard::Work)?;
    stack.api.wait_for(&id, State::Deleted, LIMIT)?;
    nothing_bills(stack, &id)
}

#[test]
fn a_creation_that_landed_and_failed_is_adopted_and_never_repeated() -> Result<()> {
    let stack = without_machines("landed", quick())?;
    let table = [
        ("a creation that landed and then failed", json!({ "kind": "landed_then_error" })),
        ("a creation whose answer was lost", json!({ "kind": "lost_response" })),
        ("a creation that was lost", json!({ "kind": "lost_request" })),
        ("a busy provider", json!({ "kind": "rate_limited", "retry_after_secs": 1 })),
        ("a provider that is down", json!({ "kind": "refuse", "status": 503, "code": "unavailable" })),
    ];
    for (what, fault) in &table {
        ends_with_one_server(&stack, what, CREATE, "hetzner", 1, fault)?;
    }
    let inventory = stack.cloud.inventory()?;
    ensure!(inventory.servers.len() == table.len(), "{:?}", inventory.servers);
    stack.stop()
}

#[test]
fn names_that_landed_and_failed_are_adopted_too() -> Result<()> {
    let stack = without_machines("names", quick())?;
    let table = [
        ("a record that landed and then failed", json!({ "kind": "landed_then_error" })),
        ("a record whose answer was lost", json!({ "kind": "lost_response" })),
        ("a provider of names that is down", json!({ "kind": "refuse", "status": 503, "code": "10000" })),
    ];
    for (what, fault) in &table {
        ends_with_one_server(&stack, what, "POST /**", "cloudflare", 1, fault)?;
    }
    stack.stop()
}

#[test]
fn a_size_that_is_sold_out_is_replaced_where_the_user_took_the_default_and_refused_where_not() -> Result<()> {
    let stack = without_machines("capacity", quick_with(json!({ "provision_budget": "10s" })))?;
    for shape in ["resource_unavailable", "unsupported_location"] {
        stack.cloud.fault("hetzner", CREATE, 1, &json!({ "kind": "capacity", "shape": shape }))?;
        let id = stack.api.create(&json!({}))?.id.to_string();
        let booting = stack.api.wait_for(&id, State::Booting, LIMIT)?;
        ensure!(
            (booting.size.as_str(), booting.location.as_str()) != ("cx23", "fsn1"),
            "{shape}: {booting:?}"
        );
        servers_ever(&stack, &id, 1)?;
        stack.api.delete(&id, Discard::Work)?;
        stack.api.wait_for(&id, State::Deleted, LIMIT)?;
    }
    // Chosen by the user: no other will do.
    stack.cloud.fault(
        "hetzner",
        CREATE,
        1,
        &json!({ "kind": "capacity", "shape": "resource_unavailable" }),
    )?;
    let id = stack.api.create(&json!({ "size": "cx33", "location": "nbg1" }))?.id.to_string();
    let failed = wait::until("a refusal or a failure", LIMIT, || {
        let workspace = stack.api.get(&id).map_err(|error| format!("{error:#}"))?;
        if workspace.state == State::Failed { Ok(workspace) } else { Err(shown(&workspace)) }
    })?;
    let failure = failed.failure.unwrap_or_else(|| panic!("failed without a failure"));
    ensure!(failure.code == "capacity" && !failure.hint.is_empty(), "{failure:?}");
    servers_ever(&stack, &id, 0)?;
    nothing_bills(&stack, &id)?;
    // What the catalogue already shows as sold out is refused before anything is recorded.
    stack.cloud.set_available("cx43", "hel1", Sale::SoldOut)?;
    let answer =
        stack.api.call("POST", "/v1/workspaces", Some(&json!({ "size": "cx43", "location": "hel1" })))?;
    let body = answer.json();
    let refused = answer.status == 503 && body["code"] == "capacity_unavailable";
    ensure!(refused || answer.status == 202, "{} {body}", answer.status);
    stack.stop()
}

#[test]
fn a_provider_without_room_for_more_says_so() -> Result<()> {
    let stack = without_machines("limit", quick_with(json!({ "provision_budget": "10s" })))?;
    stack.cloud.fault(
        "hetzner",
        CREATE,
        100,
        &json!({ "kind": "capacity", "shape": "resource_limit_exceeded" }),
    )?;
    let id = stack.api.create(&json!({}))?.id.to_string();
    let failed = wait::until("the failure", LIMIT, || {
        let workspace = stack.api.get(&id).map_err(|error| format!("{error:#}"))?;
        if workspace.state == State::Failed { Ok(workspace) } else { Err(shown(&workspace)) }
    })?;
    ensure!(failed.failure.is_some_and(|failure| !failure.hint.is_empty()), "failed without a hint");
    servers_ever(&stack, &id, 0)?;
    // The limit is raised: the same workspace goes on.
    stack.cloud.clear_faults()?;
    stack.api.act(&id, "retry")?;
    stack.api.wait(&id, "booting after a retry", LIMIT, |workspace| workspace.state == State::Booting)?;
    stack.stop()
}

#[test]
fn a_deletion_that_is_refused_or_was_done_already_ends_all_the_same() -> Result<()> {
    let stack = without_machines("deletion", quick())?;
    let table = [
        ("DELETE /servers/*", "hetzner", json!({ "kind": "refuse", "status": 423, "code": "locked" })),
        ("DELETE /servers/*", "hetzner", json!({ "kind": "landed_then_error" })),
        ("DELETE /servers/*", "hetzner", json!({ "kind": "lost_response" })),
        ("DELETE /servers/*", "hetzner", json!({ "kind": "rate_limited", "retry_after_secs": 1 })),
        ("DELETE /**", "cloudflare", json!({ "kind": "refuse", "status": 500, "code": "10000" })),
        ("DELETE /**", "cloudflare", json!({ "kind": "landed_then_error" })),
    ];
    for (call, provider, fault) in &table {
        let id = stack.api.create(&json!({}))?.id.to_string();
        stack.api.wait_for(&id, State::Booting, LIMIT)?;
        stack.cloud.fault(provider, call, 2, fault)?;
        stack.api.delete(&id, Discard::Work)?;
        stack.api.wait_for(&id, State::Deleted, LIMIT)?;
        nothing_bills(&stack, &id)?;
        stack.cloud.clear_faults()?;
    }
    stack.stop()
}

#[test]
fn a_provider_that_is_down_for_a_while_is_named_as_what_is_waited_for() -> Result<()> {
    let stack = without_machines("down", quick())?;
    stack.cloud.fault(
        "hetzner",
        CREATE,
        4,
        &json!({ "kind": "refuse", "status": 502, "code": "bad_gateway" }),
    )?;
    let id = stack.api.create(&json!({}))?.id.to_string();
    stack.api.wait(&id, "saying what it waits for", LIMIT, |workspace| {
        workspace.state == State::Provisioning && workspace.waiting_for.is_some()
    })?;
    stack.api.wait_for(&id, State::Booting, LIMIT)?;
    servers_ever(&stack, &id, 1)?;
    stack.stop()
}
