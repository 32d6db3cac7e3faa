//! From the idle verdict to nothing at the vendors, in one piece, with everything about it that can die dying once:
//! the idle-agent under its service manager's own restart policy, the control plane for a while, the network of a
//! machine that is switched off, and a provider that takes its time to delete.

use crate::common::{LIMIT, REPOSITORY, nothing_bills, quick, servers_ever, with_machines_and};
use anyhow::{Context as _, Result, ensure};
use ebbtide_api::history::{Event, EventCode};
use ebbtide_api::workspace::{State, Workspace};
use ebbtide_system_tests::api::shown;
use ebbtide_system_tests::machine::Machine;
use ebbtide_system_tests::{Runner, Stack, wait};
use serde_json::json;
use std::time::Duration;

/// The repository's directory in a machine.
const PLACE: &str = "/workspaces/ebbtide";
/// So many deletions are refused before one is taken; with pauses of one or two seconds between them.
const REFUSED_DELETIONS: u32 = 6;

#[test]
fn an_idle_machine_ends_by_itself_whatever_dies_on_the_way() -> Result<()> {
    let mut stack = with_machines_and(Runner::Wrangler, "whole-path", quick())?;
    let request = json!({ "repo": REPOSITORY, "idle_timeout": "10s" });
    let id = stack.api.create(&request)?.id.to_string();
    stack.api.wait_for(&id, State::Running, LIMIT)?;
    let machine = stack.machine_of(&id)?;
    let server = stack.cloud.inventory()?.live_of(&id).first().context("a server")?.id;
    // Work, and a program that would write on for ever if nothing stopped it, but does nothing that counts.
    machine.shell(
        "ebb",
        &format!(
            "cd {PLACE} && head -c 12M /dev/urandom > untracked.bin && echo SECRET=1 > .env && \
             tmux new-window -d 'while sleep 2; do echo tick >> {PLACE}/ticks; done'"
        ),
    )?;
    let refused = json!({ "kind": "refuse", "status": 503, "code": "unavailable", "message": "maintenance" });
    stack.cloud.fault("hetzner", "DELETE /servers/**", REFUSED_DELETIONS, &refused)?;
    // Nobody asks for it: the verdict does.
    stack.api.wait(&id, "draining", LIMIT, |workspace| workspace.state == State::Draining)?;
    // Too late is fine: then it has delivered already.
    let _ = machine.crash("ebb-agent");
    stack.crash_worker();
    wait::stays("the machine", Duration::from_secs(8), || {
        let live = stack.cloud.inventory().map_err(|error| format!("{error:#}"))?.live_of(&id).len();
        if live == 1 { Ok(()) } else { Err(format!("{live} servers")) }
    })?;
    stack.restart_worker()?;
    // Its backup is verified, and the provider does not let go of it yet: it stays frozen and begins nothing anew.
    stack.api.wait(&id, "destroying", LIMIT, |workspace| workspace.state == State::Destroying)?;
    let before = told(&stack, &id)?;
    let ticks = machine.path(&format!("{PLACE}/ticks"));
    let at_freeze = std::fs::metadata(&ticks).map(|file| file.len());
    let asleep = wait::until("sleep", LIMIT, || {
        let workspace = stack.api.get(&id).map_err(|error| format!("{error:#}"))?;
        if workspace.state == State::Asleep { Ok(workspace) } else { Err(shown(&workspace)) }
    })?;
    nothing_bills(&stack, &id)?;
    servers_ever(&stack, &id, 1)?;
    order(&stack, &id, server, &asleep)?;
    let after = told(&stack, &id)?;
    ensure!(after.backups == before.backups, "it backed up again while it was let go: {before:?}, {after:?}");
    // What it holds is what stood still.
    stack.api.act(&id, "wake")?;
    stack.api.wait_for(&id, State::Running, LIMIT)?;
    let woken = stack.machine_of(&id)?;
    let size = woken.shell("ebb", &format!("stat -c %s {PLACE}/untracked.bin {PLACE}/.env"))?;
    ensure!(size.split_whitespace().eq(["12582912", "9"]), "{size}");
    if let Ok(at_freeze) = at_freeze {
        let kept: u64 = size_of(&woken, "ticks")?;
        ensure!(kept == at_freeze, "{at_freeze} bytes when it was frozen, {kept} in the backup");
    }
    stack.stop()
}

fn size_of(machine: &Machine, name: &str) -> Result<u64> {
    Ok(machine.shell("ebb", &format!("stat -c %s {PLACE}/{name}"))?.trim().parse()?)
}

/// What the history tells.
#[derive(Debug)]
struct Told {
    backups: usize,
}

fn told(stack: &Stack, id: &str) -> Result<Told> {
    let events = stack.api.events(id)?;
    let backups = events.iter().filter(|event| event.code == Some(EventCode::BackupVerified)).count();
    Ok(Told { backups })
}

/// Verdict, drain, receipt, deletion: each after the one before it, and the server's deletion after the receipt.
fn order(stack: &Stack, id: &str, server: u64, asleep: &Workspace) -> Result<()> {
    ensure!(asleep.last_backup.is_some(), "{asleep:?}");
    let events = stack.api.events(id)?;
    let find = |what: &str, is_it: &dyn Fn(&Event) -> bool| {
        events.iter().position(is_it).with_context(|| format!("no {what} in {events:?}"))
    };
    let verdict =
        find("idle verdict", &|event| event.state == State::Draining && event.code == Some(EventCode::Idle))?;
    let receipt = find("verified backup", &|event| event.code == Some(EventCode::BackupVerified))?;
    let destroying = find("destruction", &|event| event.state == State::Destroying)?;
    let rest = find("rest", &|event| event.state == State::Asleep)?;
    ensure!(verdict < receipt && receipt < destroying && destroying < rest, "{events:?}");
    let path = format!("/servers/{server}");
    let deletions: Vec<u64> = stack
        .cloud
        .journal()?
        .iter()
        .filter(|entry| {
            entry["method"] == "DELETE" && entry["path"].as_str().is_some_and(|p| p.ends_with(&path))
        })
        .filter_map(|entry| entry["status"].as_u64())
        .collect();
    let taken = deletions.iter().filter(|status| **status < 300).count();
    let refused = deletions.iter().filter(|status| **status == 503).count();
    ensure!(taken == 1 && refused == REFUSED_DELETIONS as usize, "deletions: {deletions:?}");
    Ok(())
}
