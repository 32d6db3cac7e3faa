//! Coding agents that Ebbtide installs: real ones, before a model that the test scripts.

use crate::common::{LIMIT, REPOSITORY, machines, quick_with, ready};
use crate::slots::{self, Work};
use anyhow::{Context as _, Result, ensure};
use ebbtide_api::workspace::{State, StepState, Workspace};
use ebbtide_system_tests::agents::Agents;
use ebbtide_system_tests::machine::Machine;
use ebbtide_system_tests::{Options, Runner, Stack, paths, wait};
use serde_json::{Value, json};
use std::path::Path;

/// A stack whose machines have no agent of their own, as real ones have none.
fn bare(name: &str, programs: &Path) -> Result<Stack> {
    slots::take(Work::Long);
    paths::without_agents(programs)?;
    let policy = quick_with(json!({ "unknown_grace": "20s" }));
    let options = machines(Runner::Miniflare, name, policy)?;
    Stack::start(Options { programs: Some(programs.to_owned()), ..options })
}

/// What the step that installs agents says, where it is done.
fn installed(workspace: &Workspace) -> Result<&str> {
    let step = workspace.boot.iter().find(|step| step.name == "agents").context("no such step")?;
    ensure!(
        step.state == StepState::Done && step.title == "Installing Claude Code, Codex, Gemini CLI",
        "{step:?}"
    );
    step.detail.as_deref().context("it says nothing")
}

/// Waits until a hook has reported a turn, and the reason shows why it is awake.
fn until_it_reports(stack: &Stack, id: &str, agents: &Agents, because: &str) -> Result<()> {
    let machine = stack.machine_of(id)?;
    wait::until("a turn to be reported", LIMIT, || {
        let text = |error: anyhow::Error| format!("{error:#}");
        let known = machine.shell("root", "cat /var/lib/ebbtide/idle.json").map_err(text)?;
        let known: Value = serde_json::from_str(&known).unwrap_or_default();
        let mut sessions = known["turns"]["sessions"].as_array().into_iter().flatten();
        let is_told = sessions.any(|session| session["phase"] == "Turn");
        let why = stack.api.get(id).map_err(text)?.why;
        let shows = why.is_some_and(|why| why.because.iter().any(|line| line.contains(because)));
        if is_told && shows { Ok(()) } else { Err(format!("{known}\n{}", agents.last_words())) }
    })
}

fn until_done(agents: &Agents) -> Result<()> {
    wait::until("the model to have answered", LIMIT, || match agents.is_done() {
        Ok(true) => Ok(()),
        Ok(false) => Err(agents.last_words()),
        Err(error) => Err(format!("{error:#}")),
    })?;
    agents.forget()
}

/// Whether one conversation, and no other, holds both prompts.
fn is_one_conversation(machine: &Machine, files: &str, first: &str) -> Result<()> {
    let text = machine.shell("ebb", &format!("ls {files} | wc -l; cat {files}"))?;
    ensure!(text.starts_with("1\n"), "another conversation was begun: {text}");
    ensure!(text.contains(first) && text.contains("do:think 1\""), "a prompt is missing: {text}");
    Ok(())
}

#[test]
fn the_agents_that_were_chosen_are_installed_report_their_turns_and_go_on_after_a_sleep() -> Result<()> {
    let programs = tempfile::tempdir()?;
    let stack = bare("installs", programs.path())?;
    let asked = json!({ "repo": REPOSITORY, "idle_timeout": "10s", "agents": ["claude", "codex", "gemini"] });
    let refusal = stack.api.call("POST", "/v1/workspaces", Some(&asked))?.expect(422)?;
    ensure!(refusal.text().contains("Claude Code is not published"), "{}", refusal.text());
    ensure!(stack.publish(&["claude", "codex", "gemini", "node"])? > 200_000_000, "they were there already");
    ensure!(stack.publish(&["claude", "codex", "gemini", "node"])? == 0, "they were uploaded twice");

    let workspace = ready(&stack, &asked)?;
    let id = workspace.id.to_string();
    ensure!(workspace.agents == ["claude", "codex", "gemini"], "{workspace:?}");
    let said = installed(&workspace)?;
    ensure!(said.starts_with("claude ") && said.contains(", codex "), "{said}");
    let agents = Agents::prepare(stack.machine_of(&id)?)?;
    // JavaScript, started by the Node that came beside it.
    let version = stack.machine_of(&id)?.shell("ebb", "gemini --version")?;
    ensure!(version.starts_with(|first: char| first.is_ascii_digit()), "{version}");
    agents.claude("-p", "do:think 20")?;
    until_it_reports(&stack, &id, &agents, "claude waits for its model")?;
    until_done(&agents)?;
    agents.prepare_codex()?;
    agents.codex_exec("", "do:think 21")?;
    until_it_reports(&stack, &id, &agents, "codex waits for its model")?;
    until_done(&agents)?;
    stack.api.wait_for(&id, State::Asleep, LIMIT).with_context(|| agents.last_words())?;

    stack.api.call("POST", &format!("/v1/workspaces/{id}/wake"), None)?.expect(202)?;
    installed(&stack.api.wait_for(&id, State::Running, LIMIT)?)?;
    let machine = stack.machine_of(&id)?;
    let agents = Agents::again(machine.clone())?;
    agents.claude("-c -p", "do:think 1")?;
    until_done(&agents)?;
    is_one_conversation(&machine, "~/.claude/projects/-workspaces-ebbtide/*.jsonl", "do:think 20")?;
    agents.codex_exec("resume --last", "do:think 1")?;
    until_done(&agents)?;
    is_one_conversation(&machine, "~/.codex/sessions/*/*/*/*.jsonl", "do:think 21")?;
    stack.stop()
}
