//! One life on an image that has the programs already: create, work, sleep, wake, the same bytes.

use crate::steps::{Life, spawn, stack};
use crate::timeline::Timeline;
use anyhow::Result;
use ebbtide_system_tests::VmImage;

#[test]
fn a_workspace_sleeps_and_wakes_with_the_same_bytes() -> Result<()> {
    sleeps_and_wakes("quick", VmImage::Prepared)
}

/// That life, on any image.
pub fn sleeps_and_wakes(name: &'static str, image: VmImage) -> Result<()> {
    let mut timeline = Timeline::new(name);
    let stack = timeline.must("control plane and local cloud are up", || {
        Ok((String::new(), stack(&format!("vm-{name}"), image, &[])?))
    })?;
    let id = timeline.must("spawn, until ready", || spawn(&stack))?;
    let life = Life { stack, id };
    timeline.step("systemd has no failed unit", || life.no_failed_unit());
    timeline.step("a port answers", || {
        life.serve()?;
        life.page_answers()
    });
    timeline.step("reboot; ports answer again", || life.reboots());
    timeline.step("the packet filter stood before the network", || life.filter_stood_first());
    timeline.step("there is swap in memory, after a reboot too, and files to watch", || {
        life.has_swap_and_watches()
    });
    timeline.step("a program takes all memory, and its owner is told", || life.bears_a_hog());
    timeline.step("its user is root by sudo, and installs a package", || life.installs());
    timeline.must("files of every kind are made", || Ok((life.make_files()?, ())))?;
    let before = timeline.must("their manifest", || {
        let facts = life.manifest()?;
        Ok((format!("{} entries", facts.len()), facts))
    })?;
    timeline.must("sleep, until the server is gone", || Ok((life.sleep()?, ())))?;
    timeline.must("wake, until ready", || Ok((life.wake()?, ())))?;
    timeline.step("the package is there again, and the setup script ran", || life.is_set_up());
    timeline.step("the same bytes", || life.has_files(&before));
    timeline.step("everything ends", || life.stack.stop().map(|()| String::new()));
    timeline.end()
}
