//! `ebb describe`: what a repository is made of, for people and for agents.

use crate::os::command::is_installed;
use ebbtide_api::Agent;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Says what a repository is made of, or tells agents.
pub fn run(directory: Option<PathBuf>, tell: &[String]) -> ExitCode {
    let root = directory.unwrap_or_else(|| PathBuf::from("."));
    let root = root.canonicalize().unwrap_or(root);
    let own = std::env::var("PATH").unwrap_or_default();
    let is_there = |program: &str| {
        is_installed(program) || own.split(':').any(|directory| Path::new(directory).join(program).is_file())
    };
    let described = crate::describe::describe(&root, &is_there);
    if tell.is_empty() {
        return match described {
            Some(text) => {
                print!("{text}");
                ExitCode::SUCCESS
            }
            None => {
                eprintln!("ebb: {} tells agents of itself, or has no manifest that is known", root.display());
                ExitCode::FAILURE
            }
        };
    }
    let home = PathBuf::from(std::env::var_os("HOME").unwrap_or_default());
    let mut code = ExitCode::SUCCESS;
    for agent in tell.iter().filter_map(|name| Agent::parse(name)) {
        if let Err(error) = crate::describe::tell::tell(agent, &home, described.as_deref()) {
            eprintln!("ebb: what {agent} reads: {error}");
            code = ExitCode::FAILURE;
        }
    }
    code
}
