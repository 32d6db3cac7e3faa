//! The end of a machine's log, for the page of a workspace that failed.
//!
//! A machine may write anything into its log. Here it becomes lines of text, and the template escapes them.

use ebbtide_api::history::LogPage;

/// Lines on a page; the API has all of them.
const LINES: usize = 20;
/// Longest line on a page, in characters: a progress bar or a minified file would push the rest out of sight.
const LINE: usize = 400;

/// The last lines, oldest first, in one text; `None` where there are none.
pub fn tail(log: &LogPage) -> Option<String> {
    let from = log.lines.len().saturating_sub(LINES);
    let lines: Vec<String> = log.lines.iter().skip(from).map(|line| plain(line)).collect();
    (!lines.is_empty()).then(|| lines.join("\n"))
}

/// A line without colours and other control characters, cut where it is very long.
fn plain(line: &str) -> String {
    let mut text = String::new();
    let mut chars = line.trim_end().chars();
    while let Some(char) = chars.next() {
        match char {
            // ESC [ … letter: how programs colour their output.
            '\u{1b}' => _ = chars.by_ref().find(char::is_ascii_alphabetic),
            '\t' => text.push_str("    "),
            char if char.is_control() => {}
            char => text.push(char),
        }
    }
    if text.chars().count() > LINE { text.chars().take(LINE).chain(['…']).collect() } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log(lines: impl IntoIterator<Item = String>) -> LogPage {
        LogPage { lines: lines.into_iter().collect(), before: None }
    }

    #[test]
    fn the_last_lines_are_shown_in_their_order() {
        let shown = tail(&log((1..=45).map(|line| format!("line {line}")))).unwrap();
        assert_eq!(shown.lines().count(), LINES);
        assert!(shown.starts_with("line 26\n") && shown.ends_with("\nline 45"));
        assert_eq!(tail(&log([])), None);
    }

    #[test]
    fn colours_and_control_characters_are_left_out_and_long_lines_cut() {
        let shown =
            tail(&log(["\u{1b}[1;31merror\u{1b}[0m:\tno\u{7} such\u{0} file \r".to_owned()])).unwrap();
        assert_eq!(shown, "error:    no such file");
        let long = tail(&log(["x".repeat(10_000)])).unwrap();
        assert_eq!(long.chars().count(), LINE + 1);
    }
}
