//! One system for all tests of a module, used by one test at a time.
//!
//! It comes up for the first test, goes with the last one that waits for its turn, and is never left to a static:
//! whatever it started ends before this process does. Every turn begins without faults at the vendors.

use crate::common::LIMIT;
use crate::slots::{self, Work};
use anyhow::{Context, Result, ensure};
use ebbtide_api::workspace::State;
use ebbtide_system_tests::Stack;
use ebbtide_system_tests::api::Discard;
use std::sync::{Arc, Mutex, PoisonError, Weak};

/// A system that the tests of a module share.
pub struct Turns {
    running: Mutex<Weak<Mutex<Stack>>>,
    bring_up: fn() -> Result<Stack>,
}

impl Turns {
    /// Will be brought up that way.
    pub const fn bringing_up(bring_up: fn() -> Result<Stack>) -> Self {
        Self { running: Mutex::new(Weak::new()), bring_up }
    }

    /// Waits for the turn, then runs a test on the system. What the system said last is shown where the test fails.
    ///
    /// # Panics
    /// Where the test does, or the system does not come up.
    pub fn run(&self, test: impl FnOnce(&mut Stack) -> Result<()>) {
        let shared = self.join().unwrap_or_else(|error| panic!("the system does not come up: {error:#}"));
        let mut stack = shared.lock().unwrap_or_else(PoisonError::into_inner);
        slots::take(Work::Turn);
        let outcome = stack.cloud.clear_faults().context("clearing faults").and_then(|()| test(&mut stack));
        // Before the system may end with this turn, which takes no slot's work.
        slots::give_back();
        if let Err(error) = outcome {
            panic!("{error:#}\n{}", stack.last_words());
        }
    }

    fn join(&self) -> Result<Arc<Mutex<Stack>>> {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(stack) = running.upgrade() {
            return Ok(stack);
        }
        // Given back before the turn is waited for: who has the turn must never wait for a slot of somebody who waits for
        // the turn.
        slots::take_for(Work::Turn, " (brings the system up)");
        let stack = (self.bring_up)();
        slots::give_back();
        let stack = Arc::new(Mutex::new(stack?));
        *running = Arc::downgrade(&stack);
        Ok(stack)
    }
}

/// Throws a workspace away at the end of a turn. Once it says that it is deleted, nothing of it may bill or resolve.
///
/// # Errors
/// It does not get there, or is not as it says.
pub fn discarded(stack: &Stack, id: &str) -> Result<()> {
    stack.api.delete(id, Discard::Work)?;
    stack.api.wait_for(id, State::Deleted, LIMIT)?;
    let inventory = stack.cloud.inventory()?;
    let (servers, names) = (inventory.live_of(id), inventory.names_of(id));
    ensure!(servers.is_empty() && names.is_empty(), "{id} is deleted, with {servers:?} and {names:?}");
    Ok(())
}
