//! Programs that an installation hands out to its machines: bundles in its own bucket, named by what is in them.
//!
//! A bundle is a tar file, compressed with zstd and cut into parts, each an object under its SHA-256. So a part is stored
//! once, is checked by whoever fetches it, and fits into one request.

use crate::Agent;
use crate::agents::NODE;
use serde::{Deserialize, Serialize};

/// Largest part, in bytes: 64 MiB, where the platform takes bodies of 100 MB.
pub const PART_MAX: u64 = 64 << 20;
/// Most parts of a program: 2 GiB, each looked for when it is published.
pub const PARTS_MAX: usize = 32;
/// Most bytes of a program once it is unpacked: 8 GiB.
pub const UNPACKED_MAX: u64 = 8 << 30;

/// A published program.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Program {
    /// Its name, one of those that Ebbtide knows.
    pub name: String,
    /// Its version, as its makers count.
    pub version: String,
    /// Its bundle, cut up, in order.
    pub parts: Vec<Part>,
    /// How many bytes its tar file has: about what it takes on a disk.
    pub unpacked_bytes: u64,
}

impl Program {
    /// How many bytes a machine fetches.
    pub fn packed_bytes(&self) -> u64 {
        self.parts.iter().map(|part| part.size_bytes).sum()
    }
}

/// A part of a bundle.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Part {
    /// What it hashes to, 64 lower-case hex digits; also its name.
    #[cfg_attr(feature = "openapi", schema(pattern = "^[0-9a-f]{64}$"))]
    pub sha256: String,
    /// How many bytes it has.
    #[cfg_attr(feature = "openapi", schema(minimum = 1, maximum = 67_108_864))]
    pub size_bytes: u64,
}

/// The body of `PUT /v1/programs/{name}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct PublishProgram {
    /// Its version, as its makers count.
    #[cfg_attr(feature = "openapi", schema(pattern = "^[0-9A-Za-z][0-9A-Za-z.+-]{0,63}$"))]
    pub version: String,
    /// Its bundle, cut up, in order; each part is there already.
    #[cfg_attr(feature = "openapi", schema(min_items = 1, max_items = 32))]
    pub parts: Vec<Part>,
    /// How many bytes its tar file has: about what it takes on a disk.
    #[cfg_attr(feature = "openapi", schema(minimum = 1, maximum = 8_589_934_592_u64))]
    pub unpacked_bytes: u64,
}

/// The programs of an installation, as they are stored and answered.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ProgramList {
    /// By name.
    #[serde(default)]
    pub programs: Vec<Program>,
}

impl ProgramList {
    /// The program of that name.
    pub fn find(&self, name: &str) -> Option<&Program> {
        self.programs.iter().find(|program| program.name == name)
    }

    /// Whether all is there that an agent takes.
    pub fn has(&self, agent: Agent) -> bool {
        agent.bundle().is_some() && agent.programs().all(|name| self.find(name).is_some())
    }

    /// The agents that can be installed.
    pub fn agents(&self) -> impl Iterator<Item = Agent> {
        Agent::ALL.iter().copied().filter(|agent| self.has(*agent))
    }
}

/// Names of all programs that may be published, in order: what agents are made of, and nothing else.
pub fn known() -> Vec<&'static str> {
    let agents = Agent::ALL.iter().flat_map(|agent| agent.programs());
    let mut names: Vec<&str> = agents.chain([NODE.program]).collect();
    names.sort_unstable();
    names.dedup();
    names
}

/// Whether a version may stand in a path: `2.1.332`, `0.171.0-linux-x64`.
pub fn is_version(text: &str) -> bool {
    let usual = |byte: u8| byte.is_ascii_alphanumeric() || b".+-".contains(&byte);
    (1..=64).contains(&text.len())
        && text.bytes().all(usual)
        && text.starts_with(|first: char| first.is_ascii_alphanumeric())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn program(name: &str) -> Program {
        let part = Part { sha256: "ab".repeat(32), size_bytes: 7 };
        Program { name: name.to_owned(), version: "1.0".into(), parts: vec![part], unpacked_bytes: 9 }
    }

    #[test]
    fn the_list_is_pinned_because_it_is_stored() {
        let list = ProgramList { programs: vec![program("claude")] };
        let part = format!(r#"{{"sha256":"{}","size_bytes":7}}"#, "ab".repeat(32));
        assert_eq!(
            serde_json::to_string(&list).unwrap(),
            format!(
                r#"{{"programs":[{{"name":"claude","version":"1.0","parts":[{part}],"unpacked_bytes":9}}]}}"#
            )
        );
    }

    #[test]
    fn an_agent_is_to_be_had_once_all_that_it_takes_is_published() {
        let agents = |names: &[&str]| {
            let programs = names.iter().map(|name| program(name)).collect();
            ProgramList { programs }.agents().map(Agent::as_str).collect::<Vec<_>>()
        };
        assert_eq!(agents(&[]), [""; 0]);
        assert_eq!(agents(&["claude", "gemini"]), ["claude"]);
        assert_eq!(agents(&["gemini", "node", "claude", "aider"]), ["claude", "gemini"]);
    }

    #[test]
    fn only_what_agents_are_made_of_may_be_published() {
        assert_eq!(known(), ["claude", "codex", "copilot", "gemini", "node", "opencode"]);
    }

    #[test]
    fn a_version_is_no_path() {
        for version in ["2.1.332", "0.171.0-linux-x64", "1"] {
            assert!(is_version(version), "{version}");
        }
        for text in ["", "..", ".", "-1", "1/2", "1 2", "$(id)", &"1".repeat(65)] {
            assert!(!is_version(text), "{text}");
        }
    }
}
