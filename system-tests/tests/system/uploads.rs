//! Backups that are cut in the middle, by whatever: they go on, and nothing that was acknowledged is lost.

use crate::common::{LIMIT, cloning, quick_with, ready, with_machines};
use crate::owner_backups::{Restic, kit};
use anyhow::{Context, Result, ensure};
use ebbtide_api::workspace::State;
use ebbtide_system_tests::machine::Machine;
use ebbtide_system_tests::{Stack, wait};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

/// What is known of a workspace's backups.
pub fn listed(stack: &Stack, id: &str) -> Result<Value> {
    Ok(stack.api.call("GET", &format!("/v1/workspaces/{id}/snapshots"), None)?.expect(200)?.json())
}

/// How many bytes they hold.
pub fn stored(stack: &Stack, id: &str) -> Result<u64> {
    listed(stack, id)?["stored_bytes"].as_u64().context("no stored_bytes")
}

fn verified(stack: &Stack, id: &str) -> Result<usize> {
    Ok(listed(stack, id)?["snapshots"].as_array().context("no list")?.len())
}

/// Asks for a snapshot, and does not wait for it.
fn ask_for_a_snapshot(stack: &Stack, id: &str) -> Result<()> {
    let path = format!("/v1/workspaces/{id}/snapshots");
    stack.api.call("POST", &path, Some(&json!({})))?.expect(202).map(drop)
}

/// A machine's backup process that stands still in the middle of its uploads.
pub struct Frozen(Vec<Pid>);

impl Frozen {
    /// Has 80 MB of new work backed up, and stops whoever does it when the first packs are in storage and no index is.
    pub fn in_the_middle(stack: &Stack, id: &str) -> Result<Self> {
        let before = stored(stack, id)?;
        let machine = stack.machine_of(id)?;
        machine.shell("ebb", "head -c 80000000 /dev/urandom > /workspaces/ebbtide/large")?;
        ask_for_a_snapshot(stack, id)?;
        wait::until("the first packs", LIMIT, || {
            let now = stored(stack, id).map_err(|error| format!("{error:#}"))?;
            if now > before + 10_000_000 { Ok(()) } else { Err(format!("{now} bytes")) }
        })?;
        let frozen = Self(writers(&machine));
        ensure!(!frozen.0.is_empty(), "no writer runs: the backup was over too soon for this test");
        frozen.signal(Signal::STOP)?;
        Ok(frozen)
    }

    /// Lets it go on.
    pub fn thaw(self) -> Result<()> {
        self.signal(Signal::CONT)
    }

    fn signal(&self, signal: Signal) -> Result<()> {
        self.0.iter().try_for_each(|pid| kill_process(*pid, signal)).context("signalling the writer")
    }
}

fn writers(machine: &Machine) -> Vec<Pid> {
    let writes = |pid: &u32| {
        let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        line.split(|byte| *byte == 0).nth(1) == Some(b"backup")
    };
    let pids = machine.pids_of("ebb-agent").into_iter().filter(writes);
    pids.filter_map(|pid| i32::try_from(pid).ok().and_then(Pid::from_raw)).collect()
}

/// Compares a file of a sleeping workspace, as restic brings it back, with what it was.
fn same(stack: &Stack, id: &str, file: &str, sha256: &str) -> Result<()> {
    let restic = Restic::of_kit(&kit(stack, id)?);
    restic.run(&["--no-lock", "check", "--read-data"])?;
    let target = stack.directory().join("brought-back");
    restic.run(&[
        "--no-lock",
        "restore",
        "latest",
        "--include",
        file,
        "--target",
        &target.to_string_lossy(),
    ])?;
    let now = ebbtide_system_tests::process::run("sha256sum", |sum| {
        sum.arg(target.join(file.trim_start_matches('/')))
    })?;
    ensure!(now.starts_with(sha256), "{file} came back as {now}, it was {sha256}");
    Ok(())
}

fn sha256(machine: &Machine, file: &str) -> Result<String> {
    let said = machine.shell("ebb", &format!("sha256sum {file}"))?;
    Ok(said.split_whitespace().next().context("no sum")?.to_owned())
}

#[test]
fn an_upload_that_is_cut_by_a_dead_worker_and_outlives_its_token_is_whole_in_the_end() -> Result<()> {
    // Good for a second, and for the thirty that clocks may differ.
    let mut stack = with_machines("cut", quick_with(json!({ "vm_token": "1s" })))?;
    let id = ready(&stack, &cloning())?.id.to_string();
    let frozen = Frozen::in_the_middle(&stack, &id)?;
    let machine = stack.machine_of(&id)?;
    let before = sha256(&machine, "/workspaces/ebbtide/large")?;
    let token = machine.shell("root", "cat /run/ebbtide/vm-token")?;
    let with_token = |stack: &Stack| -> Result<ebbtide_system_tests::http::Answer> {
        stack.api.with_token(token.trim()).raw("GET", "/v1/vm/backup/config", &[], None)
    };
    with_token(&stack)?.expect(200)?;
    stack.restart_worker()?;
    ensure!(verified(&stack, &id)? == 0, "it was not in the middle: {}", listed(&stack, &id)?);
    let acknowledged = stored(&stack, &id)?;
    ensure!(acknowledged > 10_000_000, "the Worker's death lost what it had acknowledged: {acknowledged}");
    let refused = wait::until("the token to end", LIMIT, || {
        let answer = with_token(&stack).map_err(|error| format!("{error:#}"))?;
        if answer.status == 401 { Ok(answer) } else { Err(format!("{} {}", answer.status, answer.text())) }
    })?;
    ensure!(refused.json()["code"] == "token_expired", "{}", refused.text());
    frozen.thaw()?;
    wait::until("the snapshot", LIMIT, || {
        let now = verified(&stack, &id).map_err(|error| format!("{error:#}"))?;
        if now == 1 { Ok(()) } else { Err(format!("{now} snapshots")) }
    })?;
    stack.api.act(&id, "sleep")?;
    stack.api.wait_for(&id, State::Asleep, LIMIT)?;
    same(&stack, &id, "/workspaces/ebbtide/large", &before)?;
    stack.stop()
}

#[test]
fn a_receipt_in_parts_whose_machine_is_killed_between_them_is_told_again_and_counts_once() -> Result<()> {
    let stack = with_machines("parts", quick_with(json!({ "receipt_packs": 1 })))?;
    let id = ready(&stack, &cloning())?.id.to_string();
    let machine = stack.machine_of(&id)?;
    machine.shell("ebb", "head -c 48000000 /dev/urandom > /workspaces/ebbtide/large")?;
    let before = sha256(&machine, "/workspaces/ebbtide/large")?;
    let deliveries = || -> Result<usize, String> {
        let log = std::fs::read_to_string(stack.log("worker")).map_err(|error| error.to_string())?;
        let told = |line: &&str| line.contains("answered") && line.contains("/v1/vm/receipts");
        Ok(log.lines().filter(told).count())
    };
    ask_for_a_snapshot(&stack, &id)?;
    wait::until("the second part", LIMIT, || {
        let told = deliveries()?;
        if told >= 2 { Ok(()) } else { Err(format!("{told} deliveries")) }
    })?;
    machine.crash("ebb-agent")?;
    ensure!(verified(&stack, &id)? == 0, "it counted before its last part: {}", listed(&stack, &id)?);
    let early = deliveries().map_err(anyhow::Error::msg)?;
    wait::until("the snapshot", LIMIT, || {
        let now = verified(&stack, &id).map_err(|error| format!("{error:#}"))?;
        if now > 0 { Ok(()) } else { Err(format!("{} deliveries", deliveries()?)) }
    })?;
    let told = deliveries().map_err(anyhow::Error::msg)?;
    ensure!(told >= early + 2, "after {early} deliveries {told} were enough: there were no parts");
    let counted = || -> Result<usize> {
        let events = stack.api.events(&id)?;
        let counts = |text: &str| text.starts_with("a backup of") && text.contains("is verified in storage");
        Ok(events.iter().filter(|event| counts(&event.because)).count())
    };
    ensure!(verified(&stack, &id)? == 1 && counted()? == 1, "it counts {} times", counted()?);
    // The last one of all comes in parts too.
    machine.shell("ebb", "head -c 9000000 /dev/urandom > /workspaces/ebbtide/more")?;
    stack.api.act(&id, "sleep")?;
    stack.api.wait_for(&id, State::Asleep, LIMIT)?;
    let (listed, counted) = (verified(&stack, &id)?, counted()?);
    ensure!((listed, counted) == (2, 2), "two backups are listed as {listed} and counted {counted} times");
    same(&stack, &id, "/workspaces/ebbtide/large", &before)?;
    stack.stop()
}
