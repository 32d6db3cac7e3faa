//! Finds circles of files in a crate, from the `use` lines and paths of each file.
//!
//! A child that uses what its parent file holds is Rust's own way of sharing within a module and no circle; neither are
//! tests. The tests of `control` and of `worker` include this file.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// A file by its module path, such as `["record", "phase"]`; the root is empty.
pub type Module = Vec<String>;

/// The files of a crate by module path.
pub fn modules(folder: &Path, at: &[String], into: &mut BTreeMap<Module, String>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
        if path.is_dir() {
            if name != "tests" {
                modules(&path, &[at, &[name]].concat(), into);
            }
        } else if name != "tests" && path.extension().is_some_and(|extension| extension == "rs") {
            let module = if name == "lib" { Vec::new() } else { [at, &[name]].concat() };
            into.insert(module, std::fs::read_to_string(path).unwrap());
        }
    }
}

/// What a file says outside of its comments and tests.
pub fn code(text: &str) -> String {
    let text = text.split("#[cfg(test)]\nmod tests").next().unwrap_or_default();
    let lines = text.lines().map(|line| line.split("//").next().unwrap_or_default());
    lines.collect::<Vec<_>>().join(" ")
}

/// `a::{b, c::{d, e}}` as `a::b`, `a::c::d`, `a::c::e`.
fn spread(tree: &str) -> Vec<String> {
    let Some((head, rest)) = tree.trim().split_once('{') else {
        return vec![tree.split(" as ").next().unwrap_or_default().trim().to_owned()];
    };
    let body = rest.trim_end().strip_suffix('}').unwrap_or(rest);
    let (mut depth, mut from, mut parts) = (0, 0, Vec::new());
    for (place, letter) in body.char_indices() {
        match letter {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                parts.push(&body[from..place]);
                from = place + 1;
            }
            _ => {}
        }
    }
    parts.push(&body[from..]);
    let parts = parts.into_iter().filter(|part| !part.trim().is_empty());
    parts.flat_map(|part| spread(&format!("{}{}", head.trim(), part.trim()))).collect()
}

/// All paths that a file names: those of its `use` lines, and those in the code that begin at the crate or a parent.
fn paths(code: &str) -> Vec<String> {
    let mut paths = Vec::new();
    let mut rest = String::new();
    for (number, part) in code.split("use ").enumerate() {
        match part.split_once(';').filter(|_| number > 0) {
            Some((tree, after)) => {
                paths.extend(spread(tree));
                rest += after;
            }
            None => rest += part,
        }
    }
    let is_path = |letter: char| letter.is_alphanumeric() || matches!(letter, '_' | ':');
    let words = rest.split(|letter| !is_path(letter)).filter(|word| word.contains("::"));
    paths.extend(words.map(str::to_owned));
    paths
}

/// The file that a path leads to, as seen from a module.
fn target(from: &Module, path: &str, known: &BTreeMap<Module, String>) -> Option<Module> {
    let segments: Vec<&str> = path.split("::").collect();
    let ups = segments.iter().take_while(|segment| **segment == "super").count();
    let (mut at, rest) = match segments[0] {
        "crate" => (Vec::new(), &segments[1..]),
        "self" => (from.clone(), &segments[1..]),
        "super" => (from[..from.len().checked_sub(ups)?].to_vec(), &segments[ups..]),
        _ => (from.clone(), &segments[..]),
    };
    for segment in rest {
        let below = [at.as_slice(), &[(*segment).to_owned()]].concat();
        if !known.contains_key(&below) {
            break;
        }
        at = below;
    }
    let leads_away = !from.starts_with(&at);
    (leads_away && known.contains_key(&at)).then_some(at)
}

/// Modules that lead back to themselves, with the way.
pub fn circles(arrows: &BTreeMap<Module, BTreeSet<Module>>) -> Vec<String> {
    let reachable = |from: &Module| {
        let (mut seen, mut open) = (BTreeSet::new(), vec![from.clone()]);
        while let Some(at) = open.pop() {
            for next in arrows.get(&at).into_iter().flatten() {
                if seen.insert(next.clone()) {
                    open.push(next.clone());
                }
            }
        }
        seen
    };
    let inside: BTreeMap<&Module, BTreeSet<Module>> =
        arrows.keys().map(|from| (from, reachable(from))).collect();
    let both = |a: &Module, b: &Module| inside.get(a).is_some_and(|seen| seen.contains(b));
    let mut found = Vec::new();
    for (from, to) in arrows.iter().flat_map(|(from, all)| all.iter().map(move |to| (from, to))) {
        if both(to, from) {
            found.push(format!("{} -> {}", from.join("::"), to.join("::")));
        }
    }
    found
}

/// Which file uses which others, of all below a folder.
pub fn arrows_of(folder: &Path) -> BTreeMap<Module, BTreeSet<Module>> {
    let mut known = BTreeMap::new();
    modules(folder, &[], &mut known);
    let arrows = known.iter().map(|(from, text)| {
        let leads = |path: &String| target(from, path, &known);
        (from.clone(), paths(&code(text)).iter().filter_map(leads).collect())
    });
    arrows.collect()
}

#[test]
fn a_circle_is_found_whatever_way_its_paths_are_written() {
    let known = |files: &[(&str, &str)]| {
        let module = |path: &str| path.split("::").map(str::to_owned).collect::<Vec<_>>();
        files.iter().map(|(path, text)| (module(path), (*text).to_owned())).collect::<BTreeMap<_, _>>()
    };
    let table: [(&[(&str, &str)], usize); 4] = [
        (&[("a", "use crate::{b::X, c};"), ("b", "fn f() { crate::a::g() }"), ("c", "")], 2),
        (
            &[
                ("a", "use crate::b::c::X;"),
                ("b", ""),
                ("b::c", "use super::d::Y;"),
                ("b::d", "use super::super::a;"),
            ],
            3,
        ),
        (&[("a", "use crate::b; // use crate::a"), ("b", "#[cfg(test)]\nmod tests { use crate::a; }")], 0),
        (&[("a", "mod b;\nuse b::X;"), ("a::b", "use super::Y;")], 0),
    ];
    for (files, wanted) in table {
        let known = known(files);
        let arrows = known.iter().map(|(from, text)| {
            let leads = |path: &String| target(from, path, &known);
            (from.clone(), paths(&code(text)).iter().filter_map(leads).collect())
        });
        assert_eq!(circles(&arrows.collect()).len(), wanted, "{files:?}");
    }
}
