//! Bundles of programs, from locked packages to an installation's bucket.
//!
//! Each directory beside this crate locks the packages of one program, by version and hash. [`make`] installs them without
//! running anything of theirs and packs the result so that the same lock file always gives the same bytes; [`publish`]
//! uploads what an installation does not have. Machines fetch from there alone: none of them asks a registry.

pub mod make;
pub mod pack;
pub mod publish;

pub use make::{Bundle, Workshop};
pub use publish::Installation;

use anyhow::{Result, ensure};
use ebbtide_api::Agent;
use ebbtide_api::programs::known;

/// The programs that agents take, each once; a program's own name is one, too.
///
/// # Errors
/// A name stands for none.
pub fn programs_of(names: &[String]) -> Result<Vec<&'static str>> {
    let mut programs = Vec::new();
    for name in names {
        let agents = Agent::parse(name).into_iter().flat_map(Agent::programs);
        let own = known().into_iter().filter(|program| program == name);
        let of_it: Vec<&str> = agents.chain(own).collect();
        ensure!(!of_it.is_empty(), "there is no program for {name:?}; there are {}", known().join(", "));
        programs.extend(of_it);
    }
    programs.sort_unstable();
    programs.dedup();
    Ok(programs)
}
