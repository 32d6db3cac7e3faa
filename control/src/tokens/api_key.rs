//! API keys (`ebb_{id}_{secret}`), the owner token, and comparisons that take the same time whatever they find.
//!
//! The key is shown once; its id and its SHA-256 are stored. 256 random bits need no slow hash.

use crate::secret::SecretText;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

/// An API key as it was sent or made.
#[derive(Debug, Clone)]
pub struct ApiKey {
    id: String,
    text: SecretText,
}

/// A text that is not an API key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an API key looks like ebb_<10 hex digits>_<64 hex digits>")]
pub struct InvalidApiKey;

impl ApiKey {
    /// Makes a key of random bytes.
    pub fn from_random(id: [u8; 5], secret: [u8; 32]) -> Self {
        let id = hex::encode(id);
        let text = format!("ebb_{id}_{}", hex::encode(secret)).into();
        Self { id, text }
    }

    /// Reads a key.
    ///
    /// # Errors
    /// It does not look like one.
    pub fn parse(text: &str) -> Result<Self, InvalidApiKey> {
        let is_hex = |part: &str, len| {
            part.len() == len && part.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
        };
        let (id, secret) =
            text.strip_prefix("ebb_").and_then(|rest| rest.split_once('_')).ok_or(InvalidApiKey)?;
        if is_hex(id, 10) && is_hex(secret, 64) {
            Ok(Self { id: id.to_owned(), text: text.into() })
        } else {
            Err(InvalidApiKey)
        }
    }

    /// Names the key: shown in lists, the key of its row.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The whole key, to be shown once.
    pub fn text(&self) -> &SecretText {
        &self.text
    }

    /// What is stored: SHA-256 of the whole key, hex.
    pub fn digest(&self) -> String {
        sha256(self.text.expose().as_bytes())
    }

    /// Whether this is the key whose digest was stored.
    pub fn matches(&self, stored_digest: &str) -> bool {
        self.digest().as_bytes().ct_eq(stored_digest.as_bytes()).into()
    }
}

/// Whether two secrets are the same; says nothing about where they differ.
pub fn same_secret(one: &SecretText, other: &str) -> bool {
    let digest = |text: &str| Sha256::digest(text.as_bytes());
    digest(one.expose()).as_slice().ct_eq(digest(other).as_slice()).into()
}

/// SHA-256 in lower-case hex.
pub fn sha256(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}

#[cfg(test)]
mod fuzz {
    use super::*;
    use ebbtide_fuzz_inputs::text_like;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_key_that_is_read_is_the_text_that_was_sent(text in text_like(&["ebb_0123456789_abcdef", "ebb_", "_"])) {
            if let Ok(key) = ApiKey::parse(&text) {
                prop_assert!(same_secret(key.text(), &text));
            }
        }
    }
}
