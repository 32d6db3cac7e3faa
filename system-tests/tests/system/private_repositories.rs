//! Private repositories and other secrets, over a whole life: what git is given, what changes while a machine runs, and
//! where no value is.

use crate::common::{LIMIT, quick, with_machines};
use anyhow::{Context, Result, ensure};
use ebbtide_api::workspace::{State, Workspace};
use ebbtide_system_tests::api::shown;
use ebbtide_system_tests::machine::Machine;
use ebbtide_system_tests::process::run;
use ebbtide_system_tests::{Stack, paths, wait};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

const PASSWORD: &str = "correct-horse-battery-staple-git";
const VARIABLE: &str = "correct-horse-battery-staple-env";
const FILE: &str = "correct-horse-battery-staple-file";
const HOST: &str = "http://git.ebbtide.test";
const REPOSITORY: &str = "http://git.ebbtide.test/private-outer.git";
const CLONED: &str = "/workspaces/private-outer";

/// A private repository with a submodule of the same host, which is private too.
fn make_repositories() -> Result<()> {
    let directory = paths::root().join("target/test-repositories");
    std::fs::create_dir_all(&directory)?;
    let script = r#"
        rm -rf private-outer.git private-inner.git
        w=$(mktemp -d); trap 'rm -rf "$w"' EXIT; export HOME="$w"
        git config --global user.name t; git config --global user.email t@example.org
        git config --global protocol.file.allow always; git config --global init.defaultBranch main
        git init -q "$w/inner"; echo inner > "$w/inner/text"
        git -C "$w/inner" add .; git -C "$w/inner" commit -qm inner
        git clone -q --bare "$w/inner" private-inner.git
        git init -q "$w/outer"; echo outer > "$w/outer/text"
        git -C "$w/outer" remote add origin "$PWD/private-outer.git"
        git -C "$w/outer" submodule --quiet add ../private-inner.git inner
        git -C "$w/outer" add .; git -C "$w/outer" commit -qm outer
        git clone -q --bare "$w/outer" private-outer.git
        for each in private-inner.git private-outer.git; do echo "$PASSWORD" > $each/password; done"#;
    run("bash", |bash| bash.args(["-euc", script]).env("PASSWORD", PASSWORD).current_dir(&directory))?;
    Ok(())
}

fn put(stack: &Stack, name: &str, usage: &Value, value: &str) -> Result<Value> {
    let body = json!({ "use": usage, "value": value, "everywhere": true });
    Ok(stack.api.call("PUT", &format!("/v1/secrets/{name}"), Some(&body))?.expect(200)?.json())
}

fn remove(stack: &Stack, name: &str) -> Result<Value> {
    Ok(stack.api.call("DELETE", &format!("/v1/secrets/{name}"), None)?.expect(200)?.json())
}

fn credential() -> Value {
    json!({ "kind": "git_credential", "host": HOST })
}

/// Waits until its boot has failed, and says how.
fn failed(stack: &Stack, id: &str) -> Result<String> {
    let workspace: Workspace = wait::until("the clone's failure", LIMIT * 2, || {
        let workspace = stack.api.get(id).map_err(|error| format!("{error:#}"))?;
        if workspace.state == State::Failed { Ok(workspace) } else { Err(shown(&workspace)) }
    })?;
    Ok(workspace.failure.context("failed without a failure")?.message)
}

/// What git says in a terminal of the machine.
fn git_says(machine: &Machine) -> Result<String> {
    // As a terminal has it: the local cloud's git is that of the host.
    let text = format!(
        "set -a; . /run/ebbtide/env; GIT_TERMINAL_PROMPT=0 git -C {CLONED} ls-remote origin 2>&1; true"
    );
    machine.shell("ebb", &text)
}

/// Files below a directory that hold one of these texts.
fn holding(directory: &Path) -> Result<Vec<PathBuf>> {
    let mut command = std::process::Command::new("grep");
    command.args(["-rlaF", "--exclude-dir=proc"]);
    for value in [PASSWORD, VARIABLE, FILE] {
        command.args(["-e", value]);
    }
    let found = command.arg(directory).output()?;
    Ok(String::from_utf8_lossy(&found.stdout).lines().map(PathBuf::from).collect())
}

#[test]
fn a_private_repository_is_cloned_once_there_is_a_credential_and_no_value_is_left_anywhere() -> Result<()> {
    make_repositories()?;
    let stack = with_machines("private-repositories", quick())?;
    let id = stack.api.create(&json!({ "repo": REPOSITORY, "idle_timeout": "1h" }))?.id.to_string();
    let said = failed(&stack, &id)?;
    ensure!(said.contains(&format!("add a git credential for {HOST} under Secrets")), "{said}");

    put(&stack, "git", &credential(), "a-password-of-before")?;
    stack.api.act(&id, "retry")?;
    let said = failed(&stack, &id)?;
    ensure!(said.contains("did not take the git credential") && said.contains("write another"), "{said}");

    put(&stack, "git", &credential(), PASSWORD)?;
    put(&stack, "author", &json!({ "kind": "git_author" }), "Ada Lovelace <ada@example.org>")?;
    stack.api.act(&id, "retry")?;
    stack.api.wait_for(&id, State::Running, LIMIT * 2)?;
    let machine = stack.machine_of(&id)?;
    let texts = machine.shell("ebb", &format!("cat {CLONED}/text {CLONED}/inner/text"))?;
    ensure!(texts.trim() == "outer\ninner", "{texts}");
    ensure!(git_says(&machine)?.contains("refs/heads/main"), "{}", git_says(&machine)?);

    let commit = format!(
        "set -a; . /run/ebbtide/env; cd {CLONED} && git commit -q --allow-empty -m x && git log -1 --format='%an %ae'"
    );
    let author = machine.shell("ebb", &commit)?;
    ensure!(author == "Ada Lovelace ada@example.org", "{author}");

    // Others, while it runs.
    put(&stack, "url", &json!({ "kind": "environment", "variable": "SERVICE_URL" }), VARIABLE)?;
    put(&stack, "npm", &json!({ "kind": "file", "path": ".config/npm/npmrc" }), FILE)?;
    wait::until("the file", LIMIT, || {
        let read = machine.shell("ebb", "cat ~/.config/npm/npmrc").map_err(|error| format!("{error:#}"))?;
        if read.trim() == FILE { Ok(()) } else { Err(read) }
    })?;
    machine.shell("ebb", "tmux new-window && tmux send-keys 'printenv SERVICE_URL > /tmp/seen' Enter")?;
    wait::until("the variable in a new terminal", LIMIT, || {
        let seen = machine.shell("ebb", "cat /tmp/seen").map_err(|error| format!("{error:#}"))?;
        if seen.trim() == VARIABLE { Ok(()) } else { Err(seen) }
    })?;
    machine.shell("ebb", "rm /tmp/seen")?;
    nobody_else_knows(&stack, &machine, &id)?;

    let told = remove(&stack, "git")?;
    ensure!(told["secret"]["workspaces"][0]["id"] == json!(id), "{told}");
    ensure!(git_says(&machine)?.contains("could not read Username"), "{}", git_says(&machine)?);
    remove(&stack, "npm")?;
    wait::until("the link to be gone", LIMIT, || {
        let listed = machine.shell("ebb", "ls -A ~/.config/npm").map_err(|error| format!("{error:#}"))?;
        if listed.trim().is_empty() { Ok(()) } else { Err(listed) }
    })?;

    // A backup holds the link to a file, and no value.
    put(&stack, "npm", &json!({ "kind": "file", "path": ".npmrc" }), FILE)?;
    wait::until("the second file", LIMIT, || {
        machine.shell("ebb", "cat ~/.npmrc").map(drop).map_err(|error| format!("{error:#}"))
    })?;
    stack.api.act(&id, "sleep")?;
    stack.api.wait_for(&id, State::Asleep, LIMIT)?;
    remove(&stack, "npm")?;
    stack.api.act(&id, "wake")?;
    stack.api.wait_for(&id, State::Running, LIMIT)?;
    let link = stack.machine_of(&id)?.shell("ebb", "readlink ~/.npmrc; cat ~/.npmrc 2>/dev/null; true")?;
    ensure!(link.trim() == "/run/ebbtide/secrets/npm", "{link}");
    stack.stop()
}

/// Looks through what the stack wrote, and through what runs on the machine.
fn nobody_else_knows(stack: &Stack, machine: &Machine, id: &str) -> Result<()> {
    let none = |place: &str, text: &str| {
        ensure!(!text.is_empty(), "{place} is empty: nothing was looked at");
        let found = [PASSWORD, VARIABLE, FILE].into_iter().find(|value| text.contains(value));
        ensure!(found.is_none(), "{found:?} is in {place}");
        Ok(())
    };
    for path in ["", "/log", "/events"] {
        let text = stack.api.call("GET", &format!("/v1/workspaces/{id}{path}"), None)?.expect(200)?.text();
        none(&format!("the API's {path:?}"), &text)?;
    }
    none("the list of secrets", &stack.api.call("GET", "/v1/secrets", None)?.expect(200)?.text())?;
    none("the audit log", &stack.api.call("GET", "/v1/audit", None)?.expect(200)?.text())?;
    none("what the vendors were told", &serde_json::to_string(&stack.cloud.journal()?)?)?;
    none("arguments", &machine.shell("root", "cat /proc/[0-9]*/cmdline | tr '\\0' ' '")?)?;
    let programs = "for p in $(pgrep -x 'ebb-agent|caddy|systemd|init'); do tr '\\0' '\\n' < /proc/$p/environ; done; echo end";
    none("the environment of the machine's own programs", &machine.shell("root", programs)?)?;
    let files =
        "find /var /etc /home /workspaces /tmp -xdev -type f -size -1M -exec cat {} + 2>/dev/null; echo end";
    none("the machine's disk", &machine.shell("root", files)?)?;
    let modes = machine.shell("root", "stat -Lc '%a %U' /run/ebbtide/secrets/*")?;
    ensure!(modes.lines().all(|line| line == "600 ebb"), "{modes}");
    // Database, bucket, objects and logs; what is in a machine's memory is in its own directory.
    let found = holding(stack.directory())?;
    let found: Vec<_> =
        found.iter().filter(|path| !path.to_string_lossy().contains("/run/ebbtide/")).collect();
    ensure!(found.is_empty(), "values are in {found:?}");
    Ok(())
}
