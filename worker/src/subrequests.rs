//! Counts what one invocation asks of its bindings.
//!
//! The plan allows 50 subrequests an invocation and we keep to 40; the counts are logged and sent back in
//! `x-ebbtide-calls`, so that the bench and the tests can hold us to it. Counting never refuses anything.

use std::cell::Cell;
use std::fmt;
use std::rc::Rc;

/// What is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Binding {
    /// Requests to the providers.
    Fetch,
    /// Statements (a batch counts once).
    D1,
    /// Bucket operations.
    R2,
    /// Calls to workspaces' objects.
    Object,
}

#[derive(Debug, Default)]
struct Counts {
    fetch: Cell<u32>,
    d1: Cell<u32>,
    r2: Cell<u32>,
    object: Cell<u32>,
}

/// The counter of one invocation; clones share it.
#[derive(Debug, Clone, Default)]
pub struct Calls(Rc<Counts>);

impl Calls {
    /// Counts one call.
    pub fn count(&self, binding: Binding) {
        let cell = match binding {
            Binding::Fetch => &self.0.fetch,
            Binding::D1 => &self.0.d1,
            Binding::R2 => &self.0.r2,
            Binding::Object => &self.0.object,
        };
        cell.set(cell.get().saturating_add(1));
    }

    /// Whether a provider was called.
    pub fn has_fetched(&self) -> bool {
        self.0.fetch.get() > 0
    }

    /// All calls so far.
    pub fn total(&self) -> u32 {
        [&self.0.fetch, &self.0.d1, &self.0.r2, &self.0.object]
            .into_iter()
            .fold(0, |sum, cell| sum.saturating_add(cell.get()))
    }
}

impl fmt::Display for Calls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Counts { fetch, d1, r2, object } = &*self.0;
        write!(f, "fetch={},d1={},r2={},object={}", fetch.get(), d1.get(), r2.get(), object.get())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clones_share_one_count_in_the_form_that_the_bench_reads() {
        let calls = Calls::default();
        let clone = calls.clone();
        clone.count(Binding::D1);
        calls.count(Binding::D1);
        calls.count(Binding::Fetch);
        assert_eq!(calls.to_string(), "fetch=1,d1=2,r2=0,object=0");
        assert_eq!(clone.total(), 3);
    }
}
