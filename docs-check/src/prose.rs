//! What a page for readers may be: short sentences, short paragraphs, and no clause in the subject's place.
//!
//! The limits are those of the pages that people find easy (restic's, uv's): 30 words a sentence, 90 a paragraph.
//! `design`, `evidence` and `decisions` explain and prove, and are free of them.

use crate::page::{Block, BlockKind, CODE, Page, words};

/// Most words of a sentence.
pub const SENTENCE: usize = 30;
/// Most words of a paragraph, a list item or a cell.
pub const PARAGRAPH: usize = 90;

/// A sentence that begins so has a clause for its subject, unless it asks.
const CLAUSES: &[&str] = &["What", "Who", "Whoever", "Where", "Whatever", "Whichever"];

/// Says what is wrong with a page, a line each.
pub fn faults(page: &Page) -> Vec<String> {
    let mut faults = Vec::new();
    for block in page.blocks.iter().filter(|block| block.kind != BlockKind::Heading) {
        block_faults(page, block, &mut faults);
    }
    faults
}

fn block_faults(page: &Page, block: &Block, faults: &mut Vec<String>) {
    let path = &page.path;
    let long = words(&block.text);
    if long > PARAGRAPH {
        faults.push(format!("{path}: a paragraph of {long} words: {}", begin(&block.text)));
    }
    for sentence in sentences(&block.text) {
        let long = words(sentence);
        if long > SENTENCE {
            faults.push(format!("{path}: a sentence of {long} words: {}", begin(sentence)));
        }
        let first = sentence.split_whitespace().next().unwrap_or_default();
        if CLAUSES.contains(&first.trim_end_matches(',')) && !sentence.ends_with('?') {
            faults.push(format!("{path}: a clause for a subject: {}", begin(sentence)));
        }
    }
}

fn begin(text: &str) -> String {
    text.trim().chars().take(90).collect()
}

/// Parts a text at the ends of its sentences: a mark, a space, and something that begins a sentence.
pub fn sentences(text: &str) -> Vec<&str> {
    let mut found = Vec::new();
    let mut from = 0;
    for (at, mark) in text.char_indices() {
        let end = at + mark.len_utf8();
        let rest = &text[end..];
        let begins = rest.trim_start().chars().next().is_some_and(|c| c.is_uppercase() || c.is_ascii_digit());
        let begins = begins || rest.trim_start().starts_with(CODE);
        if matches!(mark, '.' | '!' | '?') && rest.starts_with(char::is_whitespace) && begins {
            found.push(text[from..end].trim());
            from = end;
        }
    }
    found.push(text[from..].trim());
    found.retain(|sentence| !sentence.is_empty());
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, wanted: &[&str]) {
        let found = faults(&Page::parse("p.md", text));
        assert_eq!(found.len(), wanted.len(), "{found:?}");
        for (fault, wanted) in found.iter().zip(wanted) {
            assert!(fault.contains(wanted), "{fault}");
        }
    }

    #[test]
    fn sentences_end_at_a_mark_before_a_capital() {
        let text = format!("It takes 0.9 s. Then, e.g. at 3.5, more! {CODE} runs?");
        let wanted = ["It takes 0.9 s.", "Then, e.g. at 3.5, more!", "‹code› runs?"];
        assert_eq!(sentences(&text), wanted);
    }

    #[test]
    fn what_is_too_long_or_upside_down_is_named() {
        check("You see the page.", &[]);
        check("What do you see?", &[]);
        check("# What you need\n\nYou need root.", &[]);
        check("What you see is a page.", &["a clause for a subject"]);
        check("You wait. Where it fails, try again.", &["a clause for a subject: Where it fails"]);
        check(&"word ".repeat(31), &["a sentence of 31 words"]);
        check(&"A short one. ".repeat(31), &["a paragraph of 93 words"]);
        check(&format!("- {}", "word ".repeat(31)), &["a sentence of 31 words"]);
    }
}
