//! Nothing bills while nobody works, and nobody who works is put to sleep.

use crate::common::{LIMIT, REPOSITORY, nothing_bills, quick, quick_with, ready, with_machines};
use crate::slots::{self, Work};
use anyhow::{Context as _, Result, anyhow, ensure};
use ebbtide_api::why::{Verdict, Why};
use ebbtide_api::workspace::State;
use ebbtide_system_tests::agents::Agents;
use ebbtide_system_tests::{Stack, wait};
use serde_json::json;
use std::time::{Duration, Instant};

fn short() -> serde_json::Value {
    json!({ "repo": REPOSITORY, "idle_timeout": "10s" })
}

fn stays_awake(stack: &Stack, id: &str, span: Duration) -> Result<()> {
    wait::stays("awake", span, || {
        let workspace = stack.api.get(id).map_err(|error| format!("{error:#}"))?;
        if workspace.state == State::Running {
            Ok(())
        } else {
            Err(ebbtide_system_tests::api::shown(&workspace))
        }
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

/// A line without its times, which go on between two looks.
fn timeless(line: &str) -> String {
    let is_time = |word: &&str| !word.starts_with(|c: char| c.is_ascii_digit());
    line.split_whitespace().filter(is_time).collect::<Vec<_>>().join(" ")
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
    let machine = stack.machine_of(&id)?;
    wait::until("machine and API to answer in the same line", LIMIT, || {
        let said = machine.shell("ebb", "ebb | head -1").map_err(|error| format!("{error:#}"))?;
        let line = stack.api.get(&id).map_err(|error| format!("{error:#}"))?.line;
        let same = said.contains("I am at lunch") && timeless(&said) == timeless(&line);
        if same { Ok(()) } else { Err(format!("\"{said}\" and \"{line}\"")) }
    })?;
    let answer = stack.api.call("DELETE", &format!("{path}/{hold}"), None)?;
    ensure!((200..300).contains(&answer.status), "{} {}", answer.status, answer.text());
    stack.api.wait_for(&id, State::Asleep, LIMIT)?;
    stack.stop()
}

/// Durations with which what is left of a process that ends slowly cannot stand for an agent for minutes.
fn clear() -> serde_json::Value {
    quick_with(json!({ "unknown_grace": "20s" }))
}

/// A workspace in which Claude Code runs.
struct Scene {
    id: String,
    agents: Agents,
}

impl Scene {
    fn begin(stack: &Stack, start: impl Fn(&Agents) -> Result<()>) -> Result<Self> {
        let id = ready(stack, &short())?.id.to_string();
        let agents = Agents::prepare(stack.machine_of(&id)?)?;
        start(&agents)?;
        Ok(Self { id, agents })
    }

    /// Waits until `ebb why` reads so, and says how.
    fn until_why(&self, stack: &Stack, what: &str, is_so: impl Fn(&Why) -> bool) -> Result<Why> {
        let look = || {
            let why = stack.api.get(&self.id).map_err(|error| format!("{error:#}"))?.why;
            why.filter(&is_so).ok_or_else(|| self.agents.last_words())
        };
        wait::until(what, LIMIT, look)
    }

    /// Until the model has answered: however slow everything is, the workspace may not sleep before.
    fn stays_awake_until_done(&self, stack: &Stack) -> Result<()> {
        let look = || {
            let workspace = stack.api.get(&self.id).map_err(|error| format!("{error:#}"))?;
            if workspace.state != State::Running {
                return Ok(Err(ebbtide_system_tests::api::shown(&workspace)));
            }
            let is_done = self.agents.is_done().map_err(|error| format!("{error:#}"))?;
            if is_done { Ok(Ok(())) } else { Err("the model thinks".to_owned()) }
        };
        let outcome = wait::until("the model's answer", LIMIT, look)?;
        outcome.map_err(|slept| anyhow!("not awake before the answer: {slept}\n{}", self.agents.last_words()))
    }

    fn sleeps(&self, stack: &Stack) -> Result<()> {
        stack.api.wait_for(&self.id, State::Asleep, LIMIT).with_context(|| self.agents.last_words()).map(drop)
    }
}

fn says(why: &Why, text: &str) -> bool {
    why.because.iter().any(|because| because.contains(text))
}

#[test]
fn claude_code_that_thinks_silently_three_times_the_idle_timeout_is_not_put_to_sleep() -> Result<()> {
    slots::take(Work::Long);
    let stack = with_machines("thinks", clear())?;
    let scene = Scene::begin(&stack, |agents| agents.claude("-p", "do:think 45"))?;
    scene.until_why(&stack, "the silent call to show", |why| says(why, "claude waits for its model"))?;
    // The repository says `disableAllHooks`; ours report all the same.
    let machine = stack.machine_of(&scene.id)?;
    let known = machine.shell("root", "cat /var/lib/ebbtide/idle.json")?;
    let known: serde_json::Value = serde_json::from_str(&known)?;
    ensure!(known["turns"]["sessions"][0]["phase"] == "Turn", "{known}");
    ensure!(scene.agents.knows_holds()?, "the machine's memory file did not reach the model");
    scene.stays_awake_until_done(&stack)?;
    scene.sleeps(&stack)?;
    stack.stop()
}

#[test]
fn an_agent_that_reports_nothing_stays_awake_while_it_waits_for_its_model_and_sleeps_at_its_prompt()
-> Result<()> {
    slots::take(Work::Long);
    let stack = with_machines("untold", clear())?;
    // `--bare` runs no hooks; its session file is there.
    let bare = Scene::begin(&stack, |agents| agents.claude("--bare -p", "do:think 45"))?;
    bare.until_why(&stack, "the silent call to show", |why| says(why, "claude waits for its model"))?;
    let codex = Scene::begin(&stack, |agents| agents.codex("do:think 35"))?;
    codex.until_why(&stack, "the silent call to show", |why| says(why, "codex waits for an answer"))?;
    let begun = Instant::now();
    stays_awake(&stack, &bare.id, Duration::from_secs(20)).with_context(|| bare.agents.last_words())?;
    stays_awake(&stack, &codex.id, Duration::from_secs(28).saturating_sub(begun.elapsed()))
        .with_context(|| codex.agents.last_words())?;
    codex.sleeps(&stack)?;
    bare.sleeps(&stack)?;
    stack.stop()
}

#[test]
fn a_dev_server_that_claude_code_left_in_the_background_does_not_keep_a_workspace_awake() -> Result<()> {
    let stack = with_machines("serves", quick())?;
    let start = "do:background python3 -m http.server 3000";
    let scene = Scene::begin(&stack, |agents| {
        agents.claude("--permission-mode acceptEdits --allowedTools \"Bash(python3:*)\"", start)
    })?;
    let machine = stack.machine_of(&scene.id)?;
    wait::until("the server to listen", LIMIT, || {
        if machine.listens(3000) { Ok(()) } else { Err(scene.agents.last_words()) }
    })?;
    scene.sleeps(&stack)?;
    stack.stop()
}

#[test]
fn claude_code_at_its_prompt_is_put_to_sleep_after_its_background_command_and_not_before() -> Result<()> {
    slots::take(Work::Long);
    let stack = with_machines("parks", quick())?;
    let scene = Scene::begin(&stack, |agents| {
        agents.claude(
            "--permission-mode acceptEdits --allowedTools \"Bash(sleep:*)\"",
            "do:background sleep 50",
        )
    })?;
    scene.until_why(&stack, "the background command to show", |why| {
        says(why, "a background command of claude")
    })?;
    stays_awake(&stack, &scene.id, Duration::from_secs(25)).with_context(|| scene.agents.last_words())?;
    let quiet = scene.until_why(&stack, "claude to be parked", |why| why.verdict == Verdict::Quiet)?;
    ensure!(quiet.because.iter().any(|because| because.contains("parked")), "{quiet:?}");
    scene.sleeps(&stack)?;
    stack.stop()
}

#[test]
fn claude_code_that_asks_keeps_a_workspace_for_its_own_budget_and_a_killed_one_not_at_all() -> Result<()> {
    slots::take(Work::Long);
    let stack =
        with_machines("asks", quick_with(json!({ "waiting_for_human": "120s", "unknown_grace": "20s" })))?;
    let killed = Scene::begin(&stack, |agents| agents.claude("-p", "do:think 600"))?;
    killed.until_why(&stack, "the silent call to show", |why| says(why, "claude waits for its model"))?;
    stack.machine_of(&killed.id)?.crash("claude")?;
    let asks = Scene::begin(&stack, |agents| agents.claude("", "do:ask"))?;
    let why =
        asks.until_why(&stack, "the question to show", |why| why.verdict == Verdict::WaitingForHuman)?;
    ensure!(says(&why, "claude asks a question"), "{why:?}");
    let budget = why.budgets.iter().find(|budget| budget.name == "waiting_for_human");
    let left = budget.map(|budget| budget.total_secs - budget.used_secs).ok_or_else(|| anyhow!("{why:?}"))?;
    // Well beyond the idle timeout, and well within what is left.
    ensure!(left >= 30, "{left} s are left when the question shows first: {why:?}");
    stays_awake(&stack, &asks.id, Duration::from_secs(16))?;
    // The rest of the budget comes before.
    stack.api.wait_for(&asks.id, State::Asleep, LIMIT * 2).with_context(|| asks.agents.last_words())?;
    killed.sleeps(&stack)?;
    stack.stop()
}

/// Claude Code reports nothing when a person presses Esc.
#[test]
fn a_turn_that_was_interrupted_is_over_within_a_minute_and_a_new_prompt_goes_on() -> Result<()> {
    slots::take(Work::Long);
    // A minute of the usual ten of doubt are two seconds of twenty here.
    let stack = with_machines("escape", clear())?;
    let left = Scene::begin(&stack, |agents| agents.claude("", "do:think 600"))?;
    left.until_why(&stack, "the silent call to show", |why| says(why, "claude waits for its model"))?;
    left.agents.presses("Escape")?;
    // Nobody is there any more. The model would think for ten minutes, and a silent turn is believed for thirty.
    wait::until("the turn to be over", LIMIT, || {
        let workspace = stack.api.get(&left.id).map_err(|error| format!("{error:#}"))?;
        let verdict = workspace.why.as_ref().map(|why| why.verdict);
        let is_over = matches!(verdict, None | Some(Verdict::Quiet | Verdict::Idle));
        if is_over { Ok(()) } else { Err(workspace.line) }
    })?;

    let goes_on = Scene::begin(&stack, |agents| agents.claude("", "do:think 600"))?;
    goes_on.until_why(&stack, "the silent call to show", |why| says(why, "claude waits for its model"))?;
    goes_on.agents.presses("Escape")?;
    goes_on.agents.until_claude_is("idle")?;
    // The prompt that was interrupted is back on the line.
    goes_on.agents.presses("C-u")?;
    goes_on.agents.types("do:think 40")?;
    goes_on.stays_awake_until_done(&stack)?;
    goes_on.sleeps(&stack)?;
    left.sleeps(&stack)?;
    stack.stop()
}
