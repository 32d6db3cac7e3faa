//! A record that this version cannot read, because a newer one wrote it: its machine ends by its label, and no sooner.

use super::{booting, ends, images_of, labels, seconds_from_now, start, status, swept};
use anyhow::ensure;
use serde_json::json;

#[test]
fn a_record_that_cannot_be_read_ends_its_machine_by_its_label() -> anyhow::Result<()> {
    let mut stack = start("unreadable", "local", json!({ "drain_ceiling": "1s", "rescue_ceiling": "1s" }))?;
    let (id, server) = booting(&stack)?;
    stack.crash_worker();
    stack.change_record(&id, "json_set(json, '$.phase', 'of a newer version')")?;
    stack.restart_worker()?;
    let answer = stack.api.call("GET", &format!("/v1/workspaces/{id}"), None)?;
    ensure!(answer.status >= 500, "the record was read: {}", answer.text());
    // Its label lets it live: nobody ends it on suspicion.
    swept(&stack)?;
    ensure!(status(&stack, server)? == "running", "it ended before its label said so");
    let past = json!({ "labels": labels("local", &id, &seconds_from_now(-99_999)) });
    stack.hetzner("PUT", &format!("/servers/{server}"), Some(&past))?.expect(200)?;
    ends(&stack, server)?;
    ensure!(images_of(&stack, &id)?.len() == 1, "it ended without an image");
    stack.stop()
}
