//! Bounded waits for a condition. The only place of this crate that sleeps.

use crate::interrupt;
use anyhow::{Result, anyhow};
use std::time::{Duration, Instant};

/// How often a condition is looked at.
const EVERY: Duration = Duration::from_millis(50);

/// Asks `probe` until it answers `Ok`, at most for `limit`. A probe's error is what it sees instead; the last one is
/// part of the failure.
///
/// # Errors
/// When the limit is over, or this process is asked to end.
pub fn until<T>(what: &str, limit: Duration, mut probe: impl FnMut() -> Result<T, String>) -> Result<T> {
    let begun = Instant::now();
    loop {
        interrupt::check()?;
        match probe() {
            Ok(value) => return Ok(value),
            Err(seen) if begun.elapsed() >= limit => {
                return Err(anyhow!("waited {} s in vain for {what}; last seen: {seen}", limit.as_secs()));
            }
            Err(_) => std::thread::sleep(EVERY),
        }
    }
}

/// Watches for `span` that a condition stays true.
///
/// # Errors
/// As soon as the probe fails, with what it saw.
pub fn stays(what: &str, span: Duration, mut probe: impl FnMut() -> Result<(), String>) -> Result<()> {
    let begun = Instant::now();
    while begun.elapsed() < span {
        interrupt::check()?;
        probe().map_err(|seen| anyhow!("{what} did not stay so: {seen}"))?;
        std::thread::sleep(EVERY);
    }
    Ok(())
}
