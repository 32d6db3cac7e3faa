//! How many tests are at work at once, whatever the number of the runner's threads.
//!
//! Most tests share a system with the others of their module and wait for their turn at it. A thread of the runner that
//! waits so must not count as one at work: by name the tests of a module come together, and with four threads three of
//! them waited for the fourth. So every test has a thread, and takes a slot when it begins to work. Those that have
//! others waiting behind them go first, because the longest row of turns is what the whole run lasts at least.
//! What every test took is written to `target/system-test-times`.

use ebbtide_system_tests::paths;
use std::cell::RefCell;
use std::collections::VecDeque;
use std::io::Write as _;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::ThreadId;
use std::time::Instant;

/// Whose work it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Work {
    /// A turn at a system of many.
    Turn,
    /// That of a test with a system of its own.
    Own,
    /// The same, of more than a minute: it goes before the others, for the last one to begin is what the run waits for.
    Long,
}

struct Slots {
    taken: usize,
    /// Those who have their turn and wait for a slot, in the order in which they came: no row of turns is left behind.
    turns: VecDeque<ThreadId>,
    /// How many of the long ones wait.
    long: usize,
}

static SLOTS: Mutex<Slots> = Mutex::new(Slots { taken: 0, turns: VecDeque::new(), long: 0 });
static GIVEN_BACK: Condvar = Condvar::new();

thread_local! {
    /// The slot of this thread, which is one test's. It goes back with the thread, also where the test panics.
    static HELD: RefCell<Option<Held>> = const { RefCell::new(None) };
}

struct Held {
    since: Instant,
    what: &'static str,
}

impl Drop for Held {
    fn drop(&mut self) {
        slots().taken -= 1;
        GIVEN_BACK.notify_all();
        let thread = std::thread::current();
        let name = thread.name().unwrap_or("?");
        let line = format!("{:7.1} s  {name}{}\n", self.since.elapsed().as_secs_f64(), self.what);
        let file = paths::root().join("target/system-test-times");
        // For people who look for what is slow; no test depends on it.
        let _ = std::fs::File::options()
            .create(true)
            .append(true)
            .open(file)
            .and_then(|mut file| file.write_all(line.as_bytes()));
    }
}

fn slots() -> MutexGuard<'static, Slots> {
    SLOTS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// As many as `EBBTIDE_TEST_STACKS` says, else two for each processor: tests wait more than they compute.
fn how_many() -> usize {
    let given = std::env::var("EBBTIDE_TEST_STACKS").ok().and_then(|text| text.parse().ok());
    given.unwrap_or_else(|| 2 * std::thread::available_parallelism().map_or(1, usize::from)).max(1)
}

/// Waits for a slot and takes it for this thread; does nothing where it has one.
pub fn take(work: Work) {
    take_for(work, "");
}

/// As [`take`], with what the slot is for beside the test's name.
pub fn take_for(work: Work, what: &'static str) {
    if HELD.with_borrow(Option::is_some) {
        return;
    }
    let (most, this) = (how_many(), std::thread::current().id());
    let mut slots = slots();
    let is_full = |slots: &Slots| slots.taken >= most;
    match work {
        Work::Turn => {
            slots.turns.push_back(this);
            let must_wait = |slots: &mut Slots| is_full(slots) || slots.turns.front() != Some(&this);
            slots = GIVEN_BACK.wait_while(slots, must_wait).unwrap_or_else(PoisonError::into_inner);
            slots.turns.pop_front();
        }
        Work::Long => {
            slots.long += 1;
            let must_wait = |slots: &mut Slots| is_full(slots) || !slots.turns.is_empty();
            slots = GIVEN_BACK.wait_while(slots, must_wait).unwrap_or_else(PoisonError::into_inner);
            slots.long -= 1;
        }
        Work::Own => {
            let must_wait = |slots: &mut Slots| is_full(slots) || !slots.turns.is_empty() || slots.long > 0;
            slots = GIVEN_BACK.wait_while(slots, must_wait).unwrap_or_else(PoisonError::into_inner);
        }
    }
    slots.taken += 1;
    drop(slots);
    // There may be room for the next, who looked when this one stood before it.
    GIVEN_BACK.notify_all();
    HELD.set(Some(Held { since: Instant::now(), what }));
}

/// Gives this thread's slot back before the thread ends.
pub fn give_back() {
    drop(HELD.take());
}
