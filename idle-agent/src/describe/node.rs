//! JavaScript and TypeScript: `package.json`, the lock file beside it, and Deno.

use super::{Part, Purpose, Tree, is_within};
use serde_json::Value;

/// Lock files, and whose they are.
const LOCKS: [(&str, &str); 6] = [
    ("pnpm-lock.yaml", "pnpm"),
    ("yarn.lock", "yarn"),
    ("bun.lock", "bun"),
    ("bun.lockb", "bun"),
    ("package-lock.json", "npm"),
    ("npm-shrinkwrap.json", "npm"),
];
/// What projects call such a script; of several the first.
const SCRIPTS: [(Purpose, &[&str]); 4] = [
    (Purpose::Run, &["dev", "start:dev", "start", "serve", "watch"]),
    (Purpose::Build, &["build", "compile"]),
    (Purpose::Test, &["test", "test:unit", "tests"]),
    (Purpose::Lint, &["lint", "check", "typecheck"]),
];

pub(super) fn parts(tree: &Tree) -> Vec<Part> {
    let mut parts: Vec<Part> = Vec::new();
    let mut managed: Vec<(String, String)> = Vec::new();
    for directory in tree.directories_with(&["package.json"]) {
        let Some(package) = package(tree, &directory) else { continue };
        let above = managed.iter().rev().find(|(above, _)| is_within(&directory, above));
        let own = own_manager(tree, &directory, &package);
        let manager = own.clone().or_else(|| above.map(|(_, manager)| manager.clone()));
        let is_root = own.is_some() || above.is_none();
        let manager = manager.unwrap_or_else(|| "npm".to_owned());
        if is_root {
            managed.push((directory.clone(), manager.clone()));
        }
        if let Some(part) = part(tree, directory, &package, &manager, is_root) {
            parts.push(part);
        }
    }
    parts.extend(deno(tree));
    parts
}

fn package(tree: &Tree, directory: &str) -> Option<Value> {
    serde_json::from_str(&tree.read(directory, "package.json")?).ok()
}

/// Who manages the packages of this directory, by its own word or its lock file.
fn own_manager(tree: &Tree, directory: &str, package: &Value) -> Option<String> {
    let said = package["packageManager"].as_str().and_then(|text| text.split('@').next());
    let said = said.filter(|name| ["npm", "pnpm", "yarn", "bun"].contains(name));
    let locked = LOCKS.iter().find(|(file, _)| tree.has(directory, file)).map(|(_, manager)| *manager);
    said.or(locked).map(str::to_owned)
}

fn part(tree: &Tree, directory: String, package: &Value, manager: &str, is_root: bool) -> Option<Part> {
    let is_workspace = package.get("workspaces").is_some() || tree.has(&directory, "pnpm-workspace.yaml");
    let file =
        || tree.first(&directory, &[".nvmrc", ".node-version"]).and_then(|name| tree.read(&directory, name));
    let wanted = package["engines"]["node"].as_str().map(str::to_owned).or_else(file).filter(|_| is_root);
    let version = super::version(wanted.as_deref());
    let kind = if is_workspace { " workspace" } else { "" };
    // `pnpm@10.15.0+sha512…`: another major version may refuse the project.
    let said = package["packageManager"].as_str().and_then(|text| text.split_once('@'));
    let said = super::version(said.and_then(|(_, version)| version.split('+').next()));
    let mut part = Part { kind: format!("Node.js{version}{kind} with {manager}{said}"), ..Part::default() };
    if is_root {
        let is_locked = LOCKS.iter().any(|(file, whose)| *whose == manager && tree.has(&directory, file));
        let install =
            if manager == "npm" && is_locked { "npm ci".to_owned() } else { format!("{manager} install") };
        part.command(Purpose::Install, install);
    }
    for (purpose, names) in SCRIPTS {
        let name = names.iter().find(|name| is_script(&package["scripts"][**name]));
        if let Some(name) = name {
            part.command(purpose, run(manager, name));
        }
    }
    part.directory = directory;
    (is_root || !part.commands.is_empty()).then_some(part)
}

/// Whether it does anything: npm's own template has a test that only fails.
fn is_script(script: &Value) -> bool {
    script.as_str().is_some_and(|text| !text.contains("no test specified"))
}

fn run(manager: &str, script: &str) -> String {
    match (manager, script) {
        ("npm", "test" | "start") => format!("npm {script}"),
        _ => format!("{manager} run {script}"),
    }
}

fn deno(tree: &Tree) -> Vec<Part> {
    let names = ["deno.json", "deno.jsonc"];
    let directories = tree.directories_with(&names);
    let described = directories.into_iter().filter_map(|directory| {
        let text = tree.read(&directory, tree.first(&directory, &names)?)?;
        let mut part = Part { directory, kind: "Deno".into(), ..Part::default() };
        // Comments are allowed there: what does not read as JSON has no tasks that we know.
        let tasks = serde_json::from_str::<Value>(&text).unwrap_or_default();
        for (purpose, names) in SCRIPTS {
            if let Some(name) = names.iter().find(|name| tasks["tasks"].get(**name).is_some()) {
                part.command(purpose, format!("deno task {name}"));
            }
        }
        if !part.commands.iter().any(|(purpose, _)| *purpose == Purpose::Test) {
            part.command(Purpose::Test, "deno test");
        }
        Some(part)
    });
    described.collect()
}
