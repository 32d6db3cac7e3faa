//! A machine that is cut off with work that is in no backup: its disk becomes an image, a machine is made from that only to
//! be backed up, and the next has the same bytes.

use crate::steps::{BOOT, LIMIT, Life, spawn, stack_with};
use crate::timeline::Timeline;
use anyhow::{Context, Result, ensure};
use ebbtide_api::FailureCode;
use ebbtide_api::workspace::State;
use ebbtide_system_tests::api::shown;
use ebbtide_system_tests::{VmImage, wait};
use serde_json::json;

#[test]
fn work_of_a_machine_that_is_cut_off_comes_back() -> Result<()> {
    let mut timeline = Timeline::new("rescue");
    let policy = json!({
        "silence_question": "20s", "reboot_grace": "2m", "silence_budget": "2m", "drain_ceiling": "5m",
        "rescue_ceiling": "20m",
    });
    let stack = timeline.must("control plane and local cloud are up", || {
        Ok((String::new(), stack_with("vm-rescue", VmImage::Prepared, &[], policy)?))
    })?;
    let id = timeline.must("spawn, until ready", || spawn(&stack))?;
    let life = Life { stack, id };
    timeline.must("files of every kind are made", || Ok((life.make_files()?, ())))?;
    let before = life.manifest()?;
    timeline.must("the machine is cut off for good, until it is silent", || Ok((cut_off(&life)?, ())))?;
    timeline
        .must("its lifetime ends, until its disk is an image and it is gone", || Ok((rescued(&life)?, ())))?;
    timeline.must("wake: a machine from the image, a backup, a fresh machine that is ready", || {
        life.lifetime("4h")?;
        Ok((life.wake()?, ()))
    })?;
    timeline.step("nothing of the earlier machine's runs, and its backup was made by one of its own", || {
        let workspace = life.workspace().map_err(anyhow::Error::msg)?;
        ensure!(workspace.generation.0 == 3, "{}", shown(&workspace));
        let last = workspace.last_backup.context("no backup")?;
        ensure!(last.generation.0 == 2, "the backup is of generation {}", last.generation.0);
        Ok(format!("generation {} runs on the backup of {}", workspace.generation.0, last.generation.0))
    });
    timeline.step("the same bytes", || life.has_files(&before));
    timeline.step("the image is gone", || {
        wait::until("no image", LIMIT, || {
            let inventory = life.stack.cloud.inventory().map_err(|error| format!("{error:#}"))?;
            if inventory.images.is_empty() {
                Ok(String::new())
            } else {
                Err(format!("{:?}", inventory.images))
            }
        })
    });
    timeline.step("everything ends", || life.stack.stop().map(|()| String::new()));
    timeline.end()
}

fn cut_off(life: &Life) -> Result<String> {
    let inventory = life.stack.cloud.inventory()?;
    let server = inventory.live_of(&life.id).first().context("a server")?.id;
    life.stack.cloud.machine_fault(server, "lose_network")?;
    life.becomes(State::Silent).map(|secs| format!("after {secs:.0} s"))
}

fn rescued(life: &Life) -> Result<String> {
    life.lifetime("10s")?;
    let end = life.stack.api.wait(&life.id, "failed", BOOT, |workspace| workspace.state == State::Failed)?;
    let failure = end.failure.clone().context("what was not backed up is not told")?;
    ensure!(failure.code == FailureCode::Rescued && end.rescue_image.is_some(), "{}", shown(&end));
    ensure!(life.stack.cloud.inventory()?.live_of(&life.id).is_empty(), "its server is still there");
    Ok(failure.message)
}
