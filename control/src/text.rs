//! Bounds of the words that machines send: what is kept of them in records, history and index.

/// Longest sentence of a machine's that is kept in records, history and index, in characters.
const SENTENCE_MAX: usize = 600;

/// The sentence on one line, without characters that move a terminal's cursor, cut where it is longer.
pub(crate) fn cut(text: &str) -> String {
    let plain = text.chars().map(|char| if char.is_whitespace() { ' ' } else { char });
    plain.filter(|char| !char.is_control()).take(SENTENCE_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::cut;

    #[test]
    fn what_a_machine_says_is_one_plain_line_of_bounded_length() {
        assert_eq!(cut("a\nb\tc"), "a b c");
        assert_eq!(cut("red \u{1b}[31mhere\u{7}"), "red [31mhere");
        assert_eq!(cut(&"é".repeat(700)).chars().count(), 600);
    }
}
