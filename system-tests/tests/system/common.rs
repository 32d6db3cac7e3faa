//! What the system tests share: stacks with durations of seconds, and looks at the world after them.

use crate::slots::{self, Work};
use anyhow::{Result, ensure};
use ebbtide_api::workspace::{State, Workspace};
use ebbtide_system_tests::api::Api;
use ebbtide_system_tests::http::Answer;
use ebbtide_system_tests::{Machines, Options, Runner, Stack, machine, wait};
use serde_json::{Value, json};
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// Longest wait for one thing to happen; far above what it takes, for a loaded machine.
pub const LIMIT: Duration = Duration::from_secs(120);
/// What machines clone.
pub const REPOSITORY: &str = "http://git.ebbtide.test/ebbtide.git";

/// Durations of seconds where production has minutes.
pub fn quick() -> Value {
    json!({
        "heartbeat": "1s", "poll": "1s", "retry_base": "1s", "retry_cap": "2s", "gone_after_create": "3s",
        "effect_timeout": "10s", "silence_after": "5s",
    })
}

/// Those, with some of them (or others) changed.
pub fn quick_with(changes: Value) -> Value {
    let mut policy = quick();
    if let (Some(policy), Value::Object(changes)) = (policy.as_object_mut(), changes) {
        policy.extend(changes);
    }
    policy
}

/// A stack whose servers are entries in a table.
pub fn without_machines(name: &str, policy: Value) -> Result<Stack> {
    without_machines_and(Runner::Miniflare, name, policy)
}

/// As [`without_machines`], with something else to run the Worker.
pub fn without_machines_and(runner: Runner, name: &str, policy: Value) -> Result<Stack> {
    slots::take(Work::Own);
    Stack::start(Options {
        name: name.into(),
        runner,
        policy,
        cron_every: Duration::from_secs(2),
        ..Options::default()
    })
}

/// A stack whose servers are real machines that find this repository.
pub fn with_machines(name: &str, policy: Value) -> Result<Stack> {
    with_machines_and(Runner::Miniflare, name, policy)
}

/// As [`with_machines`], with something else to run the Worker.
pub fn with_machines_and(runner: Runner, name: &str, policy: Value) -> Result<Stack> {
    slots::take(Work::Own);
    Stack::start(machines(runner, name, policy)?)
}

/// How a stack is whose servers are real machines that find this repository.
pub fn machines(runner: Runner, name: &str, policy: Value) -> Result<Options> {
    static REPOSITORIES: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    let repositories = REPOSITORIES.get_or_init(|| {
        let path = ebbtide_system_tests::paths::root().join("target/test-repositories");
        std::fs::create_dir_all(&path).map_err(|error| error.to_string())?;
        // The history may have grown since an earlier run.
        let _ = std::fs::remove_dir_all(path.join("ebbtide.git"));
        machine::serve_this_repository(&path).map_err(|error| format!("{error:#}"))?;
        Ok(path)
    });
    let repositories = repositories.as_ref().map_err(|error| anyhow::anyhow!("{error}"))?;
    Ok(Options {
        name: name.into(),
        machines: Machines::Process,
        runner,
        policy,
        repositories: Some(repositories.clone()),
        cron_every: Duration::from_secs(2),
        ..Options::default()
    })
}

/// Creates a workspace and waits until it is ready.
pub fn ready(stack: &Stack, request: &Value) -> Result<Workspace> {
    let id = stack.api.create(request)?.id.to_string();
    stack.api.wait_for(&id, State::Running, LIMIT)
}

/// Waits until a workspace has its server and its names and waits for nobody but its machine.
pub fn settled(stack: &Stack, id: &str) -> Result<()> {
    wait::until("booting, with its names", LIMIT, || {
        let workspace = stack.api.get(id).map_err(|error| format!("{error:#}"))?;
        let names = stack.cloud.inventory().map_err(|error| format!("{error:#}"))?.names_of(id).len();
        let there = workspace.state == State::Booting && names == 2;
        if there {
            Ok(())
        } else {
            Err(format!("{names} names, {}", ebbtide_system_tests::api::shown(&workspace)))
        }
    })
}

/// Asks for the health from an address that has not asked before: whoever polls for it must not meet its rate limit.
pub fn health_from_anywhere(anybody: &Api) -> Result<Answer> {
    static ASKED: AtomicU32 = AtomicU32::new(0);
    let address = Ipv4Addr::from_bits(0x0a00_0000 | ASKED.fetch_add(1, Ordering::Relaxed)).to_string();
    anybody.raw("GET", "/health", &[("cf-connecting-ip", &address)], None)
}

/// Asserts that the runtime's rate limiter is in front of what is open.
pub fn is_limited(anybody: &Api) -> Result<()> {
    let refusal = wait::until("an open route to be limited", LIMIT, || {
        let answer = anybody.call("GET", "/openapi.json", None).map_err(|error| format!("{error:#}"))?;
        if answer.status == 429 { Ok(answer) } else { Err(answer.status.to_string()) }
    })?;
    ensure!(refusal.header("retry-after") == Some("60"), "{:?}", refusal.headers);
    ensure!(refusal.json()["code"] == "rate_limited", "{}", refusal.text());
    Ok(())
}

/// A request that clones this repository.
pub fn cloning() -> Value {
    json!({ "repo": REPOSITORY, "idle_timeout": "1h" })
}

/// Asserts that a workspace has nothing at the vendors any more, now and for a while.
pub fn nothing_bills(stack: &Stack, id: &str) -> Result<()> {
    let look = || {
        let inventory = stack.cloud.inventory().map_err(|error| format!("{error:#}"))?;
        let (servers, names) = (inventory.live_of(id).len(), inventory.names_of(id));
        if servers == 0 && names.is_empty() {
            Ok(())
        } else {
            Err(format!("{servers} servers, names {names:?}"))
        }
    };
    wait::until("everything at the vendors to be gone", LIMIT, look)?;
    wait::stays("nothing at the vendors", Duration::from_secs(2), look)
}

/// Asserts how many servers a workspace ever had.
pub fn servers_ever(stack: &Stack, id: &str, expected: usize) -> Result<()> {
    let inventory = stack.cloud.inventory()?;
    let names: Vec<&str> = inventory.of(id).iter().map(|server| server.name.as_str()).collect();
    ensure!(names.len() == expected, "expected {expected} servers, found {names:?}");
    Ok(())
}
