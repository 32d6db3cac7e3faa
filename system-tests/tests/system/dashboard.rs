//! The dashboard as a person uses it, in a real Chromium, driven by the scripts in `tests/browser`.

use crate::common::{REPOSITORY, quick, with_machines};
use anyhow::Result;
use ebbtide_system_tests::{paths, process};
use std::os::unix::fs::OpenOptionsExt;

/// Runs a script of tests. The limit is there for a browser that hangs; it takes a few seconds.
fn node(configure: impl FnOnce(&mut std::process::Command) -> &mut std::process::Command) -> Result<String> {
    process::run("timeout", |timeout| {
        let node = paths::root().join("node_modules/.bin/node");
        let arguments = ["--test", "--test-reporter=spec", "--test-force-exit", "--test-timeout=240000"];
        configure(
            timeout.current_dir(paths::root()).args(["--kill-after=10", "400"]).arg(node).args(arguments),
        )
    })
}

#[test]
fn a_person_signs_in_creates_watches_and_deletes_a_workspace() -> Result<()> {
    let stack = with_machines("dashboard", quick())?;
    let token = stack.directory().join("owner-token");
    let mut options = std::fs::OpenOptions::new();
    std::io::Write::write_all(
        &mut options.create(true).write(true).mode(0o600).open(&token)?,
        stack.owner_token.as_bytes(),
    )?;
    node(|node| {
        node.arg("system-tests/tests/browser/dashboard.test.mjs")
            .env("EBBTIDE_URL", &stack.url)
            .env("EBBTIDE_OWNER_TOKEN_FILE", &token)
            .env("EBBTIDE_DEMO_REPO", REPOSITORY)
    })?;
    stack.stop()
}

#[test]
fn the_live_page_refreshes_itself_and_says_when_it_cannot() -> Result<()> {
    node(|node| node.arg("system-tests/tests/browser/live-page.test.mjs")).map(drop)
}
