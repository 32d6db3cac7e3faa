//! What stands beside manifests: targets of a task runner, scripts, services, and what CI runs.

use super::Tree;

/// What is worth naming of a task runner's targets.
const WANTED: [&str; 12] =
    ["help", "setup", "install", "dev", "run", "serve", "build", "test", "tests", "check", "lint", "fmt"];
/// Where projects keep programs that do one thing, and what these are called.
const SCRIPT_PLACES: [&str; 3] = ["script", "scripts", "bin"];
const SCRIPTS: [&str; 8] = ["bootstrap", "setup", "dev", "server", "build", "test", "check", "lint"];
const COMPOSE: [&str; 4] = ["compose.yaml", "compose.yml", "docker-compose.yml", "docker-compose.yaml"];

pub(super) fn besides(tree: &Tree) -> Vec<String> {
    let mut told = Vec::new();
    for (names, program) in
        [(&["Makefile", "GNUmakefile"][..], "make"), (&["justfile", "Justfile"][..], "just")]
    {
        let text = tree.first("", names).and_then(|name| tree.read("", name));
        let targets = text.map(|text| targets(&text)).unwrap_or_default();
        if !targets.is_empty() {
            told.push(
                targets.iter().map(|target| format!("`{program} {target}`")).collect::<Vec<_>>().join(", "),
            );
        }
    }
    let scripts = SCRIPT_PLACES.iter().flat_map(|place| {
        SCRIPTS.iter().flat_map(move |name| ["", ".sh"].map(|ending| format!("{place}/{name}{ending}")))
    });
    let scripts: Vec<String> =
        scripts.filter(|path| tree.has("", path)).map(|path| format!("`{path}`")).collect();
    if !scripts.is_empty() {
        told.push(format!("Scripts of its own: {}", scripts.join(", ")));
    }
    if let Some(file) = tree.first("", &COMPOSE) {
        told.push(format!("Services in `{file}`: `docker compose up -d`"));
    }
    if let Some(place) = tree.first("", &[".github/workflows/", ".gitlab-ci.yml"]) {
        told.push(format!("What CI runs stands in `{}`", place.trim_end_matches('/')));
    }
    told
}

/// Targets of a Makefile or recipes of a justfile that one would ask for.
fn targets(text: &str) -> Vec<&'static str> {
    let named = text.lines().filter_map(|line| {
        let (head, rest) = line.split_once(':')?;
        let name = head.split(' ').next()?;
        // `NAME := value` is no target, and what is indented is a recipe's.
        let is_target = !line.starts_with([' ', '\t']) && !rest.starts_with('=') && !head.contains('=');
        is_target.then_some(name)
    });
    let named: Vec<&str> = named.collect();
    WANTED.into_iter().filter(|wanted| named.contains(wanted)).collect()
}
