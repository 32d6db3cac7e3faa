//! Faults of our own: a variable with a typing error, a token of another project. Machines end on time, or nothing does.
//!
//! Servers here are entries in a table.

use crate::common::{LIMIT, health_from_anywhere, nothing_bills, quick_with, settled, without_machines};
use anyhow::{Context, Result, ensure};
use ebbtide_api::health::{Health, HealthStatus};
use ebbtide_api::workspace::State;
use ebbtide_system_tests::api::{Discard, shown};
use ebbtide_system_tests::{Stack, wait};
use serde_json::json;

#[test]
fn a_policy_with_a_typing_error_starts_nothing_and_ends_machines_by_the_last_good_one() -> Result<()> {
    // By default a boot may stall for ten minutes, which this test does not wait for.
    let mut stack = without_machines("typing-error", quick_with(json!({ "boot_stall": "40s" })))?;
    wait::until("the policy to be kept", LIMIT, || {
        if stack.has_object("config/policy") { Ok(()) } else { Err("it is not there".to_owned()) }
    })?;
    let id = stack.api.create(&json!({}))?.id.to_string();
    settled(&stack, &id)?;
    stack.restart_unwell(&[("POLICY", r#"{"idle_timout":"1h"}"#.to_owned())])?;

    let health: Health = serde_json::from_slice(&stack.api.call("GET", "/health", None)?.expect(503)?.body)?;
    ensure!(health.status == HealthStatus::Failing, "{health:?}");
    ensure!(health.problems.iter().any(|problem| problem.contains("idle_timout")), "{health:?}");
    let refused = stack.api.call("POST", "/v1/workspaces", Some(&json!({})))?;
    ensure!(refused.status == 500 && refused.text().contains("not_configured"), "{}", refused.text());
    ensure!(refused.text().contains("POLICY unknown field `idle_timout`"), "{}", refused.text());
    // Its owner sees it, and the alarm ends it.
    let failed = stack.api.wait_for(&id, State::Failed, LIMIT)?;
    nothing_bills(&stack, &id)?;
    ensure!(failed.failure.is_some(), "{}", shown(&failed));
    let retry = stack.api.call("POST", &format!("/v1/workspaces/{id}/retry"), Some(&json!({})))?;
    ensure!(retry.text().contains("not_configured"), "{}", retry.text());

    stack.restart_with_policy(quick_with(json!({})))?;
    stack.api.act(&id, "retry")?;
    settled(&stack, &id)?;
    stack.stop()
}

#[test]
fn a_token_of_another_project_makes_no_server_and_believes_none_gone() -> Result<()> {
    let mut stack = without_machines("other-project", quick_with(json!({})))?;
    let state = stack.directory().join("cloud/state.json");
    // The vendors write their state down once something of it has changed.
    let key = json!({ "name": "somebody's", "public_key": "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAISomebodysKeyWhichIsNone" });
    let made = stack.hetzner("POST", "/ssh_keys", Some(&key))?.expect(201)?.json();
    stack.hetzner("DELETE", &format!("/ssh_keys/{}", made["ssh_key"]["id"]), None)?.expect(204)?;
    let empty = wait::until("the vendors' state", LIMIT, || {
        let text = std::fs::read_to_string(&state).map_err(|error| error.to_string())?;
        if text.contains("SomebodysKey") { Err("not written yet".to_owned()) } else { Ok(text.into_bytes()) }
    })?;
    let id = stack.api.create(&json!({}))?.id.to_string();
    settled(&stack, &id)?;
    let server = stack.cloud.inventory()?.live_of(&id).first().context("no server")?.id;
    let described = stack.hetzner("GET", &format!("/servers/{server}"), None)?.expect(200)?.json();
    let firewalls = &described["server"]["public_net"]["firewalls"];
    ensure!(firewalls.as_array().is_some_and(|bound| bound.len() == 1), "no firewall covers it: {described}");
    let keys = stack.hetzner("GET", "/ssh_keys", None)?.expect(200)?.json();
    ensure!(keys["ssh_keys"].as_array().is_some_and(|keys| keys.len() == 1), "a password was mailed: {keys}");
    let ours = std::fs::read(&state).context("the vendors with the server")?;

    stack.restart_cloud_with(&empty)?;
    stack.api.delete(&id, Discard::Work)?;
    let waits = |id: &str| {
        stack.api.wait(id, "waiting for the right token", LIMIT, |workspace| {
            workspace.waiting_for.as_deref().is_some_and(|text| text.contains("does not see its firewall"))
        })
    };
    let ending = waits(&id)?;
    ensure!(ending.state == State::Destroying, "{}", shown(&ending));
    let other = stack.api.create(&json!({}))?.id.to_string();
    waits(&other)?;
    let made = stack.cloud.inventory()?.servers;
    ensure!(made.is_empty(), "a server was made in the other project: {made:?}");
    wait::until("the sweep to say so", LIMIT, || {
        let report = stack.api.call("GET", "/v1/sweep", None).map_err(|error| format!("{error:#}"))?.text();
        if report.contains("does not see its firewall") { Ok(()) } else { Err(report) }
    })?;
    project_is(&stack, "other_project")?;

    stack.restart_cloud_with(&ours)?;
    stack.api.wait_for(&id, State::Deleted, LIMIT)?;
    nothing_bills(&stack, &id)?;
    settled(&stack, &other)?;
    project_is(&stack, "ok")?;
    stack.stop()
}

fn project_is(stack: &Stack, code: &str) -> Result<()> {
    wait::until(&format!("a health whose project is {code}"), LIMIT, || {
        let health = health_from_anywhere(&stack.api).map_err(|error| format!("{error:#}"))?.json();
        let parts = health["parts"].as_array().cloned().unwrap_or_default();
        let is_so = parts.iter().any(|part| part["name"] == "project" && part["code"] == code);
        if is_so { Ok(()) } else { Err(health.to_string()) }
    })
}
