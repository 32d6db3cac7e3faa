//! Rust: `Cargo.toml`. What is below a workspace is told with it.

use super::{Part, Purpose, Tree, is_within};

pub(super) fn parts(tree: &Tree) -> Vec<Part> {
    let mut parts: Vec<Part> = Vec::new();
    let mut workspaces: Vec<String> = Vec::new();
    for directory in tree.directories_with(&["Cargo.toml"]) {
        let Some(manifest) =
            tree.read(&directory, "Cargo.toml").and_then(|text| text.parse::<toml::Table>().ok())
        else {
            continue;
        };
        if workspaces.iter().any(|above| is_within(&directory, above)) {
            continue;
        }
        let is_workspace = manifest.contains_key("workspace");
        let all = if is_workspace { " --workspace" } else { "" };
        let kind = if is_workspace { "Rust workspace" } else { "Rust" };
        let mut part = Part { kind: kind.into(), ..Part::default() };
        part.command(Purpose::Build, format!("cargo build{all}"));
        part.command(Purpose::Test, format!("cargo test{all}"));
        part.command(Purpose::Lint, format!("cargo clippy{all} --all-targets"));
        // Of several `cargo run` asks which.
        let programs = manifest.get("bin").and_then(toml::Value::as_array).map_or(0, Vec::len);
        let is_clear =
            programs < 2 || manifest.get("package").is_some_and(|own| own.get("default-run").is_some());
        if is_clear && (programs == 1 || tree.has(&directory, "src/main.rs")) {
            part.command(Purpose::Run, "cargo run");
        }
        if is_workspace {
            workspaces.push(directory.clone());
        }
        part.directory = directory;
        parts.push(part);
    }
    parts
}
