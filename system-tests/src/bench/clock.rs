//! Times on one clock: the wall clock of this host, which its machines and the control plane share, in milliseconds.

use anyhow::{Context, Result};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Kernel ticks in a second, as `/proc` counts them (`USER_HZ`, 100 on every Linux of today).
const TICKS: f64 = 100.0;

/// Now.
pub fn now_ms() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64() * 1000.0
}

/// When a process began, to 10 ms.
///
/// # Errors
/// Where it is gone.
pub fn began_ms(pid: u32) -> Result<f64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).context("a process is gone")?;
    let fields = stat.rsplit_once(')').map(|(_, rest)| rest).unwrap_or_default();
    let ticks: f64 = fields.split_whitespace().nth(19).context("a short line in /proc")?.parse()?;
    let uptime = std::fs::read_to_string("/proc/uptime").context("/proc/uptime")?;
    let uptime: f64 = uptime.split_whitespace().next().context("/proc/uptime is empty")?.parse()?;
    Ok(now_ms() - (uptime - ticks / TICKS) * 1000.0)
}

/// Lets time pass, between two looks at something.
pub fn pause(span: Duration) {
    std::thread::sleep(span);
}
