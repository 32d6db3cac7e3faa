//! Nothing bills while nobody works, and nobody who works is put to sleep.

use crate::common::{LIMIT, REPOSITORY, nothing_bills, quick, ready, with_machines};
use anyhow::{Result, ensure};
use ebbtide_api::workspace::State;
use serde_json::json;
use stack::{Stack, wait};
use std::time::Duration;

fn short() -> serde_json::Value {
    json!({ "repo": REPOSITORY, "idle_timeout": "10s" })
}

fn stays_awake(stack: &Stack, id: &str, span: Duration) -> Result<()> {
    wait::stays("awake", span, || {
        let workspace = stack.api.get(id).map_err(|error| format!("{error:#}"))?;
        if workspace.state == State::Running { Ok(()) } else { Err(stack::api::shown(&workspace)) }
    })
}

#[test]
fn a_dev_server_that_nobody_visits_does_not_keep_a_workspace_awake() -> Result<()> {
    let stack = with_machines("idle", quick())?;
    let id = ready(&stack, &short())?.id.to_string();
    stack.machine_of(&id)?.shell("ebb", "tmux new-window -d 'exec python3 -m http.server 3000'")?;
    let asleep = stack.api.wait_for(&id, State::Asleep, LIMIT)?;
    ensure!(asleep.last_backup.is_some(), "{asleep:?}");
    let events = stack.api.events(&id)?;
    ensure!(events.iter().any(|event| event.because.contains("nothing has happened")), "{events:?}");
    nothing_bills(&stack, &id)?;
    stack.stop()
}

#[test]
fn a_build_keeps_a_workspace_awake_and_its_end_lets_it_sleep() -> Result<()> {
    let stack = with_machines("busy", quick())?;
    let id = ready(&stack, &short())?.id.to_string();
    // A job of 20 s, twice the idle timeout, that writes nothing and that nobody watches.
    let job = "tmux new-window -d 'timeout 20 python3 -c \"while True: pass\"'";
    stack.machine_of(&id)?.shell("ebb", job)?;
    stays_awake(&stack, &id, Duration::from_secs(18))?;
    stack.api.wait_for(&id, State::Asleep, LIMIT)?;
    stack.stop()
}

#[test]
fn a_hold_keeps_a_workspace_awake_until_it_is_released() -> Result<()> {
    let stack = with_machines("hold", quick())?;
    let id = ready(&stack, &short())?.id.to_string();
    let path = format!("/v1/workspaces/{id}/holds");
    let body = json!({ "for": "10m", "reason": "I am at lunch" });
    let answer = stack.api.call("POST", &path, Some(&body))?;
    ensure!((200..300).contains(&answer.status), "{} {}", answer.status, answer.text());
    let hold = answer.json()["id"].as_str().unwrap_or_default().to_owned();
    stays_awake(&stack, &id, Duration::from_secs(16))?;
    let why = stack.api.get(&id)?.why.unwrap_or_else(|| panic!("awake without a reason"));
    ensure!(why.leases.iter().any(|lease| lease.reason == "I am at lunch"), "{why:?}");
    let answer = stack.api.call("DELETE", &format!("{path}/{hold}"), None)?;
    ensure!((200..300).contains(&answer.status), "{} {}", answer.status, answer.text());
    stack.api.wait_for(&id, State::Asleep, LIMIT)?;
    stack.stop()
}
