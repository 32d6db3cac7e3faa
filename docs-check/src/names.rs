//! What pages name and what exists: files, headings, scripts and routes.

use crate::page::{CODE, Page};
use anyhow::{Context as _, Result};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Component, Path, PathBuf};

/// Says which links of a page lead nowhere. `anchors` has those of every page, by path.
pub fn dead_links(page: &Page, root: &Path, anchors: &BTreeMap<&str, &[String]>) -> Vec<String> {
    let is_ours = |link: &&String| !link.contains("://") && !link.starts_with("mailto:");
    let dead = |link: &&String| {
        let (path, anchor) = link.split_once('#').map_or((link.as_str(), None), |(p, a)| (p, Some(a)));
        let target = if path.is_empty() { PathBuf::from(&page.path) } else { page.directory().join(path) };
        let Some(target) = normal(&target) else { return true };
        let is_there = root.join(&target).exists();
        let known = anchors.get(target.to_string_lossy().as_ref());
        let is_anchor =
            anchor.is_none_or(|anchor| known.is_some_and(|known| known.iter().any(|a| a == anchor)));
        !is_there || !is_anchor
    };
    let links = page.links.iter().filter(is_ours).filter(dead);
    links.map(|link| format!("{}: no such place: {link}", page.path)).collect()
}

/// The path without `.` and `..`; `None` where it leaves the repository.
fn normal(path: &Path) -> Option<PathBuf> {
    let mut found = PathBuf::new();
    for part in path.components() {
        match part {
            Component::Normal(name) => found.push(name),
            Component::ParentDir => {
                if !found.pop() {
                    return None;
                }
            }
            Component::CurDir => {}
            Component::RootDir | Component::Prefix(_) => return None,
        }
    }
    Some(found)
}

/// Says which files and directories a page names in code that do not exist: whatever begins with a directory of the
/// repository's root.
pub fn missing_paths(page: &Page, root: &Path) -> Vec<String> {
    let code = page.inline_code.iter().chain(&page.code_blocks);
    let words = code.flat_map(|code| code.split_whitespace()).flat_map(expand);
    let mut named = BTreeSet::new();
    for word in words {
        let parts = word.split(|c: char| "\"'()[],;|".contains(c));
        named.extend(parts.map(|part| part.trim_end_matches(['.', ':']).to_owned()));
    }
    let missing = named.into_iter().filter(|path| is_in_tree(path, root) && !root.join(path).exists());
    missing.map(|path| format!("{}: no such path: {path}", page.path)).collect()
}

/// Says which tests a page names as `path/file.rs::name` that are in no such file.
pub fn missing_tests(page: &Page, root: &Path) -> Vec<String> {
    let named = page.inline_code.iter().filter_map(|code| code.split_once(".rs::"));
    let is_missing = |(path, name): &(&str, &str)| {
        let text = std::fs::read_to_string(root.join(path).with_extension("rs")).unwrap_or_default();
        is_in_tree(path, root) && !text.contains(&format!("fn {name}("))
    };
    named
        .filter(is_missing)
        .map(|(path, name)| format!("{}: no such test: {path}.rs::{name}", page.path))
        .collect()
}

/// Directories that are not there in a fresh clone, and Git's own, whose files come from each machine's template.
const NOT_IN_A_CLONE: &[&str] = &[".git/", "target/", "node_modules/", "worker/build/"];

fn is_in_tree(path: &str, root: &Path) -> bool {
    match path.split_once('/') {
        Some((first, rest)) => {
            let is_plain = rest.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-/".contains(&b));
            is_plain
                && !matches!(first, "" | "." | "..")
                && !NOT_IN_A_CLONE.iter().any(|made| path.starts_with(made))
                && root.join(first).is_dir()
        }
        None => false,
    }
}

/// `a/{b,c}.rs` names two paths.
fn expand(word: &str) -> Vec<String> {
    let Some((head, rest)) = word.split_once('{') else { return vec![word.to_owned()] };
    let Some((inner, tail)) = rest.split_once('}') else { return vec![word.to_owned()] };
    inner.split(',').flat_map(|one| expand(&format!("{head}{one}{tail}"))).collect()
}

/// The methods and paths that the Worker answers, from its OpenAPI document.
///
/// # Errors
/// The document is unusable.
pub fn routes() -> Result<Vec<(String, String)>> {
    let document: serde_json::Value = serde_json::from_str(&ebbtide_worker::openapi_text()?)?;
    let paths = document["paths"].as_object().context("no paths")?;
    let all = paths.iter().flat_map(|(path, methods)| {
        let methods = methods.as_object().into_iter().flatten();
        methods.map(|(method, _)| (method.to_uppercase(), path.clone()))
    });
    Ok(all.collect())
}

/// Says which routes a page names that do not exist. `POST …/wake` stands for whatever ends so.
pub fn missing_routes(page: &Page, routes: &[(String, String)]) -> Vec<String> {
    let named = page.inline_code.iter().chain(&page.code_blocks).flat_map(|code| named_routes(code));
    let missing = named.filter(|(method, path)| !routes.iter().any(|route| matches(route, method, path)));
    missing.map(|(method, path)| format!("{}: no such route: {method} {path}", page.path)).collect()
}

fn named_routes(code: &str) -> Vec<(String, String)> {
    const METHODS: &[&str] = &["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"];
    let words: Vec<&str> = code.split_whitespace().collect();
    let pairs = words.windows(2).filter_map(|pair| match pair {
        [method, path] if METHODS.contains(method) && path.starts_with(['/', '…']) => {
            Some(((*method).to_owned(), (*path).to_owned()))
        }
        _ => None,
    });
    pairs.collect()
}

fn matches((method, route): &(String, String), named: &str, path: &str) -> bool {
    let path = path.split('?').next().unwrap_or_default();
    let (path, is_end) = match path.strip_prefix('…') {
        Some(end) => (end, true),
        None => (path, false),
    };
    let wanted: Vec<&str> = route.trim_matches('/').split('/').collect();
    let given: Vec<&str> = path.trim_matches('/').split('/').filter(|part| !part.is_empty()).collect();
    let is_rest = wanted.last().is_some_and(|last| *last == "{path}");
    let fits = given.len() == wanted.len()
        || (is_end && given.len() < wanted.len())
        || (is_rest && given.len() >= wanted.len());
    let from = if is_end { wanted.len().saturating_sub(given.len()) } else { 0 };
    let same = |(wanted, given): (&&str, &&str)| {
        wanted == given || (wanted.starts_with('{') && (given.starts_with('{') || !is_end))
    };
    (method == named || (named == "HEAD" && method == "GET"))
        && fits
        && wanted.iter().skip(from).zip(&given).all(same)
}

/// Says which names are in no text of the pages.
pub fn absent<'a>(pages: &[Page], names: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
    let texts: BTreeSet<&str> =
        pages.iter().flat_map(|page| page.inline_code.iter().map(String::as_str)).collect();
    names.filter(|name| *name != CODE && !texts.contains(name)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn routes_are_found_by_their_end_or_whole() {
        let route = ("POST".to_owned(), "/v1/workspaces/{id}/wake".to_owned());
        assert!(matches(&route, "POST", "…/wake"));
        assert!(matches(&route, "POST", "/v1/workspaces/{id}/wake"));
        assert!(matches(&route, "POST", "/v1/workspaces/k3v7q2mzab/wake?x=1"));
        assert!(!matches(&route, "POST", "…/sleep"));
        assert!(!matches(&route, "GET", "…/wake"));
        assert!(!matches(&route, "POST", "/v1/workspaces/{id}"));
        let named = named_routes("curl -X POST https://x/y; POST …/wake {\"snapshot\"}");
        assert_eq!(named, [("POST".to_owned(), "…/wake".to_owned())]);
    }

    #[test]
    fn paths_are_looked_for_from_the_root() {
        let page = Page::parse(
            "docs/x.md",
            "`api/src/{lib,none}.rs`, `scripts/nothing --x`, `target/x`, `.git/info/x`, `data/x`, `api/src`",
        );
        let missing = missing_paths(&page, &crate::root());
        assert_eq!(
            missing,
            ["docs/x.md: no such path: api/src/none.rs", "docs/x.md: no such path: scripts/nothing"]
        );
    }

    #[test]
    fn tests_are_looked_for_in_the_file_that_is_named() {
        let page = Page::parse(
            "docs/x.md",
            "`docs-check/src/names.rs::links_lead_to_files_and_headings`, `docs-check/src/names.rs::links_lead`, `api/src/none.rs::x`, `file.rs::x`",
        );
        let missing = missing_tests(&page, &crate::root());
        assert_eq!(
            missing,
            [
                "docs/x.md: no such test: docs-check/src/names.rs::links_lead",
                "docs/x.md: no such test: api/src/none.rs::x"
            ]
        );
    }

    #[test]
    fn links_lead_to_files_and_headings() {
        let page = Page::parse(
            "docs/x.md",
            "[a](../Cargo.toml) [b](y.md) [c](#here) [d](#there) [e](../../out) [f](https://x/)\n\n# Here\n",
        );
        let anchors = BTreeMap::from([("docs/x.md", page.anchors.as_slice())]);
        // The page itself is no file here.
        let dead = dead_links(&page, &crate::root(), &anchors);
        let dead: Vec<&str> = dead.iter().filter_map(|line| line.rsplit(' ').next()).collect();
        assert_eq!(dead, ["y.md", "#here", "#there", "../../out"]);
    }
}
