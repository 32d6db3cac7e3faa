//! The pages of `docs/reference/` that are written from the code.
//!
//! `tests/docs.rs` compares them with what stands there; `UPDATE_DOCS=1 cargo test -p ebbtide-docs-check` writes them.

mod agents;
mod api;
mod cli;
mod errors;
mod events;
mod policy;

use anyhow::Result;
use std::path::Path;

/// A page, and what it has to say.
#[derive(Debug)]
pub struct Generated {
    /// From the root.
    pub path: &'static str,
    /// All of it.
    pub text: String,
}

/// Writes all of them, into memory.
///
/// # Errors
/// The source is not as it was read before.
pub fn pages(root: &Path) -> Result<Vec<Generated>> {
    Ok(vec![
        Generated { path: "docs/reference/errors.md", text: errors::page() },
        Generated { path: "docs/reference/events.md", text: events::page() },
        Generated { path: "docs/reference/policy.md", text: policy::page(root)? },
        Generated { path: "docs/reference/cli.md", text: cli::page() },
        Generated { path: "docs/reference/agents.md", text: agents::page(root)? },
        Generated { path: "docs/reference/api.md", text: api::page()? },
    ])
}

/// Says at the head of a page where it comes from.
const HEAD: &str = "<!-- Written from the code: UPDATE_DOCS=1 cargo test -p ebbtide-docs-check -->\n\n";

/// A text in a cell of a table.
fn cell(text: &str) -> String {
    text.replace('|', "\\|").replace('\n', " ")
}
