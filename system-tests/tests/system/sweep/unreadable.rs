//! A record that this version cannot read, because a newer one wrote it: its machine ends by its label, and no sooner. And
//! a workspace whose object lost its storage while its row and its server live: it is found, told, reached and ended.

use super::{at_rest, booting, ends, images_of, labels, names, part, seconds_from_now, start, status, swept};
use crate::common::LIMIT;
use anyhow::{Context, Result, ensure};
use ebbtide_api::FailureCode;
use ebbtide_api::sweep::SweepPart;
use ebbtide_api::workspace::State;
use ebbtide_system_tests::api::{Discard, shown};
use ebbtide_system_tests::{Stack, wait};
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

#[test]
fn a_lost_record_is_found_and_its_machine_backups_and_row_stay_in_reach() -> Result<()> {
    let mut stack = start(
        "lost",
        "local",
        json!({ "drain_ceiling": "1s", "rescue_ceiling": "1s", "undo": "2s", "sweep_overdue": "1s" }),
    )?;
    let (left, ended, discarded) = (booting(&stack)?, booting(&stack)?, booting(&stack)?);
    stack.crash_worker();
    for (id, _) in [&left, &ended, &discarded] {
        stack.change_record(id, "LOST")?;
    }
    stack.restart_worker()?;
    for (id, _) in [&left, &ended, &discarded] {
        is_told(&stack, id)?;
    }
    let report = swept(&stack)?;
    let findings = &part(&report, SweepPart::Machines)?.findings;
    ensure!(
        findings.iter().filter(|finding| finding.because.contains("is lost")).count() == 3,
        "{findings:?}"
    );
    let list = stack.api.call("GET", "/v1/workspaces", None)?.expect(200)?.json();
    let mut states = list["workspaces"].as_array().into_iter().flatten().map(|row| &row["state"]);
    ensure!(states.all(|state| *state == "failed"), "{list}");
    ensure!(status(&stack, left.1)? == "running", "it ended before its lifetime was over");
    is_read(&stack, &left.0)?;

    // Nobody asks for anything: it goes with its lifetime.
    let over = json!({ "labels": labels("local", &ended.0, &seconds_from_now(1)) });
    stack.hetzner("PUT", &format!("/servers/{}", ended.1), Some(&over))?.expect(200)?;
    ends(&stack, ended.1)?;
    ensure!(images_of(&stack, &ended.0)?.len() == 1, "it ended without an image");

    // Its owner does.
    stack.api.delete(&discarded.0, Discard::Work)?;
    at_rest(&stack)?;
    ensure!(status(&stack, discarded.1)? == "deleted", "the server of a discarded workspace is still there");
    ensure!(images_of(&stack, &discarded.0)?.is_empty(), "an image was taken of what was to be discarded");
    ensure!(!names(&stack)?.iter().any(|name| name.contains(&discarded.0)), "{:?}", names(&stack)?);
    stack.api.delete(&left.0, Discard::Nothing)?;
    ends(&stack, left.1)?;
    ensure!(images_of(&stack, &left.0)?.len() == 1, "it ended without an image");
    wait::until("their rows to end", LIMIT, || {
        swept(&stack).map_err(|error| format!("{error:#}"))?;
        let status = |id: &str| {
            stack.api.call("GET", &format!("/v1/workspaces/{id}"), None).map(|answer| answer.status)
        };
        match (status(&left.0), status(&discarded.0)) {
            (Ok(404), Ok(404)) => Ok(()),
            found => Err(format!("{found:?}")),
        }
    })?;
    ensure!(!stack.has_object(&format!("workspaces/owner/{}/restic/config", left.0)), "its backups are left");
    stack.stop()
}

fn is_told(stack: &Stack, id: &str) -> Result<()> {
    let workspace = stack.api.get(id)?;
    let failure = workspace.failure.clone().with_context(|| shown(&workspace))?;
    ensure!(workspace.state == State::Failed && failure.code == FailureCode::RecordLost, "{failure:?}");
    ensure!(failure.hint.contains("restore-kit") && failure.hint.contains("DELETE"), "{failure:?}");
    for call in ["wake", "sleep", "retry"] {
        let path = format!("/v1/workspaces/{id}/{call}");
        let refusal = stack.api.call("POST", &path, Some(&json!({})))?.expect(409)?.json();
        ensure!(refusal["code"] == "record_lost", "{call}: {refusal}");
    }
    Ok(())
}

/// What is stored can be read, although nobody knows any more what of it was verified; what a kit lacks is named.
fn is_read(stack: &Stack, id: &str) -> Result<()> {
    let path = format!("/v1/workspaces/{id}/restore-kit");
    let refused = |word: &str| -> Result<()> {
        let refusal = stack.api.call("POST", &path, Some(&json!({})))?.expect(409)?.json();
        ensure!(refusal["message"].as_str().is_some_and(|message| message.contains(word)), "{refusal}");
        Ok(())
    };
    refused("nothing of this workspace is backed up")?;
    let name = "ab".repeat(32);
    for object in ["config", &format!("snapshots/{name}")] {
        stack.plant_object(&format!("workspaces/owner/{id}/restic/{object}"), "x")?;
    }
    refused("key")?;
    let listed =
        stack.api.call("GET", &format!("/v1/workspaces/{id}/restic/snapshots/"), None)?.expect(200)?;
    ensure!(listed.text().contains(&name), "{}", listed.text());
    Ok(())
}
