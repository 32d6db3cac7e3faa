//! A machine that was put to sleep comes back, from an image that its owner made of it, beside the one that was woken.

use crate::steps::{BOOT, Life, spawn, stack};
use crate::timeline::Timeline;
use anyhow::{Context, Result, ensure};
use ebbtide_api::workspace::{State, Workspace};
use ebbtide_system_tests::api::shown;
use ebbtide_system_tests::{VmImage, wait};
use serde_json::json;
use std::time::Instant;

#[test]
fn a_machine_of_an_older_generation_parks_and_changes_nothing() -> Result<()> {
    let mut timeline = Timeline::new("older-generation");
    let stack = timeline.must("control plane and local cloud are up", || {
        Ok((String::new(), stack("vm-older", VmImage::Prepared, &[])?))
    })?;
    let id = timeline.must("spawn, until ready", || spawn(&stack))?;
    let life = Life { stack, id };
    timeline.must("files of every kind are made", || Ok((life.make_files()?, ())))?;
    let before = life.manifest()?;
    let image = timeline.must("its disk becomes an image, of the owner's wish", || disk_image(&life))?;
    timeline.must("sleep, until the server is gone", || Ok((life.sleep()?, ())))?;
    timeline.must("wake, until ready", || Ok((life.wake()?, ())))?;
    timeline.step("the first machine is started again from its image; it parks, and nothing changes", || {
        older_machine(&life, image, &before)
    });
    timeline.must("second sleep", || Ok((life.sleep()?, ())))?;
    timeline.must("second wake", || Ok((life.wake()?, ())))?;
    timeline.step("the same bytes", || life.has_files(&before));
    timeline.step("everything ends", || life.stack.stop().map(|()| String::new()));
    timeline.end()
}

/// Has the provider make an image of the machine's disk while it runs; says which.
fn disk_image(life: &Life) -> Result<(String, u64)> {
    let inventory = life.stack.cloud.inventory()?;
    let server = inventory.live_of(&life.id).first().context("no server")?.id;
    let wish = json!({ "type": "snapshot", "description": "of the owner's wish" });
    let path = format!("/servers/{server}/actions/create_image");
    let made = life.stack.hetzner("POST", &path, Some(&wish))?.expect(201)?.json();
    let image = made["image"]["id"].as_u64().context("no image")?;
    wait::until("the image", BOOT, || {
        let seen = life.stack.hetzner("GET", &format!("/images/{image}"), None);
        let seen = seen.map_err(|error| format!("{error:#}"))?.json();
        if seen["image"]["status"] == "available" { Ok(()) } else { Err(seen.to_string()) }
    })?;
    Ok((format!("image {image}"), image))
}

/// Starts a server of the owner's from that image. What runs on it believes that it is the workspace's machine of an earlier
/// generation: it has to find out that it is not, and to leave everything alone.
fn older_machine(life: &Life, image: u64, files: &[String]) -> Result<String> {
    let now = life.workspace().map_err(anyhow::Error::msg)?;
    let wish = json!({
        "name": format!("by-hand-{}", now.generation), "server_type": now.size, "location": now.location, "image": image,
    });
    let made = life.stack.hetzner("POST", "/servers", Some(&wish))?.expect(201)?.json();
    let server = made["server"]["id"].as_u64().context("no id")?;
    let begun = Instant::now();
    let guest = life.stack.guest(server);
    let parked = wait::until("the older machine to park itself", BOOT, || {
        let said = guest.shell("cat /var/lib/ebbtide/parked.json").map_err(|error| format!("{error:#}"))?;
        if said.is_empty() { Err("nothing yet".to_owned()) } else { Ok(said) }
    })?;
    let after = begun.elapsed().as_secs();
    let later = life.workspace().map_err(anyhow::Error::msg)?;
    ensure!(later.state == State::Running && later.generation == now.generation, "{}", shown(&later));
    // The living one may have backed up meanwhile.
    let before_image = |workspace: &Workspace| workspace.last_backup.as_ref().map(|last| last.verified_at);
    let by = later.last_backup.as_ref().map(|last| last.generation);
    ensure!(
        before_image(&later) == before_image(&now) || by == Some(now.generation),
        "the older machine delivered a backup: {}",
        shown(&later)
    );
    life.has_files(files)?;
    life.stack.hetzner("DELETE", &format!("/servers/{server}"), None)?.expect(200)?;
    Ok(format!("parked after {after} s ({parked}); generation {} runs on", later.generation))
}
