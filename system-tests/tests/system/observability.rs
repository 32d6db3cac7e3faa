//! What an operator sees: figures that a real Prometheus tool accepts, health that names what is wrong, a log from which
//! a workspace's story can be read, and histories that can be paged.

use crate::common::{
    LIMIT, cloning, health_from_anywhere, quick, quick_with, ready, with_machines, without_machines,
};
use crate::slots::{self, Work};
use crate::turns::{Turns, discarded};
use anyhow::{Context, Result, ensure};
use ebbtide_api::history::{Event, EventList};
use ebbtide_api::workspace::State;
use ebbtide_system_tests::api::Discard;
use ebbtide_system_tests::http::Answer;
use ebbtide_system_tests::{Stack, paths, process, wait};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::path::Path;

static SYSTEM: Turns = Turns::bringing_up(|| {
    without_machines("observability", quick_with(json!({ "gone_after_create": "1s", "boot_stall": "6s" })))
});

/// Calls of bindings that an answer cost.
fn calls(answer: &Answer) -> u32 {
    let text = answer.header("x-ebbtide-calls").unwrap_or_default();
    text.split(',').filter_map(|part| part.split('=').nth(1)?.parse::<u32>().ok()).sum()
}

#[test]
fn the_metrics_are_accepted_by_promtool_and_cost_six_calls_at_most() {
    SYSTEM.run(|stack| {
        let open = stack.api.with_token("").call("GET", "/metrics", None)?;
        ensure!(open.status == 401, "{}", open.status);
        let id = stack.api.create(&json!({}))?.id.to_string();
        stack.api.wait_for(&id, State::Booting, LIMIT)?;
        let answer = wait::until("the cron's first run and the row of the workspace", LIMIT, || {
            let answer = stack.api.call("GET", "/metrics", None).map_err(|error| format!("{error:#}"))?;
            let text = answer.text();
            let is_there = text.contains("ebbtide_cron_age_seconds ")
                && text.contains("ebbtide_workspaces{state=\"booting\"} 1\n");
            if is_there { Ok(answer) } else { Err(text) }
        })?;
        ensure!(
            answer.header("content-type") == Some("text/plain; version=0.0.4; charset=utf-8"),
            "{answer:?}"
        );
        ensure!(calls(&answer) <= 6, "{:?}", answer.header("x-ebbtide-calls"));
        let page = answer.text();
        for line in [
            "ebbtide_machines 1",
            "ebbtide_part_up{part=\"index\"} 1",
            "ebbtide_part_up{part=\"gate\"} 1",
            "ebbtide_provider_calls_limit{provider=\"machines\"} 3600",
            "ebbtide_provider_calls_limit{provider=\"names\"} 1200",
            "ebbtide_deadline_overdue_seconds 0",
        ] {
            ensure!(page.lines().any(|shown| shown == line), "{line} is missing in\n{page}");
        }
        ensure!(!page.contains(&id), "a label holds the workspace's id");
        let file = stack.directory().join("metrics.txt");
        std::fs::write(&file, &page)?;
        let promtool = paths::cache().join("prometheus/usr/bin/promtool");
        ensure!(promtool.exists(), "{} is missing; run scripts/setup test", promtool.display());
        process::run("sh", |sh| {
            sh.args(["-c", r#"exec "$1" check metrics <"$2""#, "sh"]).arg(&promtool).arg(&file)
        })?;
        discarded(stack, &id)
    });
}

#[test]
fn health_is_open_names_parts_and_codes_and_cannot_be_used_to_spend_calls() {
    SYSTEM.run(|stack| {
        let anybody = stack.api.with_token("");
        let ask = || anybody.call("GET", "/health", None);
        let health = wait::until("health", LIMIT, || {
            let health = health_from_anywhere(&anybody).map_err(|error| format!("{error:#}"))?;
            if health.json()["status"] == "ok" { Ok(health) } else { Err(health.text()) }
        })?;
        ensure!(health.status == 200 && health.json()["problems"] == json!([]), "{}", health.text());
        let parts: BTreeSet<String> = health.json()["parts"]
            .as_array()
            .context("no parts")?
            .iter()
            .filter_map(|part| Some(part["name"].as_str()?.to_owned()))
            .collect();
        let wanted = [
            "configuration",
            "cron",
            "idle_agent",
            "index",
            "keys",
            "objects",
            "open_limit",
            "project",
            "storage",
        ];
        ensure!(parts.iter().map(String::as_str).eq(wanted), "{parts:?}");
        for value in [stack.url.as_str(), "ebb.localhost", stack.owner_token.as_str(), "http://"] {
            ensure!(!health.text().contains(value), "{value} is in {}", health.text());
        }
        let mut spent = 0;
        for _ in 0..40 {
            spent += calls(&ask()?);
        }
        ensure!(spent <= 10, "forty questions cost {spent} calls");
        Ok(())
    });
}

#[test]
fn a_master_key_that_does_not_open_what_is_stored_is_a_failing_health() -> Result<()> {
    let mut stack = without_machines("wrong-master-key", quick())?;
    // Its environment is sealed with the tenant's key, which is made for it.
    stack.api.create(&json!({ "env": { "A": "b" } }))?;
    let file = stack.directory().join("worker.env");
    let text = std::fs::read_to_string(&file)?;
    let other = "MASTER_KEYS='{\"current\":\"k1\",\"keys\":{\"k1\":\"AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=\"}}'";
    let lines: Vec<&str> =
        text.lines().map(|line| if line.starts_with("MASTER_KEYS=") { other } else { line }).collect();
    std::fs::write(&file, lines.join("\n") + "\n")?;
    let Err(error) = stack.restart_worker() else { anyhow::bail!("it came up healthy with another key") };
    let said = format!("{error:#}");
    ensure!(said.contains("503") && said.contains("master_key_does_not_open"), "{said}");
    ensure!(said.contains(r#""status":"failing""#), "{said}");
    stack.stop()
}

#[test]
fn the_history_is_paged_in_both_directions_and_survives_a_retry() {
    SYSTEM.run(|stack| {
        let id = stack.api.create(&json!({}))?.id.to_string();
        // Nothing boots in it: it fails, and is tried again.
        let failed = |generation: u32| {
            wait::until("the failure", LIMIT, || {
                let workspace = stack.api.get(&id).map_err(|error| format!("{error:#}"))?;
                let is_it = workspace.state == State::Failed && workspace.generation.0 == generation;
                if is_it { Ok(()) } else { Err(ebbtide_system_tests::api::shown(&workspace)) }
            })
        };
        failed(1)?;
        stack.api.act(&id, "retry")?;
        failed(2)?;
        let all = stack.api.events(&id)?;
        ensure!(all.iter().any(|event| event.generation.0 == 1), "the first machine's history is gone");
        let is_told = |event: &Event| !event.because.is_empty() && event.code.is_some();
        ensure!(all.iter().all(is_told), "{all:?}");
        let page = |query: &str| -> Result<EventList> {
            let answer = stack.api.call("GET", &format!("/v1/workspaces/{id}/events?{query}"), None)?;
            Ok(serde_json::from_slice(&answer.expect(200)?.body)?)
        };
        let (mut forwards, mut after) = (Vec::new(), 0);
        loop {
            let EventList { events, more } = page(&format!("after={after}&limit=3"))?;
            ensure!(
                events.len() <= 3 && (events.len() == 3 || !more),
                "{} events, more: {more}",
                events.len()
            );
            after = events.last().map_or(after, |event| event.seq);
            forwards.extend(events);
            if !more {
                break;
            }
        }
        ensure!(forwards == all, "forwards is another history");
        let (mut backwards, mut before) = (Vec::new(), u64::MAX);
        loop {
            let EventList { mut events, more } = page(&format!("before={before}&limit=4"))?;
            before = events.first().map_or(before, |event| event.seq);
            events.append(&mut backwards);
            backwards = events;
            if !more {
                break;
            }
        }
        ensure!(backwards == all, "backwards is another history");
        for query in ["limit=0", "limit=501", "before=x", "after=1&before=2"] {
            let answer = stack.api.call("GET", &format!("/v1/workspaces/{id}/events?{query}"), None)?;
            ensure!(answer.status == 400 || answer.status == 422, "{query}: {}", answer.status);
        }
        discarded(stack, &id)
    });
}

#[test]
fn the_audit_log_is_paged_without_gaps() {
    SYSTEM.run(|stack| {
        for number in 0..55 {
            let request = json!({ "label": format!("k{number}"), "scopes": ["read"] });
            let made = stack.api.call("POST", "/v1/keys", Some(&request))?.expect(201)?.json();
            let key = made["info"]["id"].as_str().context("a key without id")?.to_owned();
            stack.api.call("DELETE", &format!("/v1/keys/{key}"), None)?.expect(204)?;
        }
        let (mut subjects, mut cursor) = (Vec::new(), String::new());
        loop {
            let page = stack.api.call("GET", &format!("/v1/audit{cursor}"), None)?.expect(200)?.json();
            let entries = page["entries"].as_array().context("no entries")?.clone();
            ensure!(entries.len() <= 100, "{} on a page", entries.len());
            subjects.extend(
                entries
                    .iter()
                    .filter(|entry| entry["action"] == "key.create")
                    .map(|entry| entry["subject"].clone()),
            );
            match page["next_cursor"].as_str() {
                Some(next) => cursor = format!("?cursor={next}"),
                None => break,
            }
        }
        let distinct: BTreeSet<String> = subjects.iter().map(Value::to_string).collect();
        ensure!(
            distinct.len() == subjects.len() && distinct.len() >= 55,
            "{} of {}",
            distinct.len(),
            subjects.len()
        );
        Ok(())
    });
}

/// Every line of the Worker's log that is ours: a JSON object.
fn lines(log: &Path) -> Result<Vec<Value>> {
    let text = std::fs::read_to_string(log)?;
    let ours = text.lines().filter(|line| line.contains("\"level\":"));
    ours.map(|line| {
        // Warnings and errors are decorated by wrangler.
        let object = line.find('{').zip(line.rfind('}')).and_then(|(first, last)| line.get(first..=last));
        serde_json::from_str(object.unwrap_or_default()).with_context(|| format!("no JSON: {line}"))
    })
    .collect()
}

#[test]
fn a_workspaces_story_can_be_read_from_the_log_and_no_secret_is_in_it() -> Result<()> {
    const SECRET: &str = "correct-horse-battery-staple";
    let stack = with_machines("log", quick())?;
    let mut request = cloning();
    request["env"] = json!({ "API_KEY": SECRET });
    let id = ready(&stack, &request)?.id.to_string();
    stack.api.act(&id, "sleep")?;
    stack.api.wait_for(&id, State::Asleep, LIMIT)?;
    stack.api.act(&id, "wake")?;
    stack.api.wait_for(&id, State::Running, LIMIT)?;
    stack.api.delete(&id, Discard::Work)?;
    stack.api.wait_for(&id, State::Deleted, LIMIT)?;

    let log = stack.log("worker");
    let story = |lines: &[Value]| -> Vec<String> {
        let ours = lines.iter().filter(|line| line["workspace.id"] == id.as_str());
        let changes = ours.filter(|line| line["message"] == "the workspace changed");
        let mut states: Vec<String> =
            changes.filter_map(|line| Some(line["state"].as_str()?.to_owned())).collect();
        states.dedup();
        states
    };
    let lines = wait::until("the last line", LIMIT, || {
        let lines = lines(&log).map_err(|error| format!("{error:#}"))?;
        let story = story(&lines);
        if story.last().is_some_and(|state| state == "deleted") { Ok(lines) } else { Err(story.join(" ")) }
    })?;
    let states = story(&lines);
    let mut told = states.iter();
    for state in [
        "provisioning",
        "booting",
        "running",
        "draining",
        "destroying",
        "asleep",
        "booting",
        "running",
        "deleted",
    ] {
        ensure!(told.any(|shown| shown == state), "{state} is missing in {states:?}");
    }
    let ours = || lines.iter().filter(|line| line["workspace.id"] == id.as_str());
    for line in ours().filter(|line| line["message"] == "the workspace changed") {
        let has_reason = line["because"].as_str().is_some_and(|text| !text.is_empty());
        ensure!(line["level"] == "info" && has_reason && line["generation"].is_u64(), "{line}");
        let is_up = line["state"] == "running" || line["state"] == "draining";
        ensure!(!is_up || line["server.id"].is_u64(), "{line}");
    }
    let answered = |line: &&Value| line["message"] == "answered" && line["request.id"].is_string();
    ensure!(ours().filter(answered).any(|line| line["duration_ms"].is_u64()), "no request of it was timed");
    let effect = |line: &&Value| line["effect"] == "ensure_server" && line["duration_ms"].is_u64();
    ensure!(ours().any(|line| effect(&line)), "no effect of it was timed");
    let errors: Vec<&Value> = lines.iter().filter(|line| line["level"] == "error").collect();
    ensure!(errors.is_empty(), "{errors:?}");

    let text = std::fs::read_to_string(&log)?;
    let secrets = std::fs::read_to_string(stack.directory().join("worker.env"))?;
    let names = ["OWNER_TOKEN=", "HETZNER_TOKEN=", "CLOUDFLARE_TOKEN="];
    let tokens = secrets.lines().filter_map(|line| names.iter().find_map(|name| line.strip_prefix(name)));
    let keys =
        secrets.lines().filter(|line| line.starts_with("MASTER_KEYS=") || line.starts_with("TOKEN_KEYS="));
    let keys = keys.filter_map(|line| line.split('"').rev().nth(1));
    let found: Vec<&str> = tokens.map(|token| token.trim_matches('\'')).chain(keys).collect();
    ensure!(
        found.len() == 5 && found.iter().all(|secret| secret.len() >= 24),
        "the test knows {} secrets",
        found.len()
    );
    // Every token of a machine or a person begins so.
    for secret in found.into_iter().chain([SECRET, "eyJ"]) {
        let shown = text.lines().find(|line| line.contains(secret));
        ensure!(shown.is_none(), "a secret is in the log: {shown:?}");
    }
    stack.stop()
}

#[test]
fn a_stack_that_has_slept_through_the_cron_says_so() -> Result<()> {
    slots::take(Work::Own);
    let stack = Stack::start(ebbtide_system_tests::Options {
        name: "no-cron".into(),
        runner: ebbtide_system_tests::Runner::Miniflare,
        cron_every: std::time::Duration::from_secs(3_600),
        ..ebbtide_system_tests::Options::default()
    })?;
    let health = stack.api.with_token("").call("GET", "/health", None)?.expect(200)?.json();
    ensure!(health["status"] == "degraded" && health["ok"] == true, "{health}");
    let problems = health["problems"].to_string();
    ensure!(problems.contains("cron: never_ran"), "{problems}");
    stack.stop()
}
