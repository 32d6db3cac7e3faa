//! Tests that need what not every machine has. Where everything must run (`EBBTIDE_MUST_RUN`, which `scripts/test` sets),
//! what cannot run has failed. Those in a module `as_root` need root, and `scripts/test` runs them as root.

/// Says that a test cannot run here, and why; the test then returns.
pub fn skip(reason: &str) {
    assert!(
        std::env::var_os("EBBTIDE_MUST_RUN").is_none_or(|value| value.is_empty()),
        "everything must run here (EBBTIDE_MUST_RUN), and this cannot: {reason}"
    );
    eprintln!("skipped: {reason}");
}
