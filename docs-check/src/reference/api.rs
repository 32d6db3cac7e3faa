//! `api.md`: how to call the API, and every path that people and programs use.

use super::{HEAD, cell};
use anyhow::{Context as _, Result};
use serde_json::Value;

/// The page.
///
/// # Errors
/// The OpenAPI document is unusable.
pub fn page() -> Result<String> {
    let document: Value = serde_json::from_str(&ebbtide_worker::openapi_text()?)?;
    let paths = document["paths"].as_object().context("no paths")?;
    let mut text = format!(
        "{HEAD}# The API\n\n\
         The whole description, with every field, is `GET /openapi.json`, as OpenAPI 3.1. Send \
         `Authorization: Bearer` with the owner token or an API key. Bodies are JSON objects; unknown fields are \
         refused. Refusals are listed in [errors](errors.md).\n\n\
         Send an `Idempotency-Key` when you create a workspace, and you can send the request again safely. \
         `GET /v1/workspaces/{{id}}?wait=ready` waits up to 25 s. Lists have a `next_cursor`; pass it as \
         `?cursor=`.\n\n| call | scope |\n|---|---|\n"
    );
    for (path, methods) in paths.iter().filter(|(path, _)| !path.starts_with("/v1/vm/")) {
        for (method, operation) in methods.as_object().into_iter().flatten() {
            text += &format!("| `{} {path}` | {} |\n", method.to_uppercase(), cell(&scope(operation)));
        }
    }
    text += "\nTo change a repository, a key needs `write`.\n\nPaths below `/v1/vm/` are for machines, but for `PUT /v1/vm/agent/{sha256}`, which publishes the daemon.\n";
    Ok(text)
}

fn scope(operation: &Value) -> String {
    let is_open = operation["security"].as_array().is_none_or(Vec::is_empty);
    let needs = operation["description"].as_str().and_then(|text| text.split('`').nth(1));
    match (is_open, needs) {
        (true, _) => "open".to_owned(),
        (false, Some(scope)) => scope.to_owned(),
        (false, None) => "see OpenAPI".to_owned(),
    }
}
