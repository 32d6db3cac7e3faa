//! The provider's rate limit: a project whose calls are few goes on working, and what ends a machine goes first.

use crate::common::{LIMIT, nothing_bills, quick_with};
use crate::slots::{self, Work};
use anyhow::{Context, Result, ensure};
use ebbtide_api::workspace::State;
use ebbtide_system_tests::api::{Discard, shown};
use ebbtide_system_tests::{Options, Runner, Stack, wait};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// How many are spawned at once: with two calls each at the least, more than the provider allows.
const SPAWNED: usize = 10;

#[test]
fn ten_spawns_in_a_project_that_allows_twenty_calls_converge_and_a_delete_does_not_wait_for_them()
-> Result<()> {
    slots::take(Work::Long);
    let stack = Stack::start(Options {
        name: "gate".into(),
        runner: Runner::Miniflare,
        policy: quick_with(json!({ "boot_stall": "10m", "provision_budget": "10m", "poll": "2s" })),
        // Nothing but the workspaces calls the provider.
        cron_every: Duration::from_secs(3_600),
        machine_calls: Some("20/24s"),
        ..Options::default()
    })?;
    stack.api.call("GET", "/v1/catalog", None)?.expect(200)?;
    let mut ids = Vec::new();
    for _ in 0..SPAWNED {
        ids.push(stack.api.create(&json!({}))?.id.to_string());
    }
    let doomed = wait::until("one server while others wait for calls", LIMIT, || {
        let inventory = stack.cloud.inventory().map_err(|error| error.to_string())?;
        let with_server: Vec<&String> = ids.iter().filter(|id| inventory.live_of(id).len() == 1).collect();
        let waiting = waits_for_calls(&stack, &ids).map_err(|error| format!("{error:#}"))?;
        match with_server.first() {
            Some(id) if waiting > 0 => Ok((*id).clone()),
            _ => Err(format!("{} servers, {waiting} wait", with_server.len())),
        }
    })?;
    stack.api.delete(&doomed, Discard::Work)?;
    let asked = Instant::now();
    wait::until("the delete's call", LIMIT, || {
        let inventory = stack.cloud.inventory().map_err(|error| error.to_string())?;
        let left = inventory.live_of(&doomed).len();
        if left == 0 { Ok(()) } else { Err(format!("{left} servers")) }
    })?;
    let took = asked.elapsed();
    ensure!(waits_for_calls(&stack, &ids)? > 0, "nobody waited any more: the delete proved nothing");
    ensure!(took < Duration::from_secs(12), "the delete took {took:?} while calls were few");
    for id in ids.iter().filter(|id| **id != doomed) {
        stack.api.wait_for(id, State::Booting, LIMIT * 3)?;
    }
    nothing_bills(&stack, &doomed)?;
    let (calls, refused) = counted(&stack)?;
    // The very first calls are made before any answer has told the limit.
    ensure!(refused <= 2, "{refused} of {calls} calls were refused");
    stack.stop()
}

/// How many of the workspaces say that they wait for the provider's rate limit.
fn waits_for_calls(stack: &Stack, ids: &[String]) -> Result<usize> {
    let mut waiting = 0;
    for id in ids {
        let workspace = stack.api.get(id)?;
        ensure!(workspace.state != State::Failed, "{}", shown(&workspace));
        let says = |text: &String| text.contains("rate limit") && text.contains("again in");
        waiting += usize::from(workspace.waiting_for.as_ref().is_some_and(says));
    }
    Ok(waiting)
}

/// Calls that the provider of machines got, and how many it refused for its limit.
fn counted(stack: &Stack) -> Result<(usize, usize)> {
    let journal = stack.cloud.journal()?;
    let calls: Vec<&Value> = journal.iter().filter(|entry| entry["provider"] == "hetzner").collect();
    Ok((calls.len(), calls.iter().filter(|entry| entry["status"] == 429).count()))
}

#[test]
fn a_refusal_for_the_rate_limit_is_waited_out_by_everybody_and_told() -> Result<()> {
    slots::take(Work::Own);
    let stack = Stack::start(Options {
        name: "gate-429".into(),
        runner: Runner::Miniflare,
        policy: quick_with(json!({ "boot_stall": "10m" })),
        cron_every: Duration::from_secs(3_600),
        ..Options::default()
    })?;
    stack.api.call("GET", "/v1/catalog", None)?.expect(200)?;
    let fault = json!({ "kind": "rate_limited", "retry_after_secs": 6 });
    stack.cloud.fault("hetzner", "POST /servers", 1, &fault)?;
    let first = stack.api.create(&json!({}))?.id.to_string();
    let refused = wait::until("the refusal", LIMIT, || {
        let journal = stack.cloud.journal().map_err(|error| error.to_string())?;
        let refused =
            journal.iter().find(|entry| entry["status"] == 429).and_then(|entry| entry["at_ms"].as_i64());
        refused.ok_or_else(|| "no call was refused".to_owned())
    })?;
    let second = stack.api.create(&json!({}))?.id.to_string();
    let waits = stack.api.wait(&second, "waiting for the provider", LIMIT, |workspace| {
        workspace.waiting_for.as_ref().is_some_and(|text| text.contains("asked us to pause"))
    })?;
    ensure!(waits.state == State::Provisioning, "{}", shown(&waits));
    for id in [&first, &second] {
        stack.api.wait_for(id, State::Booting, LIMIT * 2)?;
    }
    let journal = stack.cloud.journal()?;
    let after: Vec<i64> = journal
        .iter()
        .filter(|entry| entry["provider"] == "hetzner")
        .filter_map(|entry| entry["at_ms"].as_i64())
        .filter(|at| *at > refused)
        .collect();
    let next = after.first().context("nothing was called after the refusal")?;
    ensure!(next - refused >= 5_500, "called again after {} ms", next - refused);
    stack.stop()
}

#[test]
fn a_gate_that_does_not_answer_holds_up_creations_with_a_reason_and_no_deletion() -> Result<()> {
    slots::take(Work::Own);
    let mut stack = Stack::start(Options {
        name: "no-gate".into(),
        policy: quick_with(json!({ "boot_stall": "10m" })),
        cron_every: Duration::from_secs(3_600),
        ..Options::default()
    })?;
    let doomed = stack.api.create(&json!({}))?.id.to_string();
    stack.api.wait_for(&doomed, State::Booting, LIMIT)?;
    // The Worker comes back without its way to the gate.
    let file = stack.directory().join("project/wrangler.toml");
    let text = std::fs::read_to_string(&file)?;
    let binding = "[[durable_objects.bindings]]\nname = \"PROVIDER_GATE\"\nclass_name = \"ProviderGate\"\n";
    ensure!(text.contains(binding), "the gate is bound in another way");
    std::fs::remove_file(&file)?;
    std::fs::write(&file, text.replace(binding, ""))?;
    let Err(error) = stack.restart_worker() else { anyhow::bail!("health says nothing of it") };
    ensure!(format!("{error:#}").contains("objects: no_answer"), "{error:#}");
    let waiting = stack.api.create(&json!({}))?.id.to_string();
    stack.api.wait(&waiting, "waiting for the gate", LIMIT, |workspace| {
        workspace.waiting_for.as_ref().is_some_and(|text| text.contains("our own count"))
    })?;
    ensure!(stack.cloud.inventory()?.of(&waiting).is_empty(), "it was created all the same");
    stack.api.delete(&doomed, Discard::Work)?;
    nothing_bills(&stack, &doomed)?;
    stack.stop()
}
