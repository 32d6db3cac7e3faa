//! Every page keeps its rules, names only what exists, and the reference is what the code says.

use anyhow::{Result, ensure};
use ebbtide_docs_check::{limits, names, page::Page, pages, prose, reference, root};
use std::collections::{BTreeMap, BTreeSet};

fn none(faults: Vec<String>) -> Result<()> {
    ensure!(faults.is_empty(), "{} faults:\n{}", faults.len(), faults.join("\n"));
    Ok(())
}

fn each(faults: impl Fn(&Page) -> Vec<String>) -> Result<()> {
    none(pages()?.iter().flat_map(faults).collect())
}

#[test]
fn links_lead_to_pages_and_headings_that_exist() -> Result<()> {
    let pages = pages()?;
    let anchors: BTreeMap<&str, &[String]> =
        pages.iter().map(|page| (page.path.as_str(), page.anchors.as_slice())).collect();
    none(pages.iter().flat_map(|page| names::dead_links(page, &root(), &anchors)).collect())
}

#[test]
fn files_and_scripts_that_pages_name_exist() -> Result<()> {
    each(|page| names::missing_paths(page, &root()))
}

#[test]
fn tests_that_pages_name_exist() -> Result<()> {
    each(|page| names::missing_tests(page, &root()))
}

#[test]
fn the_counts_of_findings_are_those_of_their_tables() -> Result<()> {
    let text = std::fs::read_to_string(root().join("docs/evidence/findings.md"))?;
    let cells = text.lines().map(|line| line.split(" | ").collect::<Vec<_>>());
    let rows: Vec<(char, &str)> = cells
        .filter_map(|cells| match cells.as_slice() {
            [number, _, _, state, _] => Some((number.trim_start_matches("| ").chars().next()?, *state)),
            _ => None,
        })
        .filter(|(reading, _)| "RHU".contains(*reading))
        .collect();
    let count = |state: &str, reading: char| rows.iter().filter(|row| **row == (reading, state)).count();
    let counts =
        [("mended", "mended"), ("part", "in part"), ("did not hold", "did not hold"), ("open", "open")].map(
            |(state, told)| {
                let of = ['R', 'H', 'U'].map(|reading| count(state, reading));
                format!("{} {told} ({}, {}, {})", of.iter().sum::<usize>(), of[0], of[1], of[2])
            },
        );
    ensure!(rows.len() == 77, "{} rows", rows.len());
    ensure!(text.contains(&counts.join(", ")), "the tables have: {}", counts.join(", "));
    Ok(())
}

#[test]
fn routes_that_pages_name_exist() -> Result<()> {
    let routes = names::routes()?;
    each(|page| names::missing_routes(page, &routes))
}

#[test]
fn pages_for_readers_have_short_sentences_and_paragraphs() -> Result<()> {
    each(|page| if limits::is_free(&page.path) { Vec::new() } else { prose::faults(page) })
}

#[test]
fn pages_are_no_longer_than_their_limits() -> Result<()> {
    each(|page| {
        let (path, words) = (&page.path, page.words);
        limits::limit(path)
            .filter(|most| words > *most)
            .map(|most| format!("{path}: {words} words of {most}"))
            .into_iter()
            .collect()
    })
}

#[test]
fn every_page_has_a_limit_or_a_reason_for_none() -> Result<()> {
    let pages = pages()?;
    let there: BTreeSet<&str> = pages.iter().map(|page| page.path.as_str()).collect();
    let written = reference::pages(&root())?;
    let has_reason =
        |path: &str| limits::is_free(path) || written.iter().any(|generated| generated.path == path);
    let without = there.iter().filter(|path| path.starts_with("docs/") && limits::limit(path).is_none());
    let mut faults: Vec<String> =
        without.filter(|path| !has_reason(path)).map(|path| format!("{path}: no limit")).collect();
    let gone = limits::LIMITS.iter().filter(|(path, _)| !there.contains(path));
    faults.extend(gone.map(|(path, _)| format!("{path}: a limit without a page")));
    none(faults)
}

/// `UPDATE_DOCS=1` writes what is not as it should be.
#[test]
fn the_reference_is_what_the_code_says() -> Result<()> {
    let mut faults = Vec::new();
    for page in reference::pages(&root())? {
        let path = root().join(page.path);
        if std::fs::read_to_string(&path).unwrap_or_default() == page.text {
            continue;
        }
        if std::env::var_os("UPDATE_DOCS").is_some() {
            std::fs::write(&path, page.text)?;
        } else {
            faults.push(format!("{}: run UPDATE_DOCS=1 cargo test -p ebbtide-docs-check", page.path));
        }
    }
    none(faults)
}
