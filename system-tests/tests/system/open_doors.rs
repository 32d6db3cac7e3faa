//! What anybody may see without a token.

use crate::common::{LIMIT, health_from_anywhere, is_limited, quick, without_machines};
use anyhow::{Result, ensure};
use serde_json::json;

#[test]
fn the_document_of_the_api_is_served_and_health_is_open() -> Result<()> {
    let stack = without_machines("open", quick())?;
    let nobody = stack.api.with_token("");
    let document = nobody.call("GET", "/openapi.json", None)?.expect(200)?.json();
    ensure!(
        document["openapi"].as_str().is_some_and(|version| version.starts_with("3.1")),
        "{}",
        document["openapi"]
    );
    for path in ["/v1/workspaces", "/v1/workspaces/{id}", "/health"] {
        ensure!(document["paths"][path].is_object(), "{path} is not in the document");
    }
    // Until its cron has run for the first time an installation says so.
    ebbtide_system_tests::wait::until("a health without problems", LIMIT, || {
        let answer = health_from_anywhere(&nobody).and_then(|answer| answer.expect(200));
        let health = answer.map_err(|error| format!("{error:#}"))?.json();
        if health["ok"] == true && health["problems"] == json!([]) { Ok(()) } else { Err(health.to_string()) }
    })?;
    is_limited(&nobody)?;
    stack.stop()
}
