//! Who may use whom within the idle-agent: folders only those before them, files without a circle.
//!
//! Read from the text of `src`. A file that uses its own parent is Rust's idiom and counts for nothing; neither do tests.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// Folders and files at the root, each before all that use it.
const ORDER: [&str; 21] = [
    "os",
    "containers",
    "config",
    "describe",
    "control_plane",
    "backup",
    "sleep",
    "access",
    "terminal",
    "ports",
    "user_settings",
    "cloudcli",
    "firewall",
    "ssh",
    "boot",
    "idle",
    "control_socket",
    "event_loop",
    "daemon",
    "cli",
    "main",
];
/// The same within `idle`.
const IDLE_ORDER: [&str; 6] = ["agents", "facts", "process_kinds", "read", "judge", "trace"];

/// A module by its path from the root, such as `["idle", "facts"]`.
type Module = Vec<String>;

/// Which module uses which others.
type Uses = BTreeMap<Module, BTreeSet<Module>>;

/// All modules with their text, tests and comments left out.
fn modules(directory: &Path, above: &Module, found: &mut BTreeMap<Module, String>) {
    for entry in std::fs::read_dir(directory).unwrap().map(Result::unwrap) {
        let path = entry.path();
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        let module = above.iter().cloned().chain([name.clone()]).collect();
        if path.is_dir() {
            modules(&path, &module, found);
        } else if path.extension().is_some_and(|ending| ending == "rs")
            && !["lib", "tests", "properties"].contains(&name.as_str())
        {
            let text = std::fs::read_to_string(&path).unwrap();
            let code = text.split("#[cfg(test)]\nmod ").next().unwrap_or_default();
            let lines = code.lines().map(|line| line.split("//").next().unwrap_or_default());
            found.insert(module, lines.collect::<Vec<_>>().join("\n"));
        }
    }
}

/// The paths of a `use`, its braces opened.
fn opened(tree: &str) -> Vec<String> {
    let tree = tree.trim();
    let Some((before, rest)) = tree.split_once('{') else {
        return vec![tree.split(" as ").next().unwrap_or_default().to_owned()];
    };
    let inside = rest.rsplit_once('}').map_or(rest, |(inside, _)| inside);
    let (mut parts, mut depth) = (vec![String::new()], 0);
    for one in inside.chars() {
        depth += i32::from(one == '{') - i32::from(one == '}');
        match one {
            ',' if depth == 0 => parts.push(String::new()),
            _ => parts.last_mut().unwrap().push(one),
        }
    }
    let parts = parts.into_iter().filter(|part| !part.trim().is_empty());
    parts.flat_map(|part| opened(&format!("{before}{}", part.trim()))).collect()
}

/// Every path that a text names: those of each `use`, and those that stand in the code.
fn paths(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    for statement in text.split(';') {
        let (before, tree) = statement.rsplit_once("use ").unwrap_or_default();
        if before.chars().next_back().is_none_or(char::is_whitespace) {
            found.extend(opened(tree));
        }
        let is_of_path = |one: char| one.is_alphanumeric() || one == '_' || one == ':';
        let words = statement.split(|one| !is_of_path(one));
        found.extend(words.filter(|word| word.contains("::")).map(str::to_owned));
    }
    found
}

/// The module that a path leads to from another, where it is one of ours.
fn target(from: &Module, path: &str, all: &BTreeMap<Module, String>) -> Option<Module> {
    let mut parts: Vec<&str> = path.split("::").map(str::trim).collect();
    let mut base = from.clone();
    match parts.first().copied() {
        Some("crate") => base.clear(),
        Some("self") => {}
        Some("super") => {
            while parts.first() == Some(&"super") {
                parts.remove(0);
                base.pop();
            }
            parts.insert(0, "");
        }
        Some(child) if all.contains_key(&[&base[..], &[child.to_owned()]].concat()) => parts.insert(0, ""),
        Some(_) | None => return None,
    }
    base.extend(parts.into_iter().skip(1).map(str::to_owned));
    while !base.is_empty() && !all.contains_key(&base) {
        base.pop();
    }
    (!base.is_empty() && !from.starts_with(&base)).then_some(base)
}

fn uses() -> Uses {
    let mut all = BTreeMap::new();
    modules(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &Vec::new(), &mut all);
    let of = |(from, text): (&Module, &String)| {
        let to = paths(text).iter().filter_map(|path| target(from, path, &all)).collect();
        (from.clone(), to)
    };
    all.iter().map(of).collect()
}

/// Uses that go against an order, of modules at some depth below `above`.
fn against(uses: &Uses, above: &[&str], order: &[&str]) -> Vec<String> {
    let place = |module: &Module| {
        let name =
            module.get(above.len()).filter(|_| module.iter().zip(above).all(|(one, other)| one == other))?;
        let place = order.iter().position(|one| one == name);
        assert!(place.is_some(), "{name} has no place in the order");
        place
    };
    let mut wrong = Vec::new();
    for (from, targets) in uses {
        for to in targets {
            if let (Some(user), Some(used)) = (place(from), place(to))
                && user < used
            {
                wrong.push(format!("{} uses {}", from.join("::"), to.join("::")));
            }
        }
    }
    wrong
}

/// What is left after everything is taken away that uses nothing of what is left, or that nothing left uses: circles, and
/// what lies between two of them.
fn circles(mut uses: Uses) -> Vec<String> {
    loop {
        let known: BTreeSet<Module> = uses.keys().cloned().collect();
        uses.values_mut().for_each(|targets| targets.retain(|to| known.contains(to)));
        let used: BTreeSet<Module> = uses.values().flatten().cloned().collect();
        uses.retain(|from, targets| !targets.is_empty() && used.contains(from));
        if uses.len() == known.len() {
            let shown =
                |(from, to): (&Module, &Module)| format!("{} uses {}", from.join("::"), to.join("::"));
            let all = uses.iter().flat_map(|(from, targets)| targets.iter().map(move |to| (from, to)));
            return all.map(shown).collect();
        }
    }
}

#[test]
fn folders_use_only_those_before_them() {
    let uses = uses();
    assert!(
        uses.len() > 90 && uses.values().map(BTreeSet::len).sum::<usize>() > 250,
        "the text was not understood"
    );
    assert_eq!(against(&uses, &[], &ORDER), [""; 0]);
    assert_eq!(against(&uses, &["idle"], &IDLE_ORDER), [""; 0]);
}

#[test]
fn no_files_use_one_another_in_a_circle() {
    assert_eq!(circles(uses()), [""; 0]);
}

#[test]
fn a_circle_and_a_use_against_the_order_are_found() {
    let module = |name: &str| vec![name.to_owned()];
    let uses = |all: &[(&str, &str)]| -> Uses {
        let mut uses = Uses::new();
        for (from, to) in all {
            uses.entry(module(to)).or_default();
            uses.entry(module(from)).or_default().insert(module(to));
        }
        uses
    };
    assert_eq!(circles(uses(&[("a", "b"), ("b", "c")])), [""; 0]);
    let found = circles(uses(&[("a", "b"), ("b", "a"), ("b", "c"), ("d", "a")]));
    assert_eq!(found, ["a uses b", "b uses a"]);
    assert_eq!(against(&uses(&[("os", "idle"), ("idle", "os")]), &[], &ORDER), ["os uses idle"]);
    assert_eq!(opened("crate::{a::{self, B as C}, d}"), ["crate::a::self", "crate::a::B", "crate::d"]);
    let found = paths("use super::x::{Y, z};\nlet a = crate::q::r(1);");
    for path in ["super::x::Y", "super::x::z", "crate::q::r"] {
        assert!(found.iter().any(|one| one == path), "{found:?}");
    }
}
