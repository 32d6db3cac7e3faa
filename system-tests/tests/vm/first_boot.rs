//! The first boot of an image while another apt has its lock, as Debian's own timers do at just that moment.

use crate::steps::{Life, spawn, stack};
use crate::timeline::Timeline;
use anyhow::{Result, ensure};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ebbtide_system_tests::VmImage;

/// A service that holds the lock of apt's lists as apt does, for longer than anybody tries again by chance.
const OTHER_APT: &str = r#"[Unit]
Description=Another apt at work
[Service]
ExecStart=/usr/bin/python3 -c "import fcntl, time; lock = open('/var/lib/apt/lists/lock', 'w'); fcntl.lockf(lock, fcntl.LOCK_EX); print('locked', flush=True); time.sleep(240)"
"#;
const WANTED_AT_BOOT: &str = "[Unit]\nWants=other-apt.service\n";

/// Hands the unit to the guest's systemd through the firmware's tables, so that no image is made for it
/// (systemd.system-credentials(7)).
fn other_apt() -> Vec<String> {
    let credential = |name: &str, text: &str| {
        [
            "-smbios".into(),
            format!("type=11,value=io.systemd.credential.binary:{name}={}", STANDARD.encode(text)),
        ]
    };
    let unit = credential("systemd.extra-unit.other-apt.service", OTHER_APT);
    let wish = credential("systemd.unit-dropin.multi-user.target", WANTED_AT_BOOT);
    unit.into_iter().chain(wish).collect()
}

#[test]
fn a_boot_waits_for_another_apt() -> Result<()> {
    let mut timeline = Timeline::new("held-apt-lock");
    let stack = timeline.must("control plane and local cloud are up", || {
        Ok((String::new(), stack("vm-first-boot", VmImage::Bare, &other_apt())?))
    })?;
    let id =
        timeline.must("spawn while another apt has the lock for 240 s, until ready", || spawn(&stack))?;
    let life = Life { stack, id };
    timeline.step("the lock was held", || {
        let said =
            life.guest()?.shell("journalctl --unit other-apt.service --output short-monotonic --no-pager")?;
        ensure!(said.contains("locked"), "the other apt did not get the lock: {said}");
        Ok(said.lines().last().unwrap_or_default().to_owned())
    });
    timeline.step("everything ends", || life.stack.stop().map(|()| String::new()));
    timeline.end()
}
