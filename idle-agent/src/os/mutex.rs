//! A lock that outlives a panicked holder: the data behind our locks is replaced whole, never left half changed.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Locks.
pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Starts a named thread with a small stack; the agent has about a dozen and each is shallow.
///
/// # Errors
/// What the system says.
pub fn spawn(name: &str, body: impl FnOnce() + Send + 'static) -> std::io::Result<()> {
    std::thread::Builder::new().name(name.to_owned()).stack_size(512 << 10).spawn(body).map(drop)
}
