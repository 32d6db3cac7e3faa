//! Production's rhythm: a heartbeat every fifteen seconds, and an object that forgets its memory after ten.

use super::{Machine, booting};
use crate::common::quick_with;
use crate::slots::{self, Work};
use anyhow::{Result, ensure};
use ebbtide_api::workspace::State;
use ebbtide_system_tests::{Options, Stack, wait};
use serde_json::{Value, json};
use std::time::Duration;

/// Longer than an object without calls keeps its memory, shorter than the rhythm.
const UNASKED: Duration = Duration::from_secs(13);

/// A stack in which nobody but the test asks an object anything.
fn unasked() -> Result<Stack> {
    slots::take(Work::Long);
    Stack::start(Options {
        name: "rhythm".into(),
        policy: quick_with(json!({ "heartbeat": "15s", "silence_after": "40s" })),
        cron_every: Duration::from_secs(3_600),
        ..Options::default()
    })
}

fn says(machine: &Machine, sleeps_in_secs: u64) -> Value {
    let why = json!({
        "verdict": "quiet", "because": ["nothing happens"], "since_secs": 60, "sleeps_in_secs": sleeps_in_secs,
        "signals": [], "leases": [], "budgets": [],
    });
    json!({ "generation": machine.generation(), "ready": true, "boot_progress": 1, "why": why })
}

#[test]
fn a_machine_that_makes_plain_calls_is_never_silent_and_its_countdown_goes_on_while_its_object_sleeps()
-> Result<()> {
    let stack = unasked()?;
    let id = booting(&stack, &json!({}))?;
    let machine = Machine::ready(&stack, &id, 1)?;
    for round in 0..5 {
        let body = says(&machine, 1_740);
        machine.api.call("POST", "/v1/vm/heartbeat", Some(&body))?.expect(200)?;
        wait::stays("nobody asks", UNASKED, || Ok(()))?;
        // One look of a person's would keep the object's memory: in the middle, and at the end.
        if round % 2 == 0 {
            let workspace = stack.api.get(&id)?;
            let heard = workspace.heard_secs_ago;
            let sleeps = workspace.why.as_ref().and_then(|why| why.sleeps_in_secs);
            ensure!(workspace.state == State::Running, "{:?}: {}", workspace.state, workspace.because);
            ensure!(heard.is_some_and(|heard| heard >= UNASKED.as_secs()), "heard {heard:?} s ago");
            ensure!(sleeps.is_some_and(|sleeps| sleeps <= 1_740 - UNASKED.as_secs()), "sleeps in {sleeps:?}");
        }
    }
    let history = stack.api.call("GET", &format!("/v1/workspaces/{id}/events"), None)?.expect(200)?.text();
    ensure!(!history.contains(r#""state":"silent""#), "{history}");
    stack.stop()
}
