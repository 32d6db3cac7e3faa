//! Bounds of the words that machines send: what is kept of them in records, history and index.

/// Longest sentence of a machine's that is kept in records, history and index, in characters.
const SENTENCE_MAX: usize = 600;

/// The sentence, cut where it is longer.
pub(crate) fn cut(text: &str) -> String {
    text.chars().take(SENTENCE_MAX).collect()
}
