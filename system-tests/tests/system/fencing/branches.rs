//! Two branches of wakes in one repository, and a restic that keeps full index files when it prunes (from 0.17 on).
//!
//! Machines are played, but what they back up and restore is done by the idle-agent's own backup process with their tokens.

use super::{Machine, booting};
use crate::common::{LIMIT, quick, without_machines};
use crate::owner_backups::Restic;
use anyhow::{Context, Result, ensure};
use ebbtide_api::workspace::State;
use ebbtide_system_tests::{Stack, paths, wait};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

/// Different files of the large branch: more than one index file takes, 50 000 blobs.
const FILES: usize = 51_000;

/// The idle-agent's backup process, as the daemon of a played machine would start it.
struct Keeper {
    own: PathBuf,
    url: String,
}

impl Keeper {
    fn new(stack: &Stack, machine: &Machine) -> Result<Self> {
        let own = stack.directory().join(format!("machine-{}", machine.generation()));
        std::fs::create_dir(&own)?;
        std::fs::write(own.join("token"), &machine.token)?;
        let password = machine.enrolled["repository"]["password"].as_str().context("no password")?;
        std::fs::write(own.join("password"), password)?;
        Ok(Self { own, url: format!("{}/v1/vm/backup/", stack.url) })
    }

    fn run(&self, what: &str, arguments: &[&str]) -> Result<Value> {
        let said = ebbtide_system_tests::process::run(paths::idle_agent()?, |agent| {
            agent.env_clear().args(["backup", what, "--url", &self.url]).args(arguments);
            agent.arg("--token-file").arg(self.own.join("token"));
            agent.arg("--password-file").arg(self.own.join("password"))
        })?;
        serde_json::from_str(said.lines().last().unwrap_or_default()).context("reading the last line")
    }

    /// Backs up what is in `root/work`, has it verified, and sleeps.
    fn last(&self, stack: &Stack, id: &str, machine: &Machine, root: &Path) -> Result<String> {
        let done = self.run(
            "run",
            &["--init", "--host", "h", "--root", &root.to_string_lossy(), "--include", "/work"],
        )?;
        let snapshot = done["snapshot"].as_str().with_context(|| format!("no snapshot: {done}"))?.to_owned();
        let fields =
            ["packs_new", "packs_total", "indexes"].map(|name| (name.to_owned(), done[name].clone()));
        let fields = Value::Object(fields.into_iter().collect());
        ensure!(fields["indexes"].as_array().is_some_and(|indexes| !indexes.is_empty()), "no index: {done}");
        stack.api.act(id, "sleep")?;
        wait::until("a verified receipt", LIMIT, || {
            let deliver =
                || machine.freeze().and_then(|_| machine.deliver_receipt("drained", &snapshot, &fields));
            let answer = deliver().and_then(|answer| answer.expect(200));
            let answer = answer.map_err(|error| format!("{error:#}"))?.json();
            if answer["status"] == "verified" { Ok(()) } else { Err(answer.to_string()) }
        })?;
        stack.api.wait_for(id, State::Asleep, LIMIT)?;
        Ok(snapshot)
    }
}

fn woken(stack: &Stack, id: &str, snapshot: Option<&str>, seed: u8) -> Result<Machine> {
    let body = snapshot.map_or_else(|| json!({}), |snapshot| json!({ "snapshot": snapshot }));
    stack.api.call("POST", &format!("/v1/workspaces/{id}/wake"), Some(&body))?.expect(202)?;
    stack.api.wait_for(id, State::Booting, LIMIT)?;
    Machine::ready(stack, id, seed)
}

fn write(work: &Path, name: &str, content: &[u8]) -> Result<()> {
    let file = work.join(name);
    std::fs::create_dir_all(file.parent().context("no parent")?)?;
    std::fs::write(&file, content).with_context(|| file.display().to_string())
}

#[test]
fn a_restic_that_keeps_full_indexes_prunes_two_branches_and_each_of_them_stays_whole() -> Result<()> {
    let Some(newer) = paths::newer_restic("0.18.0")? else { return Ok(()) };
    let stack = without_machines("branches", quick())?;
    let id = booting(&stack, &json!({}))?;
    let roots = ["root", "large", "small"].map(|name| stack.directory().join(name));
    let [root, large, small] = &roots;
    let mut random = fastrand::Rng::with_seed(11);
    let shared: Vec<u8> = std::iter::repeat_with(|| random.u8(..)).take(300_000).collect();
    for place in &roots {
        write(&place.join("work"), "old", b"of the root")?;
    }
    for place in [large, small] {
        write(&place.join("work"), "shared", &shared)?;
    }
    for number in 0..FILES {
        write(&large.join("work"), &format!("{}/{number}", number / 1_000), format!("{number}").as_bytes())?;
    }
    write(&small.join("work"), "own", b"of the small branch")?;

    let first = Machine::ready(&stack, &id, 1)?;
    let begun = Keeper::new(&stack, &first)?.last(&stack, &id, &first, root)?;
    let second = woken(&stack, &id, None, 2)?;
    let of_large = Keeper::new(&stack, &second)?.last(&stack, &id, &second, large)?;
    let third = woken(&stack, &id, Some(&begun), 3)?;
    let keeper = Keeper::new(&stack, &third)?;
    let of_small = keeper.last(&stack, &id, &third, small)?;

    // What both branches hold is stored twice: neither machine was shown what the other wrote. restic keeps the copy in
    // the pack that holds more, and the full index that names it as it is; the small branch's own index goes.
    let password = std::fs::read_to_string(keeper.own.join("password"))?;
    let restic = Restic { program: newer, ..Restic::of_owner(&stack, &id, &password) };
    let indexes = || -> Result<Vec<String>> {
        Ok(restic.run(&["--no-lock", "list", "index"])?.lines().map(str::to_owned).collect())
    };
    let before = indexes()?;
    restic.run(&["forget", "--prune", "--max-unused", "0", &begun])?;
    let after = indexes()?;
    ensure!(
        before.iter().any(|index| after.contains(index)) && before.iter().any(|index| !after.contains(index)),
        "no full index was kept, or none went: the test proves nothing: {before:?} {after:?}"
    );
    restic.run(&["check", "--read-data"])?;
    wait::until("the small branch to be shown the other's index", LIMIT, || {
        let checked = restic.as_of(&of_small).run(&["--no-lock", "check", "--read-data"]);
        checked.map(drop).map_err(|error| format!("{error:#}"))
    })?;
    restic.as_of(&of_large).run(&["--no-lock", "check", "--read-data"])?;

    // A machine that wakes on it, with its own program.
    let fourth = woken(&stack, &id, Some(&of_small), 4)?;
    let target = stack.directory().join("restored");
    let arguments = ["--snapshot", &of_small, "--as-of", &of_small, "--target", &target.to_string_lossy()];
    Keeper::new(&stack, &fourth)?.run("restore", &arguments)?;
    ensure!(std::fs::read(target.join("work/shared"))? == shared, "other bytes");
    ensure!(std::fs::read(target.join("work/own"))? == b"of the small branch");
    stack.stop()
}
