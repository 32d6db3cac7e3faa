//! Labels and label selectors: what may be stored, and which resources a selector finds.
//!
//! A key is an optional DNS prefix, a slash and a name; name and value are at most 63 characters of
//! `[A-Za-z0-9]` with `-_.` inside. Selectors know `==`, `=`, `!=`, `in`, `notin`, existence and absence;
//! a comma means AND. As in the vendor's API, `!=` and `notin` also find resources without the key.

use std::collections::BTreeMap;

pub(crate) type Labels = BTreeMap<String, String>;

const MAX_NAME: usize = 63;
const MAX_PREFIX: usize = 253;

/// Says what is wrong with a set of labels, if anything.
pub(crate) fn problem(labels: &Labels) -> Option<String> {
    for (key, value) in labels {
        if !is_key(key) {
            return Some(format!("label key \"{key}\" is not correctly formatted"));
        }
        if key.starts_with("hetzner.cloud/") {
            return Some(format!("label key \"{key}\" uses a reserved prefix"));
        }
        if !value.is_empty() && !is_name(value) {
            return Some(format!("label value \"{value}\" is not correctly formatted"));
        }
    }
    None
}

fn is_key(key: &str) -> bool {
    match key.split_once('/') {
        None => is_name(key),
        Some((prefix, name)) => prefix.len() <= MAX_PREFIX && is_domain(prefix) && is_name(name),
    }
}

fn is_domain(text: &str) -> bool {
    text.split('.').all(|part| {
        !part.is_empty()
            && part.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
            && !part.starts_with('-')
            && !part.ends_with('-')
    })
}

fn is_name(text: &str) -> bool {
    let bytes = text.as_bytes();
    let (Some(first), Some(last)) = (bytes.first(), bytes.last()) else {
        return false;
    };
    bytes.len() <= MAX_NAME
        && first.is_ascii_alphanumeric()
        && last.is_ascii_alphanumeric()
        && bytes.iter().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
}

/// A parsed label selector: all terms must hold.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Selector(Vec<Term>);

#[derive(Debug, PartialEq, Eq)]
enum Term {
    Exists(String),
    Absent(String),
    In(String, Vec<String>),
    NotIn(String, Vec<String>),
}

impl Selector {
    /// Parses a selector; nothing where it is malformed.
    pub fn parse(text: &str) -> Option<Self> {
        split_terms(text)?.into_iter().map(Term::parse).collect::<Option<Vec<_>>>().map(Self)
    }

    pub fn matches(&self, labels: &Labels) -> bool {
        self.0.iter().all(|term| term.matches(labels))
    }
}

/// Cuts at commas outside parentheses.
fn split_terms(text: &str) -> Option<Vec<&str>> {
    let mut terms = Vec::new();
    let (mut start, mut depth) = (0, 0_u32);
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            b'(' => depth += 1,
            b')' => depth = depth.checked_sub(1)?,
            b',' if depth == 0 => {
                terms.push(text[start..at].trim());
                start = at + 1;
            }
            _ => {}
        }
    }
    if depth != 0 {
        return None;
    }
    terms.push(text[start..].trim());
    Some(terms)
}

impl Term {
    fn parse(text: &str) -> Option<Self> {
        let key = |raw: &str| is_key(raw.trim()).then(|| raw.trim().to_owned());
        let value = |raw: &str| {
            let raw = raw.trim();
            (raw.is_empty() || is_name(raw)).then(|| raw.to_owned())
        };
        if let Some((left, right)) = text.split_once("!=") {
            return Some(Term::NotIn(key(left)?, vec![value(right)?]));
        }
        if let Some((left, right)) = text.split_once("==").or_else(|| text.split_once('=')) {
            return Some(Term::In(key(left)?, vec![value(right)?]));
        }
        if let Some(list) = text.strip_suffix(')') {
            let (left, list) = list.split_once('(')?;
            let (name, word) = left.trim_end().rsplit_once(char::is_whitespace)?;
            let values = list.split(',').map(value).collect::<Option<Vec<_>>>()?;
            return match word {
                "in" => Some(Term::In(key(name)?, values)),
                "notin" => Some(Term::NotIn(key(name)?, values)),
                _ => None,
            };
        }
        match text.strip_prefix('!') {
            Some(name) => Some(Term::Absent(key(name)?)),
            None => Some(Term::Exists(key(text)?)),
        }
    }

    fn matches(&self, labels: &Labels) -> bool {
        match self {
            Term::Exists(key) => labels.contains_key(key),
            Term::Absent(key) => !labels.contains_key(key),
            Term::In(key, values) => labels.get(key).is_some_and(|value| values.contains(value)),
            Term::NotIn(key, values) => labels.get(key).is_none_or(|value| !values.contains(value)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(pairs: &[(&str, &str)]) -> Labels {
        pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
    }

    #[test]
    fn each_operator_finds_what_it_promises() {
        let found = labels(&[("env", "prod"), ("ebbtide-install", "i1")]);
        for (selector, expect) in [
            ("env==prod", true),
            ("env=prod", true),
            ("env == prod", true),
            ("env==dev", false),
            ("env!=prod", false),
            ("env!=dev", true),
            ("other!=x", true),
            ("env", true),
            ("other", false),
            ("!env", false),
            ("!other", true),
            ("env in (dev, prod)", true),
            ("env in (dev)", false),
            ("env notin (dev,prod)", false),
            ("env notin (dev)", true),
            ("other notin (dev)", true),
            ("env==prod,ebbtide-install==i1", true),
            ("env==prod,ebbtide-install==i2", false),
            ("env in (dev,prod),!other", true),
        ] {
            let parsed = Selector::parse(selector).unwrap_or_else(|| panic!("{selector} refused"));
            assert_eq!(parsed.matches(&found), expect, "{selector}");
        }
    }

    #[test]
    fn malformed_selectors_are_refused() {
        for selector in ["", "a b", "k in (a", "k in a)", "==x", "k==v:w", "k near (a)", "a,,b"] {
            assert_eq!(Selector::parse(selector), None, "{selector}");
        }
    }

    #[test]
    fn labels_that_the_vendor_refuses_are_refused() {
        let long = "x".repeat(64);
        for (key, value) in [
            ("", "v"),
            ("k", "2026-11-20T10:00:00Z"),
            ("k", "a@b.example"),
            ("-k", "v"),
            ("k", "v-"),
            ("k", long.as_str()),
            (long.as_str(), "v"),
            ("hetzner.cloud/k", "v"),
            ("a/b/c", "v"),
        ] {
            assert!(problem(&labels(&[(key, value)])).is_some(), "{key}={value}");
        }
    }

    #[test]
    fn labels_that_the_vendor_takes_are_taken() {
        for (key, value) in [("k", ""), ("example.com/k", "v"), ("k_1.2-3", "1794000000"), ("K", "V.1")] {
            assert_eq!(problem(&labels(&[(key, value)])), None, "{key}={value}");
        }
    }
}
