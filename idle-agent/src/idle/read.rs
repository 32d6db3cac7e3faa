//! Everything that the idle verdict reads from the machine. Concludes nothing: see `idle::judge`.

pub mod agent_probe;
pub mod container_listeners;
pub mod hook;
pub mod inotify;
pub mod terminal;
mod throttle;
