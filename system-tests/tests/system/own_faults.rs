//! Faults of our own: a variable with a typing error, a record that this version cannot read. Machines end all the same.
//!
//! Servers here are entries in a table.

use crate::common::{LIMIT, nothing_bills, quick_with, settled, without_machines};
use anyhow::{Context, Result, ensure};
use ebbtide_api::health::{Health, HealthStatus};
use ebbtide_api::workspace::State;
use ebbtide_system_tests::api::{Discard, shown};
use ebbtide_system_tests::wait;
use serde_json::json;
use std::time::Duration;

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
fn a_record_that_cannot_be_read_ends_its_machine_by_its_label() -> Result<()> {
    let policy = quick_with(json!({
        "sweep_min_age": "1s", "sweep_label_grace": "1s", "drain_ceiling": "1s", "rescue_ceiling": "1s",
    }));
    let mut stack = without_machines("unreadable-record", policy)?;
    let id = stack.api.create(&json!({}))?.id.to_string();
    settled(&stack, &id)?;
    let server = stack.cloud.inventory()?.live_of(&id).first().context("no server")?.id;
    stack.crash_worker();
    stack.change_record(&id, "json_set(json, '$.phase', 'of a newer version')")?;
    stack.restart_worker()?;
    let answer = stack.api.call("GET", &format!("/v1/workspaces/{id}"), None)?;
    ensure!(answer.status >= 500, "the record was read: {}", answer.text());

    // Its label lets it live: nobody ends it on suspicion.
    let live = || {
        Ok::<usize, String>(stack.cloud.inventory().map_err(|error| format!("{error:#}"))?.live_of(&id).len())
    };
    wait::stays("its server, for two runs of the sweep", Duration::from_secs(5), || match live()? {
        1 => Ok(()),
        other => Err(format!("{other} servers")),
    })?;
    let mut labels = stack.hetzner("GET", &format!("/servers/{server}"), None)?.expect(200)?.json()["server"]
        ["labels"]
        .clone();
    labels["ebbtide-expires"] = "1763700000".into();
    let past = json!({ "labels": labels });
    stack.hetzner("PUT", &format!("/servers/{server}"), Some(&past))?.expect(200)?;
    wait::until("the server to end", LIMIT, || {
        let report = stack.api.call("GET", "/v1/sweep", None).map_err(|error| format!("{error:#}"))?.text();
        if live()? == 0 { Ok(()) } else { Err(report) }
    })?;
    let images = stack.cloud.inventory()?.images;
    ensure!(images.iter().any(|image| image["labels"]["ebbtide-workspace"] == id.as_str()), "{images:?}");
    stack.stop()
}

#[test]
fn a_token_of_another_project_makes_no_server_and_believes_none_gone() -> Result<()> {
    let mut stack = without_machines("other-project", quick_with(json!({})))?;
    let state = stack.directory().join("cloud/state.json");
    let empty = std::fs::read(&state).context("the vendors before anything was made")?;
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

    stack.restart_cloud_with(&ours)?;
    stack.api.wait_for(&id, State::Deleted, LIMIT)?;
    nothing_bills(&stack, &id)?;
    settled(&stack, &other)?;
    stack.stop()
}
