//! Servers that the vendor makes and does not start. Servers here are entries in a table.

use crate::common::{LIMIT, nothing_bills, quick_with, servers_ever, without_machines};
use anyhow::{Result, ensure};
use ebbtide_api::EventCode;
use ebbtide_system_tests::api::Discard;
use ebbtide_system_tests::{Stack, wait};
use serde_json::json;

fn told(stack: &Stack, id: &str, code: &EventCode) -> usize {
    let events = stack.api.events(id).unwrap_or_default();
    events.iter().filter(|event| event.code.as_ref() == Some(code)).count()
}

fn runs(stack: &Stack, id: &str, generation: u32) -> Result<()> {
    wait::until("a server that runs", LIMIT, || {
        let workspace = stack.api.get(id).map_err(|error| format!("{error:#}"))?;
        let inventory = stack.cloud.inventory().map_err(|error| format!("{error:#}"))?;
        let live = inventory.live_of(id);
        let runs = live.len() == 1 && live.iter().all(|server| server.status == "running");
        if runs && workspace.generation.0 == generation {
            Ok(())
        } else {
            Err(format!("{workspace:?} {live:?}"))
        }
    })
}

#[test]
fn a_server_that_was_not_started_is_switched_on_and_one_that_stays_off_gives_way_to_another_place()
-> Result<()> {
    let stack = without_machines("starts", quick_with(json!({ "start_question": "3s" })))?;
    let fails = |fault: &str| {
        let fault = json!({ "kind": "machine", "fault": fault });
        stack.cloud.fault("hetzner", "POST /servers", 1, &fault)
    };
    fails("fail_one_start")?;
    let once = stack.api.create(&json!({}))?.id.to_string();
    runs(&stack, &once, 1)?;
    ensure!(told(&stack, &once, &EventCode::ServerOff) == 1, "nobody was told that it was off");
    stack.api.delete(&once, Discard::Work)?;

    fails("fail_starts")?;
    let elsewhere = stack.api.create(&json!({}))?;
    let (id, first) = (elsewhere.id.to_string(), elsewhere.location);
    runs(&stack, &id, 2)?;
    ensure!(told(&stack, &id, &EventCode::StartFailed) == 1, "{:?}", stack.api.events(&id)?);
    let now = stack.api.get(&id)?;
    ensure!(now.location != first, "it was tried again at {first}");
    stack.api.delete(&id, Discard::Work)?;
    nothing_bills(&stack, &id)?;
    servers_ever(&stack, &id, 2)?;
    stack.stop()
}
