//! SSH: the keys that sign in, the form that adds one, and how a workspace is reached.

use crate::form::Refusal;
use crate::text::{self, Time};
use crate::view::create::RefusalView;
use ebbtide_api::Timestamp;
use ebbtide_api::ssh::{SshAccess, SshKeyInfo};

/// The page of all keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeysView {
    /// By name.
    pub rows: Vec<KeyRow>,
    /// What became of the last change.
    pub done: Option<String>,
    /// What was wrong with what was typed.
    pub refusals: Vec<RefusalView>,
    /// What was typed.
    pub typed: TypedKey,
}

/// A key of the list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyRow {
    /// Its name.
    pub name: String,
    /// As `ssh-keygen -l` shows it.
    pub fingerprint: String,
    /// When it was written.
    pub written: Time,
}

/// The form that adds a key, as it was typed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TypedKey {
    /// Its name.
    pub name: String,
    /// One line of a `.pub` file.
    pub public_key: String,
}

impl TypedKey {
    /// Reads a form; `get` answers with the value of a field, empty where there is none. Judged by the API's own rules;
    /// what is not shown again is a private key that was pasted by mistake.
    pub fn read<'a>(get: impl Fn(&str) -> &'a str) -> Self {
        let kept = |name: &str, most: usize| get(name).trim().chars().take(most).collect::<String>();
        Self { name: kept("name", 300), public_key: kept("public_key", 20_000) }
    }

    /// The same without what must not stand on a page.
    #[must_use]
    pub fn shown_again(mut self) -> Self {
        if self.public_key.contains("PRIVATE") {
            self.public_key.clear();
        }
        self
    }
}

/// Shows all keys, and the form.
pub fn keys(
    keys: &[SshKeyInfo],
    typed: TypedKey,
    refusals: &[Refusal],
    done: Option<String>,
    now: Timestamp,
) -> KeysView {
    let row = |key: &SshKeyInfo| KeyRow {
        name: key.name.clone(),
        fingerprint: key.fingerprint.clone(),
        written: text::time(key.written_at, now),
    };
    KeysView {
        rows: keys.iter().map(row).collect(),
        done,
        refusals: refusals.iter().map(super::create::refusal_view).collect(),
        typed: typed.shown_again(),
    }
}

/// The page of a workspace's SSH.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccessView {
    /// The workspace's id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// How many keys sign in, in words; `None` where there is none.
    pub keys: Option<String>,
    /// How it is reached, where SSH is let in.
    pub access: Option<SshAccess>,
}

/// Shows how a workspace is reached.
pub fn access(id: &str, name: &str, keys: &[SshKeyInfo], access: Option<SshAccess>) -> AccessView {
    let count = u64::try_from(keys.len()).unwrap_or(u64::MAX);
    let keys = (count > 0).then(|| text::plural(count, "key", "keys"));
    AccessView { id: id.to_owned(), name: name.to_owned(), keys, access }
}

/// Whether SSH is let in, as a fact of a workspace.
pub const fn fact(open: bool) -> &'static str {
    if open { "let in" } else { "closed" }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_private_key_that_was_pasted_is_on_no_page() {
        let typed = TypedKey::read(|name| match name {
            "name" => " laptop ",
            _ => "-----BEGIN OPENSSH PRIVATE KEY-----\nhunter2",
        });
        assert!(typed.public_key.contains("hunter2"), "judged as it was typed");
        let shown = keys(&[], typed, &[], None, Timestamp::UNIX_EPOCH);
        assert_eq!((shown.typed.name.as_str(), shown.typed.public_key.as_str()), ("laptop", ""));
    }
}
