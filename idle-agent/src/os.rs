//! What is asked of the machine's own system: time, locks, small files, users, processes, programs. Knows nothing of
//! workspaces, and uses nothing else of this crate.

pub mod atomic_file;
pub mod bundle;
pub mod cgroups;
pub mod clock;
pub mod command;
pub mod disk;
pub mod listener;
pub mod memory_killer;
pub mod mutex;
pub mod processes;
pub mod secret;
pub mod service;
pub mod users;
