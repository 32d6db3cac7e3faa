//! A workspace lives and dies: the main path, from a `curl` to nothing left.

use crate::common::{
    LIMIT, cloning, nothing_bills, quick, quick_with, ready, servers_ever, with_machines, without_machines,
};
use anyhow::{Result, ensure};
use ebbtide_api::workspace::{State, StepState};
use ebbtide_system_tests::Stack;
use ebbtide_system_tests::agents::Agents;
use ebbtide_system_tests::api::Discard;
use ebbtide_system_tests::wait;
use serde_json::{Value, json};

#[test]
fn curl_spawns_a_server_with_names_and_its_deadline_deletes_both() -> Result<()> {
    let stack = without_machines("curl", quick_with(json!({ "boot_stall": "6s" })))?;
    // The very program that people use, with the header from a file so that no secret is in its arguments.
    let header = stack.directory().join("header");
    std::fs::write(&header, format!("authorization: Bearer {}\n", stack.owner_token))?;
    let said = ebbtide_system_tests::process::run("curl", |curl| {
        curl.args(["-sS", "--fail", "-H", "content-type: application/json", "-d", "{}", "-H"])
            .arg(format!("@{}", header.display()))
            .arg(format!("{}/v1/workspaces", stack.url))
    })?;
    let workspace: Value = serde_json::from_str(&said)?;
    let id = workspace["id"].as_str().unwrap_or_default();
    let names = wait::until("server and names", LIMIT, || {
        let inventory = stack.cloud.inventory().map_err(|error| error.to_string())?;
        let names = inventory.names_of(id);
        if inventory.live_of(id).len() == 1 && names.len() == 2 {
            Ok(names)
        } else {
            Err(format!("{inventory:?}"))
        }
    })?;
    let name = workspace["name"].as_str().unwrap_or_default();
    ensure!(
        names == [format!("*.{name}-{id}.ebb.localhost"), format!("{name}-{id}.ebb.localhost")],
        "{names:?}"
    );
    let inventory = stack.cloud.inventory()?;
    let server = inventory.live_of(id)[0];
    ensure!(server.name == format!("ebb-{id}-1"), "{server:?}");
    for label in
        ["ebbtide-install", "ebbtide-tenant", "ebbtide-workspace", "ebbtide-generation", "ebbtide-expires"]
    {
        ensure!(server.labels.contains_key(label), "{label} is missing: {server:?}");
    }
    // Nothing ever boots in it: without progress it ends by itself, and says so.
    let failed = wait::until("the deadline", LIMIT, || {
        let workspace = stack.api.get(id).map_err(|error| format!("{error:#}"))?;
        if workspace.state == State::Failed {
            Ok(workspace)
        } else {
            Err(ebbtide_system_tests::api::shown(&workspace))
        }
    })?;
    nothing_bills(&stack, id)?;
    servers_ever(&stack, id, 1)?;
    let failure = failed.failure.unwrap_or_else(|| panic!("failed without a failure"));
    ensure!(!failure.code.as_str().is_empty() && !failure.hint.is_empty(), "{failure:?}");
    stack.stop()
}

#[test]
fn the_end_of_the_lifetime_backs_up_and_deletes_whatever_goes_on_inside() -> Result<()> {
    let stack = with_machines("lifetime", quick())?;
    let request = json!({ "repo": crate::common::REPOSITORY, "idle_timeout": "1h", "lifetime": "12s" });
    let id = ready(&stack, &request)?.id.to_string();
    stack.machine_of(&id)?.shell(
        "ebb",
        "echo kept > /workspaces/ebbtide/kept; setsid sh -c 'while :; do :; done' >/dev/null 2>&1 &",
    )?;
    let asleep = stack.api.wait_for(&id, State::Asleep, LIMIT)?;
    ensure!(asleep.last_backup.is_some(), "{asleep:?}");
    nothing_bills(&stack, &id)?;
    stack.stop()
}

/// Everything that a backup has been known to lose elsewhere.
const WORK: &str = "set -e; cd /workspaces/ebbtide
    git config user.email a@b; git config user.name n
    git checkout -q -b one; echo one > conflict; git add conflict; git commit -qm one
    git checkout -q -b two HEAD~1; echo two > conflict; git add conflict; git commit -qm two
    git merge -q one >/dev/null 2>&1 || true; test -e .git/MERGE_HEAD
    echo SECRET=1 > .env; echo .env >> .git/info/exclude
    mkdir -p target/deep empty; head -c 2000000 /dev/urandom > target/deep/ignored.bin
    printf x > 'with space'; printf y > \"$(printf 'new\\nline')\"; ln -s /nowhere dangling; ln -s README.md link
    printf '#!/bin/sh\\n' > run.sh; chmod 750 run.sh; touch -d '2001-02-03 04:05:06' old
    mkdir -p ~/.config/x; echo secret > ~/.config/x/token; chmod 600 ~/.config/x/token
    ln run.sh same-file; ln run.sh ~/.config/x/same-file-too; mkfifo fifo; touch -h -d '1999-12-31 23:59:59.5' dangling
    truncate -s 20M holes; echo end >> holes; chmod 2770 target; ln -s loop loop; touch -d '2100-01-01' .later
    python3 -c 'import os; os.setxattr(\"run.sh\", \"user.note\", b\"kept \\x00 whole\")' || true
    touch -d '2003-04-05 06:07:08.123456789' empty";
/// What only root can leave behind.
const ROOTS_WORK: &str =
    "cd /workspaces/ebbtide; echo theirs > owned; chown 12345:54321 owned; chmod 4750 owned
    printf x > closed; chmod 000 closed";

#[test]
fn every_wake_gives_back_the_same_bytes_in_the_middle_of_a_merge() -> Result<()> {
    let stack = with_machines("bytes", quick())?;
    let workspace = ready(&stack, &cloning())?;
    let id = workspace.id.to_string();
    let step = |name: &str| workspace.boot.iter().find(|step| step.name == name);
    ensure!(step("clone").is_some_and(|step| step.state == StepState::Done), "{:?}", workspace.boot);
    let agents = Agents::prepare(stack.machine_of(&id)?)?;
    converse(&stack, &id, "", "do:think 0, this is about the tide of 1953")?;
    stack.machine_of(&id)?.shell("ebb", WORK)?;
    // Not every machine's namespace has these owners.
    let _ = stack.machine_of(&id)?.shell("root", ROOTS_WORK);
    drop(agents);
    let first = fingerprint(&stack, &id)?;
    let facts = stack.machine_of(&id)?.facts("/workspaces")?;
    for generation in 2..=4 {
        stack.api.act(&id, "sleep")?;
        let asleep = stack.api.wait_for(&id, State::Asleep, LIMIT)?;
        let backup = asleep.last_backup.unwrap_or_else(|| panic!("asleep without a backup"));
        ensure!(!backup.partial && backup.files > 0, "{backup:?}");
        nothing_bills(&stack, &id)?;
        stack.api.act(&id, "wake")?;
        let awake = stack.api.wait_for(&id, State::Running, LIMIT)?;
        ensure!(awake.generation.0 == generation, "{:?}", awake.generation);
        let names: Vec<&str> = awake.boot.iter().map(|step| step.name.as_str()).collect();
        ensure!(names.contains(&"restore") && !names.contains(&"clone"), "{names:?}");
        ensure!(first == fingerprint(&stack, &id)?, "the files differ after wake {generation}");
        let again = stack.machine_of(&id)?.facts("/workspaces")?;
        let differing: Vec<_> = facts.iter().zip(&again).filter(|(one, other)| one != other).collect();
        ensure!(facts == again, "after wake {generation}: {differing:#?}");
    }
    // The agent finds its conversation: what was said before the sleeps is part of what the model is asked now.
    let machine = stack.machine_of(&id)?;
    let port = machine.shell("ebb", "grep -o '127.0.0.1:[0-9]*' ~/agents.env | cut -d: -f2")?;
    let port: u16 = port.trim().parse()?;
    machine.shell("ebb", &format!("tmux new-window -d 'exec python3 ~/fake_llm.py {port} ~/model.log'"))?;
    wait::until("the model to listen", LIMIT, || {
        if machine.listens(port) { Ok(()) } else { Err("it does not".to_owned()) }
    })?;
    converse(&stack, &id, "--continue", "do:think 0, what was it about?")?;
    let projects = "cat ~/.claude/projects/*/*.jsonl";
    let said = stack.machine_of(&id)?.shell("ebb", projects)?;
    let sessions: std::collections::BTreeSet<&str> = said
        .lines()
        .filter(|line| line.contains("tide of 1953") || line.contains("what was it about"))
        .filter_map(|line| line.split("\"sessionId\":\"").nth(1)?.split('"').next())
        .collect();
    ensure!(sessions.len() == 1, "{} conversations instead of one that goes on: {said}", sessions.len());
    servers_ever(&stack, &id, 4)?;
    stack.api.delete(&id, Discard::Work)?;
    stack.api.wait_for(&id, State::Deleted, LIMIT)?;
    nothing_bills(&stack, &id)?;
    stack.stop()
}

/// Has Claude Code say something in the terminal's place and end.
fn converse(stack: &Stack, id: &str, arguments: &str, prompt: &str) -> Result<()> {
    let claude = format!(
        "cd /workspaces/ebbtide && . ~/agents.env && timeout 90 claude {arguments} --print -- '{prompt}' </dev/null 2>&1"
    );
    let said = stack.machine_of(id)?.shell("ebb", &claude)?;
    ensure!(said.contains("all done"), "Claude Code said: {said}");
    Ok(())
}

fn fingerprint(stack: &Stack, id: &str) -> Result<String> {
    let machine = stack.machine_of(id)?;
    Ok(format!("{}\n{}", machine.fingerprint("/workspaces")?, machine.fingerprint("/home/ebb")?))
}

#[test]
fn a_deletion_backs_up_first_and_can_be_undone() -> Result<()> {
    let stack = with_machines("delete", quick())?;
    let id = ready(&stack, &cloning())?.id.to_string();
    stack.machine_of(&id)?.shell("ebb", "echo precious > /workspaces/ebbtide/precious")?;
    stack.api.delete(&id, Discard::Nothing)?;
    stack.api.wait_for(&id, State::Deleted, LIMIT)?;
    nothing_bills(&stack, &id)?;
    stack.api.act(&id, "undelete")?;
    stack.api.wait_for(&id, State::Asleep, LIMIT)?;
    stack.api.act(&id, "wake")?;
    stack.api.wait_for(&id, State::Running, LIMIT)?;
    let found = stack.machine_of(&id)?.shell("ebb", "cat /workspaces/ebbtide/precious")?;
    ensure!(found == "precious", "{found}");
    stack.stop()
}

#[test]
fn a_repository_that_cannot_be_cloned_fails_with_the_reason_and_leaves_nothing() -> Result<()> {
    let stack = with_machines("unclonable", quick())?;
    let table = [
        json!({ "repo": "http://git.ebbtide.test/there-is-none.git" }),
        json!({ "repo": crate::common::REPOSITORY, "branch": "there-is-none" }),
        json!({ "repo": "http://unreachable.invalid/x.git" }),
    ];
    let mut ids = Vec::new();
    for request in &table {
        ids.push(stack.api.create(request)?.id.to_string());
    }
    for (id, request) in ids.iter().zip(&table) {
        let failed = wait::until("the clone's failure", LIMIT * 2, || {
            let workspace = stack.api.get(id).map_err(|error| format!("{error:#}"))?;
            if workspace.state == State::Failed {
                Ok(workspace)
            } else {
                Err(ebbtide_system_tests::api::shown(&workspace))
            }
        })?;
        let failure = failed.failure.unwrap_or_else(|| panic!("failed without a failure"));
        ensure!(!failure.message.is_empty() && !failure.hint.is_empty(), "{request}: {failure:?}");
        nothing_bills(&stack, id)?;
    }
    stack.stop()
}
