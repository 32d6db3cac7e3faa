//! The same life on the Debian before: systemd 252, cloud-init 22.4, and nothing installed.

use crate::quick::sleeps_and_wakes;
use anyhow::Result;
use ebbtide_system_tests::VmImage;

#[test]
fn a_workspace_lives_on_the_older_debian_too() -> Result<()> {
    sleeps_and_wakes("debian-12", VmImage::Debian12)
}
