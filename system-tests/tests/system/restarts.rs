//! Parts that die and come back: the workspace still ends where it should.

use crate::common::{LIMIT, cloning, nothing_bills, quick, quick_with, ready, servers_ever, with_machines};
use anyhow::{Result, ensure};
use ebbtide_api::workspace::State;
use ebbtide_system_tests::api::Discard;
use ebbtide_system_tests::{Stack, wait};
use serde_json::json;
use std::time::Duration;

#[test]
fn a_worker_that_dies_in_every_state_finishes_what_it_began() -> Result<()> {
    let mut stack = with_machines("worker-restarts", quick())?;
    // Provisioning: at once after the spawn.
    let id = stack.api.create(&cloning())?.id.to_string();
    stack.restart_worker()?;
    stack.api.wait_for(&id, State::Running, LIMIT)?;
    servers_ever(&stack, &id, 1)?;
    stack.machine_of(&id)?.shell("ebb", "echo kept > /workspaces/ebbtide/kept")?;
    // Running: the machine finds its way back.
    stack.restart_worker()?;
    stack.api.wait(&id, "heard of again", LIMIT, |workspace| {
        workspace.heard_secs_ago.is_some_and(|secs| secs <= 2)
    })?;
    // Draining.
    stack.api.act(&id, "sleep")?;
    stack.restart_worker()?;
    stack.api.wait_for(&id, State::Asleep, LIMIT)?;
    nothing_bills(&stack, &id)?;
    // Asleep, then waking.
    stack.restart_worker()?;
    stack.api.act(&id, "wake")?;
    stack.restart_worker()?;
    stack.api.wait_for(&id, State::Running, LIMIT)?;
    let kept = stack.machine_of(&id)?.shell("ebb", "cat /workspaces/ebbtide/kept")?;
    ensure!(kept == "kept", "{kept}");
    servers_ever(&stack, &id, 2)?;
    // Destroying.
    stack.api.delete(&id, Discard::Work)?;
    stack.restart_worker()?;
    stack.api.wait_for(&id, State::Deleted, LIMIT)?;
    nothing_bills(&stack, &id)?;
    stack.stop()
}

#[test]
fn an_idle_agent_that_is_killed_in_every_state_comes_back_and_goes_on() -> Result<()> {
    let stack = with_machines("agent-restarts", quick())?;
    let id = stack.api.create(&cloning())?.id.to_string();
    // Booting.
    let machine = wait::until("the idle-agent", LIMIT, || {
        let machine = stack.machine_of(&id).map_err(|error| format!("{error:#}"))?;
        machine.crash("ebb-agent").map_err(|error| format!("{error:#}"))?;
        Ok(machine)
    })?;
    stack.api.wait_for(&id, State::Running, LIMIT)?;
    // Running: terminals and what runs in them outlive it.
    machine
        .shell("ebb", "echo kept > /workspaces/ebbtide/kept; tmux new-window -d -n survivor 'sleep 1000'")?;
    machine.crash("ebb-agent")?;
    back(&stack, &id)?;
    let windows = machine.shell("ebb", "tmux list-windows -F '#W'")?;
    ensure!(windows.contains("survivor"), "the terminal died with the idle-agent: {windows}");
    // Draining.
    stack.api.act(&id, "sleep")?;
    stack.api.wait(&id, "draining", LIMIT, |workspace| workspace.state != State::Running)?;
    // Too late to be killed is fine: the drain is over then.
    let _ = machine.crash("ebb-agent");
    stack.api.wait_for(&id, State::Asleep, LIMIT)?;
    nothing_bills(&stack, &id)?;
    stack.api.act(&id, "wake")?;
    stack.api.wait_for(&id, State::Running, LIMIT)?;
    let kept = stack.machine_of(&id)?.shell("ebb", "cat /workspaces/ebbtide/kept")?;
    ensure!(kept == "kept", "{kept}");
    stack.stop()
}

/// Waits until the machine is heard of by an idle-agent that was started again.
fn back(stack: &Stack, id: &str) -> Result<()> {
    let machine = stack.machine_of(id)?;
    wait::until("the idle-agent to be back", LIMIT, || {
        if machine.pids_of("ebb-agent").is_empty() { Err("it does not run".into()) } else { Ok(()) }
    })?;
    stack
        .api
        .wait(id, "heard of", LIMIT, |workspace| workspace.heard_secs_ago.is_some_and(|secs| secs <= 2))?;
    Ok(())
}

#[test]
fn a_machine_that_hangs_for_a_moment_is_left_alone() -> Result<()> {
    let stack = with_machines("moment", quick_with(json!({ "silence_after": "3s" })))?;
    let id = ready(&stack, &cloning())?.id.to_string();
    let server = stack.cloud.inventory()?.live_of(&id)[0].id;
    stack.cloud.machine_fault(server, "lose_network")?;
    stack.api.wait(&id, "silent", LIMIT, |workspace| workspace.state == State::Silent)?;
    stack.cloud.machine_fault(server, "restore_network")?;
    stack.api.wait_for(&id, State::Running, LIMIT)?;
    servers_ever(&stack, &id, 1)?;
    wait::stays("running", Duration::from_secs(3), || {
        let workspace = stack.api.get(&id).map_err(|error| format!("{error:#}"))?;
        if workspace.state == State::Running {
            Ok(())
        } else {
            Err(ebbtide_system_tests::api::shown(&workspace))
        }
    })?;
    stack.stop()
}
