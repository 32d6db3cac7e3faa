//! Tells coding agents of a repository, each in the file below the home directory that it reads for itself.
//!
//! Only where there is none: what a person wrote, or took away after the first boot, stays as it is. The work tree is left
//! alone.

use ebbtide_api::Agent;
use ebbtide_api::agents::THIS_MACHINE;
use std::fs::OpenOptions;
use std::io::{self, Write as _};
use std::path::Path;

/// How the part on repositories begins.
const HEAD: &str = "# What is in this workspace\n\nRead from manifests when it was cloned; nothing here was tried. \
                    `ebb describe` says it anew. This file is yours: change or delete it.\n\n";

/// Writes what an agent is to know; nothing where it knows all.
///
/// # Errors
/// What the file system says; a file that is there is none.
pub fn tell(agent: Agent, home: &Path, described: Option<&str>) -> io::Result<()> {
    let Some(memory) = agent.profile().memory else { return Ok(()) };
    let Some(text) = text(agent, described) else { return Ok(()) };
    let path = home.join(memory);
    if let Some(directory) = path.parent() {
        std::fs::create_dir_all(directory)?;
    }
    match OpenOptions::new().write(true).create_new(true).open(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        file => file?.write_all(text.as_bytes()),
    }
}

fn text(agent: Agent, described: Option<&str>) -> Option<String> {
    let machine = (!agent.knows_the_machine()).then(|| format!("{THIS_MACHINE}\n"));
    let repository = described.map(|text| format!("{HEAD}{text}"));
    match (machine, repository) {
        (None, None) => None,
        (machine, repository) => Some(machine.unwrap_or_default() + &repository.unwrap_or_default()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_agent_hears_of_the_machine_once_and_what_is_there_stays() {
        let home = tempfile::tempdir().unwrap();
        let read = |path: &str| std::fs::read_to_string(home.path().join(path));
        for agent in Agent::ALL {
            tell(*agent, home.path(), Some("## demo\n")).unwrap();
        }
        let claude = read(".claude/CLAUDE.md").unwrap();
        assert!(
            claude.starts_with("# What is in this workspace") && claude.ends_with("## demo\n"),
            "{claude}"
        );
        let codex = read(".codex/AGENTS.md").unwrap();
        assert!(codex.starts_with(THIS_MACHINE) && codex.ends_with("## demo\n"), "{codex}");
        tell(Agent::Codex, home.path(), None).unwrap();
        assert_eq!(read(".codex/AGENTS.md").unwrap(), codex, "what is there stays");
    }

    #[test]
    fn whoever_knows_all_gets_no_file() {
        let home = tempfile::tempdir().unwrap();
        tell(Agent::Claude, home.path(), None).unwrap();
        assert_eq!(std::fs::read_dir(home.path()).unwrap().count(), 0);
    }
}
