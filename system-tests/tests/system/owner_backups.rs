//! An owner's way to the backups of a sleeping workspace: the restic protocol with the owner's own token.

use crate::common::{LIMIT, cloning, quick, ready, with_machines};
use anyhow::{Result, ensure};
use ebbtide_api::workspace::State;

#[test]
fn a_sleeping_workspace_s_repository_is_listed_to_its_owner_and_to_nobody_else() -> Result<()> {
    let stack = with_machines("restic", quick())?;
    let id = ready(&stack, &cloning())?.id.to_string();
    stack.api.act(&id, "sleep")?;
    stack.api.wait_for(&id, State::Asleep, LIMIT)?;
    let path = format!("/v1/workspaces/{id}/restic/snapshots/");
    let listed =
        stack.api.raw("GET", &path, &[("accept", "application/vnd.x.restic.rest.v2")], None)?.expect(200)?;
    ensure!(listed.json().as_array().is_some_and(|list| !list.is_empty()), "{}", listed.text());
    let nobody = stack.api.with_token("wrong").raw("GET", &path, &[], None)?;
    ensure!(nobody.status == 401, "{} {}", nobody.status, nobody.text());
    // Ciphertext only: nothing of the work shows in what storage holds.
    let file = format!("/v1/workspaces/{id}/restic/config");
    let config = stack.api.raw("GET", &file, &[], None)?.expect(200)?;
    ensure!(!config.text().contains("chunker"), "the repository's configuration is in clear");
    stack.stop()
}
