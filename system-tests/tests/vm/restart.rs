//! A machine that starts again: by a reboot from inside, or because its power was cut.

use crate::steps::{LIMIT, Life};
use anyhow::{Context as _, Result, ensure};
use ebbtide_system_tests::wait;
use serde_json::json;

/// What brings a Debian's or Ubuntu's network up; one of them runs.
const NETWORKS: [&str; 3] = ["systemd-networkd.service", "networking.service", "NetworkManager.service"];

impl Life {
    /// Reboots from inside, until ports answer again.
    pub fn reboots(&self) -> Result<String> {
        self.starts_again(|| self.guest()?.shell("systemctl --no-block reboot").map(drop))
    }

    /// Loses its power, until ports answer again.
    pub fn loses_power(&self) -> Result<String> {
        self.starts_again(|| self.guest()?.hardware("system_reset", json!({})))
    }

    fn starts_again(&self, restart: impl Fn() -> Result<()>) -> Result<String> {
        let guest = self.guest()?;
        let boot_id = "cat /proc/sys/kernel/random/boot_id";
        let before = guest.shell(boot_id)?;
        guest.shell("sync")?;
        restart()?;
        wait::until("another boot", LIMIT, || match guest.shell(boot_id) {
            Ok(now) if now != before => Ok(()),
            seen => Err(format!("{seen:?}")),
        })?;
        let back = self.other_agent(0)?;
        // What the user ran ended with the machine; a person starts it again, in the terminal that must be there.
        wait::until("a terminal", LIMIT, || self.serve().map_err(|error| format!("{error:#}")))?;
        Ok(format!("{back}; page {}", self.page_answers()?))
    }

    /// Asserts that this boot loaded the packet filter before anything brought the network up.
    pub fn filter_stood_first(&self) -> Result<String> {
        let guest = self.guest()?;
        let of = |unit: &str, property: &str| {
            guest.shell(&format!("systemctl show --value --property={property} {unit}"))
        };
        let micros = |unit: &str, property: &str| -> Result<u64> {
            let said = of(unit, property)?;
            said.parse().with_context(|| format!("{property} of {unit}: {said:?}"))
        };
        let filter = "ebbtide-firewall.service";
        let status = of(filter, "ExecMainStatus")?;
        ensure!(status == "0", "loading the packet filter ended with {status:?}");
        let loaded = micros(filter, "ExecMainExitTimestampMonotonic")?;
        let begun = NETWORKS.map(|unit| micros(unit, "ExecMainStartTimestampMonotonic"));
        let begun = begun.into_iter().collect::<Result<Vec<u64>>>()?;
        let network = begun.into_iter().filter(|micros| *micros > 0).min();
        let network = network.with_context(|| format!("none of {NETWORKS:?} brought the network up"))?;
        ensure!(0 < loaded && loaded < network, "filter {loaded}, network {network} µs after the kernel");
        let seconds = |micros: u64| micros as f64 / 1e6;
        Ok(format!("{:.1} s after the kernel, the network's at {:.1} s", seconds(loaded), seconds(network)))
    }
}
