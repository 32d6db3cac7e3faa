//! Identifiers. Each is a newtype that can only be made by parsing or by its own constructor, so that a text from
//! outside is never mistaken for a checked id.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// Characters of a workspace id: RFC 4648 base32 in lower case.
const ALPHABET: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";

/// Length of a workspace id in characters: 10 × 5 bits = 50 bits, unguessable enough beside authentication, short
/// enough for a host name of 63 characters.
pub const WORKSPACE_ID_LEN: usize = 10;

/// Names a workspace for ever: 10 lower-case base32 characters.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema), schema(value_type = String, example = "k3v7q2mzab"))]
pub struct WorkspaceId(String);

/// A text that is not a workspace id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a workspace id has {WORKSPACE_ID_LEN} characters from a-z and 2-7")]
pub struct InvalidWorkspaceId;

impl WorkspaceId {
    /// Makes an id of 50 of the 64 given random bits.
    pub fn from_random(random: u64) -> Self {
        let text = (0..WORKSPACE_ID_LEN)
            .filter_map(|place| {
                let five_bits = (random >> (place * 5)) & 31;
                ALPHABET.get(usize::try_from(five_bits).unwrap_or(0)).map(|byte| char::from(*byte))
            })
            .collect();
        Self(text)
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for WorkspaceId {
    type Err = InvalidWorkspaceId;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.len() == WORKSPACE_ID_LEN && text.bytes().all(|byte| ALPHABET.contains(&byte)) {
            Ok(Self(text.to_owned()))
        } else {
            Err(InvalidWorkspaceId)
        }
    }
}

impl TryFrom<String> for WorkspaceId {
    type Error = InvalidWorkspaceId;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<WorkspaceId> for String {
    fn from(id: WorkspaceId) -> Self {
        id.0
    }
}

impl fmt::Display for WorkspaceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for WorkspaceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Owner of workspaces, keys and secrets. Every record carries one.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema), schema(value_type = String, example = "owner"))]
pub struct TenantId(pub String);

impl TenantId {
    /// The tenant that signs in with the owner token.
    pub fn owner() -> Self {
        Self("owner".to_owned())
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for TenantId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Number of a machine incarnation; the fencing token. The first machine of a workspace has generation 1.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema), schema(value_type = u32, example = 1))]
pub struct Generation(pub u32);

impl Generation {
    /// The generation of the next machine.
    pub fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

impl fmt::Display for Generation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_from_random_bits_parses_back() {
        for random in [0, 1, u64::MAX, 0x1234_5678_9abc_def0] {
            let id = WorkspaceId::from_random(random);
            assert_eq!(id.as_str().parse::<WorkspaceId>(), Ok(id));
        }
        assert_eq!(WorkspaceId::from_random(0).as_str(), "aaaaaaaaaa");
        assert_eq!(WorkspaceId::from_random(u64::MAX).as_str(), "7777777777");
    }

    #[test]
    fn everything_else_is_refused() {
        for text in
            ["", "short", "UPPERCASEX", "with-dash-", "aaaaaaaaaaa", "aaaaaaaaa1", "../../etc/", "aaaaaaaaé"]
        {
            assert_eq!(text.parse::<WorkspaceId>(), Err(InvalidWorkspaceId), "{text}");
        }
        assert!(serde_json::from_str::<WorkspaceId>("\"$(id)\"").is_err());
    }
}
