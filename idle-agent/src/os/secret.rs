//! Values that must not be seen: no `Display`, a redacted `Debug`, zeroed when dropped; and the filter that takes
//! them out of log lines.

use serde::{Deserialize, Serialize};
use zeroize::Zeroize;

/// A secret text.
#[derive(Clone, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Secret(String);

impl Secret {
    /// Wraps a text.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text itself; the caller answers for where it goes.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret(redacted)")
    }
}

impl Drop for Secret {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

/// Shorter values are not searched for: they would blank out half of every log and are no secrets anyway.
const SHORTEST_REDACTED: usize = 6;

/// Takes known secrets and credentials in URLs out of texts that leave the machine.
#[derive(Debug, Clone, Default)]
pub struct Redactor {
    secrets: Vec<Secret>,
}

impl Redactor {
    /// Also takes out these values from now on.
    pub fn learn<'a>(&mut self, values: impl IntoIterator<Item = &'a str>) {
        for value in values {
            for line in value.lines().map(str::trim).filter(|line| line.len() >= SHORTEST_REDACTED) {
                if !self.secrets.iter().any(|known| known.expose() == line) {
                    self.secrets.push(Secret::new(line));
                }
            }
        }
        self.secrets.sort_by_key(|secret| std::cmp::Reverse(secret.expose().len()));
    }

    /// The text without them.
    pub fn clean(&self, text: &str) -> String {
        let mut clean = text.to_owned();
        for secret in &self.secrets {
            if clean.contains(secret.expose()) {
                clean = clean.replace(secret.expose(), "[redacted]");
            }
        }
        without_url_credentials(&clean)
    }
}

/// Replaces `user:password@` behind every `://`.
fn without_url_credentials(text: &str) -> String {
    let mut clean = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("://") {
        let (before, after) = rest.split_at(at + 3);
        clean.push_str(before);
        let authority_end = after.find(|c: char| c == '/' || c.is_whitespace() || c == '\'' || c == '"');
        let authority = after.get(..authority_end.unwrap_or(after.len())).unwrap_or(after);
        rest = match authority.rfind('@') {
            Some(end) if authority.starts_with("git@") && end == 3 => after,
            Some(end) => {
                clean.push_str("[redacted]@");
                after.get(end + 1..).unwrap_or("")
            }
            None => after,
        };
    }
    clean.push_str(rest);
    clean
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_output_shows_nothing_of_the_value() {
        let shown = format!("{:?} {:#?}", Secret::new("s3cr3t-value"), Some(Secret::new("s3cr3t-value")));
        assert!(!shown.contains("s3cr3t"), "{shown}");
    }

    #[test]
    fn known_values_and_url_credentials_do_not_leave() {
        let mut redactor = Redactor::default();
        redactor.learn(["s3cr3t-value", "ab", "line-one\nline-two\n"]);
        let table = [
            ("key s3cr3t-value!", "key [redacted]!"),
            ("ab stays", "ab stays"),
            ("x line-two", "x [redacted]"),
            ("clone https://u:p@h/r.git ok", "clone https://[redacted]@h/r.git ok"),
            ("'https://tok@h/r': no", "'https://[redacted]@h/r': no"),
            ("https://h/a@b", "https://h/a@b"),
            ("ssh://git@h/r", "ssh://git@h/r"),
        ];
        for (dirty, clean) in table {
            assert_eq!(redactor.clean(dirty), clean);
        }
        assert!(!format!("{redactor:?}").contains("s3cr3t"));
    }
}
