//! Ctrl-C, SIGTERM and SIGHUP: noticed here, acted on by whoever waits.
//!
//! The handler only sets a flag. Every wait of this crate looks at it and fails with [`Interrupted`], so that the
//! ordinary clean-up (drops) runs at whatever moment the signal comes.

use anyhow::{Context, Result};
use std::sync::atomic::{AtomicBool, Ordering};

static CAUGHT: AtomicBool = AtomicBool::new(false);

/// Somebody asked this process to end.
#[derive(Debug, Clone, Copy)]
pub struct Interrupted;

impl std::fmt::Display for Interrupted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("interrupted")
    }
}

impl std::error::Error for Interrupted {}

/// Catches the signals from now on.
///
/// # Errors
/// Where a handler is installed already.
pub fn catch() -> Result<()> {
    ctrlc::set_handler(|| CAUGHT.store(true, Ordering::SeqCst)).context("catching signals")
}

/// Fails once a signal was caught.
///
/// # Errors
/// [`Interrupted`].
pub fn check() -> Result<(), Interrupted> {
    if CAUGHT.load(Ordering::SeqCst) { Err(Interrupted) } else { Ok(()) }
}
