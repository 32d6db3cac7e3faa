//! Secrets stay where they belong, and a machine can do nothing but its own work.

use crate::common::{LIMIT, cloning, quick, ready, with_machines};
use anyhow::{Context, Result, ensure};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ebbtide_api::workspace::State;
use serde_json::{Value, json};
use stack::Stack;
use std::io::Read;

/// What user-data gave a machine to enrol with.
fn agent_configuration(stack: &Stack, server: u64) -> Result<Value> {
    let sent = stack.cloud.user_data(server)?;
    let packed = STANDARD.decode(sent.trim()).context("user-data is not base64")?;
    let mut text = String::new();
    flate2::read::GzDecoder::new(packed.as_slice()).read_to_string(&mut text)?;
    let config: Value = serde_json::from_str(text.trim_start_matches("#cloud-config\n"))?;
    let files = config["write_files"].as_array().context("no files")?;
    let file =
        files.iter().find(|file| file["path"] == "/etc/ebbtide/agent.json").context("no agent.json")?;
    Ok(serde_json::from_str(file["content"].as_str().unwrap_or_default())?)
}

#[test]
fn a_second_machine_cannot_enrol_with_a_token_that_was_used() -> Result<()> {
    let stack = with_machines("enrol", quick())?;
    let id = ready(&stack, &cloning())?.id.to_string();
    let server = stack.cloud.inventory()?.live_of(&id)[0].id;
    let told = agent_configuration(&stack, server)?;
    let body = json!({
        "workspace": id, "generation": 1, "enrolment_token": told["enrolment_token"],
        "machine_key": STANDARD.encode([7u8; 32]), "signature": STANDARD.encode([7u8; 64]), "agent_version": "x",
    });
    let answer = stack.api.with_token("").call("POST", "/v1/vm/enroll", Some(&body))?;
    ensure!((400..500).contains(&answer.status), "{} {}", answer.status, answer.text());
    ensure!(answer.json()["hint"].is_string(), "{}", answer.text());
    // The machine itself is none the worse for it.
    stack.api.wait(&id, "heard of", LIMIT, |workspace| {
        workspace.state == State::Running && workspace.heard_secs_ago.is_some_and(|secs| secs <= 2)
    })?;
    stack.stop()
}

#[test]
fn no_secret_shows_in_user_data_arguments_environment_or_logs() -> Result<()> {
    let stack = with_machines("secrets", quick())?;
    let request = json!({ "repo": crate::common::REPOSITORY, "env": { "API_KEY": "hunter2-hunter2" } });
    let id = ready(&stack, &request)?.id.to_string();
    let server = stack.cloud.inventory()?.live_of(&id)[0].id;
    let told = agent_configuration(&stack, server)?;
    ensure!(
        told.as_object().is_some_and(|told| told.len() == 4),
        "user-data holds more than it must: {told}"
    );
    ensure!(!stack.cloud.user_data(server)?.contains("hunter2"), "user-data holds a secret");

    let machine = stack.machine_of(&id)?;
    let enrolment = told["enrolment_token"].as_str().unwrap_or_default().to_owned();
    let owner = stack.owner_token.clone();
    let arguments = machine.shell("root", "cat /proc/[0-9]*/cmdline | tr '\\0' ' '")?;
    for secret in [&enrolment, &owner, &"hunter2-hunter2".to_owned()] {
        ensure!(!arguments.contains(secret.as_str()), "a secret is in a process' arguments");
    }
    // The workspace's own programs get its environment; the machine's other ones do not.
    let shown =
        machine.shell("ebb", "tmux new-window -d 'printenv API_KEY > /tmp/seen'; sleep 1; cat /tmp/seen")?;
    ensure!(shown == "hunter2-hunter2", "the terminal does not have it: {shown:?}");
    for part in ["worker", "cloud"] {
        let log = std::fs::read_to_string(stack.log(part))?;
        for secret in [&enrolment, &owner, &"hunter2".to_owned()] {
            ensure!(!log.contains(secret.as_str()), "a secret is in the log of the {part}");
        }
    }
    let page = stack.api.call("GET", &format!("/v1/workspaces/{id}"), None)?.text();
    ensure!(!page.contains("hunter2"), "the API shows a secret");
    let journal = serde_json::to_string(&stack.cloud.journal()?)?;
    ensure!(!journal.contains("hunter2"), "a vendor was told a secret");
    stack.stop()
}

#[test]
fn a_user_of_a_machine_reads_none_of_the_agent_s_secrets() -> Result<()> {
    let stack = with_machines("files", quick())?;
    let id = ready(&stack, &cloning())?.id.to_string();
    let machine = stack.machine_of(&id)?;
    for path in ["/etc/ebbtide/agent.json", "/run/ebbtide", "/var/lib/ebbtide"] {
        let read = machine.shell("ebb", &format!("find {path} -type f -readable 2>/dev/null | xargs -r cat"));
        let read = read.unwrap_or_default();
        ensure!(!read.contains("token") && !read.contains("eyJ"), "the user reads {path}");
    }
    stack.stop()
}

#[test]
fn a_branch_that_looks_like_shell_is_an_argument() -> Result<()> {
    let stack = with_machines("shell", quick())?;
    let request = json!({ "repo": crate::common::REPOSITORY, "branch": "$(touch${IFS}/tmp/owned)" });
    let answer = stack.api.call("POST", "/v1/workspaces", Some(&request))?;
    if answer.status == 202 {
        let id = answer.json()["id"].as_str().unwrap_or_default().to_owned();
        let failed = stack::wait::until("the clone's failure", LIMIT, || {
            let workspace = stack.api.get(&id).map_err(|error| format!("{error:#}"))?;
            if let Ok(machine) = stack.machine_of(&id) {
                assert!(!machine.path("/tmp/owned").exists(), "a branch was run as shell text");
            }
            if workspace.state == State::Failed { Ok(workspace) } else { Err(stack::api::shown(&workspace)) }
        })?;
        ensure!(failed.failure.is_some(), "{failed:?}");
    } else {
        ensure!(answer.status == 422, "{} {}", answer.status, answer.text());
    }
    stack.stop()
}
